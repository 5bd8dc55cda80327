"""Gradient descent against the course's update written out; measured curvature; findings that follow the data."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cli726.errors import RequestError
from cli726.logistic import Points, center, compare, gradient_descent, load_points
from cli726.logistic.curvature import gradients, step_curvature
from cli726.logistic.descent import slope_intercept
from cli726.logistic.lockstep import descend
from cli726.logistic.model import curvature_bound, mean_errors
from cli726.logistic.results import settled

POINTS = load_points()
RATES = (0.5, 0.3, 0.1, 0.05, 0.01)
START = np.array([0.1, 0.0, 0.0])


def course(X, t, eta, max_iter=500, tol=1e-5):
    """The course's loop in plain Python: error, update, then the test; fsum, so that it rounds in its own way."""
    w, errors, path = [0.1, 0.0, 0.0], [], [[0.1, 0.0, 0.0]]
    for epoch in range(max_iter):
        y = [1 / (1 + math.exp(-sum(a * b for a, b in zip(x, w, strict=True)))) for x in X]
        errors.append(
            -math.fsum(math.log(p) if label else math.log1p(-p) for p, label in zip(y, t, strict=True)) / len(t)
        )
        slopes = [
            math.fsum((p - label) * x[i] for p, label, x in zip(y, t, X, strict=True)) / len(t) for i in range(len(w))
        ]
        w = [weight - eta * slope for weight, slope in zip(w, slopes, strict=True)]
        path.append(w)
        if epoch > 0 and abs(errors[-1] - errors[-2]) < tol:
            break
    return np.array(errors), np.array(path)


@cache
def drawn(seed):
    """Points from the same two distributions as the bundled ones."""
    rng = np.random.default_rng(seed)
    X = [
        mean + rng.standard_normal((100, 2)) @ np.linalg.cholesky(covariance).T
        for mean, covariance in (
            ((4.98, 0.94), ((2.78, 2.08), (2.08, 3.91))), ((6.93, -0.87), ((2.00, 1.27), (1.27, 2.51))),
        )
    ]  # fmt: skip
    return Points(
        f"seed {seed}", np.column_stack([np.vstack(X), np.ones(200)]), np.repeat([0.0, 1.0], 100), ("x1", "x2"), ""
    )


def texts(result):
    return " ".join(finding.text for finding in result.findings)


@pytest.mark.parametrize("points", [POINTS, center(POINTS)], ids=["as read", "centred"])
def test_all_five_rates_are_the_courses_update_to_1e_12(points):
    for path in descend(points, RATES, START, 500, 1e-5):
        errors, weights = course(points.X.tolist(), points.t.tolist(), path.eta)
        assert len(path.nll) == len(errors)
        assert_allclose(path.nll, errors, rtol=0, atol=1e-12)
        assert_allclose(path.w, weights, rtol=0, atol=1e-12)


def test_a_few_steps_are_torchs():
    w = torch.tensor(START, requires_grad=True)
    X, t = torch.tensor(POINTS.X), torch.tensor(POINTS.t)
    path = descend(POINTS, [0.3], START, 20, 0.0)[0]
    for epoch in range(20):
        error = torch.nn.functional.binary_cross_entropy_with_logits(X @ w, t)
        assert_allclose(path.nll[epoch], error.item(), rtol=1e-12)
        (slope,) = torch.autograd.grad(error, w)
        w = (w - 0.3 * slope).detach().requires_grad_()
    assert_allclose(path.w[20], w.detach().numpy(), rtol=1e-11)


def test_company_does_not_change_a_run():
    together = descend(POINTS, RATES, START, 300, 1e-4)
    for eta, path in zip(RATES, together, strict=True):
        alone = descend(POINTS, [eta], START, 300, 1e-4)[0]
        assert path.stop == alone.stop
        assert_allclose(path.w, alone.w, rtol=0, atol=1e-11)


