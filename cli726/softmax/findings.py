"""What problem 1's numbers say: an answer to each question, stated only while it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from cli726.document import Document, Finding
from cli726.exact import marked, named, place
from cli726.exact.envelope import along
from cli726.softmax import Boundary, Place, Softmax, Way, far
from cli726.softmax.tables import boundary_table, point_table, readable, region_table, small

__all__ = ["document", "findings", "point_document"]

QUESTIONS = {
    "1.1": "What are the probabilities at the green point, where the regions meet?",
    "1.2": "What happens to them along each red line, moving away from the green point?",
    "1.3": "What happens to them far from the intersection, in the middle of one region?",
}
NAMES = {"ray": "ray", "line": "whole line"}
# How many points a sentence lists, and how long a fraction may be in one.
SHOWN, SHORT = 4, 12
# The gap that is kept along the parallel to a boundary.
GAP = 1


def document(result: Softmax, at: Place | None = None) -> Document:
    """Return the answers to 1.1 to 1.3 with their tables; last the point `at`."""
    lead = "; ".join(f"`a{k} = {text}`" for k, text in enumerate(result.activations, 1))
    tables = [boundary_table(result)] if result.boundaries else []
    tables += [region_table(result), *([point_table("The point", at)] if at else [])]
    return Document([marked(f"Softmax of {lead}")], QUESTIONS, findings(result), tables)


def point_document(result: Softmax, at: Place | None = None) -> Document:
    """Return the points where regions meet alone, after the point `at`."""
    title = "The green point" if result.point else "A meeting point"
    tables = [*([point_table("The point", at)] if at else []), *(point_table(title, item) for item in result.vertices)]
    none = [Finding("", item.parts, item.evidence) for item in meeting(result)]
    return Document([], {}, [] if result.vertices else none, tables)


def findings(result: Softmax) -> tuple[Finding, ...]:
    """Return the answers; what belongs to no question, classes that coincide or have no region, comes last."""
    kinds = (meeting, along_rays, other_pieces, far_inside, beside, special)
    return tuple(finding for kind in kinds for finding in kind(result))


def said(question: str, text: str, **evidence: Any) -> Finding:
    return Finding(question, marked(text), evidence)


def meeting(result: Softmax) -> Iterator[Finding]:
    """1.1: the probabilities at the green point, or why there is none."""
    boundaries, vertices, point = result.boundaries, result.vertices, result.point
    if point:
        others = [k for k in range(1, len(result.weights) + 1) if k not in point.tied]
        left = small(math.fsum(point.probabilities[k - 1] for k in others))
        each = f"{point.probabilities[point.tied[0] - 1]:.4g}" if others else f"1/{len(point.tied)}"
        height = str(point.exact_activations[point.tied[0] - 1])
        text = f"At the green point `{place(point.exact)}` the activations of `{named(point.tied)}` are equal"
        text += f", `a = {height}`" if len(height) <= SHORT else ""
        text += f": each of these classes has probability `{each}`"
        text += f"; the rest, {left}, is left for `{named(others)}`." if others else "."
        yield said("1.1", text, x=point.x, probabilities=point.probabilities)
    elif vertices:
        points = "; ".join(f"`{named(item.tied)}` at `{place(item.exact)}`" for item in vertices[:SHOWN])
        more = f"; and {len(vertices) - SHOWN} more" if len(vertices) > SHOWN else ""
        text = f"There is no single green point: boundaries meet at {len(vertices)} points, {points}{more}."
        yield said("1.1", text, points=[item.x for item in vertices])
    else:
        why = f"the {len(boundaries)} boundaries are parallel lines" if boundaries else "there is no boundary"
        if len(boundaries) == 1:
            why = f"`{named(boundaries[0].classes)}` meet along one whole line"
        yield said("1.1", f"There is no green point: {why}.", boundaries=len(boundaries))


def divides(item: Boundary) -> bool:
    """Say whether only the two classes beside this ray keep a share along it."""
    return item.kind == "ray" and item.keep == item.classes


def lines(items: Sequence[Boundary]) -> str:
    return ", ".join(f"`{named(item.classes, '|')}`" for item in items)


def along_rays(result: Softmax) -> Iterator[Finding]:
    """1.2: along the rays on which the two neighbours end with one half each."""
    rays, three = [item for item in result.boundaries if divides(item)], len(result.weights) == 3
    if rays:
        which = "each of " * (len(rays) > 1) + lines(rays)
        which = "each red line" if len(rays) == len(result.boundaries) else which
        start = "the green point" if result.point else "its start"
        exact = " to `1/(2 + exp(-rho s))` each" if three else ""
        others, least = ("the third falls", "") if three else ("all others together fall", "the least ")
        text = (
            f"On {which} the two classes beside it are equally probable: at distance `s` from {start} both have risen"
            f"{exact}, which tends to `1/2`; {others} to 0 like `exp(-rho s)`, with {least}"
            "`rho = (grad a_i - grad a_k) · u` for `i` beside the line, `k` not, and `u` the unit vector along it."
        )
        yield said("1.2", text, rates=[item.rate for item in rays])
    if three and result.point:
        thirds = ", ".join(f"`C{6 - sum(item.classes)}` beyond `{named(item.classes, '|')}`" for item in rays)
        text = "On the extension of each boundary line beyond the green point the third class is the most probable"
        evidence = [6 - sum(item.classes) for item in rays]
        yield said("1.2", f"{text} ({thirds}); its probability tends to 1.", classes=evidence)


def other_pieces(result: Softmax) -> Iterator[Finding]:
    """1.2: no boundary, segments, and boundaries along which other classes keep a share or nothing changes."""
    if not result.boundaries:
        yield said("1.2", "There is no boundary: no figures along boundaries or into regions are drawn.", boundaries=0)
    segments = [item for item in result.boundaries if item.kind == "segment"]
    if segments:
        text = f"{lines(segments)}: no point is far out; a segment ends at both sides, in points where boundaries meet."
        yield said("1.2", text, segments=[item.classes for item in segments])
    others = (item for item in result.boundaries if item.kind != "segment" and not divides(item))
    yield from (shared("1.2", f"Along `{named(item.classes, '|')}`, a {NAMES[item.kind]},", item) for item in others)


def shared(question: str, where: str, way: Way) -> Finding:
    """1.2 and 1.3: a way on which several classes keep a share."""
    text = f"{where} the activations of `{named(way.keep)}` differ by constants, so that each keeps a share: "
    return said(question, f"{text}the limits are {readable(way)}.", limit=way.limit)


def far_inside(result: Softmax) -> Iterator[Finding]:
    """1.3: far out in the middle of a region."""
    first = [item for item in result.regions if item.kind != "empty" and item.class_ == item.tied[0]]
    certain = [item for item in first if item.keep == (item.class_,)]
    if certain:
        names = named(item.class_ for item in certain)
        whose = f"the region{'s' * (len(certain) > 1)} of `{names}`"
        whose = "each region" if len(certain) == len(first) else whose
        text = (
            f"Far out in the middle of {whose} the probability of its class tends to 1, and all others to 0, together"
        )
        why = "its activation leads by a gap that grows with the distance"
        yield said("1.3", f"{text} like `exp(-rho s)`: {why}.", rates=[item.rate for item in certain])
    for item in first:
        if item.kind == "bounded":
            yield said(
                "1.3", f"The region of `{named(item.tied)}` is bounded: no point of it is far out.", bounded=True
            )
        elif item not in certain:
            where = f"Far out in the middle of the region of `{named(item.tied)}`, a {item.kind},"
            yield shared("1.3", where, item)


def beside(result: Softmax) -> Iterator[Finding]:
    """1.3: far from the point is not enough, the distance from the boundary has to grow."""
    item = next((item for item in result.boundaries if item.keep == item.classes and item.exact_direction), None)
    if item is None or item.exact_direction is None:
        return
    i, j = item.classes
    first, second = (result.weights[k - 1] for k in item.classes)
    p, q = first[0] - second[0], first[1] - second[1]
    shifted = along(item.through, (p, q), GAP / (p * p + q * q))
    limit = far(result.weights, shifted, item.exact_direction)["limit"]
    others = {2: "", 3: ", the third to 0"}.get(len(limit), ", all others to 0")
    text = (
        f"Along a parallel to the boundary `C{i}|C{j}` with `a{i} - a{j} = {GAP}` their probabilities tend to "
        f"`sigma({GAP}) ~= {limit[i - 1]:.4g}` and `sigma(-{GAP}) ~= {limit[j - 1]:.4g}`{others}."
    )
    yield said("1.3", text, gap=GAP, limit=limit)


def special(result: Softmax) -> Iterator[Finding]:
    """Activations that coincide, and regions without an area."""
    first = [item for item in result.regions if item.class_ == item.tied[0]]
    for tied in (item.tied for item in first if len(item.tied) > 1):
        yield said("", f"`{named(tied)}` have the same activation: they are equally probable everywhere.", classes=tied)
    empty = [item.class_ for item in first if item.kind == "empty"]
    if empty:
        text = f"No region belongs to `{named(empty)}`: nowhere is such an activation larger than all others."
        yield said("", text, classes=empty)
