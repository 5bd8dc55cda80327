"""Problem 5.3: stochastic gradient descent over many orders of the points, beside gradient descent at equal cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cli726.errors import RequestError
from cli726.logistic.explain_stochastic import explain_stochastic
from cli726.logistic.lockstep import check_rates, descend, stochastic_paths
from cli726.logistic.model import choose_start, mean_errors
from cli726.logistic.optimum import find_optimum
from cli726.logistic.points import Array, Points, center
from cli726.logistic.results import (
    FLOOR_EPOCHS,
    LEVELS,
    Band,
    Reached,
    StochasticComparison,
    StochasticRun,
    settled,
    summarise,
)
from cli726.reporting import Reporter, Silent

__all__ = ["stochastic_descent"]

SILENT = Silent()
LOW, MEDIAN, HIGH = 10, 50, 90
# Updates that take seconds, so that somebody will want to see them pass.
LONG = 500_000
# For how much of the run a median must have stayed near the optimum: a last value that happens to be low is no arrival.
HELD = 0.05


def stochastic_descent(
    points: Points,
    etas: Sequence[float] = (0.5, 0.3, 0.1, 0.05, 0.01),
    *,
    epochs: int = 500,
    batch_size: int = 1,
    shuffles: int = 20,
    seed: int = 0,
    start: Sequence[float] | None = None,
    centered: bool = False,
    reporter: Reporter = SILENT,
) -> StochasticComparison:
    """Stochastic gradient descent at several rates, reshuffled every epoch; gradient descent for as many evaluations.

    Args:
        points: N points, as they were read.
        etas: Learning rates.
        epochs: Passes over the points, at least 1.
        batch_size: Points an update, 1 to N.
        shuffles: Independent orders, at least 1; the same ones at every rate.
        seed: Of the orders.
        start: Weights, one for each feature and the bias; default 0.1, 0, ..., 0.
        centered: Descend on centred inputs.
        reporter: Told about every epoch where there is much to do.

    Raises:
        RequestError: for a rate, batch size, number or start that is none.

    Source: Bishop (2006), eq. 5.43.
    """
    check_rates(etas)
    if min(epochs, shuffles) < 1:
        raise RequestError(f"--epochs and --shuffles must be at least 1, got {epochs} and {shuffles}")
    if not 1 <= batch_size <= len(points.X):
        raise RequestError(f"--batch-size must be from 1 to the number of points, {len(points.X)}, got {batch_size}")
    w = choose_start(points, start)
    used = center(points) if centered else points
    newton = find_optimum(used)
    paths = stochastic_paths(used, etas, w, epochs, batch_size, seed, shuffles)
    updates = epochs * -(-len(used.X) // batch_size)
    if updates > LONG:
        paths = reported(paths, reporter, epochs, len(used.X), updates)
    taken, weights = zip(*paths, strict=True)
    errors = mean_errors(used, np.array(weights))  # (checkpoints, R, S)
    full = descend(used, etas, w, epochs + 1, 0.0)
    runs = []
    for run, eta in enumerate(etas):
        # Where gradient descent overflows its path ends; the epochs that it lacks have no error.
        reference = np.full(epochs + 1, np.nan)
        reference[: len(full[run].nll)] = full[run].nll
        runs.append(summarise_run(eta, np.array(taken), errors[:, run], reference, newton.optimum.nll, len(used.X)))
    bare = StochasticComparison(
        data=used.name,
        points=summarise(used),
        epochs=epochs,
        batch_size=batch_size,
        shuffles=shuffles,
        seed=seed,
        optimum=newton.optimum,
        runs=tuple(runs),
    )
    return replace(bare, findings=tuple(explain_stochastic(bare, newton)))


def reported(
    paths: Iterable[tuple[int, Array]], reporter: Reporter, epochs: int, count: int, updates: int
) -> Iterator[tuple[int, Array]]:
    """The same paths, an epoch reported as it ends."""
    reporter.start("stochastic gradient descent", epochs)
    for done, weights in paths:
        if done and done % count == 0:
            reporter.advance(1)
        yield done, weights
    reporter.finish(f"stochastic gradient descent: {epochs} epochs, {updates:,} updates")


def summarise_run(
    eta: float, evaluations: npt.NDArray[np.int64], errors: Array, reference: Array, least: float, count: int
) -> StochasticRun:
    """The bands of one rate, and when it came near the optimum, beside gradient descent.

    Args:
        eta: Learning rate.
        evaluations: Of each checkpoint, shape (C,).
        errors: There, of each order, shape (C, S).
        reference: Error of gradient descent after each epoch, shape (E + 1,).
        least: The least error.
        count: N.
    """
    ends, first = evaluations % count == 0, evaluations <= count
    whole, opening = band(evaluations[ends], errors[ends]), band(evaluations[first], errors[first])
    gap, reference_gap = whole.nll_median - least, reference - least
    within = []
    for level in LEVELS:
        epochs = settled(gap, level, round(HELD * len(gap))), settled(reference_gap, level)
        within.append(Reached(level, *(None if epoch is None else epoch * count for epoch in epochs)))
    last = mean_gap(gap, 1)
    still = len(gap) > FLOOR_EPOCHS and last > 0.9 * mean_gap(gap, 2)
    return StochasticRun(
        eta=eta,
        diverged=not bool(np.isfinite(errors).all()),
        evaluations=whole.evaluations,
        nll_median=whole.nll_median,
        nll_low=whole.nll_low,
        nll_high=whole.nll_high,
        first_epoch=opening,
        gradient_descent=reference,
        within=tuple(within),
        gap=last,
        noise_floor=last if still else None,
    )


def band(evaluations: npt.NDArray[np.int64], errors: Array) -> Band:
    """Quantiles over the orders, (C, S) -> (C,) each; a diverged order counts as infinitely bad."""
    with np.errstate(invalid="ignore"):
        low, median, high = np.percentile(np.nan_to_num(errors, nan=np.inf), [LOW, MEDIAN, HIGH], axis=1)
    return Band(evaluations, median, low, high)


def mean_gap(gap: Array, quarter: int) -> float:
    """Mean over the last quarter of the epochs, or the one before it."""
    size = max(1, (len(gap) - 1) // 4)
    end = len(gap) - (quarter - 1) * size
    return float(gap[end - size : end].mean())
