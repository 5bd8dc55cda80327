"""Problem 1: the decision regions of a softmax over linear activations, and the probabilities along and inside them.

p(C_k|x) = exp(a_k) / sum_j exp(a_j) with a_k = w1 x1 + w2 x2 + bias (Bishop 2006, eq. 4.104 and 4.105).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from cli726.exact import envelope, equation, polynomial
from cli726.exact.envelope import ORIGIN, Affine, Edge, Spot, Vector, mean, minus, same, slope, spot, value

__all__ = [
    "ASSIGNMENT", "NAMES", "Boundary", "Place", "Region", "Softmax", "Way", "analyse", "evaluate", "far", "length",
    "probabilities",
]  # fmt: skip

# What a class is made of, and the assignment's three.
NAMES = ("w1", "w2", "bias")
ASSIGNMENT = ("3,1,1", "1,3,2", "-3,1.5,2")
COORDINATES = ("x1", "x2")


@dataclass(frozen=True, kw_only=True)
class Place(Spot):
    """The softmax at one point: activations a_k, also as fractions, and probabilities p(C_k|x), K numbers each."""

    activations: tuple[float, ...]
    exact_activations: tuple[Fraction, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way through the plane, and what becomes of the probabilities far out on it."""

    start: Vector | None = None  # None for a whole line and in an empty region
    direction: tuple[float, float] | None = None  # unit vector; None where nothing is far out
    exact_direction: Vector | None = None  # the same direction, of another length
    rate: float | None = None  # the slowest at which a probability falls to 0, per unit length; None where none does
    limit: tuple[float, ...] | None = None  # probabilities far out
    keep: tuple[int, ...] = ()  # the classes, from 1, whose limit is above 0, however small
    tied: tuple[int, ...]  # all classes, from 1, that are the largest on it


@dataclass(frozen=True, kw_only=True)
class Boundary(Way):
    """The piece of a line on which two decision regions meet."""

    classes: tuple[int, int]  # from 1
    equation: str  # of the whole line, in smallest integers
    kind: str  # "ray", "segment" or "line"
    end: Vector | None  # of a segment
    through: Vector  # a point on it
    behind: tuple[float, ...] | None  # for a ray, the limit the other way, on the part of the line that is no boundary


@dataclass(frozen=True, kw_only=True)
class Region(Way):
    """Where one class has the largest probability; its way is its middle."""

    class_: int  # from 1
    kind: str  # "wedge", "half-plane", "strip", "half-strip", "bounded", "whole plane" or "empty" (no area)


@dataclass(frozen=True)
class Softmax:
    """Problem 1 answered for one set of activations."""

    activations: tuple[str, ...]  # as formulas
    weights: tuple[Affine, ...]  # (w1, w2, bias) of each class
    point: Place | None  # where the boundaries meet, if that is one point
    vertices: tuple[Place, ...]  # every point where boundaries meet
    boundaries: tuple[Boundary, ...]  # ordered by their classes
    regions: tuple[Region, ...]  # one for each class

    @property
    def inhabited(self) -> list[Region]:
        """Return the regions that have an area, one for classes that coincide."""
        return [item for item in self.regions if item.kind != "empty" and item.class_ == item.tied[0]]


def analyse(weights: Sequence[Affine]) -> Softmax:
    """Return points where regions meet, boundaries and regions of K >= 2 linear activations, in any position."""
    found = envelope.edges(weights)
    corners = sorted({corner for edge in found for corner in (edge.start, edge.end) if corner})
    vertices = tuple(evaluate(weights, corner) for corner in corners)
    return Softmax(
        activations=tuple(polynomial(zip(w, (*COORDINATES, ""), strict=True)) for w in weights),
        weights=tuple(weights),
        point=vertices[0] if len(vertices) == 1 else None,
        vertices=vertices,
        boundaries=tuple(boundary(weights, edge) for edge in found),
        regions=tuple(region(weights, k, found) for k in range(len(weights))),
    )


def probabilities(activations: Sequence[float] | Sequence[Fraction]) -> tuple[float, ...]:
    """Return the softmax of K activations: K numbers that sum to 1.

    Source: Bishop (2006), eq. 4.104, shifted by the largest activation so that exp cannot overflow.
    """
    largest = max(activations)
    powers = [math.exp(float(a - largest)) for a in activations]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


