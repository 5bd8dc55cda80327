"""Problem 5.3: stochastic gradient descent over many shuffles of the points, beside gradient descent at equal cost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cli726.document import Finding
from cli726.errors import RequestError
from cli726.logistic.descent import LEVELS, RATES, Reached, check_rates, choose_start, settled
from cli726.logistic.findings import explain_stochastic
from cli726.logistic.model import Path, descend, losses, rounding, stochastic_paths
from cli726.logistic.optimum import Optimum, find_optimum
from cli726.logistic.points import Array, Points
from cli726.reporting import Reporter, Silent

SILENT = Silent()
# Updates that take seconds, so that somebody will want to see them pass.
LONG = 500_000
# For how much of the run a median must have stayed near the minimum: a last value that happens to be low is no arrival.
HELD = 0.05
# Fewer epochs can't show where a run settles.
SETTLING = 40
# How far apart the mean excess losses of a settled run's last two quarters may be, and of a run from the minimum.
STEADY = 0.1


@dataclass(frozen=True, eq=False)
class Band:
    """Median and 10 and 90 % quantiles of the loss over the shuffles, each of shape (checkpoints,)."""

    evaluations: npt.NDArray[np.int64]
    nll_median: Array
    nll_low: Array
    nll_high: Array


@dataclass(frozen=True, eq=False)
class StochasticRun(Band):
    """One rate: its band and `gradient_descent`, the loss of that at the same evaluations, of shape (epochs + 1,), and
    the band of the first epoch. `gap`: the median's mean excess over the minimum in the last quarter of the epochs;
    `noise_floor`: the same, where the run is long enough to show that it has settled there.
    """

    eta: float
    diverged: bool
    first_epoch: Band
    gradient_descent: Array
    within: tuple[Reached, ...]
    gap: float
    noise_floor: float | None = None


@dataclass(frozen=True, eq=False)
class StochasticComparison:
    """Several rates; `updates` of an epoch; `rounding`, which differences of the losses must exceed to be any."""

    data: str
    points: Points
    epochs: int
    batch_size: int
    updates: int
    shuffles: int
    seed: int
    optimum: Optimum
    rounding: float
    runs: tuple[StochasticRun, ...]
    findings: tuple[Finding, ...] = ()


def stochastic_descent(
    points: Points, etas: Sequence[float] = RATES, *, epochs: int = 500, batch_size: int = 1, shuffles: int = 20,
    seed: int = 0, start: Sequence[float] | None = None, reporter: Reporter = SILENT,
) -> StochasticComparison:  # fmt: skip
    """Descend stochastically at several rates, reshuffling every epoch, and by gradient descent at the same cost.

    An update takes `batch_size` points; the `shuffles` are independent orders, the same ones at every rate; `start` as
    for `gradient_descent`; the reporter hears of every epoch where there is much to do.

    Raises:
        RequestError: for a rate, batch size, number or start that is none.

    Source: Bishop (2006), eq. 5.43.
    """
    check_rates(etas)
    if min(epochs, shuffles) < 1:
        raise RequestError(f"--epochs and --shuffles must be at least 1, got {epochs} and {shuffles}")
    count = len(points.X)
    if not 1 <= batch_size <= count:
        raise RequestError(f"--batch-size must be from 1 to the number of points, {count}, got {batch_size}")
    w, optimum, updates = choose_start(points, start), find_optimum(points), -(-count // batch_size)
    listener = reporter if epochs * updates > LONG else SILENT
    listener.start("stochastic gradient descent", epochs)
    taken, weights = [], []
    for done, W in stochastic_paths(points, etas, w, epochs, batch_size, seed, shuffles):
        taken.append(done)
        weights.append(W)
        if done and done % count == 0:
            listener.advance(1)
    listener.finish(f"stochastic gradient descent: {epochs} epochs, {epochs * updates:,} updates")
    found = losses(points, np.array(weights))  # (checkpoints, R, S)
    runs = [
        summarise_run(full, np.array(taken), found[:, run], optimum.nll, epochs, count)
        for run, full in enumerate(descend(points, etas, w, epochs, 0.0))
    ]
    finite = np.isfinite(found)
    error = rounding(points, np.array(weights)[finite], found[finite]).max(initial=0.0)
    bare = StochasticComparison(
        data=points.name, points=points, epochs=epochs, batch_size=batch_size, updates=updates,
        shuffles=shuffles, seed=seed, optimum=optimum, rounding=2 * float(error), runs=tuple(runs),
    )  # fmt: skip
    bare = replace(bare, runs=tuple(replace(run, noise_floor=noise_floor(bare, run)) for run in runs))
    return replace(bare, findings=tuple(explain_stochastic(bare)))


def summarise_run(
    full: Path, evaluations: npt.NDArray[np.int64], found: Array, least: float, epochs: int, count: int
) -> StochasticRun:
    """Return the bands of one rate, beside gradient descent (`full`), and when each came near the `least` loss.

    Of C checkpoints, `evaluations` (C,) until then, and losses `found` in each shuffle (C, S).
    """
    # Where gradient descent overflows its path ends; the epochs that it lacks have no loss.
    reference = np.full(epochs + 1, np.nan)
    reference[: len(full.losses)] = full.losses
    ends, first = evaluations % count == 0, evaluations <= count
    whole = band(evaluations[ends], found[ends])
    gap, hold = whole.nll_median - least, round(HELD * (epochs + 1))
    arrivals = [(settled(gap, level, count, hold), settled(reference - least, level, count)) for level in LEVELS]
    return StochasticRun(
        **vars(whole), eta=full.eta, diverged=not bool(np.isfinite(found).all()),
        first_epoch=band(evaluations[first], found[first]), gradient_descent=reference,
        within=tuple(map(Reached, LEVELS, *zip(*arrivals, strict=True))), gap=float(gap[-max(1, epochs // 4) :].mean()),
    )  # fmt: skip


def band(evaluations: npt.NDArray[np.int64], found: Array) -> Band:
    """Return quantiles over the shuffles, (C, S) -> (C,) each; a diverged one counts as infinitely bad."""
    with np.errstate(invalid="ignore"):
        low, median, high = np.percentile(np.nan_to_num(found, nan=np.inf), [10, 50, 90], axis=1)
    return Band(evaluations, median, low, high)


def noise_floor(result: StochasticComparison, run: StochasticRun) -> float | None:
    """Return where a run has settled above the minimum: where one that starts at the minimum is, too.

    Both see the same shuffles; what they still have of their starts keeps them apart, one above and one below.
    """
    points, optimum, quarter = result.points, result.optimum, result.epochs // 4
    if result.epochs < SETTLING or result.updates == 1 or optimum.w is None or not run.gap > 1e6 * result.rounding:
        return None
    before = float((run.nll_median[-2 * quarter : -quarter] - optimum.nll).mean())
    if not abs(before - run.gap) <= STEADY * run.gap:
        return None
    settings = result.epochs, result.batch_size, result.seed, result.shuffles
    ends = deque((W[0] for _, W in stochastic_paths(points, [run.eta], optimum.w, *settings)), maxlen=quarter)
    late = float(np.median(losses(points, np.array(ends)), axis=1).mean()) - optimum.nll
    return run.gap if abs(late - run.gap) <= STEADY * run.gap else None
