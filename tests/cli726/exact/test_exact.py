"""The exact arrangement of regions, by counting areas; numbers as typed, and back to text."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from cli726 import exact
from cli726.document import m
from cli726.errors import RequestError
from cli726.exact import envelope

# Small numbers, so that parallel, coinciding and concurrent functions are common.
coordinate = st.integers(-3, 3).map(Fraction)
functions = st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=1, max_size=6)
places = st.tuples(*(st.fractions(-9, 9, max_denominator=7) for _ in range(2)))
QUADRANT = ((Fraction(1), Fraction(0), Fraction(0)), (Fraction(0), Fraction(1), Fraction(0)))
TINY = Fraction(1, 10**12)

fractions = st.fractions(min_value=-1000, max_value=1000, max_denominator=500)
TYPED = {"1.5": Fraction(3, 2), " -2e-3 ": Fraction(-1, 500), "3/22": Fraction(3, 22), ".5": Fraction(1, 2), "+4.": 4,
         "1e30": 10**30, "-1e-30": -Fraction(1, 10**30), "-3/070": Fraction(-3, 70)}  # fmt: skip
REFUSED = ("nan", "inf", "", "one", "1_000", "1/0", "1e31", "1e-31", "1e999999999", "٣", "0x10", "1,5", "1" * 41)


def area(corners):
    return sum((a[0] * b[1] - b[0] * a[1] for a, b in pairwise([*corners, *corners[:1]])), Fraction(0)) / 2


@pytest.mark.parametrize("domain", [(), QUADRANT])
@given(functions=functions, x=places)
def test_regions_fill_a_square_without_overlap_and_only_owners_win_alone(domain, functions, x):
    low = Fraction(0) if domain else Fraction(-4)
    corners = [(low, low), (Fraction(4), low), (Fraction(4), Fraction(4)), (low, Fraction(4))]
    distinct = [*dict.fromkeys(functions)]
    areas = [area(envelope.polygon([envelope.minus(f, other) for other in functions], corners)) for f in distinct]
    assert min(areas) >= 0
    assert sum(areas) == area(corners)
    x = (abs(x[0]) + TINY, abs(x[1]) + TINY) if domain else x
    owners = envelope.owners(functions, envelope.edges(functions, domain), (Fraction(1), Fraction(1)))
    winners = envelope.highest(functions, x)
    assert set(winners) & owners
    assert winners != envelope.same(functions, winners[0]) or winners[0] in owners


def test_numbers_are_exact_or_refused():
    for text, value in TYPED.items():
        assert exact.number(text) == value
    for text in REFUSED:
        with pytest.raises(RequestError, match="a number must be finite") as refusal:
            exact.number(text)
        assert f'got "{text[:40]}";' in str(refusal.value)
    assert exact.extent("1e-30") == Fraction(1, 10**30)
    with pytest.raises(RequestError, match=r"--extent must be above 0, got 0\.0"):
        exact.extent("0.0")
    assert exact.classes(["1,2,3", "0.5, -1, 1/3"], "abc")[1] == (Fraction(1, 2), -1, Fraction(1, 3))


@given(st.lists(fractions, min_size=2, max_size=2), fractions)
def test_equation_has_smallest_integers_and_the_same_solutions(coefficients, constant):
    left, right = exact.equation(coefficients, ("x1", "x2"), constant).split(" = ")
    code = re.sub(r"(\d) x", r"\1*x", left)
    at = [eval(code, {"x1": x1, "x2": x2}) - int(right) for x1, x2 in ((0, 0), (1, 0), (0, 1))]
    found = [at[1] - at[0], at[2] - at[0], at[0]]
    wanted = [*coefficients, constant]
    assert math.gcd(*found) in (0, 1)
    assert next((c for c in found if c), 1) > 0 or not any(found[:2])
    assert all(found[i] * wanted[j] == found[j] * wanted[i] for i in range(3) for j in range(3))
    first, shown = (next((c for c in values if c), 1) for values in (wanted, found))
    assert exact.equation(coefficients, ("x1", "x2"), constant, ">").split()[-2] == (">" if first * shown > 0 else "<")


@given(fractions, fractions)
def test_numbers_and_points_say_where_they_are_rounded(x, y):
    assert Fraction(exact.decimal(x)) == x
    for value, text in ((x, exact.both(x)), (y, exact.both(y))):
        full, _, near = text.partition("~= ")
        assert not full or Fraction(full) == value
        assert float(near or full) == pytest.approx(float(value), rel=6e-4)
    full, _, near = exact.place((x, y)).partition("~= ")
    assert not full or [Fraction(part) for part in full.strip("() ").split(", ")] == [x, y]
    assert near or "/" not in full
    stated = [float(part) for part in (near or full).strip("()").split(", ")]
    assert stated == pytest.approx([float(x), float(y)], rel=6e-4)
    assert exact.both(Fraction(10**13 + 1, 10**13)) == "~= 1"
    assert exact.place((Fraction(10**13, 3), Fraction(2))) == "~= (3.33333e+12, 2)"


@given(st.fractions(min_value=0, max_value=50, max_denominator=20))
def test_texts_are_what_they_say(value):
    assert sympy.sympify(exact.root(value)) ** 2 == sympy.Rational(value.numerator, value.denominator)
    assert exact.root(value**2) == str(value)
    assert exact.polynomial([(Fraction(-1), "x1"), (Fraction(0), "x2"), (Fraction(1), "")]) == "-x1 + 1"
    assert exact.polynomial([]) == "0"
    assert exact.marked("the rate `rho` of `C1|C2`.") == ["the rate ", m("rho"), " of ", m("C1|C2"), "."]
