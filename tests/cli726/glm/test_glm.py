"""Problem 2's numbers against brute force; its sentences have a file of their own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from cli726 import exact
from cli726.glm import ASSIGNMENT, NAMES, analyse, evaluate
from cli726.glm.findings import document

small = st.integers(-3, 3).map(Fraction)
classes = st.lists(st.tuples(small, small, small), min_size=2, max_size=5)
places = st.tuples(*(st.fractions(-4, 4, max_denominator=12) for _ in range(2)))


def solve(*texts):
    return analyse(exact.classes(texts, NAMES))


@given(classes, places)
def test_scores_and_regions_agree_with_numpy(weights, x):
    place = evaluate(weights, x)
    scores = np.array(weights, dtype=float) @ [1.0, float(x[0]) ** 2, float(x[1]) ** 2]
    np.testing.assert_allclose(place.scores, scores, rtol=1e-12, atol=1e-12)
    assert scores[place.tied[0] - 1] >= scores.max() - 1e-9
    assert place.region == (place.tied[0] if len(place.tied) == 1 else None)


def test_the_assignment():
    result = solve(*ASSIGNMENT)
    (item,) = result.boundaries
    assert (item.classes, item.equation, item.conic, item.center, item.radius, item.separates) == (
        (1, 2), "x1^2 + x2^2 = 1", "circle", (0, 0), 1, "all",
    )  # fmt: skip
    assert [region.where for region in result.regions] == [("x1^2 + x2^2 > 1",), ("x1^2 + x2^2 < 1",)]
    assert [(s.shape, s.origin, s.stationary) for s in result.surfaces] == [
        ("paraboloid of revolution", 6, "minimum"), ("horizontal plane", 8, "constant"),
    ]  # fmt: skip
    place = evaluate(result.weights, (Fraction(3, 5), Fraction(4, 5)))
    assert (place.scores, place.region, place.tied) == ((8, 8), None, (1, 2))
    told = document(result).findings[-1].text
    assert told.startswith(
        "C2 has the inside of the circle x1² + x2² = 1 (centre (0, 0), radius 1), C1 has the outside;"
    )


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
