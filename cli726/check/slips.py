"""Known slips: a wrong formula is changed in one place at a time, until it is right; that place is the slip.

Searching from what was typed, and not from the right answer, finds the place in the student's own way of writing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

from cli726.check.grammar import Node, rewritten, spelt

__all__ = ["Slip", "search"]

MOST_TRIED = 4_000
HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Slip:
    """One slip: its name, what to say of it, and where it was typed (columns from 1, both inclusive)."""

    name: str
    message: str
    where: tuple[int, int] | None


def number(value: Fraction | int) -> Node:
    return Node("number", value=Fraction(value))


def times(left: Node, right: Node) -> Node:
    return Node("*", parts=(left, right), start=left.start, end=left.end)


def place(node: Node) -> tuple[int, int]:
    return node.start + 1, max(node.end, node.start + 1)


def whole(tree: Node) -> Iterator[tuple[str, str, Node]]:
    """Yield slips of the whole answer: name, message, the answer without it."""
    yield "sign", "right but for the sign of the whole", Node("neg", parts=(tree,))
    yield "factor 1/2", "right but for a factor 1/2 that doesn't belong there", times(tree, number(2))
    yield "factor 2", "right but for a factor 2 that doesn't belong there", times(tree, number(HALF))


def moved(text: str, step: int) -> str:
    """Return a layer, such as 3 or l+1, some layers higher."""
    if text.isdecimal():
        return str(int(text) + step)
    letter, rest = text[0], text[1:].replace("+", "") or "0"
    total = int(rest) + step if rest.lstrip("-").isdecimal() else step
    return letter if total == 0 else f"{letter}{total:+d}"


def of_symbol(node: Node) -> Iterator[tuple[str, Node, str]]:
    """Yield what might have been meant by a symbol: the slip, the symbol, what differs."""
    if node.layer:
        for step in (1, -1, 2, -2):
            yield "layer", replace(node, layer=moved(node.layer, step)), f"the layer of {node.name}"
    if len(node.index) == 2 and node.index[0] != node.index[1]:
        turned = replace(node, index=node.index[::-1])
        yield "indices swapped", turned, f"the order of {node.name}'s indices"
        for step in (1, -1):
            if node.layer:
                yield (
                    "indices and layer",
                    replace(turned, layer=moved(node.layer, step)),
                    f"indices and layer of {node.name}",
                )
    if node.name in ("z", "a"):
        other = replace(node, name="az"[node.name == "a"])
        yield f"{node.name} for {other.name}", other, f"{node.name} in place of {other.name}"
    for position, old in enumerate(node.index):
        for unit in ("1", "2", "3", "k", "j", "i"):
            if unit != old:
                index = (*node.index[:position], unit, *node.index[position + 1 :])
                yield "unit", replace(node, index=index), f"an index of {node.name}"
    if node.name == "x" and node.index:
        for letter, layer in product("za", ("2", "3", "l", "k")):
            yield "input for unit", replace(node, name=letter, layer=layer), "an input in place of a unit"
    elif node.name in ("z", "a") and node.index:
        yield "unit for input", replace(node, name="x", layer=""), "a unit in place of an input"
    for one, meant in (("y", "t"), ("t", "y")):
        if node.name == one:
            yield f"{one} for {meant}", replace(node, name=meant), f"{one} in place of {meant}"


def of_node(node: Node) -> Iterator[tuple[str, Node, str]]:
    """Yield what might have been meant by one node."""
    if node.kind == "symbol":
        yield from of_symbol(node)
    if node.kind == "call" and node.name in ("h", "h'"):
        other = {"h": "h'", "h'": "h"}[node.name]
        yield f"{node.name} for {other}", replace(node, name=other), f"{node.name} in place of {other}"
    if node.kind in ("+", "-"):
        yield "sign", replace(node, kind="+-"[node.kind == "+"]), f'the sign "{node.kind}"'
        yield "sum for product", replace(node, kind="*"), f'"{node.kind}" in place of a product'
    if node.kind == "*":
        yield "product for sum", replace(node, kind="+"), 'a product in place of "+"'
        yield "product for quotient", replace(node, kind="/"), "a product in place of a quotient"
    if node.kind == "/":
        yield "quotient", replace(node, kind="*"), "a quotient in place of a product"
        yield "quotient", replace(node, parts=node.parts[::-1]), "a quotient upside down"
    if node.kind == "neg":
        yield "sign", node.parts[0], "a minus sign"
    if node.kind == "^" and node.parts[1].kind == "number":
        for step in (1, -1, 2, -2):
            raised = replace(node, parts=(node.parts[0], number(node.parts[1].value + step)))
            yield "power", raised, f"the power {node.parts[1].value}"
    if node.kind in ("sum", "prod") and node.index:
        for step_first, step_last in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            first, last = moved(node.index[0], step_first), moved(node.index[1], step_last)
            yield "bounds", replace(node, index=(first, last)), "where the sum or product begins or ends"
    if node.kind == "sum":
        yield "sum for product", replace(node, kind="prod"), "a sum in place of a product"
    if node.kind == "prod":
        yield "product for sum", replace(node, kind="sum"), "a product in place of a sum"


def factors(node: Node) -> Iterator[Node]:
    """Yield the factors of a product, and those within sums."""
    if node.kind in ("*", "sum", "prod", "neg"):
        for part in node.parts:
            yield from factors(part)
        if node.kind in ("sum", "prod"):
            yield node
    elif node.kind == "/":
        yield from factors(node.parts[0])
    else:
        yield node


def missing(tree: Node, right: Node) -> Iterator[tuple[str, str, Node]]:
    """Yield answers completed by a factor of the right one, or by a sum."""
    slopes = (
        Node("call", "h'", parts=(replace(part, name="a"),))
        for part in right.walk()
        if part.kind == "symbol" and part.layer
    )
    for factor in dict.fromkeys([*factors(right), *slopes]):
        if factor.kind != "number":
            name = "sum" if factor.kind == "sum" else "factor"
            yield f"missing {name}", f"right but for a {name} that is missing: {spelt(factor)}", times(tree, factor)
            for part in tree.walk():
                if part.kind == "sum":
                    inner = replace(part, parts=(times(part.parts[0], factor),))
                    told = f"right but for a factor that is missing in the sum: {spelt(factor)}"
                    yield "missing factor", told, rewritten(tree, part, inner)


def extra(tree: Node) -> Iterator[tuple[str, str, Node, Node]]:
    """Yield each factor of the answer with the answer that lacks it."""
    for part in factors(tree):
        if part.kind == "number" or part is tree:
            continue
        name = "h' too many" if part.kind == "call" and part.name == "h'" else "factor too many"
        told = "right but for a factor too many"
        if name == "h' too many":
            told = "right but for h', which doesn't belong there"
            argument = part.parts[0]
            if argument.kind == "symbol":
                told += (
                    f": is {spelt(argument)} the activation of a unit with the identity, or is its h' counted twice?"
                )
        yield name, told, part, rewritten(tree, part, number(1))


def partial(right: Node, extent: int) -> Iterator[tuple[str, Node]]:
    """Yield the right answer with one term of its sum only."""
    for part in right.walk():
        if part.kind == "sum":
            for k in range(1, extent + 1):
                one = replace(part, index=(str(k), str(k)))
                yield (
                    f"right but for the sum: only its term for {part.name} = {k} is there",
                    rewritten(right, part, one),
                )


def search(
    tree: Node, right: Node, is_right: Callable[[Node], bool], same: Callable[[Node, Node], bool], extent: int = 3
) -> Slip | None:
    """Return the one slip that tells a wrong formula from the right one; None if no single one does."""
    tried = 0

    def works(candidate: Node) -> bool:
        nonlocal tried
        tried += 1
        return tried < MOST_TRIED and is_right(candidate)

    for name, told, candidate in whole(tree):
        if works(candidate):
            return Slip(name, told, place(tree))
    for index in ("k", "j", "i"):
        if works(Node("sum", name=index, parts=(tree,))):
            return Slip("missing sum", f"right but for the sum over {index}, which is missing", place(tree))
    for told, only in partial(right, extent):
        if same(tree, only):
            return Slip("missing sum", told, place(tree))
    for name, told, part, candidate in extra(tree):
        if works(candidate):
            return Slip(name, f"{told}; you have {spelt(part)} too much", place(part))
    for part in list(tree.walk()):
        for name, new, what in of_node(part):
            if works(rewritten(tree, part, new)):
                told = f"right but for {what}: you have {spelt(part)}, right is {spelt(new)}"
                return Slip(name, told, place(part))
    for name, told, candidate in missing(tree, right):
        if works(candidate):
            return Slip(name, told, place(tree))
    return numbers(tree, right, works)


def numbers(tree: Node, right: Node, works: Callable[[Node], bool]) -> Slip | None:
    """Return the slip of one number, power or term that is wrong."""
    values = dict.fromkeys([part.value for part in right.walk() if part.kind == "number"] + [Fraction(1), Fraction(0)])
    for part in list(tree.walk()):
        if part.kind == "number":
            new: Iterable[Fraction] = [*values, -part.value, 2 * part.value, part.value / 2]
            for value in new:
                if works(rewritten(tree, part, number(value))):
                    told = f"right but for a number: you have {part.value}, right is {value}"
                    return Slip("number", told, place(part))
        elif works(rewritten(tree, part, Node("^", parts=(part, number(2))))):
            return Slip("square", f"right but for a square that is missing: {spelt(part)}^2", place(part))
    for term in dict.fromkeys(terms(right)):
        if works(Node("+", parts=(tree, term))):
            return Slip("missing term", f"right but for a term that is missing: {spelt(term)}", place(tree))
    for part in tree.walk():
        for term, rest in zip(part.parts, part.parts[::-1], strict=True) if part.kind in ("+", "-") else ():
            if works(rewritten(tree, part, rest)):
                return Slip("term too many", f"right but for a term too many: {spelt(term)}", place(term))
    return None


def terms(node: Node) -> Iterator[Node]:
    """Yield the terms of a sum written out."""
    if node.kind == "+":
        for part in node.parts:
            yield from terms(part)
    elif node.kind == "-":
        yield from terms(node.parts[0])
        yield Node("neg", parts=(node.parts[1],), start=node.parts[1].start, end=node.parts[1].end)
    else:
        yield node
