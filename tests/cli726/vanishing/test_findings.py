"""Each kind of sentence of problem 4, over generated settings, against the slow computation."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli726.choices import Connect, Dtype, Hidden
from cli726.document import Document
from cli726.document.content import plain
from cli726.vanishing import Setting, analyse, document, formula
from cli726.vanishing.findings import at_most
from cli726.vanishing.gradients import count_zeros
from cli726.vanishing.network import Network, Stack, forward
from cli726.vanishing.tables import lost, magnitude
from tests.cli726.vanishing.oracle import KINDS, Oracle, log10, settings

NUMBER = r"(?:1 − )?\d+(?:\.\d+)?(?:e[-+]\d+)?"


def said(answers: Document, question: str, start: str) -> list[str]:
    return [f.text for f in answers.findings if f.question == question and f.text.startswith(start)]


def read(text: str) -> Decimal:
    """The number that a sentence states; 1 − small as what is missing to 1."""
    return Decimal(text.removeprefix("1 − "))


def states(text: str, size: float) -> bool:
    """Whether a text is 10**size in two digits."""
    value = read(text)
    if not value or size == -math.inf:
        return not value and size == -math.inf
    return abs(math.log10(value.scaleb(-value.adjusted())) + value.adjusted() - size) < 0.025


@pytest.mark.parametrize("part", range(2))
def test_what_is_said_of_a_network_holds(part: int) -> None:
    counts: dict[str, int] = {}
    for oracle in settings(260, 10 + part):
        for kind in check(oracle):
            counts[kind] = counts.get(kind, 0) + 1
    # Every kind of sentence was met, and each was also left out somewhere.
    assert counts.keys() == {"factors", "paths", "bound", "saturation", "zeros", "none", "table"}
    assert all(count > 20 for count in counts.values()), counts


def check(oracle: Oracle) -> Iterator[str]:
    result = analyse(oracle.setting, oracle.hidden, oracle.connect)
    answers = document([result])
    place = (oracle.setting, oracle.hidden, oracle.connect)
    first, (z, slopes, residual) = oracle.gradient((1, 1, 1)), oracle.run
    known = 1
    for text in said(answers, "4.2", "In the logistic"):
        known += 1
        yield check_factors(oracle, text, place)
    for text in said(answers, "4.2", "Whatever the activations"):
        known += 1
        (bound,) = re.findall(rf"times ({NUMBER}) in the", text)
        ways = sum(math.prod(abs(oracle.w[step]) for step in path) for path in oracle.paths((1, 1, 1)))
        exact = Fraction(ways) / 4 ** (oracle.depth - 1)
        assert exact <= Fraction(read(bound)) <= exact * Fraction("1.011"), place
        with mpmath.workdps(oracle.digits):
            assert abs(first) <= mpmath.mpf(bound) * abs(residual) * abs(oracle.number(oracle.x[0])), place
        yield "bound"
    for text in said(answers, "4.2", "Figure saturation"):
        known += 1
        check_saturation(oracle, text, place)
        yield "saturation"
    reasons = [oracle.why_zero(weight) for weight in oracle.w]
    zeros = [f.text for f in answers.findings if " here: " in f.text]
    number = next(
        iter(re.findall(r"4\.\d", "4.2" if not oracle.relu else "4.3" if oracle.connect == "chain" else "4.4"))
    )
    assert bool(zeros) == (oracle.relu or any(reasons)), place
    for text in zeros:
        known += 1
        assert text in said(answers, number, "")
        yield check_zeros(oracle, text, reasons, place)
    assert sum(bool(f.evidence) for f in answers.findings) == known - 1, place
    check_table(oracle, result, answers)
    yield "table"
    del z, slopes


def check_factors(oracle: Oracle, text: str, place: object) -> str:
    """The size, the largest slope, what each factor takes."""
    slopes = oracle.run[1]
    size, count, most = re.findall(
        rf"∂w₁₁⁽¹⁾\| ≈ ({NUMBER}): (?:the|each path has) (\d+) factors? h′ ≤ ({NUMBER})", text
    )[0]
    assert states(size, log10(oracle.gradient((1, 1, 1)))), place
    assert int(count) == oracle.depth - 1
    chain = oracle.connect is Connect.chain
    on_the_way = [h for (_, unit), h in slopes.items() if unit == 1 or not chain]
    assert max(on_the_way) <= mpmath.mpf(most) <= max(on_the_way) * mpmath.mpf("1.011"), place
    if not chain:
        return "paths"
    taken, best, power = re.findall(
        rf"takes? ([\d.]+) orders of magnitude off it \(at 1/4 each ([\d.]+): 4\S+ ≈ ({NUMBER})\)", text
    )[0]
    assert float(taken) == pytest.approx(-sum(log10(slopes[k, 1]) for k in range(2, oracle.depth + 1)), abs=0.051), (
        place
    )
    assert float(best) == pytest.approx((oracle.depth - 1) * math.log10(4), abs=0.051)
    assert states(power, -(oracle.depth - 1) * math.log10(4))
    factors = {
        "the product of the weights": sum(log10(oracle.w[k, 1, 1]) for k in range(2, oracle.depth + 1)),
        "the input": log10(oracle.x[0]),
        "the error": log10(oracle.run[2]),
    }
    for name, change in factors.items():
        found = re.findall(rf"{name} (takes off|adds) ([\d.]+?)(?=[;.]$|;)", text)
        assert bool(found) == (abs(change) >= 1), (place, name)
        if found:
            assert (found[0][0] == "adds") == (change > 0)
            assert float(found[0][1]) == pytest.approx(abs(change), abs=0.051)
    return "factors"


def check_saturation(oracle: Oracle, text: str, place: object) -> None:
    """Three sizes and outputs, each with the biases that are said."""
    layer = max(2, (oracle.depth + 1) // 2)
    shown = re.findall(rf"({NUMBER}) at z = ({NUMBER})", text)
    assert f"in layer {layer};" in text
    assert len(shown) == 3
    for (size, z), push in zip(shown, (0, -5, 5), strict=True):
        pushed = Oracle(oracle.setting, oracle.hidden, oracle.connect, Fraction(push))
        assert states(size, log10(pushed.rate((layer if oracle.depth == 2 else (oracle.depth + 1) // 2, 1, 1)))), (
            place,
            text,
        )
        with mpmath.workdps(oracle.digits):
            output = pushed.run[0][layer, 1]
            assert states(z, log10(1 - output if z.startswith("1 − ") else output)), (place, text)


def check_zeros(oracle: Oracle, text: str, reasons: list[str | None], place: object) -> str:
    zero, total = sum(map(bool, reasons)), len(reasons)
    active = all(oracle.run[1].values())
    if not zero:
        assert f"none of the {total} gradients is 0" in text, place
        assert ("every hidden unit is active" in text) == (oracle.depth > 1)
        assert active, place
        return "none"
    assert f"{zero} of {total} gradients are exactly 0 (" in text, place
    for reason in {reason for reason in reasons if reason}:
        assert f"{reason}: {reasons.count(reason)}" in text, place
    layers = [k for k in range(2, oracle.depth + 1) if not (oracle.run[1][k, 1] or oracle.run[1][k, 2])]
    assert re.findall(r"Layer (\d+) has no active unit", text) == [str(k) for k in layers[:1]], place
    return "zeros"


def check_table(oracle: Oracle, result: Any, answers: Document) -> None:
    (table,) = answers.tables
    assert [int(row[0]) for row in table.rows][-1] == oracle.depth
    for layer, gradient, logarithm, _ in table.rows:
        exact = oracle.gradient((int(layer), 1, 1))
        assert states(str(gradient).lstrip("+−"), log10(exact))
        assert str(gradient)[0] == ("0" if not exact else "+" if exact > 0 else "−")
        assert logarithm == (f"{log10(exact):.2f}" if exact else "")
    for dtype in Dtype:
        exact = [oracle.gradient((layer, 1, 1)) for layer in range(1, oracle.depth + 1)]
        missing = sum(not found and bool(value) for found, value in zip(result.plain[dtype], exact, strict=True))
        wrong = sum(not math.isfinite(found) for found in result.plain[dtype])
        parts = [f"0 in {missing}"] * bool(missing) + [f"inf in {wrong}"] * bool(wrong)
        assert lost(result, dtype) == (", ".join(parts) or "-")
        assert (f"{dtype}: {lost(result, dtype)}" in plain(table.title or "")) == bool(parts)


def test_the_general_sentences_hold_for_every_weight() -> None:
    """4.1 and 4.2's ratio of neighbours, 4.3's condition both ways, 4.4's from paths."""
    shrinking = 0
    for oracle in settings(240, 20):
        z, slopes, residual = oracle.run
        gradients = {weight: oracle.gradient(weight) for weight in oracle.w}
        for (layer, i, j), value in gradients.items():
            paths = oracle.paths((layer, i, j))
            with mpmath.workdps(oracle.digits):
                products = [
                    math.prod(
                        (oracle.number(oracle.w[step]) * slopes[step[0], step[2]] for step in path),
                        start=oracle.number(Fraction(1)),
                    )
                    for path in paths
                ]
                assert abs(value - residual * z[layer, j] * sum(products)) * 10**30 <= abs(value)
            if oracle.relu and oracle.connect is Connect.chain:
                after = [(k, 1 if k == oracle.depth else j, j) for k in range(layer + 1, oracle.depth + 1)]
                stops = any(not slopes[k, j] or not oracle.w[k, to, j] for k, to, _ in after)
                assert (value == 0) == (not residual or not z[layer, j] or stops)
            if oracle.relu and oracle.connect is Connect.bipartite:
                live = any(map(oracle.live, paths)) and (layer == oracle.depth or bool(slopes[layer + 1, i]))
                assert (value == 0) == (not residual or not z[layer, j] or not live)
        if not oracle.relu and oracle.connect is Connect.chain:
            for layer in range(2, oracle.depth + 1):
                with mpmath.workdps(oracle.digits):
                    up = (layer, 1, 1)
                    expected = z[layer - 1, 1] * (1 - z[layer, 1]) * oracle.number(oracle.w[up]) * gradients[up]
                    lower = gradients[layer - 1, 1, 1]
                    assert abs(lower - expected) * 10**30 <= abs(expected)
                    if abs(oracle.x[0]) <= 1 and abs(oracle.w[up]) <= 1 and gradients[up]:
                        shrinking += 1
                        assert abs(lower) < abs(gradients[up])
    assert shrinking > 20


