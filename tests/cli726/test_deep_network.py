"""Problem 4's networks against torch's autograd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cli726.choices import Connect, Dtype, Hidden
from cli726.deep_network import DeepNetwork, back, back_signed, build, run, stacked, weight_gradients
from cli726.errors import RequestError
from cli726.plain_pass import plain_error, plain_gradients
from cli726.wide_floats import Wide, times

kinds = st.tuples(st.sampled_from(Hidden), st.sampled_from(Connect))
depths, seeds = st.integers(1, 9), st.integers(0, 10_000)
biases = st.sampled_from([0.0, 0.3, -0.2])


def network(
    kind: tuple[Hidden, Connect], depth: int, seed: int, bias: float = 0.0, weight: str = "normal:1"
) -> DeepNetwork:
    return build(*kind, depth=depth, weight=weight, bias=bias, x=np.array([0.7, -1.2]), t=0.4, seed=seed)


def by_autograd(net: DeepNetwork) -> tuple[np.ndarray, np.ndarray, float]:
    """Gradients of E_n for the first case, and E_n."""
    inner = torch.tensor(net.inner[:, 0], requires_grad=True)
    outer = torch.tensor(net.outer[0], requires_grad=True)
    z = torch.tensor(net.x[0])
    for weights, bias in zip(inner, torch.tensor(net.biases[:, 0]), strict=True):
        a = (weights @ z[..., None])[..., 0] + bias
        h = torch.relu(a) if net.hidden is Hidden.relu else torch.sigmoid(a)
        z = h if net.skip is None else z + net.skip[0] * h
    y = (outer * z).sum() + net.output_bias[0]
    error = 0.5 * (y - net.t[0]) ** 2
    error.backward()
    return (inner.grad if len(inner) else torch.zeros_like(inner)).numpy(), outer.grad.numpy(), error.item()


def gradients(net: DeepNetwork) -> tuple[np.ndarray, np.ndarray]:
    passed = run(net)
    return tuple(times(part[..., :1, :, :] if part.mantissa.ndim == 3 else part[:, :1], passed.residual[:1]).rounded()
                 for part in weight_gradients(passed, back(net, passed).signed))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(kinds, depths, seeds, biases, st.sampled_from([None, 1.0, 0.25]))
def test_every_gradient_is_autograds(kind: Any, depth: int, seed: int, bias: float, skip: float | None) -> None:
    net = network(kind, depth, seed, bias)
    if skip is not None:
        net = replace(net, skip=np.array([skip]))
    inner, outer, error = by_autograd(net)
    stable_inner, stable_outer = gradients(net)
    assert_allclose(stable_inner[:, 0], inner, rtol=1e-10, atol=1e-15)
    assert_allclose(stable_outer[0], outer, rtol=1e-10, atol=1e-15)
    if skip is None:
        assert plain_error(net, 0.0).real == pytest.approx(error, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(kinds, depths, seeds, biases)
def test_plain_gradients_are_the_stable_ones_while_nothing_underflows(
    kind: Any, depth: int, seed: int, bias: float
) -> None:
    net = network(kind, depth, seed, bias)
    inner, outer = gradients(net)
    first = np.append(inner[:, 0, 0, 0, 0], outer[0, 0, 0])
    assert_allclose(plain_gradients(net, Dtype.float64), first, rtol=1e-9, atol=1e-15)
    single = plain_gradients(net, Dtype.float32)
    assert single.dtype == np.float32
    assert_allclose(single, first, rtol=2e-2, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(kinds, seeds)
def test_cases_stacked_are_those_computed_alone(kind: Any, seed: int) -> None:
    cases = [network(kind, 5, seed, bias) for bias in (0.0, 0.5)]
    together = stacked(cases)
    passed = run(together)
    deltas = back_signed(together, passed)
    for position, case in enumerate(cases):
        alone = run(case)
        assert_array_equal(alone.residual.rounded()[0], passed.residual.rounded()[position])
        assert_array_equal(back_signed(case, alone).rounded()[:, 0], deltas.rounded()[:, position])


def test_a_chain_is_two_networks_that_share_the_output() -> None:
    chain = network((Hidden.logistic, Connect.chain), 152, 0)
    bipartite = network((Hidden.logistic, Connect.bipartite), 152, 0)
    assert (chain.weights, bipartite.weights) == (2 * 152, 4 * 151 + 2)


@pytest.mark.parametrize("hidden", Hidden)
def test_depth_10000_neither_under_nor_overflows(hidden: Hidden) -> None:
    net = network((hidden, Connect.bipartite), 10_000, 0, weight="1")
    net = replace(net, x=np.abs(net.x))
    passed = run(net)
    logs = back(net, passed).signed.log10()
    assert np.isfinite(logs).all()
    assert abs(logs[0, 0, 0, 0]) > 1000


@pytest.mark.parametrize(
    "weight", ["", "x", "nan", "inf", "normal:", "normal:0", "normal:-1", "uniform:1", "1e99", "1e30", "normal:1e9"]
)
def test_a_rule_that_gives_no_weights_is_refused(weight: str) -> None:
    with pytest.raises(RequestError, match="--weight takes"):
        network((Hidden.relu, Connect.chain), 3, 0, weight=weight)


@pytest.mark.parametrize("depth", [0, -1, 10**9])
def test_depths_that_make_no_network_are_refused(depth: int) -> None:
    with pytest.raises(RequestError, match="--depth must be from 1"):
        network((Hidden.relu, Connect.chain), depth, 0)


def test_versions_without_cancellation_bound_the_signed_sum() -> None:
    net = network((Hidden.logistic, Connect.bipartite), 6, 3)
    backward = back(net, run(net))
    assert np.all(backward.signed.log10() <= backward.sizes.log10() + 1e-12)
    assert np.all(backward.sizes.log10() <= backward.weights_only.log10())
    assert isinstance(backward.paths, Wide)
    assert_array_equal(backward.paths.rounded()[:, 0, 0, 0], [16, 8, 4, 2, 1])


def test_numbers_too_large_are_refused() -> None:
    with pytest.raises(RequestError, match="at most 1000 in size; got 2000"):
        network((Hidden.relu, Connect.chain), 3, 0, bias=2000.0)


@pytest.mark.parametrize("kind", [(Hidden.logistic, Connect.chain), (Hidden.logistic, Connect.bipartite)])
def test_extreme_saturation_stays_finite(kind: Any) -> None:
    net = network(kind, 3_000, 0, bias=-1000.0, weight="1000")
    logs = back(net, run(net)).signed.log10()
    assert np.isfinite(logs).all()
    assert logs.min() < -1e6
