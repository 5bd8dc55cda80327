"""What descents show, in sentences: each stated only where the measured numbers bear it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cli726.findings import Finding
from cli726.logistic.optimum import NewtonPath, Optimum
from cli726.logistic.results import Comparison, GradientDescent, Summary

__all__ = ["explain_comparison", "explain_descent", "explain_optimum", "joined", "number"]

# How many times larger the bound on the curvature must be as read than centred, for centring to be worth a sentence.
WORTHWHILE = 1.2


def number(value: float, digits: int = 3) -> str:
    """A number for reading: significant digits, no exponent where there is no need."""
    return f"{value:,.0f}" if abs(value) >= 10**digits and abs(value) < 1e9 else f"{value:.{digits}g}"


def joined(items: Sequence[object]) -> str:
    """A list in words: a, b and c."""
    *most, last = [str(item) for item in items] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def rose(count: int) -> str:
    """How often the error rose, as a predicate."""
    return "never rose" if count == 0 else "rose once" if count == 1 else f"rose {count} times"


def explain_optimum(optimum: Optimum, separation: str | None, rank: int, points: Summary) -> Iterator[Finding]:
    """Whether there is one optimum."""
    if separation == "complete":
        yield Finding(
            "The classes can be separated without a mistake, so there is no optimum: the error falls towards 0 for "
            "ever as the weights grow.",
            {"separation": separation, "infimum": optimum.nll},
        )
    elif separation:
        yield Finding(
            "The classes can be separated but for points that lie on the separator, so there is no optimum: the error "
            f"falls towards {number(optimum.nll, 4)} for ever as the weights grow.",
            {"separation": separation, "infimum": optimum.nll},
        )
    width = len(points.features) + 1
    if rank < width:
        yield Finding(
            f"The features and the bias are linearly dependent (rank {rank} of {width}): many weight vectors share the "
            "least error, and the one shown is one of them.",
            {"rank": rank, "columns": width},
        )


def explain_descent(run: GradientDescent, newton: NewtonPath) -> Iterator[Finding]:
    """Problem 5.1: where the descent ended, and why it oscillates, if it does."""
    yield from explain_optimum(run.optimum, newton.separation, newton.rank, run.points)
    if run.diverged:
        yield explain_divergence(run)
        return
    yield from explain_end(run)
    yield from explain_oscillation(run)
    yield from explain_curvature(run)
    yield from explain_centring(run)
    yield from explain_separator(run)


def explain_divergence(run: GradientDescent) -> Finding:
    return Finding(f"At eta = {run.eta:g} the descent diverged: {run.stop}.", {"eta": run.eta, "epochs": run.epochs})


def explain_end(run: GradientDescent) -> Iterator[Finding]:
    last = float(run.nll[-1])
    evidence = {"nll": last, "gap": run.gap, "gradient_norm": run.gradient_norm, "epochs": run.epochs}
    least = "least possible" if run.optimum.w is not None else "limit"
    yield Finding(
        f"It ended after {run.epochs} epochs because {run.stop}. The error is {number(last, 4)}, {number(run.gap)} "
        f"above the {least} {number(run.optimum.nll, 4)}.",
        evidence,
    )
    if run.false_stop:
        yield Finding(
            f"The stop is false: in its last step the descent crossed the valley (eta * q = {run.eta_q[-2]:.4f}) and "
            f"came out at nearly the same height, while the gradient, of length {number(run.gradient_norm)}, was far "
            "from 0.",
            evidence | {"eta_q": float(run.eta_q[-2])},
        )
    elif run.converged and run.gap > 10 * run.tol:
        yield Finding(
            f"The stop is early: steps have become short, not the distance. The error is still {number(run.gap)} "
            f"above, {number(run.gap / run.tol)} times the tolerance.",
            evidence | {"tol": run.tol},
        )


def explain_oscillation(run: GradientDescent) -> Iterator[Finding]:
    """Rises against the curvature that was met."""
    known = run.eta_q[np.isfinite(run.eta_q)]
    if run.epochs < 2 or not known.size:
        return
    largest = float(known.max())
    overshoots = [epoch for epoch in run.rises if run.eta_q[epoch - 1] > 2]
    evidence = {"rises": run.rises, "unexplained": run.unexplained, "largest_eta_q": largest}
    if overshoots:
        agree = "exactly in these" if not run.unexplained else f"in all but {len(run.unexplained)} of these"
        cause = "It oscillates because its steps overshoot" if len(overshoots) > 1 else "It overshot once"
        yield Finding(
            f"{cause}: the error rose in {len(overshoots)} of {run.epochs - 1} steps, and {agree} eta * q exceeded 2 "
            f"(at most {largest:.2f}). q is the curvature along the gradient g, averaged over the step; the step "
            "changes the error by -eta |g|^2 (1 - eta q / 2).",
            evidence,
        )
        yield from explain_calm(run, overshoots[-1])
    else:
        never = "never rose, but for rounding" if run.rises else "never rose"
        yield Finding(f"The error {never}: no step had eta * q above 2 (at most {largest:.2g}).", evidence)
    if run.reversals:
        yield Finding(
            f"The gradient pointed against the one before in {len(run.reversals)} of {run.epochs - 1} steps: the "
            "separator swings from side to side across a valley while it creeps along it.",
            {"reversals": run.reversals},
        )


def explain_calm(run: GradientDescent, last: int) -> Iterator[Finding]:
    """Why the rises ended, where they did."""
    start, end = run.lambda_max.start, run.lambda_max.end
    if end is not None and last < 0.9 * run.epochs and end < 2 / run.eta < start:
        yield Finding(
            f"The last rise was in epoch {last}. On the way the largest curvature fell from {number(start)} to "
            f"{number(end)}, below 2 / eta = {number(2 / run.eta)}: swings across the valley now die out.",
            {"last_rise": last, "start": start, "end": end},
        )


def explain_curvature(run: GradientDescent) -> Iterator[Finding]:
    """The rate against 2 / lambda_max."""
    bound, optimum = run.lambda_max.bound, run.lambda_max.optimum
    at_optimum = "" if optimum is None else f"{number(optimum)} at the optimum, "
    text = (
        f"The largest curvature is {number(run.lambda_max.start)} at the start, {at_optimum}and at most "
        f"{number(bound)} anywhere. eta = {run.eta:g} is "
    )
    certain = f"2 / {number(bound)} = {number(2 / bound)}"
    if run.eta < 2 / bound:
        text += f"below {certain}: no step can raise the error."
    else:
        text += f"above {certain}: steps may raise the error."
        if optimum is not None and run.eta < 2 / optimum:
            text += f" It is below 2 / {number(optimum)} = {number(2 / optimum)}, so that it can settle at the optimum."
        elif optimum is not None:
            text += f" It is above 2 / {number(optimum)} = {number(2 / optimum)} too: it can't settle at the optimum."
    yield Finding(text, {"lambda_max": run.lambda_max, "eta": run.eta, "monotone_below": 2 / bound})


def explain_centring(run: GradientDescent) -> Iterator[Finding]:
    """What the other form of the inputs would do."""
    read, centred = run.as_read, run.centred
    if not centred.bound * WORTHWHILE < read.bound:
        return
    change = f"the bound on the curvature from {number(read.bound)} to {number(centred.bound)}"
    if read.condition is not None and centred.condition is not None:
        change += (
            f" and the condition number at the optimum from {number(read.condition)} to {number(centred.condition)}"
        )
    evidence = {"as_read": read, "centred": centred}
    if run.points.means is None:
        share = "Most" if 2 * centred.bound < read.bound else "Part"
        yield Finding(
            f"{share} of the curvature comes from inputs that lie away from the origin, which the bias has to make up "
            f"for: centring them (--center) takes {change}.",
            evidence,
        )
    else:
        yield Finding(f"Centring has taken {change}.", evidence)
    yield Finding(
        f"At the same rate and from the same start, with the inputs as they were read the error {rose(read.rises)} in "
        f"{read.epochs} epochs and ended at {number(read.nll, 4)}; with centred ones it {rose(centred.rises)} in "
        f"{centred.epochs} and ended at {number(centred.nll, 4)}.",
        evidence,
    )


def explain_separator(run: GradientDescent) -> Iterator[Finding]:
    """Where slope and intercept say nothing."""
    if run.slope_intercept is None:
        return
    undefined = np.flatnonzero(np.isnan(run.slope_intercept[:, 0]) & np.isfinite(run.w).all(axis=1))
    if undefined.size:
        where = f"epoch {undefined[0]}" if undefined.size == 1 else f"{undefined.size} epochs, first in {undefined[0]}"
        yield Finding(
            f"Slope and intercept are undefined in {where}, where w2 = 0: the separator is vertical, or there is none. "
            "The figure skips that rather than divide by something small.",
            {"undefined": undefined.tolist()},
        )


def explain_comparison(comparison: Comparison) -> Iterator[Finding]:
    """Problem 5.2: the rates against each other."""
    runs = comparison.runs
    yield from (
        finding for run in runs[:1] for finding in run.findings if finding.evidence.keys() & {"separation", "rank"}
    )
    yield from (explain_divergence(run) for run in runs if run.diverged)
    finite = [run for run in runs if not run.diverged]
    if len(finite) < 2:
        return
    yield from explain_speed(finite)
    yield from explain_smoothness(finite)
    nearest, farthest = min(finite, key=lambda run: run.gap), max(finite, key=lambda run: run.gap)
    if nearest.gap < farthest.gap:
        yield Finding(
            f"In the end eta = {nearest.eta:g} is nearest, {number(nearest.gap)} above the least error after "
            f"{nearest.epochs} epochs; eta = {farthest.eta:g} is farthest, {number(farthest.gap)} after "
            f"{farthest.epochs}.",
            {"gap": {f"{run.eta:g}": run.gap for run in finite}},
        )
    for run in finite:
        if run.false_stop or (run.converged and run.gap > 10 * run.tol):
            kind = (
                "false (a step crossed the valley to the same height)"
                if run.false_stop
                else "early (steps had become short)"
            )
            yield Finding(
                f"At eta = {run.eta:g} the stopping rule's stop in epoch {run.epochs - 1} is {kind}: the error is "
                f"still {number(run.gap)} above the least, the gradient's length {number(run.gradient_norm)}.",
                {"eta": run.eta, "gap": run.gap, "gradient_norm": run.gradient_norm},
            )


def explain_speed(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """Which rate came near the optimum first, at each distance that any of them reached."""
    firsts = []
    for reached in zip(*(run.within for run in runs), strict=True):
        took = sorted(
            (r.evaluations, run.eta) for r, run in zip(reached, runs, strict=True) if r.evaluations is not None
        )
        if took:
            evaluations, eta = took[0]
            firsts.append((reached[0].level, eta, evaluations // runs[0].points.count, len(took)))
    if firsts:
        text = "; ".join(
            f"{level:g} above it: eta = {eta:g}, in {epochs} epochs ({count} of {len(runs)} got there)"
            for level, eta, epochs, count in firsts
        )
        yield Finding(f"First to come near the least error and stay there, {text}.", {"first": firsts})


def explain_smoothness(runs: Sequence[GradientDescent]) -> Iterator[Finding]:
    """What large steps cost, and what small ones are sure of."""
    bound = runs[0].lambda_max.bound
    rough = {run.eta: len(run.rises) for run in runs if run.rises}
    smooth = [run.eta for run in runs if not run.rises]
    if rough:
        listed = joined([f"{eta:g} ({count} times)" for eta, count in rough.items()])
        yield Finding(f"The price of large steps: the error rose at eta = {listed}.", {"rises": rough})
    if smooth:
        certain = [eta for eta in smooth if eta < 2 / bound]
        text = f"The advantage of small steps: the error never rose at eta = {joined([f'{eta:g}' for eta in smooth])}"
        if certain:
            which = "" if certain == smooth else f"at {joined([f'{eta:g}' for eta in certain])} "
            text += f"; {which}that was certain beforehand, below 2 / {number(bound)} = {number(2 / bound)}"
        yield Finding(text + ".", {"never_rose": smooth, "monotone_below": 2 / bound})
