"""Each kind of sentence of problem 4, and each cell, over generated settings, against the slow computation."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli726.choices import Connect, Dtype, Hidden
from cli726.document.content import plain
from cli726.vanishing import Setting, analyse, count_zeros
from cli726.vanishing.findings import at_most, document, magnitude
from cli726.vanishing.network import Network, forward
from tests.cli726.vanishing.oracle import KINDS, Oracle, log10, settings

N = r"((?:1 − )?\d[\d.]*(?:e[-+]\d+)?)"
SIZE = re.compile(
    rf"\| ≈ {N}; whatever the activations \(h′ ≤ 1/4\), it is at most \|y − t\| \|x₁\| times {N}\. "
    rf"(?:The|Each path has) (\d+) factors? h′ ≤ {N}"
    r"(?: takes? ([\d.]+) orders of magnitude off it(.*))?\.$"
)
AT = rf"{N} at z = {N}"
PUSHED = re.compile(
    rf"⁾\| is {AT} in layer (\d+), {AT} with every bias 5 lower, {AT} with 5 higher \(figure saturation\)\.$"
)


def states(text: str, size: float) -> bool:
    """Whether a text is 10**size in two digits; "1 − small" states what is small."""
    value = Decimal(text.removeprefix("1 − "))
    if not value or size == -math.inf:
        return not value and size == -math.inf
    return abs(math.log10(value.scaleb(-value.adjusted())) + value.adjusted() - size) < 0.025


@pytest.mark.parametrize("part", range(2))
def test_what_is_said_of_a_network_holds(part: int) -> None:
    met: Counter[str] = Counter()
    for oracle in settings(260, 10 + part):
        result = analyse(oracle.setting, oracle.hidden, oracle.connect)
        answers = document([result])
        said = [finding.text for finding in answers.findings if finding.evidence]
        first = [item.evidence["log10"] for item in answers.findings if "bound_log10" in item.evidence]
        assert first in ([], [result.log10[0]])
        for text in said:
            kind = next(kind for kind in ("≈", "at z =", "gradients") if kind in text)
            {"≈": check_size, "at z =": check_pushed, "gradients": check_zeros}[kind](oracle, text)
            met[kind] += 1
        deep, zeros, text = oracle.depth > 1 and not oracle.relu, any(map(oracle.why_zero, oracle.w)), " ".join(said)
        assert ("≈" in text) == (deep and oracle.gradient((1, 1, 1)) != 0), oracle.setting
        assert ("at z =" in text) == (deep and oracle.rate((max(2, (oracle.depth + 1) // 2), 1, 1)) != 0)
        assert ("exactly 0" in text, "none of" in text) == (zeros, oracle.relu and not zeros), oracle.setting
        check_table(oracle, result, answers.tables[0].rows)
    assert min(met.values()) > 50
    assert len(met) == 3


def check_size(oracle: Oracle, text: str) -> None:
    """The first gradient's size, its bound, and what each factor takes off it or adds."""
    slopes, (size, bound, count, most, taken, others) = oracle.run[1], SIZE.findall(text)[0]
    assert states(size, log10(oracle.gradient((1, 1, 1)))), text
    ways = sum(math.prod(abs(oracle.w[step]) for step in path) for path in oracle.paths((1, 1, 1)))
    exact = Fraction(ways) / 4 ** (oracle.depth - 1)
    assert exact <= Fraction(bound) <= exact * Fraction("1.011"), text
    with oracle.precision():
        assert abs(oracle.rate((1, 1, 1))) <= mpmath.mpf(bound) * abs(oracle.number(oracle.x[0])), text
    largest = max(h for (_, unit), h in slopes.items() if unit == 1 or not oracle.chain)
    assert largest <= mpmath.mpf(most) <= largest * mpmath.mpf("1.011"), text
    assert int(count) == oracle.depth - 1
    after = range(2, oracle.depth + 1)
    factors = {"the product of the weights": sum(log10(oracle.w[k, 1, 1]) for k in after if oracle.chain)}
    factors |= {"the input": log10(oracle.x[0]), "the error": log10(oracle.run[2])}
    expected = {name: change for name, change in factors.items() if abs(change) >= 1 and oracle.chain}
    told = {name: (-1) ** (verb == "takes off") * float(change)
            for name, verb, change in re.findall(r"; ([a-z ]+?) (takes off|adds) ([\d.]+)", others)}  # fmt: skip
    assert told == pytest.approx(expected, abs=0.051), text
    if oracle.chain:
        assert float(taken) == pytest.approx(-sum(log10(slopes[k, 1]) for k in after), abs=0.051), text


