"""Problems 2 to 4: formulas, compared in random exact worlds; numbers of problem 3; conditions of problem 4."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import product

from cli726 import backprop, exact, glm, vanishing
from cli726.backprop import Variable, asked
from cli726.backprop.example import example
from cli726.backprop.findings import formula, left_side
from cli726.check.answers import Parameters, Slip, Typed, numbers_slip
from cli726.check.grammar import Misread, Node, parse, pieces
from cli726.check.plane import PLACES, glm_of
from cli726.check.slips import Spelling, judged
from cli726.check.values import World, network
from cli726.choices import Connect, Hidden
from cli726.document import Math
from cli726.errors import RequestError
from cli726.vectors import integers

SEEDS = (1, 2, 3)
networks = lru_cache(maxsize=4)(network)


def surface(question: str, text: str, parameters: Parameters) -> Slip | str:
    """Judge y1 or y2 of problem 2."""
    weights = exact.classes(parameters.classes or glm.ASSIGNMENT, glm.NAMES)
    scores = [item.formula for item in glm_of(weights).surfaces]
    mine = int(question[-1]) - 1
    w0, w1, w2 = map(str, weights[mine])
    known = [("other class", f"that is y{k + 1}", score) for k, score in enumerate(scores) if k != mine]
    known += [
        ("order of the weights", "the weights belong to 1, x1^2 and x2^2 in this order",
         f"({a}) + ({b}) x1^2 + ({c}) x2^2")
        for a, b, c in ((w1, w0, w2), (w2, w1, w0), (w1, w2, w0), (w2, w0, w1), (w0, w2, w1))
    ] + [
        ("squares", "the basis functions are squares: x1^2, not x1", f"({w0}) + ({w1}) x1 + ({w2}) x2"),
        ("square of the sum", "x1 and x2 are squared apart: (x1 + x2)^2 has a term x1 x2",
         f"({w0}) + ({w1}) (x1 + x2)^2"),
        ("square of all", "the basis functions are squared, not the score", f"(({w0}) + ({w1}) x1 + ({w2}) x2)^2"),
        ("root", "no root is taken", f"({w0}) + sqrt(({w1}) x1^2 + ({w2}) x2^2)"),
        ("weights only", "each weight is multiplied by its basis function", f"({w0}) + ({w1}) + ({w2})"),
        *(("difference", "that is the difference of two scores, not one", f"({scores[0]}) - ({score})")
          for score in scores[1:]),
    ]  # fmt: skip
    return judged(text, parse(scores[mine]), PLACES, known=known)


def derivative(question: str, text: str, parameters: Parameters) -> Slip | str:
    """Judge one of problem 3's six derivatives: a formula, or its number for given inputs and weights."""
    sizes = [3, 3, 3, 1]
    if parameters.layers:
        sizes = integers(parameters.layers, "--layers", "3,3,3,1")
        if not 2 <= len(sizes) <= 8 or not all(0 < size <= 9 for size in sizes):
            raise RequestError(f"check takes 2 to 8 layers of 1 to 9 units; got --layers {parameters.layers}")
    elif parameters.weights:
        sizes = list(solved(parameters).network.sizes)
    variable = asked(sizes)[question]
    if isinstance(variable, str):
        raise RequestError(f"this network has no answer to {question}: {variable}")

    def numeric(given: list[Typed]) -> Slip | str:
        return number_of(given, variable, parameters)

    name = parse(left_side(variable)) if variable.source is None else None
    worlds = [networks(tuple(sizes), seed, related=parameters.hidden is not Hidden.relu) for seed in SEEDS]
    return judged(text, parse(formula(variable, sizes)), worlds, name=name, extent=max(sizes), numeric=numeric)


def solved(parameters: Parameters) -> backprop.Backprop:
    """Return problem 3's network, solved."""
    names = ("layers", "x", "t", "weights", "hidden", "seed")
    return backprop.solve(*example(**{name: getattr(parameters, name) for name in names}))


