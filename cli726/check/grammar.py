"""Formulas as people type them: a tokenizer and a recursive-descent parser of our own; nothing typed is ever evaluated.

    formula = ["+"|"-"] product {("+"|"-") product}
    product = power {["*"|"/"] power}                 one after another is multiplied
    power   = operand ["^" operand]
    operand = number | symbol | call | sum | "(" formula ")" | \\frac{}{}

A symbol has a base, indices and a layer: `w_12^(3)`, `w_{12}^{(3)}`, `w12(3)` and `w₁₂⁽³⁾` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from cli726.errors import RequestError

__all__ = ["Misread", "Node", "parse", "rewritten", "spelt"]

LONGEST, DEEPEST, MOST_NODES = 2_000, 25, 300
LAYERED = frozenset({"a", "z", "w", "delta"})
FUNCTIONS = {
    "h": "h", "sigma": "h", "sigmoid": "h", "logistic": "h", "sigm": "h", "σ": "h", "exp": "exp", "ln": "ln",
    "log": "ln", "sqrt": "sqrt",
}  # fmt: skip
GREEK = {"δ": "delta", "Σ": "sum", "∑": "sum", "Π": "prod", "∏": "prod", "σ": "sigma", "Δ": "delta"}
NAMES = ("delta", "sigmoid", "sigma", "sigm", "logistic", "sum", "prod", "exp", "sqrt", "ln", "log", "frac", "cdot",
         "times", "cdots", "prime", "dfrac", "tfrac")  # fmt: skip
MARKS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₐᵢⱼₖₗₙ⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ˡᵏⁱʲⁿ", "0123456789+-()aijkln0123456789+-()lkijn")
SPACE = re.compile(r"(?:\s|\\[,;:! ]|\\(?:left|right|displaystyle|quad|limits|[bB]igg?[lr]?)(?![A-Za-z])|&|\$)+")
NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
WORD = re.compile(rf"\\?(?:{'|'.join(sorted(NAMES, key=len, reverse=True))})|\\?[A-Za-zδΣ∑Π∏σΔ]")
TIMES = re.compile(r"\\cdot(?![a-z])|\\times(?![a-z])|\*(?!\*)|[·×⋅∗•]")
RAISE = re.compile(r"\^|\*\*")
LOW = re.compile(r"_\s*(?:\{\s*([A-Za-z\d,\s]+?)\s*\}|((?:\d|[i-nl])+(?:,(?:\d|[i-n])+)*))|([₀-₉ₐᵢⱼₖₗₙ,]+)")
STEP = r"(?:\d{1,6}|[i-nLl])(?:\s*[+-]\s*(?:\d{1,6}|[i-n]))?"
HIGH = re.compile(
    rf"\^\s*(?:\(\s*({STEP})\s*\)|\{{\s*\(\s*({STEP})\s*\)\s*\}}|\{{\s*({STEP})\s*\}}|(\d{{1,6}}|[kl]))"
    rf"|⁽([^⁾]{{1,9}})⁾|(?<=[\w₀-₉])\(\s*({STEP})\s*\)"
)
PRIME = re.compile(r"['′’]|\^\s*(?:\{\s*)?\\prime(?:\s*\})?")
BOUND = re.compile(
    rf"\s*_?\s*[{{(]?\s*([i-n])(?:\s*=\s*({STEP}))?\s*[}})]?(?:\s*(?:\^|\.\.\.?|to)\s*[{{(]?\s*({STEP})\s*[}})]?)?"
)
POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


class Misread(RequestError):  # noqa: N818 - a kind of request, not a fault
    """What was typed isn't understood from `column` (from 1) on."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"{message} (reading stopped at column {column})")
        self.column = column


@dataclass(frozen=True)
class Node:
    """Part of a formula, and where it stands: columns `start` to `end`, from 0, the last one exclusive.

    Attributes:
        kind: "number", "symbol", "call", "sum", "prod", "+", "-", "*", "/", "^" or "neg".
        name: A symbol's base, a call's function, the index of a sum.
        index: Of a symbol, such as ("1", "2"); of a sum its bounds, as typed, or empty.
        layer: As typed, "" for none.
        parts: Operands.
    """

    kind: str
    name: str = ""
    index: tuple[str, ...] = ()
    layer: str = ""
    parts: tuple[Node, ...] = ()
    value: Fraction = Fraction(0)
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


def rewritten(tree: Node, old: Node, new: Node) -> Node:
    """Return the tree with one node, found by identity, replaced."""
    if tree is old:
        return new
    parts = tuple(rewritten(part, old, new) for part in tree.parts)
    same = all(a is b for a, b in zip(parts, tree.parts, strict=True))
    return tree if same else replace(tree, parts=parts)


