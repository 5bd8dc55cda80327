"""Problem 4 again, slowly: fractions, mpmath with all digits that it takes, forward derivatives, every path in turn."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import mpmath
import numpy as np

from cli726.choices import Connect, Dtype, Hidden
from cli726.vanishing import Setting

Weight = tuple[int, int, int]  # layer, unit that it enters, unit that it leaves: from 1
KINDS = list(itertools.product(Hidden, Connect))
WEIGHTS = ["1", "0", "-1", "0.5", "2", "-0.3", "1/3", "20", "-30", "15", "0.1", "normal:1", "normal:50", "normal:.01"]
BIASES = [None, None, "0", "0.5", "-1", "20", "-20", "1/3", "-0.1", "-10"]
INPUTS = ["1,1", "1,1", "0,0", "0,1", "1,-1", "-1,-1", "1e-20,1", "0.5,0.25", "7,-3", "1,2", "-1,1", "1/7,2"]
TARGETS = ["0.5", "0", "1", "2", "0.3", "-10", "1/3"]


class Oracle:
    """One network: its numbers as they were typed, units 1 and 2 in each layer, whatever connects them."""

    def __init__(self, setting: Setting, hidden: Hidden, connect: Connect, pushed: float = 0.0) -> None:
        self.setting, self.hidden, self.connect, self.depth = setting, hidden, connect, setting.depth
        self.relu, self.chain = hidden is Hidden.relu, connect is Connect.chain
        self.name, units = f"{'ReLU' if self.relu else 'Logistic'} {connect}", 1 if self.chain else 2
        self.bias, self.t, self.pushed = Fraction(setting.bias or 0), Fraction(setting.t), Fraction(pushed)
        self.x = [Fraction(part) for part in setting.x.split(",")]
        kind, _, size = setting.weight.partition(":")
        generator = np.random.default_rng([setting.seed, units])
        self.w: dict[Weight, Fraction] = {}
        shape = (self.depth - 1, 2 // units, units, units)
        for inner, dimensions in ((True, shape), (False, shape[1:3])):
            drawn = generator.normal(0, float(Fraction(size)), dimensions) if kind == "normal" else None
            for at in itertools.product(*map(range, dimensions)):
                layer, group, *ends = at if inner else (self.depth - 1, *at)
                to, source = ends[0] + group * units if inner else 0, ends[-1] + group * units
                self.w[layer + 1, to + 1, source + 1] = Fraction(setting.weight if drawn is None else drawn[at])
        largest = abs(self.bias) + 2 * max(map(abs, self.w.values())) * max(1, *map(abs, self.x))
        # As many as a saturated unit, or a contraction layer after layer, can take.
        self.digits = int(80 + self.depth + 2 * float(largest))

        self.precision = partial(mpmath.workdps, self.digits)

    def number(self, value: Fraction) -> Any:
        return value if self.relu else mpmath.mpf(value.numerator) / value.denominator

    @cached_property
    def run(self) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any], Any]:
        """z and h' of each unit, and y - t."""
        with self.precision():
            z = {(1, unit): self.number(x) for unit, x in enumerate(self.x, start=1)}
            slope: dict[tuple[int, int], Any] = {}
            for layer, i in itertools.product(range(2, self.depth + 1), (1, 2)):
                into = {j: w for (k, to, j), w in self.w.items() if (k, to) == (layer - 1, i)}
                bias = self.number(self.bias + self.pushed)
                a = bias + sum(self.number(w) * z[layer - 1, j] for j, w in into.items())
                e = 0 if self.relu else mpmath.exp(-a)
                z[layer, i] = max(a, Fraction(0)) if self.relu else 1 / (1 + e)
                slope[layer, i] = Fraction(int(a > 0)) if self.relu else e / (1 + e) ** 2
            y = sum(self.number(self.w[self.depth, 1, j]) * z[self.depth, j] for j in (1, 2))
            residual = self.number(self.bias - self.t) + y
            small = not self.relu and abs(residual) < mpmath.mpf(10) ** (40 - self.digits)
        return z, slope, residual * 0 if small else residual

    def rate(self, weight: Weight) -> Any:
        """dy/dw, the derivative carried forward from the weight to the output."""
        z, slope, _ = self.run
        layer, i, j = weight
        moved = {1: z[layer, j]} if layer == self.depth else {i: slope[layer + 1, i] * z[layer, j]}
        with self.precision():
            for at in range(layer + 1, self.depth + 1):
                parts = [(k, self.number(w) * moved[u]) for (up, k, u), w in self.w.items() if up == at and u in moved]
                rates = {k: slope[at + 1, k] if at < self.depth else 1 for k, _ in parts}
                moved = {k: rates[k] * sum(part for to, part in parts if to == k) for k in rates}
            return moved[1] if 1 in moved else moved[2]

    def gradient(self, weight: Weight) -> Any:
        with self.precision():
            return self.run[2] * self.rate(weight)

    def paths(self, weight: Weight) -> list[list[Weight]]:
        """Every path from the unit that a weight enters to the output, as the weights on it."""
        layer, i, _ = weight
        rests = itertools.product((1, 2), repeat=max(0, self.depth - layer - 1))
        ways = [(i, *rest, 1) if layer < self.depth else (1,) for rest in rests]
        paths = [[(layer + k, up, low) for k, (low, up) in enumerate(itertools.pairwise(way), start=1)] for way in ways]
        return [path for path in paths if self.w.keys() >= set(path)]

    def why_zero(self, weight: Weight) -> str | None:
        """The first reason for which a gradient is 0, as 4.3 and 4.4 say it, from its paths; None if there is none."""
        z, slope, residual = self.run
        layer, i, j = weight
        holds = {
            "its input is inactive": not z[layer, j],
            "its unit is inactive": layer < self.depth and not slope[layer + 1, i],
            "no live path leads on to the output": not any(map(self.live, self.paths(weight))),
            "the error is 0": not residual,
        }
        return next((reason for reason, true in holds.items() if true), None)

    def live(self, path: list[Weight]) -> bool:
        return all(self.w[step] and self.run[1][step[0], step[2]] for step in path)


def log10(value: Any) -> float:
    """The logarithm of a size, -inf for 0."""
    with mpmath.workdps(30):
        size = mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value
        return float(mpmath.log10(abs(size))) if size else -np.inf


def settings(count: int, seed: int) -> Iterator[Oracle]:
    """Settings of all kinds, degenerate ones among them; a fifth with y = t where t can be typed."""
    chosen = random.Random(seed)
    for number in range(count):
        setting = Setting(
            depth=chosen.choice([1, 2, 3, 2, 3, 4, 5, 6]), weight=chosen.choice(WEIGHTS),
            bias=chosen.choice(BIASES), x=chosen.choice(INPUTS), t=chosen.choice(TARGETS), seed=number,
            dtype=chosen.choice(list(Dtype)),
        )  # fmt: skip
        oracle = Oracle(setting, *KINDS[number % 4])
        if number % 5 == 0:
            y = str(oracle.run[2] + oracle.t) if oracle.relu else "1"
            if len(y) <= 40 and abs(Fraction(y)) <= 1000:
                oracle = Oracle(replace(setting, t=y), *KINDS[number % 4])
        yield oracle
