"""What problem 5's functions return. Field names are the keys of `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cli726.findings import Finding
from cli726.logistic.optimum import Iteration, Optimum
from cli726.logistic.points import Array, Points

__all__ = [
    "FLOOR_EPOCHS",
    "LEVELS",
    "Band",
    "Comparison",
    "Form",
    "GradientDescent",
    "LambdaMax",
    "NewtonResult",
    "Reached",
    "StochasticComparison",
    "StochasticRun",
    "Summary",
    "settled",
    "summarise",
]

# Distances above the least error, in nats a point, at which descents are compared: half-decades.
LEVELS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
# With fewer epochs a quarter of them says nothing about a noise floor.
FLOOR_EPOCHS = 8


@dataclass(frozen=True, eq=False)
class Summary:
    """The points in short.

    Attributes:
        count: N.
        classes: Points of class 0 and of class 1.
        features: Their names; the bias comes after them.
        bias: "read from the file" or "added".
        means: What centring took from each feature; None where the inputs are as they were read.
    """

    count: int
    classes: tuple[int, int]
    features: tuple[str, ...]
    bias: str
    means: Array | None


@dataclass(frozen=True)
class LambdaMax:
    """Largest eigenvalue of the error's second derivatives.

    Attributes:
        start: Where the descent starts.
        end: Where its last error was computed; None if it diverged.
        optimum: At the optimum; None where that is at infinity.
        bound: What it can't exceed anywhere.
    """

    start: float
    end: float | None
    optimum: float | None
    bound: float


@dataclass(frozen=True)
class Form:
    """The same descent on inputs as they were read, or centred: what centring changes.

    Attributes:
        bound: What no curvature exceeds.
        condition: Largest over smallest curvature at the optimum; None where there is no single optimum.
        epochs: How many the descent took.
        rises: In how many of them the error had risen.
        nll: The last error.
    """

    bound: float
    condition: float | None
    epochs: int
    rises: int
    nll: float


@dataclass(frozen=True)
class Reached:
    """When a descent came within `level` of the least error for good.

    Attributes:
        level: In nats a point.
        evaluations: Per-example gradient evaluations; None if it didn't within those it had.
        gradient_descent: The same of gradient descent with the same rate, where the two are compared.
    """

    level: float
    evaluations: int | None
    gradient_descent: int | None = None


@dataclass(frozen=True, eq=False)
class GradientDescent:
    """One descent, measured. Epochs are numbered from 0, as in the course's script.

    Attributes:
        data: Whose points.
        points: The points in short.
        eta, max_epochs, tol: As asked for.
        epochs: How many were done, E.
        nll: Mean negative log-likelihood before each update, shape (E,).
        w: Weights before each update and after the last, shape (E + 1, D).
        slope_intercept: Of the separator x2 = slope x1 + intercept at each w, shape (E + 1, 2); NaN where w2 is 0;
            None for other than two features.
        converged: Whether the stopping rule ended it.
        diverged: Whether the numbers grew beyond the largest float.
        stop: What ended it, in words.
        false_stop: Whether the rule was met only because the step overshot the valley to the same height.
        optimum: The least error and where it is.
        gap: The last error less the least.
        gradient_norm: Length of the gradient where the last error was computed.
        lambda_max: Curvature.
        eta_q: Learning rate times the curvature that each step met, shape (E,): above 2 the step raises the error. NaN
            where the gradient is 0.
        rises: Epochs whose error is above the one before.
        unexplained: Epochs in which eta_q and the error disagree beyond rounding.
        reversals: Epochs whose gradient points against the one before, beyond rounding.
        within: When it came near the least error for good.
        as_read, centred: What centring changes.
        findings: What all this says.
    """

    data: str
    points: Summary
    eta: float
    max_epochs: int
    tol: float
    epochs: int
    nll: Array
    w: Array
    slope_intercept: Array | None
    converged: bool
    diverged: bool
    stop: str
    false_stop: bool
    optimum: Optimum
    gap: float
    gradient_norm: float
    lambda_max: LambdaMax
    eta_q: Array
    rises: tuple[int, ...]
    unexplained: tuple[int, ...]
    reversals: tuple[int, ...]
    within: tuple[Reached, ...]
    as_read: Form
    centred: Form
    findings: tuple[Finding, ...] = ()

    @property
    def has_slopes(self) -> bool:
        """Whether any separator of the path has a slope."""
        return self.slope_intercept is not None and bool(np.isfinite(self.slope_intercept).any())


@dataclass(frozen=True, eq=False)
class Comparison:
    """Gradient descent at several rates."""

    data: str
    points: Summary
    optimum: Optimum
    runs: tuple[GradientDescent, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class Band:
    """Median and 10 and 90 % quantiles of the error over the orders, each of shape (checkpoints,)."""

    evaluations: npt.NDArray[np.int64]
    nll_median: Array
    nll_low: Array
    nll_high: Array


@dataclass(frozen=True, eq=False)
class StochasticRun:
    """One rate.

    Attributes:
        eta: Learning rate.
        diverged: Whether in any order the numbers grew beyond the largest float.
        evaluations, nll_median, nll_low, nll_high: The band at the start and after each of E epochs, shape (E + 1,).
        first_epoch: The band within the first epoch.
        gradient_descent: Error of gradient descent with this rate at the same evaluations, shape (E + 1,).
        within: When the median came near the least error for good, beside gradient descent.
        gap: The median's mean distance above the least error over the last quarter of the epochs.
        noise_floor: The same, where it no longer falls: within a tenth of the quarter before, or above it; else None.
    """

    eta: float
    diverged: bool
    evaluations: npt.NDArray[np.int64]
    nll_median: Array
    nll_low: Array
    nll_high: Array
    first_epoch: Band
    gradient_descent: Array
    within: tuple[Reached, ...]
    gap: float
    noise_floor: float | None


@dataclass(frozen=True, eq=False)
class StochasticComparison:
    """Stochastic gradient descent at several rates, beside gradient descent at equal cost."""

    data: str
    points: Summary
    epochs: int
    batch_size: int
    shuffles: int
    seed: int
    optimum: Optimum
    runs: tuple[StochasticRun, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class NewtonResult:
    """The optimum.

    Attributes:
        data, points: Whose points, and in short.
        iterations: Newton steps taken.
        w: Weights there, shape (D,); None where the optimum is at infinity.
        nll: The least error, or its infimum.
        gradient_norm: Length of the gradient at the last iterate.
        separation: "complete", "quasi-complete" or None.
        direction: Unit vector that separates, shape (D,), or None.
        rank: Of the matrix of features and bias.
        condition: Largest over smallest curvature at the optimum; None where there is no single optimum.
        path: Every iterate's error, gradient and step.
        path_w: Its weights, shape (iterations + 1, D).
        findings: What all this says.
    """

    data: str
    points: Summary
    iterations: int
    w: Array | None
    nll: float
    gradient_norm: float
    separation: str | None
    direction: Array | None
    rank: int
    condition: float | None
    path: Sequence[Iteration]
    path_w: Array
    findings: tuple[Finding, ...] = ()


def summarise(points: Points) -> Summary:
    """The points in short."""
    ones = int(points.t.sum())
    return Summary(len(points.t), (len(points.t) - ones, ones), points.features, points.bias, points.means)


def settled(gap: Array, level: float, hold: int = 1) -> int | None:
    """The first position from which `gap` (n,) never exceeds `level` again, for `hold` values at least, or None."""
    above = np.flatnonzero(~(gap <= level))
    first = int(above[-1]) + 1 if above.size else 0
    return first if first <= len(gap) - max(1, hold) else None
