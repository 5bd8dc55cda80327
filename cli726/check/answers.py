"""What is said of an answer, and what all kinds of answers share: parameters, typed numbers, lists of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cli726.check.grammar import Misread, parse
from cli726.check.slips import Slip
from cli726.check.values import Plain, evaluate

__all__ = ["Parameters", "Typed", "Verdict", "decided", "typed_list"]

LITERAL = re.compile(r"[+-]?\d*\.(\d+)(?:[eE]([+-]?\d+))?\s*(%?)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What replaces the assignment's own parameters; as typed, None for the assignment's."""

    classes: Sequence[str] | None = None
    layers: str | None = None
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


def decided(question: str, slip: Slip | None, right: bool = False, note: str = "right") -> Verdict:
    """Return the verdict that a slip, or none, makes."""
    if right:
        return Verdict(question, True, None, None, note)
    if slip is None:
        said = "not right, and no single known slip explains it: more than one, or one of another kind; try --hint 1"
        return Verdict(question, False, None, None, said)
    return Verdict(question, False, slip.name, slip.where, slip.message)


@dataclass(frozen=True)
class Typed:
    """A number as typed: its value, how far it may be off (half of its last digit; 0 for a fraction), and where."""

    value: Fraction
    reach: Fraction
    where: tuple[int, int]

    def agrees(self, truth: Fraction | float, factor: int = 1) -> bool:
        exact = Fraction(truth) * factor
        rounding = abs(exact) / 10 ** (12 if isinstance(truth, float) else 40)
        return abs(self.value - exact) <= self.reach + rounding


def typed(text: str, offset: int) -> Typed:
    """Return one number; refuse what has symbols."""
    bare = text.strip()
    value = evaluate(parse(text, offset), Plain({}))
    literal = LITERAL.fullmatch(bare)
    places = len(literal[1]) - int(literal[2] or 0) + 2 * bool(literal[3]) if literal else None
    start = offset + len(text) - len(text.lstrip()) + 1
    reach = Fraction(0) if places is None else Fraction(1, 2) / Fraction(10) ** places
    return Typed(value, reach, (start, start + max(len(bare), 1) - 1))


def typed_list(text: str, offset: int = 0) -> list[Typed]:
    """Return the numbers of a list, as `1/3, 1/3, 1/3`, `(3/22, -4/11)` or `p1 = 0.5; p2 = 0.5`."""
    names = re.compile(r"[pP]\s*\(\s*C_?\d[^)]*\)\s*[=≈:]|[px]_?[\d₁₂₃]?\s*[=≈]|[~≈]")
    bare = names.sub(lambda found: " " * len(found[0]), text)
    bare = re.sub(r"^(\s*)[(\[{]([^()\[\]{}]*)[)\]}](\s*)$", r"\1 \2 \3", bare)
    pieces, at = [], 0
    for piece in re.split("[,;]", bare):
        if not piece.strip():
            raise Misread("a number is expected between separators", at + offset + 1)
        pieces.append(typed(piece, at + offset))
        at += len(piece) + 1
    return pieces
