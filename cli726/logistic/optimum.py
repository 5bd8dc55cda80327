"""The minimum of the loss by Newton's method (iterative reweighted least squares): what descents are judged by.

Separable points have no minimum: the loss falls for ever as the weights grow. That is decided exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from cli726.document import Finding
from cli726.errors import ComputationError
from cli726.logistic.findings import explain_newton
from cli726.logistic.model import EPSILON, hessian, sigmoid, softplus
from cli726.logistic.points import Array, Points, Summary, center, summarise
from cli726.logistic.separation import balanced, exact_rank, separate, separates, whole_rows

__all__ = ["Iteration", "Minimum", "NewtonResult", "Optimum", "find_optimum", "solve"]

MAX_ITERATIONS = 300
# Newton's decrement squared, about twice the loss still to be won, at which to stop: far below what float64 can tell
# apart in the loss, for the weights' sake.
LEFT = 1e-26
HALVINGS = 60
# The share of the heaviest point's weight below which Newton's method has left a point behind it.
BEHIND = 1e-9
# A condition number above it is rounding.
LARGEST_CONDITION = 1e12


@dataclass(frozen=True)
class Iteration:
    """One Newton step: the state before it, and how it was taken.

    Attributes:
        nll: Loss before the step.
        gradient_norm: Norm of its gradient, in the coordinates of w.
        step: The share of the full Newton step that was taken, 1 or a power of 1/2; 0 for the last, which takes none.
    """

    nll: float
    gradient_norm: float
    step: float


@dataclass(frozen=True, eq=False)
class Optimum:
    """The minimum: its weights (D,), None where it is at infinity, and its loss, there the infimum."""

    w: Array | None
    nll: float


@dataclass(frozen=True, eq=False)
class Minimum:
    """Everything about the minimum.

    Attributes:
        optimum: Weights and loss.
        separation: "complete" where the classes can be separated, "quasi-complete" where they can but for points of
            both classes on the separator; None otherwise.
        direction: Unit vector (D,) that separates; None where `separation` is.
        rank: Of X, exactly; below D, weights that differ in some directions give the same loss.
        condition: Largest over smallest curvature at the minimum; None where there is no single minimum.
        iterations: Every state of Newton's method, one more than the steps taken.
        path: Weights before each step, shape (steps + 1, D).
    """

    optimum: Optimum
    separation: str | None
    direction: Array | None
    rank: int
    condition: float | None
    iterations: Sequence[Iteration]
    path: Array


@dataclass(frozen=True, eq=False)
class NewtonResult:
    """The minimum as an answer of its own; fields as in `Minimum`, `path_w` are the weights of `path`'s states."""

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


def solve(points: Points, *, centered: bool = False) -> NewtonResult:
    """Return the weights of minimum loss, by Newton's method with step halving from w = 0.

    Args:
        points: As they were read.
        centered: Centre the inputs first.

    Raises:
        ComputationError: if the method fails to reach a vanishing gradient.

    Source: Bishop (2006), section 4.3.3.
    """
    used = center(points) if centered else points
    found = find_optimum(used)
    bare = NewtonResult(
        used.name, summarise(used), len(found.iterations) - 1, found.optimum.w, found.optimum.nll,
        found.iterations[-1].gradient_norm, found.separation, found.direction, found.rank, found.condition,
        found.iterations, found.path,
    )  # fmt: skip
    return replace(bare, findings=tuple(explain_newton(bare)))


