"""Problem 5.1 and 5.2: gradient descent, measured step by step; several rates side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cli726.document import Finding
from cli726.errors import RequestError
from cli726.logistic import model
from cli726.logistic.findings import explain_comparison, explain_descent
from cli726.logistic.model import EPSILON, Path
from cli726.logistic.optimum import Optimum, find_optimum
from cli726.logistic.points import LARGEST, Array, Points, center

# The assignment's.
RATES = (0.5, 0.3, 0.1, 0.05, 0.01)
# Distances above the minimum loss, in nats a point, at which descents are compared: half-decades.
LEVELS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
# How many times the tolerance a step's slope must have promised, for a stop to be called false.
FALSE = 10
# How much centring must lower the bound on the curvature to be worth another descent.
WORTHWHILE = 1.2


@dataclass(frozen=True)
class LambdaMax:
    """Largest curvature at the start, the end (None if it diverged), the minimum (None if at infinity); its bound."""

    start: float | None
    end: float | None
    optimum: float | None
    bound: float


@dataclass(frozen=True)
class Form:
    """What centring may change: curvature's bound, condition number at the minimum (None where there is no single one),
    epochs, steps in which the loss rose, loss of the last weights.
    """

    bound: float
    condition: float | None
    epochs: int
    rises: int
    nll: float


@dataclass(frozen=True)
class Reached:
    """Gradients of single points before a descent came within `level` nats a point of the minimum, to stay, if it did;
    `gradient_descent`: the same of gradient descent at the same rate, where the two are compared.
    """

    level: float
    evaluations: int | None
    gradient_descent: int | None = None


@dataclass(frozen=True, eq=False)
class GradientDescent:
    """One descent, measured. Epochs are numbered from 0, as in the course's script; step k ends epoch k - 1.

    Shapes: `nll` (E,), before each update; `final` after the last; `w` (E + 1, D); `slope_intercept` (E + 1, 2), of the
    separator x2 = slope x1 + intercept, NaN where w2 is 0, None for other than two features; `eta_q` (E,), learning
    rate times the curvature that each step met, NaN where the gradient is 0. `gap` (0 where it is rounding) and
    `gradient_norm` are the final weights'; a `false_stop` met the rule by a step that crossed the valley to nearly the
    same height. `rises` are epochs whose loss in `nll` is above the one before. Beyond rounding: `risen`, the steps
    that raised the loss; `unexplained`, those where eta_q tells otherwise; `swings`, how often the loss turned from
    falling to rising or back, `turns`, the separator's slope; `largest_eta_q` of the steps that changed the loss.
    `as_read`, `centred`: what centring changes, where it was measured.
    """

    data: str
    points: Points
    eta: float
    max_epochs: int
    tol: float
    epochs: int
    nll: Array
    final: float
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
    risen: tuple[int, ...]
    unexplained: tuple[int, ...]
    swings: int
    largest_eta_q: float | None
    turns: int
    within: tuple[Reached, ...]
    as_read: Form | None = None
    centred: Form | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def form(self) -> Form:
        """Return the numbers by which centring is judged."""
        return Form(self.lambda_max.bound, self.optimum.condition, self.epochs, len(self.risen), self.final)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Gradient descent at several rates."""

    data: str
    points: Points
    optimum: Optimum
    runs: tuple[GradientDescent, ...]
    findings: tuple[Finding, ...] = ()


def gradient_descent(
    points: Points, eta: float = 0.5, *, max_epochs: int = 500, tol: float = 1e-5, start: Sequence[float] | None = None
) -> GradientDescent:
    """Descend on the mean negative log-likelihood, and measure why it does what it does.

    It stops when the loss changes by less than `tol` nats a point; 0 never stops. `start` has a weight for each feature
    and the bias; default 0.1, 0, ..., 0. What centring changes is measured where the loss rises.

    Raises:
        RequestError: for a rate, tolerance, number of epochs or start that is none.

    Source: Bishop (2006), eq. 4.90 and 4.91 divided by N; eq. 5.41.
    """
    (run,) = measured(points, [eta], max_epochs, tol, start)
    if points.means is not None:
        run = replace(run, centred=run.form)
    else:
        run, other = replace(run, as_read=run.form), center(points)
        if run.risen and model.curvature_bound(other) * WORTHWHILE < run.lambda_max.bound:
            run = replace(run, centred=measured(other, [eta], max_epochs, tol, start)[0].form)
    return replace(run, findings=tuple(explain_descent(run)))


def compare(
    points: Points, etas: Sequence[float] = RATES, *,
    max_epochs: int = 500, tol: float = 1e-5, start: Sequence[float] | None = None,
) -> Comparison:  # fmt: skip
    """Descend at several rates; arguments and errors as for `gradient_descent`."""
    runs = measured(points, etas, max_epochs, tol, start)
    runs = [replace(run, findings=tuple(explain_descent(run))) for run in runs]
    bare = Comparison(points.name, points, runs[0].optimum, tuple(runs))
    return replace(bare, findings=tuple(explain_comparison(bare)))


