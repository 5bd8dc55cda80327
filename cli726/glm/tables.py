"""Problem 2's tables: the scores, the curves on which regions meet, one point."""

from __future__ import annotations

from cli726.document import Table
from cli726.exact import both, decimal, named, place_table, table
from cli726.glm import Boundary, Glm, Place

__all__ = ["boundary_table", "describe", "point_table", "score_table"]


def describe(item: Boundary) -> str:
    """Return a conic's centre and size, mathematics between backticks."""
    if item.radius is not None:
        return f"centre `(0, 0)`, radius {size(item.exact[0], item.radius)}"
    if item.axes:
        first, second = (size(text, value) for text, value in zip(item.exact, item.axes, strict=True))
        opens = f", opening along `{item.opens}`" if item.opens else ""
        return f"centre `(0, 0)`, semi-axes {first} along `x1` and {second} along `x2`{opens}"
    return " and ".join(f"`{line}`" for line in item.lines)


def size(exact: str, value: float) -> str:
    return f"`{exact}`" if exact == f"{value:.4g}" else f"`{exact} ~= {value:.4g}`"


def score_table(result: Glm) -> Table:
    """Return the table of 2.1 and 2.2: the shape of each surface."""
    rows = [
        (f"`y{item.class_}`", f"`{item.formula}`", item.shape, f"`{decimal(w[0])}`", item.stationary)
        for item, w in zip(result.surfaces, result.weights, strict=True)
    ]
    return table("Scores", ("score", "formula", "surface", "at the origin", ""), rows, "2.2")


def boundary_table(result: Glm) -> Table:
    """Return 2.3's table: the curves on which regions meet."""
    rows = [
        (f"`{named(item.classes, '|')}`", f"`{item.equation}`", item.conic, describe(item), item.separates)
        for item in result.boundaries
        if item.separates != "nothing"
    ]
    return table("Where regions meet", ("classes", "equation", "conic", "", "how much of it"), rows, "2.3")


def point_table(item: Place) -> Table:
    """Return the scores at one point."""
    return place_table("The point", item, score=[f"`{both(score)}`" for score in item.exact_scores])
