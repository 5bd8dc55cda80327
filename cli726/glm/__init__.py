"""Problem 2: generalised linear models y_k(x) = w0 + w1 x1^2 + w2 x2^2, and the regions of argmax_k y_k(x).

In the plane of the basis functions, (u, v) = (x1^2, x2^2), the scores are affine and every boundary is straight; only
the quadrant u, v >= 0 counts. So the exact arithmetic of problem 1 decides here too.

Source: Bishop (2006), section 4.1.2 for discriminants, section 4.3.1 for fixed basis functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from cli726.exact import Triple, equation, polynomial, root
from cli726.exact.envelope import Affine, Edge, Spot, Vector, edges, minus, owners, same, span, spot, value

__all__ = [
    "ASSIGNMENT", "NAMES", "QUADRANT", "Boundary", "Glm", "Place", "Region", "Surface", "affine", "analyse", "evaluate",
]  # fmt: skip

# What a class is made of, and the assignment's two.
NAMES = ("w0", "w1", "w2")
ASSIGNMENT = ("6,2,2", "8,0,0")
SQUARES = ("x1^2", "x2^2")
ZERO, ONE = Fraction(0), Fraction(1)
# Squares are not negative; a place inside their quadrant.
QUADRANT: tuple[Affine, Affine] = ((ONE, ZERO, ZERO), (ZERO, ONE, ZERO))
SOMEWHERE = (ONE, ONE)


@dataclass(frozen=True, kw_only=True)
class Place(Spot):
    """The scores y_k at one point, K numbers, also as fractions."""

    scores: tuple[float, ...]
    exact_scores: tuple[Fraction, ...]


@dataclass(frozen=True)
class Surface:
    """The graph of one score."""

    class_: int  # from 1
    formula: str  # "6 + 2 x1^2 + 2 x2^2"
    shape: str  # such as "paraboloid of revolution" or "horizontal plane"
    origin: float  # the score at the origin, where its gradient is 0
    stationary: str  # what that is: "minimum", "maximum", "saddle" or "constant"
    where: str  # where the score takes this value with zero gradient


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Where two scores are equal: the points at which p x1^2 + q x2^2 + c = 0.

    Its conic is a "circle", "ellipse", "hyperbola", "double line" or "point", "crossing lines" or "parallel lines",
    "nothing" or "everything".
    """

    classes: tuple[int, int]  # from 1
    separates: str  # how much of the conic divides the regions of these two: "all", "part" or "nothing"
    equation: str  # in smallest integers
    conic: str
    center: tuple[float, float] | None = None  # the one centre of symmetry; None for none or more than one
    radius: float | None = None  # of a circle
    axes: tuple[float, float] | None = None  # semi-axes along x1 and x2 of an ellipse or hyperbola
    exact: tuple[str, ...] = ()  # radius, semi-axes or half the distance of parallel lines: "1", "sqrt(3/2)"
    opens: str | None = None  # the axis that a hyperbola crosses
    lines: tuple[str, ...] = ()  # the equations of the lines of which the conic consists


@dataclass(frozen=True)
class Region:
    """Where one class has the largest score."""

    class_: int  # from 1
    empty: bool  # has no area
    where: tuple[str, ...]  # inequalities, none superfluous, up to points where another class ties; none if empty
    tied: tuple[int, ...]  # all classes that share the region because their scores coincide, from 1


@dataclass(frozen=True)
class Glm:
    """Problem 2 answered for one set of weight vectors."""

    weights: tuple[Triple, ...]  # (w0, w1, w2) of each class: the weights of 1, x1^2 and x2^2
    surfaces: tuple[Surface, ...]
    boundaries: tuple[Boundary, ...]  # one for each pair of classes
    regions: tuple[Region, ...]  # one for each class

    @property
    def inhabited(self) -> list[Region]:
        """Return the regions that have an area, one for classes that coincide."""
        return [item for item in self.regions if not item.empty and item.class_ == item.tied[0]]


def analyse(weights: Sequence[Triple]) -> Glm:
    """Return surfaces, pairwise boundaries and regions of K >= 2 scores."""
    functions = [affine(w) for w in weights]
    found = edges(functions, QUADRANT)
    classes = range(len(weights))
    return Glm(
        weights=tuple(weights),
        surfaces=tuple(surface(w, k) for k, w in enumerate(weights, start=1)),
        boundaries=tuple(boundary(functions, i, j, found) for i, j in combinations(classes, 2)),
        regions=tuple(region(functions, k, found) for k in classes),
    )


