"""Problem 2's numbers, sentences and tables, over generated settings, in exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, pairwise

import pytest

from cli726.document import plain
from cli726.exact import decimal, equation, marked, polynomial
from cli726.glm import analyse, evaluate
from cli726.glm.findings import document
from tests.cli726.exact import settings
from tests.cli726.exact.settings import names, same

SETTINGS = [pytest.param(weights, id=str(k)) for k, weights in enumerate(settings.settings(2))]
SQUARES = ("x1^2", "x2^2")
# (rank, |signature|) of the quadratic form and of the whole 3 x 3 matrix, up to a common sign.
CONICS = {
    (2, 2, 3, 3): {"nothing"}, (2, 2, 3, 1): {"circle", "ellipse"}, (2, 2, 2, 2): {"point"},
    (2, 0, 3, 1): {"hyperbola"}, (2, 0, 2, 0): {"crossing lines"}, (1, 1, 2, 2): {"nothing"},
    (1, 1, 2, 0): {"parallel lines"}, (1, 1, 1, 1): {"double line"}, (0, 0, 1, 1): {"nothing"},
    (0, 0, 0, 0): {"everything"},
}  # fmt: skip
SHAPES = {(0, 0): "horizontal plane", (1, 1): "parabolic cylinder", (2, 0): "hyperbolic paraboloid",
          (2, 2): "elliptic paraboloid"}  # fmt: skip
SIDES = {
    "circle": ("the inside of the circle", "the outside; on it"),
    "ellipse": ("the inside of the ellipse", "the outside; on it"),
    "hyperbola": ("what lies between the branches of the hyperbola", "what lies beyond them; on it"),
    "parallel lines": ("what lies between the parallel lines", "what lies beyond; on them"),
    "crossing lines": ("the sectors around the x1 axis between the crossing lines",
                       "those around the x2 axis; on them"),
}  # fmt: skip


def shown(formula):
    return plain(marked(f"`{formula}`"))


def score(w, x):
    return w[0] + w[1] * x[0] ** 2 + w[2] * x[1] ** 2


def signature(*diagonal):
    signs = [(value > 0) - (value < 0) for value in diagonal]
    return sum(map(abs, signs)), abs(sum(signs))


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


def of_surface(k, w):
    """Return the sentence about the graph of one score."""
    w0, w1, w2 = w
    shape = "paraboloid of revolution" if w1 == w2 != 0 else SHAPES[signature(w1, w2)]
    text = f"y{k} = {shown(polynomial(zip(w, ('', *SQUARES), strict=True)))} is a{'n' * (shape[0] == 'e')} {shape}"
    if w1 == w2 == 0:
        return f"{text}: {decimal(w0)} everywhere."
    if w1 * w2 < 0:
        up, down = ("x1", "x2") if w1 > w2 else ("x2", "x1")
        where = f"at the origin: it rises along {up} and falls along {down}"
        return f"{text} with its saddle point, {decimal(w0)}, {where}."
    turns, extreme = ("upwards", "minimum") if w1 + w2 > 0 else ("downwards", "maximum")
    where = "at the origin" if w1 and w2 else f"on the whole line {'x1' if w1 else 'x2'} = 0"
    return f"{text} that opens {turns}: its {extreme}, {decimal(w0)}, is {where}."


def of_regions(weights, first, result, cells):
    """Yield the sentences about regions: their inequalities; of two classes, which is where the probe lies."""
    if len(set(weights)) == 1:
        yield "All scores are equal everywhere: the rule never decides."
        return
    parts = []
    for k in (k for k, w in enumerate(weights, 1) if weights.index(w) == k - 1):
        rivals = [j for j in first if j != k and dividing(weights, k, j, {*first}) != "nothing"]
        differences = [[m - n for m, n in zip(weights[k - 1], weights[j - 1], strict=True)] for j in rivals]
        where = " and ".join(shown(equation(ways, SQUARES, c, ">")) for c, *ways in differences)
        parts.append(
            f"to {names(same(weights, k))} "
            + (f"where {where}" if where else "everywhere" if k in first else "nowhere")
        )
    yield f"Ties aside, the rule assigns x {'; '.join(parts)}."
    if len(weights) == 2 and cells:
        item = result.boundaries[0]
        probe = (int(item.conic == "crossing lines"), 0)
        inner = 1 if score(weights[0], probe) > score(weights[1], probe) else 2
        inside, outside = SIDES[item.conic]
        conic = f"{shown(item.equation)} ({cells[2]})"
        yield f"C{inner} has {inside} {conic}, C{3 - inner} has {outside} the two tie."


@pytest.mark.parametrize("weights", SETTINGS)
def test_every_sentence_is_true(weights):
    result = analyse(weights)
    content = document(result)
    with_area = [k for k in range(1, len(weights) + 1) if has_area(weights, k)]
    first = [k for k in with_area if weights.index(weights[k - 1]) == k - 1]
    cells = [plain(cell) for table in content.tables for cell in table.rows[0][1:]]
    assert [(item.question, item.text) for item in content.findings] == [
        *((f"2.{min(k, 2)}", of_surface(k, w)) for k, w in enumerate(weights, 1)),
        *(("2.3", text) for text in of_regions(weights, first, result, cells)),
    ]
    assert [(item.class_, item.tied, item.empty) for item in result.regions] == [
        (k, same(weights, k), k not in with_area) for k in range(1, len(weights) + 1)
    ]


def squared(size):
    return Fraction(size[5:-1]) if size.startswith("sqrt") else Fraction(size) ** 2


def described(item, p, q, c):
    """Return a conic's centre and size, after holding these against its equation."""
    sizes = [squared(size) for size in item.exact]
    assert (item.center is None) == (item.conic in ("parallel lines", "double line", "nothing", "everything"))
    texts = [f"{a} ≈ {math.sqrt(b):.4g}" if "s" in a or "/" in a else a for a, b in zip(item.exact, sizes, strict=True)]
    if item.conic in ("circle", "ellipse", "hyperbola"):
        a, b = sizes[0], sizes[-1]
        assert list(item.axes or [item.radius]) == pytest.approx([math.sqrt(size) for size in sizes])
        if item.conic == "hyperbola":  # its vertex, and the slope of its asymptotes
            assert (p * a if item.opens == "x1" else q * b) == -c
            assert p * a + q * b == 0
        else:
            assert p * a == q * b == -c
        assert (len(sizes) == 1) == (item.conic == "circle") == (p == q)
        if item.conic == "circle":
            return f"centre (0, 0), radius {texts[0]}"
        opens = f", opening along {item.opens}" if item.opens else ""
        return f"centre (0, 0), semi-axes {texts[0]} along x1 and {texts[1]} along x2{opens}"
    for line, sign in zip(item.lines, ("", "-"), strict=False):
        name, _, right = line.partition(" = ")
        size = right.removeprefix(sign).removesuffix("x1").strip() or "1"
        assert right == sign + right.lstrip("-")
        u, v = (1, squared(size)) if "x1" in right else (squared(size), 0) if name == "x1" else (0, squared(size))
        assert p * u + q * v + c == 0
    return " and ".join(map(shown, item.lines))


