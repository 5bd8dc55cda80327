"""Problem 3: error back-propagation in a fully connected network without biases, its rounding, and its checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Hidden
from cli726.errors import RequestError

__all__ = ["Backprop", "Derivative", "LayeredNetwork", "Numbers", "Variable", "asked", "solve"]

Array = NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)
# The cube root: there rounding (epsilon / step) and truncation (step squared) balance.
CENTRAL_STEP, CENTRAL_TOLERANCE = EPSILON ** (1 / 3), 1e-7
# Nothing is subtracted, so the step may be so small that its square vanishes beside 1.
COMPLEX_STEP, COMPLEX_TOLERANCE = 1e-20, 1e-12
# Each weight costs a forward pass.
MOST_CHECKED = 2_000
# Bounds on rounding stay between these, whatever underflows or overflows on the way, in the complex step too (its least
# part is 1e-323, its step 1e-20); they are 0 only by structure.
LEAST, MOST = 1e-200, 1e300


@dataclass(frozen=True)
class LayeredNetwork:
    """Hidden units of one kind, identity outputs, no biases.

    Attributes:
        weights: One ndarray of shape (units in layer l + 1, units in layer l) for each l = 1, 2, ...
        hidden: What hidden units do.
    """

    weights: tuple[Array, ...]
    hidden: Hidden = Hidden.logistic

    def __post_init__(self) -> None:
        for layer, (lower, upper) in enumerate(zip(self.weights, self.weights[1:], strict=False), start=1):
            if len(lower) != upper.shape[1]:
                what = f"matrix {layer} feeds {len(lower)} units, but matrix {layer + 1} has {upper.shape[1]} columns"
                raise RequestError(f"{what}; give matrix {layer + 1} {len(lower)} columns")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the units in each layer, inputs first."""
        return (self.weights[0].shape[1], *(len(matrix) for matrix in self.weights))


@dataclass(frozen=True)
class Variable:
    """The activation of `unit` in `layer`, or the weight from `source` in `layer` to `unit` in the next; from 1."""

    layer: int
    unit: int
    source: int | None = None


class Numbers(NamedTuple):
    """Numbers that a network holds at one data point, or bounds on what rounding did to them, by layer.

    Activations a and deltas dE/da of layers 2, 3, ...; outputs z of layers 1, 2, ..., from x to y; gradients dE/dw.
    """

    activations: Sequence[NDArray[Any]]
    outputs: Sequence[NDArray[Any]]
    error: Any
    deltas: Sequence[Array] = ()
    gradients: Sequence[Array] = ()

    def of(self, variable: Variable) -> float:
        """Return the derivative with respect to a variable."""
        if variable.source is None:
            return float(self.deltas[variable.layer - 2][variable.unit - 1])
        return float(self.gradients[variable.layer - 1][variable.unit - 1, variable.source - 1])


def logistic(a: NDArray[Any]) -> NDArray[Any]:
    """Return 1 / (1 + exp(-a)) of real or complex a; exp never sees a positive real part, so it cannot overflow.

    Source: Bishop (2006), eq. 4.59.
    """
    shrinking = np.exp(np.where(a.real > 0, -a, a))
    return np.where(a.real > 0, 1 / (1 + shrinking), shrinking / (1 + shrinking))


def slope(a: Array, hidden: Hidden) -> Array:
    """Return h'(a) of hidden units; of the logistic as h(a) h(-a), which is h (1 - h) without its cancellation near 1.

    Source: Bishop (2006), eq. 4.88.
    """
    return logistic(a) * logistic(-a) if hidden is Hidden.logistic else (a > 0).astype(float)


def forward(
    network: LayeredNetwork, x: Array, t: Array, variable: Variable | None = None, shift: complex = 0.0
) -> Numbers:
    """Return activations, outputs and error, with one variable shifted by a real or (complex step) complex amount.

    Source: Bishop (2006), eq. 5.11; of complex y not the modulus, so that the error stays analytic.
    """
    z: NDArray[Any] = x
    activations, outputs = [], [z]
    for layer, weights in enumerate(network.weights, start=1):
        a = weights @ z
        if variable is not None and variable.layer + (variable.source is not None) == layer + 1:
            # A weight moves the activation that it leads to by its shift times what it weighs.
            moved = shift if variable.source is None else shift * z[variable.source - 1]
            a = a + moved * (np.arange(len(a)) == variable.unit - 1)
        if layer == len(network.weights):
            z = a
        else:
            z = logistic(a) if network.hidden is Hidden.logistic else np.where(a.real > 0, a, 0)
        activations.append(a)
        outputs.append(z)
    return Numbers(activations, outputs, 0.5 * np.sum((z - t) ** 2))