def measured(
    points: Points, etas: Sequence[float], max_epochs: int, tol: float, start: Sequence[float] | None
) -> list[GradientDescent]:
    """Return a descent at every rate, measured."""
    check_rates(etas)
    if max_epochs < 1:
        raise RequestError(f"--max-epochs must be at least 1, got {max_epochs}")
    if not 0 <= tol < np.inf:
        raise RequestError(f"--tol must be a finite number, 0 or more, got {tol:g}; 0 never stops early")
    optimum, w = find_optimum(points), choose_start(points, start)
    return [measure(points, optimum, path, max_epochs, tol) for path in model.descend(points, etas, w, max_epochs, tol)]


def measure(points: Points, optimum: Optimum, path: Path, max_epochs: int, tol: float) -> GradientDescent:
    """Return everything about one descent."""
    loss, w, nll = path.losses, path.w, path.losses[:-1]
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = model.gradients(points, w)
        eta_q = path.eta * model.step_curvature(points, w[:-1], slopes[:-1], path.eta)
        error = model.rounding(points, w, loss)
        changes = np.diff(loss)
        counted = np.abs(changes) > error[1:] + error[:-1]
        rose = counted & (changes > 0)
        gap = loss - optimum.nll
        gap[np.abs(gap) <= error + 64 * EPSILON * optimum.nll] = 0.0
        norms = np.linalg.norm(slopes, axis=1)
    lines = slope_intercept(points, w)
    converged, diverged = path.stop == "tolerance", path.stop == "overflow"
    met = eta_q[counted & np.isfinite(eta_q)]
    ends = w[0], None if diverged else w[-1], optimum.w
    start, end, least = (None if at is None else model.largest_eigenvalue(model.hessian(points, at)) for at in ends)
    # The step whose change was tested: did it begin with a slope that promised more, and end with the reverse?
    crossed = converged and path.eta * norms[-3] ** 2 > FALSE * tol and slopes[-3] @ slopes[-2] < 0
    stop = f"the limit of {max_epochs} epochs"
    if diverged:
        stop = f"the numbers grew beyond the largest float in epoch {len(nll) - 1}"
    elif converged:
        stop = f"the loss changed by {abs(loss[-2] - loss[-3]):.2g}, less than the tolerance {tol:g}"
    return GradientDescent(
        data=points.name, points=points, eta=path.eta, max_epochs=max_epochs, tol=tol, epochs=len(nll),
        nll=nll, final=float(loss[-1]), w=w, slope_intercept=lines, converged=converged,
        diverged=diverged, stop=stop, false_stop=bool(crossed),
        optimum=optimum, gap=float(gap[-1]), gradient_norm=float(norms[-1]), eta_q=eta_q,
        lambda_max=LambdaMax(start, end, least, model.curvature_bound(points)),
        rises=tuple((np.flatnonzero(np.diff(nll) > 0) + 1).tolist()),
        risen=tuple((np.flatnonzero(rose) + 1).tolist()),
        unexplained=tuple((np.flatnonzero(counted & ((eta_q > 2) != rose)) + 1).tolist()),
        swings=count_turns(changes[counted]), largest_eta_q=float(met.max()) if met.size else None,
        turns=0 if lines is None else slope_turns(lines[:, 0]),
        within=tuple(Reached(level, settled(gap, level, len(points.X))) for level in LEVELS),
    )  # fmt: skip


def check_rates(etas: Sequence[float]) -> None:
    """Refuse learning rates that are not finite and above 0."""
    for eta in etas:
        if not 0 < eta < np.inf:
            raise RequestError(f"--eta must be a finite learning rate above 0, got {eta:g}; try 0.1")


def choose_start(points: Points, start: Sequence[float] | None) -> Array:
    """Return weights to start from, shape (D,): as given, if they are as they must be, or the course's."""
    count = points.X.shape[1]
    start = [0.1] + [0.0] * (count - 1) if start is None else start
    if len(start) != count:
        names = ", ".join([*points.features, "bias"])
        raise RequestError(f"--start must give {count} weights, for {names}, got {len(start)}; separate them by commas")
    if not all(abs(w) <= LARGEST for w in start):
        given = ",".join(f"{w:g}" for w in start)
        raise RequestError(f"--start must give finite weights within ±{LARGEST:g}, got {given}; start nearer to 0")
    return np.array(start, dtype=np.float64)


def slope_intercept(points: Points, w: Array) -> Array | None:
    """Return x2 = slope x1 + intercept for each w, (K, 3) -> (K, 2), NaN where w2 is 0; None unless 2 features."""
    if len(points.features) != 2:
        return None
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        lines = -w[:, [0, 2]] / w[:, [1]]
    lines[~np.isfinite(lines).all(axis=1)] = np.nan
    return np.asarray(lines)


def count_turns(changes: Array) -> int:
    """Return how often changes, none of them 0, change their sign."""
    return int((np.diff(np.sign(changes)) != 0).sum())


def slope_turns(slopes: Array) -> int:
    """Return how often the separator's slope turned from rising to falling or back; where it is undefined, not."""
    known = slopes[np.isfinite(slopes)]
    changes = np.diff(known)
    return count_turns(changes[np.abs(changes) > 4 * EPSILON * (np.abs(known[1:]) + np.abs(known[:-1]))])


def settled(gap: Array, level: float, cost: int, hold: int = 1) -> int | None:
    """Return the evaluations, `cost` each, before the first of at least `hold` values at the end all within `level`."""
    above = np.flatnonzero(~(gap <= level))
    first = int(above[-1]) + 1 if above.size else 0
    return first * cost if first <= len(gap) - max(1, hold) else None
