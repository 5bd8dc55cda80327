"""Every sentence and table of problem 2, over generated settings, in exact arithmetic."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from functools import cache
from itertools import combinations, pairwise

import pytest

from cli726 import glm
from cli726.document.content import plain
from cli726.glm.findings import document
from tests.cli726.exact import settings
from tests.cli726.exact.settings import numbers

SETTINGS = [pytest.param(weights, id=str(k)) for k, weights in enumerate(settings.settings(2))]
# (rank, |signature|) of the quadratic form and of the whole 3 x 3 matrix, up to a common sign.
CONICS = {
    (2, 2, 3, 3): {"nothing"}, (2, 2, 3, 1): {"circle", "ellipse"}, (2, 2, 2, 2): {"point"},
    (2, 0, 3, 1): {"hyperbola"}, (2, 0, 2, 0): {"crossing lines"}, (1, 1, 2, 2): {"nothing"},
    (1, 1, 2, 0): {"parallel lines"}, (1, 1, 1, 1): {"double line"}, (0, 0, 1, 1): {"nothing"},
    (0, 0, 0, 0): {"everything"},
}  # fmt: skip
SHAPES = {
    (0, 0): "horizontal plane", (1, 1): "parabolic cylinder", (2, 0): "hyperbolic paraboloid",
    (2, 2): "elliptic paraboloid",
}  # fmt: skip


def score(w, x):
    return w[0] + w[1] * x[0] ** 2 + w[2] * x[1] ** 2


def signature(*diagonal):
    signs = [(value > 0) - (value < 0) for value in diagonal]
    return sum(map(abs, signs)), abs(sum(signs))


def places(count=40):
    """Return points, on the axes and far out too, but none on a boundary by accident of small numbers."""
    chance, made = random.Random(0), []
    for turn in range(count):
        scale = 10 ** chance.choice((0, 0, 1, 12, -12))
        x = [Fraction(chance.randint(-(10**6), 10**6), 331777) * Fraction(scale) for _ in range(2)]
        if turn % 5 == 0:
            x[turn % 2] = Fraction(0)
        made.append(tuple(x))
    return made


PLACES = places()


@cache
def evaluator(text):
    text = re.sub(r"([\d./]+) x", r"F('\1')*x", text.replace("²", "**2"))
    text = re.sub(r"(?<![\w'.])(\d+(?:[./]\d+)?)(?![\d./']*['*])", r"F('\1')", text)
    return eval(f"lambda x1, x2: {text}", {"F": Fraction})


def truth(text, x):
    """Evaluate an inequality or equation, as it is printed, at a point."""
    left, sign, right = re.fullmatch(r"(.*) ([<>=]) (-?\d+)", text).groups()
    value = evaluator(left)(*x) - int(right)
    return value > 0 if sign == ">" else value < 0 if sign == "<" else value == 0


def has_area(weights, k):
    """Say whether a class is alone the largest somewhere: in the plane of squares u > 0 is f > f - u, a rival more."""
    p, q, c = weights[k - 1][1], weights[k - 1][2], weights[k - 1][0]
    rivals = [(w[1], w[2], w[0]) for w in weights] + [(p - 1, q, c), (p, q - 1, c)]
    return settings.has_area(tuple(rivals), k)


def dividing(weights, i, j, with_area):
    """Return how much of the curve on which two scores tie divides their regions, piece by piece between crossings."""
    a, b = weights[i - 1], weights[j - 1]
    c, p, q = (m - n for m, n in zip(a, b, strict=True))
    if p == q == 0 or not {i, j} <= with_area:
        return "nothing"
    start, way = (-c * p / (p * p + q * q), -c * q / (p * p + q * q)), (-q, p)
    inside = [(start[0], way[0]), (start[1], way[1])]
    ahead = [(a[0] - w[0] + (a[1] - w[1]) * start[0] + (a[2] - w[2]) * start[1],
              (a[1] - w[1]) * way[0] + (a[2] - w[2]) * way[1]) for w in weights]  # fmt: skip
    stops = sorted({-here / growth for here, growth in inside + ahead if growth})
    middles = [stops[0] - 1, *((s + t) / 2 for s, t in pairwise(stops)), stops[-1] + 1]
    real = [t for t in middles if all(here + t * growth > 0 for here, growth in inside)]
    largest = [all(here + t * growth >= 0 for here, growth in ahead) for t in real]
    return "all" if largest and all(largest) else "part" if any(largest) else "nothing"


class Oracle:
    """Decides each kind of sentence for one setting; every sentence must be of one kind."""

    def __init__(self, weights):
        self.weights = weights
        self.empty_ones, self.same_ones = set(), set()

    def surface(self, k, formula, shape, rest):
        w0, w1, w2 = w = self.weights[int(k) - 1]
        assert shape == ("paraboloid of revolution" if w1 == w2 != 0 else SHAPES[signature(w1, w2)])
        kind = re.fullmatch(r": (\S+) everywhere| with its saddle point, (\S+), at the origin: it rises along (\S+) "
                            r"and falls along (\S+)| that opens (upwards|downwards): its (minimum|maximum), (\S+), "
                            r"is (.*)", rest)  # fmt: skip
        constant, saddle, up, down, opens, extreme, value, where = kind.groups()
        assert Fraction(constant or saddle or value) == w0
        slopes = {"x1": w1, "x2": w2}
        for x in PLACES[:15]:
            # The formula, and what is said of the score, at each place.
            assert score(w, x) == evaluator(formula)(*x)
            if constant:
                assert score(w, x) == w0
            elif extreme:
                on = (
                    (all(x) and where == "at the origin")
                    or (where[-6:] == "x1 = 0" and x[0])
                    or (where[-6:] == "x2 = 0" and x[1])
                )
                assert not on or (score(w, x) > w0) == (extreme == "minimum") == (opens == "upwards")
                assert score(w, x) != w0 or not on
        if saddle:
            assert slopes[up] > 0 > slopes[down]
        elif where and where != "at the origin":
            assert where in ("on the whole line x1 = 0", "on the whole line x2 = 0")
            assert slopes[where[-6:-4]] != 0
            assert 0 in (w1, w2)

    def rule(self, listed):
        told = {}
        for part in listed.split("; "):
            who, _, where = part.removeprefix("to ").partition(" where ")
            told[tuple(numbers(who.removesuffix(" everywhere")))] = where.split(" and ") if where else []
        for x in PLACES:
            values = [score(w, x) for w in self.weights]
            largest = tuple(k for k, value in enumerate(values, 1) if value == max(values))
            if len({self.weights[k - 1] for k in largest}) == 1:
                assert [who for who, where in told.items() if all(truth(text, x) for text in where)] == [largest]

    def never(self):
        assert len(set(self.weights)) == 1
        self.same_ones = settings.coinciding(self.weights)

    def sides(self, inner, inside, conic, equation, described, outer, outside, them):
        w, v = self.weights[int(inner) - 1], self.weights[int(outer) - 1]
        c, p, q = (a - b for a, b in zip(w, v, strict=True))
        assert {conic} <= CONICS[(*signature(p, q), *signature(p, q, c))]
        assert (conic == "circle") == (p == q)
        sizes = re.findall(r"(?:radius |semi-axes |and |x[12] = )(sqrt)?\(?(\d+(?:/\d+)?)", described)
        squares = [Fraction(size) if rooted else Fraction(size) ** 2 for rooted, size in sizes]
        words = {"circle": "the inside of", "ellipse": "the inside of", "parallel lines": "what lies between",
                 "hyperbola": "what lies between the branches of",
                 "crossing lines": "the sectors around the x1 axis between"}  # fmt: skip
        assert inside == words[conic]
        assert them == ("it" if conic in ("circle", "ellipse", "hyperbola") else "them")
        for x in PLACES:
            u, t = x[0] ** 2, x[1] ** 2
            if conic == "crossing lines":
                slope = squares[0] if squares else Fraction(1)
                within = t < slope * u
            elif conic == "parallel lines":
                within = (u if "x1 = " in described else t) < squares[0]
            else:
                a, b = squares * (2 if conic == "circle" else 1)
                signs = {"opening along x1": (1, -1), "opening along x2": (-1, 1)}.get(
                    described.rpartition(", ")[2], (1, 1)
                )
                within = signs[0] * u / a + signs[1] * t / b < 1
            assert (score(w, x) > score(v, x)) == within or truth(equation, x)

    def same(self, who):
        assert len(set(self.weights)) > 1
        self.same_ones.add(tuple(numbers(who)))

    def empty(self, who):
        self.empty_ones |= set(numbers(who))


KINDS = {
    Oracle.surface: r"y(\d+) = (.*) is an? (.*?)(: \S+ everywhere| with its .*| that opens .*)\.",
    Oracle.rule: r"Ties aside, the rule assigns x (.*)\.",
    Oracle.never: r"All scores are equal everywhere: the rule never decides\.",
    Oracle.sides: (
        r"C(\d+) has (.*) the (circle|ellipse|hyperbola|parallel lines|crossing lines) (.*?) \((.*)\), C(\d+) has "
        r"(the outside|what lies beyond|what lies beyond them|those around the x2 axis); on (it|them) the two tie\."
    ),
    Oracle.same: r"(.*) have the same score everywhere\.",
    Oracle.empty: r"No region belongs to (.*): nowhere is such a score larger than all others\.",
}


@pytest.mark.parametrize("weights", SETTINGS)
def test_every_sentence_is_true(weights):
    oracle = Oracle(weights)
    content = document(glm.analyse(weights))
    for finding in content.findings:
        found = ((judge, re.fullmatch(kind, finding.text)) for judge, kind in KINDS.items())
        judge, match = next((judge, match) for judge, match in found if match)
        judge(oracle, *match.groups())
    first = {k for k in range(1, len(weights) + 1) if weights.index(weights[k - 1]) == k - 1}
    assert oracle.empty_ones == {k for k in first if not has_area(weights, k)}
    assert oracle.same_ones == settings.coinciding(weights)
    assert [item.question for item in content.findings][:3] == ["2.1", "2.2", "2.3"]
    assert [item.text[:3] for item in content.findings[:2]] == ["y1 ", "y2 "]


@pytest.mark.parametrize("weights", SETTINGS)
def test_every_curve_is_named_and_divides_as_the_table_says(weights):
    result = glm.analyse(weights)
    tables = {table.question: table for table in document(result).tables}
    assert all(Fraction(plain(row[3])) == w[0] for row, w in zip(tables["2.2"].rows, weights, strict=True))
    rows = {plain(row[0]): list(map(plain, row[1:])) for row in tables["2.3"].rows} if "2.3" in tables else {}
    with_area = {k for k in range(1, len(weights) + 1) if has_area(weights, k)}
    for item, (i, j) in zip(result.boundaries, combinations(range(1, len(weights) + 1), 2), strict=True):
        c, p, q = (a - b for a, b in zip(weights[i - 1], weights[j - 1], strict=True))
        assert item.conic in CONICS[(*signature(p, q), *signature(p, q, c))]
        assert item.separates == dividing(weights, i, j, with_area)
        row = rows.pop(f"C{i}|C{j}", None)
        assert (row is None) == (item.separates == "nothing")
        assert row is None or (row[1], row[3]) == (item.conic, item.separates)
        if row:
            assert all(truth(row[0], x) == (score(weights[i - 1], x) == score(weights[j - 1], x)) for x in PLACES[:6])
    assert not rows
    first = {k for k in with_area if weights.index(weights[k - 1]) == k - 1}
    for k in first:  # no inequality is superfluous: each has its curve
        edges = [j for j in first if j != k and dividing(weights, k, j, with_area) != "nothing"]
        assert len(result.regions[k - 1].where) == len(edges)
