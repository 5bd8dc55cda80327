"""Wide floats against exact fractions, far beyond float64's range."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cli726.wide_floats import Wide, dot, from_log, plus, times, total, widen

ordinary = st.one_of(st.just(0.0), st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3))
powers = st.integers(-(10**5), 10**5)


def exact(value: Wide) -> Fraction:
    return Fraction(float(value.mantissa)) * Fraction(2) ** int(value.exponent) if value.nonzero else Fraction(0)


def raised(value: float, power: int) -> Wide:
    scale = Wide(np.float64(0.5), np.int64(power + 1))  # type: ignore[arg-type]
    return times(widen(value), scale)


@given(ordinary, powers, ordinary, powers)
def test_products_and_sums_are_those_of_fractions(a: float, p: int, b: float, q: int) -> None:
    left, right = raised(a, p), raised(b, q)
    product, summed = exact(left) * exact(right), exact(left) + exact(right)
    assert abs(exact(times(left, right)) - product) <= abs(product) / 2**52
    assert abs(exact(plus(left, right)) - summed) <= max(abs(exact(left)), abs(exact(right))) / 2**52


@given(st.lists(st.tuples(ordinary, powers), min_size=1, max_size=5))
def test_totals_are_those_of_fractions(terms: list[tuple[float, int]]) -> None:
    wide = [raised(*term) for term in terms]
    row = Wide(np.array([w.mantissa for w in wide]), np.array([w.exponent for w in wide]))
    exactly = sum(map(exact, wide), Fraction(0))
    assert abs(exact(total(row)) - exactly) <= sum(abs(exact(w)) for w in wide) / 2**50


@given(st.lists(ordinary, min_size=6, max_size=6))
def test_matrix_products_are_numpys(values: list[float]) -> None:
    matrix, vector = np.array(values[:4]).reshape(2, 2), np.array(values[4:])
    assert_allclose(dot(widen(matrix), widen(vector)).rounded(), matrix @ vector, rtol=1e-14, atol=1e-9)


def test_zero_stays_exactly_zero() -> None:
    zero, tiny = widen(0.0), from_log(np.array(-1e6))
    assert not times(zero, tiny).nonzero
    assert plus(zero, tiny).log10() == tiny.log10()
    assert not plus(tiny, Wide(-tiny.mantissa, tiny.exponent)).nonzero
    assert zero.log10() == -np.inf


@given(st.floats(-1e6, 1e6))
def test_logarithms_survive_where_floats_do_not(log: float) -> None:
    assert from_log(np.array(log)).log10() == pytest.approx(log / np.log(10), rel=1e-12, abs=1e-12)


def test_rounding_gives_zero_and_infinity_only_beyond_float64() -> None:
    values = from_log(np.array([-1e4, -700.0, 0.0, 700.0, 1e4])).rounded()
    assert_array_equal(values == 0, [True, False, False, False, False])
    assert_array_equal(np.isinf(values), [False, False, False, False, True])
    assert_allclose(values[1:4], np.exp([-700.0, 0.0, 700.0]), rtol=1e-12)
