"""Problem 4's numbers and each kind of sentence, over generated settings, against fractions, mpmath and every path."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cli726.choices import Connect, Dtype, Hidden
from cli726.document import plain
from cli726.errors import RequestError
from cli726.vanishing import PUSHES, Setting, Vanishing, analyse, count_zeros
from cli726.vanishing.findings import at_most, document, magnitude
from cli726.vanishing.network import Network, build, forward, logistic
from tests.cli726.vanishing.oracle import KINDS, Oracle, log10, settings

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
NUMBER = re.compile(r"(?<![₀-₉])\d[\d.]*(?:e[-+]\d+)?(?<!\.)")
WORDS = {"weights": "the product of the weights", "input": "the input", "error": "the error"}


def states(text: str, size: float) -> bool:
    """Whether a text is 10**size in two digits."""
    value = Decimal(text)
    if not value or size == -math.inf:
        return not value and size == -math.inf
    return abs(math.log10(value.scaleb(-value.adjusted())) + value.adjusted() - size) < 0.025


@pytest.mark.parametrize("part", range(4))
def test_numbers_and_sentences_are_those_of_a_slow_computation(part: int) -> None:
    met: Counter[str] = Counter()
    for oracle in settings(130, 10 + part):
        result = analyse(oracle.setting, oracle.hidden, oracle.connect)
        check_numbers(oracle, result)
        check_structure(oracle, result)
        check_sentences(oracle, result, met)
    assert min(met.values()) > 30
    assert len(met) == 3


@pytest.mark.parametrize("told", ONCE_WRONG)
def test_zero_is_told_from_small(told: tuple[Setting, Hidden, Connect]) -> None:
    check_numbers(Oracle(*told), analyse(*told))


def check_numbers(oracle: Oracle, result: Vanishing) -> None:
    depth, residual = oracle.depth, oracle.run[2]
    sizes = {weight: log10(oracle.gradient(weight)) for weight in oracle.w if depth < 9 or weight[0] in (1, 2, depth)}
    for layer in {layer for layer, _, _ in sizes}:
        largest = max(size for weight, size in sizes.items() if weight[0] == layer)
        found = result.log10[layer - 1], result.largest[layer - 1]
        assert found == pytest.approx((sizes[layer, 1, 1], largest), abs=1e-9), (oracle.setting, layer)
    assert result.residual == pytest.approx(float(residual), rel=1e-12, abs=0), oracle.setting
    with oracle.precision():
        y = float(residual + oracle.number(oracle.t))
    assert result.y == pytest.approx(y, rel=1e-12, abs=1e-50), oracle.setting


def check_structure(oracle: Oracle, result: Vanishing) -> None:
    """Compare the bound, factors, saturation, and the gradients that are exactly 0 and why, with all paths in turn."""
    zeros, slopes, after = result.zeros, oracle.run[1], range(2, oracle.depth + 1)
    ways = sum(math.prod(abs(oracle.w[step]) for step in path) for path in oracle.paths((1, 1, 1)))
    bound = log10(Fraction(ways) / (1 if oracle.relu else 4 ** (oracle.depth - 1)))
    assert log10(Fraction(result.bound)) == pytest.approx(bound, abs=1e-9), oracle.setting
    largest = max((h for (_, unit), h in slopes.items() if unit == 1 or not oracle.chain), default=None)
    assert result.steepest == (
        largest if largest is None else pytest.approx(Decimal(str(largest)), rel=Decimal("1e-9"))
    )
    factors = {"slopes": (slopes[k, 1] for k in after), "weights": (oracle.w[k, 1, 1] for k in after if oracle.chain),
               "input": [oracle.x[0]], "error": [oracle.run[2]]}  # fmt: skip
    expected = {name: sum(map(log10, values)) for name, values in factors.items()} if oracle.chain else {}
    assert result.factors == pytest.approx(expected, abs=1e-9)
    reasons = {weight: oracle.why_zero(weight) for weight in oracle.w}
    assert all((reason is None) == bool(oracle.gradient(weight)) for weight, reason in reasons.items()), oracle.setting
    assert zeros.because == Counter(filter(None, reasons.values())), oracle.setting
    assert (zeros.zero_gradients, zeros.total_weights) == (sum(zeros.because.values()), len(oracle.w))
    dead = [k for k in after if not (slopes[k, 1] or slopes[k, 2])]
    assert (zeros.inactive_units, zeros.dead_layer) == (sum(not h for h in slopes.values()), dead[0] if dead else None)
    first = [w for w in oracle.w if w[0] == 1 and oracle.w[w] and oracle.x[w[2] - 1] and slopes.get((2, w[1]), True)]
    live = sum(oracle.live(path) for weight in first for path in oracle.paths(weight))
    assert zeros.live_paths_log10 == (pytest.approx(math.log10(live), abs=1e-12) if live else None), oracle.setting
    pushed = result.saturation
    assert (pushed is None) == (oracle.relu or oracle.depth == 1)
    assert PUSHES[[2, 6, 10]].tolist() == [-5, 0, 5]
    for row in (2, 6, 10) if pushed else ():
        check_push(oracle, pushed, row)


def check_push(oracle: Oracle, pushed: Any, row: int) -> None:
    """Compare what a bias does with the network that has this bias."""
    other, middle = Oracle(oracle.setting, oracle.hidden, oracle.connect, PUSHES[row]), (oracle.depth + 1) // 2
    place, layers = max(2, middle), (1, middle, oracle.depth) if oracle.depth > 2 else (1, 2)
    assert (pushed.layers, pushed.place) == (layers, place)
    z, slope = other.run[0][place, 1], other.run[1][place, 1]
    with other.precision():
        unit = (float(z), float(slope), float(mpmath.log(z / (1 - z))))
    found = (pushed.output[row], pushed.slope[row], pushed.activation[row])
    assert found == pytest.approx(unit, rel=1e-9, abs=1e-50)
    assert_allclose(pushed.log10[row], [log10(other.rate((layer, 1, 1))) for layer in layers], atol=1e-9)


def check_sentences(oracle: Oracle, result: Vanishing, met: Counter[str]) -> None:
    """Compare what is said with the numbers."""
    answers, said = document([result]), {}
    for finding in answers.findings:
        kind = next((kind for kind in ("≈", "at z =", "gradients") if kind in finding.text), "")
        if finding.evidence:
            met[kind] += 1
            said[kind] = finding.text.removeprefix(f"{oracle.name}: ")
            assert said[kind] != finding.text
    zeros, deep, pushed = result.zeros, oracle.depth > 1 and not oracle.relu, result.saturation
    assert ("≈" in said) == (deep and math.isfinite(result.log10[0])), oracle.setting
    if "≈" in said:
        size, _, _, bound, count, most, *others = NUMBER.findall(said["≈"])
        assert states(size, result.log10[0])
        assert result.bound <= Decimal(bound) <= result.bound * Decimal("1.011"), said
        assert result.steepest <= Decimal(most) <= result.steepest * Decimal("1.011"), said
        assert int(count) == oracle.depth - 1
        large = {name: size for name, size in result.factors.items() if name in WORDS and abs(size) >= 1}
        changes = [-result.factors["slopes"], *map(abs, large.values())] if oracle.chain else []
        assert list(map(float, others)) == pytest.approx(changes, abs=0.051), said
        named = [f"{WORDS[name]} {'adds' if size > 0 else 'takes off'}" for name, size in large.items()]
        assert re.findall(r"; ([a-z ]+?) [\d.]+", said["≈"].partition("1/4")[2].partition("factor")[2]) == named
    assert ("at z =" in said) == (deep and bool(np.isfinite(pushed.log10[[2, 6, 10], 1]).all()))
    if "at z =" in said:
        looked = said["at z ="].partition("⁽")[2].partition("⁾")[0].translate(SUPERSCRIPTS)
        texts = re.findall(r"([\d.]\S*) at z = (?:(1) − )?(\S+?),? ", said["at z ="])
        assert f" in layer {pushed.place}, " in said["at z ="]
        assert (int(looked), len(texts)) == (pushed.layers[1], 3)
        for row, (size, near, output) in zip((6, 2, 10), texts, strict=True):
            assert states(size, pushed.log10[row, 1]), said
            own, missing = (float(np.logaddexp(0, sign * pushed.activation[row])) / -math.log(10) for sign in (-1, 1))
            assert bool(near) == (missing < -2)
            assert states(output, missing if near else own), said
    if zeros.zero_gradients:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in zeros.because.items())
        dead = f" Layer {zeros.dead_layer} has no active unit." if zeros.dead_layer else ""
        expected = f"{zeros.zero_gradients} of {len(oracle.w)} gradients are exactly 0 ({reasons}).{dead}"
        assert said["gradients"] == expected
    elif oracle.relu:
        active = ": every hidden unit is active" if oracle.depth > 1 else ""
        assert said["gradients"] == f"none of the {len(oracle.w)} gradients is 0{active}."
        assert all(oracle.run[1].values())
    else:
        assert "gradients" not in said
    check_table(oracle, result, answers.tables[0].rows)


SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def check_table(oracle: Oracle, result: Vanishing, rows: Any) -> None:
    """Compare the row of the network, and that of ordinary code, with the numbers."""
    shown = sorted({round(1 + step * (oracle.depth - 1) / 3) for step in range(4)})
    (_, *sizes, zeros, single, double), (_, *found, _, _, _) = rows
    assert all(states(str(size), result.log10[layer - 1]) for size, layer in zip(sizes, shown, strict=True))
    assert found == [f"{abs(result.plain[oracle.setting.dtype][layer - 1]):.2g}" for layer in shown]
    assert zeros == f"{result.zeros.zero_gradients} of {len(oracle.w)}"
    for dtype, cell in zip(Dtype, (single, double), strict=True):
        lost = sum(
            not value and size > -math.inf for value, size in zip(result.plain[dtype], result.log10, strict=True)
        )
        wrong = sum(not math.isfinite(value) for value in result.plain[dtype])
        assert cell == (", ".join([f"0 in {lost}"] * bool(lost) + [f"inf in {wrong}"] * bool(wrong)) or "-")


def test_the_general_sentences_hold_for_every_weight() -> None:
    """4.1 and 4.4's formula, 4.2's ratio of neighbours; when gradients are 0, 4.3 and 4.4, is `Oracle.why_zero`."""
    shrinking = 0
    for oracle in settings(240, 20):
        (z, slopes, residual), gradients = oracle.run, {weight: oracle.gradient(weight) for weight in oracle.w}
        with oracle.precision():
            for (layer, i, j), value in gradients.items():
                paths = ([oracle.number(oracle.w[k, to, low]) * slopes[k, low] for k, to, low in path]
                         for path in oracle.paths((layer, i, j)))  # fmt: skip
                one = oracle.number(Fraction(1))
                formula = residual * z[layer, j] * sum(math.prod(path, start=one) for path in paths)
                assert abs(value - formula) * 10**30 <= abs(value)
            for layer in range(2, oracle.depth + 1) if oracle.chain and not oracle.relu else ():
                lower, upper, w = gradients[layer - 1, 1, 1], gradients[layer, 1, 1], oracle.w[layer, 1, 1]
                expected = z[layer - 1, 1] * (1 - z[layer, 1]) * oracle.number(w) * upper
                assert abs(lower - expected) * 10**30 <= abs(expected)
                if abs(oracle.x[0]) <= 1 and abs(w) <= 1 and upper:
                    shrinking += 1
                    assert abs(lower) < abs(upper)
    assert shrinking > 20


@pytest.mark.parametrize("connect", Connect)
@pytest.mark.parametrize("depth", [2, 3, 7])
def test_one_inactive_unit_and_one_inactive_layer_cost_what_is_said(connect: Connect, depth: int) -> None:
    """In networks of positive numbers; negative weights, larger than any bias, make a unit inactive."""
    units = 1 if connect is Connect.chain else 2
    chain, total = units == 1, 2 * depth if units == 1 else 4 * (depth - 1) + 2
    text = " ".join(f.text for f in document([analyse(Setting(depth=depth), Hidden.relu, connect)]).findings)
    assert (f"all {depth} of its chain are 0" if chain else f"without biases, all {total}") in text
    shape = (depth - 1, 2 // units, units, units)
    for layer, whole in itertools.product(range(2, depth + 1), (False, True)):
        inner, outer = np.full(shape, Decimal(1)), np.full(shape[1:3], Decimal(1))
        inner[layer - 2][(slice(None), slice(None)) if whole else (0, 0)] = Decimal(-(10**6))
        networks = [Network(Hidden.relu, inner, outer, outer, Decimal(bias), Decimal(-9)) for bias in (0, 1)]
        counts = [count_zeros(network, *forward(network)).zero_gradients for network in networks]
        leaving = units if layer < depth else 1
        if chain:
            assert counts == [depth * (1 + whole), layer * (1 + whole)]
        else:
            assert counts == ([total, 4 * (layer - 1) + 2 * leaving] if whole else [units + leaving] * 2)


def test_questions_stand_in_the_assignments_order_with_the_formula_of_each() -> None:
    results = [analyse(Setting(), *kind) for kind in KINDS]
    answers, alone = document(results), [document([item]) for item in results]
    assert [list(item.questions) for item in (answers, *alone)] == [
        ["4.1", "4.2", "4.3", "4.4"], ["4.1", "4.2"], ["4.1", "4.2"], ["4.1", "4.3"], ["4.1", "4.4"],
    ]  # fmt: skip
    places = [[f.question for f in item.findings if "∏" in f.text] for item in (answers, *alone)]
    assert places == [["4.1", "4.4"], *[["4.1"]] * 4]
    assert answers.findings[0].text.startswith("∂Eₙ/∂w₁₁⁽ˡ⁾ = (y − t) z₁⁽ˡ⁾ ∏ₖ₌ₗ₊₁¹⁵² w₁₁⁽ᵏ⁾ h′(a₁⁽ᵏ⁾);")
    assert answers.lead == ["152 layers of weights, every weight 1, no biases, x = (1,1), t = 0.5."]
    one = document([analyse(Setting(depth=1, weight="normal:2", bias="-1", seed=3), *LOGISTIC_CHAIN)])
    assert one.lead == ["1 layer of weights, weights normal:2, seed 3, biases -1, x = (1,1), t = 0.5."]
    assert len(one.findings) == 3
    assert [row[0] for row in answers.tables[0].rows] == [item.name for item in results]
    assert [plain(name) for name in answers.tables[0].columns[1:5]] == ["l = 1", "l = 51", "l = 102", "l = 152"]


@given(st.floats(-5000, 300), st.decimals(min_value="1e-400", max_value="1e9"))
def test_numbers_are_rounded_as_they_are_meant(size: float, value: Decimal) -> None:
    assert states(magnitude(size), size)
    assert len(Decimal(at_most(value)).normalize().as_tuple().digits) <= 3
    assert value <= Decimal(at_most(value)) <= value * Decimal("1.0101")
    # Numbers of ordinary size have no exponent.
    sizes = {"0.00012": -3.92, "1.0e-04": -4.0, "99": 1.9973, "100": 1.9979, "95499": 4.98, "1.0e+05": 5.0,
             "1.0e-07": -7.001, "0": -math.inf}  # fmt: skip
    assert [magnitude(size) for size in sizes.values()] == list(sizes)


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
    result = analyse(Setting(), *LOGISTIC_CHAIN)
    told, highest = result.to_json(), result.lost(Dtype.float32)[-1]
    assert told["underflow_layer"] == {"float32": highest, "float64": None}
    # The smallest float32 is 2^-149; the lost gradient is within a rounding of half of it.
    assert result.log10[highest - 1] < math.log10(2.0**-149) < result.log10[highest + 2]
    assert told["first_layer_bound"] == pytest.approx(4.0**-151, rel=1e-9)
    assert analyse(Setting(), *RELU_BIPARTITE).to_json()["overflow_layer"] == {"float32": 152, "float64": None}
    for weight, depth, bound in (("1000", 152, None), ("10", 309, None), ("10", 308, 1e307)):
        assert analyse(Setting(depth, weight), *RELU_CHAIN).to_json()["first_layer_bound"] == bound


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
