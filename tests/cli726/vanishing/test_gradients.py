"""Problem 4's numbers against fractions, mpmath and every path in turn."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

from cli726.choices import Connect, Dtype, Hidden
from cli726.errors import RequestError
from cli726.vanishing import Setting, Vanishing, analyse
from cli726.vanishing.network import build, logistic
from tests.cli726.vanishing.oracle import KINDS, Oracle, Weight, log10, settings

LOGISTIC_CHAIN, LOGISTIC_BIPARTITE, RELU_CHAIN, RELU_BIPARTITE = KINDS
# Rounding called 0, 0 called small, underflow called 0, an inactive unit called saturated, contraction called 0.
ONCE_WRONG = [
    (Setting(depth=1, x="1e-20,1", t="1"), *RELU_CHAIN),
    (Setting(depth=1, weight="0.1", x="1,2", t="0.3"), *RELU_BIPARTITE),
    (Setting(depth=5, weight="-10", x="-1,1", t="3"), *RELU_CHAIN),
    (Setting(depth=2, bias="100", t="102"), *LOGISTIC_CHAIN),
    (Setting(depth=2, x="1,-1", t="1"), *LOGISTIC_CHAIN),
    (Setting(depth=3, weight="8", bias="-4", x="0.5,0.5", t="4"), *LOGISTIC_CHAIN),
    (Setting(depth=300, weight="2", bias="-1", x="0.6,0.5", t="1"), *LOGISTIC_CHAIN),
    (Setting(depth=300, weight="0.9", bias="0.1", x="2,1", t="1.9"), *RELU_CHAIN),
    (Setting(depth=2, weight="1e-30", x="1e-30,0", t="0"), *RELU_CHAIN),
]


@pytest.mark.parametrize("part", range(2))
def test_every_number_is_that_of_an_independent_computation(part: int) -> None:
    for oracle in settings(300, part):
        check(oracle)


@pytest.mark.parametrize("told", ONCE_WRONG)
def test_zero_is_told_from_small(told: tuple[Setting, Hidden, Connect]) -> None:
    check(Oracle(*told))


def check(oracle: Oracle) -> None:
    result, depth = analyse(oracle.setting, oracle.hidden, oracle.connect), oracle.depth
    residual = oracle.run[2]
    sizes = {weight: log10(oracle.gradient(weight)) for weight in oracle.w if depth < 9 or weight[0] in (1, 2, depth)}
    for layer in {layer for layer, _, _ in sizes}:
        largest = max(size for weight, size in sizes.items() if weight[0] == layer)
        found = result.log10[layer - 1], result.largest[layer - 1]
        assert found == pytest.approx((sizes[layer, 1, 1], largest), abs=1e-9), (oracle.setting, layer)
    assert result.residual == pytest.approx(float(residual), rel=1e-12, abs=0), oracle.setting
    with oracle.precision():
        assert result.y == pytest.approx(float(residual + oracle.number(oracle.t)), rel=1e-12, abs=1e-50), (
            oracle.setting
        )
    if depth < 9:
        check_structure(oracle, result, sizes)


def check_structure(oracle: Oracle, result: Vanishing, sizes: dict[Weight, float]) -> None:
    """Compare the bound, the gradients that are exactly 0 and their reasons with all paths in turn."""
    zeros, slopes = result.zeros, oracle.run[1]
    ways = sum(math.prod(abs(oracle.w[step]) for step in path) for path in oracle.paths((1, 1, 1)))
    bound = log10(Fraction(ways) / (1 if oracle.relu else 4 ** (oracle.depth - 1)))
    assert log10(Fraction(result.bound)) == pytest.approx(bound, abs=1e-9), oracle.setting
    reasons = {weight: oracle.why_zero(weight) for weight in oracle.w}
    assert all((reason is None) == math.isfinite(sizes[weight]) for weight, reason in reasons.items()), oracle.setting
    assert zeros.because == Counter(filter(None, reasons.values())), oracle.setting
    assert (zeros.zero_gradients, zeros.total_weights) == (sum(zeros.because.values()), len(oracle.w))
    dead = [k for k in range(2, oracle.depth + 1) if not (slopes[k, 1] or slopes[k, 2])]
    assert (zeros.inactive_units, zeros.dead_layer) == (sum(not h for h in slopes.values()), dead[0] if dead else None)
    first = [w for w in oracle.w if w[0] == 1 and oracle.w[w] and oracle.x[w[2] - 1] and slopes.get((2, w[1]), True)]
    live = sum(oracle.live(path) for weight in first for path in oracle.paths(weight))
    assert zeros.live_paths_log10 == (pytest.approx(math.log10(live), abs=1e-12) if live else None), oracle.setting


@pytest.mark.parametrize("a", ["0", "1e-500", "-3e-21", "2e-20", "0.3", "-0.999", "1", "-1", "40", "-3000", "3000"])
def test_the_logistic_keeps_its_digits_at_both_ends_and_in_the_middle(a: str) -> None:
    anchor, rest, slope = logistic(Decimal(a))
    with mpmath.workdps(3_000):
        e = mpmath.exp(-mpmath.mpf(a))
        exact = {0: 1 / (1 + e), 1: -e / (1 + e)}.get(anchor, mpmath.tanh(mpmath.mpf(a) / 2) / 2)  # type: ignore[call-overload]
        assert abs(mpmath.mpf(str(rest)) - exact) <= abs(exact) * mpmath.mpf("1e-38")
        assert abs(mpmath.mpf(str(slope)) - e / (1 + e) ** 2) <= mpmath.mpf(str(slope)) * mpmath.mpf("1e-50")


def test_deep_networks_follow_their_closed_forms() -> None:
    relu = analyse(Setting(depth=2_000, weight="0.9", t="3"), *RELU_CHAIN)
    assert_allclose(relu.log10, np.full(2_000, math.log10(3) + 1_999 * math.log10(0.9)), rtol=1e-9)
    # At z = 1/2, where 8 z - 4 = 0, every factor w h' is 2: an unstable point that only exact sums stay on.
    middle = analyse(Setting(depth=2_000, weight="8", bias="-4", x="0.5,0.5"), *LOGISTIC_CHAIN)
    assert middle.log10[0] - middle.log10[-1] == pytest.approx(1_999 * math.log10(2), rel=1e-12)
    double = analyse(Setting(depth=2_000), *RELU_BIPARTITE)
    assert double.zeros.live_paths_log10 == pytest.approx(2_000 * math.log10(2), rel=1e-12)


def test_plain_gradients_are_the_exact_ones_while_nothing_is_lost() -> None:
    for seed, kind in enumerate(KINDS * 10):
        setting = Setting(depth=1 + seed // 4, weight="normal:1", bias="0.3", x="0.7,-1.2", t="0.4", seed=seed)
        plain, oracle = analyse(setting, *kind).plain, Oracle(setting, *kind)
        exact = [float(oracle.gradient((layer, 1, 1))) for layer in range(1, setting.depth + 1)]
        assert_allclose(plain[Dtype.float64], exact, rtol=1e-9, atol=1e-15)
        assert_allclose(plain[Dtype.float32], exact, rtol=2e-2, atol=1e-4)
        assert [plain[dtype].dtype for dtype in Dtype] == ["float32", "float64"]
    # At a = 0 the slope is 0, and no 0 has a sign.
    assert list(map(str, analyse(Setting(2, bias="-1"), *RELU_CHAIN).plain[Dtype.float64])) == ["0.0", "0.0"]


def test_formats_lose_what_decimals_keep() -> None:
    assert Setting() == Setting(152, "1", None, "1,1", "0.5", Dtype.float64, seed=0)
    result = analyse(Setting(), *LOGISTIC_CHAIN)
    told, highest = result.to_json(), np.flatnonzero(result.lost(Dtype.float32))[-1] + 1
    assert told["underflow_layer"] == {"float32": highest, "float64": None}
    # The smallest float32 is 2^-149; the lost gradient is within a rounding of half of it.
    assert result.log10[highest - 1] < math.log10(2.0**-149) < result.log10[highest + 2]
    assert told["first_layer_bound"] == pytest.approx(4.0**-151, rel=1e-9)
    assert analyse(Setting(), *RELU_BIPARTITE).to_json()["overflow_layer"] == {"float32": 152, "float64": None}
    for weight, depth, bound in (("1000", 152, None), ("10", 309, None), ("10", 308, 1e307)):
        assert analyse(Setting(depth, weight), *RELU_CHAIN).to_json()["first_layer_bound"] == bound


@pytest.mark.parametrize(("depth", "layers", "place"), [(2, (1, 2), 2), (3, (1, 2, 3), 2), (6, (1, 3, 6), 3)])
def test_saturation_is_what_biases_do(depth: int, layers: tuple[int, ...], place: int) -> None:
    setting = Setting(depth=depth, weight="1/2", bias="0.1", x="1,2")
    pushed: Any = analyse(setting, *LOGISTIC_BIPARTITE).saturation
    assert (pushed.layers, pushed.place) == (layers, place)
    assert_allclose(pushed.push, -pushed.push[::-1])
    for row, push in enumerate(pushed.push):
        oracle = Oracle(setting, *LOGISTIC_BIPARTITE, push)
        z, slope = float(oracle.run[0][place, 1]), float(oracle.run[1][place, 1])
        unit = (pushed.output[row], pushed.slope[row], pushed.activation[row])
        assert unit == pytest.approx((z, slope, math.log(z / (1 - z))), rel=1e-9)
        assert_allclose(pushed.log10[row], [log10(oracle.rate((layer, 1, 1))) for layer in layers], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"weight": rule}, "--weight takes") for rule in ("", "x" * 50, "normal:", "normal:0", "uniform:1", "1001")),
        *(({"depth": depth}, "--depth must be from 1") for depth in (0, 20_001)),
        *(({name: text}, "got 2000") for name, text in (("bias", "2000"), ("t", "-2000"), ("x", "1,2000"))),
        *(({name: text}, f"--{name}") for name, text in (("x", "1"), ("x", "1,nan"), ("bias", ""), ("t", "inf"))),
    ],
)
def test_settings_that_make_no_network_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as refusal:
        build(replace(Setting(), **change), *RELU_CHAIN)
    assert "x" * 50 not in change.values() or f'got "{"x" * 40}"' in str(refusal.value)
    assert len(build(Setting(depth=20_000, weight="1000", bias="-1000"), *RELU_CHAIN).inner) == 19_999
