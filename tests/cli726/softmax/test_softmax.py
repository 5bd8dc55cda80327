"""Problem 1's numbers against closed forms, SymPy and SciPy; its sentences have a file of their own."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.special
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cli726 import exact
from cli726.exact.envelope import along
from cli726.softmax import ASSIGNMENT, NAMES, analyse, evaluate, probabilities
from cli726.softmax.findings import document

activations = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6)
coordinate = st.integers(-3, 3).map(Fraction)
classes = st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=2, max_size=5)
places = st.tuples(*(st.fractions(-5, 5, max_denominator=9) for _ in range(2)))


def solve(*texts):
    return analyse(exact.classes(texts, NAMES))


@pytest.fixture(scope="module")
def assigned():
    return solve(*ASSIGNMENT)


@given(activations, st.floats(-1e3, 1e3))
def test_probabilities_agree_with_scipy_and_ignore_a_common_shift(a, shift):
    assert_allclose(probabilities(a), scipy.special.softmax(a), rtol=1e-12, atol=1e-300)
    assert math.fsum(probabilities(a)) == pytest.approx(1, abs=1e-14)
    assert_allclose(probabilities([value + shift for value in a]), probabilities(a), rtol=1e-9, atol=1e-300)


def test_probabilities_do_not_overflow():
    assert probabilities([1e308, 0.0, -1e308]) == (1, 0, 0)
    result = solve("1e30,-1e-30,1e30", "-1e30,1e30,1e-30", "1e-30,1e-30,-1e30")
    assert math.isclose(math.fsum(result.point.probabilities), 1)
    assert all(math.isfinite(b.rate) and math.isfinite(sum(b.direction)) for b in result.boundaries)


@given(classes, places)
def test_places_agree_with_numpy(weights, x):
    place = evaluate(weights, x)
    heights = np.array(weights, dtype=float) @ [*map(float, x), 1]
    assert_allclose(place.activations, heights, rtol=1e-12, atol=1e-12)
    assert_allclose(place.probabilities, scipy.special.softmax(heights), rtol=1e-9)
    assert place.x == tuple(map(float, x))
    assert heights[place.tied[0] - 1] >= heights.max() - 1e-9
    assert place.region == (place.tied[0] if len(place.tied) == 1 else None)


def test_the_assignment(assigned):
    x1, x2 = sympy.symbols("x1 x2")
    a = [3 * x1 + x2 + 1, x1 + 3 * x2 + 2, -3 * x1 + sympy.Rational(3, 2) * x2 + 2]
    (solution,) = sympy.linsolve([a[0] - a[1], a[0] - a[2]], x1, x2)
    assert [str(value) for value in assigned.point.exact] == [str(value) for value in solution] == ["3/22", "-4/11"]
    assert set(assigned.point.exact_activations) == {Fraction(23, 22)}
    assert assigned.point.probabilities == (1 / 3, 1 / 3, 1 / 3)
    assert [(b.classes, b.equation, b.kind) for b in assigned.boundaries] == [
        ((1, 2), "2 x1 - 2 x2 = 1", "ray"), ((1, 3), "12 x1 - x2 = 2", "ray"), ((2, 3), "8 x1 + 3 x2 = 0", "ray"),
    ]  # fmt: skip
    directions = np.array([[1, 1], [-1, -12], [-3, 8]]) / np.sqrt([[2], [145], [73]])
    assert_allclose([b.direction for b in assigned.boundaries], directions, rtol=1e-14)
    assert_allclose([b.rate for b in assigned.boundaries], np.array([5.5, 22, 22]) / np.sqrt([2, 145, 73]), rtol=1e-14)
    assert [b.limit for b in assigned.boundaries] == [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    assert [b.behind for b in assigned.boundaries] == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert [(r.kind, r.limit) for r in assigned.regions] == [("wedge", tuple(row)) for row in np.eye(3)]
    told = [item.text for item in document(assigned).findings if item.question == "1.1"]
    assert "(3/22, -4/11) ≈ (0.1364, -0.3636)" in told[0]
    assert "a = 23/22: each of these classes has probability 1/3." in told[0]


@given(classes)
def test_middle_ways_are_in_the_middle(weights):
    """At equal distance from the lines of the two endless edges, and never outside the region."""
    result = analyse(weights)
    for r in result.regions:
        for t in (0, 1, 10**4) if r.exact_direction else ():
            x = along(r.start, r.exact_direction, Fraction(t))
            assert r.class_ in evaluate(weights, x).tied
        if r.kind == "wedge":
            u, v = (b.direction for b in result.boundaries if b.kind == "ray" and r.tied[0] in b.classes)
            assert_allclose(np.dot(r.direction, u), np.dot(r.direction, v), atol=1e-12)


def test_the_middle_of_a_wedge_that_is_nearly_a_half_plane_is_across():
    wide = next(r for r in solve("0,0,0", "1e-20,1,0", "-1e-20,1,0").regions if r.class_ == 1)
    assert_allclose(wide.direction, (0, -1), atol=1e-15)


@given(classes, st.randoms(use_true_random=False), places)
def test_renaming_the_classes_or_adding_one_function_to_all_changes_no_answer(weights, random, shift):
    assume(len(set(weights)) == len(weights))
    order = list(range(len(weights)))
    random.shuffle(order)
    before = analyse(weights)
    after = analyse([tuple(a + b for a, b in zip(weights[k], (*shift, 7), strict=True)) for k in order])
    assert [v.exact for v in before.vertices] == [v.exact for v in after.vertices]
    renamed = {(frozenset(order[k - 1] + 1 for k in b.classes), b.equation, b.kind, b.rate) for b in after.boundaries}
    assert renamed == {(frozenset(b.classes), b.equation, b.kind, b.rate) for b in before.boundaries}
    for new, old in enumerate(order):
        assert after.regions[new].kind == before.regions[old].kind


@pytest.mark.parametrize(
    ("texts", "kinds", "pieces"),
    [
        (("1,2,3", "0,1,2"), ["half-plane"] * 2, ["line"]),
        (("1,0,0", "0,1,0", "-1,0,0", "0,-1,0"), ["wedge"] * 4, ["ray"] * 4),
        (("1,0,0", "-1,0,0", "0,0,1"), ["half-plane", "half-plane", "strip"], ["line", "line"]),
        (("1,0,0", "-1,0,0", "0,0,0"), ["half-plane", "half-plane", "empty"], ["line"]),
        (("1,2,3", "1,2,4"), ["empty", "whole plane"], []),
        (("2,0,0", "-2,0,0", "0,1,1", "0,0,1"), ["wedge", "wedge", "wedge", "half-strip"], ["ray"] * 4 + ["segment"]),
        (("1,0,0", "-1,0,0", "0,1,0", "0,-1,0", "0,0,1"), ["wedge"] * 4 + ["bounded"], ["ray"] * 4 + ["segment"] * 4),
    ],
)
def test_regions_and_boundaries_of_every_kind(texts, kinds, pieces):
    result = solve(*texts)
    assert [r.kind for r in result.regions] == kinds
    assert sorted(b.kind for b in result.boundaries) == sorted(pieces)
    for b in result.boundaries:  # of a whole line, the point that figures show is the nearest to the origin
        assert b.kind != "line" or sum(x * d for x, d in zip(b.through, b.exact_direction, strict=True)) == 0