def test_the_order_is_error_update_test():
    result = gradient_descent(center(POINTS), 0.5)
    assert result.converged
    assert len(result.nll) == result.epochs
    assert len(result.w) == result.epochs + 1
    assert abs(result.nll[-1] - result.nll[-2]) < 1e-5 <= abs(result.nll[-2] - result.nll[-3])
    assert_allclose(mean_errors(center(POINTS), result.w)[:-1], result.nll, rtol=1e-12)
    assert result.w[0].tolist() == START.tolist()


@pytest.mark.parametrize("eta", [0.01, 0.5, 5.0, 300.0])
def test_measured_curvature_predicts_the_change_of_the_error(eta):
    path = descend(POINTS, [eta], START, 60, 0.0)[0]
    slopes = gradients(POINTS, path.w[:-1])
    q = step_curvature(POINTS, path.w[:-1], slopes, eta)
    predicted = -eta * (slopes**2).sum(axis=1) * (1 - eta * q / 2)
    changes = np.diff(mean_errors(POINTS, path.w))
    assert_allclose(predicted, changes, rtol=0, atol=1e-13 * np.abs(path.w).max() * 10)


def test_rises_are_exactly_where_eta_q_exceeds_2():
    for run in compare(POINTS, (1.0, *RATES)).runs:
        rose = np.flatnonzero(np.diff(run.nll) > 0) + 1
        assert_array_equal(run.rises, rose)
        assert_array_equal(np.flatnonzero(run.eta_q[:-1] > 2) + 1, rose)
        assert run.unexplained == ()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 0.99))
def test_below_2_over_the_bound_no_step_raises_the_error(seed, share):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(rng.uniform(-5, 5, 2), rng.uniform(0.1, 4, 2), (30, 2)), np.ones(30)])
    t = np.append([0.0, 1.0], rng.integers(0, 2, 28))
    points = Points("random", X, t, ("x1", "x2"), "added")
    path = descend(points, [share * 2 / curvature_bound(points)], START, 200, 0.0)[0]
    assert (np.diff(path.nll) <= 1e-14).all()


def test_the_default_descent_oscillates_and_says_why():
    result = gradient_descent(POINTS)
    said = texts(result)
    assert "oscillates because its steps overshoot" in said
    assert f"rose in {len(result.rises)} of {result.epochs - 1} steps" in said
    assert "exactly in these" in said
    assert result.lambda_max.bound >= result.lambda_max.start > result.lambda_max.optimum
    assert result.centred.rises == 0 < result.as_read.rises
    assert result.centred.condition < result.as_read.condition / 100


def test_centred_data_do_not_oscillate_and_nothing_claims_it():
    for result in (gradient_descent(POINTS, centered=True), gradient_descent(center(POINTS))):
        assert result.rises == result.reversals == ()
        assert "oscillates" not in texts(result)
        assert "overshoot" not in texts(result)
        assert "against the one before" not in texts(result)
        assert "never rose" in texts(result)
    # On inputs that are centred already there is nothing for --center to change.
    assert "--center" not in texts(gradient_descent(center(POINTS)))


def test_a_small_rate_is_guaranteed_and_a_large_one_is_not():
    assert "no step can raise the error" in texts(gradient_descent(POINTS, 0.1))
    assert "steps may raise the error" in texts(gradient_descent(POINTS, 0.5))
    assert "it can settle at the optimum" in texts(gradient_descent(POINTS, 0.5))
    assert "it can't settle at the optimum" in texts(gradient_descent(POINTS, 1.5))


def test_false_stops_are_named():
    # Here a rise and a fall cancel at 0.5; on the bundled points they never do.
    result = gradient_descent(drawn(2), 0.5)
    assert result.converged
    assert result.false_stop
    assert result.gradient_norm > 0.1
    assert "The stop is false" in texts(result)
    assert not gradient_descent(POINTS).false_stop
    assert "is false" in texts(compare(drawn(2)))


