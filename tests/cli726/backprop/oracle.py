"""Problem 3 in 300 digits, differentiated forward, as dual numbers are: another way than back-propagation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache

import numpy as np
from mpmath import mp, mpf

from cli726.backprop import Backprop, LayeredNetwork, Variable, solve
from cli726.choices import Hidden
from cli726.errors import RequestError

mp.dps = 300
SYMBOL = r"_(\d+|\d+,\d+)\^\((\d+)\)"
FACTOR = re.compile(
    rf"∂E_n/∂(?P<of>[ay]){SYMBOL[:0]}(?:_(?P<ofs>[\d,]+))?(?:\^\((?P<ofl>\d+)\))?"
    r"|∂(?P<up>[azy])(?:_(?P<ups>[\d,]+))?(?:\^\((?P<upl>\d+)\))?/∂(?P<by>[awz])_(?P<bys>[\d,]+)\^\((?P<byl>\d+)\)"
    r"|h'\(a_(?P<rate>\d+)\^\((?P<ratel>\d+)\)\)"
    r"|(?P<letter>delta|[wz])_(?P<sub>[\d,]+)\^\((?P<layer>\d+)\)"
    r"|x_(?P<x>\d+)|(?P<one>1\b)|\(?y(?:_(?P<y>\d+))? - t(?:_\d+)?\)?"
)


def number(value: float) -> mpf:
    """A number as it was typed."""
    return mpf(repr(float(value)))


class Exact:
    """One result computed again; ReLU units whose sign rounding hides are on the side that the program took."""

    def __init__(self, result: Backprop) -> None:
        self.network, self.sizes = result.network, result.network.sizes
        self.weights = [[[number(w) for w in row] for row in matrix] for matrix in self.network.weights]
        self.x, self.t = [number(v) for v in result.x], [number(v) for v in result.t]
        self.sides = {key: result.passed.activations[key[0] - 2][key[1] - 1] > 0 for key in result.kinks}
        self.run = cache(self._run)

    def _run(self, variable: Variable | None = None, shift: float = 0.0) -> tuple[list, list, list, mpf, mpf]:
        """a, da and z of each layer from 1, E, dE, with the variable shifted."""
        z, dz, passed, moved, sent = self.x, [mpf(0)] * len(self.x), [[]], [[]], [self.x]
        for layer, matrix in enumerate(self.weights, start=2):
            a = [mp.fdot(row, z) for row in matrix]
            da = [mp.fdot(row, dz) for row in matrix]
            if variable is not None and layer == variable.layer + (variable.source is not None):
                source = mpf(1) if variable.source is None else z[variable.source - 1]
                a[variable.unit - 1] += number(shift) * source
                da[variable.unit - 1] += source
            passed.append(a)
            moved.append(da)
            if layer == len(self.sizes):
                z, dz = a, da
            else:
                units = [self.unit(layer, unit, value) for unit, value in enumerate(a, start=1)]
                z, dz = [h for h, _ in units], [rate * d for (_, rate), d in zip(units, da, strict=True)]
            sent.append(z)
        r = [y - t for y, t in zip(z, self.t, strict=True)]
        return passed, moved, sent, mp.fdot(r, r) / 2, mp.fdot(r, dz)

    def unit(self, layer: int, unit: int, a: mpf) -> tuple[mpf, mpf]:
        """h(a) and h'(a)."""
        if self.network.hidden is Hidden.relu:
            active = self.sides.get((layer, unit), a > 0)
            return (a, mpf(1)) if active else (mpf(0), mpf(0))
        e = mp.exp(-abs(a))
        return (1 if a > 0 else e) / (1 + e), e / (1 + e) ** 2

    def derivative(self, variable: Variable) -> mpf:
        return self.run(variable)[4]

    def value(self, text: str) -> mpf:
        """What a formula comes to, symbol by symbol, as the sentences write it."""
        before, total, after = text.partition("Σ_k ")
        if total:
            layer = int(re.search(r"(?:a|delta)_k\^\((\d+)\)", after)[1])
            units = range(1, self.sizes[layer - 1] + 1)
            terms = [self.value(re.sub(r"_k(?=\d)", f"_{k},", after).replace("_k", f"_{k}")) for k in units]
            return self.value(before) * mp.fsum(terms)
        found = list(FACTOR.finditer(text))
        rest = FACTOR.sub("", text)
        assert not rest.strip(" ·"), (text, rest)
        return mp.fprod([self.factor(item) for item in found])

    def factor(self, item: re.Match[str]) -> mpf:
        def places(text: str) -> list[int]:
            return [int(part) for part in (text.split(",") if "," in text else text)]

        passed, _, sent, _, _ = self.run()
        if item["of"]:
            layer, unit = (int(item["ofl"] or len(self.sizes)), int(item["ofs"] or 1))
            return self.derivative(Variable(layer, unit))
        if item["up"]:
            below, layer = places(item["bys"]), int(item["byl"])
            if item["by"] == "w":
                assert (item["up"], item["ups"], int(item["upl"])) == ("a", str(below[0]), layer + 1)
                return sent[layer - 1][below[1] - 1]
            if item["by"] == "z":
                assert (item["up"], int(item["upl"])) == ("a", layer + 1)
                return self.weights[layer - 1][int(item["ups"]) - 1][below[0] - 1]
            if item["up"] == "y":
                assert layer == len(self.sizes)
                assert (item["ups"] or "1") == str(below[0])
                return mpf(1)
            assert (item["up"], item["ups"], int(item["upl"])) == ("z", str(below[0]), layer)
            return self.unit(layer, below[0], passed[layer - 1][below[0] - 1])[1]
        if item["rate"]:
            layer, unit = int(item["ratel"]), int(item["rate"])
            return self.unit(layer, unit, passed[layer - 1][unit - 1])[1]
        if item["letter"]:
            layer, indices = int(item["layer"]), places(item["sub"])
            if item["letter"] == "delta":
                return self.derivative(Variable(layer, indices[0]))
            return (
                self.weights[layer - 1][indices[0] - 1][indices[1] - 1]
                if item["letter"] == "w"
                else sent[layer - 1][indices[0] - 1]
            )
        if item["x"]:
            return self.x[int(item["x"]) - 1]
        unit = int(item["y"] or 1) - 1
        return mpf(1) if item["one"] else sent[-1][unit] - self.t[unit]


