"""Problem 2 in the report."""

from __future__ import annotations

from fractions import Fraction

from cli726 import exact
from cli726.conics import describe
from cli726.figures import glm as drawn
from cli726.glm import ASSIGNMENT, NAMES, analyse
from cli726.glm_regions import evaluate, formula
from cli726.report import wording
from cli726.report.section import Section, table, told

__all__ = ["section"]

# Where the table looks: the centre, inside, on and outside the boundary along the first axis.
SAMPLED = ("0", "1/2", "1", "3/2", "2")


def section() -> Section:
    """The assignment's two weight vectors."""
    result = analyse(exact.classes(ASSIGNMENT, NAMES))
    boundary = result.boundaries[0]
    inner = evaluate(result.weights, (Fraction(0), Fraction(0))).region
    places = [(text, evaluate(result.weights, (Fraction(text), Fraction(0)))) for text in SAMPLED]
    scores = table(
        ("x1 (with x2 = 0)", "y1", "y2", "assigned to"),
        (
            (text, *map(exact.short, place.exact_scores), f"C{place.region}" if place.region else "a tie")
            for text, place in places
        ),
    )
    first, second = result.weights
    difference = tuple(a - b for a, b in zip(first, second, strict=True))
    return Section(
        headline=f"Class {inner} has the inside of the {boundary.conic} {boundary.equation} "
        f"({describe(boundary)}), the other class the outside.",
        data={
            "weights": [[wording.formula(exact.short(value)) for value in w] for w in result.weights],
            "scores": [wording.formula(formula(w)) for w in result.weights],
            "difference": wording.formula(formula((difference[0], difference[1], difference[2]))),
            "equation": wording.formula(boundary.equation),
            "conic": boundary.conic,
            "described": describe(boundary),
            "table": scores,
            "surfaces": [told(item for item in result.findings if item.text.startswith(q)) for q in ("2.1", "2.2")],
            "answers": told(item for item in result.findings if not item.text.startswith(("2.1", "2.2"))),
        },
        figures={
            "y1": lambda: drawn.surface(result, 1),
            "y2": lambda: drawn.surface(result, 2),
            "both": lambda: drawn.all_surfaces(result),
            "regions": lambda: drawn.regions(result),
        },
    )
