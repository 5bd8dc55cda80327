"""Checks a derivative against numerical differentiation, and says so where the check cannot tell.

References:
    Bishop (2006), section 5.3.3 (central differences, eq. 5.69).
    Squire and Trapp (1998), "Using complex variables to estimate derivatives of real functions", SIAM Review 40(1).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "CENTRAL_STEP",
    "CENTRAL_TOLERANCE",
    "COMPLEX_STEP",
    "COMPLEX_TOLERANCE",
    "Check",
    "Verdict",
    "central_difference",
    "check_central",
    "check_complex",
    "complex_step",
    "relative_error",
]

# The cube root of the machine epsilon: there rounding (eps / step) and truncation (step squared) balance.
CENTRAL_STEP = sys.float_info.epsilon ** (1 / 3)
CENTRAL_TOLERANCE = 1e-7
# Nothing is subtracted, so the step may be so small that its square vanishes beside 1.
COMPLEX_STEP = 1e-20
COMPLEX_TOLERANCE = 1e-12
# Below this a derivative times the complex step comes near the smallest float64.
SMALLEST_TESTABLE = 1e-280


class Verdict(StrEnum):
    """What a check found."""

    passed = "passed"
    failed = "failed"
    not_testable = "not testable"


@dataclass(frozen=True)
class Check:
    """One derivative compared with one numerical estimate.

    Attributes:
        numeric: The estimate.
        relative_error: |a - n| / (|a| + |n|); None where both are zero.
        verdict: Passed, failed, or not testable.
        reason: Why it is not testable; empty otherwise.
    """

    numeric: float
    relative_error: float | None
    verdict: Verdict
    reason: str = ""


def relative_error(analytic: float, numeric: float) -> float | None:
    """|a - n| / (|a| + |n|), from 0 to 1; None for 0 / 0, which has no value."""
    scale = abs(analytic) + abs(numeric)
    return abs(analytic - numeric) / scale if scale else None


def central_difference(function: Callable[[float], float], at: float, step: float) -> float:
    """(f(at + step) - f(at - step)) / the distance between the two points as float64 holds them.

    Source: Bishop (2006), eq. 5.69.
    """
    above, below = at + step, at - step
    return (function(above) - function(below)) / (above - below)


def complex_step(function: Callable[[complex], complex], at: float) -> float:
    """Im f(at + ih) / h, for a function that is analytic near `at`.

    Source: Squire and Trapp (1998).
    """
    return function(complex(at, COMPLEX_STEP)).imag / COMPLEX_STEP


def check_central(
    analytic: float,
    function: Callable[[float], float],
    at: float,
    *,
    step: float,
    rounding: float,
    kink: bool = False,
) -> Check:
    """Compare a derivative with the central difference.

    Args:
        analytic: The derivative in question.
        function: The error as a function of that one variable.
        at: The variable's value.
        step: Distance to either side.
        rounding: Bound on the rounding error of one value of `function`.
        kink: Whether the function has a kink within the step.
    """
    numeric = central_difference(function, at, step)
    error = relative_error(analytic, numeric)
    if kink:
        return Check(numeric, error, Verdict.not_testable, "a kink within the step")
    if error is None:
        return Check(numeric, error, Verdict.not_testable, "the difference is exactly 0")
    if error <= CENTRAL_TOLERANCE:
        return Check(numeric, error, Verdict.passed)
    noise = rounding / step
    # The truncation error falls fourfold with half the step, so the two estimates tell how large it is.
    truncation = 2 * abs(numeric - central_difference(function, at, step / 2))
    if abs(analytic - numeric) <= noise + truncation:
        # The two estimates differ by rounding too: only beyond a few times that is it truncation.
        rounded = truncation <= 8 * noise
        lost = "the difference is lost to rounding" if rounded else "the function bends too much within the step"
        return Check(numeric, error, Verdict.not_testable, lost)
    return Check(numeric, error, Verdict.failed)


def check_complex(
    analytic: float, function: Callable[[complex], complex], at: float, *, rounding: float, kink: bool = False
) -> Check:
    """Compare a derivative with the complex step.

    Args:
        analytic: The derivative in question.
        function: The error as an analytic function of that one variable.
        at: The variable's value.
        rounding: Bound on the rounding error of `analytic`.
        kink: Whether `at` sits on a kink, where there is no derivative.
    """
    numeric = complex_step(function, at)
    error = relative_error(analytic, numeric)
    if kink:
        return Check(numeric, error, Verdict.not_testable, "on a kink")
    if error is None or error <= COMPLEX_TOLERANCE:
        return Check(numeric, error, Verdict.passed)
    if not math.isfinite(numeric) or max(abs(analytic), abs(numeric)) < SMALLEST_TESTABLE:
        return Check(numeric, error, Verdict.not_testable, "the step underflows")
    if abs(analytic - numeric) <= 2 * rounding:
        return Check(numeric, error, Verdict.not_testable, "the derivative itself is lost to cancellation")
    return Check(numeric, error, Verdict.failed)
