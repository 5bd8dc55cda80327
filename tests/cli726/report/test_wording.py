"""Sentences and formulas become parts without losing a character that matters."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli726 import exact
from cli726.report.wording import Parts, formula, prose


def flat(part: str | dict[str, Any]) -> str:
    """A part as plain text."""
    if isinstance(part, str):
        return part
    if "power" in part:
        return f"{part['number']}e{part['power']}"
    if "over" in part:
        return "/".join(part["over"])
    if "root" in part:
        return f"sqrt({part['root']})"
    return "".join(part.get(name, "") for name in ("number", "sign", "code", "base", "sub", "sup"))


def joined(parts: Parts) -> str:
    return "".join(map(flat, parts))


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("at C1|C2", [("C", "1", ""), ("C", "2", "")]),
        ("x1^2 + x2^2 = 1", [("x", "1", "2"), ("x", "2", "2")]),
        ("|∂Eₙ/∂w₁₁⁽ˡ⁺¹⁾| falls", [("E", "n", ""), ("w", "11", "(l+1)")]),
        ("w₁₂,₁₃⁽¹⁰⁾, and more", [("w", "12,13", "(10)")]),
        ("(1 − 2⁻ⁿ)¹⁵¹", [("2", "", "-n"), (")", "", "151")]),
        ("below 2 / eta = 4", [("η", "", "")]),
        ("argmax_k y_k(x)", [("argmax", "k", ""), ("y", "k", "")]),
        ("h′(a₁⁽²⁾)", [("h′", "", ""), ("a", "1", "(2)")]),
        ("like exp(-rate s)", [("e", "", "-ρs")]),
        ("at s = 2", [("s", "", "")]),
    ],
)
def test_symbols_are_found(text: str, symbols: list[tuple[str, str, str]]) -> None:
    found = [part for part in prose(text) if isinstance(part, dict)]
    assert [(part["base"], part["sub"], part["sup"]) for part in found] == symbols


def test_powers_of_ten_options_and_signs() -> None:
    assert {"number": "8.6", "power": "-99"} in prose("to 8.6e-99 in layer 1")
    assert {"number": "1", "power": "12"} in prose("1e+12.")
    assert {"code": "--center"} in prose("centring them (--center) takes")
    assert prose("from -4 to 2 - 1") == ["from −4 to 2 − 1"]


@pytest.mark.parametrize("text", ["", "It is a line, at most 1/4; well-known.", "3-1 scores", "#panic() *b* $x$ @y"])
def test_words_stay_words(text: str) -> None:
    assert prose(text) == ([text] if text else [])


@given(st.text(alphabet=st.characters(exclude_characters="-*", categories=["L", "N", "P", "S", "Zs"])))
def test_plain_parts_stand_in_the_text_in_their_order(text: str) -> None:
    end = 0
    for part in prose(text):
        assert part
        if isinstance(part, str):
            end = text.index(part, end) + len(part)


numbers = st.fractions(min_value=-99, max_value=99, max_denominator=8)


@given(st.tuples(numbers, numbers, numbers))
def test_a_formula_keeps_every_token(values: tuple[Fraction, Fraction, Fraction]) -> None:
    text = exact.polynomial(zip(values, ("x1", "x2^2", ""), strict=True))
    assert joined(formula(text)) == text.replace(" ", "").replace("^", "")


def test_a_formula_has_no_words() -> None:
    assert formula("x1 = sqrt(3/2)")[-1] == {"root": "3/2"}
    with pytest.raises(ValueError, match="consists of numbers, names and signs"):
        formula("x1 = ?")