def number_of(given: list[Typed], variable: Variable, parameters: Parameters) -> Slip | str:
    """Judge a derivative given as a number."""
    result = solved(parameters)
    value, one = result.values.of(variable), given[0]
    if one.agrees(value):
        return f"right: {value:.6g}"
    if value and (slip := numbers_slip(given[:1], [value])):
        return slip
    for number, other in asked(result.network.sizes).items():
        if isinstance(other, Variable) and one.agrees(result.values.of(other)):
            return Slip("other question", f"that is the answer to {number}", one.where)
    concrete = parameters.weights or parameters.x or parameters.t
    said = "" if concrete else "; a formula is asked for, or give --x, --t and --weights"
    return Slip("number", f"not the value of this derivative{said}", one.where)


def layers(question: str, text: str, parameters: Parameters) -> Slip | str:  # noqa: ARG001 - as every judge
    """Judge problem 4's formula for every layer."""
    depth = parameters.depth
    if not 4 <= depth <= 400:
        raise RequestError(f"check takes --depth from 4 to 400; got {depth}")
    (marked,) = vanishing.formula(Connect.chain, depth)
    source = marked.source if isinstance(marked, Math) else marked
    known = [("delta of the layer", "right but for the layer of delta: a weight of layer l leads to delta_1^(l+1)",
              "delta_1^(l) z_1^(l)")]  # fmt: skip
    return judged(text, parse(source.partition("= ")[2]), chains(depth), known=known)


@lru_cache(maxsize=2)
def chains(depth: int) -> list[World]:
    """Return problem 4's chains, each with another layer l."""
    places = [(seed, {"l": depth - seed, "L": depth - seed}) for seed in (2, 1, 3, 0)]
    return [network([*[2] * depth, 1], seed, chains=True, letters=letters) for seed, letters in places]


def unit(a: Fraction) -> World:
    """Return one logistic unit: a or x its activation; z, y, h or h(a) its output."""
    world = World({})
    z = world.call("h", a)
    world.values = {"a": a, "x": a, "z": z, "y": z, "h": z, "e": world.call("exp", Fraction(1))}
    return world


UNITS = [unit(a) for a in (Fraction(13, 9), Fraction(-7, 5), Fraction(2, 11))]


def bare(node: Node) -> Node:
    """Return a formula of one unit: without indices, and with `h(1 - h)`, read as a call, as a product."""
    parts = tuple(map(bare, node.parts))
    if (
        node.kind == "call"
        and node.name == "h"
        and any(p.kind == "symbol" and p.name in "zyh" for p in parts[0].walk())
    ):
        symbol = Node("symbol", "h", start=node.start, end=node.start + 1)
        return replace(node, kind="*", name="", parts=(symbol, parts[0]))
    return replace(node, parts=parts, index=() if node.kind == "symbol" else node.index, layer="")


SLOPES: tuple[Spelling, ...] = (
    ("tanh", "that is the derivative of tanh", "1 - z^2"),
    ("tanh", "that is the derivative of tanh", "1 - ((1 - exp(-2 a)) / (1 + exp(-2 a)))^2"),
    ("function itself", "that is the function, not its derivative", "h(a)"),
    ("function itself", "that is 1 - h, not the derivative", "1 - h(a)"),
    ("ReLU", "that is a derivative of the ReLU", "1"),
    ("ReLU", "that is a derivative of the ReLU", "0"),
    ("largest value", "that is the largest value of h', at a = 0, not the function", "1/4"),
    ("value of h", "that is h(0), no derivative", "1/2"),
    ("chain rule", "the inner derivative, of exp(-a), is missing", "1 / (1 + exp(-a))^2"),
    ("chain rule", "the inner derivative, of exp(-a), is missing", "-1 / (1 + exp(-a))^2"),
    ("sign of the exponent", "right but for the sign of the exponent above", "exp(a) / (1 + exp(-a))^2"),
    ("a for z", "right but for a in place of h(a)", "a (1 - a)"),
    ("second derivative", "that is the second derivative", "z (1 - z) (1 - 2 z)"),
    ("integral", "that is the integral, ln(1 + exp(a)), not the derivative", "ln(1 + exp(a))"),
    ("exp", "that is only the inner derivative", "-exp(-a)"),
    ("exp", "that is only part of the inner derivative", "exp(-a)"),
)


def slope(question: str, text: str, parameters: Parameters) -> Slip | str:  # noqa: ARG001 - as every judge
    """Judge the derivative of the logistic function."""
    if re.fullmatch(r"(h|σ|\\?sigma|z|y)\s*['′]\s*(\(\s*[axz]\s*\))?", text.rpartition("=")[2].strip()):
        return Slip("name only", "that only names the derivative; express it", (1, len(text)))
    return judged(text, parse("h(a) (1 - h(a))"), UNITS, prepared=bare, known=SLOPES)


