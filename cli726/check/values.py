"""Formulas get values, exactly: in random rational networks z = h(a), h' = z (1 - z) and every delta hold together.

Two formulas that agree at several such points are equal up to algebra: as polynomials in random numbers they would
otherwise agree with a probability below 1e-9. exp, ln and sqrt of numbers have 60 digits.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, DecimalException, localcontext
from fractions import Fraction
from functools import cached_property

from cli726.check.grammar import Misread, Node, spelt

DIGITS, LARGEST_BITS, MOST_TERMS = 60, 40_000, 2_000
TOLERANCE = Fraction(1, 10**40)
OPERATIONS: Mapping[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__,
}  # fmt: skip


class Undefined(Misread):
    """A formula that has no value: it divides by 0, grows too large, or has an index that no sum runs over."""


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


@dataclass
class World:
    """Values of symbols at one random point.

    Attributes:
        values: By a symbol's spelling: "x_1", "w_12^(3)".
        letters: Values of free indices, such as l.
        chance: Draws exp at each argument: random numbers with exp(-a) = 1 / exp(a); None for the true exp.
        slopes: What h'(a) is where it isn't z (1 - z), drawn too; None where it is.
        steps: Counts evaluations.
    """

    values: dict[str, Fraction]
    letters: Mapping[str, int] = field(default_factory=dict)
    chance: random.Random | None = None
    slopes: dict[Fraction, Fraction] | None = None
    powers: dict[Fraction, Fraction] = field(default_factory=lambda: {Fraction(0): Fraction(1)})
    steps: int = 0

    def call(self, name: str, value: Fraction) -> Fraction:
        """Return the value of a function."""
        if name == "h'" and self.slopes is not None and self.chance:
            return self.slopes.setdefault(value, drawn(self.chance))
        if name in ("h", "h'"):
            z = 1 / (1 + self.call("exp", -value))
            return z if name == "h" else z * (1 - z)
        if name != "exp" or not self.chance:
            return transcendental(name, value)
        power = self.powers.setdefault(abs(value), abs(drawn(self.chance)))
        return power if value >= 0 else 1 / power

    def symbol(self, name: str, index: Sequence[object], layer: int | None) -> Fraction | None:
        """Return the value of a symbol, None if there is none here."""
        if (name, layer) == ("z", 1):
            name, layer = "x", None
        full = name + (f"_{''.join(map(str, index))}" if index else "")
        return self.values.get(full if layer is None else f"{full}^({layer})")

    @cached_property
    def names(self) -> dict[str, str]:
        """Return an example of each symbol by its letter."""
        return dict(reversed({re.split("[_^]", name)[0]: name for name in reversed(self.values)}.items()))

    def unknown(self, node: Node) -> Misread:
        """Return the refusal of a symbol."""
        there = ", ".join(self.names.values())
        return Misread(f"{spelt(node)} means nothing here; there are {there}", node.start + 1)


def drawn(chance: random.Random) -> Fraction:
    """Return a random number that isn't 0."""
    return Fraction(chance.choice([-1, 1]) * chance.randint(11, 499), chance.randint(7, 97))


