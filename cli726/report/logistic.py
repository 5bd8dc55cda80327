"""Problem 5 in the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cli726 import logistic
from cli726.figures import logistic as drawn
from cli726.figures import logistic_rates as drawn_rates
from cli726.logistic import Comparison, GradientDescent, NewtonResult, StochasticComparison
from cli726.logistic.results import Reached
from cli726.report.section import Draw, Section, table, told

__all__ = ["check", "section"]

# Distances from the least error that the tables have room for.
LEVELS = (0.3, 0.1, 0.03, 0.01)


def check(data: Path | None) -> None:
    """Read the points, for what may be wrong with them.

    Raises:
        RequestError: for a file that is no file of points.
    """
    logistic.load_points(data)


def section(data: Path | None) -> Section:
    """The three questions, on the bundled points or the user's."""
    points = logistic.load_points(data)
    descent = logistic.gradient_descent(points)
    compared = logistic.compare(points)
    stochastic = logistic.stochastic_descent(points)
    newton = logistic.solve(points)
    return Section(
        headline=headline(descent),
        data={
            "source": points.name,
            "points": descent.points.count,
            "classes": descent.points.classes,
            "rate": f"{descent.eta:g}",
            "start": ", ".join(f"{value:g}" for value in descent.w[0]),
            "rates": [f"{run.eta:g}" for run in compared.runs],
            "orders": stochastic.shuffles,
            "epochs": stochastic.epochs,
            "optimum": weight_table(newton, descent),
            "curvature": curvature_table(descent),
            "compared": comparison_table(compared),
            "stochastic": stochastic_table(stochastic),
            "cost": cost_table(stochastic),
            "least": f"{newton.nll:.6g}",
            "newton": told(newton.findings),
            "descent": told(descent.findings),
            "comparison": told(compared.findings),
            "sgd": told(stochastic.findings),
        },
        figures=figures(descent, compared, stochastic),
    )


def headline(run: GradientDescent) -> str:
    """What gradient descent at the first rate did."""
    rose = f"the error rose in {len(run.rises)} of {run.epochs - 1} steps" if run.rises else "the error never rose"
    why = " and overshot: there the rate times the curvature exceeded 2" if run.rises and not run.unexplained else ""
    return f"At rate {run.eta:g} {rose}{why}."


def figures(descent: GradientDescent, compared: Comparison, stochastic: StochasticComparison) -> dict[str, Draw]:
    """Those that these results have: no separator's path without two features."""
    made: dict[str, Draw] = {
        "error": lambda: drawn.error(descent),
        "curvature": lambda: drawn.curvature(descent),
        "rates": lambda: drawn_rates.errors(compared),
        "gaps": lambda: drawn_rates.gaps(compared),
        "sgd": lambda: drawn_rates.stochastic_errors(stochastic),
        "cost": lambda: drawn_rates.equal_cost(stochastic),
    }
    if descent.has_slopes:
        made["path"] = lambda: drawn.separator_path(descent)
    return made


def short(value: float | None, digits: int = 4) -> str:
    """A number in a table; a dash for what is undefined."""
    return "–" if value is None or value != value else f"{value:,.{digits}g}".replace("-", "−", 1)


def weight_table(newton: NewtonResult, run: GradientDescent) -> object:
    """Weights at the start, at the end of gradient descent and at the optimum."""
    names = [*newton.points.features, "bias"]
    best = [None] * len(names) if newton.w is None else newton.w.tolist()
    rows = [
        (name, short(start), short(end, 5), short(least, 5))
        for name, start, end, least in zip(names, run.w[0], run.w[-1], best, strict=True)
    ]
    rows.append(("error", short(run.nll[0], 5), short(run.nll[-1], 5), short(newton.nll, 5)))
    return table(("weight of", "start", f"after {run.epochs} epochs", "optimum"), rows)


def curvature_table(run: GradientDescent) -> object:
    """The largest curvature at each place, and the rate below which no step there overshoots."""
    places = (
        ("at the start", run.lambda_max.start),
        ("at the end", run.lambda_max.end),
        ("at the optimum", run.lambda_max.optimum),
        ("at most, anywhere", run.lambda_max.bound),
    )
    rows = [(name, short(value), short(2 / value if value else None)) for name, value in places]
    return table(("where", "curvature", "2 / curvature"), rows)


def ended(run: GradientDescent) -> str:
    """Why a descent ended, in a word or two."""
    return "false stop" if run.false_stop else "tolerance" if run.converged else "limit"


def near(reached: Sequence[Reached], points: int) -> Iterator[str]:
    """Epochs to come within each level for good."""
    for item in reached:
        if item.level in LEVELS:
            yield "never" if item.evaluations is None else f"{item.evaluations // points:,}"


def comparison_table(result: Comparison) -> object:
    """Each rate's descent."""
    rows = [
        (
            f"{run.eta:g}",
            f"{run.epochs:,}",
            ended(run),
            short(float(run.nll[-1])),
            short(run.gap, 3),
            f"{len(run.rises):,}",
            *near(run.within, result.points.count),
        )
        for run in result.runs
    ]
    within = (f"within {level:g}" for level in LEVELS)
    return table(("rate η", "epochs", "ended by", "last error", "above least", "rises", *within), rows)


def stochastic_table(result: StochasticComparison) -> object:
    """Each rate's median and band at the end."""
    rows = [
        (
            f"{run.eta:g}",
            *(short(float(band[-1])) for band in (run.nll_median, run.nll_low, run.nll_high)),
            "none yet" if run.noise_floor is None else short(run.noise_floor, 2),
            short(float(run.gradient_descent[-1])),
        )
        for run in result.runs
    ]
    columns = ("rate η", "median", "10 %", "90 %", "noise floor", "gradient descent")
    return table(columns, rows)


def cost_table(result: StochasticComparison) -> object:
    """Gradient evaluations to come near the least error for good, both methods."""
    rows = []
    for run in result.runs:
        shown = [item for item in run.within if item.level in LEVELS]
        rows.append((f"{run.eta:g}", "stochastic", *(count(item.evaluations) for item in shown)))
        rows.append(("", "gradient descent", *(count(item.gradient_descent) for item in shown)))
    return table(("rate η", "method", *(f"within {level:g}" for level in LEVELS)), rows)


def count(evaluations: int | None) -> str:
    return "never" if evaluations is None else f"{evaluations:,}"