def back_propagate(network: LayeredNetwork, passed: Numbers, t: Array) -> Numbers:
    """Return the numbers of a forward pass with its deltas and gradients.

    Source: Bishop (2006), eqs. 5.53, 5.54 and 5.56.
    """
    deltas = [passed.outputs[-1] - t]
    for weights, a in zip(network.weights[:0:-1], passed.activations[-2::-1], strict=True):
        deltas.insert(0, slope(a, network.hidden) * (weights.T @ deltas[0]))
    gradients = [np.outer(delta, z) for delta, z in zip(deltas, passed.outputs, strict=False)]
    return passed._replace(deltas=deltas, gradients=gradients)


def product(left: Array, right: Array) -> Array:
    """Return left * right of numbers that are not negative; 0 only where a factor is."""
    return np.clip(left * right, np.where((left > 0) & (right > 0), LEAST, 0.0), MOST)


def unit_bounds(a: Array, bound: Array, rounding: float, hidden: Hidden) -> tuple[Array, Array]:
    """Return bounds on the errors of h(a) and h'(a), where a is wrong by up to `bound`."""
    rate = slope(a, hidden)
    if hidden is Hidden.relu:
        return np.where(a > -bound, bound, 0.0), rounding * rate
    # h' is at most 1/4, and |h''| <= h': within 1 of a both change by a factor of e at most.
    moved = np.where(bound > 1, 1.0, 3 * np.minimum(bound, 1) * rate)
    return moved + rounding * logistic(a) + LEAST, np.minimum(moved, 0.25) + rounding * rate + LEAST


def bounds_of(network: LayeredNetwork, values: Numbers, t: Array) -> Numbers:
    """Return how far rounding may have taken each number; 0 only for what is 0 because every term has a factor 0.

    The exact numbers are those as typed: float64 rounds even these. Each bound holds the rounding of its own number;
    doubled, it holds that of a product and a sum as well.

    Source: running error bounds, Higham (2002), *Accuracy and Stability of Numerical Algorithms*, section 3.3.
    """
    rounding = EPSILON * (max(network.sizes) + 8)
    a_bounds, rate_bounds, z_bounds = [], [], [rounding * np.abs(values.outputs[0])]
    for weights, a in zip(network.weights, values.activations, strict=True):
        a_bounds.append(product(np.abs(weights), 2 * z_bounds[-1]).sum(axis=1))
        z_bound, rate_bound = unit_bounds(a, a_bounds[-1], rounding, network.hidden)
        z_bounds.append(z_bound)
        rate_bounds.append(rate_bound)
    z_bounds[-1] = a_bounds[-1]
    deltas = [2 * a_bounds[-1] + rounding * np.abs(t)]
    error = float(product(np.abs(values.deltas[-1]) + deltas[0], 2 * deltas[0]).sum())
    layers = (network.weights[1:], values.activations[:-1], rate_bounds[:-1], values.deltas[1:])
    for weights, a, rate_bound, delta in [*zip(*layers, strict=True)][::-1]:
        back = np.abs(weights.T)
        wrong_rate = product(rate_bound, product(back, np.abs(delta) + deltas[0]).sum(axis=1))
        deltas.insert(0, wrong_rate + product(slope(a, network.hidden), product(back, 2 * deltas[0]).sum(axis=1)))
    gradients = [
        product(bound[:, None], np.abs(z) + z_bound) + product(np.abs(delta)[:, None], 2 * z_bound)
        for bound, delta, z, z_bound in zip(deltas, values.deltas, values.outputs, z_bounds, strict=False)
    ]
    return Numbers(a_bounds, z_bounds, error, deltas, gradients)


@dataclass(frozen=True)
class Derivative:
    """One derivative of the error, and what numerical differentiation makes of it: the complex step decides.

    Attributes:
        variable: With respect to what.
        value, bound: As back-propagation gives it, and how far rounding may have taken that.
        complex_step, complex_error: Im E(v + ih) / h, and its relative error.
        central_difference, central_error: (E(v + h) - E(v - h)) / 2h, and its relative error.
        kink: A ReLU unit that the variable moves stands at 0 or changes sides within the step: there is no derivative.
        lost: The central difference disagrees, and its two errors are too close to be told from their rounding.
    """

    variable: Variable
    value: float
    bound: float
    complex_step: float
    central_difference: float
    complex_error: float
    central_error: float
    kink: bool
    lost: bool

    @property
    def verdict(self) -> str:
        """Return what the complex step says."""
        return "not testable" if self.kink else "passed" if self.complex_error <= COMPLEX_TOLERANCE else "failed"


