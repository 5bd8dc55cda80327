"""Problems 1 and 2 in the plane: probabilities and points, lines and conics, decision regions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import permutations

from cli726 import exact, glm, softmax
from cli726.check.answers import Parameters, Typed, Verdict, decided, typed_list
from cli726.check.grammar import Misread, Node, parse
from cli726.check.slips import Slip
from cli726.check.values import Plain, evaluate
from cli726.errors import RequestError
from cli726.exact.envelope import minus

__all__ = ["boundary", "far", "point", "ray"]

Numbers = Sequence[Fraction | float]
NAMED = re.compile(r"\s*C_?(\d)(?:\s*\|\s*C_?(\d))?\s*(?::|where|if|when|for)\s*", re.IGNORECASE)
RELATION = re.compile(r"<=|>=|[<>=≤≥]")
LINEAR, SQUARES = ("x1", "x2", "1"), ("x1^2", "x2^2", "1")
DRAWN = [(Fraction(*u), Fraction(*v)) for u, v in (((31, 7), (-17, 11)), ((-5, 3), (23, 13)), ((29, 19), (101, 17)))]
PLACES = [Plain({"x1": u, "x2": v, "x": u, "y": v}) for u, v in DRAWN]
FACTORS = [Fraction(2), Fraction(1, 2), Fraction(3), Fraction(1, 3), Fraction(4), Fraction(1, 4)]


def close(given: Sequence[Typed], truth: Numbers) -> bool:
    return len(given) == len(truth) and all(one.agrees(true) for one, true in zip(given, truth, strict=True))


def explained(
    given: Sequence[Typed], right: Sequence[Numbers], slips: Iterator[tuple[str, str, Numbers]]
) -> Slip | None:
    """Return the slip of a list of numbers."""
    where = given[0].where[0], given[-1].where[1]
    for name, told, numbers in slips:
        if close(given, numbers):
            return Slip(name, told, where)
    for truth in right:
        if len(truth) != len(given):
            continue
        off = [(one, true) for one, true in zip(given, truth, strict=True) if not one.agrees(true)]
        if all(abs(one.value - Fraction(true)) <= 2 * one.reach <= Fraction(1, 100) for one, true in off):
            return Slip("last digit", "not rounded, perhaps cut off: the last digit isn't right", off[0][0].where)
        for name, told, factor in (
            ("percent", "right as percentages: write % or divide by 100", 100), ("sign", "right but for the sign", -1),
            ("factor 2", "right but for a factor 2", 2), ("factor 1/2", "right but for a factor 1/2", Fraction(1, 2)),
        ):  # fmt: skip
            if all(one.agrees(Fraction(true) * factor) for one, true in zip(given, truth, strict=True)):
                return Slip(name, told, where)
        for name, told, factor in (("sign", "has the wrong sign", -1), ("inverse", "is upside down", 0)):
            wrong = [one.agrees(Fraction(true) * factor if factor else 1 / Fraction(true)) for one, true in off if true]
            if wrong and all(wrong) and len(wrong) == len(off):
                return Slip(name, f"right but for {len(off)} of {len(given)} numbers, which {told}", off[0][0].where)
    return None


def sums(given: Sequence[Typed]) -> Slip | None:
    """Return what is wrong with numbers that can't be probabilities."""
    where = given[0].where[0], given[-1].where[1]
    wrong = [one for one in given if not 0 <= one.value <= 1]
    if wrong:
        return Slip("no probability", "a probability lies between 0 and 1", wrong[0].where)
    total = sum((one.value for one in given), Fraction(0))
    if abs(total - 1) > sum(one.reach for one in given):
        return Slip("sum", f"probabilities sum to 1; these sum to {float(total):.4g}", where)
    return None


