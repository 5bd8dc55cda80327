"""The assignment's notation (Bishop's letters) as plain text, as Unicode and as mathtext."""

from __future__ import annotations

__all__ = ["derivative", "indexed", "mathtext", "plain_derivative", "subscript", "superscript"]

SUBSCRIPTS = str.maketrans("0123456789kl+-", "₀₁₂₃₄₅₆₇₈₉ₖₗ₊₋")
SUPERSCRIPTS = str.maketrans("0123456789kl+-()", "⁰¹²³⁴⁵⁶⁷⁸⁹ᵏˡ⁺⁻⁽⁾")


def join(indices: tuple[int | str, ...]) -> str:
    """Indices side by side, as in `w_12`; with a comma where a number of two digits would blur them."""
    texts = [str(index) for index in indices]
    return "".join(texts) if all(len(text) == 1 for text in texts) else ",".join(texts)


def subscript(*indices: int | str) -> str:
    """Indices as Unicode subscripts."""
    return join(indices).translate(SUBSCRIPTS)


def superscript(text: int | str) -> str:
    """A superscript in Unicode: digits, k, l, plus, minus and round brackets have one."""
    return str(text).translate(SUPERSCRIPTS)


def indexed(letter: str, layer: int | str, *indices: int | str) -> str:
    """A symbol of one layer in Unicode, such as w₁₂⁽³⁾."""
    return f"{letter}{subscript(*indices)}{superscript(f'({layer})')}"


def derivative(letter: str, layer: int | str, *indices: int | str) -> str:
    """The derivative of the error with respect to that symbol in Unicode, such as ∂Eₙ/∂w₁₂⁽³⁾."""
    return f"∂Eₙ/∂{indexed(letter, layer, *indices)}"


def plain_derivative(letter: str, layer: int, *indices: int) -> str:
    """The same in ASCII, as the assignment types it: dE_n/dw_12^(3)."""
    return f"dE_n/d{letter}_{join(indices)}^({layer})"


def mathtext(letter: str, layer: int | str | None, *indices: int | str) -> str:
    """The symbol for a figure, such as $w_{12}^{(3)}$; without a layer, as in $x_{1}$."""
    upper = "" if layer is None else f"^{{({layer})}}"
    return f"${letter}_{{{join(indices)}}}{upper}$"
