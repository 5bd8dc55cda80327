"""Every sentence of problem 3 on generated networks, decided in 300 digits by another way of differentiating."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from mpmath import mpf

from cli726.backprop import Backprop, Variable, document
from cli726.backprop.findings import wording
from cli726.backprop.network import CENTRAL_STEP
from cli726.choices import Hidden
from cli726.document.content import plain
from tests.cli726.backprop.oracle import Exact, agrees, number, results

COUNT = 240
CHECK = re.compile(
    r"Check: complex step (\S+) \(relative error (\S+)\), central difference (\S+) "
    r"\((?:(not testable: lost to rounding)|(\S+))\)\."
)
KINK = re.compile(r"Complex step (\S+), central difference (\S+): not testable, a ReLU kink is near\.")


@cache
def cases() -> list[tuple[Backprop, Exact]]:
    return [(result, Exact(result)) for result in results(COUNT)]


def test_settings_reach_every_kind_of_sentence() -> None:
    texts = " ".join(finding.text for result, _ in cases() for finding in document(result).findings)
    for part in (
        "lost to rounding",
        "a ReLU kink",
        "(and ",
        "no second",
        "no hidden",
        "only hidden",
        "0 ±",
        " = 0.",
        "Σ",
    ):
        assert part in texts, part


def test_each_member_of_a_derivation_is_the_derivative() -> None:
    for result, exact in cases():
        findings = [item for item in document(result).findings if "value" in item.evidence]
        for item, finding in zip(result.derivatives, findings, strict=True):
            true = exact.derivative(item.variable)
            *members, printed = finding.parts[0].source.split(" = ")
            left = members[0].replace("∂E_n/∂w", "w")
            if left[0] == "w":
                assert left == f"w_{item.variable.unit}{item.variable.source}^({item.variable.layer})"
            else:
                assert exact.value(left) == true
            for member in members[1:]:
                assert abs(exact.value(member) - true) <= mpf(10) ** -250 * abs(true), member
            assert agrees(printed, true), (printed, true)
            assert abs(number(item.value) - true) <= item.bound
            assert finding.question == item.question


def test_checks_say_what_numerical_differentiation_finds() -> None:
    for result, exact in cases():
        findings = [item for item in document(result).findings if "complex_step" in item.evidence]
        for item, finding in zip(result.derivatives, findings, strict=True):
            _, moved, _, _, true = exact.run(item.variable)
            passed = exact.run()[0]
            reach = max([mpf(1), *(abs(d) for layer in moved[:-1] for d in layer)])
            step = CENTRAL_STEP / reach
            # Of each hidden unit that moves, how far it stands from its kink, in steps.
            hidden = [pair for a, d in zip(passed[1:-1], moved[1:-1], strict=True) for pair in zip(a, d, strict=True)]
            distances = [abs(a / (d * step)) for a, d in hidden if d] if result.network.hidden is Hidden.relu else []
            if found := KINK.fullmatch(finding.text):
                dust = {(layer, unit) for layer, unit in result.kinks if moved[layer - 1][unit - 1]}
                assert dust or min(distances) <= 1.01
                continue
            assert min(distances, default=2) >= 0.99
            found = CHECK.fullmatch(finding.text)
            assert found, finding.text
            floor = 4 * item.bound / 1e-12
            assert abs(float(found[1]) - true) <= 1e-5 * abs(true) + 1e-12 * floor
            assert float(found[2]) <= 1e-12
            if found[4]:
                quotient = (exact.run(item.variable, step)[3] - exact.run(item.variable, -step)[3]) / (2 * number(step))
                assert abs(quotient - true) <= 1e-6 * abs(true)
                assert abs(item.central_difference - true) > 1e-8 * abs(true)
            else:
                assert abs(float(found[3]) - true) <= (1e-5 + 1.6 * float(found[5])) * max(abs(true), floor)


def test_layers_that_are_missing_are_named() -> None:
    for result, _ in cases():
        sizes = result.network.sizes
        reasons = {
            item.question: item.text for item in document(result).findings if item.question and not item.evidence
        }
        assert set(reasons) | {item.question for item in result.derivatives} == {f"3.{k}" for k in range(1, 7)}
        for question, reason in reasons.items():
            if question == "3.2":
                assert sizes[-2] == 1
                assert reason == f"Layer {len(sizes) - 1} has no second unit."
            elif len(sizes) == 2:
                assert reason == "There is no hidden layer."
            else:
                assert len(sizes) == 3
                assert reason == "The only hidden layer is the penultimate one."


def test_headings_name_the_derivative_and_what_it_is_in_terms_of() -> None:
    for result, _ in cases():
        sizes, headings = result.network.sizes, {n: plain(text) for n, text in wording(result.network.sizes).items()}
        for item in result.derivatives:
            place, _, rest = headings[item.question].partition(": ")
            layer = item.variable.layer + (item.variable.source is not None)
            assert {"Output layer": len(sizes), "Penultimate layer": len(sizes) - 1, "First weights": 2}[place] == layer
            terms = re.search(r" in terms of (the set of )?(δ\S+)$", rest)
            assert bool(terms) == (item.variable.source is None and layer < len(sizes))
            if terms:
                text = next(f.text for f in document(result).findings if f.question == item.question)
                assert terms[2] in text
                assert bool(terms[1]) == (sizes[layer] > 1) == ("Σ" in text)


def test_kinks_are_those_activations_that_rounding_leaves_at_0() -> None:
    for result, exact in cases():
        passed = exact.run()[0]
        warnings = [item for item in document(result).findings if not item.question]
        exactly = {(layer, u) for layer in range(2, len(passed)) for u, a in enumerate(passed[layer - 1], 1) if a == 0}
        if result.network.hidden is Hidden.logistic or not result.kinks:
            assert not warnings
            assert result.network.hidden is Hidden.logistic or not exactly
            continue
        assert exactly <= set(result.kinks)
        for layer, unit in result.kinks:
            assert abs(passed[layer - 1][unit - 1]) <= 2 * result.bounds.activations[layer - 2][unit - 1]
        others = len(result.kinks) - 1
        extra = re.search(r"\(and (\d+) (others?)\)", warnings[0].text)
        assert (others, others != 1) == ((int(extra[1]), extra[2] == "others") if extra else (0, True))


def test_settings_and_tables_state_numbers_that_are_right() -> None:
    chance = np.random.default_rng(0)
    for result, exact in cases():
        content = document(result)
        passed, _, sent, error, _ = exact.run()
        assert agrees(plain(content.lead[-1]).rpartition(" = ")[2][:-1], error)
        y = re.search(r"y = \(?(.*?)[,)]", plain(content.lead[-1]))[1]
        assert agrees(y, sent[-1][0])
        (table,) = content.tables
        confirmed = re.search(r"(\d+) of (\d+) gradients? confirmed", plain(table.title))
        weights = sum(matrix.size for matrix in result.gradients)
        untested = re.search(r"; (\d+) not testable", plain(table.title))
        assert "wrong" not in plain(table.title)
        assert int(confirmed[2]) == weights == int(confirmed[1]) + int(untested[1] if untested else 0)
        if len(table.columns) == 3:
            largest = [max(abs(g) for g in matrix.flat) for matrix in result.gradients]
            assert [len(table.rows), *(plain(row[2]) for row in table.rows)][1:] or largest
            continue
        units = [(layer, unit) for layer in range(2, len(passed) + 1) for unit in range(1, len(passed[layer - 1]) + 1)]
        for place in chance.choice(len(units), 2):
            (layer, unit), row = units[place], [plain(cell) for cell in table.rows[place]]
            assert agrees(row[1], passed[layer - 1][unit - 1])
            assert agrees(row[2], sent[layer - 1][unit - 1])
            assert agrees(row[3], exact.derivative(Variable(layer, unit)))
            for source, cell in enumerate(row[5].strip("()").split(", "), start=1):
                assert agrees(cell, exact.derivative(Variable(layer - 1, unit, source)))


@pytest.mark.parametrize("wrong", [0.9, 1.001, -1])
def test_a_wrong_derivative_is_refused(wrong: float) -> None:
    refused = 0
    for result, _ in cases():
        slipped = Backprop(
            result.network, result.x, result.t, result.passed, result.error,
            tuple(wrong * delta for delta in result.deltas), tuple(wrong * g for g in result.gradients), result.bounds,
        )  # fmt: skip
        for right, item in zip(result.derivatives, slipped.derivatives, strict=True):
            if not item.kink and abs(right.value) > 1e9 * right.bound:
                assert item.verdict == "failed"
                refused += 1
        if slipped.sweep["failed"]:
            assert f"; {slipped.sweep['failed']} wrong" in plain(document(slipped).tables[0].title)
    assert refused > COUNT
