"""Problems 2 to 4: formulas, compared in random exact worlds; numbers of problem 3; conditions of problem 4."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import product

from cli726 import backprop, exact, glm, vanishing
from cli726.backprop import Variable, asked
from cli726.backprop.example import example
from cli726.backprop.findings import formula, left_side
from cli726.check.answers import Parameters, Typed, Verdict, decided, typed_list
from cli726.check.grammar import Misread, Node, parse
from cli726.check.plane import PLACES
from cli726.check.slips import Slip, search
from cli726.check.values import Network, Plain, Unbound, Undefined, World, close, evaluate
from cli726.choices import Connect
from cli726.document import Math
from cli726.errors import RequestError
from cli726.vectors import integers

__all__ = ["condition", "derivative", "layers", "slope", "surface"]

SEEDS = (1, 2, 3)
# Of a search for slips.
MOST_STEPS = 200_000
DERIVATIVE = re.compile(r"d|∂|\\?partial|δ|\\?delta|h|σ|\\?sigma|y_?[12₁₂]\s*(\(|$)|z|grad|∇|f")
Spelling = tuple[str, str, str]


def sides(text: str) -> list[tuple[str, int]]:
    """Return the formulas of an answer with the columns where they begin, without the name on the left of `=`."""
    pieces, at, depth = [], 0, 0
    for k, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign in "=≈" and depth <= 0 and not re.search(r"(?:sum|prod|[ΣΠ∑∏])\s*_\s*[i-n]\s*$", text[:k]):
            pieces.append((text[at:k], at))
            at = k + 1
    pieces.append((text[at:], at))
    if len(pieces) > 1 and DERIVATIVE.match(pieces[0][0].strip().lstrip("\\$({")):
        pieces = pieces[1:]
    return pieces


def judged(
    question: str, text: str, right: Node, worlds: Sequence[World], *, name: Node | None = None,
    numeric: Callable[[list[Typed]], Verdict] | None = None, prepared: Callable[[Node], Node] = lambda node: node,
    known: Sequence[Spelling] = (),
) -> Verdict:  # fmt: skip
    """Return the verdict on a formula.

    Args:
        right: The right formula.
        worlds: Where formulas are compared.
        name: The symbol that is asked for, and is no answer.
        numeric: Judges an answer without symbols.
        prepared: Applied to what was typed.
        known: Wrong formulas: slip, what to say, formula.
    """
    first = worlds[0]
    extent = max(first.sizes) if isinstance(first, Network) and not first.chains else 3  # how far sums run

    before = sum(world.steps for world in worlds)

    def same(one: Node, other: Node) -> bool:
        if sum(world.steps for world in worlds) > before + MOST_STEPS:
            return False
        try:
            return all(close(evaluate(one, world), evaluate(other, world)) for world in worlds)
        except Misread:
            return False

    for part, at in sides(text):
        tree = prepared(parse(part, at))
        if name is not None and tree == name:
            where = tree.start + 1, tree.end
            return decided(question, Slip("name only", "that only names what is asked for; express it", where))
        if numeric and not any(node.kind in ("symbol", "sum", "prod") for node in tree.walk()):
            verdict = numeric(typed_list(part, at))
            if not verdict.right:
                return verdict
            continue
        if same(tree, right):
            continue
        for slip, told, wrong in known:
            if same(tree, parse(wrong)):
                return decided(question, Slip(slip, told, (tree.start + 1, tree.end)))
        extent = max(worlds[0].sizes) if isinstance(worlds[0], Network) else 3  # how far sums run
        found = search(tree, right, lambda node: same(node, right), same, extent)
        if found is None:
            refuse(tree, worlds[0])
        return decided(question, found)
    return decided(question, None, True)


def refuse(tree: Node, world: World) -> None:
    """Refuse a formula with symbols that the world hasn't; one with a free index, or without a value, is only wrong."""
    try:
        evaluate(tree, world)
    except (Unbound, Undefined):
        return