def find_optimum(points: Points) -> Minimum:
    """Minimise the loss from w = 0, and decide whether there is a minimum.

    Raises:
        ComputationError: if the loss can't be decreased though its gradient has not vanished.

    Source: Bishop, section 4.3.3, eq. 4.99; step halving: Boyd and Vandenberghe (2004), section 9.5.2.
    """
    rows, scales = whole_rows(points.signed)
    A, back = standardised(points)
    z, path, states = np.zeros(A.shape[1]), [], []
    sides = False
    for _ in range(MAX_ITERATIONS):
        w = back @ z
        path.append(w)
        slope, step = newton_step(A, z)
        left = -float(slope @ step)
        sides = (A @ z).min() > 0 and separates(rows, scales, w)
        length = 0.0 if sides or left <= LEFT else halved(A, z, step, left)
        pull = points.signed.T @ sigmoid(-(A @ z)) / len(A)
        states.append(Iteration(loss_of(A, z), float(np.linalg.norm(pull)), length))
        if length == 0:
            break
        z = z + length * step
    rank = full if numerical_rank(A) == (full := A.shape[1]) else exact_rank(rows)
    if sides:
        return Minimum(Optimum(None, 0.0), "complete", unit(w.tolist()), rank, None, states, np.array(path))
    # Either all points hold each other in balance, or those do that have not been left behind.
    weights = sigmoid(-(A @ z))
    guesses = (np.arange(len(rows)), np.flatnonzero(weights > BEHIND * weights.max()))
    known = next((part.tolist() for part in guesses if balanced([rows[n] for n in part], A[part], weights[part])), ())
    direction, boundary = separate(rows, known)
    if direction is not None:
        exact = [value * scale for value, scale in zip(direction, scales, strict=True)]
        infimum = find_optimum(chosen(points, boundary)).optimum.nll * len(boundary) / len(rows) if boundary else 0.0
        kind = "quasi-complete" if boundary else "complete"
        return Minimum(Optimum(None, infimum), kind, unit(exact), rank, None, states, np.array(path))
    nll = states[-1].nll
    if left > 1e-12 * nll:
        raise ComputationError(
            f"Newton's method must end where the gradient vanishes, got norm {states[-1].gradient_norm:.1e} after "
            f"{len(states)} iterations; rescale or centre the features"
        )
    least, *_, largest = np.linalg.eigvalsh(hessian(points, w))
    condition = float(largest / least) if rank == full and largest < LARGEST_CONDITION * least else None
    return Minimum(Optimum(w, nll), None, None, rank, condition, states, np.array(path))


def chosen(points: Points, rows: Sequence[int]) -> Points:
    """Return some of the points."""
    return Points(points.name, points.X[rows], points.t[rows], points.features, points.bias, points.means)


def unit(direction: Sequence[float] | Sequence[Fraction]) -> Array:
    """Return a direction as a unit vector, however large or small its numbers are."""
    exact = [Fraction(value) for value in direction]
    largest = max(map(abs, exact))
    values = np.array([float(value / largest) for value in exact])
    return np.asarray(values / np.linalg.norm(values))


def standardised(points: Points) -> tuple[Array, Array]:
    """Return the signed points A (N, D) in coordinates that outliers can't spoil, and `back` with w = back @ z.

    Newton's steps don't depend on the coordinates, but their rounding does: each feature's median becomes 0 and its
    median distance from there 1.
    """
    X = points.X[:, :-1]
    middle = np.median(X, axis=0)
    spread = np.median(np.abs(X - middle), axis=0)
    widest = np.abs(X - middle).max(axis=0)
    # Beside the widest no spread is so small that squares of the coordinates would overflow.
    spread = np.maximum(np.where(spread > 0, spread, np.where(widest > 0, widest, 1.0)), 1e-150 * widest)
    signs = 2 * points.t - 1
    A = np.column_stack([(X - middle) / spread, np.ones(len(X))]) * signs[:, None]
    back = np.diag(np.append(1 / spread, 1.0))
    back[-1, :-1] = -middle / spread
    return A, back


def numerical_rank(A: Array) -> int:
    """Return the rank as far as floats can tell: where it is full, it is."""
    sizes = np.abs(A).max(axis=0)
    values = np.linalg.svd(A / np.where(sizes > 0, sizes, 1), compute_uv=False)
    return int((values > values[0] * max(A.shape) * EPSILON).sum())


def loss_of(A: Array, z: Array) -> float:
    return float(softplus(-(A @ z)).mean())


def newton_step(A: Array, z: Array) -> tuple[Array, Array]:
    """Return the gradient and the Newton step at z, by a singular value decomposition that squares no condition."""
    a = A @ z
    wrong = sigmoid(-a)
    slope = -(A.T @ wrong) / len(A)
    root = np.sqrt(wrong * sigmoid(a) / len(A))
    _, sizes, Vt = np.linalg.svd(A * root[:, None], full_matrices=False)
    kept = sizes > sizes[0] * max(A.shape) * EPSILON
    step: npt.NDArray[np.float64] = Vt[kept].T @ (-(Vt[kept] @ slope) / sizes[kept] ** 2)
    return slope, step


def halved(A: Array, z: Array, step: Array, decrement: float) -> float:
    """Return the largest of 1, 1/2, ... at which the loss falls by a fair share of what its slope promises, or 0."""
    # Near the minimum the promise is smaller than the loss's rounding, which must not stop the last steps.
    before = loss_of(A, z) * (1 + 1e-14)
    for halving in range(HALVINGS):
        length = 0.5**halving
        if loss_of(A, z + length * step) <= before - 1e-4 * length * decrement:
            return length
    return 0.0
