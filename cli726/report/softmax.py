"""Problem 1 in the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from cli726 import exact
from cli726.envelope import Affine, Vector, along
from cli726.figures import softmax as drawn
from cli726.report.section import Section, table, told
from cli726.report.wording import formula
from cli726.softmax import ASSIGNMENT, NAMES, Softmax, analyse
from cli726.softmax_geometry import Boundary, Region, evaluate, readable

__all__ = ["section"]

# Distances from the green point that the tables show.
ALONG, INSIDE = (0, 1, 2, 5), (0, 1, 2, 5, 10)


def section() -> Section:
    """The assignment's three activations."""
    result = analyse(exact.classes(ASSIGNMENT, NAMES))
    point = result.point
    if point is None:
        raise AssertionError("the assignment's three regions meet in one point")
    share = f"1/{len(point.tied)}"
    return Section(
        headline=f"The regions meet at {exact.point(point.exact)}, where every probability is {share}.",
        data={
            "activations": [formula(text) for text in result.activations],
            "lines": [{"classes": item.classes, "equation": formula(item.equation)} for item in result.boundaries],
            "point": [formula(str(value)) for value in point.exact],
            "decimal": exact.point_both(point.exact).partition(" = ")[2].replace("-", "−"),
            "height": formula(str(point.exact_activations[0])),
            "classes": len(point.tied),
            "share": share,
            "along": boundary_table(result),
            "inside": region_table(result),
            "answers": [
                told(item for item in result.findings if item.text.startswith(question))
                for question in ("1.1", "1.2", "1.3")
            ],
        },
        figures={
            "regions": lambda: drawn.regions(result),
            "along": lambda: drawn.along_boundaries(result),
            "inside": lambda: drawn.into_regions(result),
        },
    )


def share_at(weights: Sequence[Affine], start: Vector, direction: Vector, distance: int, class_: int) -> str:
    """A class's probability at some distance from a point."""
    length = Fraction(math.hypot(float(direction[0]), float(direction[1])))
    return readable(evaluate(weights, along(start, direction, distance / length)).probabilities)[class_ - 1]


def boundary_table(result: Softmax) -> object:
    """Along each ray: the probability of the two classes beside it, and of the third."""
    rows = []
    for item in result.boundaries:
        third = next(k for k in range(1, len(result.weights) + 1) if k not in item.classes)
        for kind, class_ in (("both beside it", item.classes[0]), (f"C{third}", third)):
            rows.append([*named(item, kind), *shares(result, item, class_, ALONG), f"{limit(item, class_):g}"])
    return table(("boundary", "direction", "rate", "class", *(f"s = {s}" for s in ALONG), "s → ∞"), rows)


def named(item: Boundary, kind: str) -> tuple[str, str, str, str]:
    if kind.startswith("C"):
        return "", "", "", kind
    names = "|".join(f"C{k}" for k in item.classes)
    return names, direction(item), f"{item.rate:.4g}", kind


def direction(item: Boundary | Region) -> str:
    if item.direction is None:
        return ""
    return "({:.4f}, {:.4f})".format(*item.direction).replace("-", "−")


def limit(item: Boundary | Region, class_: int) -> float:
    return item.limit[class_ - 1] if item.limit else math.nan


def shares(result: Softmax, item: Boundary | Region, class_: int, distances: Sequence[int]) -> list[str]:
    if item.start is None or item.exact_direction is None:
        return ["" for _ in distances]
    return [share_at(result.weights, item.start, item.exact_direction, s, class_) for s in distances]


def region_table(result: Softmax) -> object:
    """Along the middle of each region: the probability of its class."""
    rows = [
        (
            f"C{item.class_}",
            direction(item),
            f"{item.rate:.4g}",
            *shares(result, item, item.class_, INSIDE),
            f"{limit(item, item.class_):g}",
        )
        for item in result.regions
    ]
    return table(("region", "direction", "rate", *(f"s = {s}" for s in INSIDE), "s → ∞"), rows)