def point(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge the probabilities at the green point, or its coordinates."""
    weights = exact.classes(parameters.classes or softmax.ASSIGNMENT, softmax.NAMES)
    place = softmax.analyse(weights).point
    if place is None:
        raise RequestError("1.1 needs classes whose boundaries meet in one point; these don't; give other --class")
    given, count = typed_list(text), len(weights)
    equal = len(place.tied) == count
    shares: Numbers = [Fraction(1, count)] * count if equal else place.probabilities
    right = [shares, place.exact, *([[shares[0]]] if equal else [])]
    if any(close(given, truth) for truth in right):
        what = "the point" if len(given) == 2 else "the probabilities at the point"
        return decided(question, None, True, f"right: {what}")
    x, y = place.exact
    a = place.exact_activations

    def slips() -> Iterator[tuple[str, str, Numbers]]:
        for size in (1, count):
            yield "activations", "these are the activations; the probabilities are their softmax", a[:size]
            powers = [Fraction(math.exp(value)) for value in map(float, a)]
            yield (
                "not normalised",
                "exp(a) is to be divided by the sum over all classes",
                [float(p) for p in powers[:size]],
            )
            yield "two classes", "here all classes tie, not two of them", [Fraction(1, 2)] * size
            yield "complement", "that is 1 - p", [1 - Fraction(p) for p in shares[:size]]
            yield "count", "how many classes tie there?", [Fraction(1, count + 1)] * size
        yield "swapped", "the coordinates are swapped", (y, x)
        for k, w in enumerate(weights):
            for i, name in enumerate(softmax.NAMES):
                for changed, told in ((Fraction(0), "left out"), (-w[i], "with the wrong sign")):
                    other = [*weights[:k], (*w[:i], changed, *w[i + 1 :]), *weights[k + 1 :]]
                    met = softmax.analyse(other).point  # type: ignore[arg-type]
                    if met:
                        yield "coefficient", f"the activations meet there with {name} of a{k + 1} {told}", met.exact

    slip = explained(given, right, slips()) or (sums(given) if len(given) == count else None)
    return decided(question, slip)


def named(text: str) -> tuple[tuple[int, ...], str, int]:
    """Return the classes that an answer names first, the rest, and where that begins."""
    found = NAMED.match(text)
    if not found:
        return (), text, 0
    return tuple(int(k) for k in found.groups() if k), text[found.end() :], found.end()


def ray(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge the limits of the probabilities along a boundary, or the equation of a boundary."""
    weights = exact.classes(parameters.classes or softmax.ASSIGNMENT, softmax.NAMES)
    classes, rest, offset = named(text)
    found = [b for b in softmax.analyse(weights).boundaries if b.limit and set(classes) <= set(b.classes)]
    if not found:
        raise RequestError(f"there is no such boundary with a far end for these classes: {text[:40]}")
    if RELATION.search(rest) and re.search(r"x_?[12₁₂]", rest):
        pairs = {b.classes: minus(*(weights[k - 1] for k in b.classes)) for b in found}
        return curve(question, rest, offset, pairs, LINEAR)
    rights = [b.limit for b in found if b.limit]
    behind = [b.behind for b in found if b.behind]
    middle = [r.limit for r in softmax.analyse(weights).regions if r.limit]
    notes: list[tuple[str, str, Sequence[Numbers]]] = [
        ("behind the point", "that holds behind the green point, where the line is no boundary", behind),
        ("inside", "that holds inside a region; on the boundary two classes tie", middle),
        ("at the point", "that holds at the green point, not away from it", [[1 / len(weights)] * len(weights)]),
        ("third class", "the classes that don't tie fall to 0", [[0.5] * len(weights)]),
    ]
    return limits(question, rest, offset, rights, notes, bool(classes))


def far(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge the limits of the probabilities far out in the middle of a region."""
    weights = exact.classes(parameters.classes or softmax.ASSIGNMENT, softmax.NAMES)
    classes, rest, offset = named(text)
    found = softmax.analyse(weights)
    rights = [r.limit for r in found.regions if r.limit and (not classes or r.class_ in classes)]
    if not rights:
        raise RequestError(f"there is no such region with a far end for these classes: {text[:40]}")
    notes: list[tuple[str, str, Sequence[Numbers]]] = [
        ("on a boundary", "that holds on a boundary; inside a region one class wins",
         [b.limit or () for b in found.boundaries]),
        ("at the point", "that holds at the green point", [[1 / len(weights)] * len(weights)]),
    ]  # fmt: skip
    return limits(question, rest, offset, rights, notes, bool(classes))


def limits(
    question: str, text: str, offset: int, rights: Sequence[Numbers],
    notes: Sequence[tuple[str, str, Sequence[Numbers]]], ordered: bool,
) -> Verdict:  # fmt: skip
    """Judge a list of limits; in any order where no class was named."""
    text = re.sub(r"->|→", "  ", text)
    given, count = typed_list(text, offset), len(rights[0])

    def fits(numbers: Numbers) -> bool:
        orders = [numbers] if ordered or len(numbers) > 6 else permutations(numbers)
        return any(close(given, list(order)) for order in orders)

    if any(map(fits, rights)):
        return decided(question, None, True)
    where = given[0].where[0], given[-1].where[1]
    if len(given) != count:
        return decided(question, Slip("count", f"there are {count} probabilities, one for each class", where))
    for name, told, lists in notes:
        if any(map(fits, lists)):
            return decided(question, Slip(name, told, where))
    if any(close(given, list(order)) for right in rights for order in permutations(right)):
        return decided(question, Slip("order", "the right numbers, but not of the right classes", where))
    best = min(rights, key=lambda right: sum(not one.agrees(true) for one, true in zip(given, right, strict=True)))
    slip = explained(given, [best], iter(())) or sums(given)
    return decided(question, slip or Slip("limit", "no: compare the activations' growth along this way", where))


def proportional(one: Node, other: Node) -> Fraction | None:
    """Return the number by which one formula in x1 and x2 is the other's multiple; None if it isn't.

    The ratio at random points decides; both are exact there.
    """
    ratios = set()
    for at in PLACES:
        value, wanted = evaluate(one, at), evaluate(other, at)
        if wanted == 0:
            return None
        ratios.add(value / wanted)
    return (ratios.pop() or None) if len(ratios) == 1 else None


def linear(terms: Sequence[str], numbers: Sequence[Fraction]) -> Node:
    """Return p u + q v + c as a formula."""
    return parse(" + ".join(f"({number}) {term}" for number, term in zip(numbers, terms, strict=True)))


def curve(
    question: str, text: str, offset: int, pairs: Mapping[tuple[int, int], Sequence[Fraction]],
    terms: Sequence[str], region: int = 0,
) -> Verdict:  # fmt: skip
    """Judge an equation, or an inequality for the region of a class.

    Args:
        pairs: The differences of two classes' scores, as coefficients of `terms`.
        region: The class whose region is meant, 0 if none was named.
    """
    (sign, *more) = RELATION.finditer(text)
    if more:
        raise Misread("an equation has one = sign, an inequality one < or >", offset + more[0].start() + 1)
    left = parse(text[: sign.start()], offset)
    typed = Node("-", parts=(left, parse(text[sign.end() :], offset + sign.end())))
    where = offset + 1, offset + len(text.rstrip())
    place = offset + sign.start() + 1, offset + sign.end()
    inequality = sign[0] != "="
    for (i, j), numbers in pairs.items():
        ratio = proportional(typed, linear(terms, numbers))
        if ratio is not None:
            winner = i if (ratio > 0) == (sign[0] in ">≥" or sign[0] == ">=") else j
            if not inequality:
                return decided(question, None, True, f"right: the boundary C{i}|C{j}")
            if region in (0, winner):
                return decided(question, None, True, f"right: there C{winner} beats C{j if winner == i else i}")
            return decided(question, Slip("other side", f"that is where C{winner} wins: the other side", place))
    for numbers in pairs.values():
        for name, told, wrong in slips_of_curve(numbers, terms):
            if proportional(typed, wrong) is not None:
                return decided(question, Slip(name, told, where))
    return decided(question, None)


def slips_of_curve(numbers: Sequence[Fraction], terms: Sequence[str]) -> Iterator[tuple[str, str, Node]]:
    """Yield wrong equations: what the slip is, what to say, what is 0 by it."""
    p, q, c = numbers
    zero = Fraction(0)
    kinds = [
        ("sign of the constant", "the sign of the constant", [(p, q, -c)]),
        ("constant missing", "the constant, which is missing", [(p, q, zero)]),
        ("sign", "the sign of one term", [(p, -q, c)]),
        ("swapped", "the coefficients, which are swapped", [(q, p, c)]),
        ("term missing", "a term that is missing", [(p, zero, c), (zero, q, c)]),
    ]
    for size in dict.fromkeys([*FACTORS, *(size for v in (p, q) if v for size in (abs(v), 1 / abs(v)))]):
        told = f"the factor {size}, by which not all terms were multiplied or divided"
        scaled = [(p, q, c * size), (p * size, q, c), (p, q * size, c)]
        kinds.append(("factor not divided through", told, scaled))
    for name, told, wrong in kinds:
        for one in wrong:
            yield name, f"right but for {told}", linear(terms, one)
    other = LINEAR if terms == SQUARES else SQUARES
    yield "squares", "right but for the squares: x1 and x1^2 are different functions", linear(other, numbers)
    for sign in (1, -1):
        cross = linear((*terms, "x1 x2"), (*numbers, sign * 2 * p))
        yield "product too many", "right but for a term x1 x2 too many: (x1 + x2)^2 isn't x1^2 + x2^2", cross


def boundary(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge the decision boundary of problem 2 as an equation, the regions as inequalities, or the conic in words."""
    weights = exact.classes(parameters.classes or glm.ASSIGNMENT, glm.NAMES)
    pieces = re.split(r"[;\n]|,(?=\s*C_?\d)|\band\b", text)
    verdicts, at = [], 0
    for piece in pieces:
        start = text.index(piece, at)
        at = start + len(piece)
        if piece.strip():
            verdicts.append(piece_of_plane(question, piece, start, weights))
    if not verdicts:
        raise Misread("an equation or a region is expected", 1)
    return next((one for one in verdicts if not one.right), verdicts[0])


def piece_of_plane(question: str, text: str, start: int, weights: Sequence[exact.Triple]) -> Verdict:
    classes, rest, offset = named(text)
    drawn = [b for b in glm.analyse(weights).boundaries if b.separates != "nothing" and set(classes) <= set(b.classes)]
    if not drawn:
        raise RequestError(f"these classes have no such boundary: {text[:40]}")
    if RELATION.search(rest) and "x" in rest:
        functions = [glm.affine(w) for w in weights]
        pairs = {b.classes: minus(*(functions[k - 1] for k in b.classes)) for b in drawn}
        scores = {b.classes: [functions[k - 1] for k in b.classes] for b in drawn}
        verdict = curve(question, rest, start + offset, pairs, SQUARES, classes[0] if len(classes) == 1 else 0)
        if not verdict.right and verdict.slip is None:
            for one, two in scores.values():
                added = (one[0] + two[0], one[1] + two[1], one[2] + two[2])
                for name, told, wrong in (
                    ("scores added", "the scores are subtracted, not added", added),
                    ("one score", "that is one score set to 0, not the two set equal", one),
                ):
                    if curve(question, rest, start + offset, {(1, 2): wrong}, SQUARES).right:
                        return decided(question, Slip(name, told, (start + offset + 1, start + len(text))))
        return verdict
    word = re.search(r"circle|ellipse|hyperbola|crossing lines|parallel lines|double line|point|parabola|line", text)
    if not word:
        raise Misread("an equation, a region or the name of a conic is expected", start + 1)
    radius = re.search(r"radius\s*(?:of|=)?\s*", text)
    for b in drawn:
        if word[0] == b.conic:
            if not radius or b.radius is None:
                return decided(question, None, True, f"right: {b.conic}")
            given = typed_list(text[radius.end() :], start + radius.end())
            slip = explained(given, [[b.radius]], iter([("square", "that is the radius squared", [b.radius**2])]))
            return decided(
                question, slip or Slip("radius", "not this radius", given[0].where), close(given, [b.radius])
            )
    slip = Slip(
        "conic",
        f"not a {word[0]}: look at the signs of the coefficients",
        (start + word.start() + 1, start + word.end()),
    )
    return decided(question, slip)
