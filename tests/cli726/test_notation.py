"""The assignment's notation."""

from __future__ import annotations

from matplotlib.mathtext import MathTextParser

from cli726.notation import derivative, indexed, mathtext, plain_derivative


def test_notation_is_the_assignments() -> None:
    assert indexed("w", 3, 1, 2) == "w₁₂⁽³⁾"
    assert indexed("w", 152, "k", 1) == "wₖ₁⁽¹⁵²⁾"
    assert derivative("a", 4, 1) == "∂Eₙ/∂a₁⁽⁴⁾"
    assert plain_derivative("w", 3, 1, 2) == "dE_n/dw_12^(3)"


def test_indices_of_two_digits_stay_apart() -> None:
    assert indexed("w", 1, 11, 2) == "w₁₁,₂⁽¹⁾"
    assert plain_derivative("w", 1, 1, 12) == "dE_n/dw_1,12^(1)"


def test_mathtext_is_valid() -> None:
    for text in (mathtext("w", 3, 1, 2), mathtext("x", None, 1), mathtext("\\delta", 2, "k")):
        MathTextParser("agg").parse(text)
