"""Problem 2 in the report."""

from __future__ import annotations

from cli726 import exact
from cli726.document import m
from cli726.glm import ASSIGNMENT, NAMES, analyse
from cli726.glm.figures import figures
from cli726.glm.findings import document
from cli726.report.section import Section

__all__ = ["section"]


def section() -> Section:
    """Return the assignment's two weight vectors, solved."""
    result = analyse(exact.classes(ASSIGNMENT, NAMES))
    content = document(result)
    return Section(
        headline=content.findings[-1].parts,
        document=content,
        data={
            "weights": [m(f"({', '.join(map(str, w))})") for w in result.weights],
            "scores": [m(item.formula) for item in result.surfaces],
            "equation": m(result.boundaries[0].equation),
        },
        figures=figures(result),
    )
