"""Stochastic gradient descent in lockstep against one run after the other; what is said about its speed."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cli726.errors import RequestError
from cli726.logistic import Points, center, gradient_descent, load_points, stochastic, stochastic_descent
from cli726.logistic.lockstep import checkpoints, descend, orders, stochastic_paths
from cli726.logistic.model import gradient, mean_error

POINTS = load_points()
START = np.array([0.1, 0.0, 0.0])


def plainly(points, eta, order_of_epochs, size):
    """One run, one update after the other, by the gradient that the other tests have checked."""
    w, ends = START, []
    for order in order_of_epochs:
        for first in range(0, len(order), size):
            batch = order[first : first + size]
            w = w - eta * gradient(Points("batch", points.X[batch], points.t[batch], points.features, ""), w)
        ends.append(w)
    return np.array(ends)


@pytest.mark.parametrize("size", [1, 7, 200])
def test_lockstep_is_one_run_after_the_other(size):
    etas, epochs, shuffles = [0.5, 0.05], 3, 3
    paths = list(stochastic_paths(POINTS, etas, START, epochs, size, 5, shuffles))
    ends = np.array([weights for done, weights in paths if done and done % 200 == 0])
    drawn = list(islice(orders(5, shuffles, 200), epochs))
    for rate, eta in enumerate(etas):
        for shuffle in range(shuffles):
            expected = plainly(POINTS, eta, [order[:, shuffle] for order in drawn], size)
            assert_allclose(ends[:, rate, shuffle], expected, rtol=0, atol=1e-11)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 60), size=st.integers(1, 60), width=st.integers(1, 4), seed=st.integers(0, 99))
def test_lockstep_for_any_size_of_batch_and_data(count, size, width, seed):
    size = min(size, count)
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal((count, width)), np.ones(count)])
    t = np.append([0.0, 1.0], rng.integers(0, 2, count - 2))
    points = Points("random", X, t, tuple("abcd"[:width]), "added")
    start = np.full(width + 1, 0.1)
    *_, (done, ended) = stochastic_paths(points, [0.3], start, 2, size, seed, 2)
    assert done == 2 * count
    w = start
    for order in islice(orders(seed, 2, count), 2):
        for first in range(0, count, size):
            batch = order[first : first + size, 1]
            w = w - 0.3 * gradient(Points("batch", X[batch], t[batch], points.features, ""), w)
    assert_allclose(ended[0, 1], w, rtol=0, atol=1e-11)


def test_every_epoch_has_a_fresh_order_of_all_points():
    drawn = list(islice(orders(0, 4, 200), 5))
    for order in drawn:
        assert_array_equal(np.sort(order, axis=0), np.repeat(np.arange(200)[:, None], 4, axis=1))
    columns = [tuple(order[:, shuffle]) for order in drawn for shuffle in range(4)]
    assert len(set(columns)) == 20


def test_more_shuffles_leave_the_first_ones_alone_and_another_seed_does_not():
    few, many, other = (next(orders(seed, count, 50)) for seed, count in ((3, 2), (3, 9), (4, 2)))
    assert_array_equal(few, many[:, :2])
    assert not np.array_equal(few, other)


@given(count=st.integers(1, 500), size=st.integers(1, 500))
def test_checkpoints_are_ends_of_batches(count, size):
    marks = checkpoints(count, min(size, count))
    assert marks[-1] == count
    assert all(mark % min(size, count) == 0 for mark in marks[:-1])
    assert all(one < two for one, two in pairwise([0, *marks]))


def test_a_batch_of_all_points_is_gradient_descent():
    run = stochastic_descent(POINTS, [0.3], epochs=40, batch_size=200, shuffles=3).runs[0]
    assert_allclose(run.nll_median, descend(POINTS, [0.3], START, 41, 0.0)[0].nll, rtol=1e-9)
    assert_allclose(run.gradient_descent, run.nll_median, rtol=1e-9)


def test_bands_are_aligned_with_gradient_descent_at_equal_cost():
    result = stochastic_descent(POINTS, [0.1, 0.05], epochs=12, shuffles=5)
    reference = gradient_descent(POINTS, 0.05, max_epochs=13, tol=0)
    run = result.runs[1]
    assert_array_equal(run.evaluations, 200 * np.arange(13))
    assert_allclose(run.gradient_descent, reference.nll, rtol=1e-12)
    assert (run.nll_low <= run.nll_median).all()
    assert (run.nll_median <= run.nll_high).all()
    assert_allclose(run.nll_median[0], mean_error(POINTS, START), rtol=1e-14)
    assert_allclose(run.first_epoch.nll_median[-1], run.nll_median[1])
    assert run.first_epoch.evaluations[-1] == 200


def texts(result):
    return " ".join(finding.text for finding in result.findings)


def test_faster_is_said_where_it_is_and_floors_grow_with_the_rate():
    result = stochastic_descent(POINTS)
    said = texts(result)
    assert "Stochastic gradient descent is faster here" in said
    floors = {run.eta: run.noise_floor for run in result.runs if run.noise_floor is not None}
    assert floors[0.5] > floors[0.3] > floors[0.1] > floors[0.05] > 0
    assert "the larger the rate, the higher the floor" in said


def test_faster_is_not_said_of_what_is_the_same():
    said = texts(stochastic_descent(POINTS, [0.5], epochs=250, batch_size=200, shuffles=2))
    assert "is not faster here" in said
    assert "is faster here" not in said


def test_slower_is_said_where_it_is():
    # At 2 on centred points gradient descent converges, while single points throw the weights about.
    result = stochastic_descent(center(POINTS), [2.0], epochs=100)
    within = result.runs[0].within
    assert all(r.gradient_descent is not None and r.evaluations is None for r in within if r.level <= 0.03)
    assert "Stochastic gradient descent is faster" not in texts(result)


def test_few_epochs_have_no_floor():
    result = stochastic_descent(POINTS, [0.5], epochs=4, shuffles=2)
    assert result.runs[0].noise_floor is None
    assert "floor" not in texts(result)


def test_the_same_seed_gives_the_same_numbers():
    one, two = (stochastic_descent(POINTS, [0.1], epochs=3, shuffles=2, seed=7).runs[0] for _ in range(2))
    assert_array_equal(one.nll_high, two.nll_high)


def test_overflow_is_a_divergence():
    result = stochastic_descent(POINTS, [1e308, 0.1], epochs=3, shuffles=2)
    assert [run.diverged for run in result.runs] == [True, False]
    assert "At eta = 1e+308 it diverged" in texts(result)


@pytest.mark.parametrize(
    "bad", [{"epochs": 0}, {"shuffles": 0}, {"batch_size": 0}, {"batch_size": 201}, {"etas": [0.0]}]
)
def test_bad_requests_are_refused(bad):
    with pytest.raises(RequestError, match="must be"):
        stochastic_descent(POINTS, **bad)


class Noted:
    """A reporter that remembers."""

    def __init__(self):
        self.said = []

    def start(self, task, total):
        self.said.append((task, total))

    def advance(self, steps):
        self.said.append(steps)

    def finish(self, text):
        self.said.append(text)

    def say(self, text):
        self.said.append(text)


def test_long_work_is_reported_epoch_by_epoch_and_short_work_is_not(monkeypatch):
    short, long = Noted(), Noted()
    stochastic_descent(POINTS, [0.1], epochs=3, shuffles=1, reporter=short)
    monkeypatch.setattr(stochastic, "LONG", 500)
    stochastic_descent(POINTS, [0.1], epochs=3, shuffles=1, reporter=long)
    assert short.said == []
    name = "stochastic gradient descent"
    assert long.said == [(name, 3), 1, 1, 1, f"{name}: 3 epochs, 600 updates"]