def spelt(node: Node) -> str:
    """Return a node as one types it."""
    if node.kind == "number":
        return str(node.value)
    if node.kind == "symbol":
        return (
            node.name + (f"_{''.join(node.index)}" if node.index else "") + (f"^({node.layer})" if node.layer else "")
        )
    inner = [spelt(part) for part in node.parts]
    if node.kind == "call":
        return f"{node.name}({inner[0]})"
    if node.kind in ("sum", "prod"):
        bounds = f"_{{{node.name}={node.index[0]}}}^{{{node.index[1]}}}" if node.index else f"_{node.name}"
        return f"{node.kind}{bounds} {inner[0]}"
    if node.kind == "neg":
        return f"-({inner[0]})"
    loose = {"*": "+-", "/": "+-*/", "^": "+-*/^", "-": "", "+": ""}[node.kind]
    wrapped = [
        f"({text})"
        if (part.kind in loose or part.kind == "neg" or (node.kind == "-" and k and part.kind in "+-"))
        else text
        for k, (part, text) in enumerate(zip(node.parts, inner, strict=True))
    ]
    return {"*": " ", "^": "^"}.get(node.kind, f" {node.kind} ").join(wrapped)


def parse(text: str, offset: int = 0) -> Node:
    """Return the formula that a text holds.

    Args:
        text: At most LONGEST characters.
        offset: The column at which the text begins in what was typed.

    Raises:
        Misread: for what is no formula; says the column where reading stopped.
    """
    if len(text) > LONGEST:
        raise Misread(f"an answer has at most {LONGEST:,} characters; got {len(text):,}; shorten it", LONGEST)
    reader = Reader(text, offset)
    tree = reader.formula(0)
    if reader.at < len(text):
        raise reader.misread("a formula ends here")
    return tree


