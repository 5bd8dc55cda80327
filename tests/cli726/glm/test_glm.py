"""Problem 2's numbers, sentences and tables, over generated settings, in exact arithmetic."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from cli726 import exact
from cli726.document.content import plain
from cli726.glm import ASSIGNMENT, NAMES, analyse, evaluate
from cli726.glm.findings import document
from tests.cli726.exact import settings
from tests.cli726.exact.settings import told_of_classes

SETTINGS = [pytest.param(weights, id=str(k)) for k, weights in enumerate(settings.settings(2))]
# (rank, |signature|) of the quadratic form and of the whole 3 x 3 matrix, up to a common sign.
CONICS = {
    (2, 2, 3, 3): {"nothing"}, (2, 2, 3, 1): {"circle", "ellipse"}, (2, 2, 2, 2): {"point"},
    (2, 0, 3, 1): {"hyperbola"}, (2, 0, 2, 0): {"crossing lines"}, (1, 1, 2, 2): {"nothing"},
    (1, 1, 2, 0): {"parallel lines"}, (1, 1, 1, 1): {"double line"}, (0, 0, 1, 1): {"nothing"},
    (0, 0, 0, 0): {"everything"},
}  # fmt: skip
SHAPES = {
    (0, 0): "a horizontal plane", (1, 1): "a parabolic cylinder", (2, 0): "a hyperbolic paraboloid",
    (2, 2): "an elliptic paraboloid",
}  # fmt: skip
SIDES = {
    "circle": ("the inside of the circle", "the outside; on it"),
    "ellipse": ("the inside of the ellipse", "the outside; on it"),
    "hyperbola": ("what lies between the branches of the hyperbola", "what lies beyond them; on it"),
    "parallel lines": ("what lies between the parallel lines", "what lies beyond; on them"),
    "crossing lines": (
        "the sectors around the x1 axis between the crossing lines",
        "those around the x2 axis; on them",
    ),
}
small = st.integers(-3, 3).map(Fraction)


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


def of_surface(text, k, w):
    """Judge the sentence about the graph of one score."""
    w0, w1, w2 = w
    formula, _, rest = text.removeprefix(f"y{k} = ").partition(" is ")
    assert all(score(w, x) == evaluator(formula)(*x) for x in PLACES[:15])
    shape = "a paraboloid of revolution" if w1 == w2 != 0 else SHAPES[signature(w1, w2)]
    up, down = ("x1", "x2") if w1 > w2 else ("x2", "x1")
    turns, extreme = ("upwards", "minimum") if w1 + w2 > 0 else ("downwards", "maximum")
    where = "at the origin" if w1 and w2 else f"on the whole line {'x1' if w1 else 'x2'} = 0"
    value = exact.decimal(w0)
    if w1 == w2 == 0:
        assert rest == f"{shape}: {value} everywhere."
    elif w1 * w2 < 0:
        saddle = f"with its saddle point, {value}, at the origin: it rises along {up} and falls along {down}."
        assert rest == f"{shape} {saddle}"
    else:
        assert rest == f"{shape} that opens {turns}: its {extreme}, {value}, is {where}."


def of_rule(text, weights):
    """Judge the inequalities of the regions: at each place without a tie those of one region alone hold."""
    told = {}
    for part in re.fullmatch(r"Ties aside, the rule assigns x to (.*)\.", text)[1].split("; to "):
        who, _, where = part.partition(" where ")
        told[who.removesuffix(" everywhere")] = where.split(" and ") if where else []
    for x in PLACES:
        values = [score(w, x) for w in weights]
        largest = [k for k, value in enumerate(values, 1) if value == max(values)]
        if len({weights[k - 1] for k in largest}) == 1:
            right = [who for who, where in told.items() if all(truth(text, x) for text in where)]
            assert right == [settings.names(largest)]


def of_sides(text, weights, item, described):
    """Judge which of two classes is inside and which outside of their conic, of the sizes that are described."""
    inner, (inside, outside) = int(text[1]), SIDES[item.conic]
    equation = plain(exact.marked(f"`{item.equation}`"))
    assert text == f"C{inner} has {inside} {equation} ({described}), C{3 - inner} has {outside} the two tie."
    assert (item.conic == "circle") == (weights[0][1] - weights[1][1] == weights[0][2] - weights[1][2])
    sizes = re.findall(r"(?:radius |semi-axes |and |x[12] = )(sqrt)?\(?(\d+(?:/\d+)?)", described)
    squares = [Fraction(size) if rooted else Fraction(size) ** 2 for rooted, size in sizes]
    for x in PLACES:
        u, t = x[0] ** 2, x[1] ** 2
        if item.conic == "crossing lines":
            within = t < (squares[0] if squares else 1) * u
        elif item.conic == "parallel lines":
            within = (u if "x1 = " in described else t) < squares[0]
        else:
            a, b = squares * (2 if item.conic == "circle" else 1)
            opening = re.search(r"opening along (x[12])$", described)
            signs = (1, 1) if not opening else (1, -1) if opening[1] == "x1" else (-1, 1)
            within = signs[0] * u / a + signs[1] * t / b < 1
        assert (score(weights[inner - 1], x) > score(weights[2 - inner], x)) == within or truth(equation, x)


@pytest.mark.parametrize("weights", SETTINGS)
def test_every_sentence_is_true(weights):
    told = {question: [] for question in ("2.1", "2.2", "2.3", "")}
    result = analyse(weights)
    content = document(result)
    for finding in content.findings:
        told[finding.question].append(finding.text)
    assert (len(told["2.1"]), len(told["2.2"])) == (1, len(weights) - 1)
    for k, (text, w) in enumerate(zip(told["2.1"] + told["2.2"], weights, strict=True), 1):
        of_surface(text, k, w)
    with_area = {k for k in range(1, len(weights) + 1) if has_area(weights, k)}
    if len(set(weights)) == 1:
        assert told["2.3"] == ["All scores are equal everywhere: the rule never decides."]
    else:
        of_rule(told["2.3"][0], weights)
        two = len(weights) == 2 and dividing(weights, 1, 2, with_area) != "nothing"
        assert len(told["2.3"]) == 1 + two
        for text in told["2.3"][1:]:
            of_sides(text, weights, result.boundaries[0], plain(content.tables[0].rows[0][3]))
    assert told[""] == told_of_classes(weights, with_area, "score")


@pytest.mark.parametrize("weights", SETTINGS)
def test_every_curve_is_named_and_divides_as_the_table_says(weights):
    result = analyse(weights)
    rows = {plain(row[0]): list(map(plain, row[1:])) for table in document(result).tables for row in table.rows}
    with_area = {k for k in range(1, len(weights) + 1) if has_area(weights, k)}
    for item, (i, j) in zip(result.boundaries, combinations(range(1, len(weights) + 1), 2), strict=True):
        c, p, q = (a - b for a, b in zip(weights[i - 1], weights[j - 1], strict=True))
        assert item.conic in CONICS[(*signature(p, q), *signature(p, q, c))]
        assert item.separates == dividing(weights, i, j, with_area)
        row = rows.pop(f"C{i}|C{j}", None)
        assert (row is None) == (item.separates == "nothing")
        if row:
            assert (row[1], row[3]) == (item.conic, item.separates)
            assert all(truth(row[0], x) == (score(weights[i - 1], x) == score(weights[j - 1], x)) for x in PLACES[:6])
    assert not rows
    first = {k for k in with_area if weights.index(weights[k - 1]) == k - 1}
    assert {item.class_ for item in result.regions if not item.empty} == with_area
    for k in first:  # no inequality is superfluous: each has its curve
        edges = [j for j in first if j != k and dividing(weights, k, j, with_area) != "nothing"]
        assert len(result.regions[k - 1].where) == len(edges)


@given(small, small, small)
def test_sizes_and_lines_satisfy_the_equation(p, q, c):
    conic = analyse([(c, p, q), (Fraction(0),) * 3]).boundaries[0]
    x1, x2 = sympy.symbols("x1 x2")
    form = sum(sympy.Rational(str(a)) * x for a, x in ((p, x1**2), (q, x2**2), (c, 1)))
    for line in conic.lines:
        left, right = (sympy.sympify(side.replace(") x", ")*x")) for side in line.split(" = "))
        assert sympy.simplify(form.subs(left, right)) == 0
    assert len(set(conic.lines)) == {"crossing lines": 2, "parallel lines": 2, "double line": 1}.get(conic.conic, 0)
    r1, r2 = conic.axes or (conic.radius, conic.radius)
    assert (r1 is None) == (conic.conic not in ("circle", "ellipse", "hyperbola"))
    assert (conic.center is None) == (conic.conic in ("parallel lines", "double line", "nothing", "everything"))
    for share in (0.3, 1.3) if r1 else ():
        at = [(np.cos(share), np.sin(share)), (np.cosh(share), np.sinh(share)), (np.sinh(share), np.cosh(share))]
        u, v = at[{None: 0, "x1": 1, "x2": 2}[conic.opens]]
        assert float(p) * (r1 * u) ** 2 + float(q) * (r2 * v) ** 2 + float(c) == pytest.approx(0, abs=1e-10)
    for text, size in zip(conic.exact, conic.axes or (conic.radius,), strict=False):
        assert size is None or float(sympy.sympify(text)) == pytest.approx(size, rel=1e-14)


def test_the_assignment_and_a_place():
    result = analyse(exact.classes(ASSIGNMENT, NAMES))
    (item,) = result.boundaries
    assert (item.equation, item.conic, item.center, item.radius) == ("x1^2 + x2^2 = 1", "circle", (0, 0), 1)
    assert (
        document(result)
        .findings[-1]
        .text.startswith("C2 has the inside of the circle x1² + x2² = 1 (centre (0, 0), radius 1), C1 has the outside;")
    )
    assert [(s.origin, s.stationary) for s in result.surfaces] == [(6, "minimum"), (8, "constant")]
    for x, region, tied in ((("3/5", "4/5"), None, (1, 2)), (("1", "-2"), 1, (1,)), (("0", "1/2"), 2, (2,))):
        x = (Fraction(x[0]), Fraction(x[1]))
        place = evaluate(result.weights, x)
        assert (place.region, place.tied) == (region, tied)
        assert place.exact_scores == tuple(score(w, x) for w in result.weights)
        assert place.scores == tuple(map(float, place.exact_scores))
