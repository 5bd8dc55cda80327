"""The minimum against scikit-learn; separation against linear programmes and exact extreme rays."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from scipy.optimize import linprog
from sklearn.linear_model import LogisticRegression

from cli726.logistic import center, document, load_points, solve
from cli726.logistic.model import gradients, losses
from cli726.logistic.optimum import halved, loss_of, newton_step, separate, separates, standardised, whole_rows
from tests.cli726.logistic.cases import dot, drawn, exact, points_of, separation

POINTS = load_points()


def programme(signed):
    """By linear programmes: is there w with every margin at least 1; else one with none negative and some positive?"""
    free = [(None, None)] * signed.shape[1]
    if linprog(np.zeros(signed.shape[1]), A_ub=-signed, b_ub=-np.ones(len(signed)), bounds=free).status == 0:
        return "complete"
    box = [(-1, 1)] * signed.shape[1]
    best = linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=box)
    return "quasi-complete" if -best.fun > 1e-7 else None


def test_the_minimum_is_scikit_learns_unpenalised_one_and_centring_moves_only_its_bias():
    minima = [solve(POINTS), solve(center(POINTS))]
    for points, found in zip((POINTS, center(POINTS)), minima, strict=True):
        oracle = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky", max_iter=200)
        oracle.fit(points.X[:, :2], points.t)
        assert_allclose(found.w, [*oracle.coef_[0], oracle.intercept_[0]], atol=1e-6)
        assert np.linalg.norm(gradients(points, found.w)) < 1e-14
    assert_allclose(minima[0].w[:2], minima[1].w[:2], rtol=1e-10)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_separation_is_what_linear_programmes_say(data):
    count, width = data.draw(st.integers(3, 10)), data.draw(st.integers(1, 4))
    X = data.draw(arrays(np.float64, (count, width), elements=st.integers(-3, 3)))
    t = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count).filter(lambda t: len(set(t)) == 2))
    points = points_of(X, t)
    found = solve(points)
    assert found.separation == programme(points.signed)
    assert found.rank == np.linalg.matrix_rank(points.X)
    if not found.separation:
        assert np.linalg.norm(gradients(points, found.w)) < 1e-8


def test_separation_rank_and_boundary_are_exact_for_any_spread():
    kinds = []
    for seed in range(300):
        points, rng = drawn(seed), np.random.default_rng(seed)
        kind, boundary, rank = separation(points)
        rows, scales = whole_rows(points.signed)
        restored = [[value / scale for value, scale in zip(row, scales, strict=True)] for row in rows.tolist()]
        assert restored == exact(points)
        direction, found, known = separate(rows, scales, rng.uniform(size=len(rows)))  # any shares
        assert (found, known) == (boundary, rank)
        assert (direction is None) == (kind is None)
        if direction is not None:
            sides = [dot(row, direction) for row in exact(points)]
            assert [side > 0 for side in sides] == [n not in boundary for n in range(len(rows))]
            assert min(sides) >= 0
        if kind != "complete":
            assert not separates(rows, scales, rng.normal(size=points.X.shape[1]))
        kinds.append(kind)
    assert min(kinds.count(kind) for kind in (None, "complete", "quasi-complete")) > 5
    assert separates(*whole_rows(points_of([[-1], [1]], [0, 1]).signed), np.array([1.0, 0.0]))
    assert not separates(*whole_rows(points_of([[-1], [0]], [0, 1]).signed), np.array([1.0, 0.0]))
    assert not separates(*whole_rows(points_of([[-1], [1]], [0, 1]).signed), np.array([np.inf, 0.0]))


def test_the_infimum_under_quasi_complete_separation_is_that_of_the_points_on_the_line():
    found = solve(points_of([[-1], [0], [0], [1]], [0, 0, 1, 1]))
    assert found.separation == "quasi-complete"
    assert_allclose(found.nll, np.log(2) / 2, rtol=1e-12)
    assert_allclose(found.direction, [1, 0])


def test_thirty_features_are_quick():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 30)).round(4)
    t = (X[:, 0] + rng.normal(size=300) > 0).astype(int)
    assert solve(points_of(X, t)).separation is None
    X[:, 1] = np.arange(300) < 3  # a dummy variable of one class alone
    t[:3] = 1
    assert solve(points_of(X, t)).separation == "quasi-complete"
    assert solve(points_of(X, X[:, 2] > 0)).separation == "complete"


@pytest.mark.parametrize("scale", [1e-90, 1e-3, 1e90])
def test_units_do_not_matter(scale):
    X, t = np.array([[1.0], [2.0], [3.0], [4.0]]), [0, 1, 0, 1]
    plain, scaled, both = solve(points_of(X, t)), solve(points_of(scale * X, t)), solve(points_of(X @ [[1, 2]], t))
    assert_allclose([scaled.nll, both.nll], plain.nll, rtol=1e-14)  # nor does a feature that says the same
    assert_allclose(scaled.w * [scale, 1], plain.w, rtol=1e-10)
    assert (plain.rank, both.rank, both.condition) == (2, 2, None)


def test_no_spread_is_too_wide():
    for scale in (1e-300, 1e-100, 1.0):
        found = solve(points_of([[scale], [2 * scale], [3 * scale], [1e100]], [0, 1, 0, 1]))
        assert found.separation is None
        assert 0 < found.nll <= np.log(2)
    assert solve(points_of([[1e-300], [2e-300], [1e100]], [0, 1, 1])).separation == "complete"


def test_the_loss_falls_in_every_step():
    result = solve(POINTS)
    assert all(after.nll <= before.nll * (1 + 1e-13) for before, after in pairwise(result.path))
    assert [state.step for state in result.path] == [1] * result.iterations + [0]
    for state, w in ((result.path[0], np.zeros(3)), (result.path[-1], result.w)):
        assert_allclose(state.nll, losses(POINTS, w), rtol=1e-12)
        assert_allclose(state.gradient_norm, np.linalg.norm(gradients(POINTS, w)), rtol=1e-6, atol=1e-15)


def test_tables_leave_out_what_a_screen_has_no_room_for():
    result, rng = solve(POINTS), np.random.default_rng(0)
    steps, weights = document(result).tables
    assert [row[0] for row in steps.rows] == [str(step) for step in range(9)]
    assert steps.rows[0] == ("0", "0.6931471806", "6.55e-01", "1")
    assert (weights.columns, weights.rows[0]) == (["weight", "minimum"], ["x1", "2.15442"])
    steps, _ = document(replace(result, path=[*result.path] * 4)).tables
    assert [row[0] for row in steps.rows] == [*map(str, range(12)), "...", *map(str, range(24, 36))]
    for width, said in ((6, "features x1, x2, x3, x4, x5, x6;"), (7, "features 7 of them;")):
        points = points_of(rng.normal(size=(20, width)), [0, 1] * 10)
        assert said in document(solve(points)).lead[0]


@given(far=arrays(np.float64, 3, elements=st.floats(-5, 5)))
def test_halving_lowers_the_loss_from_wherever_the_full_step_would_raise_it(far):
    A, _ = standardised(POINTS)
    slope, step = newton_step(A, far)
    length = halved(A, far, step, -float(slope @ step))
    assert 0 < length <= 1
    assert length == 1 or loss_of(A, far + 2 * length * step) > loss_of(A, far) + 2e-4 * length * (slope @ step)
    assert loss_of(A, far + length * step) < loss_of(A, far) or np.linalg.norm(slope) < 1e-9
