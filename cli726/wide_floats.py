"""Numbers whose exponent cannot run out: a mantissa and a power of two, kept apart.

A product of 10,000 derivatives underflows every floating-point format. Here its logarithm is the exponent, an
integer, plus that of the mantissa, so that signs, exact zeros and sums over paths survive as in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Wide", "dot", "from_log", "normalised", "plus", "times", "total", "widen"]

Array = NDArray[np.float64]
# The exponent of zero: below every exponent that is reached, far from overflow when two are added.
OF_ZERO = -(2**40)


@dataclass(frozen=True)
class Wide:
    """mantissa * 2**exponent, element by element.

    Attributes:
        mantissa: ndarray; 0, or at least 1/2 and below 1 in size.
        exponent: ndarray of integers, of the same shape.
    """

    mantissa: Array
    exponent: NDArray[np.int64]

    def __getitem__(self, index: Any) -> Wide:
        return Wide(self.mantissa[index], self.exponent[index])

    @property
    def nonzero(self) -> NDArray[np.bool_]:
        """Where it is not exactly 0."""
        return np.asarray(self.mantissa != 0)

    def log10(self) -> Array:
        """The base-10 logarithm of the size; -inf for 0."""
        with np.errstate(divide="ignore"):
            logs = np.log10(np.abs(self.mantissa)) + self.exponent * math.log10(2)
        return np.where(self.nonzero, logs, -np.inf)

    def rounded(self) -> Array:
        """The nearest float64: 0 where it underflows, infinite where it overflows."""
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.ldexp(self.mantissa, self.exponent))


def normalised(value: Array, exponent: NDArray[np.int64]) -> Wide:
    """value * 2**exponent with its mantissa brought between 1/2 and 1."""
    mantissa, shift = np.frexp(value)
    return Wide(mantissa, np.where(mantissa == 0, OF_ZERO, exponent + shift))


def widen(values: Any) -> Wide:
    """Ordinary finite numbers as wide ones, exactly."""
    return normalised(np.asarray(values, dtype=float), np.int64(0))  # type: ignore[arg-type]


def from_log(logs: Array) -> Wide:
    """exp of natural logarithms of any size."""
    exponent = np.floor(logs / math.log(2))
    return normalised(np.exp(logs - exponent * math.log(2)), exponent.astype(np.int64))


def times(a: Wide, b: Wide) -> Wide:
    """The product, element by element."""
    return normalised(a.mantissa * b.mantissa, a.exponent + b.exponent)


def plus(a: Wide, b: Wide) -> Wide:
    """The sum, element by element."""
    top = np.maximum(a.exponent, b.exponent)
    value = np.ldexp(a.mantissa, a.exponent - top) + np.ldexp(b.mantissa, b.exponent - top)
    return normalised(value, top)


def total(values: Wide) -> Wide:
    """The sum along the last axis."""
    top = values.exponent.max(axis=-1)
    return normalised(np.ldexp(values.mantissa, values.exponent - top[..., None]).sum(axis=-1), top)


def dot(matrix: Wide, vector: Wide) -> Wide:
    """The matrix times the vector: shapes (..., m, n) and (..., n) give (..., m)."""
    mantissa = matrix.mantissa * vector.mantissa[..., None, :]
    return total(Wide(mantissa, matrix.exponent + vector.exponent[..., None, :]))
