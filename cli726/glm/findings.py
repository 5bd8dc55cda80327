"""What problem 2's numbers say: an answer to each question, stated only while it holds, and the tables under it."""

from __future__ import annotations

from collections.abc import Iterator

from cli726.document import Document, Finding, Table
from cli726.exact import decimal, finding, marked, named, place_table, table
from cli726.exact.envelope import minus
from cli726.glm import Boundary, Glm, Place, affine

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
    tables = [boundary_table(result), *([place_table("The point", at, "score", at.exact_scores)] if at else [])]
    return Document([marked(f"Scores {lead}")], QUESTIONS, findings(result), [item for item in tables if item.rows])


def findings(result: Glm) -> tuple[Finding, ...]:
    """Return the answers."""
    return (*of_surfaces(result), *of_regions(result))


def of_surfaces(result: Glm) -> Iterator[Finding]:
    """Answer 2.1 and 2.2, after these for further classes: the shape of each surface."""
    for item, weights in zip(result.surfaces, result.weights, strict=True):
        value = decimal(weights[0])
        text = f"`y{item.class_} = {item.formula}` is {'an' if item.shape.startswith('e') else 'a'} {item.shape}"
        if item.stationary == "constant":
            text += f": `{value}` everywhere."
        elif item.stationary == "saddle":
            up, down = ("x1", "x2") if weights[1] > 0 else ("x2", "x1")
            text += f" with its saddle point, `{value}`, at the origin: it rises along `{up}` and falls along `{down}`."
        else:
            turns = "upwards" if item.stationary == "minimum" else "downwards"
            where = item.where.replace("x1 = 0", "`x1 = 0`").replace("x2 = 0", "`x2 = 0`")
            text += f" that opens {turns}: its {item.stationary}, `{value}`, is {where}."
        question = f"2.{min(item.class_, 2)}"
        yield finding(question, text, origin=item.origin, weights=[float(w) for w in weights])


def of_regions(result: Glm) -> Iterator[Finding]:
    """Answer 2.3: which inequalities describe each region; of two classes also which is on which side of the conic."""
    parts = []
    for item in (item for item in result.regions if item.class_ == item.tied[0]):
        where = "where " + " and ".join(f"`{text}`" for text in item.where) if item.where else "everywhere"
        parts.append(f"to `{named(item.tied)}` {'nowhere' if item.empty else where}")
    text = f"Ties aside, the rule assigns `x` {'; '.join(parts)}."
    if len(result.regions[0].tied) == len(result.regions):
        text = "All scores are equal everywhere: the rule never decides."
    yield finding("2.3", text, regions=[item.where for item in result.regions])
    conic = result.boundaries[0]
    if len(result.weights) == 2 and conic.separates != "nothing":
        p, _, c = minus(*map(affine, result.weights))
        # At the origin the constants decide, on crossing lines the slopes.
        inner, outer = (1, 2) if (p if conic.conic == "crossing lines" else c) > 0 else (2, 1)
        inside, outside = SIDES[conic.conic]
        text = (
            f"`C{inner}` has {inside} the {conic.conic} `{conic.equation}` ({describe(conic)}), `C{outer}` has "
            f"{outside}; on {'it' if conic.radius or conic.axes else 'them'} the two tie."
        )
        yield finding("2.3", text, conic=conic.conic, equation=conic.equation)


def describe(item: Boundary) -> str:
    """Return a conic's centre and size."""
    sizes = [
        f"`{text}`" if text == f"{value:.4g}" else f"`{text} ~= {value:.4g}`"
        for text, value in zip(item.exact, item.axes or (item.radius,), strict=False) if value
    ]  # fmt: skip
    if item.radius:
        return f"centre `(0, 0)`, radius {sizes[0]}"
    if item.axes:
        opens = f", opening along `{item.opens}`" if item.opens else ""
        return f"centre `(0, 0)`, semi-axes {sizes[0]} along `x1` and {sizes[1]} along `x2`{opens}"
    return " and ".join(f"`{line}`" for line in item.lines)


def boundary_table(result: Glm) -> Table:
    """Return 2.3's table: the curves on which regions meet."""
    rows = [
        (f"`{named(item.classes, '|')}`", f"`{item.equation}`", item.conic, describe(item), item.separates)
        for item in result.boundaries
        if item.separates != "nothing"
    ]
    return table("Where regions meet", ("classes", "equation", "conic", "", "how much of it"), rows, "2.3")
