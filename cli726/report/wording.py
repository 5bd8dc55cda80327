"""Sentences and formulas of the results as parts that the template can typeset: plain text, and symbols of mathematics.

Nothing is ever written as Typst markup: text stays text, whatever it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

__all__ = ["Parts", "formula", "prose"]

# Each a text, or a symbol: {"base", "sub", "sup"}, {"number", "power"}, {"over"}, {"root"}, {"sign"} or {"code"}.
Parts: TypeAlias = list[str | dict[str, Any]]

LOW = "₀₁₂₃₄₅₆₇₈₉ₖₗₙᵢⱼ₊₋₌,"
HIGH = "⁰¹²³⁴⁵⁶⁷⁸⁹ˡᵏⁿ⁺⁻⁽⁾"
PLAIN = str.maketrans(LOW + HIGH, "0123456789klnij+-=,0123456789lkn+-()")
# No comma after a symbol's last index: it would be the sentence's.
LOWERED = f"[{LOW[:-1]}]+(?:,[{LOW[:-1]}]+)*"
GREEK = {"eta": "η", "lambda": "λ", "sigma": "σ"}

SYMBOL = re.compile(
    rf"(?P<indexed>[^\s\d{LOW}{HIGH}(](?P<sub>{LOWERED})(?P<sup>[{HIGH}]*))"
    rf"|(?P<raised>[\d)a-zA-Zδ](?P<power>[{HIGH}]+))"
    r"|\b(?P<square>x\d\^2)"
    r"|\b(?P<numbered>[xyapwC]\d)\b"
    r"|\b(?P<named>(?:argmax|lambda|[xyapw])_(?:max|[a-z]))\b"
    r"|(?<![\w.])(?P<float>\d+(?:\.\d+)?e[+-]?\d+)\b"
    r"|\|(?P<length>g)\|\^2"
    r"|(?<![\w-])(?P<option>--[a-z][a-z0-9-]*)"
    r"|(?P<minus>(?<=\s)-(?=\s)|(?<![\w.)])-(?=\d|eta|w\d))"
    r"|(?P<times>(?<=eta) \* (?=q\b))"
    r"|(?P<decay>exp\(-rate s\))"
    # Single letters only where what stands beside them says that they are no words.
    r"|\b(?:eta|sigma|h′)|(?<![\w'’.])[a-z](?= [=>≤]|\()|\bw(?= h′)|\bq(?= is\b| exceeded)"
    r"|(?<=eta )q\b|(?<=\* )q\b|(?<=\+ )h\b|(?<=gradient )g\b|(?<=layer )l\b"
)

TOKEN = re.compile(
    r"(?P<root>sqrt\((?P<inside>[\d/]+)\))"
    r"|(?P<over>\d+/\d+)"
    r"|(?P<float>\d+(?:\.\d+)?e[+-]?\d+)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[a-zA-Z])(?P<index>\d*)(?:\^(?P<power>\d))?"
    r"|(?P<sign>[-+=<>≈|,()])"
)


def scientific(text: str) -> dict[str, Any]:
    """1.2e-07 as 1.2 times a power of ten."""
    number, _, power = text.partition("e")
    return {"number": number, "power": str(int(power))}


def symbol(match: re.Match[str]) -> str | dict[str, Any]:
    """One symbol of a sentence."""
    found = match.group()
    if match["indexed"]:
        return {
            "base": found[0],
            "sub": match["sub"].translate(PLAIN),
            "sup": match["sup"].translate(PLAIN),
        }
    if match["raised"]:
        return {"base": found[0], "sub": "", "sup": match["power"].translate(PLAIN)}
    if match["square"]:
        return {"base": found[0], "sub": found[1], "sup": "2"}
    if match["numbered"]:
        return {"base": found[0], "sub": found[1], "sup": ""}
    if match["named"]:
        base, _, index = found.partition("_")
        return {"base": GREEK.get(base, base), "sub": index, "sup": ""}
    if match["length"]:
        return {"base": "|g|", "sub": "", "sup": "2"}
    if match["float"]:
        return scientific(found)
    if match["option"]:
        return {"code": found}
    if match["decay"]:
        return {"base": "e", "sub": "", "sup": "-ρs"}
    if match["minus"] or match["times"]:
        return "−" if match["minus"] else " "
    return {"base": GREEK.get(found, found), "sub": "", "sup": ""}


def prose(text: str) -> Parts:
    """A sentence, its symbols of mathematics apart from its words."""
    return list(joined(split(text)))


def split(text: str) -> Iterator[str | dict[str, Any]]:
    end = 0
    for match in SYMBOL.finditer(text):
        yield text[end : match.start()]
        yield symbol(match)
        end = match.end()
    yield text[end:]


def joined(parts: Iterator[str | dict[str, Any]]) -> Iterator[str | dict[str, Any]]:
    """Neighbouring texts in one, empty ones left out."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text


def formula(text: str) -> Parts:
    """A formula such as "3 x1 - 1.5 x2 + 2" or "x1^2 + x2^2 = 1", every token a symbol.

    Raises:
        ValueError: if something in it is none.
    """
    parts: Parts = []
    end = 0
    for match in TOKEN.finditer(text):
        if text[end : match.start()].strip():
            break
        end = match.end()
        if match["root"]:
            parts.append({"root": match["inside"]})
        elif match["over"]:
            parts.append({"over": match["over"].split("/")})
        elif match["float"]:
            parts.append(scientific(match["float"]))
        elif match["number"]:
            parts.append({"number": match["number"]})
        elif match["name"]:
            parts.append({"base": match["name"], "sub": match["index"], "sup": match["power"] or ""})
        else:
            parts.append({"sign": match["sign"]})
    if text[end:].strip():
        raise ValueError(f"a formula consists of numbers, names and signs; got {text!r}")
    return parts
