"""Numerical differentiation against sympy, and verdicts that can come out each way."""

from __future__ import annotations

import cmath
import math
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from cli726.gradient_check import (
    CENTRAL_STEP,
    Verdict,
    central_difference,
    check_central,
    check_complex,
    complex_step,
    relative_error,
)

EPS = 2.0**-52


def wave(v: Any) -> Any:
    return cmath.exp(v) * cmath.sin(3 * v)


def real_wave(v: float) -> float:
    return float(wave(v).real)


def slope_of_wave(at: float) -> float:
    v = sympy.symbols("v")
    return float(sympy.diff(sympy.exp(v) * sympy.sin(3 * v), v).evalf(30, subs={v: sympy.Float(at, 30)}))


@given(st.floats(-2, 2))
def test_both_estimates_are_the_derivative(at: float) -> None:
    exact = slope_of_wave(at)
    assert complex_step(wave, at) == pytest.approx(exact, rel=1e-12, abs=1e-13)
    assert central_difference(real_wave, at, CENTRAL_STEP) == pytest.approx(exact, rel=1e-7, abs=1e-8)


@given(st.floats(-2, 2))
def test_a_wrong_derivative_fails_and_the_right_one_does_not(at: float) -> None:
    exact = slope_of_wave(at)
    noise = 8 * EPS * math.exp(at)
    for factor, expected in ((1.0, {Verdict.passed, Verdict.not_testable}), (1.5, {Verdict.failed})):
        if abs(exact) < 1e-3:
            continue
        central = check_central(factor * exact, real_wave, at, step=CENTRAL_STEP, rounding=noise)
        exactly = check_complex(factor * exact, wave, at, rounding=noise * 10)
        assert {central.verdict, exactly.verdict} <= expected


def test_a_difference_lost_to_rounding_is_not_testable_while_the_complex_step_still_passes() -> None:
    def flat(v: Any) -> Any:
        return 1 + 1e-14 * v

    central = check_central(1e-14, flat, 1.0, step=CENTRAL_STEP, rounding=EPS)
    assert central.verdict is Verdict.not_testable
    assert "rounding" in central.reason
    assert check_complex(1e-14, flat, 1.0, rounding=0.0).verdict is Verdict.passed


def test_zero_against_zero_proves_nothing_by_difference() -> None:
    check = check_central(0.0, lambda v: 1.0, 0.0, step=CENTRAL_STEP, rounding=EPS)
    assert check.verdict is Verdict.not_testable
    assert check.relative_error is None


def test_a_kink_is_not_testable_even_where_the_numbers_agree() -> None:
    check = check_central(0.0, lambda v: max(v, 0.0), 0.0, step=CENTRAL_STEP, rounding=0.0, kink=True)
    assert check.verdict is Verdict.not_testable
    assert "kink" in check.reason


def test_a_function_that_bends_within_the_step_is_not_testable() -> None:
    def steep(v: float) -> float:
        return math.sin(1e5 * v)

    check = check_central(1e5, steep, 0.0, step=CENTRAL_STEP, rounding=EPS)
    assert check.verdict is Verdict.not_testable
    assert "bends" in check.reason


def test_a_complex_step_that_underflows_is_not_testable() -> None:
    assert check_complex(1e-310, lambda v: 1e-310 * v, 0.0, rounding=0.0).verdict is Verdict.not_testable


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_relative_error_is_symmetric_and_at_most_1(a: float, b: float) -> None:
    error = relative_error(a, b)
    assert error == relative_error(b, a)
    assert (error is None) == (a == b == 0)
    assert error is None or 0 <= error <= 1
