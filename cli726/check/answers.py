"""What is said of an answer, and what all kinds of answers share: parameters, typed numbers, lists of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from pathlib import Path

from cli726.check.grammar import Misread, parse, pieces
from cli726.check.values import World, evaluate
from cli726.choices import Hidden

LITERAL = re.compile(r"[+-]?\d*\.(\d+)(?:[eE]([+-]?\d+))?\s*(%?)", re.ASCII)
# What may stand before the numbers of a list: p1 =, p(C1|x) =, x_1 =, an estimate's sign.
NAME = re.compile(r"[pP]\s*\(\s*C_?\d[^)]*\)\s*[=≈:]|[px]_?[\d₁₂₃]?\s*[=≈]|[~≈]|->|→")
ROUNDING = Fraction(1, 10**12), Fraction(1, 10**40)
Numbers = Sequence[Fraction | float]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What replaces the assignment's own parameters; as typed, None for the assignment's."""

    classes: Sequence[str] | None = None
    layers: str | None = None
    hidden: Hidden | None = None
    x: str | None = None
    t: str | None = None
    weights: Path | None = None
    depth: int = 152
    data: Path | None = None
    etas: Sequence[float] | None = None
    start: Sequence[float] | None = None
    tol: float = 1e-5
    max_epochs: int = 500
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right; else its slip, None if that isn't one that is known, and where it was typed."""

    question: str
    right: bool
    slip: str | None
    where: tuple[int, int] | None
    message: str


@dataclass(frozen=True)
class Slip:
    """What is wrong: its name, what to say of it, and where it was typed (columns from 1, both inclusive)."""

    name: str | None
    message: str
    where: tuple[int, int] | None = None


UNKNOWN = Slip(
    None, "not right, and no single known slip explains it: more than one, or one of another kind; try --hint 1"
)
# Takes question, answer and parameters; returns the slip, or what to say of a right answer.
Judge = Callable[[str, str, Parameters], Slip | str]


@dataclass(frozen=True)
class Typed:
    """A number as typed: its value, how far it may be off (half of its last digit; 0 for a fraction), and where."""

    value: Fraction
    reach: Fraction
    where: tuple[int, int]

    def agrees(self, truth: Fraction | float) -> bool:
        """Tell whether this is a number, to the digits that were typed and the precision that the number has."""
        exact = Fraction(truth)
        return abs(self.value - exact) <= self.reach + abs(exact) * ROUNDING[isinstance(truth, Fraction)]


def typed_list(text: str) -> list[Typed]:
    """Return the numbers of a list, as `1/3, 1/3, 1/3`, `(3/22, -4/11)` or `p1 = 0.5; p2 = 0.5`."""
    bare = NAME.sub(lambda found: " " * len(found[0]), text)
    bare = re.sub(r"^(\s*)[(\[{]([^()\[\]{}]*)[)\]}](\s*)$", r"\1 \2 \3", bare)
    result = []
    for piece in pieces("[,;]", bare):
        typed = piece.strip()
        if not typed:
            raise Misread("a number is expected between separators", len(piece) + 1)
        literal = LITERAL.fullmatch(typed)
        places = len(literal[1]) - int(literal[2] or 0) + 2 * bool(literal[3]) if literal else None
        reach = Fraction(0) if places is None else Fraction(1, 2) / Fraction(10) ** places
        last = len(piece.rstrip())
        result.append(Typed(evaluate(parse(piece), World({})), reach, (last - len(typed) + 1, last)))
    return result


def fits(given: Sequence[Typed], truth: Numbers, *, ordered: bool = True) -> bool:
    """Tell whether typed numbers are the right ones, in their order or in any."""
    orders = [truth] if ordered or len(truth) > 6 else permutations(truth)
    return len(given) == len(truth) and any(
        all(one.agrees(true) for one, true in zip(given, order, strict=True)) for order in orders
    )


def numbers_slip(given: Sequence[Typed], right: Numbers) -> Slip | None:
    """Return the one slip by which numbers differ from the right ones."""
    where, pairs = (given[0].where[0], given[-1].where[1]), list(zip(given, right, strict=True))
    off = [(one, true) for one, true in pairs if not one.agrees(true)]
    if all(abs(one.value - Fraction(true)) <= 2 * one.reach <= Fraction(1, 100) for one, true in off):
        return Slip("last digit", "not rounded, perhaps cut off: the last digit isn't right", off[0][0].where)
    for name, told, factor in (
        ("percent", "right as percentages: write % or divide by 100", 100), ("sign", "right but for the sign", -1),
        ("factor 2", "right but for a factor 2", 2), ("factor 1/2", "right but for a factor 1/2", Fraction(1, 2)),
    ):  # fmt: skip
        if all(one.agrees(true * factor) for one, true in pairs):
            return Slip(name, told, where)
    for name, told, wrong in (
        ("sign", "have the wrong sign", [-true for _, true in off]),
        ("inverse", "are upside down", [1 / true if true else 0.0 for _, true in off]),
    ):
        if fits([one for one, _ in off], wrong):
            return Slip(name, f"right but for {len(off)} of {len(given)} numbers, which {told}", off[0][0].where)
    return None
