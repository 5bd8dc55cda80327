"""Stochastic gradient descent: bands, equal cost, where it settles, what is reported."""

from __future__ import annotations

from unittest.mock import Mock, call

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cli726.errors import RequestError
from cli726.logistic import center, document, gradient_descent, load_points, stochastic, stochastic_descent
from cli726.logistic.model import losses, stochastic_paths

POINTS = load_points()


def texts(result):
    return " ".join(finding.text for finding in result.findings)


def test_bands_are_quantiles_aligned_with_gradient_descent_at_equal_cost():
    result = stochastic_descent(POINTS, [0.1, 0.05], epochs=12, shuffles=5)
    reference = gradient_descent(POINTS, 0.05, max_epochs=12, tol=0)
    run, start = result.runs[1], np.array([0.1, 0.0, 0.0])
    paths = [(done, w[1]) for done, w in stochastic_paths(POINTS, [0.1, 0.05], start, 12, 1, 0, 5)]
    ends = losses(POINTS, np.array([w for done, w in paths if done % 200 == 0]))
    assert_array_equal(run.evaluations, 200 * np.arange(13))
    assert_allclose(run.gradient_descent, [*reference.nll, reference.final], rtol=1e-12)
    for band, share in ((run.nll_low, 10), (run.nll_median, 50), (run.nll_high, 90)):
        assert_allclose(band, np.percentile(ends, share, axis=1))
    assert_allclose(run.gap, (run.nll_median[-3:] - result.optimum.nll).mean())
    assert_array_equal(run.first_epoch.evaluations, [done for done, _ in paths if done <= 200])
    assert_allclose(run.first_epoch.nll_median[-1], run.nll_median[1])


def test_tables_hold_the_numbers_of_each_rate():
    result = stochastic_descent(POINTS, [0.5, 0.05], epochs=12, shuffles=3)
    ends, cost = document(result).tables
    assert ends.title == "Loss after 12 epochs of 200 updates, 3 shuffles"
    for run, end, spent in zip(result.runs, ends.rows, cost.rows, strict=True):
        printed = [f"{values[-1]:.4g}" for values in (run.nll_median, run.nll_low, run.nll_high, run.gradient_descent)]
        assert end == [f"{run.eta:g}", *printed[:3], f"{run.gap:.2g}", printed[3]]
        pairs = [(reached.evaluations, reached.gradient_descent) for reached in run.within[:4]]
        told = [" / ".join("never" if n is None else f"{n:,}" for n in pair) for pair in pairs]
        assert spent == [f"{run.eta:g}", *told]
    assert "never / never" in told


def test_the_default_answer_is_the_assignments():
    result = stochastic_descent(POINTS)
    said = texts(result)
    assert "Yes, at equal cost: an epoch's 200 gradient evaluations buy 200 noisy updates instead of one." in said
    assert "within 0.3: 400 against 11,800" in said
    assert "below at rates 0.1, 0.05 and 0.01, above at rates 0.5 and 0.3, after 1 epoch and after 500 epochs." in said
    assert "it stops converging and fluctuates" in said
    assert "the more the larger the rate" in said
    assert "Time on the clock is another matter" in said
    floors = {run.eta: run.noise_floor for run in result.runs}
    assert floors[0.5] > floors[0.3] > floors[0.1] > floors[0.05] > 0
    assert floors[0.01] is None
    assert all(run.noise_floor in (None, run.gap) for run in result.runs)


@pytest.mark.parametrize(
    "slow",
    [{"etas": [1e-4], "shuffles": 5}, {"epochs": 39}, {"batch_size": 200, "points": center(POINTS), "etas": [0.5]}],
)
def test_nothing_settles_that_is_slow_short_or_without_noise(slow):
    result = stochastic_descent(**{"points": POINTS, "etas": [0.3], "epochs": 60, "shuffles": 2} | slow)
    assert result.runs[0].noise_floor is None
    assert stochastic_descent(POINTS, [0.5], epochs=40).runs[0].noise_floor is not None


@pytest.mark.parametrize(
    "bad", [{"epochs": 0}, {"shuffles": 0}, {"batch_size": 0}, {"batch_size": 201}, {"etas": [0.0]}]
)
def test_bad_requests_are_refused(bad):
    with pytest.raises(RequestError, match="must be"):
        stochastic_descent(POINTS, **bad)


def test_long_work_is_reported_epoch_by_epoch_and_short_work_is_not(monkeypatch):
    name, calls = "stochastic gradient descent", []
    for long in (600, 599):
        monkeypatch.setattr(stochastic, "LONG", long)
        listener = Mock()
        stochastic_descent(POINTS, [0.1], epochs=3, shuffles=1, reporter=listener)
        calls.append(listener.mock_calls)
    told = call.start(name, 3), *[call.advance(1)] * 3, call.finish(f"{name}: 3 epochs, 600 updates")
    assert calls == [[], list(told)]
