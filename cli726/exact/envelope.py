"""Where each of several affine functions of the plane is the largest, in exact arithmetic.

The regions of a linear classifier are convex (Bishop 2006, section 4.1.2), and two of them share at most one piece of a
line: a segment, a ray or a whole line. Nothing is decided by rounding here: all numbers are fractions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

# (p, q, c) stands for p x1 + q x2 + c.
Affine = tuple[Fraction, Fraction, Fraction]
Vector = tuple[Fraction, Fraction]
Span = tuple[Fraction | None, Fraction | None]

ORIGIN = (Fraction(0), Fraction(0))


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A point of the plane and the classes that are the largest there."""

    x: tuple[float, float]
    exact: Vector
    region: int | None  # the class that is the largest, from 1; None where several tie
    tied: tuple[int, ...]  # all classes that are, from 1


@dataclass(frozen=True)
class Edge:
    """The piece of a line on which two regions meet."""

    owners: tuple[int, int]  # indices of the two functions that are the largest on its two sides
    tied: tuple[int, ...]  # indices of all functions that are the largest along it
    start: Vector | None  # None for a whole line
    end: Vector | None  # None for a ray or a whole line
    through: Vector  # a point on it, not at an end
    direction: Vector  # from start to end or to infinity; the larger component is 1 in size


def value(function: Affine, x: Vector) -> Fraction:
    """Return the function's value at `x`."""
    return slope(function, x) + function[2]


def slope(function: Affine, direction: Vector) -> Fraction:
    """Return how fast the function grows along `direction`."""
    return function[0] * direction[0] + function[1] * direction[1]


def minus(f: Affine, g: Affine) -> Affine:
    """Return the function f - g."""
    return f[0] - g[0], f[1] - g[1], f[2] - g[2]


def along(x: Vector, direction: Vector, t: Fraction) -> Vector:
    """Return the point x + t direction."""
    return x[0] + t * direction[0], x[1] + t * direction[1]


def mean(points: Sequence[Vector]) -> Vector:
    """Return the mean of points."""
    x, y = (sum(values, Fraction(0)) / len(points) for values in zip(*points, strict=True))
    return x, y


def highest(functions: Sequence[Affine], x: Vector) -> tuple[int, ...]:
    """Return the indices of the functions that are the largest at `x`, more than one where they tie."""
    values = [value(function, x) for function in functions]
    return tuple(k for k, height in enumerate(values) if height == max(values))


def spot(values: Sequence[Fraction], x: Vector) -> dict[str, Any]:
    """Return the fields of a `Spot` at which the classes have these values."""
    tied = tuple(k for k, height in enumerate(values, start=1) if height == max(values))
    return {"x": (float(x[0]), float(x[1])), "exact": x, "region": tied[0] if len(tied) == 1 else None, "tied": tied}


def same(functions: Sequence[Affine], index: int) -> tuple[int, ...]:
    """Return the indices of the functions that coincide with the given one, itself included."""
    return tuple(k for k, function in enumerate(functions) if function == functions[index])


def span(x: Vector, direction: Vector, constraints: Iterable[Affine]) -> Span | None:
    """Return the t for which every constraint is >= 0 at x + t direction: (low, high), None for an infinite end.

    Returns None where there is no such t; low = high for a single one.
    """
    sides = [(value(constraint, x), slope(constraint, direction)) for constraint in constraints]
    low = max((-here / growth for here, growth in sides if growth > 0), default=None)
    high = min((-here / growth for here, growth in sides if growth < 0), default=None)
    below = any(growth == 0 and here < 0 for here, growth in sides)
    return None if below or (low is not None and high is not None and low > high) else (low, high)


def visible(functions: Sequence[Affine], edge: Edge, window: Iterable[Affine]) -> list[Vector]:
    """Return the ends of that part of an edge on which all of `window`, which must bound it, is >= 0; [] if none."""
    above = [minus(functions[edge.owners[0]], other) for other in functions]
    limits = span(edge.through, edge.direction, [*above, *window])
    ends = [along(edge.through, edge.direction, t) for t in limits or () if t is not None]
    return [] if len(set(ends)) < 2 else ends


def edge_between(functions: Sequence[Affine], f: Affine, g: Affine, domain: Sequence[Affine]) -> Edge | None:
    """Return the edge on the line f = g, if there is one."""
    p, q, c = minus(f, g)
    if p == q == 0:
        return None
    largest, square = max(abs(p), abs(q)), p * p + q * q
    x, direction = (-c * p / square, -c * q / square), (-q / largest, p / largest)
    limits = span(x, direction, [*(minus(f, other) for other in functions), *domain])
    if limits is None or (limits[0] == limits[1] and limits[0] is not None):
        return None
    low, high = limits
    if low is not None and high is not None:
        t = (low + high) / 2
    else:
        t = low + 1 if low is not None else high - 1 if high is not None else Fraction(0)
    middle = along(x, direction, t)
    if any(value(constraint, middle) == 0 for constraint in domain):
        return None
    tied = highest(functions, middle)
    # Of those that tie along the line, the steepest across it wins on each side.
    ordered = sorted(tied, key=lambda k: slope(functions[k], (p, q)))
    first, last = sorted(same(functions, k)[0] for k in (ordered[0], ordered[-1]))
    start, end = (None if t is None else along(x, direction, t) for t in limits)
    if start is None and end is not None:
        start, end, direction = end, None, (-direction[0], -direction[1])
    return Edge((first, last), tied, start, end, middle, direction)


def edges(functions: Sequence[Affine], domain: Sequence[Affine] = ()) -> list[Edge]:
    """Return every edge between two regions, ordered by their owners.

    Args:
        functions: Any number of them, in any position; of functions that coincide the first stands for all.
        domain: Only where all of these are >= 0; its own border is no edge.
    """
    pairs = combinations(dict.fromkeys(functions), 2)
    found = {edge.owners: edge for f, g in pairs if (edge := edge_between(functions, f, g, domain))}
    return [found[pair] for pair in sorted(found)]


def owners(functions: Sequence[Affine], found: Sequence[Edge], somewhere: Vector) -> set[int]:
    """Return the indices of the functions whose region has an area, the first of those that coincide.

    Without edges, in `found`, the largest at any point inside the domain, `somewhere`, is so everywhere.
    """
    return {k for edge in found for k in edge.owners} or {highest(functions, somewhere)[0]}


def polygon(constraints: Iterable[Affine], corners: Sequence[Vector]) -> list[Vector]:
    """Return the part of a convex polygon in which every constraint is >= 0 (Sutherland and Hodgman 1974)."""
    shape = list(corners)
    for constraint in constraints:
        kept: list[Vector] = []
        for here, after in zip(shape, shape[1:] + shape[:1], strict=True):
            a, b = value(constraint, here), value(constraint, after)
            if a >= 0:
                kept.append(here)
            if (a > 0 > b) or (a < 0 < b):
                kept.append(along(here, (after[0] - here[0], after[1] - here[1]), a / (a - b)))
        shape = kept
    return shape
