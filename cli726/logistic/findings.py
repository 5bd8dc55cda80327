"""What descents show, question by question: each sentence is stated only where the measured numbers bear it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from cli726.document import Finding, Math, m
from cli726.text import counted, listed, number

if TYPE_CHECKING:
    from cli726.logistic.descent import Comparison, GradientDescent, Reached
    from cli726.logistic.optimum import NewtonResult, Optimum
    from cli726.logistic.stochastic import StochasticComparison

# Distances from the minimum that sentences and tables have room for: the first of those measured.
SHOWN = (0.3, 0.1, 0.03, 0.01)
# A premature stop is further from the minimum than so many tolerances.
FAR = 10
# Fewer updates an epoch leave the clock's verdict open.
MANY_UPDATES = 10
# A ratio of curvatures from which gradient descent is slow enough for a sentence.
STEEP = 100
# Neighbouring rates whose excess differs by less say nothing about how it grows.
GROWS = 1.5


def rates(etas: Sequence[float]) -> str:
    """Return learning rates in words."""
    return ("rate " if len(etas) == 1 else "rates ") + listed([f"{eta:g}" for eta in etas])


def aim(optimum: Optimum) -> str:
    """Return what there is to come near to."""
    return "infimum" if optimum.separation else "minimum"


def above(run: GradientDescent) -> str:
    """Return how far above the minimum a descent ended."""
    goal = aim(run.optimum)
    return f"{number(run.gap)} above the {goal}" if run.gap else f"at the {goal}, to rounding"


def explain_minimum(best: Optimum, features: Sequence[str]) -> Iterator[Finding]:
    """Yield whether there is one minimum."""
    columns = len(features) + 1
    if best.separation:
        but = " but for points of both on the separator (quasi-complete separation)"
        text = f"so the loss has no minimum: its infimum is {number(best.nll, 4)}, where it tends as the weights grow."
        opening = f"The classes are linearly separable{but if best.separation != 'complete' else ''}"
        yield Finding("", f"{opening}, {text}", {"separation": best.separation})
    elif best.rank < columns:
        text = f"The features and the bias are linearly dependent (rank {best.rank} of {columns}): many weight vectors"
        yield Finding("", f"{text} share the minimum, and the one shown is one of them.", {"rank": best.rank})


def diverged(question: str, etas: Sequence[float]) -> Iterator[Finding]:
    """Yield at which rates, if any, numbers overflowed."""
    if etas:
        text = f"At {rates(etas)} the descent diverged: numbers grew beyond the largest float."
        yield Finding(question, text, {"diverged": etas})


def premature(question: str, runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Yield which descents the stopping rule ended far from the minimum."""
    if early := [run for run in runs if run.converged and run.gap > FAR * run.tol]:
        how = {True: " by a step that crossed the valley to nearly the same height", False: ""}
        ends = [f"rate {r.eta:g} after {counted(r.epochs, 'epoch')}{how[r.false_stop]}, {above(r)}" for r in early]
        evidence = {"gap": {f"{run.eta:g}": run.gap for run in early}}
        yield Finding(question, f"The stopping rule ended too early: {'; '.join(ends)}.", evidence)


def explain_descent(run: GradientDescent) -> Iterator[Finding]:
    """Yield the answer to 5.1: why the descent oscillates, if it does, and where it ended."""
    if run.diverged:
        yield from diverged("5.1", [run.eta])
    else:
        yield oscillation(run)
        yield from valley(run)
        of = f" of {number(run.optimum.nll, 4)}" if run.gap else ""
        ended = f"After {counted(run.epochs, 'epoch')} ({run.stop if run.converged else 'the limit'})"
        text = f"{ended} the loss is {number(run.final, 4)}, {above(run)}{of}."
        yield Finding("5.1", text, {"nll": run.final, "gap": run.gap, "gradient_norm": run.gradient_norm})
        yield from premature("5.1", [run])
    yield from explain_minimum(run.optimum, run.points.features)
    if run.slope_intercept is None:
        yield Finding("", "The figures of the separator need two features.")
    elif (vertical := np.flatnonzero(run.w[:, 1] == 0)).size:
        where = f"{vertical.size} times, first " if vertical.size > 1 else ""
        text = f"The separator has no slope and intercept {where}in epoch {vertical[0]}, where "
        yield Finding("", (text, m("w_2 = 0"), ": the figure leaves that out."), {"undefined": vertical.tolist()})