def surface(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge y1 or y2 of problem 2."""
    weights = exact.classes(parameters.classes or glm.ASSIGNMENT, glm.NAMES)
    found = glm.analyse(weights).surfaces
    mine = int(question[-1]) - 1
    w0, w1, w2 = map(str, weights[mine])
    known = [
        ("other class", f"that is y{k + 1}", item.formula) for k, item in enumerate(found) if k != mine
    ] + [
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
        *(("difference", "that is the difference of two scores, not one", f"({found[0].formula}) - ({item.formula})")
          for item in found[1:]),
    ]  # fmt: skip
    right = parse(found[mine].formula)
    return judged(question, text, right, PLACES, known=known)


@lru_cache(maxsize=4)
def networks(sizes: tuple[int, ...]) -> list[Network]:
    return [Network(sizes, seed) for seed in SEEDS]


def derivative(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge one of problem 3's six derivatives: a formula, or its number for given inputs and weights."""
    sizes = [3, 3, 3, 1]
    concrete = parameters.weights or parameters.x or parameters.t
    if parameters.layers:
        sizes = integers(parameters.layers, "--layers", "3,3,3,1")
        if not 2 <= len(sizes) <= 8 or not all(0 < size <= 9 for size in sizes):
            raise RequestError(f"check takes 2 to 8 layers of 1 to 9 units; got --layers {parameters.layers}")
    elif parameters.weights:
        sizes = list(solved(parameters).network.sizes)
    variable = asked(sizes)[question]
    if isinstance(variable, str):
        raise RequestError(f"this network has no answer to {question}: {variable}")
    right = parse(formula(variable, sizes))
    name = parse(left_side(variable)) if variable.source is None else None

    def numeric(given: list[Typed]) -> Verdict:
        return number_of(question, given, variable, parameters, bool(concrete))

    return judged(question, text, right, networks(tuple(sizes)), name=name, numeric=numeric)


def solved(parameters: Parameters) -> backprop.Backprop:
    return backprop.solve(
        *example(
            layers=parameters.layers, x=parameters.x, t=parameters.t, weights=parameters.weights, hidden=None,
            seed=parameters.seed,
        )
    )  # fmt: skip


def number_of(question: str, given: list[Typed], variable: Variable, parameters: Parameters, concrete: bool) -> Verdict:
    """Judge a derivative given as a number."""
    result = solved(parameters)
    value, one = result.values.of(variable), given[0]
    if one.agrees(value):
        return decided(question, None, True, f"right: {value:.6g}")
    for name, factor in (("sign", -1), ("factor 2", 2), ("factor 1/2", Fraction(1, 2))):
        if value and one.agrees(value, factor):  # type: ignore[arg-type]
            return decided(question, Slip(name, f"right but for the {name}", one.where))
    for number, other in asked(result.network.sizes).items():
        if isinstance(other, Variable) and number != question and one.agrees(result.values.of(other)):
            return decided(question, Slip("other question", f"that is the answer to {number}", one.where))
    said = "" if concrete else "; a formula is asked for, or give --x, --t and --weights"
    return decided(question, Slip("number", f"not the value of this derivative{said}", one.where))


def layers(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge problem 4's formula for every layer."""
    depth = parameters.depth
    if not 4 <= depth <= 400:
        raise RequestError(f"check takes --depth from 4 to 400; got {depth}")
    (marked,) = vanishing.formula(Connect.chain, depth)
    source = marked.source if isinstance(marked, Math) else marked
    right = parse(source.partition("= ")[2])
    worlds = chains(depth)
    known = [("delta of the layer", "right but for the layer of delta: a weight of layer l leads to delta_1^(l+1)",
              "delta_1^(l) z_1^(l)")]  # fmt: skip
    return judged(question, text, right, worlds, known=known)


@lru_cache(maxsize=2)
def chains(depth: int) -> list[Network]:
    return [
        Network([*[2] * depth, 1], seed, chains=True, letters={"l": depth - seed}) for seed in (2, 1, 3, 0)
    ]  # fmt: skip


class Unit(Plain):
    """One logistic unit: a or x its activation; z, y, h or h(a) its output."""

    def __init__(self, a: Fraction) -> None:
        super().__init__({})
        z = self.call("h", a)
        self.values = {"a": a, "x": a, "z": z, "y": z, "h": z, "sigma": z, "e": self.call("exp", Fraction(1))}

    def symbol(self, name: str, index: tuple[int, ...], layer: int | None) -> Fraction:  # noqa: ARG002 - all the same
        return super().symbol(name, (), None)


def bare(node: Node) -> Node:
    """Return a formula in which `h(1 - h)`, read as a call, is a product."""
    parts = tuple(map(bare, node.parts))
    if (
        node.kind == "call"
        and node.name == "h"
        and any(p.kind == "symbol" and p.name in "zyh" for p in parts[0].walk())
    ):
        symbol = Node("symbol", "h", start=node.start, end=node.start + 1)
        return Node("*", parts=(symbol, parts[0]), start=node.start, end=node.end)
    return replace(node, parts=parts)


SLOPES: tuple[Spelling, ...] = (
    ("tanh", "that is the derivative of tanh", "1 - z^2"),
    ("tanh", "that is the derivative of tanh", "1 - ((1 - exp(-2 a)) / (1 + exp(-2 a)))^2"),
    ("function itself", "that is the function, not its derivative", "h(a)"),
    ("function itself", "that is 1 - h, not the derivative", "1 - h(a)"),
    ("ReLU", "that is a derivative of the ReLU", "1"),
    ("ReLU", "that is a derivative of the ReLU", "0"),
    ("largest value", "that is the largest value of h', at a = 0, not the function", "1/4"),
    ("value of h", "that is h(0), no derivative", "1/2"),
    ("quotient rule", "the derivative of 1/u is -u'/u^2: the square is missing", "exp(-a) / (1 + exp(-a))"),
    ("chain rule", "the inner derivative, of exp(-a), is missing", "1 / (1 + exp(-a))^2"),
    ("chain rule", "the inner derivative, of exp(-a), is missing", "-1 / (1 + exp(-a))^2"),
    ("sign of the exponent", "right but for the sign of the exponent above", "exp(a) / (1 + exp(-a))^2"),
    ("a for z", "right but for a in place of h(a)", "a (1 - a)"),
    ("second derivative", "that is the second derivative", "z (1 - z) (1 - 2 z)"),
    ("integral", "that is the integral, ln(1 + exp(a)), not the derivative", "ln(1 + exp(a))"),
    ("log", "that is the derivative of ln h", "z (1 - z) / z"),
    ("exp", "that is only the inner derivative", "-exp(-a)"),
    ("exp", "that is only part of the inner derivative", "exp(-a)"),
)  # fmt: skip


def slope(question: str, text: str, parameters: Parameters) -> Verdict:  # noqa: ARG001 - it has none
    """Judge the derivative of the logistic function."""
    tree = text.strip().rpartition("=")[2].strip()
    if re.fullmatch(r"(h|σ|\\?sigma|z|y)\s*['′]\s*(\(\s*[axz]\s*\))?", tree):
        return decided(question, Slip("name only", "that only names the derivative; express it", (1, len(text))))
    units = [Unit(Fraction(13, 9)), Unit(Fraction(-7, 5)), Unit(Fraction(2, 11))]
    return judged(question, text, parse("h(a) (1 - h(a))"), units, prepared=bare, known=SLOPES)


Pattern = tuple[tuple[bool, ...], ...]
ACTIVE = r"\b(?:active|on|positive|alive|open)\b|>\s*0|!=\s*0"
INACTIVE = r"\b(?:inactive|off|dead|zero|negative|broken|blocked|closed)\b|(?:<=|<|≤|=)\s*0|not (?:active|positive)"
OBJECTS = {
    "path": r"\bpaths?\b",
    "layer": r"\blayers?\b",
    "unit": r"\b(?:units?|neurons?|relus?|nodes?|activations?|outputs?)\b|[azh]['′]?[_\d({]",
}
TRIVIAL = r"y\s*=\s*t|t\s*=\s*y|y\s*-\s*t\s*=\s*0|error|x(_?\d)?\s*=\s*0|\binput|\bits (own )?unit|unit it feeds"


def atom(text: str, at: int) -> Callable[[Pattern], bool] | None:
    """Return what a condition says of a pattern of active units by layers; None for a cause beside the ReLUs.

    Raises:
        Misread: for words that aren't in the vocabulary.
    """
    if re.search(TRIVIAL, text):
        return None
    named = [name for name, pattern in OBJECTS.items() if re.search(pattern, text)]
    off, on = re.search(INACTIVE, text), re.search(ACTIVE, re.sub(r"not (active|positive)|inactive", "", text))
    if not named or not (off or on):
        raise Misread(
            'a condition names units, layers or paths, and "active" or "inactive", as "some unit is inactive"', at + 1
        )
    none = bool(re.search(r"\b(?:no|none|never|without)\b", text))
    every = bool(re.search(r"\b(?:all|every|each|whole|wholly|entire|complete|completely|both|entirely)\b", text))
    state = on is not None and off is None
    if named[0] == "path" and not ("unit" in named and off and not none):

        def live(p: Pattern) -> bool:
            return all(map(any, p))

        if state or none:
            return (lambda p: not live(p)) if none != (not state) else live
        return (lambda p: not live(p)) if every else lambda p: not all(map(all, p))
    if "path" in named:  # "an inactive unit on every path"
        return (lambda p: not all(map(any, p))) if every else lambda p: not all(map(all, p))
    if "layer" in named:
        if re.search(r"(?:every|each|all) (?:of the )?layers?", text) and not none:
            one = all if state and re.search(r"all units|every unit", text) else any
            return lambda p: all(one(unit == state for unit in layer) for layer in p)
        if state and none:  # "no unit of a layer is active", "a layer has no active unit"
            return lambda p: any(not any(layer) for layer in p)
        wide = every or "unit" not in named
        return lambda p: any((all if wide else any)(unit == state for unit in layer) for layer in p)

    def units(p: Pattern) -> list[bool]:
        return [unit == state for layer in p for unit in layer]

    if none:
        return lambda p: not any(units(p))
    return (lambda p: all(units(p))) if every else lambda p: any(units(p))


def condition(question: str, text: str, parameters: Parameters) -> Verdict:  # noqa: ARG001 - it has none
    """Judge when the gradients of ReLU networks are zero, by trying the condition on every pattern of active units."""
    if len(text) > 500:
        raise Misread("a condition has at most 500 characters", 501)
    bipartite = question == "4.4"
    plain, said, at = text.lower(), [], 0
    plain = re.sub(r"\\(?:leq?|le)\b", "<=", plain)
    for part in re.split(r"\bor\b|;|\|\|", plain):
        at = plain.index(part, at)
        said.append(atom(part, at))
    tests = [one for one in said if one is not None]
    where = 1, len(text)
    if not tests:
        return decided(question, Slip("ReLU missing", "true, but the ReLUs can make gradients zero as well", where))
    patterns = [
        tuple(tuple(bits[i : i + width]) for i in range(0, len(bits), width))
        for width in (1 + bipartite,)
        for bits in product((False, True), repeat=3 * width)
    ]
    truth = [not all(map(any, p)) for p in patterns]
    claims = [any(test(p) for test in tests) for p in patterns]
    if claims == truth:
        return decided(question, None, True)
    why = (
        "one inactive unit stops only the paths through it" if bipartite else "one inactive unit stops the whole chain"
    )
    if claims == [not one for one in truth]:
        slip = Slip("opposite", f"the opposite holds: {why}", where)
    elif all(not claim or true for claim, true in zip(claims, truth, strict=True)):
        slip = Slip("asks too much", f"gradients are zero in other cases too: {why}", where)
    else:
        slip = Slip("asks too little", f"there are cases in which that holds and gradients aren't zero: {why}", where)
    return decided(question, slip)
