"""Problem 4 again, slowly: fractions, mpmath with all digits that it takes, forward derivatives, every path in turn."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import mpmath
import numpy as np

from cli726.choices import Connect, Dtype, Hidden
from cli726.vanishing import Setting

Weight = tuple[int, int, int]  # layer, unit that it enters, unit that it leaves: from 1


@dataclass
class Oracle:
    """One network: its numbers as they were typed, units 1 and 2 in each layer, whatever connects them."""

    setting: Setting
    hidden: Hidden
    connect: Connect
    pushed: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        s, units = self.setting, 1 if self.connect is Connect.chain else 2
        self.depth, self.relu = s.depth, self.hidden is Hidden.relu
        self.bias, self.t = Fraction(s.bias or 0), Fraction(s.t)
        self.x = [Fraction(part) for part in s.x.split(",")]
        kind, _, size = s.weight.partition(":")
        shape = (s.depth - 1, 2 // units, units, units)
        if kind == "normal":
            generator = np.random.default_rng([s.seed, units])
            drawn = (
                generator.normal(0, float(Fraction(size)), shape),
                generator.normal(0, float(Fraction(size)), shape[1:3]),
            )
        else:
            drawn = np.full(shape, Fraction(s.weight), object), np.full(shape[1:3], Fraction(s.weight), object)
        self.w: dict[Weight, Fraction] = {}
        for k, g, i, j in itertools.product(*map(range, shape)):
            self.w[k + 1, g * units + i + 1, g * units + j + 1] = Fraction(drawn[0][k, g, i, j])
        for g, j in itertools.product(*map(range, shape[1:3])):
            self.w[s.depth, 1, g * units + j + 1] = Fraction(drawn[1][g, j])
        largest = abs(self.bias) + 2 * max(map(abs, self.w.values())) * max(1, *map(abs, self.x))
        # As many digits as a saturated unit, or a contraction layer after layer, can take.
        self.digits = int(80 + s.depth + 2 * float(largest))

    def number(self, value: Fraction) -> Any:
        return value if self.relu else mpmath.mpf(value.numerator) / value.denominator

    @cached_property
    def run(self) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any], Any]:
        """z and h' of each unit, and y - t."""
        with mpmath.workdps(self.digits):
            z = {(1, unit): self.number(x) for unit, x in enumerate(self.x, start=1)}
            slope: dict[tuple[int, int], Any] = {}
            for layer in range(2, self.depth + 1):
                for i in (1, 2):
                    a = self.number(self.bias + self.pushed) + sum(
                        self.number(self.w[layer - 1, i, j]) * z[layer - 1, j]
                        for j in (1, 2)
                        if (layer - 1, i, j) in self.w
                    )
                    if self.relu:
                        z[layer, i], slope[layer, i] = max(a, Fraction(0)), Fraction(int(a > 0))
                    else:
                        z[layer, i] = 1 / (1 + mpmath.exp(-a))
                        slope[layer, i] = mpmath.exp(-a) / (1 + mpmath.exp(-a)) ** 2
            y = sum(self.number(self.w[self.depth, 1, j]) * z[self.depth, j] for j in (1, 2))
            residual = self.number(self.bias - self.t) + y
            if not self.relu and abs(residual) < mpmath.mpf(10) ** (40 - self.digits):
                residual = mpmath.mpf(0)
        return z, slope, residual

    def rate(self, weight: Weight) -> Any:
        """dy/dw, the derivative carried forward from the weight to the output."""
        z, slope, _ = self.run
        layer, i, j = weight
        with mpmath.workdps(self.digits):
            if layer == self.depth:
                return z[layer, j]
            moved = {i: slope[layer + 1, i] * z[layer, j]}
            for at in range(layer + 1, self.depth):
                parts = [(k, self.number(w) * moved[u]) for (up, k, u), w in self.w.items() if up == at and u in moved]
                moved = {k: slope[at + 1, k] * sum(part for to, part in parts if to == k) for k in (1, 2)}
            return sum(self.number(self.w[self.depth, 1, u]) * d for u, d in moved.items())

    def gradient(self, weight: Weight) -> Any:
        with mpmath.workdps(self.digits):
            return self.run[2] * self.rate(weight)

    def paths(self, weight: Weight) -> list[list[Weight]]:
        """Every path from the unit that a weight enters to the output, as the weights on it."""
        layer, i, _ = weight
        found = []
        for rest in itertools.product((1, 2), repeat=max(0, self.depth - layer - 1)):
            units = [i, *rest, 1] if layer < self.depth else [1]
            steps = [(layer + 1 + k, above, below) for k, (below, above) in enumerate(itertools.pairwise(units))]
            if all(step in self.w for step in steps):
                found.append(steps)
        return found

    def live(self, path: list[Weight]) -> bool:
        """Whether all units and weights of a path let something through."""
        return all(self.w[step] and self.run[1][step[0], step[2]] for step in path)

    def why_zero(self, weight: Weight) -> str | None:
        """The first reason for which a gradient is 0, from its paths; None if there is none."""
        z, slope, residual = self.run
        layer, i, j = weight
        if not z[layer, j]:
            return "its input is inactive"
        if layer < self.depth and not slope[layer + 1, i]:
            return "its unit is inactive"
        if not any(map(self.live, self.paths(weight))):
            return "no live path leads on to the output"
        return None if residual else "the error is 0"


def log10(value: Any) -> float:
    """The logarithm of a size, -inf for 0."""
    if not value:
        return -np.inf
    with mpmath.workdps(30):
        size = mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value
        return float(mpmath.log10(abs(size)))


KINDS = list(itertools.product(Hidden, Connect))
WEIGHTS = [
    "1",
    "0",
    "-1",
    "0.5",
    "2",
    "-0.3",
    "1/3",
    "20",
    "-30",
    "15",
    "0.1",
    "normal:1",
    "normal:50",
    "normal:0.01",
    "normal:2",
]
BIASES = [None, None, "0", "0.5", "-1", "20", "-20", "1/3", "-0.1", "-10"]
INPUTS = ["1,1", "1,1", "0,0", "0,1", "1,-1", "-1,-1", "1e-20,1", "0.5,0.25", "7,-3", "1,2", "-1,1", "1/7,2"]
DTYPES = list(Dtype)
TARGETS = ["0.5", "0", "1", "2", "0.3", "-10", "1/3"]


def settings(count: int, seed: int, most: int = 6) -> list[Oracle]:
    """Settings of all kinds, degenerate ones among them; a fifth with y = t where t can be typed."""
    chosen, drawn = random.Random(seed), []
    for number in range(count):
        setting = Setting(
            depth=chosen.choice([1, 2, 3, *range(2, most + 1)]), weight=chosen.choice(WEIGHTS), seed=number,
            bias=chosen.choice(BIASES), x=chosen.choice(INPUTS), t=chosen.choice(TARGETS), dtype=chosen.choice(DTYPES),
        )  # fmt: skip
        kind = KINDS[number % 4]
        oracle = Oracle(setting, *kind)
        if number % 5 == 0:
            y = str(oracle.run[2] + oracle.t) if oracle.relu else "1"
            if len(y) <= 40 and abs(Fraction(y)) <= 1000:
                oracle = Oracle(Setting(**{**vars(setting), "t": y}), *kind)
        drawn.append(oracle)
    return drawn
