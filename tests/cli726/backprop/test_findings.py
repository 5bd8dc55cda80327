"""Every sentence of problem 3 on generated networks, decided in 300 digits by differentiating forward."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from cli726.backprop import Backprop, LayeredNetwork, Variable, solve
from cli726.backprop.findings import certain, document, symbol
from cli726.check.grammar import parse
from cli726.check.values import evaluate, network
from cli726.choices import Hidden
from cli726.document import Document, plain
from cli726.errors import RequestError

COUNT, DIGITS = 210, 300
QUOTIENT = re.compile("/".join([r"∂([Eyazw])(?:_([\w,]+))?(?:\^\((\d+)\))?"] * 2))
CHECK = re.compile(
    r"(Check|Wrong): complex step (\S+?)(?: \(relative error (\S+)\))?, central difference ([^\s:]+)"
    r"(?:: (not testable, a ReLU kink is near)| \((?:(not testable: lost to rounding)|(\S+))\))\."
)
TITLE = re.compile(r"; (\d+) of (\d+) gradients? confirmed .*?(?:; (\d+) not testable.*)?$")


def typed(value: float) -> mpf:
    return mpf(repr(float(value)))


@cache
def logistic(a: mpf) -> tuple[mpf, mpf]:
    e = mp.exp(-abs(a))
    return (1 if a > 0 else e) / (1 + e), e / (1 + e) ** 2


class Exact:
    """A result computed again; ReLU units whose sign rounding hides are on the side that the program took."""

    def __init__(self, result: Backprop) -> None:
        self.result, self.sizes = result, result.network.sizes
        self.weights = [[[typed(w) for w in row] for row in matrix] for matrix in result.network.weights]
        pairs = zip(result.values.activations, result.bounds.activations, strict=True)
        # Which activations are 0 to within rounding.
        self.dust = [np.abs(a) <= bound for a, bound in pairs]
        self.run = cache(self._run)

    def _run(self, variable: Variable | None = None, shift: float = 0) -> tuple[Any, ...]:
        """a and da of layers from 2, z of layers from 1, E and dE, with the variable shifted."""
        z, dz, passed, moved = [typed(v) for v in self.result.x], [mpf(0)] * self.sizes[0], [], []
        sent = [z]
        for layer, matrix in enumerate(self.weights, start=2):
            a, da = [mp.fdot(row, z) for row in matrix], [mp.fdot(row, dz) for row in matrix]
            if variable is not None and layer == variable.layer + (variable.source is not None):
                source = mpf(1) if variable.source is None else z[variable.source - 1]
                a[variable.unit - 1] += shift * source
                da[variable.unit - 1] += source
            z, dz = a, da
            if layer < len(self.sizes):
                z, rates = zip(*(self.unit(layer, unit, value) for unit, value in enumerate(a, start=1)), strict=True)
                dz = [rate * d for rate, d in zip(rates, da, strict=True)]
            passed, moved, sent = [*passed, a], [*moved, da], [*sent, z]
        r = [y - typed(t) for y, t in zip(z, self.result.t, strict=True)]
        return passed, moved, sent, mp.fdot(r, r) / 2, mp.fdot(r, dz)

    def unit(self, layer: int, unit: int, a: mpf) -> tuple[mpf, mpf]:
        """h(a) and h'(a)."""
        if self.result.network.hidden is Hidden.logistic:
            return logistic(a)
        chosen = self.result.values.activations[layer - 2][unit - 1] if self.dust[layer - 2][unit - 1] else a
        return (a, mpf(1)) if chosen > 0 else (mpf(0), mpf(0))

    def derivative(self, variable: Variable) -> mpf:
        return self.run(variable)[4]


def factor(quotient: re.Match[str]) -> str:
    """A partial derivative as the symbol that it is by the network's definition."""
    above, i, upper, below, j, lower = quotient.groups()
    kind, ends = above + below, (j or "").split(",") if "," in (j or "") else [*(j or "")]
    unit, source = ends if len(ends) == 2 else (j, "")
    if kind in ("Ey", "Ea"):
        return f"delta_{j}^({lower})" if lower else f"(y_{j} - t_{j})" if j else "(y - t)"
    if kind == "Ew":
        return f"delta_{unit}^({int(lower) + 1}) z_{source}^({lower})"
    if kind == "ya":
        return "1"
    assert int(upper) == int(lower) + (kind != "za")
    assert kind == "az" or i == (unit if kind == "aw" else j)
    return {"za": f"h'(a_{j}^({lower}))", "az": f"w_{i},{j}^({lower})", "aw": f"z_{source}^({lower})"}[kind]


