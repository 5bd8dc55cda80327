"""Problem 2 in the report."""

from __future__ import annotations

from cli726 import exact
from cli726.exact.envelope import ORIGIN
from cli726.glm import ASSIGNMENT, NAMES, analyse, evaluate
from cli726.glm import figures as drawn
from cli726.glm.findings import document
from cli726.report.section import Section
from cli726.report.softmax import answers
from cli726.report.wording import formula

__all__ = ["section"]


def section() -> Section:
    """Return the assignment's two weight vectors, solved."""
    result = analyse(exact.classes(ASSIGNMENT, NAMES))
    boundary = result.boundaries[0]
    figures = drawn.figures(result)
    return Section(
        headline=f"Class {evaluate(result.weights, ORIGIN).region} has the inside of the {boundary.conic} "
        f"{boundary.equation}, the other class the outside.",
        data={
            "weights": [[formula(exact.short(value)) for value in w] for w in result.weights],
            "scores": [formula(item.formula) for item in result.surfaces],
            "equation": formula(boundary.equation),
            "answers": answers(document(result)),
        },
        figures={
            "y1": figures["y1"],
            "y2": figures["y2"],
            "both": figures["surfaces"],
            "regions": figures["regions"],
        },
    )
