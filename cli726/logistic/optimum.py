"""The optimum, by Newton's method (iterative reweighted least squares) with step halving: what descents are judged by.

Separable points have no optimum: the error falls for ever as the weights grow. That is detected, with a certificate:
a vector that puts no point on the wrong side (Albert and Anderson, 1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cli726.errors import ComputationError
from cli726.logistic.model import sigmoid, softplus
from cli726.logistic.points import Array, Points

__all__ = ["Iteration", "NewtonPath", "Optimum", "find_optimum"]

MAX_ITERATIONS = 200
# Newton's decrement squared, about twice the error still to be won, at which to stop. Without separation far below what
# float64 can tell apart in the error, for the weights' sake; with it there are no such weights.
LEFT = {None: 1e-26, "quasi-complete": 1e-14}
HALVINGS = 60


@dataclass(frozen=True)
class Iteration:
    """One Newton step: the state before it, and how it was taken.

    Attributes:
        nll: Mean negative log-likelihood before the step.
        gradient_norm: Length of its gradient, in the coordinates of w.
        step: The share of the full Newton step that was taken, 1 or a power of 1/2; 0 for the last, which takes none.
    """

    nll: float
    gradient_norm: float
    step: float


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where the error is least.

    Attributes:
        w: Weights, shape (D,); None where the optimum is at infinity.
        nll: The least mean negative log-likelihood; its infimum where w is None.
    """

    w: Array | None
    nll: float


@dataclass(frozen=True, eq=False)
class NewtonPath:
    """What Newton's method found.

    Attributes:
        optimum: The weights and the error there.
        iterations: Every state, the last one included, so one more than the steps taken.
        w: Weights before each step, shape (steps + 1, D).
        separation: "complete" where a line separates the classes, "quasi-complete" where it does but for points of
            both classes on it; None otherwise.
        direction: Unit vector (D,) that separates; None where `separation` is.
        rank: Of X; below D, weights that differ in some directions give the same error, and w is one of many optima.
    """

    optimum: Optimum
    iterations: Sequence[Iteration]
    w: Array
    separation: str | None
    direction: Array | None
    rank: int


def find_optimum(points: Points) -> NewtonPath:
    """Minimise the mean negative log-likelihood from w = 0.

    Newton's steps don't depend on the basis of the features, so they are taken in an orthonormal one, where neither
    scale nor collinearity costs accuracy.

    Raises:
        ComputationError: if the error can't be decreased though its gradient has not vanished.

    Source: Bishop, section 4.3.3, eq. 4.99; step halving: Boyd and Vandenberghe (2004), section 9.5.2.
    """
    Q, back = orthonormal(points.signed)
    z = np.zeros(Q.shape[1])
    states, path = [], []
    separation, direction = None, None
    for _ in range(MAX_ITERATIONS):
        path.append(back @ z)
        slope, step = newton_step(Q, z)
        proof = separating(Q, z, step)
        # A later proof is the better one: what the step does to points on the boundary dies away.
        if proof[0]:
            separation, direction = proof
        nll, norm = error_of(Q, z), float(np.linalg.norm(points.signed.T @ sigmoid(-(Q @ z))) / len(Q))
        left = -float(slope @ step)
        length = halved(Q, z, step, left) if separation != "complete" and left > LEFT[separation] else 0.0
        states.append(Iteration(nll, norm, length))
        if length == 0:
            break
        z = z + length * step
    if separation is None and left > 1e-12 * nll:
        raise ComputationError(
            f"Newton's method must end where the gradient vanishes, got length {norm:.1e} after {len(states)} "
            "iterations; rescale or centre the features"
        )
    unit = None if direction is None else back @ direction / np.linalg.norm(back @ direction)
    optimum = Optimum(path[-1] if separation is None else None, 0.0 if separation == "complete" else nll)
    return NewtonPath(optimum, states, np.array(path), separation, unit, Q.shape[1])


def orthonormal(signed: Array) -> tuple[Array, Array]:
    """Q (N, rank) with orthonormal columns and `back` (D, rank) such that signed @ back = Q."""
    scale = np.abs(signed).max(axis=0)
    scale[scale == 0] = 1
    U, sizes, Vt = np.linalg.svd(signed / scale, full_matrices=False)
    rank = int((sizes > sizes[0] * max(signed.shape) * np.finfo(float).eps).sum())
    return U[:, :rank], Vt[:rank].T / sizes[:rank] / scale[:, None]


def error_of(Q: Array, z: Array) -> float:
    return float(softplus(-(Q @ z)).mean())


def newton_step(Q: Array, z: Array) -> tuple[Array, Array]:
    """Gradient and Newton step at z."""
    a = Q @ z
    wrong = sigmoid(-a)
    slope = -(Q.T @ wrong) / len(Q)
    curvature = (Q.T * (wrong * sigmoid(a))) @ Q / len(Q)
    return slope, np.asarray(np.linalg.lstsq(curvature, -slope, rcond=None)[0], dtype=np.float64)


def halved(Q: Array, z: Array, step: Array, decrement: float) -> float:
    """The largest of 1, 1/2, 1/4, ... at which the error falls by a fair share of what its slope promises, or 0."""
    # Near the optimum the promise is smaller than the error's rounding, which must not stop the last steps.
    before = error_of(Q, z) * (1 + 1e-14)
    for halving in range(HALVINGS):
        length = 0.5**halving
        if error_of(Q, z + length * step) <= before - 1e-4 * length * decrement:
            return length
    return 0.0


def separating(Q: Array, z: Array, step: Array) -> tuple[str | None, Array | None]:
    """The kind of separation that z, or the step from it, proves, and the direction that proves it.

    On its way to infinity Newton's method raises the margins of the points that a direction separates by about 1 a
    step, while those that lie on the boundary keep theirs.
    """
    for direction in (z, step):
        margins = Q @ direction
        if margins.min() > 1e-9 * np.abs(margins).max():
            return "complete", direction
    # Here `margins` are what the step gains. Where it gains little, it may be rounding.
    if margins.max() > 0.5 and margins.min() > -1e-6 * margins.max():
        return "quasi-complete", step
    return None, None
