"""Problem 1 in the report."""

from __future__ import annotations

from typing import Any

from cli726 import exact
from cli726.document import Document
from cli726.document.content import typeset
from cli726.report.section import Section
from cli726.report.wording import Parts, formula
from cli726.softmax import ASSIGNMENT, NAMES, analyse
from cli726.softmax import figures as drawn
from cli726.softmax.findings import document

__all__ = ["answers", "section"]


def flat(content: Any) -> Parts:
    """Return a sentence or cell for the template, formulas symbol by symbol."""
    return [node for part in typeset(content) for node in ([part] if isinstance(part, str) else part)]


def answers(content: Document) -> dict[str, dict[str, Any]]:
    """Return the findings and tables of each question for the template."""
    return {
        number: {
            "findings": [flat(item.parts) for item in findings],
            "tables": [
                {"columns": [flat(c) for c in item.columns], "rows": [[flat(c) for c in row] for row in item.rows]}
                for item in tables
            ],
        }
        for number, _, findings, tables in content.answers()
        if number
    }


def section() -> Section:
    """Return the assignment's three activations, solved."""
    result = analyse(exact.classes(ASSIGNMENT, NAMES))
    point = result.point
    if point is None:
        raise AssertionError("the assignment's three regions meet in one point")
    share = f"1/{len(point.tied)}"
    figures = drawn.figures(result)
    return Section(
        headline=f"The regions meet at ({', '.join(map(str, point.exact))}), where every probability is {share}.",
        data={
            "activations": [formula(text) for text in result.activations],
            "lines": [{"classes": item.classes, "equation": formula(item.equation)} for item in result.boundaries],
            "point": [formula(str(value)) for value in point.exact],
            "decimal": exact.place(point.exact).partition(" ~= ")[2].replace("-", "−"),
            "height": formula(str(point.exact_activations[0])),
            "classes": len(point.tied),
            "share": share,
            "answers": answers(document(result)),
        },
        figures={
            "regions": figures["regions"],
            "along": figures["along-boundaries"],
            "inside": figures["into-regions"],
        },
    )
