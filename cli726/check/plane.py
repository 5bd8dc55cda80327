"""Problems 1 and 2 in the plane: probabilities and points, lines and conics, decision regions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from cli726 import exact, glm, softmax
from cli726.check.answers import UNKNOWN, Numbers, Parameters, Slip, Typed, fits, numbers_slip, typed_list
from cli726.check.grammar import Misread, Node, parse, pieces
from cli726.check.slips import judged
from cli726.check.values import World, evaluate
from cli726.errors import RequestError
from cli726.exact.envelope import Affine, minus

NAMED = re.compile(r"\s*C_?(\d)(?:\s*\|\s*C_?(\d))?\s*(?::|where|if|when|for)\s*", re.IGNORECASE)
RELATION = re.compile(r"<=|>=|[<>=≤≥]")
LINEAR, SQUARES = ("x1", "x2", "1"), ("x1^2", "x2^2", "1")
DRAWN = [(Fraction(*u), Fraction(*v)) for u, v in (((31, 7), (-17, 11)), ((-5, 3), (23, 13)), ((29, 19), (101, 17)))]
PLACES = [World({"x_1": u, "x_2": v, "x": u, "y": v}) for u, v in DRAWN]
# The rate of a boundary and the distance along it.
DISTANCES = [World({"rho": abs(u), "s": abs(v)}) for u, v in DRAWN]
TYPED_FACTORS = [Fraction(2), Fraction(1, 2), Fraction(3), Fraction(1, 3), Fraction(4), Fraction(1, 4)]
SHARE = "1 / (2 + exp(-rho s))"
SHARES = (
    ("third class", "the class that falls behind has a share, too: exp(-rho s) in the sum", "1 / 2"),
    ("third class", "two classes tie, each counts once in the sum", "1 / (1 + exp(-rho s))"),
    ("at the point", "that holds at the green point, not away from it", "1 / 3"),
    ("missing factor", "the exponent is rate times distance", "1 / (2 + exp(-s))"),
    ("inverse", "a probability is a quotient of exps; that is its inverse", "2 + exp(-rho s)"),
    ("other class", "that is the share of the class that falls behind", "exp(-rho s) / (2 + exp(-rho s))"),
    ("other class", "that is what the two that tie have together", "2 / (2 + exp(-rho s))"),
)
# Many answers have the same classes.
softmax_of, glm_of = lru_cache(maxsize=32)(softmax.analyse), lru_cache(maxsize=2)(glm.analyse)
Known = tuple[str, str, Sequence[Numbers]]


def probabilities(given: Sequence[Typed]) -> Slip | None:
    """Return what is wrong with numbers that can't be probabilities."""
    wrong = [one for one in given if not 0 <= one.value <= 1]
    if wrong:
        return Slip("no probability", "a probability lies between 0 and 1", wrong[0].where)
    total = sum((one.value for one in given), Fraction(0))
    if abs(total - 1) > sum(one.reach for one in given):
        told = f"probabilities sum to 1; these sum to {float(total):.4g}"
        return Slip("sum", told, (given[0].where[0], given[-1].where[1]))
    return None


def point(question: str, text: str, parameters: Parameters) -> Slip | str:  # noqa: ARG001 - as every judge
    """Judge the probabilities at the green point, or its coordinates."""
    weights = exact.classes(parameters.classes or softmax.ASSIGNMENT, softmax.NAMES)
    found = softmax_of(weights).point
    if found is None:
        raise RequestError("1.1 needs classes whose boundaries meet in one point; these don't; give other --class")
    given, count = typed_list(text), len(weights)
    equal = len(found.tied) == count
    shares: Numbers = [Fraction(1, count)] * count if equal else found.probabilities
    rights = [shares, found.exact, *([shares[:1]] if equal else [])]
    for right in rights:
        if fits(given, right):
            return f"right: the {'point' if right is found.exact else 'probabilities at the point'}"
    for name, told, numbers in wrong_points(weights, found, shares):
        if fits(given, numbers) or (len(numbers) == count and fits(given, numbers[:1])):
            return Slip(name, told, (given[0].where[0], given[-1].where[1]))
    slips = [numbers_slip(given, right) for right in rights if len(right) == len(given)]
    return next(filter(None, slips), None) or (probabilities(given) if len(given) == count else None) or UNKNOWN


