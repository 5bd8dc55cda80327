"""The optimum against scikit-learn; separation against a linear program."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from scipy.optimize import linprog
from sklearn.linear_model import LogisticRegression

from cli726.logistic import Points, center, load_points, solve
from cli726.logistic.model import gradient, mean_error
from cli726.logistic.optimum import error_of, find_optimum, halved, newton_step, orthonormal

POINTS = load_points()


def points_of(X, t):
    X = np.atleast_2d(np.asarray(X, dtype=float))
    names = tuple(f"x{i + 1}" for i in range(X.shape[1]))
    return Points("made", np.column_stack([X, np.ones(len(X))]), np.asarray(t, dtype=float), names, "added")


def separation(signed):
    """By linear programs: is there w with every margin at least 1; else one with none negative and some positive?"""
    free = [(None, None)] * signed.shape[1]
    if linprog(np.zeros(signed.shape[1]), A_ub=-signed, b_ub=-np.ones(len(signed)), bounds=free).status == 0:
        return "complete"
    box = [(-1, 1)] * signed.shape[1]
    best = linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=box)
    return "quasi-complete" if -best.fun > 1e-7 else None


@pytest.mark.parametrize("points", [POINTS, center(POINTS)], ids=["as read", "centred"])
def test_the_optimum_is_scikit_learns_unpenalised_one(points):
    oracle = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky", max_iter=200).fit(
        points.X[:, :2], points.t
    )
    found = find_optimum(points)
    assert_allclose(found.optimum.w, [*oracle.coef_[0], oracle.intercept_[0]], atol=1e-6)
    assert np.linalg.norm(gradient(points, found.optimum.w)) < 1e-14


def test_centring_moves_only_the_bias():
    raw, centred = find_optimum(POINTS).optimum, find_optimum(center(POINTS)).optimum
    assert_allclose(raw.w[:2], centred.w[:2], rtol=1e-10)
    assert_allclose(raw.nll, centred.nll, rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_separation_is_what_linear_programs_say(data):
    count, width = data.draw(st.integers(3, 10)), data.draw(st.integers(1, 3))
    X = data.draw(arrays(np.float64, (count, width), elements=st.integers(-3, 3)))
    t = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count).filter(lambda t: len(set(t)) == 2))
    points = points_of(X, t)
    found = find_optimum(points)
    assert found.separation == separation(points.signed)
    if found.separation:
        assert found.optimum.w is None
        assert (points.signed @ found.direction).min() > -1e-6
        assert (points.signed @ found.direction).max() > 0
    else:
        assert np.linalg.norm(gradient(points, found.optimum.w)) < 1e-8


def test_the_infimum_under_quasi_complete_separation_is_that_of_the_points_on_the_line():
    found = find_optimum(points_of([[-1], [0], [0], [1]], [0, 0, 1, 1]))
    assert found.separation == "quasi-complete"
    assert_allclose(found.optimum.nll, np.log(2) / 2, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-90, 1e-3, 1e90])
def test_units_do_not_matter(scale):
    X, t = np.array([[1.0], [2.0], [3.0], [4.0]]), [0, 1, 0, 1]
    plain, scaled = find_optimum(points_of(X, t)).optimum, find_optimum(points_of(scale * X, t)).optimum
    assert_allclose(scaled.nll, plain.nll, rtol=1e-14)
    assert_allclose(scaled.w * [scale, 1], plain.w, rtol=1e-10)


def test_collinear_features_have_the_error_of_one_of_them():
    X, t = np.array([[1.0], [2.0], [3.0], [4.0]]), [0, 1, 0, 1]
    one, both = find_optimum(points_of(X, t)), find_optimum(points_of(np.hstack([X, 2 * X]), t))
    assert (one.rank, both.rank) == (2, 2)
    assert_allclose(both.optimum.nll, one.optimum.nll, rtol=1e-14)


def test_the_error_falls_in_every_step():
    result = solve(POINTS)
    errors = [state.nll for state in result.path]
    assert all(after <= before * (1 + 1e-13) for before, after in pairwise(errors))
    assert_allclose(result.nll, mean_error(POINTS, result.w), rtol=1e-14)


@given(far=arrays(np.float64, 3, elements=st.floats(-300, 300)))
def test_halving_lowers_the_error_from_wherever_the_full_step_would_raise_it(far):
    Q, _ = orthonormal(POINTS.signed)
    slope, step = newton_step(Q, far)
    length = halved(Q, far, step, -float(slope @ step))
    assert 0 < length <= 1
    assert error_of(Q, far + length * step) < error_of(Q, far) or np.linalg.norm(slope) < 1e-9


def test_a_full_step_from_the_flat_end_is_too_long():
    Q, _ = orthonormal(POINTS.signed)
    far = np.full(3, 100.0)
    slope, step = newton_step(Q, far)
    assert error_of(Q, far + step) > error_of(Q, far)
    assert halved(Q, far, step, -float(slope @ step)) < 1


def texts(result):
    return " ".join(finding.text for finding in result.findings)


def test_findings_say_what_kind_of_optimum_there_is():
    assert "The least error is 0.205" in texts(solve(POINTS))
    assert "no optimum" not in texts(solve(POINTS))
    separable = solve(points_of([[-2], [-1], [1], [2]], [0, 0, 1, 1]))
    assert "can be separated without a mistake" in texts(separable)
    assert "least error is" not in texts(separable)
    assert "falls towards 0.3466" in texts(solve(points_of([[-1], [0], [0], [1]], [0, 0, 1, 1])))
    assert "linearly dependent (rank 2 of 3)" in texts(solve(points_of([[1, 2], [2, 4], [3, 6], [4, 8]], [0, 1, 0, 1])))