def agrees(text: str, exact: mpf, most: int = 4) -> bool:
    """Whether a number of `most` digits is right to its last digit but one, "0 ± b" a bound, and "0" alone exact."""
    number, _, bound = text.partition(" ± ")
    if text == "...":
        return most == 4
    if text == "0" or (not bound and len(Decimal(text).as_tuple().digits) > most):
        return text == "0" and exact == 0
    limit = mpf(bound) if bound else 1.6 * mpf(10) ** Decimal(number).as_tuple().exponent
    return abs(mpf(number) - exact) <= limit


def results() -> Iterator[Backprop]:
    """Networks of 1 to 7 matrices and 1 to 4 units a layer; zeros, ties, kinks, saturation, huge and tiny numbers."""
    chance = np.random.default_rng(3)

    def drawn(kind: str, *shape: int) -> np.ndarray:
        whole = chance.integers(-1, 2, shape).astype(float)
        saturating = np.where(np.arange(shape[-1]) == 0, 5000.0, 0.0) * np.ones(shape)
        factor = {"zero": 0, "large": 1000, "huge": 10.0 ** chance.integers(5, 12), "tiny": 1e-20}.get(kind, 1)
        normal = factor * (np.round(chance.normal(size=shape) / math.sqrt(shape[-1]), 2) + 0.0)
        return {"whole": whole, "sparse": normal * abs(whole), "5000": saturating}.get(kind, normal)

    def solved() -> Backprop:
        sizes = chance.integers(1, 5, chance.integers(2, 9)).tolist() if chance.random() < 0.95 else [2, 7, 8, 2]
        kinds = chance.choice([*["drawn"] * 3, "whole", "sparse", "zero", "large", "huge", "tiny"], len(sizes))
        kinds = kinds if chance.random() < 0.3 else [kinds[0]] * len(sizes)
        weights = tuple(drawn(kind, b, a) for kind, a, b in zip(kinds, sizes, sizes[1:], strict=False))
        network = LayeredNetwork(weights, Hidden.relu if chance.random() < 0.5 else Hidden.logistic)
        x = drawn(chance.choice(["drawn", "drawn", "zero", "whole", "sparse", "5000", "huge", "tiny"]), sizes[0])
        result = solve(network, x, drawn(chance.choice(["drawn", "drawn", "zero", "whole", "huge"]), sizes[-1]))
        return solve(network, x, result.values.outputs[-1]) if chance.random() < 0.15 else result

    found = 0
    while found < COUNT:
        try:
            yield solved()
            found += 1
        except RequestError:
            continue


@cache
def cases() -> list[tuple[Backprop, Document, Exact]]:
    mp.dps = DIGITS
    return [(result, document(result), Exact(result)) for result in results()]


def test_each_member_of_a_derivation_is_the_derivative_and_its_number_right() -> None:
    texts = " ".join(finding.text for _, content, _ in cases() for finding in content.findings)
    kinds = "lost to rounding|a ReLU kink|no second|no hidden|only hidden|0 ±| = 0. |Σ|y₁ - t₁"
    assert not [kind for kind in kinds.split("|") if kind not in texts]
    for result, content, exact in cases():
        # Members are compared in a network of random fractions, exactly; numbers in the one at hand.
        findings, world = [item for item in content.findings if "value" in item.evidence], network(exact.sizes, 1)
        for (question, item), finding in zip(result.derivatives.items(), findings, strict=True):
            true, layer = exact.derivative(item.variable), item.variable.layer
            *members, printed = finding.parts[0].source.split(" = ")
            _, unit, source = vars(item.variable).values()
            value = world.values[f"delta_{unit}^({layer + (source is not None)})"]
            value *= 1 if source is None else world.symbol("z", [source], layer)
            assert all(evaluate(parse(QUOTIENT.sub(factor, member)), world) == value for member in members), members
            assert agrees(printed, true, 6), (printed, true)
            assert abs(typed(item.value) - true) <= item.bound
            assert (printed == "0") == (item.bound == 0)
            assert finding.question == question
            assert question != "3.1" or ("y - t" in finding.text) == (exact.sizes[-1] == 1)
            if layer == 1 and result.x[source - 1] == 0:
                assert printed == "0"


