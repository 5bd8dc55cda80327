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

__all__ = ["SHOWN", "aim", "explain_comparison", "explain_descent", "explain_newton", "explain_stochastic"]

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
    return ("rate " if len(etas) == 1 else "rates ") + listed([f"{eta:g}" for eta in etas])


def aim(optimum: Optimum) -> str:
    return "infimum" if optimum.separation else "minimum"


def above(run: GradientDescent) -> str:
    goal = aim(run.optimum)
    return f"{number(run.gap)} above the {goal}" if run.gap else f"at the {goal}, to rounding"


def explain_minimum(best: Optimum, features: Sequence[str]) -> Iterator[Finding]:
    """Yield whether there is one minimum."""
    columns = len(features) + 1
    if best.separation:
        but = ""
        if best.separation != "complete":
            but = " but for points of both on the separator (quasi-complete separation)"
        text = f"so the loss has no minimum: its infimum is {number(best.nll, 4)}, where it tends as the weights grow."
        yield Finding("", f"The classes are linearly separable{but}, {text}", {"separation": best.separation})
    elif best.rank < columns:
        text = f"The features and the bias are linearly dependent (rank {best.rank} of {columns}): many weight vectors"
        yield Finding("", f"{text} share the minimum, and the one shown is one of them.", {"rank": best.rank})


def explain_descent(run: GradientDescent) -> Iterator[Finding]:
    """Yield the answer to 5.1: why the descent oscillates, if it does, and where it ended."""
    if run.diverged:
        yield diverged("5.1", run)
    else:
        yield oscillation(run)
        yield from valley(run)
        where = above(run) + (f", {number(run.optimum.nll, 4)}" if run.gap else "")
        ended = f"After {counted(run.epochs, 'epoch')} ({run.stop if run.converged else 'the limit'})"
        text = f"{ended} the loss is {number(run.final, 4)}, {where}."
        yield Finding("5.1", text, {"nll": run.final, "gap": run.gap, "gradient_norm": run.gradient_norm})
        yield from premature("5.1", run)
    yield from explain_minimum(run.optimum, run.points.features)
    if run.slope_intercept is None:
        yield Finding("", "The figures of the separator need two features.")
    elif (vertical := np.flatnonzero(run.w[:, 1] == 0)).size:
        where = f"{vertical.size} times, first " if vertical.size > 1 else ""
        text = f"The separator has no slope and intercept {where}in epoch {vertical[0]}, where "
        yield Finding("", (text, m("w_2 = 0"), ": the figure leaves that out."), {"undefined": vertical.tolist()})


def diverged(question: str, run: GradientDescent) -> Finding:
    return Finding(question, f"At rate {run.eta:g} the descent diverged: {run.stop}.")


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
        below = f" = {number(limit)}, with the bound on the curvature, no step can raise it"
        text = (f"The loss never rose in {steps}: below ", m("2 / lambda_max"), below)
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
    rose = "never rose" if not centred.rises else f"rose in {centred.rises}"
    yield Finding(
        "5.1", "The curvature is that large because the inputs lie away from the origin: centring them (--center) "
        f"lowers its bound from {number(read.bound)} to {number(centred.bound)}{ratio}; at the same rate the loss then "
        f"{rose} in {counted(centred.epochs, 'step')}.", {"as_read": read, "centred": centred},
    )  # fmt: skip


def premature(question: str, run: GradientDescent) -> Iterator[Finding]:
    if run.converged and run.gap > FAR * run.tol:
        crossed = "; the step that met it crossed the valley to nearly the same height" if run.false_stop else ""
        text = f"At rate {run.eta:g} the stopping rule ended the descent too early, after "
        text += f"{counted(run.epochs, 'epoch')}: the loss is still {above(run)}{crossed}."
        yield Finding(question, text, {"gap": run.gap, "tol": run.tol})


