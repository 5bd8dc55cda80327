"""Is stochastic gradient descent faster? What the measured errors say, at equal numbers of gradient evaluations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from cli726.findings import Finding
from cli726.logistic.explain import explain_optimum, joined, number
from cli726.logistic.optimum import NewtonPath
from cli726.logistic.results import FLOOR_EPOCHS, StochasticComparison, StochasticRun

__all__ = ["explain_stochastic"]


def explain_stochastic(result: StochasticComparison, newton: NewtonPath) -> Iterator[Finding]:
    """Problem 5.3."""
    yield from explain_optimum(result.optimum, newton.separation, newton.rank, result.points)
    lost = [run.eta for run in result.runs if run.diverged]
    if lost:
        etas = joined([f"{eta:g}" for eta in lost])
        yield Finding(f"At eta = {etas} it diverged: numbers grew beyond the largest float.", {"diverged": lost})
    yield from explain_verdict(result)
    yield from explain_first_epoch(result)
    yield from explain_end(result)
    yield from explain_floor(result)


def explain_verdict(result: StochasticComparison) -> Iterator[Finding]:
    """The quickest rate of each kind, at each distance from the optimum that either reached."""
    rows = []
    for reached in zip(*(run.within for run in result.runs), strict=True):
        etas = [run.eta for run in result.runs]
        stochastic = quickest([r.evaluations for r in reached], etas)
        full = quickest([r.gradient_descent for r in reached], etas)
        if stochastic or full:
            rows.append((reached[0].level, stochastic, full))
    if not rows:
        yield Finding(
            f"Neither came within {result.runs[0].within[0].level:g} of the least error for good in "
            f"{result.epochs} epochs, at any of these rates."
        )
        return
    never = (np.inf, 0.0)
    leads = [(full or never)[0] - (stochastic or never)[0] for _, stochastic, full in rows]
    updates = -(-result.points.count // result.batch_size)
    if min(leads) >= 0 and max(leads) > 0:
        verdict = "Stochastic gradient descent is faster here, at equal numbers of gradient evaluations"
        verdict += f" ({updates} updates an epoch, gradient descent 1)" if updates > 1 else ""
    elif max(leads) <= 0:
        verdict = "Stochastic gradient descent is not faster here, at equal numbers of gradient evaluations"
    else:
        verdict = "Which one is faster depends on how near to the optimum one wants to come"
    budget = result.epochs * result.points.count
    text = ", ".join(
        f"{spent(stochastic, budget)} against {spent(full, budget)} (within {level:g})"
        for level, stochastic, full in rows
    )
    yield Finding(
        f"{verdict}. Evaluations to come near the least error for good, stochastic against gradient descent, each at "
        f"its quickest rate: {text}.",
        {"rows": rows},
    )


def quickest(evaluations: Sequence[int | None], etas: Sequence[float]) -> tuple[int, float] | None:
    """The fewest evaluations and their rate."""
    return min(((count, eta) for count, eta in zip(evaluations, etas, strict=True) if count is not None), default=None)


def spent(best: tuple[int, float] | None, budget: int) -> str:
    return f"{best[0]:,}" if best else f"more than {budget:,}"


def split(runs: Sequence[StochasticRun], at: int) -> tuple[list[float], list[float]]:
    """Rates at which the stochastic median is below gradient descent's error after epoch `at`, and above it."""
    finite = [run for run in runs if np.isfinite([run.nll_median[at], run.gradient_descent[at]]).all()]
    below = [run.eta for run in finite if run.nll_median[at] < run.gradient_descent[at]]
    above = [run.eta for run in finite if run.nll_median[at] > run.gradient_descent[at]]
    return below, above


def sides(below: Sequence[float], above: Sequence[float]) -> str:
    where = joined([f"{eta:g}" for eta in below]), joined([f"{eta:g}" for eta in above])
    if not (below and above):
        return f"{'below' if below else 'above'} gradient descent's at eta = {where[not below]}"
    return f"below gradient descent's at eta = {where[0]}, above it at eta = {where[1]}"


def explain_first_epoch(result: StochasticComparison) -> Iterator[Finding]:
    below, above = split(result.runs, 1)
    if below or above:
        yield Finding(
            f"After one epoch ({result.points.count} evaluations) its median error is {sides(below, above)}.",
            {"below": below, "above": above},
        )


def explain_end(result: StochasticComparison) -> Iterator[Finding]:
    below, above = split(result.runs, -1)
    if result.epochs > 1 and (below or above):
        yield Finding(
            f"After all {result.epochs} epochs its median error is {sides(below, above)}.",
            {"below": below, "above": above},
        )


def explain_floor(result: StochasticComparison) -> Iterator[Finding]:
    """A constant rate keeps the weights moving: the floor, and how it grows with the rate."""
    floors = sorted((run.eta, run.noise_floor) for run in result.runs if run.noise_floor is not None)
    if floors:
        listed = joined([f"{number(floor, 2)} (eta = {eta:g})" for eta, floor in floors])
        text = (
            "It no longer comes nearer: the noise of single points keeps it on a floor, which over the last quarter of "
            f"the epochs lies {listed} above the least error"
        )
        levels = [floor for _, floor in floors]
        if len(levels) > 1 and all(one < two for one, two in itertools.pairwise(levels)):
            text += "; the larger the rate, the higher the floor"
        yield Finding(text + ".", {"noise_floor": {f"{eta:g}": floor for eta, floor in floors}})
    falling = {f"{run.eta:g}": run.gap for run in result.runs if run.noise_floor is None and np.isfinite(run.gap)}
    if falling and result.epochs >= FLOOR_EPOCHS:
        listed = joined([f"{number(gap, 2)} (eta = {eta})" for eta, gap in falling.items()])
        yield Finding(
            f"Still falling at the end, {listed} above the least error over the last quarter.", {"falling": falling}
        )
