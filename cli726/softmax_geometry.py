"""The softmax of linear activations: at a point, along the edges of its decision regions, and far out inside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from cli726.envelope import Affine, Edge, Vector, highest, minus, same, slope, value
from cli726.exact import equation, polynomial

__all__ = [
    "ORIGIN",
    "Boundary",
    "Place",
    "Region",
    "boundary",
    "evaluate",
    "far",
    "formula",
    "line",
    "probabilities",
    "readable",
    "region",
]

NAMES = ("x1", "x2")
ORIGIN = (Fraction(0), Fraction(0))


@dataclass(frozen=True)
class Place:
    """The softmax at one point.

    Attributes:
        x: Its coordinates.
        exact: The same as fractions.
        activations: a_k, K numbers.
        exact_activations: The same as fractions.
        probabilities: p(C_k|x), K numbers.
        region: The class with the largest probability, from 1; None where several tie.
        tied: All classes with the largest probability, from 1.
    """

    x: tuple[float, float]
    exact: Vector
    activations: tuple[float, ...]
    exact_activations: tuple[Fraction, ...]
    probabilities: tuple[float, ...]
    region: int | None
    tied: tuple[int, ...]


@dataclass(frozen=True)
class Boundary:
    """The piece of a line on which two decision regions meet.

    Attributes:
        classes: The two classes, from 1.
        equation: Of the whole line, in smallest integers.
        kind: "ray", "segment" or "line".
        start: Where it starts, as fractions; None for a line.
        end: Where a segment ends.
        through: A point on it.
        direction: Unit vector away from `start`.
        exact_direction: The same direction, of another length, as fractions.
        rate: Along a ray, the slowest rate (per unit length) at which a probability falls to 0; None where none does.
        limit: Probabilities far out along a ray or line; None for a segment.
        behind: For a ray, the limit the other way, on the part of the line that is no boundary.
        tied: All classes that have the largest probability on it.
    """

    classes: tuple[int, int]
    equation: str
    kind: str
    start: Vector | None
    end: Vector | None
    through: Vector
    direction: tuple[float, float]
    exact_direction: Vector
    rate: float | None
    limit: tuple[float, ...] | None
    behind: tuple[float, ...] | None
    tied: tuple[int, ...]


@dataclass(frozen=True)
class Region:
    """Where one class has the largest probability, and what happens far out in its middle.

    Attributes:
        class_: The class, from 1.
        kind: "wedge", "half-plane", "strip", "bounded", "whole plane" or "empty" (no area).
        start: A point on the middle line; None if empty.
        direction: Unit vector along which the middle runs to infinity; None where there is none.
        exact_direction: The same direction, of another length, as fractions.
        rate: The slowest rate (per unit of length) at which another probability falls to 0; None where none does.
        limit: Probabilities far out in that direction; None without a direction, save for the whole plane.
        tied: All classes that share the region because their activations coincide, from 1.
    """

    class_: int
    kind: str
    start: Vector | None
    direction: tuple[float, float] | None
    exact_direction: Vector | None
    rate: float | None
    limit: tuple[float, ...] | None
    tied: tuple[int, ...]


def probabilities(activations: Sequence[float] | Sequence[Fraction]) -> tuple[float, ...]:
    """Softmax of K activations: K numbers that sum to 1.

    Source: Bishop (2006), eq. 4.104, shifted by the largest activation so that exp cannot overflow.
    """
    largest = max(activations)
    powers = [math.exp(float(a - largest)) for a in activations]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


def readable(shares: Sequence[float]) -> list[str]:
    """Probabilities to four digits; one that would round to 1 as "1 - 3.2e-12", from the sum of the others."""
    texts = [f"{share:.4g}" for share in shares]
    for k, text in enumerate(texts):
        rest = math.fsum(share for j, share in enumerate(shares) if j != k)
        if text == "1" and rest:
            texts[k] = f"1 - {rest:.2g}"
    return texts


def evaluate(weights: Sequence[Affine], x: Vector) -> Place:
    """Activations and probabilities at `x`."""
    exact = tuple(value(w, x) for w in weights)
    tied = tuple(k + 1 for k in highest(weights, x))
    return Place(
        x=(float(x[0]), float(x[1])),
        exact=x,
        activations=tuple(float(a) for a in exact),
        exact_activations=exact,
        probabilities=probabilities(exact),
        region=tied[0] if len(tied) == 1 else None,
        tied=tied,
    )


def formula(activation: Affine, *, exact: bool = True) -> str:
    """An activation as people write it: "3 x1 + x2 + 1"."""
    return polynomial(zip(activation, (*NAMES, ""), strict=True), exact=exact)


def line(weights: Sequence[Affine], classes: tuple[int, int], *, exact: bool = True) -> str:
    """The equation of the line on which two classes, counted from 1, tie: "2 x1 - 2 x2 = 1"."""
    difference = minus(weights[classes[0] - 1], weights[classes[1] - 1])
    return equation(difference[:2], NAMES, difference[2], exact=exact)


def length(direction: Vector) -> float:
    return math.hypot(float(direction[0]), float(direction[1]))


def unit(direction: Vector) -> tuple[float, float]:
    size = length(direction)
    return float(direction[0]) / size, float(direction[1]) / size


def far(weights: Sequence[Affine], x: Vector, direction: Vector) -> tuple[tuple[float, ...], float | None]:
    """Limit of the probabilities at x + s direction / |direction| for s to infinity, and the slowest rate on the way.

    Only the activations that grow the fastest keep a share; their differences are then constant. Each other one falls
    behind by its difference in slope, and its probability falls as exp(-rate s).
    """
    slopes = [slope(w, direction) for w in weights]
    fastest = [k for k, growth in enumerate(slopes) if growth == max(slopes)]
    shares = dict(zip(fastest, probabilities([value(weights[k], x) for k in fastest]), strict=True))
    slower = [max(slopes) - growth for growth in slopes if growth != max(slopes)]
    rate = float(min(slower)) / length(direction) if slower else None
    return tuple(shares.get(k, 0.0) for k in range(len(weights))), rate


def boundary(weights: Sequence[Affine], edge: Edge) -> Boundary:
    """What happens along one edge."""
    classes = (edge.owners[0] + 1, edge.owners[1] + 1)
    kind = "line" if edge.start is None else "ray" if edge.end is None else "segment"
    limit, rate = far(weights, edge.through, edge.direction) if kind != "segment" else (None, None)
    back = (-edge.direction[0], -edge.direction[1])
    return Boundary(
        classes=classes,
        equation=line(weights, classes),
        kind=kind,
        start=edge.start,
        end=edge.end,
        through=edge.through,
        direction=unit(edge.direction),
        exact_direction=edge.direction,
        rate=rate,
        limit=limit,
        behind=far(weights, edge.through, back)[0] if kind == "ray" else None,
        tied=tuple(k + 1 for k in edge.tied),
    )


def mean(points: Sequence[Vector]) -> Vector:
    return (
        sum((p[0] for p in points), Fraction(0)) / len(points),
        sum((p[1] for p in points), Fraction(0)) / len(points),
    )


def middle_way(weights: Sequence[Affine], owner: int, around: Sequence[Edge]) -> tuple[str, Vector, Vector | None]:
    """The kind of a region with an area, a point on its middle line, and the direction in which that runs to infinity.

    Args:
        owner: The class that stands for the region in `Edge.owners`.
        around: The edges of the region.
    """
    endless = [edge for edge in around if edge.end is None]
    if not around:
        return "whole plane", ORIGIN, None
    if not endless:
        return "bounded", mean([corner for edge in around for corner in (edge.start, edge.end) if corner]), None
    start = mean([edge.start or edge.through for edge in endless])
    first, last = endless[0], endless[-1]
    (u1, u2), (v1, v2) = first.direction, last.direction
    if u1 * v2 != u2 * v1:
        # Exactly between two directions at an angle, however the square roots are rounded.
        u, v = (1 / Fraction(length(edge.direction)) for edge in (first, last))
        return "wedge", start, (u1 * u + v1 * v, u2 * u + v2 * v)
    if len(endless) == 1:
        return "half-plane", start, minus(weights[owner], weights[sum(first.owners) - owner])[:2]
    return "strip", start, first.direction


def region(weights: Sequence[Affine], k: int, found: Sequence[Edge], with_area: Sequence[int]) -> Region:
    """What happens in the region of the class with index k."""
    tied = tuple(j + 1 for j in same(weights, k))
    if k not in with_area:
        return Region(k + 1, "empty", None, None, None, None, None, tied)
    owner = tied[0] - 1
    kind, start, direction = middle_way(weights, owner, [edge for edge in found if owner in edge.owners])
    limit, rate = (None, None) if direction is None else far(weights, start, direction)
    if kind == "whole plane":
        limit = probabilities([w[2] for w in weights])
    return Region(k + 1, kind, start, unit(direction) if direction else None, direction, rate, limit, tied)
