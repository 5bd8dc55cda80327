"""The minimum of the loss by Newton's method (iterative reweighted least squares): what descents are judged by.

Separable points have none: the loss falls for ever as the weights grow. That is decided exactly, in whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cli726.document import Finding
from cli726.errors import ComputationError
from cli726.logistic.findings import explain_newton
from cli726.logistic.model import EPSILON, hessian, sigmoid, softplus
from cli726.logistic.points import Array, Points

MAX_ITERATIONS = 300
# Newton's decrement squared, about twice the loss still to be won, at which to stop: far below what float64 can tell
# apart in the loss, for the weights' sake.
LEFT = 1e-26
HALVINGS = 60
# A condition number above it is rounding.
LARGEST_CONDITION = 1e12

# Arrays of Python's integers, which don't overflow.
Whole: TypeAlias = npt.NDArray[Any]


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
    z, states, apart = np.zeros(A.shape[1]), list[Iteration](), False
    for _ in range(MAX_ITERATIONS):
        w = back @ z
        slope, step = newton_step(A, z)
        left = -float(slope @ step)
        apart = (A @ z).min() > 0 and separates(rows, scales, w)
        length = 0.0 if apart or left <= LEFT else halved(A, z, step, left)
        pull = points.signed.T @ sigmoid(-(A @ z)) / len(A)
        states.append(Iteration(loss_of(A, z), float(np.linalg.norm(pull)), length))
        if length == 0:
            break
        z = z + length * step
    # Where floats find the rank full, it is; so the exact search, slow with many features, is rarely needed.
    rank, direction, boundary = A.shape[1], w.tolist(), list[int]()
    if not (apart and np.linalg.matrix_rank(A / np.maximum(np.abs(A).max(axis=0), 1e-300)) == rank):
        direction, boundary, rank = separate(rows, scales, sigmoid(-(A @ z)))
    unit: Array | None = None
    if direction is not None:
        # However large or small the numbers are.
        largest = max(abs(Fraction(value)) for value in direction)
        unit = np.array([float(Fraction(value) / largest) for value in direction])
        unit = np.asarray(unit / np.linalg.norm(unit))
        on = replace(points, X=points.X[boundary], t=points.t[boundary])
        infimum = solve(on).nll * len(boundary) / len(rows) if boundary else 0.0
        best = Optimum(None, infimum, "quasi-complete" if boundary else "complete", rank, None)
    elif left > 1e-12 * states[-1].nll:
        raise ComputationError(
            f"Newton's method must end where the gradient vanishes, got norm {states[-1].gradient_norm:.1e} after "
            f"{len(states)} iterations; rescale or centre the features"
        )
    else:
        least, *_, most = np.linalg.eigvalsh(hessian(points, w))
        single = rank == A.shape[1] and most < LARGEST_CONDITION * least
        best = Optimum(w, states[-1].nll, None, rank, float(most / least) if single else None)
    bare = NewtonResult(
        **vars(best), data=points.name, points=points, iterations=len(states) - 1, path=states,
        gradient_norm=states[-1].gradient_norm, direction=unit,
    )  # fmt: skip
    return replace(bare, findings=tuple(explain_newton(bare)))


def find_optimum(points: Points) -> Optimum:
    """Return what `solve` finds, for descents to be judged by."""
    found = solve(points)
    return Optimum(found.w, found.nll, found.separation, found.rank, found.condition)


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


def loss_of(A: Array, z: Array) -> float:
    """Return the mean loss of signed points A (N, D) at z (D,)."""
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


def whole_rows(signed: Array) -> tuple[Whole, list[Fraction]]:
    """Return `signed` (N, D) in integers, each column times a scale of its own, and these scales."""
    columns, scales = [], []
    for column in signed.T.tolist():
        ratios = [value.as_integer_ratio() for value in column]
        below = max(under for _, under in ratios)  # powers of 2, so that all others divide it
        values = [over * (below // under) for over, under in ratios]
        common = gcd(*values) or 1
        columns.append([value // common for value in values])
        scales.append(Fraction(below, common))
    return np.array(columns, dtype=object).T, scales


def separates(rows: Whole, scales: Sequence[Fraction], w: Array) -> bool:
    """Return whether these very weights have every point on its side."""
    if not np.isfinite(w).all():
        return False
    exact = [Fraction(value) / scale for value, scale in zip(w.tolist(), scales, strict=True)]
    common = lcm(*(value.denominator for value in exact))
    return bool((rows @ np.array([int(value * common) for value in exact], dtype=object) > 0).all())


def separate(
    rows: Whole, scales: Sequence[Fraction], weights: Array
) -> tuple[list[Fraction] | None, list[int], int]:  # fmt: skip
    """Return a vector that separates as many points as one can, the points on every boundary, and the rows' rank.

    A vector separates that puts no point on the wrong side and some on the right one (Albert and Anderson, 1984); it
    is None where no vector does. The simplex method maximises a sum of margins w . x, each times a positive share, over
    all w for which none is negative: either nothing is gained, and the points lie on every boundary, or a ray
    separates some, and the search goes on with the others. `weights` (N,), those of Newton's method at its end, are
    shares that nearly balance the points where no vector separates: the search then ends at once. Any others will do.

    Source: Dantzig's dictionaries without fractions (Bareiss, 1968), with the rule of Bland (1977), which can't cycle.
    """
    count, width = rows.shape
    shares = np.array([int(weight) + 1 for weight in (weights * (2.0**60 / weights.max())).tolist()], dtype=object)
    # w = W z / scale, where z are the margins of as many independent points, the `held`, as there are.
    W, scale, held = np.eye(width, dtype=int).astype(object), 1, [count] * width
    rank, direction, left = None, np.zeros(width, dtype=object), np.arange(count)

    def exchange(point: int, j: int) -> None:
        """Put a point's margin into z in place of the j-th."""
        nonlocal W, scale
        row, column = rows[point] @ W, W[:, j].copy()
        W = (W * row[j] - np.outer(column, row)) // scale
        W[:, j], held[j] = column, point
        W, scale = (W, row[j]) if row[j] > 0 else (-W, -row[j])

    while len(left):
        inside = {*left.tolist()}
        for j in range(width):
            if held[j] not in inside:  # its margin may be anything, so that it isn't to be held
                sizes = shares[left] * abs(rows[left] @ W[:, j])
                if sizes.any():
                    exchange(int(left[sizes.argmax()]), j)
        bound = {held[j]: j for j in range(width) if held[j] in inside}
        if rank is None:
            rank = len(bound)
            shares[[*bound]] = 1  # the points held take up what the others lack for balance
        gains = shares[left] @ rows[left] @ W
        entering = min((point for point, j in bound.items() if gains[j] > 0), default=None)
        if entering is None:
            break
        ray = W[:, bound[entering]]
        sides = rows[left] @ ray
        if (sides < 0).any():
            exchange(int(left[sides < 0][0]), bound[entering])
        else:
            # So large that no point changes sides that has been separated before.
            direction = direction * (1 + max(abs(rows @ ray))) + ray
            left = left[sides == 0]
    found = [value * factor for value, factor in zip(direction.tolist(), scales, strict=True)]
    return found if len(left) < count else None, left.tolist(), rank or 0
