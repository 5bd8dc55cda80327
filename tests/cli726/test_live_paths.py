"""Exact zeros: counted from live paths, and by torch; dead networks: simulated, and by theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cli726.choices import Connect, Hidden
from cli726.deep_network import DeepNetwork, back, build, run
from cli726.live_paths import ONE_UNIT, WHOLE_LAYER, Zeros, count_zeros, simulate_dead, switch_off


def network(connect: Connect, depth: int, **changes: object) -> DeepNetwork:
    options = {"weight": "1", "bias": 0.0, "x": np.array([1.0, 1.0]), "t": 0.5, "seed": 0, **changes}
    return build(Hidden.relu, connect, depth=depth, **options)  # type: ignore[arg-type]


def zeros_of(net: DeepNetwork) -> Zeros:
    passed = run(net)
    return count_zeros(net, passed, back(net, passed))


def zeros_by_torch(net: DeepNetwork) -> int:
    inner = torch.tensor(net.inner[:, 0], requires_grad=True)
    outer = torch.tensor(net.outer[0], requires_grad=True)
    z = torch.tensor(net.x[0])
    for weights, bias in zip(inner, torch.tensor(net.biases[:, 0]), strict=True):
        z = torch.relu((weights @ z[..., None])[..., 0] + bias)
    (0.5 * ((outer * z).sum() + net.output_bias[0] - net.t[0]) ** 2).backward()
    return int((inner.grad == 0).sum() + (outer.grad == 0).sum())


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(Connect),
    st.integers(2, 8),
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.4, -0.4]),
    st.sampled_from([(1.0, 1.0), (0.0, 1.0), (-1.0, 2.0)]),
)
def test_counts_are_those_of_autograd(
    connect: Connect, depth: int, seed: int, bias: float, x: tuple[float, ...]
) -> None:
    net = network(connect, depth, weight="normal:1", bias=bias, seed=seed, x=np.array(x))
    assert zeros_of(net).zero_gradients == zeros_by_torch(net)


@pytest.mark.parametrize("depth", [2, 3, 20, 152])
def test_one_inactive_unit_ends_a_chain_but_not_a_bipartite_network(depth: int) -> None:
    middle = depth // 2 + 1
    chain = {row.what: row for row in switch_off(network(Connect.chain, depth))}
    assert chain["nothing"].zeros_without_biases == chain["nothing"].zeros_with_biases == 0
    assert (chain[ONE_UNIT].zeros_without_biases, chain[ONE_UNIT].zeros_with_biases) == (depth, middle)
    bipartite = {row.what: row for row in switch_off(network(Connect.bipartite, depth))}
    unit, layer = bipartite[ONE_UNIT], bipartite[WHOLE_LAYER]
    assert unit.zeros_without_biases == unit.zeros_with_biases == unit.weights_at_unit
    assert layer.zeros_without_biases == layer.total_weights
    below = 4 * (middle - 1) + (4 if middle < depth else 2)
    assert layer.zeros_with_biases == below


def test_each_zero_has_its_first_reason() -> None:
    assert zeros_of(network(Connect.chain, 5)).because == {}
    assert zeros_of(network(Connect.bipartite, 5, x=np.array([0.0, 1.0]))).because == {"its input is inactive": 2}
    dead = zeros_of(network(Connect.chain, 3, weight="-1"))
    assert dead.dead_layer == 2
    assert dead.live_paths_log10 is None
    assert zeros_of(network(Connect.chain, 5, t=2.0)).because == {"the error is 0": 10}


def test_paths_that_cancel_are_told_from_paths_that_are_dead() -> None:
    net = network(Connect.bipartite, 3)
    net.inner[1, 0, 0] = [[1.0, 1.0], [1.0, 1.0]]
    net.outer[0, 0] = [1.0, -1.0]
    zeros = zeros_of(net)
    # Layer 2 reaches the output over two paths of opposite sign; nothing is inactive.
    assert zeros.because == {"the paths cancel": 4}
    assert zeros.inactive_units == 0


@pytest.mark.parametrize(("connect", "paths"), [(Connect.chain, 2), (Connect.bipartite, 2**10)])
def test_live_paths_are_the_product_of_active_units(connect: Connect, paths: int) -> None:
    logarithm = zeros_of(network(connect, 10)).live_paths_log10
    assert logarithm == pytest.approx(math.log10(paths), rel=1e-12)


@pytest.mark.parametrize(("units", "layers"), [(1, 3), (2, 10), (4, 30), (10, 151)])
def test_simulated_deaths_agree_with_theory(units: int, layers: int) -> None:
    result = simulate_dead(units, layers, seed=3)
    assert result.alive_theory == pytest.approx((1 - 2.0**-units) ** layers)
    spread = math.sqrt(result.simulated * result.alive_theory * (1 - result.alive_theory))
    assert abs(result.alive - result.simulated * result.alive_theory) < 4.5 * spread
    assert result.layers_alive_theory is not None
    # The number of layers lived has a standard deviation of at most 2^units.
    assert abs(result.layers_alive - result.layers_alive_theory) < 4.5 * 2**units / math.sqrt(result.simulated)


def test_biases_keep_networks_alive_and_theory_silent() -> None:
    without, biased = simulate_dead(2, 8), simulate_dead(2, 8, bias=2.0)
    assert biased.alive > without.alive
    assert biased.alive_theory is biased.layers_alive_theory is None


def test_one_seed_gives_one_result() -> None:
    assert simulate_dead(3, 20, seed=5) == simulate_dead(3, 20, seed=5)
    assert simulate_dead(3, 20, seed=5) != simulate_dead(3, 20, seed=6)
