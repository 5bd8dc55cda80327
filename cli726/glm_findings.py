"""What problem 2's numbers say, in words: each sentence only while it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cli726.conics import describe
from cli726.envelope import Edge
from cli726.exact import Triple, short
from cli726.findings import Finding
from cli726.glm_regions import Boundary, Region, Surface, formula, ties

__all__ = ["findings"]

# Questions 2.1 and 2.2 ask for the first two surfaces, 2.3 for the regions.
ASKED = 2
CURVES = ("circle", "ellipse", "hyperbola")
# What the side of the origin (of crossing lines: of the x1 axis) and the other side are called.
SIDES = {
    "circle": ("the inside of", "the outside"),
    "ellipse": ("the inside of", "the outside"),
    "hyperbola": ("what lies between the branches of", "what lies beyond them"),
    "parallel lines": ("what lies between", "what lies beyond"),
    "crossing lines": ("the sectors around the x1 axis between", "those around the x2 axis"),
}
TURNS = {"minimum": "opens upwards", "maximum": "opens downwards"}


def findings(
    weights: Sequence[Triple],
    surfaces: Sequence[Surface],
    boundaries: Sequence[Boundary],
    regions: Sequence[Region],
    found: Sequence[Edge],
) -> tuple[Finding, ...]:
    """Answers to the questions 2.1 and 2.2 (the surfaces) and 2.3 (the decision regions)."""
    return (
        *(of_surface(weights[item.class_ - 1], item) for item in surfaces),
        *of_regions(regions),
        *of_boundaries(weights, boundaries),
        *special(weights, boundaries, regions, found),
        *no_probabilities(weights),
    )


def names(classes: Iterable[int], joint: str) -> str:
    return joint.join(f"C{k}" for k in classes)


def of_surface(weights: Triple, item: Surface) -> Finding:
    """2.1 and 2.2: the shape of a surface."""
    k, value = item.class_, short(weights[0])
    question = f"2.{k} " if k <= ASKED else ""
    text = f"{question}y{k} = {formula(weights, exact=False)} is {'an' if item.shape[0] in 'ae' else 'a'} {item.shape}"
    if item.stationary == "constant":
        text += f": {value} everywhere."
    elif item.stationary == "saddle":
        up, down = ("x1", "x2") if weights[1] > 0 else ("x2", "x1")
        text += (
            f" with its saddle point at the origin, where it is {value}: it rises along {up} and falls along {down}."
        )
    else:
        text += f" that {TURNS[item.stationary]}: its {item.stationary}, {value}, is {item.where}."
    return Finding(text, {"origin": item.origin, "weights": [float(w) for w in weights]})


def of_regions(regions: Sequence[Region]) -> Iterator[Finding]:
    """2.3: which inequalities describe each region."""
    parts = [
        names(item.tied, " and ") + (" where " + " and ".join(item.where) if item.where else " everywhere")
        for item in regions
        if not item.empty and item.class_ == item.tied[0]
    ]
    yield Finding(
        f"2.3 argmax_k y_k(x) assigns x to {'; to '.join(parts)}.", {"regions": [item.where for item in regions]}
    )


def of_boundaries(weights: Sequence[Triple], boundaries: Sequence[Boundary]) -> Iterator[Finding]:
    """2.3: the curves on which the regions meet."""
    if len(weights) == 2:
        yield of_one_pair(weights, boundaries[0])
        return
    parts = [
        f"{names(item.classes, '|')} {'part of ' if item.separates == 'part' else ''}the {item.conic} {item.equation}"
        for item in boundaries
        if item.separates != "nothing"
    ]
    if parts:
        yield Finding(
            f"2.3 The regions meet on {'; '.join(parts)}. There the two scores tie.",
            {"boundaries": [item.classes for item in boundaries if item.separates != "nothing"]},
        )
    hidden = [
        item for item in boundaries if item.separates == "nothing" and item.conic not in ("nothing", "everything")
    ]
    if hidden:
        yield Finding(
            f"2.3 The scores of {', '.join(names(item.classes, '|') for item in hidden)} are equal too, on the curves "
            "in the table, but the regions of these pairs do not meet there.",
            {"pairs": [item.classes for item in hidden]},
        )


def of_one_pair(weights: Sequence[Triple], item: Boundary) -> Finding:
    """2.3 for two classes: which of them is on which side."""
    evidence = {"conic": item.conic, "equation": item.equation}
    if item.conic == "everything":
        return Finding("2.3 The two scores are equal everywhere: the rule never decides.", evidence)
    # At the origin the constants decide, on crossing lines the slopes; where both are equal, what is added to them.
    order = {"crossing lines": 1, "double line": 3, "point": 3}.get(item.conic, 0)
    difference = [first - second for first, second in zip(*weights, strict=True)]
    ahead = difference[order] if order < 3 else difference[1] + difference[2]
    inner, outer = ("C1", "C2") if ahead > 0 else ("C2", "C1")
    if item.conic == "nothing":
        why = f", for {item.equation} has no solution" if any(difference[1:]) else ""
        return Finding(f"2.3 No point has y1 = y2{why}: {inner} is ahead everywhere.", evidence)
    if item.conic in ("double line", "point"):
        return Finding(f"2.3 {inner} is ahead everywhere but at {describe(item)}, where the two tie.", evidence)
    inside, outside = SIDES[item.conic]
    return Finding(
        f"2.3 So {inner} has {inside} the {item.conic} {item.equation} ({describe(item)}), {outer} has {outside}; on "
        f"{'it' if item.radius or item.axes else 'them'} the two tie.",
        evidence,
    )


def special(
    weights: Sequence[Triple], boundaries: Sequence[Boundary], regions: Sequence[Region], found: Sequence[Edge]
) -> Iterator[Finding]:
    """Curves that are straight lines of the basis functions, scores that coincide, regions without an area."""
    curved = {item.conic for item in boundaries if item.separates != "nothing" and item.conic in CURVES}
    if curved:
        yield Finding(
            "Drawn over the basis functions (x1^2, x2^2) each boundary is a straight line: the "
            f"{' or '.join(sorted(curved))} comes from the basis, not from the weights, which enter linearly.",
            {"conics": sorted(curved)},
        )
    for item in regions:
        if len(item.tied) > 1 and item.class_ == item.tied[0]:
            yield Finding(
                f"{names(item.tied, ' and ')} have the same score everywhere, and nothing divides them.",
                {"classes": item.tied},
            )
        if item.empty:
            where = ties(weights, item.class_ - 1, found)
            why = f"it only ties for the largest score, {', '.join(where)}" if where else "it is nowhere the largest"
            yield Finding(f"The region of C{item.class_} is empty: {why}.", {"class": item.class_})


def no_probabilities(weights: Sequence[Triple]) -> Iterator[Finding]:
    """Scores need be neither positive nor sum to 1."""
    origin = [w0 for w0, _, _ in weights]
    if min(origin) < 0 or sum(origin) != 1:
        yield Finding(
            f"The scores are no probabilities: at the origin they are {', '.join(short(w0) for w0 in origin)}. Only "
            "their order counts.",
            {"origin": [float(w0) for w0 in origin]},
        )