def certain(run: GradientDescent) -> bool:
    """Return whether by the bound on the curvature no step at this rate can raise the loss."""
    return run.eta * run.lambda_max.bound < 2 * (1 - 1e-12)


def oscillation(run: GradientDescent) -> Finding:
    """Return the rises of the loss against the curvature that was met, and the separator's swings."""
    rises, largest, limit = len(run.risen), run.largest_eta_q, 2 / run.lambda_max.bound
    steps, most = counted(run.epochs, "step"), "" if largest is None else f" (at most {largest:.3g})"
    law: tuple[str | Math, ...] = (
        m("eta q > 2"), f"{most}; ", m("q"), " is the curvature along the gradient ", m("g"),
        ", averaged over the step; it changes the loss by ", m("-eta |g|^2 (1 - eta q / 2)"), " (figure: curvature)",
    )  # fmt: skip
    if rises:
        opening = "It oscillates because steps overshoot" if rises > 1 and run.swings > 1 else "Steps overshot"
        where = "; a step raises it where " if run.unexplained else ", exactly where "
        text = (f"{'One step overshot' if rises == 1 else opening}: the loss rose in {rises} of {steps}{where}", *law)
    elif certain(run):
        below = f" = {number(limit)}, by the bound on the curvature, no step can raise it"
        text = (f"The loss never rose in {steps}: at rates below ", m("2 / lambda_max"), below)
    else:
        text = (f"The loss never rose in {steps}: none met ", *law)
    if run.turns > 1:
        text += (f". The separator swings: its slope turned back {run.turns} times (figure: separator-path)",)
    return Finding("5.1", (*text, "."), {"rises": rises, "largest_eta_q": largest, "monotone_below": limit})


def valley(run: GradientDescent) -> Iterator[Finding]:
    """Yield why the curvature is that large, where centring the inputs shows it."""
    read, centred = run.as_read, run.centred
    if read is None or centred is None or centred.rises >= read.rises:
        return
    ratio = ""
    if read.condition is not None and centred.condition is not None:
        ratio = f", the condition number at the minimum from {number(read.condition)} to {number(centred.condition)}"
    rose = f"rose in {centred.rises} of" if centred.rises else "never rose in"
    yield Finding(
        "5.1", "The curvature is that large because the inputs lie away from the origin: centring them (--center) "
        f"lowers its bound from {number(read.bound)} to {number(centred.bound)}{ratio}; at the same rate the loss then "
        f"{rose} {counted(centred.epochs, 'step')}.", {"as_read": read, "centred": centred},
    )  # fmt: skip


def explain_comparison(comparison: Comparison) -> Iterator[Finding]:
    """Yield the answer to 5.2: what the rates cost and gain, and which one to prefer."""
    yield from diverged("5.2", [run.eta for run in comparison.runs if run.diverged])
    finite = [run for run in comparison.runs if not run.diverged]
    if len(finite) > 1:
        yield from tradeoff(finite)
        yield preference(finite)
        yield from fastest(finite)
    yield from premature("5.2", finite)
    yield from explain_minimum(comparison.optimum, comparison.points.features)


