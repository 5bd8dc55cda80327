"""Logistic regression: the loss (mean negative log-likelihood), its derivatives, and descents on it in lockstep.

Sources: Bishop (2006), section 4.3, his errors divided by N; section 5.2.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from cli726.logistic.points import Array, Points

Stop: TypeAlias = Literal["tolerance", "epochs", "overflow"]

# Numbers in one temporary array: it stays in the cache, and long runs and large files don't need memory in proportion.
CHUNK = 1 << 16
# Numbers gathered at once, for a stretch of updates.
GATHERED = 1 << 17
EPSILON = float(np.finfo(float).eps)
# Below this reach the closed form of the curvature would cancel, and its series has converged.
SMALL_REACH = 0.05


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a)) elementwise, relatively exact at both ends; where exp overflows, 0 is right."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-a))


def softplus(a: Array) -> Array:
    """Return log(1 + exp(a)) elementwise; neither overflows nor loses small values, faster than logaddexp."""
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def chunks(points: Points, rows: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield `rows` in parts, each small enough to meet all N points in one temporary array."""
    size = max(1, CHUNK // len(points.X))
    return (rows[first : first + size] for first in range(0, len(rows), size))


def losses(points: Points, W: Array) -> Array:
    """Return the mean negative log-likelihood of each weight vector, (..., D) -> (...), in nats a point.

    Not finite where the weights aren't. Source: Bishop, eq. 4.90 / N, with log(1 + exp) kept whole, so that no label
    has probability 0.
    """
    rows, turned = chunks(points, W.reshape(-1, W.shape[-1])), points.signed.T
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([softplus(-(part @ turned)).mean(axis=1) for part in rows]).reshape(W.shape[:-1])


def gradients(points: Points, W: Array) -> Array:
    """Return the gradients of `losses`, (..., D) -> (..., D). Source: Bishop, eq. 4.91 / N."""
    rows, signed = chunks(points, W.reshape(-1, W.shape[-1])), points.signed
    return -np.concatenate([sigmoid(-(part @ signed.T)) @ signed for part in rows]).reshape(W.shape) / len(signed)


def rounding(points: Points, W: Array, loss: Array) -> Array:
    """Return how far rounding can have moved each loss, (..., D) and (...) -> (...).

    The softplus has slope 1 at most, so the error of an activation is the error of its loss; sums are pairwise.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(W) @ np.abs(points.X).mean(axis=0)
        return np.asarray(EPSILON * ((points.X.shape[1] + 2) * sizes + 32 * loss))


def hessian(points: Points, w: Array) -> Array:
    """Return the second derivatives of the loss at w (D,), shape (D, D). Source: Bishop, eq. 4.97 / N."""
    with np.errstate(over="ignore", invalid="ignore"):
        a = points.X @ w
    # 1 - y cancels where y is near 1; sigmoid(-a) does not.
    return np.asarray((points.X.T * (sigmoid(a) * sigmoid(-a))) @ points.X / len(a))


def largest_eigenvalue(matrix: Array) -> float:
    """Return that of a symmetric matrix, NaN where it is not finite."""
    return float(np.linalg.eigvalsh(matrix)[-1]) if np.isfinite(matrix).all() else np.nan


def curvature_bound(points: Points) -> float:
    """Return what no curvature exceeds, wherever w is: lambda_max(X'X) / (4 N), as y (1 - y) <= 1/4."""
    return largest_eigenvalue(points.X.T @ points.X) / (4 * len(points.X))


def step_curvature(points: Points, w: Array, slopes: Array, eta: float) -> Array:
    """Return the curvature that each step meets along the gradient, averaged over the step with weight 2 (1 - s).

    With it the loss changes in a step by exactly -eta |g|^2 (1 - eta q / 2), by Taylor's theorem. Of weights before
    each step and gradients there, (E, D) both -> (E,); NaN where the gradient is 0 or not finite.
    """
    q = np.full(len(w), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(slopes, axis=1)
        for part in chunks(points, np.flatnonzero(np.isfinite(norms) & (norms > 0))):
            # (E, N): each activation's rate of change along the gradient.
            along = (slopes[part] / norms[part, None]) @ points.X.T
            variance = mean_variance(w[part] @ points.X.T, eta * norms[part, None] * along)
            q[part] = (variance * along**2).mean(axis=1)
    return q


def mean_variance(a: Array, reach: Array) -> Array:
    """Return the integral over s from 0 to 1 of 2 (1 - s) sigma'(a - s r), elementwise.

    It is Taylor's remainder of the softplus, 2 (f(a - r) - f(a) + r sigma(a)) / r^2, the same for (-a, -r): with a <= 0
    nothing large cancels. For a small reach r it is the Taylor series of sigma'.
    """
    turn = np.where(a > 0, -1.0, 1.0)
    a, r = a * turn, reach * turn
    y = sigmoid(a)
    v, u = y * (1 - y), 1 - 2 * y
    odd = u * (1 / 3 + r**2 * ((1 - 12 * v) / 60 + r**2 * (1 - 60 * v + 360 * v**2) / 2520))
    even = 1 + r**2 * ((1 - 6 * v) / 12 + r**2 * (1 - 30 * v + 120 * v**2) / 360)
    safe = np.where(r == 0, 1, r)
    closed = 2 * ((softplus(a - r) - softplus(a)) / safe + y) / safe
    return np.where(np.abs(r) < SMALL_REACH, v * (even - r * odd), closed)


@dataclass(frozen=True, eq=False)
class Path:
    """One descent: losses (E + 1,) and weights (E + 1, D) before each update and after the last; what ended it."""

    eta: float
    losses: Array
    w: Array
    stop: Stop


def descend(points: Points, etas: Sequence[float], start: Array, max_epochs: int, tol: float) -> list[Path]:
    """Return gradient descent from `start` (D,) at each rate.

    An epoch computes the loss, then updates, then stops if the loss has changed by less than `tol` since the epoch
    before; `tol` 0 never stops. This order is the course's script's.

    Source: Bishop (2006), eq. 4.90 and 4.91, both divided by N; eq. 5.41.
    """
    whole = points.signed.T[None, :, :, None]  # one update of all N points, for every rate: (1, D, N, 1)
    weights: list[Array] = []
    found: list[Array] = []
    ended: dict[int, tuple[int, Stop]] = {}
    # What overflows is found by looking for it, and ends its descent; the others go on.
    for done, W in steps(etas, start, 1, ((epoch, [whole]) for epoch in range(1, max_epochs + 1))):
        weights.append(W[:, 0])
        found.append(losses(points, W[:, 0]))
        if done == 0:
            continue
        lost = ~(np.isfinite(found[-2]) & np.isfinite(weights[-1]).all(axis=1))
        with np.errstate(invalid="ignore"):
            still = np.abs(found[-2] - found[-3]) < tol if done > 1 else np.zeros(len(etas), dtype=bool)
        for run in np.flatnonzero(lost | still).tolist():
            ended.setdefault(run, (done, "overflow" if lost[run] else "tolerance"))
        if len(ended) == len(etas):
            break
    loss, w = np.array(found), np.array(weights)  # (E + 1, R), (E + 1, R, D)
    ends = [ended.get(run, (max_epochs, "epochs")) for run in range(len(etas))]
    return [
        Path(eta, loss[: last + 1, run], w[: last + 1, run], stop)
        for run, (eta, (last, stop)) in enumerate(zip(etas, ends, strict=True))
    ]


def stochastic_paths(
    points: Points, etas: Sequence[float], start: Array, epochs: int, batch_size: int, seed: int, shuffles: int
) -> Iterator[tuple[int, Array]]:
    """Yield stochastic gradient descent from `start` at R rates in S orders of the points, drawn anew for every epoch.

    An update takes the next `batch_size` points (fewer at an epoch's end) and their mean gradient. Yields per-example
    gradient evaluations so far, and the weights, shape (R, S, D): at the start, at `checkpoints` in the first epoch,
    at the end of every epoch.

    Source: Bishop (2006), eq. 5.43; reshuffling: Bottou (2012), "Stochastic Gradient Descent Tricks", section 4.1.
    """
    columns, count = [np.ascontiguousarray(column) for column in points.signed.T], len(points.X)

    def shuffled() -> Iterator[tuple[int, Iterable[Array]]]:
        for epoch, order in zip(range(epochs), orders(seed, shuffles, count), strict=False):
            for first, last in pairwise([0, *checkpoints(count, batch_size)] if epoch == 0 else [0, count]):
                yield epoch * count + last, gathered(columns, order[first:last], batch_size, len(etas))

    return steps(etas, start, shuffles, shuffled())


def steps(
    etas: Sequence[float], start: Array, shuffles: int, sampler: Iterable[tuple[int, Iterable[Array]]]
) -> Iterator[tuple[int, Array]]:
    """Yield the weights of R rates and S orders, shape (R, S, D), at the start and after each of a sampler's stretches.

    The sampler gives a number, which is handed on, and the batches up to there, as `advance` takes them.
    """
    rates = np.repeat(np.array(etas), shuffles)  # (R * S,)
    W = np.repeat(start[:, None], len(rates), axis=1)  # (D, R * S)
    for done, batches in chain([(0, ())], sampler):
        for blocks in batches:
            advance(W, blocks, rates)
        yield done, W.T.reshape(len(etas), shuffles, -1).copy()


def advance(W: Array, blocks: Array, rates: Array) -> None:
    """Make one update after the other, each for all runs at once, in place: of weights W (D, K), at rates (K,).

    `blocks` are signed points, (updates, D, K), or (updates, D, B, K) for batches of B; their K may be 1 where all runs
    take the same. The gradient at one is -sigma(-signed @ w) signed.
    """
    # An update is seven calls that allocate nothing: at this size their fixed costs are the time.
    several = blocks.ndim == 4
    weights = W[:, None] if several else W
    product = np.empty(np.broadcast_shapes(blocks.shape[1:], weights.shape))
    margin = np.empty(product.shape[1:])
    total = np.empty_like(W) if several else product
    share = rates / blocks.shape[2] if several else rates
    multiply, add, divide, exp, reduce = np.multiply, np.add, np.divide, np.exp, np.add.reduce
    # exp overflows to infinity for a point far on its right side, and the share that it pulls becomes 0, as it must.
    with np.errstate(over="ignore", invalid="ignore"):
        for points in blocks:
            multiply(weights, points, product)
            reduce(product, axis=0, out=margin)
            exp(margin, margin)
            add(margin, 1.0, margin)
            divide(share, margin, margin)
            multiply(points, margin, product)
            if several:
                reduce(product, axis=1, out=total)
            add(W, total, W)


def orders(seed: int, shuffles: int, count: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield a fresh order of `count` points for every epoch and shuffle, shape (count, shuffles), without end."""
    # A shuffle's orders depend on the seed and its own number alone: more shuffles leave the first ones as they were.
    streams = [np.random.default_rng([seed, shuffle]) for shuffle in range(shuffles)]
    while True:
        yield np.stack([stream.permutation(count) for stream in streams], axis=1)


def checkpoints(count: int, size: int) -> list[int]:
    """Return numbers of points up to `count`, at ends of batches of `size`, evenly spread on a logarithmic scale."""
    batches = np.unique(np.geomspace(1, -(-count // size), 40).round().astype(int))
    return sorted({min(int(batch) * size, count) for batch in batches})


def gathered(columns: Sequence[Array], order: npt.NDArray[np.intp], size: int, rates: int) -> Iterator[Array]:
    """Yield the points of each update in turn, as `advance` takes them; a short batch at the end comes alone."""
    count, shuffles = order.shape
    whole = count - count % size
    stride = size * max(1, GATHERED // (size * len(columns) * rates * shuffles))
    for first, last in pairwise(sorted({*range(0, whole, stride), whole, count})):
        batch = min(size, last - first)
        blocks = np.empty(((last - first) // batch, len(columns), batch, rates, shuffles))
        for feature, column in enumerate(columns):
            blocks[:, feature] = column[order[first:last]].reshape(-1, batch, 1, shuffles)
        yield blocks.reshape(*blocks.shape[: 3 if batch > 1 else 2], -1)
