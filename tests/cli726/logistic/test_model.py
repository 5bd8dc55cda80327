"""Loss, gradient and curvature against differences, log_loss, mpmath and exact limits; steps against plain loops."""

from __future__ import annotations

from itertools import islice, pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss

from cli726.logistic import load_points, model
from tests.cli726.logistic.cases import drawn, loss, points_of

POINTS = load_points()
START = np.array([0.1, 0.0, 0.0])


@given(w=arrays(np.float64, 3, elements=st.floats(-3, 3)))
def test_derivatives_agree_with_central_differences(w):
    step = 6e-6
    beside = [(w + step * unit, w - step * unit) for unit in np.eye(3)]
    for function, found in ((model.losses, model.gradients), (model.gradients, model.hessian)):
        slopes = [(function(POINTS, up) - function(POINTS, down)) / (2 * step) for up, down in beside]
        assert_allclose(found(POINTS, w), slopes, rtol=1e-6, atol=1e-8)
    assert model.largest_eigenvalue(model.hessian(POINTS, w)) <= model.curvature_bound(POINTS) * (1 + 1e-12)


def test_the_bound_is_met_where_every_probability_is_a_half():
    flat = model.largest_eigenvalue(model.hessian(POINTS, np.zeros(3)))
    assert_allclose(flat, model.curvature_bound(POINTS), rtol=1e-12)


@given(w=arrays(np.float64, 3, elements=st.floats(-0.5, 0.5)))
def test_loss_is_scikit_learns_log_loss(w):
    assert_allclose(model.losses(POINTS, w), log_loss(POINTS.t, model.sigmoid(POINTS.X @ w)), rtol=1e-10)


def test_many_losses_and_gradients_are_each():
    W = np.random.default_rng(0).standard_normal((4, 700, 3))
    for function in (model.losses, model.gradients):
        whole = function(POINTS, W)
        assert whole.shape[:2] == (4, 700)
        for at in ((3, 699), (0, 0), (1, 350)):
            assert_allclose(whole[at], function(POINTS, W[at]), rtol=1e-13)


@given(a=st.floats(-700, 700))
def test_sigmoid_and_softplus_keep_their_relative_precision(a):
    assert_allclose(model.sigmoid(np.array(a)), np.exp(-np.logaddexp(0, -a)), rtol=1e-12)
    assert_allclose(model.softplus(np.array(a)), np.logaddexp(0, a), rtol=1e-14)


def test_losses_are_as_exact_as_is_said_of_them():
    for seed in range(200):
        points = drawn(seed)
        w = np.random.default_rng(seed).normal(size=points.X.shape[1]) * 10.0 ** (seed % 9 - 4)
        found = model.losses(points, w)
        error = model.rounding(points, w, found)
        assert abs(found - loss(points, w)) <= error < 1e-12 * (1 + np.abs(points.X).max() * np.abs(w).max())


def test_mean_variance_is_the_integral():
    """The curvature's closed form and its series, beside quadrature of sigma' in 500 panels of 12 nodes."""
    nodes, shares = np.polynomial.legendre.leggauss(12)
    s = (np.arange(500)[:, None] + (nodes + 1) / 2) / 500
    for a in (-30.0, -2.0, -0.3, 0.0, 0.7, 5.0, 40.0):
        for reach in (0.0, 1e-9, 0.02, -0.049, 0.051, -1.0, 7.0, -60.0, 200.0):
            heights = 2 * (1 - s) / (4 * np.cosh((a - s * reach) / 2) ** 2)
            found = model.mean_variance(np.array(a), np.array(reach))
            assert_allclose(found, (heights * shares / 1000).sum(), rtol=5e-12)


@pytest.mark.parametrize("eta", [0.01, 0.5, 5.0, 300.0])
def test_measured_curvature_predicts_the_change_of_the_loss(eta):
    path = model.descend(POINTS, [eta], START, 60, 0.0)[0]
    slopes = model.gradients(POINTS, path.w[:-1])
    q = model.step_curvature(POINTS, path.w[:-1], slopes, eta)
    predicted = -eta * (slopes**2).sum(axis=1) * (1 - eta * q / 2)
    assert_allclose(predicted, np.diff(path.losses), rtol=0, atol=1e-12 * np.abs(path.w).max())
    assert np.isnan(model.step_curvature(POINTS, START[None], np.zeros((1, 3)), eta)).all()


def plainly(points, eta, start, order_of_epochs, size):
    """The weights after one update upon the other, by the gradient that the other tests have checked."""
    w = start
    for order in order_of_epochs:
        for first in range(0, len(order), size):
            batch = order[first : first + size]
            w = w - eta * model.gradients(points_of(points.X[batch, :-1], points.t[batch]), w)
    return w


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 60), size=st.integers(1, 60), width=st.integers(1, 4), seed=st.integers(0, 99))
def test_lockstep_is_one_run_after_the_other_for_any_size_of_batch_and_data(count, size, width, seed):
    size, rng, etas = min(size, count), np.random.default_rng(seed), [0.3, 0.05]
    points = points_of(rng.standard_normal((count, width)), np.append([0, 1], rng.integers(0, 2, count - 2)))
    start = np.full(width + 1, 0.1)
    with patch.object(model, "GATHERED", int(rng.choice([1, 40, 1 << 17]))):
        paths = list(model.stochastic_paths(points, etas, start, 3, size, seed, 2))
    assert [done for done, _ in paths] == [0, *model.checkpoints(count, size), 2 * count, 3 * count]
    sequence = list(islice(model.orders(seed, 2, count), 3))
    for epochs, (_, ended) in enumerate(paths[-3:], 1):
        for rate, shuffle in ((0, 1), (1, 0)):
            expected = plainly(points, etas[rate], start, [order[:, shuffle] for order in sequence[:epochs]], size)
            assert_allclose(ended[rate, shuffle], expected, rtol=0, atol=1e-11)


def test_every_epoch_has_a_fresh_order_of_all_points_whatever_the_number_of_shuffles():
    drawn_orders = list(islice(model.orders(0, 4, 200), 5))
    for order in drawn_orders:
        assert_array_equal(np.sort(order, axis=0), np.repeat(np.arange(200)[:, None], 4, axis=1))
    assert len({tuple(order[:, shuffle]) for order in drawn_orders for shuffle in range(4)}) == 20
    few, other = next(model.orders(0, 2, 200)), next(model.orders(1, 2, 200))
    assert_array_equal(few, drawn_orders[0][:, :2])
    assert not np.array_equal(few, other)


@given(count=st.integers(1, 500), size=st.integers(1, 500))
def test_checkpoints_are_whole_batches(count, size):
    marks = model.checkpoints(count, size := min(size, count))
    assert (marks[0], marks[-1]) == (size, count)
    assert all(mark % size == 0 for mark in marks[:-1])
    assert all(one < two for one, two in pairwise([0, *marks]))


def test_a_batch_of_all_points_is_gradient_descent():
    *_, (_, end) = model.stochastic_paths(POINTS, [0.3, 0.1], START, 40, 200, 0, 2)
    for rate, path in enumerate(model.descend(POINTS, [0.3, 0.1], START, 40, 0.0)):
        assert_allclose(end[rate, 1], path.w[-1], rtol=1e-9)