def tradeoff(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Yield what large steps cost; what small ones are sure of, and which are too slow."""
    rough = {run.eta: len(run.risen) for run in runs if run.risen}
    smooth = [run for run in runs if not run.risen]
    ordered = bool(rough and smooth) and min(rough) > max(run.eta for run in smooth)
    if rough:
        times = listed([f"{counted(count, 'step')} at rate {eta:g}" for eta, count in rough.items()])
        opening = "Large rates overshoot: the" if ordered else "The"
        yield Finding("5.2", f"{opening} loss rose in {times}.", {"rises": rough})
    if not smooth:
        return
    limit, sure = 2 / runs[0].lambda_max.bound, [run for run in smooth if certain(run)]
    text: tuple[str | Math, ...] = (f"The loss never rose at {rates([run.eta for run in smooth])}",)
    if sure:
        which = "" if sure == smooth else f" at {rates([run.eta for run in sure])}"
        below = f" = {number(limit)}, by the bound on the curvature, it can't{which})"
        text += (" (below ", m("2 / lambda_max"), below)
    slow: list[GradientDescent] = []
    if reached := near(runs):
        level, took = reached[-1]
        best, first = min(took, key=lambda pair: pair[0])
        slow = [run for run in smooth if run not in (there for _, there in took) and not run.converged]
        if slow:
            are = "are" if len(slow) > 1 else "is"
            but = ", but they" if len(slow) > 1 else ", but it"
            who = but if slow == smooth else f"; {rates([run.eta for run in slow])}"
            epochs = counted(first.max_epochs, "epoch")
            text += (f"{who} {are} too slow to come within {level:g} of the {aim(first.optimum)} in {epochs}; ",)
            text += (f"rate {first.eta:g} does in {best:,}",)
    opening = "Small rates are safe but slow. " if ordered and slow == smooth else ""
    evidence = {"never_rose": [run.eta for run in smooth], "monotone_below": limit, "slow": [run.eta for run in slow]}
    yield Finding("5.2", (opening, *text, "."), evidence)


def epochs_to(run: GradientDescent, reached: Reached) -> int | None:
    """Return after how many epochs a descent came within a distance, to stay."""
    return None if reached.evaluations is None else reached.evaluations // len(run.points.X)


def near(runs: Sequence[GradientDescent]) -> list[tuple[float, list[tuple[int, GradientDescent]]]]:
    """Return after how many epochs which rates came within each distance shown, where it took any of them a step."""
    found = []
    for place, level in enumerate(SHOWN):
        arrivals = [(epochs_to(run, run.within[place]), run) for run in runs]
        took = [(epoch, run) for epoch, run in arrivals if epoch is not None]
        if any(epoch for epoch, _ in took):
            found.append((level, took))
    return found


def preference(runs: Sequence[GradientDescent]) -> Finding:
    """Return the rate that ends nearest to the minimum; those that print alike are ties."""
    ranked = sorted(runs, key=lambda run: run.gap)
    best, following = ranked[:2]
    tied = [run.eta for run in runs if number(run.gap) == number(best.gap)]
    evidence = {"gap": {f"{run.eta:g}": run.gap for run in runs}}
    if len(tied) > 1:
        which = "All rates end" if len(tied) == len(runs) else f"{rates(tied).capitalize()} end nearest and"
        return Finding("5.2", f"{which} alike, {above(best)}.", evidence)
    calm = next((run for run in ranked if not run.risen), best)
    others = f"rate {following.eta:g}: {number(following.gap)}"
    if calm not in (best, following):
        others += f"; rate {calm.eta:g}, the best that never raised the loss: {number(calm.gap)}"
    text = f"Prefer rate {best.eta:g} here: after {counted(best.epochs, 'epoch')} it ends nearest, {above(best)}"
    return Finding("5.2", f"{text} ({others}).", evidence)


def fastest(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Yield which rate came near the minimum first, at each distance that any of them reached."""
    parts, evidence = [], {}
    for level, took in near(runs):
        least = min(epoch for epoch, _ in took)
        first = [run.eta for epoch, run in took if epoch == least]
        reach = f"{counted(least, 'epoch')}; {len(took)} of {len(runs)} rates reach it"
        parts.append(f"within {level:g}: {rates(first)} ({reach})")
        evidence[f"{level:g}"] = first
    if parts:
        text = f"Fastest to the {aim(runs[0].optimum)}, to stay {', '.join(parts)}."
        yield Finding("5.2", text, {"fastest": evidence})


def explain_stochastic(result: StochasticComparison) -> Iterator[Finding]:
    """Yield the answer to 5.3: is stochastic gradient descent faster, and why."""
    yield from diverged("5.3", [run.eta for run in result.runs if run.diverged])
    if result.updates == 1:
        yield Finding("5.3", f"No: with all {len(result.points.X)} points in each batch it is gradient descent.")
    else:
        yield verdict(result)
        yield from sides(result)
        yield from settling(result)
        if result.updates >= MANY_UPDATES:
            text = f"Time on the clock is another matter: the {result.updates:,} updates of an epoch follow one another"
            text += ", and take longer than gradient descent's one product with all points at once."
            yield Finding("5.3", text)
    yield from explain_minimum(result.optimum, result.points.features)


def verdict(result: StochasticComparison) -> Finding:
    """Return which method is faster, by the quickest rate of each at each distance that either reached."""
    goal, count = aim(result.optimum), len(result.points.X)
    leads, told, evidence = [], [], {}
    for place, level in enumerate(SHOWN):
        reached = [run.within[place] for run in result.runs]
        one = min((r.evaluations for r in reached if r.evaluations is not None), default=np.inf)
        full = min((r.gradient_descent for r in reached if r.gradient_descent is not None), default=np.inf)
        if (one, full) not in ((np.inf, np.inf), (0, 0)):
            leads.append(full - one)
            spent = [f"more than {result.epochs * count:,}" if n == np.inf else f"{n:,}" for n in (one, full)]
            told.append(f"within {level:g}: {' against '.join(spent)}")
            evidence[f"{level:g}"] = (one, full)
    buy = f"an epoch's {count:,} gradient evaluations buy {result.updates:,} noisy updates instead of one"
    if not leads:
        text = f"No difference in {counted(result.epochs, 'epoch')}, by the table's distances from the {goal}"
        return Finding("5.3", f"{text}, though {buy}.")
    opening = "Yes, at equal cost:" if min(leads) >= 0 else "That depends on the distance:"
    opening = "No, not at equal cost, though" if max(leads) <= 0 else opening
    text = f"{opening} {buy}. Evaluations to come near the {goal} and stay, each method at its quickest rate,"
    return Finding("5.3", f"{text} {'; '.join(told)} (figure: equal-cost).", {"evaluations": evidence})


def sides(result: StochasticComparison) -> Iterator[Finding]:
    """Yield at which rates the median is below gradient descent's loss, after one epoch and at the end."""
    told: dict[str, list[str]] = {}
    evidence = {}
    for at in sorted({1, result.epochs}):
        differences = {run.eta: float(run.nll_median[at] - run.gradient_descent[at]) for run in result.runs}
        below = [eta for eta, value in differences.items() if -np.inf < value < -result.rounding]
        over = [eta for eta, value in differences.items() if result.rounding < value < np.inf]
        words = [f"{word} at {rates(etas)}" for word, etas in (("below", below), ("above", over)) if etas]
        if words:
            told.setdefault(", ".join(words), []).append(f"after {counted(at, 'epoch')}")
            evidence[str(at)] = {"below": below, "above": over}
    if told:
        parts = "; ".join(f"{words}, {listed(times)}" for words, times in told.items())
        yield Finding("5.3", f"Beside gradient descent's, its median loss is {parts}.", evidence)


def settling(result: StochasticComparison) -> Iterator[Finding]:
    """Yield where a constant rate has settled, and how that grows with the rate."""
    floors = sorted((run.eta, run.noise_floor) for run in result.runs if run.noise_floor is not None)
    if floors:
        excess = listed([f"{number(floor, 2)} at rate {eta:g}" for eta, floor in floors])
        grows = len(floors) > 1 and all(two > GROWS * one for (_, one), (_, two) in pairwise(floors))
        yield Finding(
            "5.3", "With a constant learning rate it stops converging and fluctuates: the mean excess over the minimum "
            f"in the last quarter of the epochs is {excess}{', the more the larger the rate' if grows else ''}.",
            {"noise_floor": {f"{eta:g}": floor for eta, floor in floors}},
        )  # fmt: skip


def explain_newton(result: NewtonResult) -> Iterator[Finding]:
    """Yield what Newton's method found."""
    if result.w is not None:
        steps = counted(result.iterations, "Newton step")
        text = f"The minimum loss is {result.nll:.6g}, after {steps}; gradient norm "
        yield Finding("", (text, m(f"{result.gradient_norm:.1e}"), "."), {"nll": result.nll})
        if result.condition is not None and result.condition > STEEP:
            yield Finding(
                "", f"At the minimum the curvature differs {number(result.condition)}-fold between directions, which "
                "makes gradient descent slow. Newton's method is affine-invariant: conditioning does not affect it.",
                {"condition": result.condition},
            )  # fmt: skip
    yield from explain_minimum(result, result.points.features)
