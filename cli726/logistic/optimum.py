"""The minimum of the loss by Newton's method (iterative reweighted least squares): what descents are judged by.

Separable points have no minimum: the loss falls for ever as the weights grow. That is decided exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from cli726.document import Finding
from cli726.errors import ComputationError
from cli726.logistic.findings import explain_newton
from cli726.logistic.model import EPSILON, hessian, sigmoid, softplus
from cli726.logistic.points import Array, Points
from cli726.logistic.separation import Rows, balanced, exact_rank, separate, separates, whole_rows

__all__ = ["Iteration", "NewtonResult", "Optimum", "find_optimum", "solve"]

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
    """A state of Newton's method: loss, its gradient's norm, and the share of the full step taken next (last: 0)."""

    nll: float
    gradient_norm: float
    step: float


@dataclass(frozen=True, eq=False)
class Optimum:
    """The minimum: weights (D,), None where they are at infinity, and loss, there the infimum.

    `separation` is "complete" where the classes can be separated, "quasi-complete" where they can but for points of
    both on the separator, or None; `rank` that of X, exactly: below D, weights that differ in some directions give the
    same loss; `condition` largest over smallest curvature, None where there is no single minimum.
    """

    w: Array | None
    nll: float
    separation: str | None
    rank: int
    condition: float | None


@dataclass(frozen=True, eq=False)
class NewtonResult(Optimum):
    """The minimum and how it was found: steps, the last gradient's norm, all states (one more than steps), and a unit
    vector (D,) that separates, if one does.
    """

    data: str
    points: Points
    iterations: int
    gradient_norm: float
    path: Sequence[Iteration]
    direction: Array | None
    findings: tuple[Finding, ...] = ()


def solve(points: Points) -> NewtonResult:
    """Return the weights of minimum loss, by Newton's method with step halving from w = 0, and whether there are any.

    Raises:
        ComputationError: if the loss can't be decreased though its gradient has not vanished.

    Source: Bishop (2006), section 4.3.3, eq. 4.99; step halving: Boyd and Vandenberghe (2004), section 9.5.2.
    """
    rows, scales = whole_rows(points.signed)
    A, back = standardised(points)
    z, states, sides = np.zeros(A.shape[1]), list[Iteration](), False
    for _ in range(MAX_ITERATIONS):
        w = back @ z
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
    direction, boundary = (w.tolist(), []) if sides else separating(rows, scales, A, sigmoid(-(A @ z)))
    unit: Array | None = None
    if direction is not None:
        # However large or small the numbers are.
        largest = max(abs(Fraction(value)) for value in direction)
        unit = np.array([float(Fraction(value) / largest) for value in direction])
        unit = np.asarray(unit / np.linalg.norm(unit))
        at = list(boundary)
        infimum = solve(replace(points, X=points.X[at], t=points.t[at])).nll * len(at) / len(rows) if at else 0.0
        best = Optimum(None, infimum, "quasi-complete" if at else "complete", rank, None)
    else:
        if left > 1e-12 * states[-1].nll:
            raise ComputationError(
                f"Newton's method must end where the gradient vanishes, got norm {states[-1].gradient_norm:.1e} after "
                f"{len(states)} iterations; rescale or centre the features"
            )
        least, *_, most = np.linalg.eigvalsh(hessian(points, w))
        condition = float(most / least) if rank == full and most < LARGEST_CONDITION * least else None
        best = Optimum(w, states[-1].nll, None, rank, condition)
    bare = NewtonResult(
        **vars(best), data=points.name, points=points, iterations=len(states) - 1, path=states,
        gradient_norm=states[-1].gradient_norm, direction=unit,
    )  # fmt: skip
    return replace(bare, findings=tuple(explain_newton(bare)))


def find_optimum(points: Points) -> Optimum:
    """Return what `solve` finds, for descents to be judged by."""
    found = solve(points)
    return Optimum(found.w, found.nll, found.separation, found.rank, found.condition)


def separating(
    rows: Rows, scales: Sequence[Fraction], A: Array, weights: Array
) -> tuple[Sequence[Fraction] | None, Sequence[int]]:
    """Return a vector that separates, or None, and the points on every boundary; `weights` as Newton's method ended."""
    # Either all points hold each other in balance, or those do that have not been left behind.
    guesses = (np.arange(len(rows)), np.flatnonzero(weights > BEHIND * weights.max()))
    known = next((part.tolist() for part in guesses if balanced([rows[n] for n in part], A[part], weights[part])), ())
    direction, boundary = separate(rows, known)
    return direction and [value * scale for value, scale in zip(direction, scales, strict=True)], boundary


def standardised(points: Points) -> tuple[Array, Array]:
    """Return the signed points A (N, D) in coordinates that outliers can't spoil, and `back` with w = back @ z.

    Newton's steps don't depend on the coordinates, but their rounding does: each feature's median becomes 0 and its
    median distance from there 1.
    """
    X = points.X[:, :-1]
    far = np.abs(X - (middle := np.median(X, axis=0)))
    spread, widest = np.median(far, axis=0), far.max(axis=0)
    # Beside the widest no spread is so small that squares of the coordinates would overflow.
    spread = np.maximum(np.where(spread > 0, spread, np.where(widest > 0, widest, 1.0)), 1e-150 * widest)
    A = np.column_stack([(X - middle) / spread, np.ones(len(X))]) * (2 * points.t - 1)[:, None]
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
    return slope, np.asarray(Vt[kept].T @ (-(Vt[kept] @ slope) / sizes[kept] ** 2))


def halved(A: Array, z: Array, step: Array, decrement: float) -> float:
    """Return the largest of 1, 1/2, ... at which the loss falls by a fair share of what its slope promises, or 0."""
    # Near the minimum the promise is smaller than the loss's rounding, which must not stop the last steps.
    before, lengths = loss_of(A, z) * (1 + 1e-14), (0.5**halving for halving in range(HALVINGS))
    return next((x for x in lengths if loss_of(A, z + x * step) <= before - 1e-4 * x * decrement), 0.0)
