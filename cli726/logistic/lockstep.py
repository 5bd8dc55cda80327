"""Descents in lockstep: all rates, and all orders of the points, advance together as one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from cli726.errors import RequestError
from cli726.logistic.model import sigmoid, softplus
from cli726.logistic.points import Array, Points

__all__ = ["Path", "Stop", "check_rates", "checkpoints", "descend", "orders", "stochastic_paths"]

Stop: TypeAlias = Literal["tolerance", "epochs", "overflow"]

# Numbers gathered at once, for a stretch of updates: they stay in the cache.
GATHERED = 1 << 17


@dataclass(frozen=True, eq=False)
class Path:
    """One descent.

    Attributes:
        eta: Learning rate.
        nll: Mean negative log-likelihood before each update, shape (E,).
        w: Weights before each update and after the last, shape (E + 1, D).
        stop: What ended it: the change of the error was below the tolerance, the epochs were used up, or the numbers
            grew beyond the largest float.
    """

    eta: float
    nll: Array
    w: Array
    stop: Stop


def check_rates(etas: Sequence[float]) -> None:
    """Refuse learning rates that are no rates.

    Raises:
        RequestError: for one that is not finite and above 0.
    """
    for eta in etas:
        if not 0 < eta < np.inf:
            raise RequestError(f"--eta must be a finite learning rate above 0, got {eta:g}; try 0.1")


def descend(points: Points, etas: Sequence[float], start: Array, max_epochs: int, tol: float) -> list[Path]:
    """Gradient descent from `start` at each rate.

    An epoch computes the error, then updates, then stops if the error has changed by less than `tol` since the epoch
    before; `tol` 0 never stops. This order is the course's script's.

    Args:
        points: N points.
        etas: R rates.
        start: Weights, shape (D,).
        max_epochs: At least 1.
        tol: In nats a point.

    Returns:
        R paths, in the order of `etas`.

    Source: Bishop (2006), eq. 4.90 and 4.91, both divided by N; eq. 5.41.
    """
    signed, rates = points.signed, np.array(etas)
    turned = np.ascontiguousarray(signed.T) / len(signed)
    W = np.repeat(start[:, None], len(rates), axis=1)  # (D, R)
    weights, errors = [W], []
    ended: dict[int, tuple[int, Stop]] = {}
    # What overflows is found by looking for it, and ends its descent; the others go on.
    with np.errstate(over="ignore", invalid="ignore"):
        for epoch in range(1, max_epochs + 1):
            against = -(signed @ W)  # (N, R)
            error = softplus(against).mean(axis=0)
            W = W + rates * (turned @ sigmoid(against))
            errors.append(error)
            weights.append(W)
            lost = ~(np.isfinite(error) & np.isfinite(W).all(axis=0))
            still = np.abs(error - errors[-2]) < tol if epoch > 1 else np.zeros(len(rates), dtype=bool)
            for run in np.flatnonzero(lost | still).tolist():
                ended.setdefault(run, (epoch, "overflow" if lost[run] else "tolerance"))
            if len(ended) == len(rates):
                break
    nll, w = np.array(errors), np.array(weights)  # (E, R), (E + 1, D, R)
    paths = []
    for run, eta in enumerate(etas):
        last, stop = ended.get(run, (max_epochs, "epochs"))
        paths.append(Path(eta, nll[:last, run], w[: last + 1, :, run], stop))
    return paths


def orders(seed: int, shuffles: int, count: int) -> Iterator[npt.NDArray[np.intp]]:
    """A fresh order of `count` points for every epoch and shuffle, shape (count, shuffles), without end.

    A shuffle's orders depend on the seed and its own number alone: more shuffles leave the first ones as they were.
    """
    streams = [np.random.default_rng([seed, shuffle]) for shuffle in range(shuffles)]
    while True:
        yield np.stack([stream.permutation(count) for stream in streams], axis=1)


def checkpoints(count: int, size: int) -> list[int]:
    """Numbers of points up to `count`, evenly spread on a logarithmic scale, at the ends of batches of `size`."""
    batches = np.unique(np.geomspace(1, -(-count // size), 40).round().astype(int))
    return sorted({min(int(batch) * size, count) for batch in batches})


def stochastic_paths(
    points: Points, etas: Sequence[float], start: Array, epochs: int, batch_size: int, seed: int, shuffles: int
) -> Iterator[tuple[int, Array]]:
    """Stochastic gradient descent from `start` at R rates in S orders of the points, drawn anew for every epoch.

    An update takes the next `batch_size` points (fewer at an epoch's end) and their mean gradient.

    Yields:
        Per-example gradient evaluations so far, and the weights, shape (R, S, D): at the start, at `checkpoints` in
        the first epoch, at the end of every epoch.

    Source: Bishop (2006), eq. 5.43; reshuffling: Bottou (2012), "Stochastic Gradient Descent Tricks", section 4.1.
    """
    rates = np.repeat(np.array(etas), shuffles)  # (R * S,)
    W = np.repeat(start[:, None], len(rates), axis=1)  # (D, R * S)
    # The label's sign is folded in: the gradient at a point is -sigma(-signed @ w) signed.
    columns = [np.ascontiguousarray(column) for column in points.signed.T]
    count = len(points.X)

    def seen() -> Array:
        return W.T.reshape(len(etas), shuffles, -1).copy()

    yield 0, seen()
    for epoch, order in zip(range(epochs), orders(seed, shuffles, count), strict=False):
        done = 0
        for stop in checkpoints(count, batch_size) if epoch == 0 else [count]:
            for part in stretches(order[done:stop], batch_size, len(rates) * len(columns)):
                advance(W, gather(columns, part, min(batch_size, len(part)), len(etas)), rates)
            done = stop
            yield epoch * count + stop, seen()


def stretches(order: npt.NDArray[np.intp], size: int, width: int) -> Iterator[npt.NDArray[np.intp]]:
    """The order cut into runs of whole batches, small enough to gather; the short batch, if any, alone at the end."""
    whole = len(order) - len(order) % size
    stride = size * max(1, GATHERED // (size * width))
    for first in range(0, whole, stride):
        yield order[first : min(first + stride, whole)]
    if whole < len(order):
        yield order[whole:]


def gather(columns: Sequence[Array], order: npt.NDArray[np.intp], size: int, rates: int) -> Array:
    """The points of each update, shape (updates, D, R * S), or (updates, D, size, R * S) for batches of several."""
    updates, shuffles = len(order) // size, order.shape[1]
    blocks = np.empty((updates, len(columns), size, rates, shuffles))
    for feature, column in enumerate(columns):
        blocks[:, feature] = column[order].reshape(updates, size, 1, shuffles)
    shape = (updates, len(columns), size, -1) if size > 1 else (updates, len(columns), -1)
    return blocks.reshape(shape)


def advance(W: Array, blocks: Array, rates: Array) -> None:
    """One update after the other, each for all runs at once, in place.

    An update is seven calls that allocate nothing; at this size their fixed costs are the time, so every call counts.

    Args:
        W: Weights, shape (D, K).
        blocks: Signed points, shape (updates, D, K) or (updates, D, B, K).
        rates: Shape (K,).
    """
    several = blocks.ndim == 4
    product = np.empty(blocks.shape[1:])
    margin = np.empty(blocks.shape[2:])
    total = np.empty_like(W) if several else product
    weights = W[:, None] if several else W
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
