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
    from cli726.logistic.optimum import NewtonResult
    from cli726.logistic.stochastic import StochasticComparison

__all__ = ["SHOWN", "aim", "explain_comparison", "explain_descent", "explain_newton", "explain_stochastic"]

# Distances from the minimum that sentences and tables have room for.
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


def aim(separation: str | None) -> str:
    return "infimum" if separation else "minimum"


def above(gap: float, separation: str | None) -> str:
    return f"{number(gap)} above the {aim(separation)}" if gap else f"at the {aim(separation)}, to rounding"


def explain_minimum(separation: str | None, rank: int, columns: int, infimum: float) -> Iterator[Finding]:
    """Yield whether there is one minimum."""
    evidence = {"separation": separation, "infimum": infimum, "rank": rank, "columns": columns}
    never = f"so the loss has no minimum: its infimum is {number(infimum, 4)}, where it tends as the weights grow."
    if separation == "complete":
        yield Finding("", f"The classes are linearly separable, {never}", evidence)
    elif separation:
        text = (
            "The classes are linearly separable but for points of both on the separator (quasi-complete separation), "
        )
        yield Finding("", text + never, evidence)
    elif rank < columns:
        text = (
            f"The features and the bias are linearly dependent (rank {rank} of {columns}): many weight vectors share "
        )
        yield Finding("", text + "the minimum, and the one shown is one of them.", evidence)


def explain_descent(run: GradientDescent) -> Iterator[Finding]:
    """Yield the answer to 5.1: why the descent oscillates, if it does, and where it ended."""
    if run.diverged:
        yield diverged("5.1", run)
    else:
        yield oscillation(run)
        yield from valley(run)
        ended = "the limit" if not run.converged else run.stop
        yield Finding(
            "5.1", f"After {counted(run.epochs, 'epoch')} ({ended}) the loss is {number(run.final, 4)}, "
            f"{above(run.gap, run.separation)}{f', {number(run.optimum.nll, 4)}' if run.gap else ''}.",
            {"nll": run.final, "gap": run.gap, "gradient_norm": run.gradient_norm, "epochs": run.epochs},
        )  # fmt: skip
        yield from premature("5.1", run)
    yield from explain_minimum(run.separation, run.rank, run.w.shape[1], run.optimum.nll)
    if run.slope_intercept is None:
        yield Finding("", "The figures of the separator need two features.")
    elif (vertical := np.flatnonzero(run.w[:, 1] == 0)).size:
        where = (
            f"in epoch {vertical[0]}" if vertical.size == 1 else f"{vertical.size} times, first in epoch {vertical[0]}"
        )
        text = (
            "The separator has no slope and intercept ",
            where,
            ", where ",
            m("w_2 = 0"),
            ": the figure leaves that out.",
        )
        yield Finding("", text, {"undefined": vertical.tolist()})


def diverged(question: str, run: GradientDescent) -> Finding:
    return Finding(
        question, f"At rate {run.eta:g} the descent diverged: {run.stop}.", {"eta": run.eta, "stop": run.stop}
    )


def oscillation(run: GradientDescent) -> Finding:
    """Return the rises of the loss against the curvature that was met, and the separator's swings."""
    rises, largest, bound = len(run.risen), run.largest_eta_q, run.lambda_max.bound
    steps = counted(run.epochs, "step")
    text: tuple[str | Math, ...]
    most = () if largest is None else (f" (at most {largest:.3g})",)
    averaged = ", averaged over the step; it changes the loss by "
    formula = m("-eta |g|^2 (1 - eta q / 2)")
    law = ("; ", m("q"), " is the curvature along the gradient ", m("g"), averaged, formula, " (figure: curvature)")
    if rises:
        opening = "It oscillates because steps overshoot" if rises > 1 and run.swings > 1 else "Steps overshot"
        where = ", exactly where " if not run.unexplained else "; a step raises it where "
        text = (f"{'One step overshot' if rises == 1 else opening}: the loss rose in {rises} of {steps}{where}",
                m("eta q > 2"), *most, *law)  # fmt: skip
    elif run.eta * bound < 2 * (1 - 1e-12):
        below = f" = {number(2 / bound)}, with the bound on the curvature, no step can raise it"
        text = (f"The loss never rose in {steps}: below ", m("2 / lambda_max"), below)
    else:
        text = (f"The loss never rose in {steps}: none met ", m("eta q > 2"), *most, *law)
    if run.turns > 1:
        text += (f". The separator swings: its slope turned back {run.turns} times (figure: separator-path)",)
    evidence = {"risen": run.risen, "unexplained": run.unexplained, "largest_eta_q": largest, "eta": run.eta}
    return Finding("5.1", (*text, "."), evidence | {"monotone_below": 2 / bound, "turns": run.turns})


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
        yield Finding(
            question, f"At rate {run.eta:g} the stopping rule ended the descent too early, after "
            f"{counted(run.epochs, 'epoch')}: the loss is still {above(run.gap, run.separation)}{crossed}.",
            {"eta": run.eta, "gap": run.gap, "gradient_norm": run.gradient_norm, "tol": run.tol},
        )  # fmt: skip