@pytest.mark.parametrize("weights", SETTINGS)
def test_every_curve_is_named_sized_and_divides_as_the_table_says(weights):
    result = analyse(weights)
    rows = [list(map(plain, row)) for table in document(result).tables for row in table.rows]
    with_area = {k for k in range(1, len(weights) + 1) if has_area(weights, k)}
    wanted = []
    for item, (i, j) in zip(result.boundaries, combinations(range(1, len(weights) + 1), 2), strict=True):
        c, p, q = (a - b for a, b in zip(weights[i - 1], weights[j - 1], strict=True))
        assert item.conic in CONICS[(*signature(p, q), *signature(p, q, c))]
        assert item.equation == equation((p, q), SQUARES, c)
        assert (item.classes, item.separates) == ((i, j), dividing(weights, i, j, with_area))
        assert len(item.lines) == {"crossing lines": 2, "parallel lines": 2, "double line": 1}.get(item.conic, 0)
        text = described(item, p, q, c)
        if item.separates != "nothing":
            wanted.append([names((i, j), "|"), shown(item.equation), item.conic, text, item.separates])
    assert rows == wanted


@pytest.mark.parametrize("weights", SETTINGS[::6])
def test_a_place_has_its_scores(weights):
    for x in ((Fraction(7, 3), Fraction(-2)), (Fraction(0), Fraction(1))):
        place = evaluate(weights, x)
        values = [score(w, x) for w in weights]
        assert place.exact_scores == tuple(values)
        assert place.scores == tuple(map(float, values))
        assert place.tied == tuple(k for k, value in enumerate(values, 1) if value == max(values))
        assert place.region == (place.tied[0] if len(place.tied) == 1 else None)
        (table,) = [table for table in document(analyse(weights), place).tables if not table.question]
        assert [plain(row[2]) for row in table.rows] == [
            "largest" * (k in place.tied) for k in range(1, len(weights) + 1)
        ]