@pytest.mark.parametrize("connect", Connect)
@pytest.mark.parametrize("depth", [2, 3, 7])
def test_one_inactive_unit_and_one_inactive_layer_cost_what_is_said(connect: Connect, depth: int) -> None:
    """In networks of positive numbers; negative weights, larger than any bias, make a unit inactive."""
    units = 1 if connect is Connect.chain else 2
    chain, total = units == 1, 2 * depth if units == 1 else 4 * (depth - 1) + 2
    text = " ".join(f.text for f in document([analyse(Setting(depth=depth), Hidden.relu, connect)]).findings)
    assert (f"all {depth} of its chain are 0" if chain else f"without biases, all {total}") in text
    rows = [[Decimal(1)] * units] * units
    for layer, whole in itertools.product(range(2, depth + 1), (False, True)):
        stacks = []
        for place in range(2 // units):
            silent = [[Decimal(-(10**6))] * units if whole or (place, i) == (0, 0) else rows[0] for i in range(units)]
            inner = [silent if at == layer else rows for at in range(2, depth + 1)]
            stacks.append(Stack(inner, rows[0], rows[0]))
        networks = [Network(Hidden.relu, stacks, Decimal(bias), Decimal(-9)) for bias in (0, 1)]
        counts = [count_zeros(network, *forward(network)).zero_gradients for network in networks]
        leaving = units if layer < depth else 1
        if chain:
            assert counts == [depth * (1 + whole), layer * (1 + whole)]
        else:
            assert counts == ([total, 4 * (layer - 1) + 2 * leaving] if whole else [units + leaving] * 2)


def test_questions_stand_in_the_assignments_order_and_say_the_setting() -> None:
    results = [analyse(Setting(depth=4), *kind) for kind in KINDS]
    answers = document(results)
    assert list(answers.questions) == ["4.1", "4.2", "4.3", "4.4"]
    assert answers.lead == ["4 layers of weights, every weight 1, no biases, x = (1,1), t = 0.5."]
    asked = {kind: list(document([item]).questions) for kind, item in zip(KINDS, results, strict=True)}
    assert list(asked.values()) == [["4.1", "4.2"], ["4.1", "4.2"], ["4.1", "4.3"], ["4.1", "4.4"]]
    one = document([analyse(replace(Setting(), depth=1, weight="normal:2", bias="-1", seed=3), *KINDS[0])])
    assert one.lead == ["1 layer of weights, weights normal:2, seed 3, biases -1, x = (1,1), t = 0.5."]
    assert not [f for f in one.findings if f.evidence]
    (table,) = answers.tables
    assert [row[0] for row in table.rows] == ["logistic chain", "logistic bipartite", "ReLU chain", "ReLU bipartite"]
    assert [plain(name) for name in table.columns[1:5]] == ["l = 1", "l = 2", "l = 3", "l = 4"]
    for row, item in zip(table.rows, results, strict=True):
        assert [str(cell) for cell in row[1:5]] == [magnitude(size) for size in item.log10]
        assert row[5] == f"0 of {item.zeros.total_weights}"


def test_the_formula_is_the_assignments() -> None:
    assert plain(formula(Connect.chain, 152)) == "∂Eₙ/∂w₁₁⁽ˡ⁾ = (y − t) z₁⁽ˡ⁾ ∏ₖ₌ₗ₊₁¹⁵² w₁₁⁽ᵏ⁾ h′(a₁⁽ᵏ⁾)"
    both = document([analyse(Setting(depth=3), *kind) for kind in KINDS])
    places = [f.question for f in both.findings if "∏" in f.text]
    assert places == ["4.1", "4.4"]
    assert [f.question for f in document([analyse(Setting(depth=3), *KINDS[3])]).findings if "∏" in f.text] == ["4.1"]


@given(st.floats(-5000, 300))
def test_magnitudes_are_readable_at_any_size(log10: float) -> None:
    assert states(magnitude(log10), log10)


@given(st.decimals(min_value="1e-400", max_value="1e9", places=None))
def test_upper_limits_are_rounded_up(value: Decimal) -> None:
    assert value <= Decimal(at_most(value)) <= value * Decimal("1.0101")
