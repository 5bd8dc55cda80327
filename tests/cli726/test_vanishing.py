"""Problem 4's answers: formula, sizes, causes, and findings that can vanish."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cli726.choices import Connect, Dtype, Hidden
from cli726.errors import RequestError
from cli726.findings import Finding
from cli726.vanishing import Vanishing, analyse
from cli726.vanishing_findings import (
    explain_dead,
    explain_formats,
    explain_reasons,
    explain_saturation,
    explain_size,
    explain_skips,
    explain_switching,
    explain_zeros,
    magnitude,
)
from cli726.vanishing_setting import Setting, dead_networks, formula

LOGISTIC_CHAIN = (Hidden.logistic, Connect.chain)
RELU_CHAIN = (Hidden.relu, Connect.chain)


def texts(part: Callable[[Vanishing], Iterator[Finding]], result: Vanishing) -> str:
    return " ".join(finding.text for finding in part(result))


def test_the_formula_is_the_assignments() -> None:
    expected = "∂Eₙ/∂w₁₁⁽ˡ⁾ = (y − t) z₁⁽ˡ⁾ ∏ₖ₌ₗ₊₁¹⁵² w₁₁⁽ᵏ⁾ h′(a₁⁽ᵏ⁾)"
    assert formula(Connect.chain, 152) == expected


def test_the_formula_gives_the_derivative_of_the_error() -> None:
    """dE/dw_11 by sympy for a chain of depth 4, against the product and against what is computed."""
    setting = Setting(depth=4, weight="normal:1", x="0.5,-1", seed=2)
    net = setting.network(*LOGISTIC_CHAIN)
    result = analyse(setting, *LOGISTIC_CHAIN)
    names = [[sympy.Symbol(f"w{chain}{layer}") for layer in range(4)] for chain in range(2)]
    numbers = [[*net.inner[:, 0, chain, 0, 0], net.outer[0, chain, 0]] for chain in range(2)]
    ends, values = [], {}
    for chain, x in enumerate((sympy.Rational(1, 2), sympy.Integer(-1))):
        z = x
        for layer in range(4):
            a = names[chain][layer] * z
            z = 1 / (1 + sympy.exp(-a)) if layer < 3 else a
            values[names[chain][layer]] = sympy.Float(numbers[chain][layer], 40)
        ends.append(z)
    error = (ends[0] + ends[1] - sympy.Rational(1, 2)) ** 2 / 2
    for layer in range(4):
        exact = float(sympy.diff(error, names[0][layer]).subs(values))
        assert result.sign[layer] * 10 ** result.log10[layer] == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize("weight", ["0.9", "1.1", "1"])
def test_relu_chains_only_multiply_by_weights(weight: str) -> None:
    result = analyse(Setting(weight=weight), *RELU_CHAIN)
    change = result.log10[0] - math.log10(abs(result.residual))
    assert change == pytest.approx(151 * math.log10(float(weight)), abs=1e-9)


def test_the_bound_is_a_quarter_to_the_151st() -> None:
    document = analyse(Setting(), *LOGISTIC_CHAIN).document()
    assert document["first_layer_bound"] == pytest.approx(4.0**-151, rel=1e-9)
    assert 10 ** document["layers"][0]["log10"] < abs(document["residual"]) * document["first_layer_bound"]


@settings(max_examples=15, deadline=None)
@given(st.floats(-3, 3), st.floats(-2, 2), st.integers(2, 40), st.integers(0, 99), st.sampled_from(Connect))
def test_no_gradient_beats_the_bound(x: float, bias: float, depth: int, seed: int, connect: Connect) -> None:
    setting = Setting(depth=depth, weight="normal:1", bias=f"{bias:.3f}", x=f"{x:.3f},1", seed=seed)
    result = analyse(setting, Hidden.logistic, connect)
    size = math.log10(abs(result.residual)) + (math.log10(abs(float(f"{x:.3f}"))) if float(f"{x:.3f}") else -math.inf)
    assert result.log10[0] <= result.bound_log10 + size + 1e-9


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(Hidden), st.sampled_from(Connect), st.integers(1, 30), st.integers(0, 99))
def test_shares_add_up_to_the_gradient(hidden: Hidden, connect: Connect, depth: int, seed: int) -> None:
    result = analyse(Setting(depth=depth, weight="normal:1", bias="0.5", seed=seed), hidden, connect)
    shares = result.shares
    if shares.total is None:
        assert not np.isfinite(result.log10[0])
        return
    parts = (shares.error, shares.output, shares.weights, shares.slopes, shares.cancellation)
    assert all(part is not None for part in parts)
    assert sum(part or 0.0 for part in parts) == pytest.approx(shares.total, abs=1e-9)
    assert shares.total == pytest.approx(result.log10[0], abs=1e-9)
    given = result.causes[0]
    total = -math.inf if given.shares.total is None else given.shares.total
    assert total == pytest.approx(result.log10[given.layer - 1], abs=1e-9)


def test_each_cause_acts_on_its_own_factor() -> None:
    as_given, halved, low, high, near = (cause.shares for cause in analyse(Setting(), *LOGISTIC_CHAIN).causes)
    assert halved.weights == pytest.approx(as_given.weights + 76 * math.log10(0.5), abs=1e-9)
    assert low.slopes < as_given.slopes - 50 > high.slopes
    assert low.output < -2 < -0.01 < high.output
    assert near.error == pytest.approx(-3, abs=1e-9)
    assert near.slopes == as_given.slopes


def test_formats_lose_what_logarithms_keep() -> None:
    result = analyse(Setting(), *LOGISTIC_CHAIN)
    layer = result.lost_below(Dtype.float32)
    assert layer is not None
    assert result.lost_below(Dtype.float64) is None
    single = result.plain[Dtype.float32]
    assert np.all(single[:layer] == 0)
    assert np.all(single[layer:] != 0)
    # The smallest float32 is 2^-149; the lost gradient is within a rounding of half of it.
    assert result.log10[layer - 1] < math.log10(2.0**-149) < result.log10[layer + 2]
    assert_allclose(np.log10(np.abs(result.plain[Dtype.float64])), result.log10, atol=1e-9)
    deep = analyse(Setting(depth=700), *LOGISTIC_CHAIN)
    assert deep.lost_below(Dtype.float64) is not None
    assert np.isfinite(deep.log10).all()


def test_a_central_difference_sees_nothing_where_the_complex_step_does() -> None:
    result = analyse(Setting(), *LOGISTIC_CHAIN)
    assert result.numerical.central_difference == 0
    assert math.log10(abs(result.numerical.complex_step)) == pytest.approx(result.log10[0], abs=1e-9)
    assert "central difference" in texts(explain_formats, result)
    assert texts(explain_formats, analyse(Setting(depth=5), *LOGISTIC_CHAIN)) == ""


def test_saturation_is_worst_at_both_ends() -> None:
    result = analyse(Setting(), *LOGISTIC_CHAIN)
    assert result.saturation is not None
    first = result.saturation.log10[:, 0]
    peak = int(np.argmax(first))
    assert 0 < peak < len(first) - 1
    assert np.all(np.diff(first[: peak + 1]) > 0)
    assert np.all(np.diff(first[peak:]) < 0)
    assert "Saturation" in texts(explain_saturation, result)
    assert texts(explain_saturation, analyse(Setting(), *RELU_CHAIN)) == ""


@pytest.mark.parametrize(
    ("setting", "kind", "reasons"),
    [
        (Setting(), LOGISTIC_CHAIN, {"small h′"}),
        (Setting(weight="0.5", t="-1"), LOGISTIC_CHAIN, {"small h′", "small weights"}),
        (Setting(x="0.01,1"), LOGISTIC_CHAIN, {"small h′", "an input near 0"}),
        (Setting(weight="0.9"), RELU_CHAIN, {"small weights"}),
        (Setting(t="1.999"), RELU_CHAIN, {"a small error"}),
        (Setting(), RELU_CHAIN, set()),
        (Setting(weight="1.1"), RELU_CHAIN, set()),
    ],
)
def test_reasons_appear_only_where_they_hold(setting: Setting, kind: tuple[Hidden, Connect], reasons: set[str]) -> None:
    found = {finding.evidence["reason"] for finding in explain_reasons(analyse(setting, *kind))}
    assert found == reasons


def test_sizes_are_called_by_their_name() -> None:
    assert "vanishes" in texts(explain_size, analyse(Setting(), *LOGISTIC_CHAIN))
    assert "shrinks" in texts(explain_size, analyse(Setting(weight="1.1", bias="1"), *RELU_CHAIN))
    assert "keeps its size" in texts(explain_size, analyse(Setting(), *RELU_CHAIN))
    # At z = 1/2, where 8 z - 4 = 0, every factor w h' is 2.
    unstable = analyse(Setting(weight="8", bias="-4", x="0.5,0.5"), *LOGISTIC_CHAIN)
    assert "explodes" in texts(explain_size, unstable)
    assert unstable.log10[0] - unstable.log10[-1] == pytest.approx(151 * math.log10(2), abs=1e-6)


def test_skip_connections_are_praised_only_where_they_help() -> None:
    helped = analyse(Setting(), *LOGISTIC_CHAIN)
    assert helped.skip[0] > helped.log10[0] + 50
    assert np.ptp(helped.skip_scaled[:-1]) < 1
    assert "in place" not in texts(explain_skips, helped)
    assert "1 + w h′" in texts(explain_skips, helped)
    assert "explode" in texts(explain_skips, analyse(Setting(), *RELU_CHAIN))
    assert texts(explain_skips, analyse(Setting(depth=2), *RELU_CHAIN)) == ""


def test_zeros_are_explained_only_where_there_are_any() -> None:
    assert "No gradient is 0" in texts(explain_zeros, analyse(Setting(), *RELU_CHAIN))
    assert texts(explain_zeros, analyse(Setting(), *LOGISTIC_CHAIN)) == ""
    dead = analyse(Setting(weight="-1"), *RELU_CHAIN)
    assert dead.zeros.zero_gradients == dead.zeros.total_weights == 304
    assert "304 of 304" in texts(explain_zeros, dead)
    assert "all of its chain" in texts(explain_switching, dead)
    blind = analyse(Setting(x="0,1"), *RELU_CHAIN)
    assert "its input is inactive: 152" in texts(explain_zeros, blind)


def test_dead_networks_are_told_with_theory_only_without_biases() -> None:
    assert "(1 − 2⁻ⁿ)¹⁵¹" in "".join(f.text for f in explain_dead(dead_networks(Setting(), units=(2,))))
    biased = "".join(f.text for f in explain_dead(dead_networks(Setting(bias="1"), units=(2,))))
    assert "2⁻ⁿ" not in biased
    assert list(explain_dead(dead_networks(Setting(depth=1)))) == []


@given(st.floats(-5000, 300))
def test_magnitudes_are_readable_at_any_size(log10: float) -> None:
    text = magnitude(log10)
    digits, _, exponent = text.partition("e")
    assert math.log10(float(digits)) + int(exponent or 0) == pytest.approx(log10, abs=0.03)


def test_the_settings_numbers_are_checked() -> None:
    for bad in (Setting(x="1"), Setting(x="1,nan"), Setting(t="inf"), Setting(bias="much"), Setting(depth=0)):
        with pytest.raises(RequestError):
            analyse(bad, *RELU_CHAIN)
