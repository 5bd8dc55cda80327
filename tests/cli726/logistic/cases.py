"""Settings drawn at random, degenerate ones included, and oracles that share nothing with the product's code."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from itertools import combinations

import mpmath
import numpy as np

from cli726.logistic import Points, center

mpmath.mp.dps = 40
KINDS = ("plain", "apart", "outlier", "wide", "grid", "twins", "mirrored", "collinear", "far")


def points_of(X, t, name="made"):
    X = np.atleast_2d(np.asarray(X, dtype=float))
    names = tuple(f"x{i + 1}" for i in range(X.shape[1]))
    return Points(name, np.column_stack([X, np.ones(len(X))]), np.asarray(t, dtype=float), names, "added")


def drawn(seed):
    """Points of a kind of their own, of one or two features."""
    rng = np.random.default_rng(seed)
    kind, width, count = KINDS[seed % len(KINDS)], int(rng.integers(1, 3)), int(rng.integers(2, 11))
    X = rng.normal(size=(count, width)).round(3)
    t = rng.integers(0, 2, count)
    if kind == "apart":
        t = (X[:, 0] > np.median(X[:, 0])).astype(int)
    elif kind == "outlier":
        X[rng.integers(count)] *= 10.0 ** rng.integers(4, 11)
    elif kind == "wide":
        X = X * 10.0 ** rng.integers(-6, 6, (count, 1))
    elif kind == "grid":
        X = rng.integers(-2, 3, (count, width)).astype(float)
    elif kind == "twins":
        X, t = np.vstack([X, X]), np.append(t, 1 - t if rng.random() < 0.5 else t)
    elif kind == "mirrored":
        X, t = np.vstack([X, -X]), np.append(t, 1 - t)
    elif kind == "collinear":
        X = np.column_stack([X[:, 0], 2 * X[:, 0]])
    elif kind == "far":
        X = X + 10.0 ** rng.integers(0, 5)
    t[0], t[-1] = 0, 1
    return points_of(X, t)


def options(seed):
    """Points, centred or not; epochs and a tolerance."""
    rng = np.random.default_rng([seed, 1])
    chosen = {"max_epochs": int(rng.choice([1, 2, 5, 40])), "tol": float(rng.choice([0, 1e-9, 1e-5, 1e-2]))}
    return center(drawn(seed)) if rng.random() < 0.3 else drawn(seed), chosen


def rate(seed):
    rng = np.random.default_rng([seed, 2])
    return float(10 ** (rng.uniform(-12, 6) if rng.random() < 0.4 else rng.uniform(-2, 1.5)))


def several(seed, count):
    return list(dict.fromkeys(float(f"{rate(seed + 1000 * k):.3g}") for k in range(1 + count)))


def exact(points):
    """The signed points as fractions."""
    return [[Fraction(value) for value in row] for row in points.signed.tolist()]


def dot(one, two):
    return sum(a * b for a, b in zip(one, two, strict=True))


def independent(rows):
    """Columns of which no combination vanishes, by elimination."""
    kept, basis = [], []
    for j, column in enumerate(zip(*rows, strict=True)):
        for pivot, other in basis:
            factor = column[pivot] / other[pivot]
            column = [a - factor * b for a, b in zip(column, other, strict=True)]
        if any(column):
            basis.append((next(i for i, value in enumerate(column) if value), column))
            kept.append(j)
    return kept


def separation(points):
    """The kind of separation, and the points on its boundary: the sum of the extreme rays of all that separate.

    An extreme ray is orthogonal to rank - 1 of the points; with three columns it is the cross product of two.
    """
    kept = independent(exact(points))
    rows = [[row[j] for j in kept] for row in exact(points)]
    rays = {
        1: lambda: [[1]],
        2: lambda: [[-b, a] for a, b in rows],
        3: lambda: [[a[k - 2] * b[k - 1] - a[k - 1] * b[k - 2] for k in range(3)] for a, b in combinations(rows, 2)],
    }[len(kept)]()
    both = [[sign * value for value in ray] for ray in rays if any(ray) for sign in (1, -1)]
    good = [ray for ray in both if all(dot(ray, row) >= 0 for row in rows)]
    whole = [sum(values) for values in zip(*good, strict=True)] or [0] * len(kept)
    boundary = [n for n, row in enumerate(rows) if dot(whole, row) == 0]
    kind = "complete" if not boundary else "quasi-complete" if len(boundary) < len(rows) else None
    return kind, boundary, len(kept)


def margins(points, w):
    weights = [Fraction(value) for value in np.asarray(w).tolist()]
    return [float(dot(row, weights)) for row in exact(points)]


def loss(points, w):
    """The loss at these very weights, from exact margins."""
    parts = [max(-a, 0.0) + math.log1p(math.exp(-abs(a))) for a in margins(points, w)]
    return math.fsum(parts) / len(points.X)


def gradient(points, w):
    """The gradient at these very weights, to 40 digits."""
    wrong = [1 / (1 + mpmath.exp(mpmath.mpf(margin))) for margin in margins(points, w)]
    columns = zip(*exact(points), strict=True)
    return [-mpmath.fsum(p * true(x) for p, x in zip(wrong, column, strict=True)) / len(points.X) for column in columns]


def true(value):
    return mpmath.mpf(value.numerator) / value.denominator


def blur(points, w):
    """How far rounding may move a loss: generously."""
    return 1e-14 * (1 + float(np.abs(w) @ np.abs(points.X).mean(axis=0)))


def infimum(points):
    return float(least(points.X.tobytes(), points.t.tobytes(), points.X.shape[1]))


@cache
def least(X, t, width):
    """The least loss: Newton's method in 40 digits, on the boundary points and independent columns."""
    points = Points("", np.frombuffer(X).reshape(-1, width), np.frombuffer(t), (), "")
    kind, boundary, _ = separation(points)
    if kind == "complete":
        return 0
    rows = [exact(points)[n] for n in boundary]
    kept = independent(rows)
    A = mpmath.matrix([[true(row[j]) for j in kept] for row in rows])
    z = mpmath.zeros(len(kept), 1)

    def value(at):
        return mpmath.fsum(mpmath.log1p(mpmath.exp(-margin)) for margin in A * at) / len(points.X)

    for _ in range(400):
        wrong = [1 / (1 + mpmath.exp(margin)) for margin in A * z]
        slope = -(A.T * mpmath.matrix(wrong))
        weighted = mpmath.matrix([[A[n, j] * w * (1 - w) for j in range(len(kept))] for n, w in enumerate(wrong)])
        step = mpmath.lu_solve(A.T * weighted, -slope)
        if abs((slope.T * step)[0]) < mpmath.mpf(10) ** -30:
            return value(z)
        length = mpmath.mpf(1)
        while value(z + length * step) > value(z) + length * (slope.T * step)[0] / 10000 / len(points.X):
            length /= 2
        z = z + length * step
    raise AssertionError("the oracle failed")
