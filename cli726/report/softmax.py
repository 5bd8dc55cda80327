"""Problem 1 in the report."""

from __future__ import annotations

from cli726 import exact
from cli726.document import m
from cli726.report.section import Section
from cli726.softmax import ASSIGNMENT, NAMES, analyse
from cli726.softmax.figures import figures
from cli726.softmax.findings import document

__all__ = ["section"]


def section() -> Section:
    """Return the assignment's three activations, solved."""
    result = analyse(exact.classes(ASSIGNMENT, NAMES))
    (point,) = result.vertices
    return Section(
        headline=exact.marked(f"The regions meet at `{exact.place(point.exact)}`, where every probability is `1/3`."),
        document=document(result),
        data={
            "activations": [m(text) for text in result.activations],
            "lines": [{"classes": item.classes, "equation": m(item.equation)} for item in result.boundaries],
            "point": m(exact.place(point.exact)),
            "height": m(str(point.exact_activations[0])),
        },
        figures=figures(result),
    )
