"""What each command of problem 5 says: the points, the answers by question, and their evidence in tables."""

from __future__ import annotations

from typing import TypeAlias

from cli726.document import Document, Table, m
from cli726.logistic.descent import Comparison, GradientDescent
from cli726.logistic.findings import SHOWN, aim, epochs_to
from cli726.logistic.optimum import NewtonResult
from cli726.logistic.points import Array, Points
from cli726.logistic.stochastic import StochasticComparison
from cli726.text import counted

Result: TypeAlias = GradientDescent | Comparison | StochasticComparison | NewtonResult

# Feature names, and Newton steps at either end, that a screen has room for.
NAMED, STEPS = 6, 12


def document(result: Result) -> Document:
    """Return the result's answer: the points, its question (Newton's method has none), findings and tables."""
    match result:
        case GradientDescent():
            asked = {"5.1": "Gradient descent: why do the separator's path and the loss oscillate?"}
            tables = descent_tables(result)
        case Comparison():
            asked, tables = {"5.2": "Learning rates compared: their relative advantages"}, comparison_tables(result)
        case StochasticComparison():
            asked = {"5.3": "Is stochastic gradient descent faster than gradient descent?"}
            tables = stochastic_tables(result)
        case NewtonResult():
            asked, tables = {}, newton_tables(result)
    points = result.points
    zeros, ones = points.classes
    names = ", ".join(points.features) if len(points.features) <= NAMED else f"{len(points.features)} of them"
    centred = " (centred)" if points.means is not None else ""
    lead = f"Data: {points.name}: {zeros} of class 0, {ones} of class 1; features {names}{centred}; bias {points.bias}"
    return Document([lead], asked, result.findings, tables)


def short(value: float | None, digits: int = 4) -> str:
    """Return a number in a table; nothing for what is undefined."""
    if value is None or value != value:
        return ""
    return f"{value:,.{digits}g}" if abs(value) < 1e6 else f"{value:.{digits}g}"


def weights(points: Points, question: str, **columns: Array | None) -> Table:
    """Return a row for each weight."""
    known = {name: w for name, w in columns.items() if w is not None}
    names = [*points.features, "bias"]
    rows = [[name, *(short(float(w[i]), 6) for w in known.values())] for i, name in enumerate(names)]
    return Table("Weights", ["weight", *(name.replace("_", " ") for name in known)], rows, question)


def descent_tables(run: GradientDescent) -> list[Table]:
    """Return the weights, and what the curvature was where."""
    curvature = run.lambda_max
    rows = [
        ("at the start", run.nll[0], curvature.start),
        (f"after {counted(run.epochs, 'epoch')}", run.final, curvature.end),
        (f"at the {aim(run.optimum)}", run.optimum.nll, curvature.optimum),
        ("bound, anywhere", None, curvature.bound),
    ]
    cells = [(name, short(loss), short(value), short(2 / value if value else None)) for name, loss, value in rows]
    columns = ["", "loss", "largest curvature", "2 / curvature"]
    return [
        weights(run.points, "5.1", start=run.w[0], end=run.w[-1], minimum=run.optimum.w),
        Table("Losses and curvatures", columns, cells, "5.1"),
    ]


def comparison_tables(result: Comparison) -> list[Table]:
    """Return how each rate ended, and how soon it came near."""
    rows = []
    for run in result.runs:
        ended = "false" if run.false_stop else "overflow" if run.diverged else "rule" if run.converged else "limit"
        cells = [f"{run.eta:g}", f"{run.epochs:,}", ended, short(run.final), short(run.gap, 3), f"{len(run.risen):,}"]
        arrivals = [epochs_to(run, reached) for reached in run.within[: len(SHOWN)]]
        near = ("never" if epochs is None else f"{epochs:,}" for epochs in arrivals)
        rows.append([*cells, short(run.largest_eta_q, 3), *near])
    title = f"Loss at the end, and above the {aim(result.optimum)} {short(result.optimum.nll)}; largest ", m("eta q")
    levels = [f"to {level:g}" for level in SHOWN]
    return [
        Table(
            (*title, "; epochs to within a distance, to stay"),
            ["rate", "epochs", "end", "loss", "above", "rises", m("eta q"), *levels], rows, "5.2",
        )
    ]  # fmt: skip


def stochastic_tables(result: StochasticComparison) -> list[Table]:
    """Return the losses at the end, and what each rate of each method spent to come near."""
    ends, cost = [], []
    for run in result.runs:
        band = (short(float(values[-1])) for values in (run.nll_median, run.nll_low, run.nll_high))
        ends.append([f"{run.eta:g}", *band, short(run.gap, 2), short(float(run.gradient_descent[-1]))])
        spent = [(reached.evaluations, reached.gradient_descent) for reached in run.within[: len(SHOWN)]]
        pairs = (["never" if n is None else f"{n:,}" for n in pair] for pair in spent)
        cost.append([f"{run.eta:g}", *map(" / ".join, pairs)])
    title = f"Loss after {counted(result.epochs, 'epoch')} of {counted(result.updates, 'update')}, "
    columns = ["rate", "median", "10 %", "90 %", "mean excess, last quarter", "gradient descent"]
    what = f"Gradient evaluations to within a distance of the {aim(result.optimum)}, to stay: "
    within = [f"within {level:g}" for level in SHOWN]
    return [
        Table(title + counted(result.shuffles, "shuffle"), columns, ends, "5.3"),
        Table(what + "stochastic / gradient descent", ["rate", *within], cost, "5.3"),
    ]


def newton_tables(result: NewtonResult) -> list[Table]:
    """Return the steps, the middle of a long path left out, and the weights."""
    rows = [
        (str(step), f"{state.nll:.10g}", f"{state.gradient_norm:.2e}", f"{state.step:g}" if state.step else "")
        for step, state in enumerate(result.path)
    ]
    if len(rows) > 2 * STEPS:
        rows = [*rows[:STEPS], ("...", "", "", ""), *rows[-STEPS:]]
    steps = Table("Newton's method", ["step", "loss", "gradient norm", "step length"], rows)
    return [steps, weights(result.points, "", minimum=result.w, direction_that_separates=result.direction)]