def explain_comparison(comparison: Comparison) -> Iterator[Finding]:
    """Yield the answer to 5.2: what the rates cost and gain, and which one to prefer."""
    yield from (diverged("5.2", run) for run in comparison.runs if run.diverged)
    finite = [run for run in comparison.runs if not run.diverged]
    if len(finite) > 1:
        yield from tradeoff(finite)
        yield from preference(finite)
        yield from fastest(finite)
    for run in finite:
        yield from premature("5.2", run)
    first = comparison.runs[0]
    yield from explain_minimum(first.separation, first.rank, first.w.shape[1], first.optimum.nll)


def tradeoff(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Yield what large steps cost; what small ones are sure of, and which are too slow."""
    rough = {run.eta: len(run.risen) for run in runs if run.risen}
    smooth = [run for run in runs if not run.risen]
    ordered = bool(rough and smooth) and min(rough) > max(run.eta for run in smooth)
    if rough:
        times = listed([f"{counted(count, 'step')} at rate {eta:g}" for eta, count in rough.items()])
        yield Finding(
            "5.2", f"{'Large rates overshoot: t' if ordered else 'T'}he loss rose in {times}.", {"rises": rough}
        )
    if smooth:
        bound = runs[0].lambda_max.bound
        sure = [run for run in smooth if run.eta * bound < 2 * (1 - 1e-12)]
        text = f"The loss never rose at {rates([run.eta for run in smooth])}"
        if sure:
            which = "" if sure == smooth else f" at {rates([run.eta for run in sure])}"
            text += f" (below 2 / {number(bound)} = {number(2 / bound)} it can't{which})"
        slow: list[GradientDescent] = []
        if reached := near(runs):
            level, took = reached[-1]
            best, first = min(((r.evaluations or 0, run) for r, run in took), key=lambda pair: pair[0])
            there = [run for _, run in took]
            slow = [run for run in smooth if run not in there and not run.converged]
            if slow:
                they = "but they are" if len(slow) > 1 else "but it is"
                who = (
                    they
                    if slow == smooth
                    else f"{rates([run.eta for run in slow])} {they.removeprefix('but ').split()[1]}"
                )
                epochs = best // runs[0].points.count
                text += f", {who} too slow to come within {level:g} of the {aim(runs[0].separation)} in "
                text += f"{counted(runs[0].max_epochs, 'epoch')}; rate {first.eta:g} does in {epochs:,}"
        opening = "Small rates are safe but slow. " if ordered and slow == smooth else ""
        evidence = {
            "never_rose": [run.eta for run in smooth],
            "monotone_below": 2 / bound,
            "slow": [run.eta for run in slow],
        }
        yield Finding("5.2", f"{opening}{text}.", evidence)


def near(runs: Sequence[GradientDescent]) -> list[tuple[float, list[tuple[Reached, GradientDescent]]]]:
    """Return the rates that came within each distance shown, where it took any of them a step."""
    found = []
    for reached in zip(*(run.within for run in runs), strict=True):
        took = [(r, run) for r, run in zip(reached, runs, strict=True) if r.evaluations is not None]
        if reached[0].level in SHOWN and any(r.evaluations for r, _ in took):
            found.append((reached[0].level, took))
    return found


def preference(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Yield the rate that ends nearest to the minimum; those that print alike are ties."""
    kind, ranked = runs[0].separation, sorted(runs, key=lambda run: run.gap)
    best, following = ranked[:2]
    tied = [run.eta for run in runs if number(run.gap) == number(best.gap)]
    evidence = {"gap": {f"{run.eta:g}": run.gap for run in runs}}
    if len(tied) > 1:
        which = "All rates" if len(tied) == len(runs) else rates(tied).capitalize()
        yield Finding(
            "5.2",
            f"{which} end {'nearest and ' if len(tied) < len(runs) else ''}alike, {above(best.gap, kind)}.",
            evidence,
        )
        return
    calm = next((run for run in ranked if not run.risen), best)
    others = [f"rate {following.eta:g}: {number(following.gap)}"]
    if calm not in (best, following):
        others.append(f"rate {calm.eta:g}, the best that never raised the loss: {number(calm.gap)}")
    yield Finding(
        "5.2", f"Prefer rate {best.eta:g} here: after {counted(best.epochs, 'epoch')} it ends nearest, "
        f"{above(best.gap, kind)} ({'; '.join(others)}).", evidence,
    )  # fmt: skip


def fastest(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Yield which rate came near the minimum first, at each distance that any of them reached."""
    rows = []
    for level, took in near(runs):
        least = min(r.evaluations for r, _ in took if r.evaluations is not None)
        rows.append(
            (level, [run.eta for r, run in took if r.evaluations == least], least // runs[0].points.count, len(took))
        )
    if rows:
        parts = [
            f"within {level:g}: {rates(etas)} ({counted(epochs, 'epoch')}; {count} of {len(runs)} rates reach it)"
            for level, etas, epochs, count in rows
        ]
        yield Finding(
            "5.2", f"Fastest to the {aim(runs[0].separation)}, to stay {', '.join(parts)}.", {"fastest": rows}
        )


def explain_stochastic(result: StochasticComparison) -> Iterator[Finding]:
    """Yield the answer to 5.3: is stochastic gradient descent faster, and why."""
    lost = [run.eta for run in result.runs if run.diverged]
    if lost:
        yield Finding(
            "5.3", f"At {rates(lost)} it diverged: numbers grew beyond the largest float.", {"diverged": lost}
        )
    if result.updates == 1:
        yield Finding("5.3", f"No: with all {result.points.count} points in each batch it is gradient descent.")
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
        one = min((r.evaluations for r in reached if r.evaluations is not None), default=None)
        full = min((r.gradient_descent for r in reached if r.gradient_descent is not None), default=None)
        if reached[0].level in SHOWN and (one, full) not in ((None, None), (0, 0)):
            rows.append((reached[0].level, one, full))
    price = (
        f"an epoch's {result.points.count:,} gradient evaluations buy {result.updates:,} noisy updates instead of one"
    )
    goal, budget = aim(result.separation), result.epochs * result.points.count
    if not rows:
        text = f"No difference in {counted(result.epochs, 'epoch')}, by the table's distances from the {goal}"
        return Finding("5.3", f"{text}, though {price}.", {"rows": rows})
    leads = [(np.inf if full is None else full) - (np.inf if one is None else one) for _, one, full in rows]
    if min(leads) >= 0 and max(leads) > 0:
        opening = f"Yes, at equal cost: {price}"
    else:
        opening = (
            f"No, not at equal cost, though {price}" if max(leads) <= 0 else f"That depends on the distance: {price}"
        )
    told = ", ".join(
        f"to within {level:g} {spent(one, budget)} against {spent(full, budget)}" for level, one, full in rows
    )
    return Finding(
        "5.3", f"{opening}. Evaluations to come near the {goal}, and stay, each method at its quickest rate: {told} "
        "(figure: equal-cost).", {"rows": rows},
    )  # fmt: skip


def spent(evaluations: int | None, budget: int) -> str:
    return f"more than {budget:,}" if evaluations is None else f"{evaluations:,}"


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
        yield Finding(
            "", (f"The minimum loss is {result.nll:.6g}, after {counted(result.iterations, 'Newton step')}; gradient ",
                 "norm ", m(f"{result.gradient_norm:.1e}"), "."),
            {"w": result.w, "nll": result.nll, "gradient_norm": result.gradient_norm},
        )  # fmt: skip
        if result.condition is not None and result.condition > STEEP:
            yield Finding(
                "", f"At the minimum the curvature differs {number(result.condition)}-fold between directions, which "
                "makes gradient descent slow. Newton's method is affine-invariant: conditioning does not affect it.",
                {"condition": result.condition},
            )  # fmt: skip
    yield from explain_minimum(result.separation, result.rank, len(result.points.features) + 1, result.nll)