# Which units are active, by layers.
Pattern = tuple[tuple[bool, ...], ...]
ACTIVE = r"\b(?:active|on|positive|alive|open)\b|>\s*0|!=\s*0"
INACTIVE = r"\b(?:inactive|off|dead|zero|negative|broken|blocked|closed)\b|(?:<=|<|≤|=)\s*0|not (?:active|positive)"
OBJECTS = {
    "path": r"\bpaths?\b",
    "layer": r"\blayers?\b",
    "unit": r"\b(?:units?|neurons?|relus?|nodes?|activations?|outputs?)\b|[azh]['′]?[_\d({]",
}
TRIVIAL = r"y\s*=\s*t|t\s*=\s*y|y\s*-\s*t\s*=\s*0|error|x(_?\d)?\s*=\s*0|\binput|\bits (own )?unit|unit it feeds"
NONE = r"\b(?:no|none|never|without)\b"
EVERY = r"\b(?:all|every|each|whole|wholly|entire|complete|completely|both|entirely)\b"


def atom(text: str) -> Callable[[Pattern], bool] | None:
    """Return what a condition says of a pattern of active units; None for a cause beside the ReLUs.

    Raises:
        Misread: for words that aren't in the vocabulary.
    """
    if re.search(TRIVIAL, text):
        return None
    named = [name for name, pattern in OBJECTS.items() if re.search(pattern, text)]
    off, on = re.search(INACTIVE, text), re.search(ACTIVE, re.sub(r"not (active|positive)|inactive", "", text))
    if not named or not (off or on):
        told = 'a condition names units, layers or paths, and "active" or "inactive", as "some unit is inactive"'
        raise Misread(told, len(text) - len(text.lstrip()) + 1)
    none, every, state = bool(re.search(NONE, text)), bool(re.search(EVERY, text)), not off

    def live(p: Pattern) -> bool:  # some path is active
        return all(map(any, p))

    def units(p: Pattern) -> list[bool]:
        return [unit == state for layer in p for unit in layer]

    if "path" in named:
        if state or none:
            return lambda p: live(p) == (none != state)
        return lambda p: not (live(p) if every else all(map(all, p)))
    if "layer" in named:
        if re.search(r"(?:every|each|all) (?:of the )?layers?", text) and not none:
            one = all if state and re.search(r"all units|every unit", text) else any
            return lambda p: all(one(unit == state for unit in layer) for layer in p)
        if state and none:  # "no unit of a layer is active", "a layer has no active unit"
            return lambda p: any(not any(layer) for layer in p)
        wide = all if every or "unit" not in named else any
        return lambda p: any(wide(unit == state for unit in layer) for layer in p)
    if none:
        return lambda p: not any(units(p))
    return lambda p: (all if every else any)(units(p))


def condition(question: str, text: str, parameters: Parameters) -> Slip | str:  # noqa: ARG001 - as every judge
    """Judge when the gradients of ReLU networks are zero, by trying the condition on every pattern of active units."""
    if len(text) > 500:
        raise Misread("a condition has at most 500 characters", 501)
    width, where = 2 if question == "4.4" else 1, (1, len(text))
    plain = re.sub(r"\\(?:leq?|le)\b", "<=", text.lower())
    claimed = [test for test in map(atom, pieces(r"\bor\b|;|\|\|", plain)) if test is not None]
    if not claimed:
        return Slip("ReLU missing", "true, but the ReLUs can make gradients zero as well", where)
    rows = list(product((False, True), repeat=width))
    patterns = list(product(rows, repeat=3))
    truth = [not all(map(any, p)) for p in patterns]
    claims = [any(test(p) for test in claimed) for p in patterns]
    if claims == truth:
        return "right"
    why = f"one inactive unit stops {'the whole chain' if width == 1 else 'only the paths through it'}"
    if claims == [not one for one in truth]:
        return Slip("opposite", f"the opposite holds: {why}", where)
    if all(true for claim, true in zip(claims, truth, strict=True) if claim):
        return Slip("asks too much", f"gradients are zero in other cases too: {why}", where)
    return Slip("asks too little", f"there are cases in which that holds and gradients aren't zero: {why}", where)
