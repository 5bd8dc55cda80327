"""What problem 2's numbers say: an answer to each question, stated only while it holds."""

from __future__ import annotations

from collections.abc import Iterator

from cli726.document import Document, Finding
from cli726.exact import decimal, marked, named
from cli726.exact.envelope import minus
from cli726.glm import Glm, Place, affine
from cli726.glm.tables import boundary_table, describe, point_table, score_table

__all__ = ["document", "findings"]

QUESTIONS = {
    "2.1": marked("Draw `y1(x)`."),
    "2.2": marked("Draw `y2(x)`."),
    "2.3": marked("Draw the decision regions of the rule: assign `x` to `argmax_k y_k(x)`."),
}
# What the side of the origin (of crossing lines: of the x1 axis) and the other side are called.
SIDES = {
    "circle": ("the inside of", "the outside"),
    "ellipse": ("the inside of", "the outside"),
    "hyperbola": ("what lies between the branches of", "what lies beyond them"),
    "parallel lines": ("what lies between", "what lies beyond"),
    "crossing lines": ("the sectors around the `x1` axis between", "those around the `x2` axis"),
}


def document(result: Glm, at: Place | None = None) -> Document:
    """Return the answers to 2.1 to 2.3 with their tables; last the point `at`."""
    lead = "; ".join(f"`y{item.class_} = {item.formula}`" for item in result.surfaces)
    tables = [score_table(result), boundary_table(result), *([point_table(at)] if at else [])]
    tables = [table for table in tables if table.rows]
    return Document([marked(f"Scores {lead}")], QUESTIONS, findings(result), tables)


def findings(result: Glm) -> tuple[Finding, ...]:
    """Return the answers; what belongs to no question, classes that coincide or have no region, comes last."""
    return (
        of_surface("2.1", result, 0),
        of_surface("2.2", result, 1),
        of_regions(result),
        *of_pair(result),
        *special(result),
    )


def of_surface(question: str, result: Glm, k: int) -> Finding:
    """2.1 and 2.2: the shape of the surface of the class with index k."""
    item, weights = result.surfaces[k], result.weights[k]
    value, where = decimal(weights[0]), item.where
    if where.endswith("= 0"):
        where = f"{where[:-6]}`{where[-6:]}`"
    text = f"`y{item.class_} = {item.formula}` is {'an' if item.shape.startswith('e') else 'a'} {item.shape}"
    if item.stationary == "constant":
        text += f": `{value}` everywhere."
    elif item.stationary == "saddle":
        up, down = ("x1", "x2") if weights[1] > 0 else ("x2", "x1")
        text += f" with its saddle point, `{value}`, at the origin: it rises along `{up}` and falls along `{down}`."
    else:
        turns = "upwards" if item.stationary == "minimum" else "downwards"
        text += f" that opens {turns}: its {item.stationary}, `{value}`, is {where}."
    return Finding(question, marked(text), {"origin": item.origin, "weights": [float(w) for w in weights]})


def of_regions(result: Glm) -> Finding:
    """2.3: which inequalities describe each region."""
    parts = [
        f"to `{named(item.tied)}` "
        + (f"where {' and '.join(f'`{text}`' for text in item.where)}" if item.where else "everywhere")
        for item in result.regions
        if not item.empty and item.class_ == item.tied[0]
    ]
    text = f"Ties aside, the rule assigns `x` {'; '.join(parts)}."
    if len(result.regions[0].tied) == len(result.regions):
        text = "All scores are equal everywhere: the rule never decides."
    return Finding("2.3", marked(text), {"regions": [item.where for item in result.regions]})


def of_pair(result: Glm) -> Iterator[Finding]:
    """2.3 for two classes with a boundary: which of them is on which side."""
    item = result.boundaries[0]
    if len(result.weights) > 2 or item.separates == "nothing":
        return
    p, _, c = minus(*map(affine, result.weights))
    # At the origin the constants decide, on crossing lines the slopes.
    inner, outer = (1, 2) if (p if item.conic == "crossing lines" else c) > 0 else (2, 1)
    inside, outside = SIDES[item.conic]
    text = (
        f"`C{inner}` has {inside} the {item.conic} `{item.equation}` ({describe(item)}), `C{outer}` has {outside}; on "
        f"{'it' if item.radius or item.axes else 'them'} the two tie."
    )
    yield Finding("2.3", marked(text), {"conic": item.conic, "equation": item.equation})


def special(result: Glm) -> Iterator[Finding]:
    """Scores that coincide, and regions without an area."""
    first = [item for item in result.regions if item.class_ == item.tied[0]]
    for tied in (item.tied for item in first if 1 < len(item.tied) < len(result.regions)):
        yield Finding("", marked(f"`{named(tied)}` have the same score everywhere."), {"classes": tied})
    empty = [item.class_ for item in first if item.empty]
    if empty:
        text = f"No region belongs to `{named(empty)}`: nowhere is such a score larger than all others."
        yield Finding("", marked(text), {"classes": empty})
