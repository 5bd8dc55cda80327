"""Problem 2: generalised linear models y_k(x) = w0 + w1 x1^2 + w2 x2^2, and the regions of argmax_k y_k(x).

Source: Bishop (2006), section 4.1.2 for discriminants, section 4.3.1 for fixed basis functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from cli726.envelope import edges, owners
from cli726.exact import Triple
from cli726.findings import Finding
from cli726.glm_findings import findings
from cli726.glm_regions import QUADRANT, Boundary, Region, Surface, affine, boundary, region, surface

__all__ = ["ASSIGNMENT", "NAMES", "Glm", "analyse"]

# What a class is made of, and the assignment's two.
NAMES = ("w0", "w1", "w2")
ASSIGNMENT = ("6,2,2", "8,0,0")
# Inside the quadrant of squares.
SOMEWHERE = (Fraction(1), Fraction(1))


@dataclass(frozen=True)
class Glm:
    """Problem 2 answered for one set of weight vectors.

    Attributes:
        weights: (w0, w1, w2) of each class, as fractions: the weights of 1, x1^2 and x2^2.
        surfaces: The graph of each score.
        boundaries: Where the scores are equal, one for each pair of classes.
        regions: One for each class.
        findings: The answers in words.
    """

    weights: tuple[Triple, ...]
    surfaces: tuple[Surface, ...]
    boundaries: tuple[Boundary, ...]
    regions: tuple[Region, ...]
    findings: tuple[Finding, ...]


def analyse(weights: Sequence[Triple]) -> Glm:
    """Surfaces, pairwise boundaries and regions of K >= 2 scores."""
    functions = [affine(w) for w in weights]
    found = edges(functions, QUADRANT)
    with_area = owners(functions, found, SOMEWHERE)
    classes = range(len(weights))
    surfaces = tuple(surface(w, k) for k, w in enumerate(weights, start=1))
    boundaries = tuple(boundary(weights, i, j, found) for i, j in combinations(classes, 2))
    regions = tuple(region(weights, k, found, with_area) for k in classes)
    return Glm(tuple(weights), surfaces, boundaries, regions, findings(weights, surfaces, boundaries, regions, found))
