"""Settings for what problems 1 and 2 say, degenerate ones among them, and exact oracles by brute force and duality."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from itertools import combinations

import mpmath

MANY = 240
# So far out that every exponential of a difference in slope is lost, whatever the scale.
FAR = Fraction(10) ** 80


def settings(seed, count=MANY):
    """Return weights: K = 2 to 10, equal, parallel and proportional classes, common points, one coordinate alone,
    nothing but constants, 1e25 and 1e-25 times as large.
    """
    chance, made = random.Random(seed), []
    for turn in range(count):
        size = chance.choice((2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 10))
        reach = chance.choice((1, 2, 3, 9))
        w = [[Fraction(chance.randint(-reach, reach), chance.choice((1, 1, 2))) for _ in range(3)] for _ in range(size)]
        kind = turn % 8
        if kind == 1:
            w[-1] = list(w[0])
        elif kind == 2:
            w[-1] = [w[0][0], w[0][1], w[0][2] + chance.choice((-50, -1, 1, 800))]
        elif kind == 3:
            w[-1] = [2 * value for value in w[0]]
        elif kind == 4:
            for row in w:  # all meet in (1, -1), or in x1^2 = x2^2 = 1
                row[2] = row[1] - row[0]
        elif kind == 5:
            column = chance.randrange(2)
            for row in w:
                row[column] = Fraction(0)
        elif kind == 6:
            w = [[Fraction(0), Fraction(0), row[2]] if chance.random() < 0.5 else list(w[0]) for row in w]
        elif kind == 7:
            factor = Fraction(10) ** chance.choice((-25, 25))
            w = [[value * (factor if chance.random() < 0.5 else 1) for value in row] for row in w]
        made.append(tuple(map(tuple, w)))
    return made


def names(numbers, joint=", "):
    """Return what classes are called."""
    return joint.join(f"C{k}" for k in numbers)


def height(w, x):
    return w[0] * x[0] + w[1] * x[1] + w[2]


def same(weights, k):
    """Return the classes that are the same as one, itself included."""
    return tuple(j for j, w in enumerate(weights, 1) if w == weights[k - 1])


def winners(weights, x):
    values = [height(w, x) for w in weights]
    return [k for k, value in enumerate(values, 1) if value == max(values)]


def precise(value):
    """Return a fraction for mpmath."""
    return mpmath.mpf(value.numerator) / value.denominator


def shares(weights, x):
    """Return the softmax at `x` with 60 digits."""
    with mpmath.workdps(60):
        values = [height(w, x) for w in weights]
        powers = [mpmath.exp(precise(v - max(values))) for v in values]
        return [power / mpmath.fsum(powers) for power in powers]


@cache
def has_area(weights, k):
    """Say whether the class (from 1) is alone the largest somewhere: of its inequalities p x1 + q x2 + c > 0 first x2
    is eliminated, then x1 (Fourier and Motzkin).
    """
    mine = weights[k - 1]
    sides = [tuple(m - n for m, n in zip(mine, other, strict=True)) for other in weights if other != mine]
    above, below = ([(-p / q, -c / q) for p, q, c in sides if q * sign > 0] for sign in (1, -1))
    left = [(p, c) for p, q, c in sides if q == 0] + [(b - a, d - c) for a, c in above for b, d in below]
    low = max((-c / p for p, c in left if p > 0), default=None)
    high = min((-c / p for p, c in left if p < 0), default=None)
    return all(c > 0 for p, c in left if p == 0) and (low is None or high is None or low < high)


def vertices(weights):
    """Return every point at which three of the largest, with slopes that are not on one line, tie."""
    found = set()
    for a, b, c in combinations(dict.fromkeys(weights), 3):
        (p, q, r), (s, t, u) = ([m - n for m, n in zip(other, a, strict=True)] for other in (b, c))
        area = p * t - q * s
        if area:
            x = ((q * u - r * t) / area, (r * s - p * u) / area)
            if height(a, x) == max(height(w, x) for w in weights):
                found.add(x)
    return found
