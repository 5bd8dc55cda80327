"""Problem 1: the decision regions of a softmax over linear activations, and the probabilities along and inside them.

p(C_k|x) = exp(a_k) / sum_j exp(a_j) with a_k = w1 x1 + w2 x2 + bias (Bishop 2006, eq. 4.104 and 4.105).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli726.envelope import Affine, edges, owners
from cli726.findings import Finding
from cli726.softmax_findings import findings
from cli726.softmax_geometry import ORIGIN, Boundary, Place, Region, boundary, evaluate, formula, region

__all__ = ["ASSIGNMENT", "NAMES", "Softmax", "analyse"]

# What a class is made of, and the assignment's three.
NAMES = ("w1", "w2", "bias")
ASSIGNMENT = ("3,1,1", "1,3,2", "-3,1.5,2")


@dataclass(frozen=True)
class Softmax:
    """Problem 1 answered for one set of activations.

    Attributes:
        activations: Each as a formula.
        weights: (w1, w2, bias) of each class, as fractions.
        point: Where the boundaries meet, if that is one point.
        vertices: Every point where boundaries meet.
        boundaries: All that exist, ordered by their classes.
        regions: One for each class.
        findings: The answers in words.
    """

    activations: tuple[str, ...]
    weights: tuple[Affine, ...]
    point: Place | None
    vertices: tuple[Place, ...]
    boundaries: tuple[Boundary, ...]
    regions: tuple[Region, ...]
    findings: tuple[Finding, ...]


def analyse(weights: Sequence[Affine]) -> Softmax:
    """Points where regions meet, boundaries and regions of K >= 2 linear activations, in any position."""
    found = edges(weights)
    with_area = owners(weights, found, ORIGIN)
    corners = sorted({corner for edge in found for corner in (edge.start, edge.end) if corner})
    vertices = tuple(evaluate(weights, corner) for corner in corners)
    boundaries = tuple(boundary(weights, edge) for edge in found)
    regions = tuple(region(weights, k, found, with_area) for k in range(len(weights)))
    return Softmax(
        activations=tuple(formula(w) for w in weights),
        weights=tuple(weights),
        point=vertices[0] if len(vertices) == 1 else None,
        vertices=vertices,
        boundaries=boundaries,
        regions=regions,
        findings=findings(weights, vertices, boundaries, regions),
    )