def network(
    sizes: Sequence[int], seed: int, *, chains: bool = False, letters: Mapping[str, int] | None = None,
    related: bool = True,
) -> World:  # fmt: skip
    """Return a random network with exact numbers; its deltas are those of Bishop (2006), eqs. 5.54 and 5.56.

    Args:
        sizes: Units of each layer, at most 9, inputs first.
        chains: Whether unit j of a layer is fed by unit j below alone, but for the output.
        related: Whether h' is z (1 - z), as the logistic function's.
    """
    chance, last = random.Random(seed), len(sizes)  # noqa: S311 - no secret
    world = World({}, letters or {}, chance, None if related else {})
    units = [range(1, size + 1) for size in sizes]
    w = {
        (at, i, j): drawn(chance)
        for at in range(1, last) for i in units[at] for j in units[at - 1] if not chains or i == j or at == last - 1
    }  # fmt: skip
    z = {(1, j): drawn(chance) for j in units[0]}
    a: dict[tuple[int, int], Fraction] = {}
    delta: dict[tuple[int, int], Fraction] = {}
    t = {k: drawn(chance) for k in units[-1]}
    for at in range(2, last + 1):
        for i in units[at - 1]:
            below = (w[at - 1, i, j] * z[at - 1, j] for j in units[at - 2] if (at - 1, i, j) in w)
            a[at, i] = sum(below, Fraction(0))
            z[at, i] = a[at, i] if at == last else world.call("h", a[at, i])
    for at in range(last, 1, -1):
        for i in units[at - 1]:
            above = (w[at, k, i] * delta[at + 1, k] for k in (units[at] if at < last else ()) if (at, k, i) in w)
            delta[at, i] = z[at, i] - t[i] if at == last else world.call("h'", a[at, i]) * sum(above, Fraction(0))
    found = {f"w_{i}{j}^({at})": value for (at, i, j), value in w.items()} | {f"x_{j}": z[1, j] for j in units[0]}
    for letter, known in (("a", a), ("z", z), ("delta", delta)):
        found |= {f"{letter}_{i}^({at})": value for (at, i), value in known.items() if at > 1}
    for k in units[-1]:
        found |= {f"y_{k}": z[last, k], f"t_{k}": t[k]}
    world.values = {"y": found["y_1"], "t": found["t_1"]} | found
    return world


def evaluate(node: Node, world: World, bound: Mapping[str, int] | None = None) -> Fraction:
    """Return the value of a formula.

    Raises:
        Misread: for a symbol that the world hasn't; `Undefined` where there is no value.
    """
    world.steps += 1
    try:
        value = raw(node, world, bound or {})
    except (ZeroDivisionError, OverflowError, DecimalException):
        raise Undefined("the formula has no value that can be computed", node.start + 1) from None
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > LARGEST_BITS:
        raise Undefined("the formula's numbers grow too large", node.start + 1)
    return value


def raw(node: Node, world: World, bound: Mapping[str, int]) -> Fraction:
    """Return the value of a formula, whatever its size."""
    if node.kind == "number":
        return node.value
    if node.kind == "symbol":
        index, layer = placed(node, world, bound)
        value = world.symbol(node.name, index, layer)
        if value is None:
            full = replace(node, index=tuple(map(str, index)), layer="" if layer is None else str(layer))
            raise world.unknown(full)
        return value
    if node.kind in ("sum", "prod"):
        return series(node, world, bound)
    parts = [evaluate(part, world, bound) for part in node.parts]
    if node.kind == "call":
        return world.call(node.name, parts[0])
    if node.kind == "neg":
        return -parts[0]
    return power(*parts) if node.kind == "^" else OPERATIONS[node.kind](*parts)


def placed(node: Node, world: World, bound: Mapping[str, int]) -> tuple[list[int], int | None]:
    """Return the indices and the layer of a symbol as numbers."""
    index = [resolved(part, world, bound, node) for part in node.index]
    return index, resolved(node.layer, world, bound, node) if node.layer else None


def resolved(text: str, world: World, bound: Mapping[str, int], node: Node) -> int:
    """Return the number that an index or layer, such as k+1, stands for."""
    total = 0
    for sign, part in re.findall(r"([+-]?)\s*(\w+)", text):
        known = int(part) if part.isdecimal() else bound.get(part, world.letters.get(part))
        if known is None:
            raise Undefined(f"no sum runs over the index {part}", node.start + 1)
        total += -known if sign == "-" else known
    return total


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
    first, last = 1, 0
    if node.index:
        first, last = (resolved(part, world, bound, node) for part in node.index)
    else:
        part = next((p for p in node.parts[0].walk() if p.kind == "symbol" and node.name in p.index), None)
        if part is None:
            raise Misread(f"nothing in the sum has the index {node.name}", node.start + 1)
        while world.symbol(part.name, *placed(part, world, {**bound, node.name: last + 1})) is not None:
            last += 1
    # Of sums within sums all together.
    terms = bound.get("terms", 1) * max(1, last - first + 1)
    if terms > MOST_TERMS:
        raise OverflowError
    values = (evaluate(node.parts[0], world, {**bound, node.name: k, "terms": terms}) for k in range(first, last + 1))
    total = Fraction(node.kind == "prod")
    for value in values:
        total = total * value if node.kind == "prod" else total + value
    return total
