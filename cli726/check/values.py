"""Formulas get values, exactly: in random rational networks z = h(a), h' = z (1 - z) and every delta hold together.

Two formulas that agree at several such points are equal up to algebra: as polynomials in random numbers they would
otherwise agree with a probability below 1e-9. exp, ln and sqrt of numbers have 60 digits.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, DecimalException, localcontext
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from cli726.check.grammar import Misread, Node

__all__ = ["Network", "Plain", "Unbound", "Undefined", "World", "close", "evaluate"]

DIGITS, LARGEST_BITS, MOST_TERMS = 60, 40_000, 2_000
TOLERANCE = Fraction(1, 10**40)
MOST_CONNECTIONS = 4_000


class Undefined(Misread):
    """A formula that has no value, such as a division by 0."""


class Unbound(Misread):
    """An index that no sum runs over."""

    def __init__(self, index: str, column: int) -> None:
        super().__init__(f"no sum runs over the index {index}", column)
        self.index = index


def close(left: Fraction, right: Fraction) -> bool:
    """Return whether two values are the same, up to what 60 digits leave of exp."""
    return left == right or abs(left - right) <= TOLERANCE * max(abs(left), abs(right))


def transcendental(function: str, value: Fraction) -> Fraction:
    """Return exp, ln or sqrt of a number, to 60 digits."""
    with localcontext() as context:
        context.prec = DIGITS
        decimal = Decimal(value.numerator) / Decimal(value.denominator)
        if function == "exp" and abs(decimal) > 2_000:
            raise OverflowError
        return Fraction({"exp": decimal.exp, "ln": decimal.ln, "sqrt": decimal.sqrt}[function]())


class World:
    """Values of symbols at one random point; `steps` counts evaluations."""

    letters: Mapping[str, int] = {}
    steps = 0

    def symbol(self, name: str, index: tuple[int, ...], layer: int | None) -> Fraction:
        """Return the value of a symbol; KeyError if there is no such thing, with the reason."""
        raise NotImplementedError

    def size(self, name: str, place: int, layer: int | None) -> int:  # noqa: ARG002 - networks use them
        """Return how far an index at some place of a symbol runs."""
        raise KeyError(f"the sum over {name} needs bounds")

    def call(self, name: str, value: Fraction) -> Fraction:
        """Return the value of a function."""
        if name in ("h", "h'"):
            z = 1 / (1 + transcendental("exp", -value))
            return z if name == "h" else z * (1 - z)
        return transcendental(name, value)


class Plain(World):
    """Named numbers without layers, such as x1 and x2; one index is part of the name."""

    def __init__(self, values: Mapping[str, Fraction]) -> None:
        self.values = values

    def symbol(self, name: str, index: tuple[int, ...], layer: int | None) -> Fraction:
        full = name + "".join(map(str, index))
        if layer is not None or full not in self.values:
            raise KeyError(f"{full} means nothing here; there are {', '.join(self.values)}")
        return self.values[full]


class Network(World):
    """A random network with exact numbers; activation functions are random tables with h(-a) = 1 - h(a).

    Args:
        sizes: Units of each layer, inputs first.
        seed: Of the random numbers.
        chains: Whether unit j of a layer is fed by unit j below alone, but for the output.
        letters: Values of free indices, such as l.
    """

    def __init__(
        self, sizes: Sequence[int], seed: int, *, chains: bool = False, letters: Mapping[str, int] | None = None
    ) -> None:
        if sum(a * b for a, b in pairwise(sizes)) > MOST_CONNECTIONS:
            raise Misread(f"formulas are compared in networks of at most {MOST_CONNECTIONS:,} weights", 1)
        self.sizes, self.seed, self.chains, self.letters = sizes, seed, chains, letters or {}
        self.last = len(sizes)

    def draw(self, *key: object) -> Fraction:
        source = random.Random(f"{self.seed} {key}")  # noqa: S311 - no secret
        return Fraction(source.choice([-1, 1]) * source.randint(11, 499), source.randint(7, 97))

    def w(self, layer: int, i: int, j: int) -> Fraction:
        return self.draw("w", layer, i, j) if self.joined(layer, i, j) else Fraction(0)

    def joined(self, layer: int, i: int, j: int) -> bool:
        return not self.chains or i == j or layer == self.last - 1

    @cached_property
    def passed(self) -> tuple[list[list[Fraction]], list[list[Fraction]]]:
        """Activations of layers 2, 3, ... and outputs of layers 1, 2, ..."""
        outputs, activations = [[self.draw("x", i) for i in range(self.sizes[0])]], []
        for layer in range(1, self.last):
            below = range(self.sizes[layer - 1])
            wired = [[j for j in below if self.joined(layer, i + 1, j + 1)] for i in range(self.sizes[layer])]
            a = [
                sum((self.w(layer, i + 1, j + 1) * outputs[-1][j] for j in js), Fraction(0))
                for i, js in enumerate(wired)
            ]
            activations.append(a)
            outputs.append(a if layer == self.last - 1 else [self.call("h", value) for value in a])
        return activations, outputs

    @cached_property
    def deltas(self) -> list[list[Fraction]]:
        """Of layers 2, 3, ...; Bishop (2006), eqs. 5.54 and 5.56."""
        activations, outputs = self.passed
        found = [[y - self.draw("t", k + 1) for k, y in enumerate(outputs[-1])]]
        for layer in range(self.last - 1, 1, -1):
            above = [
                sum(
                    (
                        self.w(layer, k + 1, j + 1) * d
                        for k, d in enumerate(found[0])
                        if self.joined(layer, k + 1, j + 1)
                    ),
                    Fraction(0),
                )
                for j in range(self.sizes[layer - 1])
            ]
            slopes = [self.call("h'", a) for a in activations[layer - 2]]
            found.insert(0, [h * total for h, total in zip(slopes, above, strict=True)])
        return found

    def call(self, name: str, value: Fraction) -> Fraction:
        if name in ("h", "h'"):
            z = 1 / (1 + self.call("exp", -value))
            return z if name == "h" else z * (1 - z)
        if name == "exp":
            return 1 / abs(self.draw("exp", -value)) if value < 0 else abs(self.draw("exp", value))
        return super().call(name, value)

    def size(self, name: str, place: int, layer: int | None) -> int:
        layer = layer if layer is not None else 1 if name == "x" else self.last
        return self.sizes[layer if name == "w" and place == 0 else layer - 1]

    def symbol(self, name: str, index: tuple[int, ...], layer: int | None) -> Fraction:
        full = name + "".join(map(str, index)) + (f"^({layer})" if layer is not None else "")
        if name == "w":
            if len(index) != 2 or layer is None:
                raise KeyError(f"a weight has two indices and a layer, as w_12^(3); {full} hasn't")
            i, j = index
            inside = 0 < layer < self.last and 0 < i <= self.sizes[layer] and 0 < j <= self.sizes[layer - 1]
            if not inside or not self.joined(layer, i, j):
                raise KeyError(f"there is no weight {full} in this network")
            return self.w(layer, i, j)
        layer = {"x": 1, "y": self.last, "t": self.last}.get(name, layer)
        if name not in ("x", "y", "t", "a", "z", "delta") or (name == "x" and not index):
            raise KeyError(f"{full} means nothing here; there are x, w, a, z, delta, y and t")
        if layer is None or (not index and name in ("a", "z", "delta")):
            raise KeyError(f"{full} needs a unit and a layer, as {name}_1^(3)")
        unit = index[0] if index else 1
        first = 2 if name in ("a", "delta") else 1
        if len(index) > 1 or not first <= layer <= self.last or not 0 < unit <= self.sizes[layer - 1]:
            raise KeyError(f"there is no {full} in this network")
        if name == "t":
            return self.draw("t", unit)
        if name == "delta":
            return self.deltas[layer - 2][unit - 1]
        activations, outputs = self.passed
        return activations[layer - 2][unit - 1] if name == "a" else outputs[layer - 1][unit - 1]


def evaluate(node: Node, world: World, bound: Mapping[str, int] | None = None) -> Fraction:
    """Return the value of a formula.

    Raises:
        Misread: for a symbol that the world hasn't; `Unbound` for a free index, `Undefined` where there is no value.
    """
    world.steps += 1
    try:
        value = _value(node, world, bound or {})
    except (ZeroDivisionError, OverflowError, DecimalException, RecursionError):
        raise Undefined("the formula has no value that can be computed", node.start + 1) from None
    if max(abs(value.numerator).bit_length(), value.denominator.bit_length()) > LARGEST_BITS:
        raise Undefined("the formula's numbers grow too large", node.start + 1)
    return value


def resolved(text: str, world: World, bound: Mapping[str, int], node: Node) -> int:
    """Return the number that an index or layer stands for."""
    total = 0
    for sign, part in re.findall(r"([+-]?)\s*(\w+)", text):
        known = {"L": world.letters.get("l", 0)} | dict(world.letters) | dict(bound)
        if not part.isdecimal() and (part not in known or (part == "L" and "l" not in world.letters)):
            raise Unbound(part, node.start + 1)
        total += (-1 if sign == "-" else 1) * (int(part) if part.isdecimal() else known[part])
    return total


def _value(node: Node, world: World, bound: Mapping[str, int]) -> Fraction:
    if node.kind == "number":
        return node.value
    if node.kind == "symbol":
        index = tuple(resolved(part, world, bound, node) for part in node.index)
        layer = resolved(node.layer, world, bound, node) if node.layer else None
        try:
            return world.symbol(node.name, index, layer)
        except KeyError as error:
            raise Misread(str(error.args[0]), node.start + 1) from None
    if node.kind in ("sum", "prod"):
        return series(node, world, bound)
    parts = [evaluate(part, world, bound) for part in node.parts]
    if node.kind == "call":
        return world.call(node.name, parts[0])
    if node.kind == "neg":
        return -parts[0]
    if node.kind == "^":
        return power(*parts)
    return OPERATIONS[node.kind](*parts)


OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__,
}  # fmt: skip


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """Return a power: with a small whole exponent exactly, or a square root."""
    if exponent.denominator == 1:
        bits = base.numerator.bit_length() + base.denominator.bit_length()
        if bits * abs(exponent) > LARGEST_BITS:
            raise OverflowError
        return Fraction(base ** int(exponent))
    if exponent.denominator == 2 and base > 0 and abs(exponent) < 100:
        return Fraction(transcendental("sqrt", base) ** int(2 * exponent))
    raise OverflowError


def series(node: Node, world: World, bound: Mapping[str, int]) -> Fraction:
    """Return a sum or product; without bounds it runs over the units of the layer that its index belongs to."""
    if node.index:
        first, last = (resolved(part, world, bound, node) for part in node.index)
    else:
        first, last = 1, extent(node, world, bound)
    # Of sums within sums all together.
    terms = bound.get("terms", 1) * max(1, last - first + 1)
    if terms > MOST_TERMS:
        raise OverflowError
    total = Fraction(node.kind == "prod")
    for k in range(first, last + 1):
        term = evaluate(node.parts[0], world, {**bound, node.name: k, "terms": terms})
        total = total * term if node.kind == "prod" else total + term
    return total


def extent(node: Node, world: World, bound: Mapping[str, int]) -> int:
    """Return how many units an index without bounds runs over."""
    for part in node.parts[0].walk():
        if part.kind == "symbol" and node.name in part.index:
            layer = resolved(part.layer, world, bound, part) if part.layer else None
            try:
                return world.size(part.name, part.index.index(node.name), layer)
            except (KeyError, IndexError):
                raise Misread(f"the sum over {node.name} has no range here", node.start + 1) from None
    raise Misread(f"nothing in the sum has the index {node.name}", node.start + 1)
