"""Problems 1 and 2 in the report."""

from __future__ import annotations

from cli726 import exact, glm, softmax
from cli726.document import m
from cli726.glm.figures import figures as glm_figures
from cli726.glm.findings import document as glm_document
from cli726.report.section import Section
from cli726.softmax.figures import figures as softmax_figures
from cli726.softmax.findings import document as softmax_document

__all__ = ["glm_section", "softmax_section"]


def softmax_section() -> Section:
    """Return the assignment's three activations, solved."""
    result = softmax.analyse(exact.classes(softmax.ASSIGNMENT, softmax.NAMES))
    (point,) = result.vertices
    return Section(
        headline=exact.marked(f"The regions meet at `{exact.place(point.exact)}`, where every probability is `1/3`."),
        document=softmax_document(result),
        data={
            "activations": [m(text) for text in result.activations],
            "lines": [{"classes": item.classes, "equation": m(item.equation)} for item in result.boundaries],
            "point": m(exact.place(point.exact)),
            "height": m(str(point.exact_activations[0])),
        },
        figures=softmax_figures(result),
    )


def glm_section() -> Section:
    """Return the assignment's two weight vectors, solved."""
    result = glm.analyse(exact.classes(glm.ASSIGNMENT, glm.NAMES))
    content = glm_document(result)
    return Section(
        headline=content.findings[-1].parts,
        document=content,
        data={
            "weights": [m(f"({', '.join(map(str, w))})") for w in result.weights],
            "scores": [m(item.formula) for item in result.surfaces],
            "equation": m(result.boundaries[0].equation),
        },
        figures=glm_figures(result),
    )