def affine(weights: Triple) -> Affine:
    """Return the score as a function of (x1^2, x2^2)."""
    return weights[1], weights[2], weights[0]


def evaluate(weights: Sequence[Triple], x: Vector) -> Place:
    """Return the scores at `x`."""
    exact = tuple(value(affine(w), (x[0] ** 2, x[1] ** 2)) for w in weights)
    return Place(**spot(exact, x), scores=tuple(map(float, exact)), exact_scores=exact)


def surface(weights: Triple, class_: int) -> Surface:
    """Return the shape of one score's graph."""
    w0, w1, w2 = weights
    where, stationary = "at the origin", "minimum" if w1 + w2 > 0 else "maximum"
    if w1 == w2 == 0:
        shape, stationary, where = "horizontal plane", "constant", "everywhere"
    elif w1 == 0 or w2 == 0:
        shape, where = "parabolic cylinder", f"on the whole line {'x1' if w1 else 'x2'} = 0"
    elif w1 * w2 < 0:
        shape, stationary = "hyperbolic paraboloid", "saddle"
    else:
        shape = "paraboloid of revolution" if w1 == w2 else "elliptic paraboloid"
    formula = polynomial(zip(weights, ("", *SQUARES), strict=True))
    return Surface(class_, formula, shape, float(w0), stationary, where)


def boundary(functions: Sequence[Affine], first: int, second: int, found: Sequence[Edge]) -> Boundary:
    """Return where two scores, by their indices, are equal; `found` are the edges in the quadrant of squares."""
    pair = sorted((same(functions, first)[0], same(functions, second)[0]))
    separates = "nothing"
    for edge in found:
        if [*edge.owners] == pair:
            above = [minus(functions[first], other) for other in functions]
            here, seen = (span(edge.through, edge.direction, [*QUADRANT, *more]) for more in ([], above))
            separates = "all" if here == seen else "part"
    p, q, c = minus(functions[first], functions[second])
    text = equation((p, q), SQUARES, c)
    return Boundary(classes=(first + 1, second + 1), separates=separates, equation=text, **conic(p, q, c))


def conic(p: Fraction, q: Fraction, c: Fraction) -> dict[str, Any]:
    """Return name, centre and size of p x1^2 + q x2^2 + c = 0 as in `Boundary`, by the signs of the coefficients."""
    if p == q == 0:
        return {"conic": "nothing" if c else "everything"}
    if p == 0 or q == 0:
        return of_one_variable("x1" if p else "x2", -c / (p or q))
    center = (0.0, 0.0)
    if c == 0 and p * q > 0:
        return {"conic": "point", "center": center}
    if c == 0:
        steep = root(-p / q)
        right = "x1" if steep == "1" else f"{steep} x1"
        return {"conic": "crossing lines", "center": center, "lines": (f"x2 = {right}", f"x2 = -{right}")}
    squares = (-c / p, -c / q)
    if max(squares) < 0:
        return {"conic": "nothing"}
    exact = (root(abs(squares[0])), root(abs(squares[1])))
    axes = (math.sqrt(abs(squares[0])), math.sqrt(abs(squares[1])))
    if p == q:
        return {"conic": "circle", "center": center, "radius": axes[0], "exact": exact[:1]}
    found = {"conic": "ellipse", "center": center, "axes": axes, "exact": exact}
    return found | ({"conic": "hyperbola", "opens": "x1" if squares[0] > 0 else "x2"} if p * q < 0 else {})


def of_one_variable(name: str, square: Fraction) -> dict[str, Any]:
    """Return the points at which the square of one coordinate has a given value."""
    if square < 0:
        return {"conic": "nothing"}
    if square == 0:
        return {"conic": "double line", "lines": (f"{name} = 0",)}
    size = root(square)
    return {"conic": "parallel lines", "exact": (size,), "lines": (f"{name} = {size}", f"{name} = -{size}")}


def region(functions: Sequence[Affine], k: int, found: Sequence[Edge]) -> Region:
    """Return where the score with index k is the largest."""
    tied = tuple(j + 1 for j in same(functions, k))
    owner = tied[0] - 1
    rivals = [functions[sum(edge.owners) - owner] for edge in found if owner in edge.owners]
    differences = [minus(functions[owner], rival) for rival in rivals]
    where = tuple(equation((p, q), SQUARES, c, relation=">") for p, q, c in differences)
    return Region(k + 1, owner not in owners(functions, found, SOMEWHERE), where, tied)