def test_checks_say_what_numerical_differentiation_finds() -> None:
    for result, content, exact in cases():
        findings = [item for item in content.findings if "complex_step" in item.evidence]
        for item, finding in zip(result.derivatives.values(), findings, strict=True):
            passed, moved, _, _, true = *exact.run()[:1], *exact.run(item.variable)[1:]
            step = 2 ** mpf(-52 / 3) / max([mpf(1), *(abs(d) for layer in moved[:-1] for d in layer)])
            # Of each ReLU unit that moves, how far it stands from its kink, in steps.
            relu = slice(0, -1 if result.network.hidden is Hidden.relu else 0)
            layers = zip(passed[relu], moved[relu], exact.dust[relu], strict=True)
            movements = [unit for layer in layers for unit in zip(*layer, strict=True)]
            units = [(abs(a / (d * step)), dust) for a, d, dust in movements if d]
            verdict, complex_step, wrong, central, kink, lost, apart = CHECK.fullmatch(finding.text).groups()
            assert verdict == "Check"
            assert not kink or any(dust or distance < 1.01 for distance, dust in units)
            if kink:
                continue
            assert all(distance > 0.99 and not dust for distance, dust in units)
            floor = 4 * item.bound / 1e-12
            assert abs(mpf(complex_step) - true) <= 1e-5 * abs(true) + 1e-12 * floor
            assert float(wrong) <= 1e-12
            if lost and abs(true) * step > mpf(10) ** -200 * result.values.error:
                quotient = (exact.run(item.variable, step)[3] - exact.run(item.variable, -step)[3]) / (2 * step)
                assert abs(quotient - true) <= 1e-6 * abs(true)
                assert abs(item.central_difference - true) > 1e-8 * abs(true)
            elif not lost:
                scale = max(abs(true), abs(mpf(central)), floor)
                assert abs(mpf(central) - true) <= (1e-5 + 1.6 * float(apart)) * scale


@pytest.mark.parametrize(
    ("sizes", "there"),
    [
        ((3, 3, 3, 1), [" = ∂Eₙ/∂a₁⁽⁴⁾", "from it, ∂Eₙ/∂w₁₂⁽³⁾", " in terms of δ₁⁽⁴⁾", "from it, ∂Eₙ/∂w₁₁⁽²⁾",
                        " in terms of the set of δₖ⁽³⁾", "from it, ∂Eₙ/∂w₁₁⁽¹⁾"]),
        ((1, 2, 1, 1, 2), [" = ∂Eₙ/∂a₁⁽⁵⁾", "Layer 4 has no second unit.", " in terms of the set of δₖ⁽⁵⁾",
                           "from it, ∂Eₙ/∂w₁₁⁽³⁾", " in terms of δ₁⁽³⁾", "from it, ∂Eₙ/∂w₁₁⁽¹⁾"]),
        ((2, 2, 1), [" = ∂Eₙ/∂a₁⁽³⁾", "from it, ∂Eₙ/∂w₁₂⁽²⁾", " in terms of δ₁⁽³⁾", "from it, ∂Eₙ/∂w₁₁⁽¹⁾",
                     *["The only hidden layer is the penultimate one."] * 2]),
        ((2, 1), [" = ∂Eₙ/∂a₁⁽²⁾", "from it, ∂Eₙ/∂w₁₂⁽¹⁾", *["There is no hidden layer."] * 4]),
    ],
)  # fmt: skip
def test_headings_and_missing_layers(sizes: tuple[int, ...], there: list[str]) -> None:
    weights = tuple(np.ones((above, below)) for below, above in pairwise(sizes))
    content = document(solve(LayeredNetwork(weights), np.ones(sizes[0]), np.ones(sizes[-1])))
    places = [place for place in ("Output layer", "Penultimate layer", "First weights") for _ in range(2)]
    for (_, heading, findings, _), place, end in zip(content.answers(), places, there, strict=False):
        assert (plain(heading) == place) == end.endswith(".")
        assert plain(heading).startswith(place)
        assert (findings[0].text if end.endswith(".") else plain(heading)).endswith(end)