def explain_comparison(comparison: Comparison) -> Iterator[Finding]:
    """Yield the answer to 5.2: what the rates cost and gain, and which one to prefer."""
    yield from (diverged("5.2", run) for run in comparison.runs if run.diverged)
    finite = [run for run in comparison.runs if not run.diverged]
    if len(finite) > 1:
        yield from tradeoff(finite)
        yield preference(finite)
        yield from fastest(finite)
    for run in finite:
        yield from premature("5.2", run)
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
    bound, sure = runs[0].lambda_max.bound, [run for run in smooth if certain(run)]
    text = f"The loss never rose at {rates([run.eta for run in smooth])}"
    if sure:
        which = "" if sure == smooth else f" at {rates([run.eta for run in sure])}"
        text += f" (below 2 / {number(bound)} = {number(2 / bound)} it can't{which})"
    slow: list[GradientDescent] = []
    if reached := near(runs):
        level, took = reached[-1]
        best, first = min(took, key=lambda pair: pair[0])
        there = [run for _, run in took]
        slow = [run for run in smooth if run not in there and not run.converged]
        if slow:
            are = "are" if len(slow) > 1 else "is"
            who = rates([run.eta for run in slow]) if slow != smooth else "but they" if len(slow) > 1 else "but it"
            text += f", {who} {are} too slow to come within {level:g} of the {aim(first.optimum)} in "
            text += f"{counted(first.max_epochs, 'epoch')}; rate {first.eta:g} does in {best:,}"
    opening = "Small rates are safe but slow. " if ordered and slow == smooth else ""
    evidence = {"never_rose": [run.eta for run in smooth], "monotone_below": 2 / bound}
    yield Finding("5.2", f"{opening}{text}.", evidence | {"slow": [run.eta for run in slow]})


def near(runs: Sequence[GradientDescent]) -> list[tuple[float, list[tuple[int, GradientDescent]]]]:
    """Return after how many epochs which rates came within each distance shown, where it took any of them a step."""

    def epochs(run: GradientDescent, reached: Reached) -> int | None:
        return None if reached.evaluations is None else reached.evaluations // len(run.points.X)

    found = []
    for place, level in enumerate(SHOWN):
        arrivals = [(epochs(run, run.within[place]), run) for run in runs]
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
    if lost := [run.eta for run in result.runs if run.diverged]:
        text = f"At {rates(lost)} it diverged: numbers grew beyond the largest float."
        yield Finding("5.3", text, {"diverged": lost})
    if result.updates == 1:
        yield Finding("5.3", f"No: with all {len(result.points.X)} points in each batch it is gradient descent.")
    else:
        yield verdict(result)
        yield from sides(result)
        yield from settling(result)
        if result.updates >= MANY_UPDATES:
            text = f"Time on the clock is another matter: the {result.updates:,} updates of an epoch follow one another"
            yield Finding(
                "5.3", text + ", and take longer than gradient descent's one product with all points at once."
            )
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
            told.append(f"to within {level:g} {' against '.join(spent)}")
            evidence[f"{level:g}"] = (one, full)
    buy = f"an epoch's {count:,} gradient evaluations buy {result.updates:,} noisy updates instead of one"
    if not leads:
        text = f"No difference in {counted(result.epochs, 'epoch')}, by the table's distances from the {goal}"
        return Finding("5.3", f"{text}, though {buy}.")
    opening = "Yes, at equal cost:" if min(leads) >= 0 else "That depends on the distance:"
    opening = "No, not at equal cost, though" if max(leads) <= 0 else opening
    text = f"{opening} {buy}. Evaluations to come near the {goal}, and stay, each method at its quickest rate:"
    return Finding("5.3", f"{text} {', '.join(told)} (figure: equal-cost).", {"evaluations": evidence})


def sides(result: StochasticComparison) -> Iterator[Finding]:
    """Yield at which rates the median is below gradient descent's loss, after one epoch and at the end."""
    parts, evidence = [], {}
    for at in sorted({1, result.epochs}):
        differences = {run.eta: float(run.nll_median[at] - run.gradient_descent[at]) for run in result.runs}
        below = [eta for eta, value in differences.items() if -np.inf < value < -result.rounding]
        over = [eta for eta, value in differences.items() if result.rounding < value < np.inf]
        words = [f"{word} at {rates(etas)}" for word, etas in (("below", below), ("above", over)) if etas]
        if words:
            parts.append(f"after {counted(at, 'epoch')} {', '.join(words)}")
            evidence[str(at)] = {"below": below, "above": over}
    if parts:
        yield Finding("5.3", f"Beside gradient descent's loss its median is {'; '.join(parts)}.", evidence)


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