def agrees(text: str, exact: mpf) -> bool:
    """Whether a printed number is right to its last digit but one, "0 ± b" a bound, and "0" exact."""
    if text == "0":
        return exact == 0
    zero, sign, bound = text.partition(" ± ")
    if sign:
        return zero == "0" and abs(exact) <= number(float(bound))
    unit = mpf(10) ** Decimal(text).as_tuple().exponent
    return abs(mpf(text) - exact) <= 1.6 * unit


def results(count: int, seed: int = 3) -> Iterator[Backprop]:
    """Networks of 1 to 7 matrices and 1 to 4 units a layer; zeros, ties, kinks, saturation, huge and tiny numbers."""
    chance = np.random.default_rng(seed)

    def drawn(shape: tuple[int, ...], kind: str) -> np.ndarray:
        normal = np.round(chance.normal(size=shape) / math.sqrt(shape[-1]), 2) + 0.0
        return {
            "drawn": normal,
            "zero": normal * 0,
            "whole": chance.integers(-1, 2, shape).astype(float),
            "sparse": normal * chance.integers(0, 2, shape),
            "large": np.round(1000 * normal, 0),
            "huge": normal * 10.0 ** chance.integers(5, 12),
            "tiny": normal * 1e-20,
            "5000": 5000.0 * (np.arange(shape[-1]) == 0) * np.ones(shape),
        }[kind]

    weights_of = ["drawn"] * 5 + ["whole", "whole", "sparse", "zero", "large", "huge", "tiny"]
    while count:
        sizes = chance.integers(1, 5, chance.integers(2, 9))
        kinds = (
            chance.choice(weights_of, len(sizes)) if chance.random() < 0.3 else [chance.choice(weights_of)] * len(sizes)
        )
        weights = tuple(drawn((b, a), kind) for a, b, kind in zip(sizes, sizes[1:], kinds, strict=False))
        network = LayeredNetwork(weights, Hidden.relu if chance.random() < 0.5 else Hidden.logistic)
        x = drawn((sizes[0],), str(chance.choice(["drawn"] * 3 + ["zero", "whole", "sparse", "5000", "huge", "tiny"])))
        t = drawn((sizes[-1],), str(chance.choice(["drawn"] * 3 + ["zero", "whole", "huge"])))
        try:
            result = solve(network, x, t)
            if chance.random() < 0.15:
                result = solve(network, x, result.passed.outputs[-1])
        except RequestError:
            continue
        count -= 1
        yield result