def wrong_points(
    weights: tuple[Affine, ...], found: softmax.Place, shares: Numbers
) -> Iterator[tuple[str, str, Sequence[Fraction | float]]]:
    """Yield wrong probabilities at the green point, and wrong points."""
    count, powers = len(weights), [math.exp(min(float(a), 700)) for a in found.exact_activations]
    yield "activations", "these are the activations; the probabilities are their softmax", found.exact_activations
    yield "not normalised", "exp(a) is to be divided by the sum over all classes", powers
    yield "two classes", "here all classes tie, not two of them", [Fraction(1, 2)] * count
    yield "complement", "that is 1 - p", [1 - p for p in shares]
    yield "count", "how many classes tie there?", [Fraction(1, count + 1)] * count
    yield "swapped", "the coordinates are swapped", found.exact[::-1]
    for k, w in enumerate(weights):
        for i, name in enumerate(softmax.NAMES):
            for changed, told in ((Fraction(0), "left out"), (-w[i], "with the wrong sign")):
                p, q, c = (changed if i == at else old for at, old in enumerate(w))
                met = softmax_of((*weights[:k], (p, q, c), *weights[k + 1 :])).point
                if met:
                    yield "coefficient", f"the activations meet there with {name} of a{k + 1} {told}", met.exact


def named(text: str) -> tuple[tuple[int, ...], str]:
    """Return the classes that an answer names first, and the answer with blanks for them."""
    found = NAMED.match(text)
    return (
        (tuple(int(k) for k in found.groups() if k), " " * found.end() + text[found.end() :]) if found else ((), text)
    )


def ray(question: str, text: str, parameters: Parameters) -> Slip | str:  # noqa: ARG001 - as every judge
    """Judge the probabilities along a boundary, their limits, or the equation of a boundary."""
    weights = exact.classes(parameters.classes or softmax.ASSIGNMENT, softmax.NAMES)
    classes, rest = named(text)
    if re.search(r"exp|e\s*\^", rest) and len(weights) == 3:
        return judged(rest, parse(SHARE), DISTANCES, known=SHARES)
    result = softmax_of(weights)
    found = [b for b in result.boundaries if b.limit and set(classes) <= set(b.classes)]
    if not found:
        raise RequestError(f"there is no such boundary with a far end for these classes: {text[:40]}")
    if RELATION.search(rest) and re.search(r"x_?[12₁₂]", rest):
        pairs = {b.classes: minus(*(weights[k - 1] for k in b.classes)) for b in found}
        return curve(rest, pairs, LINEAR)
    known: list[Known] = [
        ("behind the point", "that holds behind the green point, where the line is no boundary",
         [b.behind for b in found if b.behind]),
        ("inside", "that holds inside a region; on the boundary two classes tie",
         [r.limit for r in result.regions if r.limit]),
        ("at the point", "that holds at the green point, not away from it", [[1 / len(weights)] * len(weights)]),
        ("third class", "the classes that don't tie fall to 0", [[0.5] * len(weights)]),
    ]  # fmt: skip
    return limits(rest, [b.limit for b in found if b.limit], known, ordered=bool(classes))


def far(question: str, text: str, parameters: Parameters) -> Slip | str:  # noqa: ARG001 - as every judge
    """Judge the limits of the probabilities far out in the middle of a region."""
    weights = exact.classes(parameters.classes or softmax.ASSIGNMENT, softmax.NAMES)
    classes, rest = named(text)
    found = softmax_of(weights)
    rights = [r.limit for r in found.regions if r.limit and (not classes or r.class_ in classes)]
    if not rights:
        raise RequestError(f"there is no such region with a far end for these classes: {text[:40]}")
    known: list[Known] = [
        ("on a boundary", "that holds on a boundary; inside a region one class wins",
         [b.limit for b in found.boundaries if b.limit]),
        ("at the point", "that holds at the green point", [[1 / len(weights)] * len(weights)]),
    ]  # fmt: skip
    return limits(rest, rights, known, ordered=bool(classes))


