"""What each command of problem 5 says: the points, the answers by question, and their evidence in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from cli726.document import Document, Table, m
from cli726.logistic.descent import Comparison, GradientDescent, Reached
from cli726.logistic.findings import SHOWN, aim
from cli726.logistic.optimum import NewtonResult
from cli726.logistic.points import Array, Points
from cli726.logistic.stochastic import StochasticComparison
from cli726.text import counted

__all__ = ["Result", "document"]

Result: TypeAlias = GradientDescent | Comparison | StochasticComparison | NewtonResult

# Feature names, and Newton steps at either end, that a screen has room for.
NAMED, STEPS = 6, 12
WITHIN = [f"within {level:g}" for level in SHOWN]
QUESTIONS = {
    "5.1": "Gradient descent: why do the separator's path and the loss oscillate?",
    "5.2": "Learning rates compared: their relative advantages",
    "5.3": "Is stochastic gradient descent faster than gradient descent?",
}


def document(result: Result) -> Document:
    """Return the result's answer: its question (Newton's method has none), findings and tables."""
    match result:
        case GradientDescent():
            number, tables = "5.1", descent_tables(result)
        case Comparison():
            number, tables = "5.2", comparison_tables(result)
        case StochasticComparison():
            number, tables = "5.3", stochastic_tables(result)
        case NewtonResult():
            number, tables = "", newton_tables(result)
    asked = {number: QUESTIONS[number]} if number else {}
    return Document([source(result.points)], asked, result.findings, tables)


def source(points: Points) -> str:
    """Return the first line: whose points."""
    zeros, ones = points.classes
    names = ", ".join(points.features) if len(points.features) <= NAMED else f"{len(points.features)} of them"
    centred = " (centred)" if points.means is not None else ""
    return f"Data: {points.name}: {zeros} of class 0, {ones} of class 1; features {names}{centred}; bias {points.bias}"


def short(value: float | None, digits: int = 4) -> str:
    """Return a number in a table; nothing for what is undefined."""
    if value is None or value != value:
        return ""
    return f"{value:,.{digits}g}" if abs(value) < 1e6 else f"{value:.{digits}g}"


def weights(points: Points, question: str, **columns: Array | None) -> Table:
    """Return a row for each weight."""
    rows = [
        [name, *(short(None if w is None else float(w[i]), 6) for w in columns.values())]
        for i, name in enumerate([*points.features, "bias"])
    ]
    return Table("Weights", ["weight", *columns], rows, question)


def descent_tables(run: GradientDescent) -> Sequence[Table]:
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


def comparison_tables(result: Comparison) -> Sequence[Table]:
    def near(reached: Reached) -> str:
        return "never" if reached.evaluations is None else f"{reached.evaluations // len(result.points.X):,}"

    rows = []
    for run in result.runs:
        ended = "overflow" if run.diverged else "tolerance" if run.converged else "limit"
        cells = "false stop" if run.false_stop else ended, short(run.final), short(run.gap, 3), f"{len(run.risen):,}"
        reached = map(near, run.within[: len(SHOWN)])
        rows.append([f"{run.eta:g}", f"{run.epochs:,}", *cells, short(run.largest_eta_q, 3), *reached])
    columns = ["rate", "epochs", "ended by", "loss", "above", "rises", ("largest ", m("eta q")), *WITHIN]
    title = f"Loss at the end, and above the {aim(result.optimum)} {short(result.optimum.nll)}; "
    return [Table(title + "epochs to within a distance of it, to stay", columns, rows, "5.2")]


def stochastic_tables(result: StochasticComparison) -> Sequence[Table]:
    def pair(reached: Reached) -> str:
        return " / ".join("never" if n is None else f"{n:,}" for n in (reached.evaluations, reached.gradient_descent))

    ends, cost = [], []
    for run in result.runs:
        band = (short(float(values[-1])) for values in (run.nll_median, run.nll_low, run.nll_high))
        ends.append([f"{run.eta:g}", *band, short(run.gap, 2), short(float(run.gradient_descent[-1]))])
        cost.append([f"{run.eta:g}", *map(pair, run.within[: len(SHOWN)])])
    title = f"Loss after {counted(result.epochs, 'epoch')} of {counted(result.updates, 'update')}, "
    columns = ["rate", "median", "10 %", "90 %", "mean excess, last quarter", "gradient descent"]
    spent = f"Gradient evaluations to within a distance of the {aim(result.optimum)}, to stay: "
    return [
        Table(title + counted(result.shuffles, "shuffle"), columns, ends, "5.3"),
        Table(spent + "stochastic / gradient descent", ["rate", *WITHIN], cost, "5.3"),
    ]


def newton_tables(result: NewtonResult) -> Sequence[Table]:
    rows = [
        (str(step), f"{state.nll:.10g}", f"{state.gradient_norm:.2e}", f"{state.step:g}" if state.step else "")
        for step, state in enumerate(result.path)
    ]
    if len(rows) > 2 * STEPS:
        rows = [*rows[:STEPS], ("...", "", "", ""), *rows[-STEPS:]]
    found = {"minimum": result.w} if result.w is not None else {"direction that separates": result.direction}
    columns = ["step", "loss", "gradient norm", "share of the step"]
    return [Table("Newton's method", columns, rows), weights(result.points, "", **found)]
