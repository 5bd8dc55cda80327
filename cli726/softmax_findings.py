"""What problem 1's numbers say, in words: each sentence only while it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations

from cli726.envelope import Affine, Vector, along, value
from cli726.exact import point, point_both, short
from cli726.findings import Finding
from cli726.softmax_geometry import Boundary, Place, Region, evaluate, far, readable

__all__ = ["findings"]

# The distance at which the findings look, and the gap that they keep from a boundary.
DISTANCE, GAP = 2, 1
# How many points a sentence lists, and how long a fraction may be in one.
SHOWN, SHORT = 4, 12
# How many probabilities a sentence lists.
LISTED = 5
LOST = 1e-300


def findings(
    weights: Sequence[Affine], vertices: Sequence[Place], boundaries: Sequence[Boundary], regions: Sequence[Region]
) -> tuple[Finding, ...]:
    """Answers to the questions 1.1 (the green point), 1.2 (along the red lines) and 1.3 (far from them)."""
    return (
        *meeting(weights, vertices, boundaries),
        *moving_away(weights, vertices, boundaries),
        *other_pieces(boundaries),
        *far_inside(weights, regions),
        *beside(weights, boundaries),
        *special(weights, vertices, boundaries, regions),
    )


def names(classes: Iterable[int], joint: str = ", ") -> str:
    return joint.join(f"C{k}" for k in classes)


def pair(item: Boundary) -> str:
    return names(item.classes, "|")


def listed(shares: Sequence[float]) -> str:
    """All probabilities in order, or of many the largest."""
    texts = readable(shares)
    if len(texts) <= LISTED:
        return ", ".join(texts)
    order = sorted(range(len(shares)), key=lambda k: -shares[k])[:LISTED]
    rest = 1 - math.fsum(shares[k] for k in order)
    parts = [f"C{k + 1} {texts[k]}" for k in order if shares[k] > 0]
    return ", ".join(parts) + (f", others {rest:.2g}" if rest > 1e-12 else "")


def small(probability: float) -> str:
    """A probability to two digits; one that is lost in float64 is not called 0."""
    return f"{probability:.2g}" if probability > LOST else f"under {LOST:g}"


def left_over(weights: Sequence[Affine], start: Vector, direction: Vector, classes: Sequence[int]) -> float:
    """What all but `classes` have together, DISTANCE units from `start`."""
    size = Fraction(math.hypot(float(direction[0]), float(direction[1])))
    shares = evaluate(weights, along(start, direction, DISTANCE / size)).probabilities
    return math.fsum(share for k, share in enumerate(shares, 1) if k not in classes)


def meeting(weights: Sequence[Affine], vertices: Sequence[Place], boundaries: Sequence[Boundary]) -> Iterator[Finding]:
    """1.1: the probabilities at the green point."""
    if len(vertices) == 1:
        yield at_the_point(vertices[0])
    elif vertices:
        points = [f"{names(place.tied)} at {point(place.exact)}" for place in vertices[:SHOWN]]
        more = f"; and {len(vertices) - SHOWN} more" if len(vertices) > SHOWN else ""
        yield Finding(
            f"1.1 There is no single green point: the boundaries meet at {len(vertices)} points, "
            f"{'; '.join(points)}{more}.",
            {"points": [place.x for place in vertices]},
        )
    else:
        why = f"the {len(boundaries)} boundaries are parallel and never meet"
        if len(boundaries) == 1:
            why = f"{names(boundaries[0].classes, ' and ')} meet along one whole line"
        if not boundaries:
            why = "there is no boundary at all"
        yield Finding(f"1.1 There is no green point: {why}.", {"boundaries": len(boundaries)})
    if len(weights) == 2:
        yield Finding("With two classes the softmax is the logistic sigmoid of a difference: p1 = σ(a1 - a2).")


def at_the_point(place: Place) -> Finding:
    first = place.tied[0] - 1
    others = [k for k in range(1, len(place.probabilities) + 1) if k not in place.tied]
    rest = math.fsum(place.probabilities[k - 1] for k in others)
    each = f"{place.probabilities[first]:.4g}" if others else f"1/{len(place.tied)}"
    height = str(place.exact_activations[first])
    return Finding(
        f"1.1 At the green point {point_both(place.exact)} the activations of "
        f"{names(place.tied)} are all equal"
        + (f" to {height}" if len(height) <= SHORT else "")
        + f", so each of these classes has the probability {each}"
        + (f"; {small(rest)} is left for {names(others)}." if others else "."),
        {"x": place.x, "probabilities": place.probabilities},
    )


def divides(item: Boundary) -> bool:
    """Whether only two classes keep a share along this ray: then these are the two that tie on it."""
    return item.kind == "ray" and sum(share > 0 for share in item.limit or ()) == 2


def moving_away(
    weights: Sequence[Affine], vertices: Sequence[Place], boundaries: Sequence[Boundary]
) -> Iterator[Finding]:
    """1.2: along the rays on which the two neighbours end with one half each."""
    rays = [(item, item.start) for item in boundaries if item.start and divides(item)]
    if not rays:
        return
    starts = sorted(evaluate(weights, start).probabilities[item.classes[0] - 1] for item, start in rays)
    low, high = (f"{starts[end]:.4g}" for end in (0, -1))
    rests = [left_over(weights, start, item.exact_direction, item.tied) for item, start in rays]
    which = "each red line" if len(rays) == len(boundaries) else ", ".join(pair(item) for item, _ in rays)
    whose = "that of the third class falls" if len(weights) == 3 else "those of all others together fall"
    yield Finding(
        f"1.2 Along {which} the two classes on the sides have equal probabilities. Moving away from "
        f"{'the green point' if len(vertices) == 1 else 'where the ray starts'}, both rise from "
        f"{low if low == high else f'{low} or more'} towards 1/2, and {whose} to 0 like exp(-rate s): to "
        + ", ".join(f"{small(rest)} ({pair(item)})" for rest, (item, _) in zip(rests, rays, strict=True))
        + f" at s = {DISTANCE}.",
        {"rates": [item.rate for item, _ in rays], "distance": DISTANCE, "others": rests},
    )
    crossed = [(item.behind.index(1) + 1, item) for item, _ in rays if item.behind and max(item.behind) == 1]
    if crossed:
        yield Finding(
            "1.2 The other way, behind its start, the same line is no boundary: there another class is the largest, "
            "and its probability tends to 1: " + ", ".join(f"C{k} (line {pair(item)})" for k, item in crossed) + ".",
            {"classes": [k for k, _ in crossed]},
        )


def other_pieces(boundaries: Sequence[Boundary]) -> Iterator[Finding]:
    """1.2: segments, whole lines, and rays along which more than the two neighbours keep a share."""
    segments = [item for item in boundaries if item.kind == "segment"]
    if segments:
        yield Finding(
            f"1.2 {', '.join(map(pair, segments))}: segments that end at both sides, so that nothing is far out along "
            "them.",
            {"segments": [item.classes for item in segments]},
        )
    for item in boundaries:
        if item.limit and item.kind == "line":
            yield Finding(
                f"1.2 {pair(item)} is a whole line: along it nothing changes, the probabilities are "
                f"{listed(item.limit)}.",
                {"probabilities": item.limit},
            )
        elif item.limit and not divides(item):
            keep = [k for k, share in enumerate(item.limit, 1) if share > 0]
            yield Finding(
                f"1.2 Along the ray {pair(item)} the activations of {names(keep)} differ by constants, so that all of "
                f"these keep a share: the limits are {listed(item.limit)}.",
                {"limit": item.limit},
            )


def far_inside(weights: Sequence[Affine], regions: Sequence[Region]) -> Iterator[Finding]:
    """1.3: far out in the middle of a region."""
    certain = [
        (item, left_over(weights, item.start, item.exact_direction, item.tied))
        for item in regions
        if item.start and item.exact_direction and item.limit and item.limit[item.class_ - 1] == 1
    ]
    if certain:
        every = len(certain) == len(regions)
        whose = "a region" if every else f"the region of {names((item.class_ for item, _ in certain), ' or ')}"
        yield Finding(
            f"1.3 Far out in the middle of {whose} the probability of its class tends to 1 and all others to 0, "
            "exponentially: the others together have "
            + ", ".join(f"{small(rest)} (in C{item.class_})" for item, rest in certain)
            + f" at s = {DISTANCE}.",
            {
                "rates": [item.rate for item, _ in certain],
                "distance": DISTANCE,
                "others": [rest for _, rest in certain],
            },
        )
    done = {item.class_ for item, _ in certain}
    for item in regions:
        if item.start and item.class_ == item.tied[0] and item.class_ not in done:
            yield uncertain(weights, item, item.start)


def uncertain(weights: Sequence[Affine], item: Region, start: Vector) -> Finding:
    """A region in which the probability of its class does not tend to 1."""
    whose = names(item.tied, " and ")
    if item.kind == "bounded":
        shares = evaluate(weights, start).probabilities
        return Finding(
            f"1.3 The region of {whose} is bounded, so that nothing in it is far: at the centre of its corners, "
            f"{point(start)}, the probabilities are {listed(shares)}.",
            {"x": tuple(map(float, start)), "probabilities": shares},
        )
    limit = item.limit or ()
    if item.kind == "whole plane":
        return Finding(
            f"1.3 The whole plane belongs to {whose}: the probabilities are {listed(limit)} at every point.",
            {"probabilities": limit},
        )
    keep = [k for k, share in enumerate(limit, 1) if share > 0]
    return Finding(
        f"1.3 Far out in the middle of the region of {whose} (a {item.kind}) no class becomes certain: the activations "
        f"of {names(keep)} differ by constants there, and the limits are {listed(limit)}.",
        {"limit": limit},
    )


def beside(weights: Sequence[Affine], boundaries: Sequence[Boundary]) -> Iterator[Finding]:
    """1.3: far from the point is not enough, the distance from the boundary has to grow."""
    for item in boundaries:
        if item.kind == "segment" or not item.limit or len(item.tied) != 2:
            continue
        first, second = (weights[k - 1] for k in item.classes)
        normal = (first[0] - second[0], first[1] - second[1])
        shifted = along(item.through, normal, GAP / (normal[0] ** 2 + normal[1] ** 2))
        limit, _ = far(weights, shifted, item.exact_direction)
        yield Finding(
            "1.3 Beside a red line, parallel to it, that is not so: where "
            f"a{item.classes[0]} - a{item.classes[1]} stays {GAP} ({pair(item)}), the limits are {listed(limit)}.",
            {"gap": float(value(first, shifted) - value(second, shifted)), "limit": limit},
        )
        return


def special(
    weights: Sequence[Affine], vertices: Sequence[Place], boundaries: Sequence[Boundary], regions: Sequence[Region]
) -> Iterator[Finding]:
    """Activations that coincide or are parallel, and regions without an area."""
    for item in regions:
        if len(item.tied) > 1 and item.class_ == item.tied[0]:
            yield Finding(
                f"{names(item.tied, ' and ')} have the same activation: their probabilities are equal everywhere, and "
                "nothing divides them.",
                {"classes": item.tied},
            )
    for (i, f), (j, g) in combinations(enumerate(weights, 1), 2):
        if f[:2] == g[:2] and f != g:
            (high, low), gap = ((i, j), f[2] - g[2]) if f[2] > g[2] else ((j, i), g[2] - f[2])
            yield Finding(
                f"a{high} and a{low} are parallel, a{high} - a{low} = {short(gap)} everywhere: no line divides them, "
                f"and p{high} is exp({short(gap)}) times p{low} at every point.",
                {"classes": (high, low), "gap": float(gap)},
            )
    nowhere = []
    for item in regions:
        if item.kind == "empty":
            ties = [pair(b) for b in boundaries if item.class_ in b.tied]
            ties += [point(place.exact) for place in vertices if item.class_ in place.tied and not ties]
            if ties:
                yield Finding(
                    f"The region of C{item.class_} is empty: it only ties for the largest, on {', '.join(ties)}.",
                    {"class": item.class_},
                )
            else:
                nowhere.append(item.class_)
    if nowhere:
        yield Finding(
            f"The region{' of' if len(nowhere) == 1 else 's of'} {names(nowhere)} "
            f"{'is empty: it is' if len(nowhere) == 1 else 'are empty: they are'} nowhere the largest.",
            {"classes": nowhere},
        )