def test_settings_and_tables_state_numbers_that_are_right() -> None:
    chance = np.random.default_rng(0)
    for result, content, exact in cases():
        passed, _, sent, error, _ = exact.run()
        setting = re.search(r": y = (.*), Eₙ = (.*) = (.*)\.$", plain(content.lead[-1]))
        assert setting[2] == ("1/2 (y - t)²" if len(sent[-1]) == 1 else "1/2 Σₖ (yₖ - tₖ)²")
        assert agrees(setting[3], error, 6)
        assert all(map(agrees, setting[1].strip("()").split(", "), sent[-1]))
        (table,) = content.tables
        confirmed, weights, kinks = re.search(TITLE, plain(table.title)).groups()
        assert int(confirmed) + int(kinks or 0) == int(weights) == sum(g.size for g in result.values.gradients)
        units = [(layer, k) for layer, row in enumerate(passed, start=2) for k in range(1, len(row) + 1)]
        units = units if len(units) <= 12 else [*units[:6], None, *units[-6:]]
        assert len(table.rows) == len(units)
        for unit, row in [(units[place], table.rows[place]) for place in chance.choice(len(units), 2)]:
            name, a, z, delta, _, gradients = map(plain, row)
            if unit is None:
                assert name == gradients == "..."
                continue
            layer, k = unit
            variables = [Variable(layer, k), *(Variable(layer - 1, k, j + 1) for j in range(len(sent[layer - 2])))]
            cells = (a, z, delta, *gradients.strip("()").split(", "))
            exactly = (passed[layer - 2][k - 1], sent[layer - 1][k - 1], *map(exact.derivative, variables))
            assert all(map(agrees, cells, exactly)), (cells, exactly)


def test_a_unit_at_its_kink_is_not_testable_where_it_is_moved_nor_are_too_many_weights() -> None:
    weights = (np.zeros((1, 2)), np.ones((1, 1)))
    result = solve(LayeredNetwork(weights, Hidden.relu), np.array([1.0, 0.0]), np.ones(1))
    assert plain(document(result).tables[0].title).startswith("All units; 2 of 3 gradients confirmed")
    assert plain(document(result).tables[0].title).endswith("; 1 not testable, a ReLU kink is near")
    assert [item.complex_step for item in result.derivatives.values()] == [-1, 0, 0]
    for count in (2000, 2001):
        many = solve(LayeredNetwork((np.ones((1, count)),)), np.ones(count), np.ones(1))
        assert (many.sweep is None) == (plain(document(many).tables[0].title) == "All units") == (count > 2000)


def test_numbers_have_four_digits_in_tables_six_in_answers_and_of_many_two_are_shown() -> None:
    for count, x, gradients in ((4, "(1, 2, 3, 4)", "(3.333, 6.667, 10, 13.33)"), (5, "(1, 2, ...)", "(5, 10, ...)")):
        weights = np.full((1, count), 1 / 3)
        content = document(solve(LayeredNetwork((weights,)), np.arange(1.0, count + 1), np.zeros(1)))
        assert plain(content.lead[-1]).startswith(f"x = {x}, t = 0: y = {gradients.split(',')[0][1:]}, Eₙ = ")
        assert plain(content.tables[0].rows[0][-1]) == gradients
        assert content.findings[0].text.endswith({4: " = 3.33333.", 5: " = 5."}[count])
    numbers = [(1 / 3, 0), (0.123456, 1e-3), (1e-9, 1e-8), (0, 0), (2, 1), (30, 1)]
    assert (symbol("w", 1, 2, 11), symbol("z", 1, 3)) == ("w_2,11^(1)", "x_3")
    assert [certain(*number) for number in numbers] == ["0.333333", "0.12", "0 ± 2e-08", "0", "0 ± 6e+00", "3e+01"]


def test_a_wrong_derivative_is_refused() -> None:
    refused = 0
    for number, (result, _, _) in enumerate(cases()):
        slip = (0.9, 1.00001, -1)[number % 3]
        right = result.values
        deltas, gradients = ([slip * part for part in parts] for parts in (right.deltas, right.gradients))
        wrong = right._replace(deltas=deltas, gradients=gradients)
        slipped = Backprop(result.network, result.x, result.t, wrong, result.bounds)
        content = document(slipped)
        for question, item in slipped.derivatives.items():
            if not item.kink and abs(item.value) > max(1e9 * item.bound, 1e-180):
                assert any(f.question == question and f.text.startswith("Wrong: complex") for f in content.findings)
                refused += 1
        title = plain(content.tables[0].title)
        assert (f"; {slipped.sweep['failed']} wrong" in title) == (slipped.sweep["failed"] > 0)
    assert refused > COUNT