class Reader:
    """A place in a text, and the rules of the grammar as methods."""

    def __init__(self, text: str, offset: int) -> None:
        self.text, self.offset, self.at, self.nodes = text, offset, 0, 0
        self.skip()

    def misread(self, expected: str) -> Misread:
        found = f'"{self.text[self.at : self.at + 12]}"' if self.at < len(self.text) else "the end"
        return Misread(f"{expected}, got {found}; `--list` shows how answers are typed", self.at + self.offset + 1)

    def skip(self) -> None:
        space = SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
            self.skip()
        return found

    def sign(self, signs: str) -> str:
        here = self.text[self.at : self.at + 1].replace("−", "-").replace("–", "-").replace("÷", "/")
        if here and here in signs:
            self.at += 1
            self.skip()
            return here
        return ""

    def node(self, kind: str, start: int, **rest: object) -> Node:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise self.misread(f"a formula has at most {MOST_NODES} parts")
        end = len(self.text[: self.at].rstrip())
        return Node(kind, start=start + self.offset, end=end + self.offset, **rest)  # type: ignore[arg-type]

    def formula(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise self.misread(f"brackets go at most {DEEPEST} deep")
        start, minus = self.at, self.sign("+-")
        left = self.product(depth)
        if minus == "-":
            left = self.node("neg", start, parts=(left,))
        while sign := self.sign("+-"):
            here, turned = self.at, self.sign("-")
            right = self.product(depth)
            if turned:
                right = self.node("neg", here, parts=(right,))
            left = self.node(sign, start, parts=(left, right))
        return left

    def product(self, depth: int) -> Node:
        start, left = self.at, self.power(depth)
        while True:
            if self.take(TIMES):
                left = self.node("*", start, parts=(left, self.signed(depth)))
            elif self.sign("/÷"):
                left = self.node("/", start, parts=(left, self.signed(depth)))
            elif self.starts():
                left = self.node("*", start, parts=(left, self.power(depth)))
            else:
                return left

    def signed(self, depth: int) -> Node:
        """Return an operand that may have a sign: `2 * -3`."""
        start = self.at
        if self.sign("-"):
            inner = self.power(depth)
            return self.node("neg", start, parts=(inner,))
        return self.power(depth)

    def starts(self) -> bool:
        rest = self.text[self.at :]
        return bool(rest) and (rest[0] in "([{" or bool(NUMBER.match(rest) or WORD.match(rest)))

    def power(self, depth: int) -> Node:
        start, base = self.at, self.operand(depth)
        small = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+").match(self.text, self.at)
        if small:
            self.at = small.end()
            self.skip()
            exponent = Node("number", value=Fraction(small[0].translate(POWERS)))
            return self.node("^", start, parts=(base, exponent))
        if self.take(RAISE):
            if depth > DEEPEST:
                raise self.misread(f"powers go at most {DEEPEST} deep")
            sign = self.at
            if self.sign("-"):
                inner = self.power(depth + 1)
                exponent = self.node("neg", sign, parts=(inner,))
            else:
                exponent = self.power(depth + 1)
            if base == Node("symbol", "e"):
                return self.node("call", start, name="exp", parts=(exponent,))
            return self.node("^", start, parts=(base, exponent))
        return base

    def bracket(self, depth: int) -> Node:
        start, opened = self.at, self.sign("([{")
        if not opened:
            raise self.misread("a bracket opens here")
        inner = self.formula(depth + 1)
        if not self.sign({"(": ")", "[": "]", "{": "}"}[opened]):
            raise self.misread(f'the bracket "{opened}" is closed')
        return replace(inner, start=start + self.offset, end=len(self.text[: self.at].rstrip()) + self.offset)

    def operand(self, depth: int) -> Node:
        start = self.at
        if self.text[self.at : self.at + 1] in {"(", "[", "{"}:
            return self.bracket(depth)
        found = self.take(NUMBER)
        if found:
            if len(found[0]) > 40 or re.search(r"[eE][+-]?\d{3}", found[0]):
                raise Misread(
                    "a number has at most 40 characters and an exponent of two digits", start + self.offset + 1
                )
            value = Fraction(found[0].rstrip("."))
            if self.sign("%"):
                value /= 100
            return self.node("number", start, value=value)
        word = WORD.match(self.text, self.at)
        if not word:
            raise self.misread("a number, a symbol or a bracket follows")
        self.at = word.end()
        name = word[0].removeprefix("\\")
        name = GREEK.get(name, name)
        if name in ("frac", "dfrac", "tfrac"):
            self.skip()
            above, below = self.bracket(depth + 1), self.bracket(depth + 1)
            return self.node("/", start, parts=(above, below))
        if name in ("sum", "prod"):
            return self.series(name, start, depth)
        if name in FUNCTIONS:
            return self.call(FUNCTIONS[name], start, depth)
        return self.symbol(name, start)

    def series(self, name: str, start: int, depth: int) -> Node:
        bounds: tuple[str, ...] = ()
        low = re.compile(r"[₀-₉ᵢⱼₖₗₙ]").match(self.text, self.at)
        if low:
            self.at = low.end()
            index = low[0].translate(MARKS)
        else:
            found = BOUND.match(self.text, self.at)
            if not found or not re.match(r"\s*[_(]", found[0]):
                raise self.misread("a sum or product names its index, as in sum_k")
            self.at = found.end()
            index = found[1]
            bounds = (found[2] or "1", found[3]) if found[3] else ()
        self.skip()
        if depth > DEEPEST:
            raise self.misread(f"sums go at most {DEEPEST} deep")
        body = self.product(depth + 1)
        return self.node(name, start, name=index, index=bounds, parts=(body,))

    def call(self, name: str, start: int, depth: int) -> Node:
        primed = name == "h" and PRIME.match(self.text, self.at)
        if primed:
            self.at, name = primed.end(), "h'"
        self.skip()
        square = self.take(re.compile(r"\^\s*2(?=\s*\()"))
        if name == "h" and not self.text.startswith(("(", "{"), self.at):
            return self.node("symbol", start, name="h")
        if name == "sqrt" and not self.text.startswith(("(", "{"), self.at):
            raise self.misread("sqrt takes brackets")
        inner = self.bracket(depth + 1)
        made = self.node("call", start, name=name, parts=(inner,))
        return self.node("^", start, parts=(made, Node("number", value=Fraction(2)))) if square else made

    def symbol(self, name: str, start: int) -> Node:
        index, layer = "", ""
        if name == "y" and (data := re.compile(r"\(\s*x(_n)?\s*(,\s*w\s*)?\)").match(self.text, self.at)):
            self.at = data.end()
        if name in "axzwyt" or name == "delta":
            plain = re.compile(r"\d{1,3}").match(self.text, self.at)
            if plain:
                index, self.at = plain[0], plain.end()
        for _ in range(2):
            low = None if index else LOW.match(self.text, self.at)
            if low:
                index = next(filter(None, low.groups())).translate(MARKS).replace(" ", "")
                self.at = low.end()
            high = None if layer or name not in LAYERED else HIGH.match(self.text, self.at)
            if high and (index or high[1] or high[2] or high[5]) and not (high[6] and not index):
                layer = next(filter(None, high.groups())).translate(MARKS).replace(" ", "")
                self.at = high.end()
        self.skip()
        if name in ("y", "t") and index == "n":
            index = ""
        indices = tuple(index.split(",")) if "," in index else tuple(index) if name == "w" else (index,) * bool(index)
        return self.node("symbol", start, name=name, index=indices, layer=layer)
