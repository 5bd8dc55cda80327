"""Marked mathematics: a formula as people type it, kept as typed, rendered as Unicode, for figures and for Typst.

A formula is marked where a sentence is written: `m("w_12^(3)")`, `m("eta q > 2")`. `_` lowers and `^` raises what
follows: a word, a number, what stands in braces, which are left out, or in round brackets, which stay. Names of Greek
letters become letters in print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Math", "m", "mathtext"]

GREEK = {
    "alpha": "α", "beta": "β", "delta": "δ", "epsilon": "ε", "eta": "η", "kappa": "κ", "lambda": "λ", "mu": "μ",
    "pi": "π", "rho": "ρ", "sigma": "σ", "phi": "φ",
}  # fmt: skip
# Names that stay upright words.
OPERATORS = ("argmax", "exp", "grad", "ln", "log", "max", "min")
LOW = dict(zip("0123456789aehijklmnoprstuvx+-=()", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ₊₋₌₍₎", strict=True))
HIGH = dict(zip("0123456789iklnT+-=()", "⁰¹²³⁴⁵⁶⁷⁸⁹ⁱᵏˡⁿᵀ⁺⁻⁼⁽⁾", strict=True))
# An index of several parts keeps its comma, which has no lowered form.
LOW[","] = ","

WORD = "|".join([*GREEK, *OPERATORS])
TOKEN = re.compile(
    r"(?P<root>sqrt\((?P<inside>\d+(?:/\d+)?)\))"
    r"|(?P<over>(?<![\w^.])(?P<above>\d+)/(?P<below>\d+)(?![\w.]))"
    r"|(?P<float>(?<![\w.])\d+(?:\.\d+)?e[+-]?\d+)"
    rf"|(?P<base>(?:{WORD})(?![A-Za-z])|\d+(?:\.\d+)?|[^\W\d_]|[∂∇Σ∑Π∏\])|])(?P<prime>['′]?)"
    r"(?P<digits>(?<=[A-Za-z])\d+)?"
    r"(?:_(?P<sub>\{[^}]*\}|[A-Za-z0-9]+(?:,[A-Za-z0-9]+)*))?"
    r"(?:\^(?P<sup>\{[^}]*\}|\([^)]*\)|[-+]?[A-Za-z0-9]+))?"
    r"|(?P<space>\s+)"
    r"|(?P<sign><=|>=|!=|->|~=|.)"
)
# How signs of two characters are set; the terminal shows them so too.
SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠", "->": "→", "~=": "≈"}


@dataclass(frozen=True)
class Math:
    """A formula; `str()` is what a terminal shows."""

    source: str

    def __str__(self) -> str:
        return "".join(unicode(token) for token in TOKEN.finditer(self.source))

    def nodes(self) -> list[dict[str, Any]]:
        """The formula for the report's template, which sets it symbol by symbol and evaluates nothing.

        Returns:
            A list of {"base", "sub", "sup"}, {"number", "power"}, {"over": [above, below]}, {"root"} and {"sign"}.
        """
        return [node for token in TOKEN.finditer(self.source) for node in typeset(token)]


def m(source: str) -> Math:
    """Return a formula, marked as such."""
    return Math(source)


def inner(text: str | None) -> str:
    """Return an index without the braces that hold it together."""
    return (text or "").removeprefix("{").removesuffix("}")


def lifted(text: str, table: dict[str, str], mark: str) -> str:
    """Return an index in Unicode's small characters, or as typed where one of them doesn't exist."""
    if all(c in table for c in text):
        return "".join(table[c] for c in text)
    return mark + (text if len(text) == 1 or text[0] in "(-" or text.isalnum() else f"{{{text}}}")


def unicode(token: re.Match[str]) -> str:
    """Return one token as a terminal shows it; what is neither lowered nor raised stays as typed."""
    if token["sign"]:
        return SIGNS.get(token["sign"], token["sign"])
    if not token["base"]:
        return token.group()
    sub, sup = inner(token["sub"]), inner(token["sup"])
    base = GREEK.get(token["base"], token["base"]) if sub or sup else token["base"]
    text = base + token["prime"].replace("'", "′") + (token["digits"] or "")
    return text + (lifted(sub, LOW, "_") if sub else "") + (lifted(sup, HIGH, "^") if sup else "")


def typeset(token: re.Match[str]) -> Iterator[dict[str, Any]]:
    """Yield one token for the template; none for a space."""
    if token["root"]:
        yield {"root": token["inside"]}
    elif token["over"]:
        yield {"over": [token["above"], token["below"]]}
    elif token["float"]:
        number, _, power = token["float"].partition("e")
        yield {"number": number, "power": str(int(power))}
    elif token["base"]:
        base = GREEK.get(token["base"], token["base"]) + token["prime"].replace("'", "′")
        sub = ",".join(part for part in (token["digits"], inner(token["sub"])) if part)
        yield {"base": base, "sub": sub, "sup": inner(token["sup"])}
    elif token["sign"]:
        yield {"sign": SIGNS.get(token["sign"], token["sign"])}


def mathtext(source: str) -> str:
    """Return a formula for a figure, in matplotlib's mathtext, such as $w_{12}^{(3)}$."""
    return "$" + "".join(figure(token) for token in TOKEN.finditer(source)) + "$"


def figure(token: re.Match[str]) -> str:
    if token["space"]:
        return r"\ "
    if token["root"]:
        return rf"\sqrt{{{token['inside']}}}"
    if token["over"]:
        return rf"\frac{{{token['above']}}}{{{token['below']}}}"
    if token["float"]:
        number, _, power = token["float"].partition("e")
        return rf"{number} \times 10^{{{int(power)}}}"
    if token["sign"]:
        sign = SIGNS.get(token["sign"], token["sign"])
        return rf"\{sign}" if sign in "{}$#%&_" else sign
    base = {"∏": r"\prod", "Π": r"\prod", "∑": r"\sum", "Σ": r"\sum"}.get(token["base"], token["base"])
    text = rf"\{base} " if base in GREEK else rf"\mathrm{{{base}}}" if base in OPERATORS else base
    sub = ",".join(part for part in (token["digits"], inner(token["sub"])) if part)
    text += "'" if token["prime"] else ""
    return text + (f"_{{{sub}}}" if sub else "") + (f"^{{{inner(token['sup'])}}}" if token["sup"] else "")
