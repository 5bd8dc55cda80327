"""Problem 2 against brute force."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli726 import exact
from cli726.glm import ASSIGNMENT, NAMES, analyse
from cli726.glm_regions import evaluate

small = st.integers(-3, 3).map(Fraction)
classes = st.lists(st.tuples(small, small, small), min_size=2, max_size=5)
places = st.tuples(*(st.fractions(-4, 4, max_denominator=12) for _ in range(2)))


def solve(*texts):
    return analyse(exact.classes(texts, NAMES))


def said(result):
    return " ".join(item.text for item in result.findings)


def holds(inequality, x):
    """Whether an inequality, as printed, is true at the point `x`."""
    code = re.sub(r"(\d) x", r"\1*x", inequality).replace("^", "**")
    return eval(code, {"x1": x[0], "x2": x[1]})


@pytest.fixture(scope="module")
def assigned():
    return solve(*ASSIGNMENT)


@given(classes, places)
def test_scores_and_regions_agree_with_numpy(weights, x):
    place = evaluate(weights, x)
    scores = np.array(weights, dtype=float) @ [1.0, float(x[0]) ** 2, float(x[1]) ** 2]
    np.testing.assert_allclose(place.scores, scores, rtol=1e-12, atol=1e-12)
    if place.region:
        assert scores[place.region - 1] >= scores.max() - 1e-9
    else:
        assert len(place.tied) > 1


@given(classes, places)
def test_inequalities_describe_the_regions(weights, x):
    """The inequalities of a region hold at a point exactly when its class, or one that coincides, is ahead there."""
    winners = evaluate(weights, x).tied
    for region in analyse(weights).regions:
        if region.empty:
            assert winners != region.tied
        elif x[0] and x[1]:
            assert all(holds(inequality, x) for inequality in region.where) == (winners == region.tied)


@given(classes)
def test_boundaries_that_divide_belong_to_regions_with_an_area(weights):
    result = analyse(weights)
    assert len(result.boundaries) == len(weights) * (len(weights) - 1) // 2
    for item in result.boundaries:
        if item.separates != "nothing":
            assert not any(result.regions[k - 1].empty for k in item.classes)
            assert item.conic in ("circle", "ellipse", "hyperbola", "crossing lines", "parallel lines")
    if len(weights) == 2:
        assert result.boundaries[0].separates in ("all", "nothing")


@given(classes)
def test_findings_rest_on_evidence(weights):
    result = analyse(weights)
    assert all(item.evidence for item in result.findings)
    assert sum(item.text.startswith("2.1") for item in result.findings) == 1
    assert sum(item.text.startswith("2.2") for item in result.findings) == 1
    assert any(item.text.startswith("2.3") for item in result.findings)


def test_the_assignment(assigned):
    (item,) = assigned.boundaries
    assert (item.classes, item.equation, item.conic, item.center, item.radius, item.separates) == (
        (1, 2), "x1^2 + x2^2 = 1", "circle", (0, 0), 1, "all",
    )  # fmt: skip
    assert [region.where for region in assigned.regions] == [("x1^2 + x2^2 > 1",), ("x1^2 + x2^2 < 1",)]
    assert [(s.shape, s.origin, s.stationary) for s in assigned.surfaces] == [
        ("paraboloid of revolution", 6, "minimum"), ("horizontal plane", 8, "constant"),
    ]  # fmt: skip
    assert "C2 has the inside of the circle x1^2 + x2^2 = 1 (centre (0, 0), radius 1), C1 has the outside" in said(
        assigned
    )


def test_the_circle_itself_is_a_tie(assigned):
    place = evaluate(assigned.weights, (Fraction(3, 5), Fraction(4, 5)))
    assert place.scores == (8, 8)
    assert (place.region, place.tied) == (None, (1, 2))


@pytest.mark.parametrize(
    ("first", "second", "sentence", "at", "winner"),
    [
        ("1,1,2", "3,0,0", "C2 has the inside of the ellipse", (0, 0), 2),
        ("1,1,-2", "3,0,0", "C2 has what lies between the branches of the hyperbola", (0, 5), 2),
        ("1,-1,2", "3,0,0", "C2 has what lies between the branches of the hyperbola", (5, 0), 2),
        ("1,1,-2", "-1,0,0", "C1 has what lies between the branches of the hyperbola", (5, 0), 1),
        ("1,1,-1", "1,0,0", "C1 has the sectors around the x1 axis", (3, 1), 1),
        ("1,-1,1", "1,0,0", "C2 has the sectors around the x1 axis", (3, 1), 2),
        ("1,1,0", "4,0,0", "C2 has what lies between the parallel lines", (1, 9), 2),
        ("1,1,0", "1,0,0", "C1 is ahead everywhere but at x1 = 0", (1, 0), 1),
        ("1,1,1", "1,2,2", "C2 is ahead everywhere but at the origin", (1, 0), 2),
        ("1,1,1", "2,1,1", "No point has y1 = y2: C2 is ahead everywhere", (1, 0), 2),
        ("1,1,1", "2,3,1", "x1^2 = -1 has no solution: C2 is ahead everywhere".replace("x1^2", "2 x1^2"), (1, 0), 2),
    ],
)
def test_who_is_on_which_side(first, second, sentence, at, winner):
    result = solve(first, second)
    assert sentence in said(result)
    assert evaluate(result.weights, (Fraction(at[0]), Fraction(at[1]))).region == winner


def test_equal_scores_never_decide():
    result = solve("1,2,3", "1,2,3")
    assert result.boundaries[0].conic == "everything"
    assert "the rule never decides" in said(result)
    assert "C1 and C2 have the same score everywhere" in said(result)


def test_a_third_class_cuts_boundaries_short():
    result = solve("1,1,-2", "3,0,0", "2,0,1")
    assert [item.separates for item in result.boundaries] == ["part", "part", "part"]
    hidden = solve("6,2,2", "8,0,0", "7,1,1")
    assert [item.separates for item in hidden.boundaries] == ["all", "nothing", "nothing"]
    assert "The region of C3 is empty: it only ties for the largest score, on C1|C2" in said(hidden)


@pytest.mark.parametrize(
    ("third", "where"),
    [("7,1,0", "where x1^2 = 1 and x2^2 = 0"), ("8,0,-1", "on the line x2 = 0"), ("0,0,0", "nowhere the largest")],
)
def test_empty_regions_say_why(third, where):
    result = solve("6,2,2", "8,0,0", third)
    assert result.regions[2].empty
    assert f"The region of C3 is empty: it {'is ' if 'nowhere' in where else ''}" in said(result)
    assert where in said(result)


def test_scores_that_could_be_probabilities_are_not_denied():
    assert "no probabilities" not in said(solve("0.25,0,0", "0.75,0,0"))
    assert "no probabilities" in said(solve(*ASSIGNMENT))
