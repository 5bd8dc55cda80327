"""Names of conics against the signatures of their matrices, sizes against their equations."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from cli726.conics import classify, describe

small = st.integers(-3, 3).map(Fraction)
# (rank, |signature|) of the quadratic form and of the whole 3 x 3 matrix, up to a common sign.
NAMES = {
    (2, 2, 3, 3): {"nothing"},
    (2, 2, 3, 1): {"circle", "ellipse"},
    (2, 2, 2, 2): {"point"},
    (2, 0, 3, 1): {"hyperbola"},
    (2, 0, 2, 0): {"crossing lines"},
    (1, 1, 2, 2): {"nothing"},
    (1, 1, 2, 0): {"parallel lines"},
    (1, 1, 1, 1): {"double line"},
    (0, 0, 1, 1): {"nothing"},
    (0, 0, 0, 0): {"everything"},
}


def signature(*diagonal):
    signs = np.sign([float(value) for value in diagonal])
    return int(abs(signs).sum()), int(abs(signs.sum()))


@given(small, small, small)
def test_name_follows_from_the_signatures(p, q, c):
    assert classify(p, q, c).conic in NAMES[(*signature(p, q), *signature(p, q, c))]


@given(small, small, small)
def test_sizes_satisfy_the_equation(p, q, c):
    conic = classify(p, q, c)
    r1, r2 = conic.axes or (conic.radius, conic.radius)
    if conic.conic in ("circle", "ellipse"):
        assert (conic.conic == "circle") == (p == q)
        for x1, x2 in ((r1, 0), (0, r2), (r1 * 0.6, r2 * 0.8)):
            assert float(p) * x1**2 + float(q) * x2**2 + float(c) == pytest.approx(0, abs=1e-12)
    elif conic.conic == "hyperbola":
        t = 1.3
        x1, x2 = (r1 * np.cosh(t), r2 * np.sinh(t)) if conic.opens == "x1" else (r1 * np.sinh(t), r2 * np.cosh(t))
        assert float(p) * x1**2 + float(q) * x2**2 + float(c) == pytest.approx(0, abs=1e-10)
    else:
        assert conic.radius is None
        assert conic.axes is None


@given(small, small, small)
def test_lines_lie_on_the_conic(p, q, c):
    conic = classify(p, q, c)
    x1, x2 = sympy.symbols("x1 x2")
    for line in conic.lines:
        left, right = (
            sympy.sympify(side.replace(") x", ")*x").replace(" x", "*x").lstrip("*")) for side in line.split(" = ")
        )
        form = sympy.Rational(str(p)) * x1**2 + sympy.Rational(str(q)) * x2**2 + sympy.Rational(str(c))
        assert sympy.simplify(form.subs(left, right)) == 0
    assert len(set(conic.lines)) == {"crossing lines": 2, "parallel lines": 2, "double line": 1}.get(conic.conic, 0)


def test_descriptions_give_exact_and_decimal_sizes():
    one = Fraction(1)
    assert describe(classify(one, one, -one)) == "centre (0, 0), radius 1"
    assert describe(classify(one, one, -3 * one)) == "centre (0, 0), radius sqrt(3) = 1.732"
    assert "semi-axes 3/2 = 1.5 along x1 and 1 along x2" in describe(classify(4 * one, 9 * one, -9 * one))
    assert describe(classify(one, -one, -one)).endswith("opening along x1")
    assert describe(classify(one, 0 * one, -4 * one)) == "x1 = 2 and x1 = -2"
    assert describe(classify(one, one, 0 * one)) == "the origin"
