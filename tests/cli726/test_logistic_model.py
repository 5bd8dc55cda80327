"""Error, gradient and curvature against differences, log_loss and exact limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from cli726.errors import RequestError
from cli726.logistic import Points, load_points
from cli726.logistic.model import (
    choose_start,
    curvature_bound,
    gradient,
    hessian,
    largest_eigenvalue,
    mean_error,
    mean_errors,
    sigmoid,
    softplus,
)

POINTS = load_points()
WEIGHTS = arrays(np.float64, 3, elements=st.floats(-3, 3))


@given(w=WEIGHTS)
def test_gradient_agrees_with_central_differences(w):
    step = 6e-6
    differences = [
        (mean_error(POINTS, w + step * unit) - mean_error(POINTS, w - step * unit)) / (2 * step) for unit in np.eye(3)
    ]
    assert_allclose(gradient(POINTS, w), differences, rtol=1e-6, atol=1e-8)


@given(w=WEIGHTS)
def test_second_derivatives_agree_with_differences_of_the_gradient(w):
    step = 6e-6
    differences = [
        (gradient(POINTS, w + step * unit) - gradient(POINTS, w - step * unit)) / (2 * step) for unit in np.eye(3)
    ]
    assert_allclose(hessian(POINTS, w), differences, rtol=1e-6, atol=1e-8)


@given(w=WEIGHTS)
def test_no_curvature_exceeds_the_bound(w):
    assert largest_eigenvalue(hessian(POINTS, w)) <= curvature_bound(POINTS) * (1 + 1e-12)


def test_the_bound_is_met_where_every_probability_is_a_half():
    assert_allclose(largest_eigenvalue(hessian(POINTS, np.zeros(3))), curvature_bound(POINTS), rtol=1e-12)


@given(w=arrays(np.float64, 3, elements=st.floats(-0.5, 0.5)))
def test_error_is_scikit_learns_log_loss(w):
    assert_allclose(mean_error(POINTS, w), log_loss(POINTS.t, sigmoid(POINTS.X @ w)), rtol=1e-10)


def test_many_errors_are_each_error():
    W = np.random.default_rng(0).standard_normal((4, 700, 3))
    errors = mean_errors(POINTS, W)
    assert errors.shape == (4, 700)
    assert_allclose(errors[3, 699], mean_error(POINTS, W[3, 699]), rtol=1e-14)
    assert_allclose(errors[0, 0], mean_error(POINTS, W[0, 0]), rtol=1e-14)


def test_a_label_that_is_certainly_wrong_costs_its_activation_and_not_infinity():
    one = Points("one", np.array([[1e4, 1.0], [-1e4, 1.0]]), np.array([0.0, 1.0]), ("x1",), "added")
    assert_allclose(mean_error(one, np.array([1.0, 0.0])), 1e4, rtol=1e-15)
    assert mean_error(one, np.array([-1.0, 0.0])) == 0.0


@given(a=st.floats(-700, 700))
def test_sigmoid_and_softplus_keep_their_relative_precision(a):
    assert_allclose(sigmoid(np.array(a)), np.exp(-np.logaddexp(0, -a)), rtol=1e-12)
    assert_allclose(softplus(np.array(a)), np.logaddexp(0, a), rtol=1e-14)


@pytest.mark.parametrize("start", [[1, 2], [np.nan, 0, 0], [np.inf, 0, 0], [1e300, 0, 0]])
def test_starts_that_are_none_are_refused(start):
    with pytest.raises(RequestError, match="--start must give"):
        choose_start(POINTS, start)


def test_the_default_start_is_the_courses():
    assert choose_start(POINTS, None).tolist() == [0.1, 0, 0]
