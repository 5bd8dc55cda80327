"""Scores w0 + w1 x1^2 + w2 x2^2: their surfaces, the boundary of each pair, the region of each class.

In the plane of the basis functions, (u, v) = (x1^2, x2^2), the scores are affine and every boundary is straight; only
the quadrant u, v >= 0 counts. So the exact arithmetic of `envelope` decides here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from cli726.conics import SQUARES, Conic, classify
from cli726.envelope import Affine, Edge, Vector, highest, line_through, minus, same, span
from cli726.exact import Triple, equation, polynomial

__all__ = [
    "QUADRANT",
    "Boundary",
    "Place",
    "Region",
    "Surface",
    "affine",
    "boundary",
    "curve",
    "evaluate",
    "formula",
    "region",
    "surface",
]

ZERO, ONE = Fraction(0), Fraction(1)
# Squares are not negative.
QUADRANT: tuple[Affine, Affine] = ((ONE, ZERO, ZERO), (ZERO, ONE, ZERO))


@dataclass(frozen=True)
class Place:
    """The scores at one point.

    Attributes:
        x: Its coordinates.
        exact: The same as fractions.
        scores: y_k, K numbers.
        exact_scores: The same as fractions.
        region: The class with the largest score, from 1; None where several tie.
        tied: All classes with the largest score, from 1.
    """

    x: tuple[float, float]
    exact: Vector
    scores: tuple[float, ...]
    exact_scores: tuple[Fraction, ...]
    region: int | None
    tied: tuple[int, ...]


@dataclass(frozen=True)
class Surface:
    """The graph of one score.

    Attributes:
        class_: The class, from 1.
        formula: The score as people write it.
        shape: Such as "paraboloid of revolution" or "horizontal plane".
        origin: The score at the origin, where its gradient is 0.
        stationary: What that is: "minimum", "maximum", "saddle" or "constant".
        where: Where the score takes this value with zero gradient.
    """

    class_: int
    formula: str
    shape: str
    origin: float
    stationary: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Boundary(Conic):
    """Where two scores are equal.

    Attributes:
        classes: The two classes, from 1.
        separates: How much of the conic divides the regions of these two: "all", "part" or "nothing".
    """

    classes: tuple[int, int]
    separates: str


@dataclass(frozen=True)
class Region:
    """Where one class has the largest score.

    Attributes:
        class_: The class, from 1.
        empty: Whether it has no area.
        where: The inequalities that describe it, none of them superfluous; none for the whole plane or an empty region.
        tied: All classes that share the region because their scores coincide, from 1.
    """

    class_: int
    empty: bool
    where: tuple[str, ...]
    tied: tuple[int, ...]


def affine(weights: Triple) -> Affine:
    """The score as a function of (x1^2, x2^2)."""
    return weights[1], weights[2], weights[0]


def formula(weights: Triple, *, exact: bool = True) -> str:
    """A score as people write it: "6 + 2 x1^2 + 2 x2^2"."""
    return polynomial(zip(weights, ("", *SQUARES), strict=True), exact=exact)


def curve(weights: Sequence[Triple], classes: tuple[int, int], *, exact: bool = True) -> str:
    """The equation of the conic on which two classes, counted from 1, tie: "x1^2 + x2^2 = 1"."""
    difference = minus(*(affine(weights[k - 1]) for k in classes))
    return equation(difference[:2], SQUARES, difference[2], exact=exact)


def evaluate(weights: Sequence[Triple], x: Vector) -> Place:
    """The scores at `x`."""
    exact = tuple(w0 + w1 * x[0] ** 2 + w2 * x[1] ** 2 for w0, w1, w2 in weights)
    tied = tuple(k for k, score in enumerate(exact, start=1) if score == max(exact))
    return Place(
        x=(float(x[0]), float(x[1])),
        exact=x,
        scores=tuple(float(score) for score in exact),
        exact_scores=exact,
        region=tied[0] if len(tied) == 1 else None,
        tied=tied,
    )


def surface(weights: Triple, class_: int) -> Surface:
    """The shape of one score's graph."""
    w0, w1, w2 = weights
    where, up = "at the origin", w1 + w2 > 0
    stationary = "minimum" if up else "maximum"
    if w1 == w2 == 0:
        shape, stationary, where = "horizontal plane", "constant", "everywhere"
    elif w1 == 0 or w2 == 0:
        shape, where = "parabolic cylinder", f"on the whole line {'x1' if w1 else 'x2'} = 0"
    elif w1 * w2 < 0:
        shape, stationary = "hyperbolic paraboloid", "saddle"
    else:
        shape = "paraboloid of revolution" if w1 == w2 else "elliptic paraboloid"
    return Surface(class_, formula(weights), shape, float(w0), stationary, where)


def boundary(weights: Sequence[Triple], first: int, second: int, found: Sequence[Edge]) -> Boundary:
    """Where the scores with indices `first` and `second` are equal.

    Args:
        found: The edges between the regions in the quadrant of squares.
    """
    functions = [affine(w) for w in weights]
    difference = minus(functions[first], functions[second])
    pair = tuple(sorted((same(functions, first)[0], same(functions, second)[0])))
    edge = next((edge for edge in found if edge.owners == pair), None)
    separates = "nothing"
    if edge:
        x, direction = line_through(difference)
        here = span(x, direction, QUADRANT)
        there = span(x, direction, [*QUADRANT, *(minus(functions[first], other) for other in functions)])
        separates = "all" if here == there else "part"
    return Boundary(classes=(first + 1, second + 1), separates=separates, **vars(classify(*difference)))


def region(weights: Sequence[Triple], k: int, found: Sequence[Edge], with_area: Sequence[int]) -> Region:
    """Where the score with index k is the largest."""
    functions = [affine(w) for w in weights]
    tied = tuple(j + 1 for j in same(functions, k))
    if k not in with_area:
        return Region(k + 1, empty=True, where=(), tied=tied)
    owner = tied[0] - 1
    rivals = [sum(edge.owners) - owner for edge in found if owner in edge.owners]
    differences = [minus(functions[owner], functions[rival]) for rival in rivals]
    where = tuple(equation(d[:2], SQUARES, d[2], relation=">") for d in differences)
    return Region(k + 1, empty=False, where=where, tied=tied)


def ties(weights: Sequence[Triple], k: int, found: Sequence[Edge]) -> list[str]:
    """Where the class with index k, whose region has no area, still ties for the largest score; [] for nowhere."""
    functions = [affine(w) for w in weights]
    on = ["on " + "|".join(f"C{j + 1}" for j in edge.owners) for edge in found if k in edge.tied]
    above = [minus(functions[k], other) for other in functions]
    for name, along_axis in (("x1", (ZERO, ONE)), ("x2", (ONE, ZERO))):
        if span((ZERO, ZERO), along_axis, [*above, *QUADRANT]):
            on.append(f"on the line {name} = 0")
    if on:
        return on
    corners = {
        corner for edge in found for corner in (edge.start, edge.end) if corner and k in highest(functions, corner)
    }
    points = sorted(corners | ({(ZERO, ZERO)} if k in highest(functions, (ZERO, ZERO)) else set()))
    return [f"where x1^2 = {u} and x2^2 = {v}" if u or v else "at the origin" for u, v in points]
