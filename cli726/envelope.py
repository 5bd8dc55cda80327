"""Where each of several affine functions of the plane is the largest, in exact arithmetic.

The regions of a linear classifier are convex (Bishop 2006, section 4.1.2), and two of them share at most one piece of a
line: a segment, a ray or a whole line. Nothing is decided by rounding here: all numbers are fractions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

__all__ = [
    "Affine",
    "Edge",
    "Vector",
    "along",
    "edges",
    "highest",
    "line_through",
    "minus",
    "owners",
    "polygon",
    "same",
    "slope",
    "span",
    "value",
    "visible",
]

# (p, q, c) stands for p x1 + q x2 + c.
Affine = tuple[Fraction, Fraction, Fraction]
Vector = tuple[Fraction, Fraction]
Span = tuple[Fraction | None, Fraction | None]


@dataclass(frozen=True)
class Edge:
    """The piece of a line on which two regions meet.

    Attributes:
        owners: Indices of the two functions that are the largest on its two sides.
        tied: Indices of all functions that are the largest along it.
        start: Where it starts; None for a whole line.
        end: Where it ends; None for a ray or a whole line.
        through: A point on it.
        direction: Along it, from `start` to `end` or to infinity; the larger component is 1 in size.
    """

    owners: tuple[int, int]
    tied: tuple[int, ...]
    start: Vector | None
    end: Vector | None
    through: Vector
    direction: Vector


def value(function: Affine, x: Vector) -> Fraction:
    """The function at `x`."""
    return function[0] * x[0] + function[1] * x[1] + function[2]


def slope(function: Affine, direction: Vector) -> Fraction:
    """How fast the function grows along `direction`."""
    return function[0] * direction[0] + function[1] * direction[1]


def minus(f: Affine, g: Affine) -> Affine:
    """The function f - g."""
    return f[0] - g[0], f[1] - g[1], f[2] - g[2]


def along(x: Vector, direction: Vector, t: Fraction) -> Vector:
    """The point x + t direction."""
    return x[0] + t * direction[0], x[1] + t * direction[1]


def highest(functions: Sequence[Affine], x: Vector) -> tuple[int, ...]:
    """Indices of the functions that are the largest at `x`, more than one where they tie."""
    values = [value(function, x) for function in functions]
    return tuple(k for k, height in enumerate(values) if height == max(values))


def same(functions: Sequence[Affine], index: int) -> tuple[int, ...]:
    """Indices of the functions that coincide with the given one, itself included."""
    return tuple(k for k, function in enumerate(functions) if function == functions[index])


def line_through(function: Affine) -> tuple[Vector, Vector]:
    """A point on the line `function = 0` and the line's direction, the larger component of which is 1 in size."""
    p, q, c = function
    largest = max(abs(p), abs(q))
    square = p * p + q * q
    return (-c * p / square, -c * q / square), (-q / largest, p / largest)


def span(x: Vector, direction: Vector, constraints: Iterable[Affine]) -> Span | None:
    """The t for which every constraint is >= 0 at x + t direction: (low, high), None for an end that is infinite.

    Returns None where that is nothing, or a single point.
    """
    low: Fraction | None = None
    high: Fraction | None = None
    for constraint in constraints:
        here, growth = value(constraint, x), slope(constraint, direction)
        if growth == 0:
            if here < 0:
                return None
        elif growth > 0:
            low = -here / growth if low is None else max(low, -here / growth)
        else:
            high = -here / growth if high is None else min(high, -here / growth)
    if low is not None and high is not None and low >= high:
        return None
    return low, high


def visible(
    through: Vector, direction: Vector, start: Vector | None, end: Vector | None, constraints: Sequence[Affine]
) -> tuple[Vector, Vector] | None:
    """The ends of that part of a line, ray or segment on which all constraints, which must bound it, are >= 0."""
    ends = list(constraints)
    for corner, sign in ((start, 1), (end, -1)):
        if corner:
            p, q = sign * direction[0], sign * direction[1]
            ends.append((p, q, -p * corner[0] - q * corner[1]))
    limits = span(through, direction, ends)
    if limits is None or limits[0] is None or limits[1] is None:
        return None
    return along(through, direction, limits[0]), along(through, direction, limits[1])


def inside(limits: Span) -> Fraction:
    """A number strictly between the limits."""
    low, high = limits
    if low is None:
        return Fraction(0) if high is None else high - 1
    return low + 1 if high is None else (low + high) / 2


def edge_between(functions: Sequence[Affine], f: Affine, g: Affine, domain: Sequence[Affine]) -> Edge | None:
    """The edge on the line f = g, if there is one."""
    difference = minus(f, g)
    if not any(difference[:2]):
        return None
    x, direction = line_through(difference)
    limits = span(x, direction, [*(minus(f, other) for other in functions), *domain])
    if limits is None:
        return None
    middle = along(x, direction, inside(limits))
    if any(value(constraint, middle) == 0 for constraint in domain):
        return None
    tied = highest(functions, middle)
    # Of those that tie along the line, the steepest across it wins on each side.
    ordered = sorted(tied, key=lambda k: slope(functions[k], (difference[0], difference[1])))
    first, last = sorted(same(functions, k)[0] for k in (ordered[0], ordered[-1]))
    start, end = (None if t is None else along(x, direction, t) for t in limits)
    if start is None and end is not None:
        start, end, direction = end, None, (-direction[0], -direction[1])
    return Edge((first, last), tied, start, end, middle, direction)


def edges(functions: Sequence[Affine], domain: Sequence[Affine] = ()) -> list[Edge]:
    """Every edge between two regions, ordered by their owners.

    Args:
        functions: Any number of them, in any position; of functions that coincide the first stands for all.
        domain: Only where all of these are >= 0; its own border is no edge.
    """
    found: dict[tuple[int, int], Edge] = {}
    for f, g in combinations(dict.fromkeys(functions), 2):
        edge = edge_between(functions, f, g, domain)
        if edge:
            found[edge.owners] = edge
    return [found[pair] for pair in sorted(found)]


def owners(functions: Sequence[Affine], found: Sequence[Edge], somewhere: Vector) -> tuple[int, ...]:
    """Indices of the functions whose region has an area, those that coincide included.

    Args:
        found: The edges.
        somewhere: A point inside the domain; where there is no edge, whoever is the largest there is so everywhere.
    """
    if not found:
        return highest(functions, somewhere)
    return tuple(sorted({k for edge in found for owner in edge.owners for k in same(functions, owner)}))


def polygon(constraints: Iterable[Affine], corners: Sequence[Vector]) -> list[Vector]:
    """The part of a convex polygon in which every constraint is >= 0 (Sutherland and Hodgman 1974); [] if none."""
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
