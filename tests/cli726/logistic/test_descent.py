"""Gradient descent against the course's update written out; what is measured of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cli726.errors import RequestError
from cli726.logistic import center, compare, document, gradient_descent, load_points
from cli726.logistic.descent import LEVELS, settled, slope_intercept, slope_turns
from cli726.logistic.model import curvature_bound, descend, gradients, hessian, losses
from tests.cli726.logistic.cases import points_of

POINTS, RATES, START = load_points(), (0.5, 0.3, 0.1, 0.05, 0.01), np.array([0.1, 0.0, 0.0])
DEFAULT, COMPARED = gradient_descent(POINTS), compare(POINTS)


def course(X, t, eta, max_iter=500, tol=1e-5):
    """The course's loop in plain Python: error, update, then the test; fsum, so that it rounds in its own way."""
    w, errors, path = [0.1, 0.0, 0.0], [], [[0.1, 0.0, 0.0]]
    for epoch in range(max_iter):
        y = [1 / (1 + math.exp(-sum(a * b for a, b in zip(x, w, strict=True)))) for x in X]
        parts = [math.log(p) if label else math.log1p(-p) for p, label in zip(y, t, strict=True)]
        errors.append(-math.fsum(parts) / len(t))
        for i, weight in enumerate(w.copy()):
            w[i] = weight - eta * math.fsum((p - label) * x[i] for p, label, x in zip(y, t, X, strict=True)) / len(t)
        path.append(w.copy())
        if epoch > 0 and abs(errors[-1] - errors[-2]) < tol:
            break
    return np.array(errors), np.array(path)


def texts(result):
    return " ".join(finding.text for finding in result.findings)


@pytest.mark.parametrize("points", [POINTS, center(POINTS)], ids=["as read", "centred"])
def test_all_five_rates_are_the_courses_update_to_1e_12(points):
    for path in descend(points, RATES, START, 500, 1e-5):
        errors, weights = course(points.X.tolist(), points.t.tolist(), path.eta)
        assert len(path.losses) == len(errors) + 1
        assert_allclose(path.losses[:-1], errors, rtol=0, atol=1e-12)
        assert_allclose(path.w, weights, rtol=0, atol=1e-12)


def test_what_is_measured_of_the_default_descent():
    result, everything = DEFAULT, np.append(DEFAULT.nll, DEFAULT.final)
    rose = np.flatnonzero(np.diff(everything) > 0) + 1
    assert_array_equal(result.risen, rose)
    assert_array_equal(result.rises, rose[rose < 500])
    assert_array_equal(np.flatnonzero(result.eta_q > 2) + 1, rose)
    assert result.unexplained == ()
    assert result.largest_eta_q == result.eta_q.max()
    assert result.turns == slope_turns(-result.w[1:, 0] / result.w[1:, 1]) > 100
    assert_allclose(losses(POINTS, result.w), everything, rtol=1e-12)
    assert_allclose(result.gradient_norm, np.linalg.norm(gradients(POINTS, result.w[-1])))
    assert_allclose(result.gap, result.final - result.optimum.nll, rtol=1e-12)
    assert result.lambda_max.bound == curvature_bound(POINTS)
    for at, w in (("start", result.w[0]), ("end", result.w[-1]), ("optimum", result.optimum.w)):
        assert_allclose(getattr(result.lambda_max, at), np.linalg.eigvalsh(hessian(POINTS, w))[-1])
    for reached, level in zip(result.within, LEVELS, strict=True):
        inside = [k for k in range(501) if (everything[k:] - result.optimum.nll <= level).all()]
        assert (reached.level, reached.evaluations) == (level, 200 * inside[0] if inside else None)
    assert result.centred.rises == 0 < result.as_read.rises == len(rose)
    assert result.centred.nll == gradient_descent(center(POINTS)).final


def test_one_loss_is_stated_everywhere():
    alone, together = gradient_descent(POINTS, 0.1), COMPARED.runs[2]
    assert alone.final == together.final
    (table,) = document(COMPARED).tables
    assert f"the loss is {alone.final:.4g}" in texts(alone)
    assert f"{alone.final:.4g}" in next(row for row in table.rows if row[0] == "0.1")