def limits(text: str, rights: Sequence[Numbers], known: Sequence[Known], *, ordered: bool) -> Slip | str:
    """Judge a list of limits; in any order where no class was named."""
    given = typed_list(text)
    where = given[0].where[0], given[-1].where[1]
    if any(fits(given, right, ordered=ordered) for right in rights):
        return "right"
    if len(given) != len(rights[0]):
        return Slip("count", f"there are {len(rights[0])} probabilities, one for each class", where)
    for name, told, lists in known:
        if any(fits(given, wrong, ordered=ordered) for wrong in lists):
            return Slip(name, told, where)
    if any(fits(given, right, ordered=False) for right in rights):
        return Slip("order", "the right numbers, but not of the right classes", where)
    best = max(rights, key=lambda right: sum(one.agrees(true) for one, true in zip(given, right, strict=True)))
    slip = numbers_slip(given, best) or probabilities(given)
    return slip or Slip("limit", "no: compare the activations' growth along this way", where)


def ratio(one: Node, other: Node) -> Fraction | None:
    """Return the number by which one formula in x1 and x2 is the other's multiple; None if it isn't.

    The ratio at random points decides; both are exact there.
    """
    values = [(evaluate(one, at), evaluate(other, at)) for at in PLACES]
    if any(wanted == 0 for _, wanted in values):
        return None
    ratios = {value / wanted for value, wanted in values}
    return (ratios.pop() or None) if len(ratios) == 1 else None


def linear(terms: Sequence[str], numbers: Sequence[Fraction]) -> Node:
    """Return p u + q v + c as a formula."""
    return parse(" + ".join(f"({number}) {term}" for number, term in zip(numbers, terms, strict=True)))


def curve(
    text: str, pairs: Mapping[tuple[int, int], Affine], terms: Sequence[str], region: int = 0,
    more: Sequence[tuple[str, str, Affine]] = (),
) -> Slip | str:  # fmt: skip
    """Judge an equation, or an inequality for the region of a class.

    Args:
        pairs: The differences of two classes' scores, as coefficients of `terms`.
        region: The class whose region is meant, 0 if none was named.
        more: Other known slips: name, what to say, coefficients.
    """
    sign, *others = RELATION.finditer(text)
    if others:
        raise Misread("an equation has one = sign, an inequality one < or >", others[0].start() + 1)
    typed = Node("-", parts=tuple(map(parse, pieces(RELATION.pattern, text))))
    where = len(text) - len(text.lstrip()) + 1, len(text.rstrip())
    for (i, j), numbers in pairs.items():
        found = ratio(typed, linear(terms, numbers))
        if found is not None and sign[0] == "=":
            return f"right: the boundary C{i}|C{j}"
        if found is not None:
            winner, loser = (i, j) if (found > 0) == (sign[0] in (">", "≥", ">=")) else (j, i)
            if region in (0, winner):
                return f"right: there C{winner} beats C{loser}"
            told = f"that is where C{winner} wins: the other side"
            return Slip("other side", told, (sign.start() + 1, sign.end()))
    known = [slip for numbers in pairs.values() for slip in slips_of_curve(numbers, terms)]
    for name, told, wrong in [*known, *((name, told, linear(terms, numbers)) for name, told, numbers in more)]:
        if ratio(typed, wrong) is not None:
            return Slip(name, told, where)
    return UNKNOWN


