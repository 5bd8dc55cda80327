"""Problem 4's numbers against fractions, mpmath and every path in turn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cli726.choices import Connect, Dtype, Hidden
from cli726.errors import RequestError
from cli726.vanishing import Setting, Zeros, analyse
from cli726.vanishing.network import build, logistic, plain_gradients
from tests.cli726.vanishing.oracle import KINDS, Oracle, Weight, log10, settings

LOGISTIC_CHAIN, RELU_CHAIN = (Hidden.logistic, Connect.chain), (Hidden.relu, Connect.chain)
# Found once to be said wrongly: rounding called 0, 0 called small, underflow called 0, contraction called 0.
TOLD_WRONGLY = [
    (Setting(depth=1, x="1e-20,1", t="1"), *RELU_CHAIN),
    (Setting(depth=1, weight="0.1", x="1,2", t="0.3"), Hidden.relu, Connect.bipartite),
    (Setting(depth=5, weight="-10", x="-1,1", t="3"), *RELU_CHAIN),
    (Setting(depth=2, bias="100", t="102"), *LOGISTIC_CHAIN),
    (Setting(depth=2, x="1,-1", t="1"), *LOGISTIC_CHAIN),
    (Setting(depth=3, weight="8", bias="-4", x="0.5,0.5", t="4"), *LOGISTIC_CHAIN),
    (Setting(depth=300, weight="2", bias="-1", x="0.6,0.5", t="1"), *LOGISTIC_CHAIN),
    (Setting(depth=300, weight="0.9", bias="0.1", x="2,1", t="1.9"), *RELU_CHAIN),
    (Setting(depth=2, weight="1e-30", x="1e-30,0", t="0"), *RELU_CHAIN),
]  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_every_number_is_that_of_an_independent_computation(part: int) -> None:
    for oracle in settings(150, part):
        check(oracle)


@pytest.mark.parametrize("told", TOLD_WRONGLY)
def test_zero_is_told_from_small(told: tuple[Setting, Hidden, Connect]) -> None:
    check(Oracle(*told))


def check(oracle: Oracle) -> None:
    """Compare all numbers of one network: gradients, bound, zeros and their reasons, factors."""
    result = analyse(oracle.setting, oracle.hidden, oracle.connect)
    label, depth = (oracle.setting, oracle.hidden, oracle.connect), oracle.depth
    gradients = {weight: oracle.gradient(weight) for weight in oracle.w if depth < 10 or weight[0] in (1, 2, depth)}
    for layer in {layer for layer, _, _ in gradients}:
        exact = gradients[layer, 1, 1]
        assert result.log10[layer - 1] == pytest.approx(log10(exact), abs=1e-9), label
        assert result.sign[layer - 1] == (exact > 0) - (exact < 0), label
        largest = max(log10(value) for (at, _, _), value in gradients.items() if at == layer)
        assert result.largest[layer - 1] == pytest.approx(largest, abs=1e-9), label
    residual = oracle.run[2]
    assert result.residual == pytest.approx(float(residual), rel=1e-12, abs=0), label
    with mpmath.workdps(oracle.digits):
        y = float(residual + oracle.number(oracle.t))
    assert result.y == pytest.approx(y, rel=1e-12, abs=1e-300), label
    slopes = oracle.run[1]
    on_the_way = [h for (_, unit), h in slopes.items() if unit == 1 or oracle.connect is Connect.bipartite]
    assert (
        result.steepest is None if depth == 1 else float(result.steepest or 0) == pytest.approx(float(max(on_the_way)))
    )
    if depth < 10:
        check_structure(oracle, result.zeros, gradients, label)
        bound = sum(math.prod(abs(oracle.w[step]) for step in path) for path in oracle.paths((1, 1, 1)))
        cap = Fraction(1, 1 if oracle.relu else 4) ** (depth - 1)
        assert log10(Fraction(result.bound)) == pytest.approx(log10(bound * cap), abs=1e-9), label
    if oracle.connect is Connect.chain:
        expected = {
            "slopes": sum(log10(slopes[k, 1]) for k in range(2, depth + 1)),
            "weights": sum(log10(oracle.w[k, 1, 1]) for k in range(2, depth + 1)),
            "input": log10(oracle.x[0]),
            "error": log10(residual),
        }
        assert result.factors == pytest.approx(expected, abs=1e-9), label
        assert sum(expected.values()) == pytest.approx(result.log10[0], abs=1e-9), label
    else:
        assert result.factors == {}


def check_structure(oracle: Oracle, zeros: Zeros, gradients: Mapping[Weight, Any], label: object) -> None:
    """Compare the gradients that are exactly 0, and why, with all paths in turn."""
    reasons = {weight: oracle.why_zero(weight) for weight in oracle.w}
    assert all((reason is None) == bool(gradients[weight]) for weight, reason in reasons.items()), label
    assert zeros.because == Counter(reason for reason in reasons.values() if reason), label
    assert zeros.zero_gradients == sum(zeros.because.values())
    assert zeros.total_weights == len(oracle.w)
    slopes = oracle.run[1]
    assert zeros.inactive_units == sum(not h for h in slopes.values()), label
    dead = [k for k in range(2, oracle.depth + 1) if not (slopes[k, 1] or slopes[k, 2])]
    assert zeros.dead_layer == (dead[0] if dead else None), label
    live = sum(
        bool(oracle.w[weight] and oracle.x[weight[2] - 1] and (oracle.depth == 1 or slopes[2, weight[1]]))
        * sum(map(oracle.live, oracle.paths(weight)))
        for weight in oracle.w
        if weight[0] == 1
    )
    assert zeros.live_paths_log10 == (pytest.approx(math.log10(live), abs=1e-12) if live else None), label


@pytest.mark.parametrize("a", ["0", "1e-500", "-3e-21", "2e-20", "0.3", "-0.999", "1", "-1", "40", "-3000", "3000"])
def test_the_logistic_keeps_its_digits_at_both_ends_and_in_the_middle(a: str) -> None:
    anchor, rest, slope = logistic(Decimal(a))
    with mpmath.workdps(3_000):
        e = mpmath.exp(-mpmath.mpf(a))
        middle = mpmath.tanh(mpmath.mpf(a) / 2) / 2
        exact = {Decimal(0): 1 / (1 + e), Decimal(1): -e / (1 + e)}.get(anchor, middle)
        assert abs(mpmath.mpf(str(rest)) - exact) <= abs(exact) * mpmath.mpf("1e-38")
        assert abs(mpmath.mpf(str(slope)) - e / (1 + e) ** 2) <= mpmath.mpf(str(slope)) * mpmath.mpf("1e-50")


def test_deep_networks_follow_their_closed_forms() -> None:
    relu = analyse(Setting(depth=2_000, weight="0.9", t="3"), *RELU_CHAIN)
    assert_allclose(relu.log10, np.full(2_000, math.log10(3) + 1_999 * math.log10(0.9)), rtol=1e-9)
    # At z = 1/2, where 8 z - 4 = 0, every factor w h' is 2: an unstable point that only exact sums stay on.
    result = analyse(Setting(depth=2_000, weight="8", bias="-4", x="0.5,0.5"), *LOGISTIC_CHAIN)
    assert result.log10[0] - result.log10[-1] == pytest.approx(1_999 * math.log10(2), rel=1e-12)
    bipartite = analyse(Setting(depth=2_000), Hidden.relu, Connect.bipartite)
    assert bipartite.log10[0] == pytest.approx(2 * 1_999 * math.log10(2), rel=1e-3)
    assert bipartite.zeros.live_paths_log10 == pytest.approx(2_000 * math.log10(2), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_gradients_are_the_exact_ones_while_nothing_is_lost(kind: tuple[Hidden, Connect]) -> None:
    for seed in range(10):
        setting = Setting(depth=1 + seed, weight="normal:1", bias="0.3", x="0.7,-1.2", t="0.4", seed=seed)
        network, result = build(setting, *kind), analyse(setting, *kind)
        exact = result.sign * 10.0**result.log10
        assert_allclose(plain_gradients(network, Dtype.float64), exact, rtol=1e-9, atol=1e-15)
        single = plain_gradients(network, Dtype.float32)
        assert single.dtype == np.float32
        assert_allclose(single, exact, rtol=2e-2, atol=1e-4)
        assert not result.lost(Dtype.float64).any()
        assert not result.overflows(Dtype.float32).any()


def test_formats_lose_what_decimals_keep() -> None:
    result = analyse(Setting(), *LOGISTIC_CHAIN)
    lost = np.flatnonzero(result.lost(Dtype.float32)) + 1
    assert_array_equal(lost, np.arange(1, len(lost) + 1))
    assert result.to_json()["underflow_layer"] == {"float32": lost[-1], "float64": None}
    # The smallest float32 is 2^-149; the lost gradient is within a rounding of half of it.
    assert result.log10[lost[-1] - 1] < math.log10(2.0**-149) < result.log10[lost[-1] + 2]
    assert result.to_json()["first_layer_bound"] == pytest.approx(4.0**-151, rel=1e-9)
    grown = analyse(Setting(), Hidden.relu, Connect.bipartite)
    assert grown.to_json()["overflow_layer"] == {"float32": 152, "float64": None}
    dead = analyse(Setting(weight="-1", x="-1,-1"), *RELU_CHAIN)
    assert not dead.lost(Dtype.float32).any()
    assert analyse(Setting(weight="1000"), *RELU_CHAIN).to_json()["first_layer_bound"] is None


def test_saturation_is_what_biases_do() -> None:
    for kind in KINDS[:2]:
        setting = Setting(depth=5, weight="1/2", bias="0.1", x="1,2")
        pushed = analyse(setting, *kind).saturation
        assert pushed is not None
        assert (pushed.layers, pushed.place) == ((1, 3, 5), 3)
        for row, push in enumerate(pushed.push):
            oracle = Oracle(setting, *kind, pushed=Fraction(float(push)))
            z = oracle.run[0][3, 1]
            assert pushed.output[row] == pytest.approx(float(z), rel=1e-12)
            assert pushed.slope[row] == pytest.approx(float(oracle.run[1][3, 1]), rel=1e-12)
            assert pushed.activation[row] == pytest.approx(
                float(mpmath.log(oracle.run[0][3, 1] / (1 - oracle.run[0][3, 1])))
            )
            assert_allclose(
                pushed.log10[row], [log10(oracle.rate((layer, 1, 1))) for layer in pushed.layers], atol=1e-9
            )
    two = analyse(Setting(depth=2), *LOGISTIC_CHAIN).saturation
    assert two is not None
    assert (two.layers, two.place) == ((1, 2), 2)
    assert (
        analyse(Setting(depth=1), *LOGISTIC_CHAIN).saturation
        is analyse(Setting(depth=3), *RELU_CHAIN).saturation
        is None
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"weight": rule}, "--weight takes") for rule in ("", "x", "normal:", "normal:0", "uniform:1", "1001")),
        *(({"depth": depth}, "--depth must be from 1") for depth in (0, 20_001)),
        *(({name: text}, "got 2000") for name, text in (("bias", "2000"), ("t", "-2000"), ("x", "1,2000"))),
        ({"x": "1"}, "--x takes 2 numbers"),
        ({"x": "1,nan"}, "--x"), ({"bias": "much"}, "--bias"), ({"t": "inf"}, "--t"),
    ],
)  # fmt: skip
def test_settings_that_make_no_network_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        analyse(replace(Setting(), **change), *RELU_CHAIN)
    assert build(Setting(depth=20_000, weight="1000"), *RELU_CHAIN).depth == 20_000