def test_early_stops_are_named_and_are_not_false():
    result = gradient_descent(POINTS, 0.01, tol=1e-3)
    assert result.converged
    assert not result.false_stop
    assert "The stop is early" in texts(result)


def test_tolerance_0_never_stops_even_at_the_bottom():
    result = gradient_descent(center(POINTS), 1.0, max_epochs=3000, tol=0)
    assert result.epochs == 3000
    assert not result.converged
    assert result.gap < 1e-12
    assert "oscillates" not in texts(result)
    assert "against the one before" not in texts(result)


def test_slopes_are_undefined_where_w2_is_0_and_right_elsewhere():
    lines = slope_intercept(POINTS, np.array([[0.1, 0, 0], [1, 2, 3], [1, -4, 2]]))
    assert np.isnan(lines[0]).all()
    assert_allclose(lines[1:], [[-0.5, -1.5], [0.25, 0.5]])
    result = gradient_descent(POINTS)
    on_line = result.slope_intercept[-1] @ [5, 1]
    assert_allclose(result.w[-1] @ [5, on_line, 1], 0, atol=1e-12)
    assert "undefined in epoch 0" in texts(result)
    assert "undefined" not in texts(gradient_descent(POINTS, start=[0.1, 0.2, 0]))


def test_other_numbers_of_features_have_no_slope():
    one = Points("one", POINTS.X[:, [0, 2]], POINTS.t, ("x1",), "added")
    result = gradient_descent(one)
    assert result.slope_intercept is None
    assert result.w.shape[1] == 2


def test_separable_points_are_said_to_have_no_optimum():
    X = np.array([[1, 2, 1], [2, 3, 1], [5, 1, 1], [6, 2, 1.0]])
    result = gradient_descent(Points("apart", X, np.array([0, 0, 1, 1.0]), ("x1", "x2"), "added"))
    assert result.optimum.w is None
    assert result.lambda_max.optimum is None
    assert result.as_read.condition is None
    assert "there is no optimum" in texts(result)
    assert "above the limit 0" in texts(result)


def test_overflow_is_a_divergence_and_hides_nothing_else():
    comparison = compare(POINTS, [1e308, 0.1])
    lost, kept = comparison.runs
    assert lost.diverged
    assert not lost.converged
    assert "diverged" in texts(comparison)
    assert_allclose(kept.nll, compare(POINTS, [0.1]).runs[0].nll, rtol=0, atol=1e-12)


def test_comparison_names_the_rates_that_rose_and_those_that_never_did():
    result = compare(POINTS)
    rough = [run.eta for run in result.runs if run.rises]
    said = texts(result)
    assert rough == [0.5, 0.3]
    assert f"rose at eta = 0.5 ({len(result.runs[0].rises)} times) and 0.3" in said
    assert "never rose at eta = 0.1, 0.05 and 0.01" in said
    nearest = min(result.runs, key=lambda run: run.gap)
    assert f"In the end eta = {nearest.eta:g} is nearest" in said
    assert "price of large steps" not in texts(compare(POINTS, centered=True))


@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.floats(0, 2), st.integers(1, 5))
def test_settled_is_the_first_position_from_which_all_is_near(gap, level, hold):
    position = settled(np.array(gap), level, hold)
    starts = [i for i in range(len(gap)) if all(value <= level for value in gap[i:])]
    assert position == (starts[0] if starts and len(gap) - starts[0] >= hold else None)


@pytest.mark.parametrize("eta", [0, -1, math.nan, math.inf])
def test_rates_that_are_none_are_refused(eta):
    with pytest.raises(RequestError, match="--eta must be a finite learning rate above 0"):
        gradient_descent(POINTS, eta)


@pytest.mark.parametrize("bad", [{"tol": -1}, {"tol": math.nan}, {"max_epochs": 0}, {"start": [1, 2]}])
def test_other_bad_requests_are_refused(bad):
    with pytest.raises(RequestError):
        gradient_descent(POINTS, **bad)