def check_pushed(oracle: Oracle, text: str) -> None:
    """Three sizes and outputs, with the biases that are said."""
    own, z, layer, low, left, high, right = PUSHED.findall(text)[0]
    looked, place = (2 if oracle.depth == 2 else (oracle.depth + 1) // 2), max(2, (oracle.depth + 1) // 2)
    assert int(layer) == place
    for size, output, push in ((own, z, 0), (low, left, -5), (high, right, 5)):
        pushed = Oracle(oracle.setting, oracle.hidden, oracle.connect, push)
        assert states(size, log10(pushed.rate((looked, 1, 1)))), text
        with oracle.precision():
            exact = pushed.run[0][place, 1]
            assert ("−" in output) == (1 - exact < 0.01), text
            assert states(output, log10(1 - exact if "−" in output else exact)), text


def check_zeros(oracle: Oracle, text: str) -> None:
    reasons = Counter(filter(None, map(oracle.why_zero, oracle.w)))
    dead = [k for k in range(2, oracle.depth + 1) if not (oracle.run[1][k, 1] or oracle.run[1][k, 2])]
    if reasons:
        head = f"{oracle.name}: {reasons.total()} of {len(oracle.w)} gradients are exactly 0 ("
        tail = f"). Layer {dead[0]} has no active unit." if dead else ")."
        told = text.removeprefix(head).removesuffix(tail).split("; ")
        assert sorted(told) == sorted(f"{reason}: {count}" for reason, count in reasons.items()), text
    else:
        active = ": every hidden unit is active" if oracle.depth > 1 else ""
        assert text == f"{oracle.name}: none of the {len(oracle.w)} gradients is 0{active}."
        assert all(oracle.run[1].values())


def check_table(oracle: Oracle, result: Any, rows: Any) -> None:
    exact = [oracle.gradient((layer, 1, 1)) for layer in range(1, oracle.depth + 1)]
    shown = sorted({round(1 + step * (oracle.depth - 1) / 4) for step in range(5)})
    (_, *sizes, zeros, single, double), (_, *found, _, _, _) = rows
    assert all(states(str(size), log10(exact[layer - 1])) for size, layer in zip(sizes, shown, strict=True))
    assert found == [f"{abs(result.plain[oracle.setting.dtype][layer - 1]):.2g}" for layer in shown]
    assert zeros == f"{sum(map(bool, map(oracle.why_zero, oracle.w)))} of {len(oracle.w)}"
    for dtype, cell in zip(Dtype, (single, double), strict=True):
        lost = sum(not value and bool(right) for value, right in zip(result.plain[dtype], exact, strict=True))
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
    results = [analyse(Setting(depth=152), *kind) for kind in KINDS]
    answers, alone = document(results), [document([item]) for item in results]
    assert [list(item.questions) for item in (answers, *alone)] == [
        ["4.1", "4.2", "4.3", "4.4"], ["4.1", "4.2"], ["4.1", "4.2"], ["4.1", "4.3"], ["4.1", "4.4"],
    ]  # fmt: skip
    places = [[f.question for f in item.findings if "∏" in f.text] for item in (answers, *alone)]
    assert places == [["4.1", "4.4"], *[["4.1"]] * 4]
    assert answers.findings[0].text.startswith("∂Eₙ/∂w₁₁⁽ˡ⁾ = (y − t) z₁⁽ˡ⁾ ∏ₖ₌ₗ₊₁¹⁵² w₁₁⁽ᵏ⁾ h′(a₁⁽ᵏ⁾);")
    assert answers.lead == ["152 layers of weights, every weight 1, no biases, x = (1,1), t = 0.5."]
    one = document([analyse(Setting(depth=1, weight="normal:2", bias="-1", seed=3), *KINDS[0])])
    assert one.lead == ["1 layer of weights, weights normal:2, seed 3, biases -1, x = (1,1), t = 0.5."]
    assert [row[0] for row in answers.tables[0].rows] == [item.name for item in results]
    assert [plain(name) for name in answers.tables[0].columns[1:5]] == ["l = 1", "l = 51", "l = 102", "l = 152"]


@given(st.floats(-5000, 300), st.decimals(min_value="1e-400", max_value="1e9"))
def test_numbers_are_rounded_as_they_are_meant(size: float, value: Decimal) -> None:
    assert states(magnitude(size), size)
    assert len(Decimal(at_most(value)).normalize().as_tuple().digits) <= 3
    assert value <= Decimal(at_most(value)) <= value * Decimal("1.0101")


def test_numbers_of_ordinary_size_have_no_exponent() -> None:
    sizes = {"0.00012": -3.92, "1.0e-04": -4.0, "99": 1.9973, "100": 1.9979, "95499": 4.98, "1.0e+05": 5.0,
             "1.0e-07": -7.001, "0": -math.inf}  # fmt: skip
    assert [magnitude(size) for size in sizes.values()] == list(sizes)