def asked(sizes: Sequence[int]) -> dict[str, Variable | str]:
    """Return the variable of each question, carried over to any layer sizes, or why this network has none."""
    last = len(sizes)
    missing = "The only hidden layer is the penultimate one." if last == 3 else "There is no hidden layer."
    return {
        "3.1": Variable(last, 1),
        "3.2": Variable(last - 1, 1, 2) if sizes[-2] > 1 else f"Layer {last - 1} has no second unit.",
        "3.3": Variable(last - 1, 1) if last > 2 else missing,
        "3.4": Variable(last - 2, 1, 1) if last > 2 else missing,
        "3.5": Variable(2, 1) if last > 3 else missing,
        "3.6": Variable(1, 1, 1) if last > 3 else missing,
    }


@dataclass(frozen=True)
class Backprop:
    """Problem 3 for one network, inputs x, targets t: its numbers, and bounds on how far rounding took them."""

    network: LayeredNetwork
    x: Array
    t: Array
    values: Numbers
    bounds: Numbers

    @cached_property
    def derivatives(self) -> dict[str, Derivative]:
        """Return the assignment's six by the number of their question, as far as this network has them."""
        return {key: self.check(v) for key, v in asked(self.network.sizes).items() if isinstance(v, Variable)}

    @cached_property
    def sweep(self) -> dict[str, float] | None:
        """Return how many weights have which verdict, and the largest relative error; None if too many to check."""
        if sum(matrix.size for matrix in self.network.weights) > MOST_CHECKED:
            return None
        shapes = enumerate((matrix.shape for matrix in self.network.weights), start=1)
        weights = [Variable(layer, i + 1, j + 1) for layer, shape in shapes for i, j in np.ndindex(*shape)]
        checks = [self.check(weight) for weight in weights]
        worst = max((check.complex_error for check in checks if not check.kink), default=0.0)
        counts = Counter(check.verdict for check in checks)
        kinds = ("passed", "failed", "not testable")
        return {"weights": len(checks), "worst": worst, **{kind.replace(" ", "_"): counts[kind] for kind in kinds}}

    def check(self, variable: Variable) -> Derivative:
        """Return one derivative with both estimates.

        Source: Bishop (2006), eq. 5.69; Squire and Trapp (1998), "Using complex variables to estimate derivatives of
        real functions", SIAM Review 40(1).
        """
        value, bound = self.values.of(variable), self.bounds.of(variable)
        with np.errstate(all="ignore"):
            moved = forward(self.network, self.x, self.t, variable, 1j * COMPLEX_STEP)
            exact = float(moved.error.imag) / COMPLEX_STEP
            # No hidden activation moves further than the step.
            step = CENTRAL_STEP / max([1.0, *(np.abs(a.imag).max() / COMPLEX_STEP for a in moved.activations[:-1])])
            above, below = (forward(self.network, self.x, self.t, variable, shift) for shift in (step, -step))
            rise = float(above.error - below.error)
        hidden = [numbers.activations[:-1] for numbers in (moved, above, below, self.bounds)]
        kink = self.network.hidden is Hidden.relu and any(
            bool(np.any(((np.abs(a.real) <= limit) & (a.imag != 0)) | ((up > 0) != (down > 0))))
            for a, up, down, limit in zip(*hidden, strict=True)
        )
        # Both sides of a comparison are rounded: where they are smaller than this, that alone would count as an error.
        floor = 4 * bound / COMPLEX_TOLERANCE
        difference = rise / (2 * step)
        wrong, apart = (abs(value - n) / (max(abs(value), abs(n), floor) or 1.0) for n in (exact, difference))
        lost = apart > CENTRAL_TOLERANCE and abs(rise) <= 1000 * self.bounds.error
        return Derivative(variable, value, bound, exact, difference, wrong, apart, kink, lost)


def solve(network: LayeredNetwork, x: Array, t: Array) -> Backprop:
    """Answer problem 3 for one network, inputs (ndarray of shape (inputs,)) and targets (of shape (outputs,)).

    Raises:
        RequestError: if the numbers are so large that float64 overflows.
    """
    with np.errstate(all="ignore"):
        values = back_propagate(network, forward(network, x, t), t)
        if not np.isfinite([values.error, *(np.abs(part).max() for part in (*values.deltas, *values.gradients))]).all():
            what = f"the error and its derivatives must be finite in float64; the error is {values.error:g}"
            raise RequestError(f"{what}, and one of these overflows; use smaller numbers")
        return Backprop(network, x, t, values, bounds_of(network, values, t))