def slips_of_curve(numbers: Affine, terms: Sequence[str]) -> Iterator[tuple[str, str, Node]]:
    """Yield wrong equations: what the slip is, what to say, what is 0 by it."""
    p, q, c = numbers
    kinds: list[tuple[str, str, list[tuple[Fraction | int, ...]]]] = [
        ("sign of the constant", "the sign of the constant", [(p, q, -c)]),
        ("constant missing", "the constant, which is missing", [(p, q, 0)]),
        ("sign", "the sign of one term", [(p, -q, c)]),
        ("swapped", "the coefficients, which are swapped", [(q, p, c)]),
        ("term missing", "a term that is missing", [(p, 0, c), (0, q, c)]),
    ]
    for size in dict.fromkeys([*TYPED_FACTORS, *(size for v in (p, q) if v for size in (abs(v), 1 / abs(v)))]):
        told = f"the factor {size}, by which not all terms were multiplied or divided"
        kinds.append(("factor not divided through", told, [(p, q, c * size), (p * size, q, c), (p, q * size, c)]))
    for name, told, wrong in kinds:
        for one in wrong:
            yield name, f"right but for {told}", linear(terms, [Fraction(number) for number in one])
    other = LINEAR if terms == SQUARES else SQUARES
    yield "squares", "right but for the squares: x1 and x1^2 are different functions", linear(other, numbers)
    for sign in (1, -1):
        cross = linear((*terms, "x1 x2"), (*numbers, sign * 2 * p))
        yield "product too many", "right but for a term x1 x2 too many: (x1 + x2)^2 isn't x1^2 + x2^2", cross


def boundary(question: str, text: str, parameters: Parameters) -> Slip | str:  # noqa: ARG001 - as every judge
    """Judge the decision boundary of problem 2 as an equation, the regions as inequalities, or the conic in words."""
    weights = exact.classes(parameters.classes or glm.ASSIGNMENT, glm.NAMES)
    parts = pieces(r"[;\n]|,(?=\s*C_?\d)|\band\b", text)
    found = [piece_of_plane(part, weights) for part in parts if part.strip()]
    if not found:
        raise Misread("an equation or a region is expected", 1)
    return next((one for one in found if isinstance(one, Slip)), found[0])


def piece_of_plane(text: str, weights: tuple[exact.Triple, ...]) -> Slip | str:
    """Judge one equation, inequality or name of a conic."""
    classes, rest = named(text)
    drawn = [b for b in glm_of(weights).boundaries if b.separates != "nothing" and set(classes) <= set(b.classes)]
    if not drawn:
        raise RequestError(f"these classes have no such boundary: {text[:40]}")
    if RELATION.search(rest) and "x" in rest:
        functions = {b.classes: [glm.affine(weights[k - 1]) for k in b.classes] for b in drawn}
        pairs = {pair: minus(one, two) for pair, (one, two) in functions.items()}
        more = []
        for one, two in functions.values():
            added = one[0] + two[0], one[1] + two[1], one[2] + two[2]
            more.append(("scores added", "the scores are subtracted, not added", added))
            more.append(("one score", "that is one score set to 0, not the two set equal", one))
        return curve(rest, pairs, SQUARES, classes[0] if len(classes) == 1 else 0, more)
    word = re.search(r"circle|ellipse|hyperbola|crossing lines|parallel lines|double line|point|parabola|line", text)
    if not word:
        raise Misread("an equation, a region or the name of a conic is expected", len(text) - len(text.lstrip()) + 1)
    sized = re.search(r"radius\s*(?:of|=)?\s*", text)
    conic = next((b for b in drawn if b.conic == word[0]), None)
    if conic is None:
        told = f"not a {word[0]}: look at the signs of the coefficients"
        return Slip("conic", told, (word.start() + 1, word.end()))
    if not sized or conic.radius is None:
        return f"right: {conic.conic}"
    given = typed_list(" " * sized.end() + text[sized.end() :])
    if fits(given, [conic.radius]):
        return f"right: {conic.conic} of this radius"
    if fits(given, [conic.radius**2]):
        return Slip("square", "that is the radius squared", given[0].where)
    return numbers_slip(given[:1], [conic.radius]) or Slip("radius", "not this radius", given[0].where)
