"""What problem 1's numbers say: an answer to each question, stated only while it holds, and the tables under it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from cli726.document import Document, Finding, Table
from cli726.exact import both, finding, marked, named, place, place_table, table
from cli726.exact.envelope import along
from cli726.softmax import Boundary, Place, Region, Softmax, Way, evaluate, length, probabilities

QUESTIONS = {
    "1.1": "What are the probabilities at the green point, where the regions meet?",
    "1.2": "What happens to them along each red line, moving away from the green point?",
    "1.3": "What happens to them far from the intersection, in the middle of one region?",
}
# How many points a sentence lists; up to how many classes all limits are listed, not only those above 0.
SHOWN, LISTED = 4, 4
# The distances from the green point at which the tables look.
DISTANCES = (1, 2, 5)
# Probabilities below this are not told apart from 0 in float64.
SMALLEST = 1e-300
SHARED = "several activations differ by constants: each of their classes keeps a share; the limits are in the table."


def document(result: Softmax, at: Place | None = None) -> Document:
    """Return the answers to 1.1 to 1.3 with their tables; last the point `at`."""
    lead = "; ".join(f"`a{k} = {text}`" for k, text in enumerate(result.activations, 1))
    tables = [*ways(result), *([point_table("The point", at)] if at else [])]
    return Document([marked(f"Softmax of {lead}")], QUESTIONS, findings(result), [item for item in tables if item.rows])


def point_document(result: Softmax, at: Place | None = None) -> Document:
    """Return the points where regions meet alone, or why there is none, after the point `at`."""
    title = "The green point" if result.point else "A meeting point"
    tables = [*([point_table("The point", at)] if at else []), *(point_table(title, item) for item in result.vertices)]
    return Document([], {}, [] if result.vertices else [replace(meeting(result), question="")], tables)


def findings(result: Softmax) -> tuple[Finding, ...]:
    """Return the answers."""
    return (meeting(result), *along_boundaries(result), *inside_regions(result))


def meeting(result: Softmax) -> Finding:
    """Answer 1.1: the probabilities at the green point, or why there is none."""
    boundaries, vertices, point = result.boundaries, result.vertices, result.point
    if point:
        first = point.tied[0] - 1
        others = [k for k in range(1, len(result.weights) + 1) if k not in point.tied]
        each = f"{point.probabilities[first]:.4g}" if others else f"1/{len(point.tied)}"
        left = small(math.fsum(point.probabilities[k - 1] for k in others))
        text = (
            f"At the green point `{place(point.exact)}` the activations of `{named(point.tied)}` are equal, "
            f"`{both(point.exact_activations[first])}`: each of these classes has probability `{each}`"
        )
        text += f"; the rest, {left}, is left for `{named(others)}`." if others else "."
        return finding("1.1", text, x=point.x, probabilities=point.probabilities)
    if vertices:
        points = "; ".join(f"`{named(item.tied)}` at `{place(item.exact)}`" for item in vertices[:SHOWN])
        more = f"; and {len(vertices) - SHOWN} more" if len(vertices) > SHOWN else ""
        text = f"There is no single green point: boundaries meet at {len(vertices)} points, {points}{more}."
        return finding("1.1", text, points=[item.x for item in vertices])
    why = f"the {len(boundaries)} boundaries are parallel lines" if boundaries else "there is no boundary"
    if len(boundaries) == 1:
        why = f"`{named(boundaries[0].classes)}` meet along one whole line"
    return finding("1.1", f"There is no green point: {why}.", boundaries=len(boundaries))


def lines(items: Sequence[Boundary]) -> str:
    """Return the names of boundaries."""
    return ", ".join(f"`{named(item.classes, '|')}`" for item in items)


def of_regions(items: Sequence[Region]) -> str:
    """Return what regions are called, one after another."""
    return f"the region of {'each of ' * (len(items) > 1)}`{named(item.class_ for item in items)}`"


def along_boundaries(result: Softmax) -> Iterator[Finding]:
    """Answer 1.2: along rays on which the two neighbours end with one half each, segments, and other lines."""
    if not result.boundaries:
        text = "There is no boundary: no figures along boundaries or into regions are drawn."
        yield finding("1.2", text, boundaries=0)
    segments = [item for item in result.boundaries if item.kind == "segment"]
    rays = [item for item in result.boundaries if item.kind == "ray" and item.keep == item.classes]
    others = [item for item in result.boundaries if item not in segments and item not in rays]
    three = len(result.weights) == 3
    if rays:
        which = "each of " * (len(rays) > 1) + lines(rays)
        which = "each red line" if len(rays) == len(result.boundaries) else which
        start = "the green point" if result.point else "its start"
        up = "to `1/(2 + exp(-rho s))` each, which tends to `1/2`" if three else "towards `1/2`"
        rest, least = ("the third falls", "") if three else ("all others together fall", "the least ")
        text = (
            f"On {which} the two classes beside it are equally probable: at distance `s` from {start} both have risen "
            f"{up}; {rest} to 0 like `exp(-rho s)`, with {least}`rho = (grad a_i - grad a_k) · u` for `i` beside the "
            "line, `k` not, and `u` the unit vector along it."
        )
        yield finding("1.2", text, rates=[item.rate for item in rays])
    if three and result.point:
        thirds = {6 - sum(item.classes): item for item in rays}
        beyond = ", ".join(f"`C{k}` beyond {lines([item])}" for k, item in thirds.items())
        text = "On the extension of each boundary line beyond the green point the third class is the most probable"
        yield finding("1.2", f"{text} ({beyond}); its probability tends to 1.", classes=list(thirds))
    if segments:
        text = f"{lines(segments)}: no point is far out; a segment ends at both sides, in points where boundaries meet."
        yield finding("1.2", text, segments=[item.classes for item in segments])
    if others:
        halves = f"All along {lines(others)} both classes have probability `1/2`."
        text = halves if len(result.weights) == 2 else f"Along {lines(others)} {SHARED}"
        yield finding("1.2", text, limits=[item.limit for item in others])


def inside_regions(result: Softmax) -> Iterator[Finding]:
    """Answer 1.3: far out in the middle of each region, and why far from the point alone is not enough."""
    bounded = [item for item in result.inhabited if item.kind == "bounded"]
    certain = [item for item in result.inhabited if item.keep == (item.class_,)]
    others = [item for item in result.inhabited if item not in bounded and item not in certain]
    if certain:
        whose = "each region" if len(certain) == len(result.inhabited) else of_regions(certain)
        text = (
            f"Far out in the middle of {whose} the probability of its class tends to 1, and all others to 0, together "
            "like `exp(-rho s)`: its activation leads by a gap that grows with the distance."
        )
        yield finding("1.3", text, rates=[item.rate for item in certain])
    if bounded:
        text = f"No point of {of_regions(bounded)} is far out: it is bounded."
        yield finding("1.3", text, bounded=[item.class_ for item in bounded])
    if others:
        text = f"Far out in the middle of {of_regions(others)} {SHARED}"
        yield finding("1.3", text, limits=[item.limit for item in others])
    for i, j in [item.classes for item in result.boundaries if item.keep == item.classes][:1]:
        limit, count = probabilities((1.0, 0.0)), len(result.weights)
        rest = ", the third to 0" if count == 3 else ", all others to 0" if count > 3 else ""
        text = (
            f"Along a parallel to the boundary `C{i}|C{j}` with `a{i} - a{j} = 1` their probabilities tend to "
            f"`sigma(1) ~= {limit[0]:.4g}` and `sigma(-1) ~= {limit[1]:.4g}`{rest}."
        )
        yield finding("1.3", text, gap=1, limit=limit)


def small(probability: float) -> str:
    """Return a probability to two digits; one that is lost in float64 is not called 0."""
    return f"{probability:.2g}" if probability > SMALLEST else f"< {SMALLEST:g}"


def shares(values: Sequence[float], keep: Collection[int]) -> list[str]:
    """Return probabilities, 0 but for the classes in `keep`, to four digits; one that would round to 1 from the others'
    sum, as "1 - 3.2e-12".
    """
    texts = []
    for k, share in enumerate(values, 1):
        others = math.fsum(value for j, value in enumerate(values, 1) if j != k)
        text = f"{share:.4g}" if k not in keep or share > SMALLEST else small(share)
        if text == "1" and len(keep) > 1:
            text = f"1 - {small(others)}" if others > SMALLEST else f"> 1 - {SMALLEST:g}"
        texts.append(text)
    return texts


def ways(result: Softmax) -> Iterator[Table]:
    """Yield 1.2's and 1.3's table: what all other classes have along each boundary, in the middle of each region."""
    told = "all others together at distance s, and the limits" if result.point else "the limits"
    head = ["direction u", "rate `rho`", *(f"`s = {s}`" for s in DISTANCES if result.point), "far out"]
    rows = [
        [lines([item]), f"`{item.equation}`", *([] if result.point else [piece(item)]), *cells(result, item)]
        for item in result.boundaries
    ]
    yield table(
        f"Along each boundary: {told}", ["line", "equation", *(["piece"] * (not result.point)), *head], rows, "1.2"
    )
    rows = [[f"`C{item.class_}`", item.kind, *cells(result, item)] for item in result.regions]
    yield table(f"In the middle of each region: {told}", ["class", "region", *head], rows, "1.3")


def piece(item: Boundary) -> str:
    """Return where a piece of a line begins and ends: long fractions rounded, of others without decimals."""
    start, end = (x and f"`{place(x).partition(' ~= ')[0]}`" for x in (item.start, item.end))
    return f"{start} to {end}" if end else f"ray from {start}" if start else "whole line"


def cells(result: Softmax, way: Way) -> Iterator[str]:
    """Yield a way's direction, its rate, the other classes' share at some distances from a green point, its limits:
    all in order, or of many those above 0 by name.
    """
    yield "`({:.4g}, {:.4g})`".format(*way.direction) if way.direction and way.limit else ""
    yield "" if way.rate is None else f"`{way.rate:.4g}`"
    for distance in DISTANCES if result.point else ():
        text = ""
        if way.start and way.exact_direction:
            x = along(way.start, way.exact_direction, distance / length(way.exact_direction))
            found = enumerate(evaluate(result.weights, x).probabilities, 1)
            text = f"`{small(math.fsum(share for k, share in found if k not in way.tied))}`"
        yield text
    texts = shares(way.limit or (), way.keep)
    yield "`{}`".format(", ".join(texts if len(texts) <= LISTED else (f"C{k} {texts[k - 1]}" for k in way.keep)))


def point_table(title: str, item: Place) -> Table:
    """Return activations and probabilities at one point."""
    texts = shares(item.probabilities, range(1, len(item.probabilities) + 1))
    return place_table(title, item, "activation", item.exact_activations, probability=texts)
