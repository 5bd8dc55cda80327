"""What descents show, question by question: each sentence is stated only where the measured numbers bear it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cli726.document import Finding, m
from cli726.text import counted, listed, number

if TYPE_CHECKING:
    from cli726.logistic.descent import Comparison, GradientDescent
    from cli726.logistic.optimum import NewtonResult
    from cli726.logistic.stochastic import StochasticComparison, StochasticRun

__all__ = ["explain_comparison", "explain_descent", "explain_newton", "explain_stochastic"]

# A premature stop is further from the minimum than so many tolerances.
FAR = 10
# Fewer updates an epoch leave the clock's verdict open.
MANY_UPDATES = 10
# Ratios of curvatures from which gradient descent is slow enough for a sentence.
STEEP = 100
# Neighbouring rates whose excess differs by less say nothing about how it grows.
GROWS = 1.5


def rates(etas: Sequence[float]) -> str:
    """Return learning rates in words."""
    return listed([f"{eta:g}" for eta in etas])


def aim(separation: str | None) -> str:
    """Return what the loss tends to."""
    return "infimum" if separation else "minimum"


def above(gap: float, separation: str | None) -> str:
    """Return a distance in words."""
    return f"{number(gap)} above the {aim(separation)}" if gap else f"at the {aim(separation)}, to rounding"


def explain_minimum(separation: str | None, rank: int, columns: int, nll: float) -> Iterator[Finding]:
    """Yield whether there is one minimum."""
    evidence = {"separation": separation, "infimum": nll, "rank": rank, "columns": columns}
    if separation == "complete":
        yield Finding(
            "", "The classes are linearly separable, so there is no minimum: the infimum of the loss is 0, which it "
            "approaches only as the weights grow without bound.", evidence,
        )  # fmt: skip
    elif separation:
        yield Finding(
            "", "The classes are separable but for points of both that lie on the separator (quasi-complete "
            f"separation), so there is no minimum: the infimum of the loss is {number(nll, 4)}, which it approaches "
            "only as the weights grow without bound.", evidence,
        )  # fmt: skip
    elif rank < columns:
        yield Finding(
            "", f"The features and the bias are linearly dependent (rank {rank} of {columns}): many weight vectors "
            "share the minimum, and the one shown is one of them.", evidence,
        )  # fmt: skip


def explain_descent(run: GradientDescent) -> Iterator[Finding]:
    """Yield the answer to 5.1: where the descent ended, and why it oscillates, if it does."""
    if run.diverged:
        yield diverged("5.1", run)
    else:
        yield oscillation(run)
        yield from valley(run)
        yield ending(run)
        if run.converged and run.gap > FAR * run.tol:
            yield premature("5.1", run)
    yield from explain_minimum(run.separation, run.rank, run.w.shape[1], run.optimum.nll)
    if run.slope_intercept is not None:
        vertical = np.flatnonzero(run.w[:, 1] == 0)
        if vertical.size:
            where = f"after {listed(vertical[:3].tolist())}" + (" and more" if vertical.size > 3 else "")
            yield Finding(
                "", ("Slope and intercept are undefined ", where, " updates, where ", m("w_2 = 0"), "; the figure of "
                "the separator's path leaves that out."), {"undefined": vertical.tolist()},
            )  # fmt: skip
    else:
        yield Finding("", "The figures of the separator are drawn for two features only.")


def diverged(question: str, run: GradientDescent) -> Finding:
    return Finding(
        question, (m(f"eta = {run.eta:g}"), f" diverged: {run.stop}."), {"eta": run.eta, "epochs": run.epochs}
    )


def oscillation(run: GradientDescent) -> Finding:
    """Return the rises of the loss against the curvature that was met."""
    rises, largest = len(run.risen), run.largest_eta_q
    steps = counted(run.epochs, "step")
    evidence = {"risen": run.risen, "unexplained": run.unexplained, "largest_eta_q": largest, "eta": run.eta,
                "monotone_below": 2 / run.lambda_max.bound, "reversals": run.reversals}  # fmt: skip
    most = () if largest is None else (" (at most ", f"{largest:.3g})")
    law = (
        "; ", m("q"), " is the curvature along the gradient ", m("g"), ", averaged over the step, which changes the "
        "loss by ", m("-eta |g|^2 (1 - eta q / 2)"), " (figure: curvature)",
    )  # fmt: skip
    if rises:
        exactly = ", exactly where " if not run.unexplained else "; that is so where "
        opening = "It oscillates because steps overshoot: the" if rises > 1 and run.swings > 1 else "Steps overshot: the"
        opening = "One step overshot: the" if rises == 1 else opening
        text = (f"{opening} loss rose in {rises} of {steps}{exactly}", m("eta q > 2"), *most, *law)
    elif run.eta * run.lambda_max.bound < 2 * (1 - 1e-12):
        text = (
            f"The loss never rose in {steps}, and at this rate no step can raise it: ", m(f"eta = {run.eta:g}"),
            " is below ", m("2 / lambda_max"), f" = {number(2 / run.lambda_max.bound)}, with the bound on the curvature "
            "anywhere",
        )  # fmt: skip
    else:
        text = (f"The loss never rose in {steps}: none had ", m("eta q > 2"), *most, *law)
    if len(run.reversals) > 1:
        text += (f". {len(run.reversals)} of the steps went against the one before",)
        text += (": the separator swings (figure: separator-path)",) if run.slope_intercept is not None else ()
    return Finding("5.1", (*text, "."), evidence)


def valley(run: GradientDescent) -> Iterator[Finding]:
    """Yield why the curvature is that large, where centring the inputs shows it."""
    read, centred = run.as_read, run.centred
    if read is None or centred is None or centred.rises >= read.rises:
        return
    ratio = ""
    if read.condition is not None and centred.condition is not None:
        ratio = f", and its condition number at the minimum from {number(read.condition)} to {number(centred.condition)}"
    rose = "never rose" if not centred.rises else f"rose in {centred.rises}"
    yield Finding(
        "5.1", ("The curvature is that large because the inputs lie away from the origin: centring them (--center) "
        "lowers its bound from ", f"{number(read.bound)} to {number(centred.bound)}{ratio}; then, at the same rate, the "
        f"loss {rose} in {counted(centred.epochs, 'step')}."), {"as_read": read, "centred": centred},
    )  # fmt: skip


def ending(run: GradientDescent) -> Finding:
    return Finding(
        "5.1", f"After {counted(run.epochs, 'epoch')} ({run.stop}) the loss is {number(run.final, 4)}, "
        f"{above(run.gap, run.separation)}{f' {number(run.optimum.nll, 4)}' if run.gap else ''}.",
        {"nll": run.final, "gap": run.gap, "gradient_norm": run.gradient_norm, "epochs": run.epochs},
    )  # fmt: skip


def premature(question: str, run: GradientDescent) -> Finding:
    crossed = "; the step that met it crossed the valley to nearly the same height" if run.false_stop else ""
    return Finding(
        question, ("At ", m(f"eta = {run.eta:g}"), f" the stopping rule ended the descent too early, after "
        f"{counted(run.epochs, 'epoch')}: the loss is still {above(run.gap, run.separation)}{crossed}."),
        {"eta": run.eta, "gap": run.gap, "gradient_norm": run.gradient_norm, "tol": run.tol},
    )  # fmt: skip


def explain_comparison(comparison: Comparison) -> Iterator[Finding]:
    """Yield the answer to 5.2: what the rates cost and gain, and which one to prefer."""
    yield from (diverged("5.2", run) for run in comparison.runs if run.diverged)
    finite = [run for run in comparison.runs if not run.diverged]
    if len(finite) > 1:
        yield tradeoff(finite)
        yield from preference(finite)
        yield from fastest(finite)
    yield from (premature("5.2", run) for run in finite if run.converged and run.gap > FAR * run.tol)
    first = comparison.runs[0]
    yield from explain_minimum(first.separation, first.rank, first.w.shape[1], first.optimum.nll)


def tradeoff(runs: Sequence[GradientDescent]) -> Finding:
    """Return what large steps cost, what small ones are sure of, and which are too slow."""
    rough = {run.eta: len(run.risen) for run in runs if run.risen}
    smooth = [run.eta for run in runs if not run.risen]
    certain = 2 / runs[0].lambda_max.bound
    sure = [eta for eta in smooth if eta < certain * (1 - 1e-12)]
    parts: list[str] = []
    if rough:
        times = listed([f"{counted(count, 'step')} at {eta:g}" for eta, count in rough.items()])
        large = "Large rates overshoot: the loss rose in" if smooth and min(rough) > max(smooth) else "The loss rose in"
        parts.append(f"{large} {times}")
    if smooth:
        text = f"{'it' if rough else 'The loss'} never rose at {rates(smooth)}"
        if sure:
            text += f", {'which' if sure == smooth else 'of which ' + rates(sure)} can't, below 2 / {number(runs[0].lambda_max.bound)}"
            text += f" = {number(certain)}"
        parts.append(text)
    reached = [
        (level, min((r.evaluations, run.eta) for r, run in took))
        for level, took in near(runs)
    ]
    slow: list[float] = []
    if reached:
        level, (cost, eta) = reached[-1]
        there = {run.eta for run in runs for r in run.within if r.level == level and r.evaluations is not None}
        slow = [run.eta for run in runs if not run.risen and not run.converged and run.eta not in there]
        if slow:
            parts.append(
                f"{rates(slow)} {'is' if len(slow) == 1 else 'are'} too slow to come within {level:g} of the "
                f"{aim(runs[0].separation)} in {counted(runs[0].max_epochs, 'epoch')}, {eta:g} comes there in "
                f"{counted(cost // runs[0].points.count, 'epoch')}"
            )
    return Finding(
        "5.2", "; ".join(parts) + ".", {"rises": rough, "never_rose": smooth, "monotone_below": certain, "slow": slow}
    )


def near(runs: Sequence[GradientDescent]) -> list[tuple[float, list]]:
    """Return, for each distance that some rate came within after the start, what each rate needed."""
    found = []
    for reached in zip(*(run.within for run in runs), strict=True):
        took = [(r, run) for r, run in zip(reached, runs, strict=True) if r.evaluations is not None]
        if took and any(r.evaluations for r, _ in took):
            found.append((reached[0].level, took))
    return found


def preference(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Yield the rate that ends nearest to the minimum; ties are said as ties."""
    kind = runs[0].separation
    ranked = sorted(runs, key=lambda run: run.gap)
    tied = [run for run in ranked if number(run.gap) == number(ranked[0].gap)]
    evidence = {"gap": {f"{run.eta:g}": run.gap for run in runs}}
    if len(tied) > 1:
        yield Finding("5.2", f"{rates([run.eta for run in tied])} end equally near, {above(tied[0].gap, kind)}.", evidence)
        return
    best, following = ranked[:2]
    text = f"Prefer {best.eta:g} here: after {counted(best.epochs, 'epoch')} it ends nearest, {above(best.gap, kind)} ({following.eta:g}: {number(following.gap)}"
    calm = next((run for run in ranked if not run.risen), None)
    if best.risen and calm is not None:
        text += f"; of the rates that never raised the loss {calm.eta:g}: {number(calm.gap)}"
    yield Finding("5.2", text + ").", evidence)


