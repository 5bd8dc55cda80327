"""Problem 1 against closed forms, SymPy, SciPy and direct evaluation far out."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import scipy.special
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cli726 import exact
from cli726.envelope import along
from cli726.softmax import ASSIGNMENT, NAMES, analyse
from cli726.softmax_geometry import evaluate, far, probabilities, readable

activations = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6)
coordinate = st.integers(-3, 3).map(Fraction)
classes = st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=2, max_size=5)
places = st.tuples(*(st.fractions(-5, 5, max_denominator=9) for _ in range(2)))


def solve(*texts):
    return analyse(exact.classes(texts, NAMES))


def said(result):
    return " ".join(item.text for item in result.findings)


@pytest.fixture(scope="module")
def assigned():
    return solve(*ASSIGNMENT)


@given(activations)
def test_probabilities_agree_with_scipy_and_sum_to_one(a):
    assert_allclose(probabilities(a), scipy.special.softmax(a), rtol=1e-12, atol=1e-300)
    assert math.fsum(probabilities(a)) == pytest.approx(1, abs=1e-14)


@given(activations, st.floats(-1e3, 1e3))
def test_probabilities_ignore_a_common_shift(a, shift):
    assert_allclose(probabilities([value + shift for value in a]), probabilities(a), rtol=1e-9, atol=1e-300)


def test_probabilities_do_not_overflow():
    assert probabilities([1e308, 0.0, -1e308]) == (1, 0, 0)


@given(classes.filter(lambda w: len(w) == 2), places)
def test_two_classes_are_the_logistic_sigmoid(weights, x):
    place = evaluate(weights, x)
    difference = place.activations[0] - place.activations[1]
    assert_allclose(place.probabilities[0], scipy.special.expit(difference), rtol=1e-12)


def test_the_green_point_of_the_assignment(assigned):
    x1, x2 = sympy.symbols("x1 x2")
    a = [3 * x1 + x2 + 1, x1 + 3 * x2 + 2, -3 * x1 + sympy.Rational(3, 2) * x2 + 2]
    (solution,) = sympy.linsolve([a[0] - a[1], a[0] - a[2]], x1, x2)
    assert [str(value) for value in assigned.point.exact] == [str(value) for value in solution] == ["3/22", "-4/11"]
    assert set(assigned.point.exact_activations) == {Fraction(23, 22)}
    assert assigned.point.probabilities == (1 / 3, 1 / 3, 1 / 3)


def test_the_boundaries_of_the_assignment(assigned):
    assert [(b.classes, b.equation, b.kind) for b in assigned.boundaries] == [
        ((1, 2), "2 x1 - 2 x2 = 1", "ray"),
        ((1, 3), "12 x1 - x2 = 2", "ray"),
        ((2, 3), "8 x1 + 3 x2 = 0", "ray"),
    ]
    directions = np.array([[1, 1], [-1, -12], [-3, 8]]) / np.sqrt([[2], [145], [73]])
    assert_allclose([b.direction for b in assigned.boundaries], directions, rtol=1e-14)
    assert_allclose([b.rate for b in assigned.boundaries], np.array([5.5, 22, 22]) / np.sqrt([2, 145, 73]), rtol=1e-14)
    assert [b.limit for b in assigned.boundaries] == [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    assert [b.behind for b in assigned.boundaries] == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]


@pytest.mark.parametrize("s", [0.0, 0.3, 1.0, 4.0])
def test_probabilities_along_the_rays_follow_the_closed_form(assigned, s):
    W = np.array([[3, 1, 1], [1, 3, 2], [-3, 1.5, 2]])
    for b in assigned.boundaries:
        x = np.array(assigned.point.x) + s * np.array(b.direction)
        shares = scipy.special.softmax(W @ [*x, 1])
        fading = math.exp(-b.rate * s)
        third = ({1, 2, 3} - set(b.classes)).pop()
        assert_allclose(shares[third - 1], fading / (2 + fading), rtol=1e-12)
        assert_allclose([shares[k - 1] for k in b.classes], 1 / (2 + fading), rtol=1e-12)


def test_far_inside_its_regions_each_class_of_the_assignment_is_certain(assigned):
    assert [r.kind for r in assigned.regions] == ["wedge"] * 3
    assert [r.limit for r in assigned.regions] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    first, second, third = (np.array(b.direction) for b in assigned.boundaries)
    for r, (u, v) in zip(assigned.regions, [(first, second), (first, third), (second, third)], strict=True):
        assert_allclose(r.direction @ u, r.direction @ v, rtol=1e-12)


@given(classes)
def test_limits_are_what_direct_evaluation_gives_far_out(weights):
    result = analyse(weights)
    ways = [(b.through, b.exact_direction, b.limit) for b in result.boundaries if b.limit]
    ways += [(b.through, tuple(-d for d in b.exact_direction), b.behind) for b in result.boundaries if b.behind]
    ways += [(r.start, r.exact_direction, r.limit) for r in result.regions if r.exact_direction]
    for start, direction, limit in ways:
        place = evaluate(weights, along(start, direction, Fraction(10**6)))
        assert_allclose(place.probabilities, limit, atol=1e-12)


@given(classes)
def test_rates_are_the_measured_decay(weights):
    result = analyse(weights)
    ways = [(b.through, b.exact_direction, b.limit, b.rate) for b in result.boundaries if b.rate]
    ways += [(r.start, r.exact_direction, r.limit, r.rate) for r in result.regions if r.exact_direction and r.rate]
    for start, direction, limit, rate in ways:
        near, after = (evaluate(weights, along(start, direction, Fraction(t))) for t in (1, 3))
        top = limit.index(max(limit))
        fallen = [  # of log p_k, relative to the class that keeps its share
            (near.exact_activations[k] - near.exact_activations[top])
            - (after.exact_activations[k] - after.exact_activations[top])
            for k, end in enumerate(limit)
            if end == 0
        ]
        assert rate == pytest.approx(float(min(fallen)) / (2 * math.hypot(*map(float, direction))), rel=1e-12)


@given(classes)
def test_middle_ways_stay_in_their_region(weights):
    for r in analyse(weights).regions:
        for t in (0, 1, 10**4) if r.exact_direction else ():
            assert r.class_ in evaluate(weights, along(r.start, r.exact_direction, Fraction(t))).tied


@given(classes, st.randoms(use_true_random=False))
def test_renaming_the_classes_renames_the_answers(weights, random):
    assume(len(set(weights)) == len(weights))
    order = list(range(len(weights)))
    random.shuffle(order)
    before, after = analyse(weights), analyse([weights[k] for k in order])
    assert [v.exact for v in before.vertices] == [v.exact for v in after.vertices]
    renamed = {(frozenset(order[k - 1] + 1 for k in b.classes), b.equation, b.kind, b.rate) for b in after.boundaries}
    assert renamed == {(frozenset(b.classes), b.equation, b.kind, b.rate) for b in before.boundaries}
    for new, old in enumerate(order):
        assert after.regions[new].kind == before.regions[old].kind


@given(classes, places)
def test_adding_one_function_to_all_activations_changes_no_answer(weights, shift):
    moved = [(w[0] + shift[0], w[1] + shift[1], w[2] + 7) for w in weights]
    before, after = analyse(weights), analyse(moved)
    assert [b.equation for b in before.boundaries] == [b.equation for b in after.boundaries]
    assert [r.limit for r in before.regions] == [r.limit for r in after.regions]


@given(classes.filter(lambda w: len(w) == 3))
def test_three_activations_meet_where_sympy_says(weights):
    x = sympy.symbols("x1 x2")
    a = [w[0] * x[0] + w[1] * x[1] + w[2] for w in weights]
    solution = sympy.linsolve([sympy.nsimplify(a[0] - a[1]), sympy.nsimplify(a[0] - a[2])], *x)
    points = [point for point in solution if not any(value.free_symbols for value in point)]
    found = analyse(weights).point
    assert [[Fraction(str(value)) for value in point] for point in points] == ([list(found.exact)] if found else [])


def test_classes_of_one_place_all_orders():
    """Four regions that meet in one point: opposite ones touch there and have no boundary."""
    for order in permutations(["1,0,0", "0,1,0", "-1,0,0", "0,-1,0"]):
        result = solve(*order)
        assert result.point.exact == (0, 0)
        assert len(result.boundaries) == 4
        assert {b.equation for b in result.boundaries} == {"x1 - x2 = 0", "x1 + x2 = 0"}


def test_two_classes_have_a_line_and_no_point():
    result = solve("1,2,3", "0,1,2")
    (line,) = result.boundaries
    assert (line.kind, line.limit, line.rate, line.behind) == ("line", (0.5, 0.5), None, None)
    assert result.point is None
    assert [r.kind for r in result.regions] == ["half-plane"] * 2
    assert "no green point" in said(result)
    assert "logistic sigmoid" in said(result)


def test_parallel_boundaries_enclose_a_strip():
    result = solve("1,0,0", "-1,0,0", "0,0,1")
    assert [b.kind for b in result.boundaries] == ["line", "line"]
    assert result.regions[2].kind == "strip"
    assert_allclose(result.regions[2].limit, scipy.special.softmax([0, 0, 1]))
    assert "parallel and never meet" in said(result)
    assert "(a strip) no class becomes certain" in said(result)


def test_coinciding_activations_share_a_region():
    result = solve(*ASSIGNMENT, "3,1,1")
    assert result.point.probabilities == (0.25,) * 4
    assert result.regions[0].limit == result.regions[3].limit == (0.5, 0, 0, 0.5)
    assert "C1 and C4 have the same activation" in said(result)
    assert "parallel" not in said(result).replace("parallel to it", "")
    assert all(4 not in b.classes for b in result.boundaries)


def test_a_parallel_activation_has_no_region_but_keeps_a_share():
    result = solve(*ASSIGNMENT, "1,3,0")
    assert result.regions[3].kind == "empty"
    assert_allclose(result.regions[1].limit, [0, scipy.special.expit(2), 0, scipy.special.expit(-2)])
    assert "a2 - a4 = 2 everywhere" in said(result)
    assert "The region of C4 is empty: it is nowhere the largest" in said(result)


def test_an_activation_that_only_ties_has_no_region():
    result = solve("1,0,0", "-1,0,0", "0,0,0")
    assert result.regions[2].kind == "empty"
    assert result.boundaries[0].limit == (1 / 3, 1 / 3, 1 / 3)
    assert "only ties for the largest, on C1|C2" in said(result)


def test_a_bounded_region_has_no_far():
    result = solve("1,0,0", "-1,0,0", "0,1,0", "0,-1,0", "0,0,1")
    assert result.regions[4].kind == "bounded"
    assert result.regions[4].limit is None
    assert [b.kind for b in result.boundaries].count("segment") == 4
    assert result.point is None
    assert len(result.vertices) == 4
    assert "The region of C5 is bounded" in said(result)


def test_one_class_can_own_the_whole_plane():
    result = solve("1,2,3", "1,2,4")
    assert [r.kind for r in result.regions] == ["empty", "whole plane"]
    assert result.boundaries == ()
    assert "there is no boundary at all" in said(result)
    assert "each red line" not in said(result)


def test_the_gap_beside_a_boundary_decides(assigned):
    weights = assigned.weights
    start = along(assigned.point.exact, (Fraction(1), Fraction(-1)), Fraction(1, 4))
    gap = evaluate(weights, start).activations
    limit, _ = far(weights, start, (Fraction(1), Fraction(1)))
    assert_allclose(limit, [scipy.special.expit(gap[0] - gap[1]), scipy.special.expit(gap[1] - gap[0]), 0])
    assert "0.7311, 0.2689, 0" in said(assigned)


def test_findings_answer_every_question_with_evidence(assigned):
    for question in ("1.1", "1.2", "1.3"):
        assert any(item.text.startswith(question) for item in assigned.findings)
    assert "23/22" in said(assigned)
    assert all(item.evidence for item in assigned.findings)


def test_extreme_numbers_are_handled():
    result = solve("1e30,-1e-30,1e30", "-1e30,1e30,1e-30", "1e-30,1e-30,-1e30")
    assert math.isclose(math.fsum(result.point.probabilities), 1)
    assert all(math.isfinite(b.rate) and math.isfinite(sum(b.direction)) for b in result.boundaries)


def test_nothing_that_rounds_to_one_is_printed_as_one():
    assert readable((1.0, 3.2e-12, 0.0)) == ["1 - 3.2e-12", "3.2e-12", "0"]
    assert readable((0.5, 0.5)) == ["0.5", "0.5"]
    assert readable((1.0, 0.0)) == ["1", "0"]