def evaluate(weights: Sequence[Affine], x: Vector) -> Place:
    """Return activations and probabilities at `x`."""
    exact = tuple(value(w, x) for w in weights)
    shares = probabilities(exact)
    return Place(**spot(exact, x), activations=tuple(map(float, exact)), exact_activations=exact, probabilities=shares)


def length(direction: Vector) -> Fraction:
    """Return the length of a vector to 100 digits: of nearly opposite directions something is left between them."""
    return Fraction(math.isqrt(int((direction[0] ** 2 + direction[1] ** 2) * 10**200)), 10**100)


def far(weights: Sequence[Affine], x: Vector, direction: Vector) -> dict[str, Any]:
    """Return a way's direction, and the limit, rate and keep of the probabilities far out on it.

    Only the activations that grow the fastest keep a share; their differences are then constant. Each other one falls
    behind by its difference in slope, and its probability falls as exp(-rate s), s the distance.
    """
    slopes, size = [slope(w, direction) for w in weights], length(direction)
    keep = [k for k, growth in enumerate(slopes) if growth == max(slopes)]
    shares = dict(zip(keep, probabilities([value(weights[k], x) for k in keep]), strict=True))
    slower = [max(slopes) - growth for growth in slopes if growth != max(slopes)]
    return {
        "direction": (float(direction[0] / size), float(direction[1] / size)) if size else None,
        "exact_direction": direction if size else None,
        "rate": float(min(slower) / size) if slower else None,
        "limit": tuple(shares.get(k, 0.0) for k in range(len(weights))),
        "keep": tuple(k + 1 for k in keep),
    }


def boundary(weights: Sequence[Affine], edge: Edge) -> Boundary:
    """Return what happens along one edge."""
    kind = "line" if edge.start is None else "ray" if edge.end is None else "segment"
    p, q, c = minus(*(weights[k] for k in edge.owners))
    way = far(weights, edge.through, edge.direction)
    if kind == "segment":
        way |= {"limit": None, "rate": None, "keep": ()}
    back = (-edge.direction[0], -edge.direction[1])
    return Boundary(
        classes=(edge.owners[0] + 1, edge.owners[1] + 1), equation=equation((p, q), COORDINATES, c), kind=kind,
        start=edge.start, end=edge.end, through=edge.through, tied=tuple(k + 1 for k in edge.tied),
        behind=far(weights, edge.through, back)["limit"] if kind == "ray" else None, **way,
    )  # fmt: skip


def region(weights: Sequence[Affine], k: int, found: Sequence[Edge]) -> Region:
    """Return what happens in the region of the class with index k."""
    tied = tuple(j + 1 for j in same(weights, k))
    owner = tied[0] - 1
    if owner not in envelope.owners(weights, found, ORIGIN):
        return Region(class_=k + 1, kind="empty", tied=tied)
    kind, start, direction = middle(weights, owner, [edge for edge in found if owner in edge.owners])
    # Where one class has the whole plane, all activations are parallel: without a direction all keep what they have.
    way = far(weights, start, direction) if direction else {}
    return Region(class_=k + 1, kind=kind, start=start, tied=tied, **way)


def middle(weights: Sequence[Affine], owner: int, around: Sequence[Edge]) -> tuple[str, Vector, Vector | None]:
    """Return a region's kind, a point on its middle line, and the way to infinity, from its owner's index and edges."""
    endless = [edge for edge in around if edge.end is None]
    if not around:
        return "whole plane", ORIGIN, ORIGIN
    if not endless:
        return "bounded", mean([corner for edge in around for corner in (edge.start, edge.end) if corner]), None
    start = mean([edge.start or edge.through for edge in endless])
    first, last = endless[0], endless[-1]
    (u1, u2), (v1, v2) = first.direction, last.direction
    if u1 * v2 != u2 * v1:
        # The bisector of the two rays: a positive combination is strictly between them, however roots are rounded.
        u, v = length(first.direction), length(last.direction)
        return "wedge", start, (u1 / u + v1 / v, u2 / u + v2 / v)
    if len(endless) == 1:
        return "half-plane", start, minus(weights[owner], weights[sum(first.owners) - owner])[:2]
    return "half-strip" if first.start else "strip", start, first.direction