def fastest(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Yield which rate came near the minimum first, at each distance that any of them reached."""
    parts, rows = [], []
    for level, took in near(runs):
        least = min(r.evaluations for r, _ in took)
        etas = [run.eta for r, run in took if r.evaluations == least]
        epochs = least // runs[0].points.count
        parts.append(f"{level:g}: {rates(etas)} ({counted(epochs, 'epoch')}; {len(took)} of {len(runs)} rates get there)")
        rows.append((level, etas, epochs, len(took)))
    if parts:
        yield Finding("5.2", f"Fastest to within (of the {aim(runs[0].separation)}) {', '.join(parts)}.", {"fastest": rows})


def explain_stochastic(result: StochasticComparison) -> Iterator[Finding]:
    """Yield the answer to 5.3: is stochastic gradient descent faster, and why."""
    lost = [run.eta for run in result.runs if run.diverged]
    if lost:
        yield Finding("5.3", f"At {rates(lost)} it diverged: numbers grew beyond the largest float.", {"diverged": lost})
    if result.updates == 1:
        yield Finding("5.3", f"With batches of all {result.points.count} points it is gradient descent: an epoch is one update.")
    else:
        yield verdict(result)
        yield from sides(result)
        yield from settling(result)
        if result.updates >= MANY_UPDATES:
            yield Finding(
                "5.3", f"Time on the clock is another matter: the {result.updates:,} updates of an epoch follow one "
                "another, and take longer than gradient descent's one product with all points at once.",
            )  # fmt: skip
    yield from explain_minimum(result.separation, result.rank, len(result.points.features) + 1, result.optimum.nll)


def verdict(result: StochasticComparison) -> Finding:
    """Return which method is faster, by the quickest rate of each at each distance that either reached."""
    rows = []
    for reached in zip(*(run.within for run in result.runs), strict=True):
        stochastic = min((r.evaluations for r in reached if r.evaluations is not None), default=None)
        full = min((r.gradient_descent for r in reached if r.gradient_descent is not None), default=None)
        if stochastic or full:
            rows.append((reached[0].level, stochastic, full))
    goal, budget = aim(result.separation), result.epochs * result.points.count
    if not rows:
        return Finding("5.3", f"Neither came nearer to the {goal}, by the distances of the table.", {"rows": rows})
    leads = [(np.inf if full is None else full) - (np.inf if one is None else one) for _, one, full in rows]
    price = f"an epoch of {result.points.count:,} gradient evaluations buys {result.updates:,} noisy updates, not one"
    if min(leads) >= 0 and max(leads) > 0:
        opening = f"Yes, at equal cost: {price}"
    elif max(leads) <= 0:
        opening = f"No, not here, at equal cost, though {price}"
    else:
        opening = f"That depends on how near one wants to come, at equal cost: {price}"
    shown = [row for row in rows if row[0] in (0.3, 0.1, 0.03, 0.01)] or rows
    told = ", ".join(
        f"{level:g} after {spent(one, budget)} against {spent(full, budget)} evaluations" for level, one, full in shown
    )
    return Finding(
        "5.3", f"{opening}. It is within (of the {goal}, to stay) {told}, each method at its quickest rate (figure: equal-cost).",
        {"rows": rows},
    )  # fmt: skip


def spent(evaluations: int | None, budget: int) -> str:
    return f"more than {budget:,}" if evaluations is None else f"{evaluations:,}"


def sides(result: StochasticComparison) -> Iterator[Finding]:
    """Yield at which rates the median is below gradient descent's loss, after one epoch and at the end."""
    for at in sorted({1, result.epochs}):
        below, over = [], []
        for run in result.runs:
            difference = run.nll_median[at] - run.gradient_descent[at]
            if np.isfinite(difference) and abs(difference) > result.rounding:
                (below if difference < 0 else over).append(run.eta)
        if below or over:
            parts = [f"{word} gradient descent's at {rates(etas)}" for word, etas in (("below", below), ("above", over)) if etas]
            yield Finding("5.3", f"After {counted(at, 'epoch')} its median loss is {', '.join(parts)}.", {"below": below, "above": over})


def settling(result: StochasticComparison) -> Iterator[Finding]:
    """Yield where a constant rate has settled, and how that grows with the rate."""
    floors = sorted((run.eta, run.noise_floor) for run in result.runs if run.noise_floor is not None)
    if not floors:
        return
    excess = listed([f"{number(floor, 2)} at {eta:g}" for eta, floor in floors])
    grows = len(floors) > 1 and all(two > GROWS * one for (_, one), (_, two) in zip(floors, floors[1:], strict=False))
    yield Finding(
        "5.3", f"With a constant learning rate it stops converging and fluctuates: the mean excess over the minimum in "
        f"the last quarter of the epochs is {excess}{'; it grows with the rate' if grows else ''}.",
        {"noise_floor": {f"{eta:g}": floor for eta, floor in floors}},
    )  # fmt: skip


def explain_newton(result: NewtonResult) -> Iterator[Finding]:
    """Yield what Newton's method found."""
    if result.w is not None:
        yield Finding(
            "", f"The minimum loss is {result.nll:.6g}, after {counted(result.iterations, 'Newton step')}; there the "
            f"gradient norm is {result.gradient_norm:.1e}.",
            {"w": result.w, "nll": result.nll, "gradient_norm": result.gradient_norm},
        )  # fmt: skip
        if result.condition is not None and result.condition > STEEP:
            yield Finding(
                "", f"At the minimum the curvature differs {number(result.condition)}-fold between directions, which "
                "makes gradient descent slow. Newton's method is affine-invariant: conditioning does not affect it.",
                {"condition": result.condition},
            )  # fmt: skip
    yield from explain_minimum(result.separation, result.rank, len(result.points.features) + 1, result.nll)
