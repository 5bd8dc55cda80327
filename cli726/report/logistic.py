"""Problem 5 in the report."""

from __future__ import annotations

from pathlib import Path

from cli726 import logistic
from cli726.document import Document, m
from cli726.logistic import figures as drawn
from cli726.report.section import Section

__all__ = ["check", "section"]

FIGURES = ("separator-path", "error", "curvature", "rates-error", "rates-distance", "sgd-error", "sgd-equal-cost")


def check(data: Path | None) -> None:
    """Read the points, for what may be wrong with them.

    Raises:
        RequestError: for a file that is no file of points.
    """
    logistic.load_points(data)


def section(data: Path | None) -> Section:
    """Return the three questions, on the bundled points or the user's."""
    points = logistic.load_points(data)
    descent, compared = logistic.gradient_descent(points), logistic.compare(points)
    stochastic = logistic.stochastic_descent(points)
    parts = [logistic.document(result) for result in (descent, compared, stochastic)]
    whole = Document(
        parts[0].lead,
        {number: question for part in parts for number, question in part.questions.items()},
        # What belongs to no question, such as whether there is a minimum, is the same in each.
        [finding for part in parts for finding in part.findings if finding.question or part is parts[0]],
        [table for part in parts for table in part.tables],
    )
    made = drawn.figures(descent, points) | {
        f"{name}-{stem}": draw
        for name, result in (("rates", compared), ("sgd", stochastic))
        for stem, draw in drawn.figures(result, points).items()
    }
    rises = len(descent.risen)
    rose = f"rose in {rises} of {descent.epochs}" if rises else f"never rose in {descent.epochs}"
    exactly = (", exactly where ", m("eta q > 2")) if rises and not descent.unexplained else ()
    return Section(
        headline=("At rate ", m(f"{descent.eta:g}"), f" the loss {rose} steps", *exactly, "."),
        document=whole,
        data={
            "source": points.name,
            "points": len(points.X),
            "classes": points.classes,
            "rate": f"{descent.eta:g}",
            "start": ", ".join(f"{value:g}" for value in descent.w[0]),
            "rates": [f"{run.eta:g}" for run in compared.runs],
            "shuffles": stochastic.shuffles,
            "minimum": f"{descent.optimum.nll:.4g}",
            "goal": "infimum" if descent.optimum.separation else "minimum",
        },
        figures={stem: made[stem] for stem in FIGURES if stem in made},
    )
