"""Problem 5.1 and 5.2: gradient descent, measured step by step; several rates side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cli726.errors import RequestError
from cli726.logistic.curvature import gradients, step_curvature
from cli726.logistic.explain import explain_comparison, explain_descent
from cli726.logistic.lockstep import Path, check_rates, descend
from cli726.logistic.model import choose_start, curvature_bound, hessian, largest_eigenvalue
from cli726.logistic.optimum import NewtonPath, find_optimum
from cli726.logistic.points import Array, Points, center
from cli726.logistic.results import (
    LEVELS,
    Comparison,
    Form,
    GradientDescent,
    LambdaMax,
    Reached,
    settled,
    summarise,
)

__all__ = ["compare", "condition_number", "gradient_descent", "slope_intercept"]

# A change of the error this small, relative to it, may be rounding.
ROUNDING = 1e-12
# How many times the tolerance a step's slope must have promised, for a stop to be called false.
FALSE = 10


@dataclass(frozen=True, eq=False)
class Prepared:
    """One form of the inputs, its optimum, and a descent at each rate."""

    points: Points
    newton: NewtonPath
    bound: float
    condition: float | None
    paths: Sequence[Path]


def gradient_descent(
    points: Points,
    eta: float = 0.5,
    *,
    max_epochs: int = 500,
    tol: float = 1e-5,
    start: Sequence[float] | None = None,
    centered: bool = False,
) -> GradientDescent:
    """Gradient descent on the mean negative log-likelihood, and why it does what it does.

    Args:
        points: As they were read.
        eta: Learning rate.
        max_epochs: At least 1.
        tol: Stop when the error changes by less than this, in nats a point; 0 never stops.
        start: Weights, one for each feature and the bias; default 0.1, 0, ..., 0.
        centered: Descend on centred inputs.

    Raises:
        RequestError: for a rate, tolerance, number of epochs or start that is none.

    Source: Bishop (2006), eq. 4.90 and 4.91 divided by N; eq. 5.41.
    """
    return measured(points, [eta], max_epochs, tol, start, centered)[0]


def compare(
    points: Points,
    etas: Sequence[float] = (0.5, 0.3, 0.1, 0.05, 0.01),
    *,
    max_epochs: int = 500,
    tol: float = 1e-5,
    start: Sequence[float] | None = None,
    centered: bool = False,
) -> Comparison:
    """Gradient descent at several rates; arguments and errors as for `gradient_descent`."""
    runs = measured(points, etas, max_epochs, tol, start, centered)
    bare = Comparison(runs[0].data, runs[0].points, runs[0].optimum, tuple(runs))
    return replace(bare, findings=tuple(explain_comparison(bare)))


def measured(
    points: Points,
    etas: Sequence[float],
    max_epochs: int,
    tol: float,
    start: Sequence[float] | None,
    centered: bool,
) -> list[GradientDescent]:
    """Descend at every rate, on the inputs as they were read and centred, and measure those asked for."""
    check_rates(etas)
    if max_epochs < 1:
        raise RequestError(f"--max-epochs must be at least 1, got {max_epochs}")
    if not 0 <= tol < np.inf:
        raise RequestError(f"--tol must be a finite number, 0 or more, got {tol:g}; 0 never stops early")
    w = choose_start(points, start)
    forms = [prepare(form, etas, w, max_epochs, tol) for form in (points, center(points))]
    return [measure(forms[centered], run, forms, max_epochs, tol) for run in range(len(etas))]


def prepare(points: Points, etas: Sequence[float], start: Array, max_epochs: int, tol: float) -> Prepared:
    newton = find_optimum(points)
    paths = descend(points, etas, start, max_epochs, tol)
    return Prepared(points, newton, curvature_bound(points), condition_number(points, newton), paths)


def measure(used: Prepared, run: int, forms: Sequence[Prepared], max_epochs: int, tol: float) -> GradientDescent:
    """Everything about one descent."""
    path, points = used.paths[run], used.points
    before = path.w[:-1]
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = gradients(points, before)
        eta_q = path.eta * step_curvature(points, before, slopes, path.eta)
        squares = (slopes**2).sum(axis=1)
        gap = path.nll - used.newton.optimum.nll
        changes = np.diff(path.nll)
    rises = np.flatnonzero(changes > 0) + 1
    disagree = (eta_q[:-1] > 2) != (changes > 0)
    turned = (slopes[1:] * slopes[:-1]).sum(axis=1) < -(ROUNDING**2) * squares.max()
    beyond_rounding = np.abs(changes) > ROUNDING * np.maximum(1, path.nll[1:])
    promised = path.eta * squares[-2] if len(squares) > 1 else 0.0
    bare = GradientDescent(
        data=points.name,
        points=summarise(points),
        eta=path.eta,
        max_epochs=max_epochs,
        tol=tol,
        epochs=len(path.nll),
        nll=path.nll,
        w=path.w,
        slope_intercept=slope_intercept(points, path.w),
        converged=path.stop == "tolerance",
        diverged=path.stop == "overflow",
        stop=reason(path, changes, max_epochs, tol),
        false_stop=path.stop == "tolerance" and bool(promised > FALSE * tol),
        optimum=used.newton.optimum,
        gap=float(gap[-1]),
        gradient_norm=float(np.sqrt(squares[-1])),
        lambda_max=curvatures(used, before, diverged=path.stop == "overflow"),
        eta_q=eta_q,
        rises=tuple(rises.tolist()),
        unexplained=tuple((np.flatnonzero(disagree & beyond_rounding) + 1).tolist()),
        reversals=tuple((np.flatnonzero(turned) + 1).tolist()),
        within=tuple(Reached(level, evaluations(settled(gap, level), points)) for level in LEVELS),
        as_read=form(forms[0], run),
        centred=form(forms[1], run),
    )
    return replace(bare, findings=tuple(explain_descent(bare, used.newton)))


def form(prepared: Prepared, run: int) -> Form:
    """What centring is judged by."""
    nll = prepared.paths[run].nll
    return Form(prepared.bound, prepared.condition, len(nll), int((np.diff(nll) > 0).sum()), float(nll[-1]))


def evaluations(epoch: int | None, points: Points) -> int | None:
    """Gradients of single points that came before the error of `epoch`."""
    return None if epoch is None else epoch * len(points.X)


def reason(path: Path, changes: Array, max_epochs: int, tol: float) -> str:
    """What ended a descent, in words."""
    if path.stop == "tolerance":
        return f"the error changed by {abs(changes[-1]):.2g}, less than the tolerance {tol:g}"
    if path.stop == "overflow":
        return f"the numbers grew beyond the largest float in epoch {len(path.nll) - 1}"
    return f"the limit of {max_epochs} epochs was reached"


def slope_intercept(points: Points, w: Array) -> Array | None:
    """The separator x2 = slope x1 + intercept of each weight vector, (K, 3) -> (K, 2); NaN where w2 is 0.

    None for other than two features.
    """
    if len(points.features) != 2:
        return None
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        lines = -w[:, [0, 2]] / w[:, [1]]
    lines[~np.isfinite(lines).all(axis=1)] = np.nan
    return np.asarray(lines)


def curvatures(used: Prepared, w: Array, *, diverged: bool) -> LambdaMax:
    """Largest curvature at both ends of a descent, at the optimum, and its bound."""
    optimum = used.newton.optimum.w
    return LambdaMax(
        start=largest_eigenvalue(hessian(used.points, w[0])),
        end=None if diverged else largest_eigenvalue(hessian(used.points, w[-1])),
        optimum=None if optimum is None else largest_eigenvalue(hessian(used.points, optimum)),
        bound=used.bound,
    )


def condition_number(points: Points, newton: NewtonPath) -> float | None:
    """Largest over smallest curvature at the optimum; None where there is no single optimum."""
    if newton.optimum.w is None or newton.rank < points.X.shape[1]:
        return None
    least, *_, largest = np.linalg.eigvalsh(hessian(points, newton.optimum.w))
    return float(largest / least) if least > 0 else None
