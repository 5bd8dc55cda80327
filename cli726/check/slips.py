"""Known slips: a wrong formula is changed in one place at a time, until it is right; that place is the slip.

Searching from what was typed, and not from the right answer, finds the place in the student's own way of writing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate

from cli726.check.answers import UNKNOWN, Slip, Typed, typed_list
from cli726.check.grammar import Misread, Node, parse, pieces, rewritten, spelt
from cli726.check.values import Undefined, World, close, evaluate

# Of a search: evaluations of parts of formulas.
MOST_STEPS = 200_000
# A slip, what to say of it, and the wrong formula or, in a search, where it is and the answer without it.
Spelling = tuple[str, str, str]
Mended = tuple[str, str, Node, Node]
LEFT_SIDE = re.compile(r"d|∂|\\?partial|δ|\\?delta|h|σ|\\?sigma|y_?[12₁₂]\s*(\(|$)|z|grad|∇|f|p")


def number(value: Fraction | int) -> Node:
    return Node("number", value=Fraction(value))


def joined(kind: str, left: Node, right: Node) -> Node:
    return Node(kind, parts=(left, right), start=left.start, end=left.end)


def place(node: Node) -> tuple[int, int]:
    """Return where a part of a formula was typed."""
    return node.start + 1, max(node.end, node.start + 1)


def moved(text: str, step: int) -> str:
    """Return a layer, such as 3 or l+1, some layers higher."""
    if text.isdecimal():
        return str(int(text) + step)
    rest = (
        int(re.sub(r"[^\d-]", "", text[1:]) or 0) + step if text[1:].lstrip("+- ").isdecimal() or not text[1:] else step
    )
    return f"{text[0]}{rest:+d}" if rest else text[0]


def of_symbol(node: Node) -> Iterator[tuple[str, Node, str]]:
    """Yield what might have been meant by a symbol: the slip, the symbol, what differs."""
    name, index = node.name, node.index
    layers = {step: moved(node.layer, step) for step in (1, -1, 2, -2)} if node.layer else {}
    for layer in layers.values():
        yield "layer", replace(node, layer=layer), f"the layer of {name}"
    if len(index) == 2 and index[0] != index[1]:
        turned = replace(node, index=index[::-1])
        yield "indices swapped", turned, f"the order of {name}'s indices"
        for layer in list(layers.values())[:2]:
            yield "indices and layer", replace(turned, layer=layer), f"indices and layer of {name}"
    for one, other in ("za", "az", "yt", "ty"):
        if name == one:
            yield f"{one} for {other}", replace(node, name=other), f"{one} in place of {other}"
    for position, old in enumerate(index):
        for unit in "123kji":
            if unit != old:
                changed = (*index[:position], unit, *index[position + 1 :])
                yield "unit", replace(node, index=changed), f"an index of {name}"
    if name == "x" and index:
        for letter in "za":
            for layer in "23lk":
                yield "input for unit", replace(node, name=letter, layer=layer), "an input in place of a unit"
    if name in ("z", "a") and index:
        yield "unit for input", replace(node, name="x", layer=""), "a unit in place of an input"


def of_node(node: Node) -> Iterator[tuple[str, Node, str]]:
    """Yield what might have been meant by one node."""
    kind, parts = node.kind, node.parts
    if kind == "symbol":
        yield from of_symbol(node)
    for one, other in (("h", "h'"), ("h'", "h")):
        if kind == "call" and node.name == one:
            yield f"{one} for {other}", replace(node, name=other), f"{one} in place of {other}"
    if kind == "call":
        opposite = replace(node, parts=(Node("neg", parts=parts),))
        yield "sign", opposite, f"the sign of what {node.name} is taken of"
    if kind == "neg":
        yield "sign", parts[0], "a minus sign"
    if kind in ("+", "-"):
        yield "sign", replace(node, kind="+-"[kind == "+"]), f'the sign "{kind}"'
    for one, other, name, what in (
        ("+", "*", "sum for product", '"+" in place of a product'),
        ("-", "*", "sum for product", '"-" in place of a product'),
        ("*", "+", "product for sum", 'a product in place of "+"'),
        ("*", "/", "product for quotient", "a product in place of a quotient"),
        ("/", "*", "quotient", "a quotient in place of a product"),
        ("sum", "prod", "sum for product", "a sum in place of a product"),
        ("prod", "sum", "product for sum", "a product in place of a sum"),
    ):
        if kind == one:
            yield name, replace(node, kind=other), what
    if kind == "/":
        yield "quotient", replace(node, parts=parts[::-1]), "a quotient upside down"
    if kind == "^" and parts[1].kind == "number":
        for step in (1, -1, 2, -2):
            raised = replace(node, parts=(parts[0], number(parts[1].value + step)))
            yield "power", raised, f"the power {parts[1].value}"
    if kind in ("sum", "prod") and node.index:
        for low, high in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            bounds = moved(node.index[0], low), moved(node.index[1], high)
            yield "bounds", replace(node, index=bounds), "where the sum or product begins or ends"


def factors(node: Node) -> Iterator[Node]:
    """Yield the factors of a product, and those within sums."""
    if node.kind in ("*", "sum", "prod", "neg", "/"):
        for part in node.parts[: 1 if node.kind == "/" else None]:
            yield from factors(part)
    if node.kind not in ("*", "neg", "/"):
        yield node


def terms(node: Node) -> Iterator[Node]:
    """Yield the terms of a sum written out."""
    if node.kind not in ("+", "-"):
        yield node
        return
    yield from terms(node.parts[0])
    yield from terms(node.parts[1]) if node.kind == "+" else [replace(node, kind="neg", parts=node.parts[1:])]


def of_whole(tree: Node, right: Node, extent: int) -> Iterator[Mended]:
    """Yield answers with another sign or factor, and with the sum that is missing."""
    yield "sign", "right but for the sign of the whole", tree, Node("neg", parts=(tree,))
    for name, factor in (("1/2", Fraction(2)), ("2", Fraction(1, 2))):
        told = f"right but for a factor {name} that doesn't belong there"
        yield f"factor {name}", told, tree, joined("*", tree, number(factor))
    for index in "kji":
        told = f"right but for the sum over {index}, which is missing"
        yield "missing sum", told, tree, Node("sum", name=index, parts=(tree,))
    for part in right.walk():
        for k in range(1, extent + 1) if part.kind == "sum" else ():
            only = rewritten(right, part, replace(part, index=(str(k), str(k))))
            told = f"right but for the sum: only its term for {part.name} = {k} is there"
            yield "missing sum", told, tree, joined("+", joined("-", tree, only), right)


def of_factors(tree: Node) -> Iterator[Mended]:
    """Yield the answer without each of its factors."""
    for part in factors(tree):
        if part.kind == "number" or part is tree:
            continue
        name, told = "factor too many", "right but for a factor too many"
        if part.kind == "call" and part.name == "h'":
            name, told = "h' too many", "right but for h', which doesn't belong there"
            if part.parts[0].kind == "symbol":
                unit = spelt(part.parts[0])
                told += f": is {unit} the activation of a unit with the identity, or is its h' counted twice?"
        yield name, f"{told}; you have {spelt(part)} too much", part, rewritten(tree, part, number(1))


def missing(tree: Node, right: Node) -> Iterator[Mended]:
    """Yield answers completed by a factor of the right one, or by a sum."""
    slopes = (
        Node("call", "h'", parts=(replace(part, name="a"),))
        for part in right.walk()
        if part.kind == "symbol" and part.layer
    )
    for factor in dict.fromkeys([*factors(right), *slopes]):
        if factor.kind != "number":
            name = "sum" if factor.kind == "sum" else "factor"
            told = f"right but for a {name} that is missing: {spelt(factor)}"
            yield f"missing {name}", told, tree, joined("*", tree, factor)
            for part in tree.walk():
                if part.kind == "sum":
                    told = f"right but for a factor that is missing in the sum: {spelt(factor)}"
                    inner = replace(part, parts=(joined("*", part.parts[0], factor),))
                    yield "missing factor", told, tree, rewritten(tree, part, inner)


def of_numbers(tree: Node, right: Node) -> Iterator[Mended]:
    """Yield answers with one number, power or term changed."""
    values = [part.value for part in right.walk() if part.kind == "number"] + [Fraction(1), Fraction(0)]
    for part in tree.walk():
        if part.kind == "number":
            for value in dict.fromkeys([*values, -part.value, 2 * part.value, part.value / 2]):
                told = f"right but for a number: you have {part.value}, right is {value}"
                yield "number", told, part, rewritten(tree, part, number(value))
        else:
            told = f"right but for a square that is missing: {spelt(part)}^2"
            yield "square", told, part, rewritten(tree, part, joined("^", part, number(2)))
    for term in dict.fromkeys(terms(right)):
        yield "missing term", f"right but for a term that is missing: {spelt(term)}", tree, joined("+", tree, term)
    for part in tree.walk():
        for term, rest in zip(part.parts, part.parts[::-1], strict=True) if part.kind in ("+", "-") else ():
            yield "term too many", f"right but for a term too many: {spelt(term)}", term, rewritten(tree, part, rest)


def mended(tree: Node, right: Node, extent: int) -> Iterator[Mended]:
    """Yield the answer changed by every known slip, the likeliest first."""
    yield from of_whole(tree, right, extent)
    yield from of_factors(tree)
    for part in tree.walk():
        for name, new, what in of_node(part):
            told = f"right but for {what}: you have {spelt(part)}, right is {spelt(new)}"
            yield name, told, part, rewritten(tree, part, new)
    yield from missing(tree, right)
    yield from of_numbers(tree, right)


def search(tree: Node, right: Node, is_right: Callable[[Node], bool], extent: int = 3) -> Slip:
    """Return the one slip that tells a wrong formula from the right one; `UNKNOWN` if no single one does.

    Args:
        extent: How far sums without bounds run.
    """
    for name, told, part, candidate in mended(tree, right, extent):
        if is_right(candidate):
            return Slip(name, told, place(part))
    return UNKNOWN


def sides(text: str) -> list[str]:
    """Return the formulas of an answer, each in its own columns, without the name on the left of `=`."""
    depths = [0, *accumulate((c in "([{") - (c in ")]}") for c in text)]
    inner = re.compile(r"(?:sum|prod|[ΣΠ∑∏])\s*_\s*[i-n]\s*$")
    marked = "".join(
        "\0" if c in "=≈" and d <= 0 and not inner.search(text[:k]) else c
        for k, (c, d) in enumerate(zip(text, depths, strict=False))
    )
    found = pieces("\0", marked)
    return found[1:] if len(found) > 1 and LEFT_SIDE.match(found[0].strip().lstrip("\\$({")) else found


def judged(
    text: str, right: Node, worlds: Sequence[World], *, name: Node | None = None, extent: int = 3,
    numeric: Callable[[list[Typed]], Slip | str] | None = None, prepared: Callable[[Node], Node] = lambda node: node,
    known: Sequence[Spelling] = (),
) -> Slip | str:  # fmt: skip
    """Return the slip of a formula, or "right".

    Args:
        right: The right formula.
        worlds: Where formulas are compared.
        name: The symbol that is asked for, and is no answer.
        extent: How far sums without bounds run.
        numeric: Judges an answer without symbols.
        prepared: Applied to what was typed.
        known: Wrong formulas.
    """
    most = sum(world.steps for world in worlds) + MOST_STEPS
    truth = [evaluate(right, world) for world in worlds]

    def same(tree: Node, values: Iterable[Fraction]) -> bool:
        try:
            found = (evaluate(tree, world) for world in worlds)
            return sum(world.steps for world in worlds) < most and all(map(close, found, values))
        except Misread:
            return False

    said: Slip | str = "right"
    for part in sides(text):
        tree = prepared(parse(part))
        if name is not None and tree == name:
            return Slip("name only", "that only names what is asked for; express it", place(tree))
        if numeric and not any(node.kind in ("symbol", "sum", "prod") for node in tree.walk()):
            said = numeric(typed_list(part))
            if isinstance(said, Slip):
                return said
        elif not same(tree, truth):
            for node in tree.walk():
                if node.kind == "symbol" and node.name not in worlds[0].names:
                    raise worlds[0].unknown(node)
            for slip, told, wrong in known:
                if same(tree, (evaluate(parse(wrong), world) for world in worlds)):
                    return Slip(slip, told, place(tree))
            found = search(tree, right, lambda node: same(node, truth), extent)
            if found is UNKNOWN:  # a symbol that the world hasn't is refused; a formula without a value is only wrong
                with suppress(Undefined):
                    evaluate(tree, worlds[0])
            return found
    return said