def test_the_default_answers_are_the_assignments():
    said = texts(DEFAULT)
    assert "It oscillates because steps overshoot: the loss rose in 130 of 500 steps, exactly where eta q > 2" in said
    assert "because the inputs lie away from the origin" in said
    said = texts(COMPARED)
    assert "Large rates overshoot: the loss rose in 130 steps at rate 0.5 and 46 steps at rate 0.3." in said
    assert "Small rates are safe but slow. The loss never rose at rates 0.1, 0.05 and 0.01" in said
    assert "too slow to come within 0.03 of the minimum in 500 epochs; rate 0.5 does in 290." in said
    assert "Prefer rate 0.5 here" in said
    assert "within 0.3: rate 0.3 (59 epochs; 4 of 5 rates reach it)" in said


def test_rounding_is_no_rise():
    result = compare(center(POINTS), (1.0, 0.5), max_epochs=3000, tol=0)
    for run in result.runs:
        assert run.epochs == 3000
        assert run.rises  # in the last digits it does rise
        assert run.risen == run.unexplained == ()
        assert run.gap == 0
    assert "rose in" not in texts(result)
    assert "All rates end alike, at the minimum, to rounding." in texts(result)


def test_false_stops_cross_the_valley():
    rng, covariances = np.random.default_rng(2), (((2.78, 2.08), (2.08, 3.91)), ((2.00, 1.27), (1.27, 2.51)))
    spread = [rng.standard_normal((100, 2)) @ np.linalg.cholesky(covariance).T for covariance in covariances]
    X = np.vstack([np.add((4.98, 0.94), spread[0]), np.add((6.93, -0.87), spread[1])])
    result = gradient_descent(points_of(X, np.repeat([0, 1], 100)), 0.5)
    assert result.converged
    assert result.false_stop
    assert "by a step that crossed the valley" in texts(result)
    early = gradient_descent(POINTS, 0.01, tol=1e-3)
    assert early.converged
    assert not early.false_stop
    assert "ended too early: rate 0.01 after" in texts(early)


def test_slopes_are_undefined_where_w2_is_0_and_right_elsewhere():
    lines = slope_intercept(POINTS, np.array([[0.1, 0, 0], [1, 2, 3], [1, -4, 2]]))
    assert_allclose(lines, [[np.nan, np.nan], [-0.5, -1.5], [0.25, 0.5]])
    assert slope_turns(np.array([np.nan, 1, 2, 1, 1, 3, 3 + 1e-16])) == 2
    assert "no slope" not in texts(gradient_descent(POINTS, start=[0.1, 0.2, 0]))


def test_overflow_is_a_divergence_and_hides_nothing_else():
    lost, kept = compare(POINTS, [1e308, 0.1]).runs
    assert lost.diverged
    assert not lost.converged
    assert lost.lambda_max.end is None
    assert lost.stop == "the numbers grew beyond the largest float in epoch 1"  # the weights in 0, activations in 1
    assert not gradient_descent(POINTS, 1e308, max_epochs=1).converged
    assert gradient_descent(POINTS, 1e308, max_epochs=1, start=[10, 0, 0]).diverged  # the weights themselves
    assert_allclose(kept.nll, COMPARED.runs[2].nll, rtol=0, atol=1e-12)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.floats(0, 2), st.integers(1, 5), st.integers(1, 9))
def test_settled_is_the_first_position_from_which_all_is_near(gap, level, hold, cost):
    starts = [i for i in range(len(gap)) if all(value <= level for value in gap[i:])]
    expected = starts[0] * cost if starts and len(gap) - starts[0] >= hold else None
    assert settled(np.array(gap), level, cost, hold) == expected


@pytest.mark.parametrize(
    ("bad", "said"),
    [({"eta": eta}, "--eta must be a finite learning rate above 0") for eta in (0, -1, math.nan, math.inf)]
    + [({"tol": tol}, "--tol must be a finite") for tol in (-1, math.nan, math.inf)]
    + [({"start": start}, "must give finite") for start in ([np.nan, 0, 0], [np.inf, 0, 0], [1e101, 0, 0])]
    + [({"max_epochs": 0}, "at least 1"), ({"start": [1, 2]}, "3 weights, for x1, x2, bias, got 2")],
)
def test_bad_requests_are_refused(bad, said):
    with pytest.raises(RequestError, match=said):
        gradient_descent(POINTS, **bad)
