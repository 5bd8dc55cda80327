"""Formulas as people type them: a recursive-descent parser of our own; nothing that is typed is ever evaluated as code.

    sum     = ["-"] product {("+"|"-") product}
    product = power {["*"|"/"] power}                 one after another is multiplied
    power   = operand ["^" power]
    operand = number | symbol | call | series | "(" sum ")" | \\frac{}{}

A symbol has a base, indices and a layer: `w_12^(3)`, `w_{12}^{(3)}`, `w12(3)` and `w₁₂⁽³⁾` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from cli726.errors import RequestError

LONGEST, DEEPEST, MOST_NODES = 2_000, 25, 300
LAYERED = frozenset({"a", "z", "w", "delta"})
FUNCTIONS = {
    "h": "h", "sigma": "h", "sigmoid": "h", "logistic": "h", "sigm": "h", "exp": "exp", "ln": "ln", "log": "ln",
    "sqrt": "sqrt",
}  # fmt: skip
NAMES = "logistic|sigmoid|sigma|delta|dfrac|tfrac|frac|sigm|sqrt|prod|sum|exp|log|rho|ln"
LOW = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₐᵢⱼₖₗₙ", "0123456789+-aijkln", strict=True))
HIGH = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ˡᵏⁱʲⁿ", "0123456789+-()lkijn", strict=True))
PLAIN = {
    "δ": "\\delta", "Δ": "\\delta", "Σ": "\\sum", "∑": "\\sum", "Π": "\\prod", "∏": "\\prod", "σ": "\\sigma",
    "ρ": "\\rho", "−": "-", "–": "-", "÷": "/", "′": "'", "’": "'", **dict.fromkeys("·×⋅∗•", "*"),
}  # fmt: skip
PIECE = re.compile(rf"([{''.join(LOW)},]*[{''.join(LOW)}])|(⁽[^⁽⁾]*⁾|[{''.join(HIGH)}]+)|.", re.DOTALL)
SPACE = re.compile(r"(?:\s|\\[,;:! ]|\\(?:left|right|displaystyle|quad|limits|[bB]igg?[lr]?)(?![A-Za-z])|&|\$)+")
NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
WORD = re.compile(rf"\\?({NAMES}|[A-Za-z])")
SIGN, TIMES, OVER, PERCENT = (re.compile(p) for p in ("[+-]", r"\\(?:cdot|times)(?![a-z])|\*(?!\*)", "/", "%"))
RAISE, OPEN = re.compile(r"\^|\*\*"), re.compile(r"[(\[{]")
STEP = r"(?:\d{1,6}|[i-nL])(?:\s*[+-]\s*(?:\d{1,6}|[i-n]))?"
INDEX = re.compile(r"_\s*(?:\{\s*([\w\s,]+?)\s*\}|((?:\d|[i-n])+(?:,(?:\d|[i-n])+)*))", re.ASCII)
LAYER = re.compile(rf"\^\s*(?:\(\s*({STEP})\s*\)|\{{\s*\(\s*({STEP})\s*\)\s*\}})", re.ASCII)
# These could be powers or factors, were there no index before them.
SHORT_LAYER = re.compile(rf"\^\s*(?:\{{\s*({STEP})\s*\}}|(\d{{1,6}}|[kl]))|(?<=[\w}}])\(\s*({STEP})\s*\)", re.ASCII)
PRIME, SQUARE = re.compile(r"'|\^\s*\{?\s*\\prime\s*\}?"), re.compile(r"\^\s*2(?=\s*\()")
OF_THE_DATA = re.compile(r"\(\s*x(_n)?\s*(,\s*w\s*)?\)")
BOUNDS = re.compile(
    rf"\s*(?:_\s*[{{(]?|\()\s*([i-n])(?:\s*=\s*({STEP}))?\s*[}})]?"
    rf"(?:\s*(?:\^|\.\.\.?|to)\s*[{{(]?\s*({STEP})\s*[}})]?)?"
)


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
    return tree if all(map(lambda a, b: a is b, parts, tree.parts)) else replace(tree, parts=parts)


def spelt(node: Node) -> str:
    """Return a node as one types it."""
    if node.kind == "number":
        return str(node.value)
    if node.kind == "symbol":
        index = f"_{''.join(node.index)}" if node.index else ""
        return f"{node.name}{index}" + (f"^({node.layer})" if node.layer else "")
    inner = [spelt(part) for part in node.parts]
    if node.kind in ("call", "neg"):
        return f"{node.name or '-'}({inner[0]})"
    if node.kind in ("sum", "prod"):
        bounds = f"_{{{node.name}={node.index[0]}}}^{{{node.index[1]}}}" if node.index else f"_{node.name}"
        return f"{node.kind}{bounds} {inner[0]}"
    loose = {"*": "+-", "/": "+-*/", "^": "+-*/^", "-": "", "+": ""}[node.kind]
    wrapped = [
        f"({text})" if part.kind in (*loose, "neg") or (node.kind == "-" and k and part.kind in "+-") else text
        for k, (part, text) in enumerate(zip(node.parts, inner, strict=True))
    ]
    return {"*": " ", "^": "^"}.get(node.kind, f" {node.kind} ").join(wrapped)


def pieces(separator: str, text: str) -> list[str]:
    """Return the parts of a text between separators, each in its own columns: blanks stand for what comes before."""
    marks = [0, *(at for found in re.finditer(separator, text) for at in found.span()), len(text)]
    return [" " * start + text[start:end] for start, end in zip(marks[::2], marks[1::2], strict=True)]


def parse(text: str) -> Node:
    """Return the formula that a text of at most LONGEST characters holds.

    Raises:
        Misread: for what is no formula; says the column where reading stopped.
    """
    if len(text) > LONGEST:
        raise Misread(f"an answer has at most {LONGEST:,} characters; got {len(text):,}; shorten it", LONGEST)
    reader = Reader(text)
    tree = reader.formula(0)
    if reader.at < len(reader.text):
        raise reader.misread("a formula ends here")
    return tree


class Reader:
    """A place in a text, and the grammar as methods; raised and lowered letters are read as ^{} and _{}."""

    def __init__(self, text: str) -> None:
        self.typed, self.at, self.nodes = text, 0, 0
        letters: list[str] = []
        self.columns: list[tuple[int, int]] = []
        for found in PIECE.finditer(text):
            low, high = found.groups()
            level = "".join(LOW.get(c) or HIGH.get(c) or c for c in found[0])
            plain = f"_{{{level}}}" if low else f"^{{{level}}}" if high else PLAIN.get(found[0], found[0])
            letters.append(plain)
            self.columns += [found.span()] * len(plain)
        self.text = "".join(letters)
        self.columns.append((len(text), len(text)))
        self.take(SPACE)

    def misread(self, expected: str, at: int | None = None) -> Misread:
        column = self.columns[self.at if at is None else at][0]
        found = f'"{self.typed[column : column + 12]}"' if column < len(self.typed) else "the end"
        return Misread(f"{expected}, got {found}; `--list` shows how answers are typed", column + 1)

    def take(self, pattern: re.Pattern[str], *, tight: bool = False) -> re.Match[str] | None:
        """Return what stands here, and go behind it and, unless `tight`, the space after it."""
        found = pattern.match(self.text, self.at)
        if found:
            space = None if tight else SPACE.match(self.text, found.end())
            self.at = space.end() if space else found.end()
        return found

    def node(self, kind: str, start: int, *parts: Node, **rest: object) -> Node:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise self.misread(f"a formula has at most {MOST_NODES} parts")
        return self.spanned(Node(kind, parts=parts, **rest), start)  # type: ignore[arg-type]

    def spanned(self, node: Node, start: int) -> Node:
        """Return a node that stands from `start` to here."""
        last = len(self.text[: self.at].rstrip()) - 1
        return replace(node, start=self.columns[start][0], end=self.columns[last][1])

    def formula(self, depth: int, floor: int = 1) -> Node:
        """Return what binds at least as tightly as `floor`: 1 sums, 2 products, 3 powers."""
        if depth > DEEPEST:
            raise self.misread(f"brackets, powers, signs and sums go at most {DEEPEST} deep")
        start, sign = self.at, self.take(SIGN)
        left = self.formula(depth + 1, max(floor, 2)) if sign else self.operand(depth)
        if sign and sign[0] == "-":
            left = self.node("neg", start, left)
        while True:
            if self.take(RAISE):
                right = self.formula(depth + 1, 3)
                exponential = left.kind == "symbol" and left.name == "e"
                left = (
                    self.node("call", start, right, name="exp") if exponential else self.node("^", start, left, right)
                )
            elif floor <= 1 and (sign := self.take(SIGN)):
                left = self.node(sign[0], start, left, self.formula(depth, 2))
            elif floor <= 2 and self.take(TIMES):
                left = self.node("*", start, left, self.formula(depth, 3))
            elif floor <= 2 and self.take(OVER):
                left = self.node("/", start, left, self.formula(depth, 3))
            elif floor <= 2 and any(p.match(self.text, self.at) for p in (OPEN, NUMBER, WORD)):
                left = self.node("*", start, left, self.formula(depth, 3))
            else:
                return left

    def bracket(self, depth: int) -> Node:
        start, opened = self.at, self.take(OPEN)
        if not opened:
            raise self.misread("a bracket opens here")
        inner = self.formula(depth + 1)
        if not self.take(re.compile(re.escape({"(": ")", "[": "]", "{": "}"}[opened[0]]))):
            raise self.misread(f'the bracket "{opened[0]}" is closed')
        return self.spanned(inner, start)

    def operand(self, depth: int) -> Node:
        start = self.at
        if OPEN.match(self.text, self.at):
            return self.bracket(depth)
        if found := self.take(NUMBER):
            if len(found[0]) > 40 or re.search(r"[eE][+-]?\d{3}", found[0]):
                raise self.misread("a number has at most 40 characters and an exponent of two digits", start)
            value = Fraction(found[0].rstrip("."))
            return self.node("number", start, value=value / 100 if self.take(PERCENT) else value)
        word = self.take(WORD, tight=True)
        if not word:
            raise self.misread("a number, a symbol or a bracket follows")
        name = word[1]
        if name in ("sum", "prod"):
            return self.series(name, start, depth)
        if name in FUNCTIONS:
            return self.call(FUNCTIONS[name], start, depth)
        if name.endswith("frac"):
            self.take(SPACE)
            return self.node("/", start, self.bracket(depth), self.bracket(depth))
        return self.symbol(name, start)

    def series(self, name: str, start: int, depth: int) -> Node:
        found = self.take(BOUNDS)
        if not found:
            raise self.misread("a sum or product names its index, as in sum_k")
        bounds = (found[2] or "1", found[3]) if found[3] else ()
        return self.node(name, start, self.formula(depth + 1, 2), name=found[1], index=bounds)

    def call(self, name: str, start: int, depth: int) -> Node:
        if name == "h" and self.take(PRIME, tight=True):
            name = "h'"
        self.take(SPACE)
        square = self.take(SQUARE)
        if name == "h" and not self.text.startswith(("(", "{"), self.at):
            return self.node("symbol", start, name="h")
        made = self.node("call", start, self.bracket(depth), name=name)
        return self.node("^", start, made, Node("number", value=Fraction(2))) if square else made

    def symbol(self, name: str, start: int) -> Node:
        index, layer = "", ""
        if name == "y":
            self.take(OF_THE_DATA, tight=True)
        if name in (*"axzwyt", "delta") and (digits := self.take(re.compile(r"\d{1,3}"), tight=True)):
            index = digits[0]
        for _ in range(2):  # in either order
            if not index and (low := self.take(INDEX, tight=True)):
                index = re.sub(r"\s", "", low[1] or low[2])
            if name in LAYERED and not layer:
                high = self.take(LAYER, tight=True) or (self.take(SHORT_LAYER, tight=True) if index else None)
                layer = re.sub(r"\s", "", next(filter(None, high.groups()))) if high else ""
        self.take(SPACE)
        if name in ("y", "t") and index == "n":
            index = ""
        indices = tuple(index.split(",")) if "," in index else tuple(index) if name == "w" else (index,) * bool(index)
        return self.node("symbol", start, name=name, index=indices, layer=layer)
