"""Whether points can be separated, decided exactly: coordinates are floats, so all of it is arithmetic of integers.

A vector separates that puts no point on the wrong side and some on the right one (Albert and Anderson, 1984). There is
none exactly if positive weights balance the points (Stiemke, 1915).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction
from math import gcd, lcm
from operator import mul
from typing import TypeAlias

import numpy as np

from cli726.logistic.points import Array

__all__ = ["Rows", "balanced", "exact_rank", "separate", "separates", "whole_rows"]

# A squared length this small beside the largest is rounding.
DEPENDENT = 1e-24

Vector: TypeAlias = list[int]
Rows: TypeAlias = list[Vector]


def dot(one: Sequence[int], two: Sequence[int]) -> int:
    return sum(map(mul, one, two))


def whole_rows(signed: Array) -> tuple[Rows, list[Fraction]]:
    """Return `signed` (N, D) in integers, each column times a scale of its own, and these scales."""
    columns, scales = [], []
    for column in signed.T.tolist():
        ratios = [value.as_integer_ratio() for value in column]
        below = max(under for _, under in ratios)
        values = [over * (below // under) for over, under in ratios]
        common = gcd(*values) or 1
        columns.append([value // common for value in values])
        scales.append(Fraction(below, common))
    # Columns of like size take fewer steps.
    sizes = [max(abs(value) for value in column).bit_length() for column in columns]
    shifts = [max(sizes) - size for size in sizes]
    rows = [[value << shift for value, shift in zip(row, shifts, strict=True)] for row in zip(*columns, strict=True)]
    return rows, [scale * (1 << shift) for scale, shift in zip(scales, shifts, strict=True)]


def separates(rows: Rows, scales: Sequence[Fraction], w: Array) -> bool:
    """Return whether these very weights have every point on its side."""
    if not np.isfinite(w).all():
        return False
    direction = whole([Fraction(value) / scale for value, scale in zip(w.tolist(), scales, strict=True)])
    return all(dot(direction, row) > 0 for row in rows)


def whole(values: Sequence[Fraction]) -> Vector:
    """Return the least integers in the same proportions."""
    common = lcm(*(value.denominator for value in values))
    return reduced([value.numerator * (common // value.denominator) for value in values])


def reduced(vector: Vector) -> Vector:
    common = gcd(*vector)
    return [value // common for value in vector] if common > 1 else vector


def balanced(rows: Rows, coordinates: Array, weights: Array) -> bool:
    """Return whether weights near these, all positive, balance the points exactly: then no vector separates any.

    The N `rows` again in `coordinates` (N, D), a basis that floats can work with; `weights` (N,) are near to balance.
    """
    shares = [max(1, int(Fraction(weight) * (1 << 1000))) for weight in weights.tolist()]
    # The points that take up the rest: independent, and heavy enough to stay positive.
    left, chosen, largest = coordinates * weights[:, None], list[int](), 0.0
    for _ in range(coordinates.shape[1]):
        sizes = (left**2).sum(axis=1)
        heaviest = int(sizes.argmax())
        largest = largest or sizes[heaviest]
        if not sizes[heaviest] > DEPENDENT * largest:
            break
        chosen.append(heaviest)
        unit = left[heaviest] / np.sqrt(sizes[heaviest])
        left = left - np.outer(left @ unit, unit)
    found = solve([[*(column[n] for n in chosen), dot(shares, column)] for column in zip(*rows, strict=True)])
    if found is None:
        return False
    taken, scale = found
    return all(shares[n] * abs(scale) > part * (1 if scale > 0 else -1) for n, part in zip(chosen, taken, strict=True))


def solve(system: Rows) -> tuple[Vector, int] | None:
    """Return x and s with A (x / s) = b for the rows of [A b], by elimination without fractions (Bareiss, 1968).

    None where A's columns are dependent, or no x will do.
    """
    rows, unknowns, before = [*system], len(system[0]) - 1, 1
    for k in range(unknowns):
        pivot = next((i for i in range(k, len(rows)) if rows[i][k]), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        top, head = rows[k], rows[k][k]
        for i, row in enumerate(rows):
            if i != k:
                factor = row[k]
                rows[i] = [(head * value - factor * above) // before for value, above in zip(row, top, strict=True)]
        before = head
    if any(row[-1] for row in rows[unknowns:]):
        return None
    return [row[-1] for row in rows[:unknowns]], before


def nearest(rows: Rows) -> tuple[Vector, list[int]]:
    """Return a vector in whose direction all points lie, or 0 and points whose convex hull holds the origin within.

    It walks to the hull's point of least norm (Wolfe, 1976, "Finding the nearest point in a polytope"), and stops where
    that direction has all points on its side.
    """
    first = min(range(len(rows)), key=lambda n: dot(rows[n], rows[n]))
    shares = {first: Fraction(1)}
    while True:
        at = [sum((share * rows[n][j] for n, share in shares.items()), Fraction(0)) for j in range(len(rows[0]))]
        direction = whole(at)
        margins = [dot(direction, row) for row in rows]
        lowest = min(range(len(rows)), key=margins.__getitem__)
        if margins[lowest] > 0 or not any(direction):
            return direction, list(shares)
        shares[lowest] = Fraction(0)
        while True:
            # Shares, of sum 1 and any sign, for which the mean of these independent points is of least norm.
            found = solve([[*(dot(rows[n], rows[k]) + 1 for k in shares), 1] for n in shares])
            assert found is not None
            goal = [Fraction(part, sum(found[0])) for part in found[0]]
            steps = [(have / (have - want)) for have, want in zip(shares.values(), goal, strict=True) if want <= 0]
            if not steps:
                shares = dict(zip(shares, goal, strict=True))
                break
            step = min(steps)
            moved = {n: have + step * (want - have) for (n, have), want in zip(shares.items(), goal, strict=True)}
            shares = {n: share for n, share in moved.items() if share}


def eliminated(vectors: dict[int, Vector], by: Vector) -> tuple[dict[int, Vector], int]:
    """Return what is left of the vectors without `by`, each up to a positive factor, and the pivot; zeros go."""
    pivot = next(j for j, value in enumerate(by) if value)
    size, sign = abs(by[pivot]), 1 if by[pivot] > 0 else -1
    changed = {
        n: reduced([size * value - sign * vector[pivot] * part for value, part in zip(vector, by, strict=True)])
        for n, vector in vectors.items()
    }
    return {n: vector for n, vector in changed.items() if any(vector)}, pivot


def separate(rows: Rows, known: Collection[int] = ()) -> tuple[list[Fraction] | None, list[int]]:
    """Return a vector that separates as many points as one can, and the points that lie on the boundary of all such.

    Points whose hull holds the origin lie on every boundary; it is orthogonal to them, and the search goes on there.
    The vector is None where all points do. Of `known` points it is known already that they lie there.
    """
    if len(known) == len(rows):
        return None, list(known)
    vectors = {n: reduced(row) for n, row in enumerate(rows) if any(row)}
    done: list[tuple[int, Vector]] = []
    direction: list[Fraction] = []
    while vectors and not direction:
        chosen, known = known, ()
        if not chosen:
            names = list(vectors)
            found, positions = nearest(list(vectors.values()))
            direction = [Fraction(value) for value in found] if any(found) else []
            chosen = [] if direction else [names[position] for position in positions]
        for n in chosen:
            if n in vectors:
                by = vectors[n]
                vectors, pivot = eliminated(vectors, by)
                done.append((pivot, by))
    for pivot, by in reversed(done) if direction else ():
        direction[pivot] = Fraction(0)
        direction[pivot] = -sum(map(mul, direction, by), Fraction(0)) / by[pivot]
    return direction or None, [n for n in range(len(rows)) if n not in vectors]


def exact_rank(rows: Rows) -> int:
    """Return the number of independent rows."""
    vectors, rank = {n: row for n, row in enumerate(rows) if any(row)}, 0
    while vectors:
        vectors, _ = eliminated(vectors, next(iter(vectors.values())))
        rank += 1
    return rank
