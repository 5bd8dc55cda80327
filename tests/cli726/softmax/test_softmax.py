"""Problem 1's numbers, sentences and tables against exact arithmetic, direct evaluation, SymPy and SciPy."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.special
import sympy
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cli726 import exact
from cli726.document import plain
from cli726.softmax import ASSIGNMENT, NAMES, analyse, evaluate, probabilities
from cli726.softmax.figures import figures
from cli726.softmax.findings import document, point_document
from tests.cli726.exact.settings import FAR, has_area, height, names, precise, same, settings, shares, vertices, winners

# Last, one green point of C2, C4 and C5, at which their neighbours by number, C1 and C3, are far below.
LOW = tuple(tuple(map(Fraction, w)) for w in ((0, 0, -9), (1, 0, 0), (0, 0, -8), (-1, 1, 0), (-1, -1, 0)))
SETTINGS = [pytest.param(w, id=str(k)) for k, w in enumerate([*settings(1), LOW, exact.classes(ASSIGNMENT, NAMES)])]
EXTENSION = "On the extension of each boundary line beyond the green point the third class is the most probable"
SHARED = "several activations differ by constants: each of their classes keeps a share; the limits are in the table."


def solve(*texts):
    return analyse(exact.classes(texts, NAMES))


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6), st.floats(-1e3, 1e3))
def test_probabilities_agree_with_scipy_and_ignore_a_common_shift(a, shift):
    assert_allclose(probabilities(a), scipy.special.softmax(a), rtol=1e-12, atol=1e-300)
    assert math.fsum(probabilities(a)) == pytest.approx(1, abs=1e-14)
    assert_allclose(probabilities([value + shift for value in a]), probabilities(a), rtol=1e-9, atol=1e-300)
    assert probabilities([1e308, shift, -1e308]) == (1, 0, 0)


def test_the_assignment():
    x1, x2 = sympy.symbols("x1 x2")
    a = [3 * x1 + x2 + 1, x1 + 3 * x2 + 2, -3 * x1 + sympy.Rational(3, 2) * x2 + 2]
    result, ((p, q),) = solve(*ASSIGNMENT), sympy.linsolve([a[0] - a[1], a[0] - a[2]], x1, x2)
    assert document(result).findings[0].text == (
        f"At the green point ({p}, {q}) ≈ (0.1364, -0.3636) the activations of C1, C2, C3 are equal, 23/22 ≈ 1.045: "
        "each of these classes has probability 1/3."
    )
    assert [b.equation for b in result.boundaries] == ["2 x1 - 2 x2 = 1", "12 x1 - x2 = 2", "8 x1 + 3 x2 = 0"]
    assert [(b.limit, b.behind) for b in result.boundaries] == [
        ((0.5, 0.5, 0), (0, 0, 1)), ((0.5, 0, 0.5), (0, 1, 0)), ((0, 0.5, 0.5), (1, 0, 0)),
    ]  # fmt: skip


def test_regions_of_every_kind_and_their_middle():
    for texts, kinds in (
        (("1,0,0", "-1,0,0", "0,0,1"), ["half-plane", "half-plane", "strip"]),
        (("1,2,3", "1,2,4"), ["empty", "whole plane"]),
        (("2,0,0", "-2,0,0", "0,1,1", "0,0,1"), ["wedge", "wedge", "wedge", "half-strip"]),
        (("1,0,0", "-1,0,0", "0,1,0", "0,-1,0", "0,0,1"), ["wedge"] * 4 + ["bounded"]),
    ):
        assert [region.kind for region in solve(*texts).regions] == kinds
    wide = solve("0,0,0", "1e-20,1,0", "-1e-20,1,0").regions[0]  # nearly a half-plane
    assert_allclose(wide.direction, (0, -1), atol=1e-15)


def at(way, distance):
    """Return the point of a way at some multiple of its exact direction from where it starts."""
    x, d = way.start or way.through, way.exact_direction
    return x[0] + d[0] * distance, x[1] + d[1] * distance


def holds_far_out(weights, way):
    """Hold a way's direction, limits and rate against activations at two points far out."""
    near, after = ([height(w, at(way, t * FAR)) for w in weights] for t in (1, 2))
    best = after.index(max(after))
    lags = [(after[best] - b) - (near[best] - a) for a, b in zip(near, after, strict=True)]
    assert way.keep == tuple(k for k, lag in enumerate(lags, 1) if lag == 0)
    assert_allclose(way.limit, [float(p) for p in shares(weights, at(way, 2 * FAR))], rtol=1e-12, atol=1e-300)
    size = mpmath.hypot(*map(precise, way.exact_direction))
    assert_allclose(way.direction, [float(precise(d) / size) for d in way.exact_direction], rtol=1e-12)
    slower = [precise(lag / FAR) / size for lag in lags if lag]
    assert (way.rate is None) == (not slower)
    assert way.rate is None or way.rate == pytest.approx(float(min(slower)), rel=1e-9)


def pieces(weights, result):
    """Sort the boundaries: rays on which two classes alone keep a share, segments, others; hold each against ends."""
    rays, segments, others = [], [], []
    for item in result.boundaries:
        ends = [set(item.classes) <= {*winners(weights, at(item, t))} for t in (FAR, -FAR)]
        assert item.kind == {(True, True): "line", (True, False): "ray", (False, False): "segment"}[tuple(ends)]
        assert item.tied == tuple(winners(weights, item.through))
        p, q, c = (a - b for a, b in zip(*(weights[k - 1] for k in item.classes), strict=True))
        assert item.equation == exact.equation((p, q), ("x1", "x2"), c)
        for k, sign in zip(item.classes, (1, -1), strict=True):
            side = tuple(c + sign * n / FAR**2 for c, n in zip(item.through, (p, q), strict=True))
            assert winners(weights, side)[0] == k
        if item.kind == "segment":
            assert (item.limit, item.rate, item.keep) == (None, None, ())
            segments.append(item)
        else:
            holds_far_out(weights, item)
            (rays if item.kind == "ray" and item.keep == item.classes else others).append(item)
        back = [float(p) for p in shares(weights, at(item, -FAR))] if item.kind == "ray" else None
        assert (item.behind is None) == (back is None)
        assert back is None or item.behind == pytest.approx(back)
        if item.kind == "line":  # the point that figures show is the nearest to the origin
            assert sum(x * d for x, d in zip(item.through, item.exact_direction, strict=True)) == 0
    return rays, segments, others


def holds_along_a_ray(weights, item):
    """Hold that both neighbours rise to 1/2, with three classes as 1/(2 + exp(-rho s)), while all others fall."""
    i, j = item.classes
    size, before = mpmath.hypot(*map(precise, item.exact_direction)), 0
    for s in (0, 1, 3, 30):
        p = shares(weights, at(item, Fraction(float(s / item.rate / size))))
        assert p[i - 1] == p[j - 1] == max(p)
        assert before <= p[i - 1] <= 0.5
        assert len(weights) > 3 or mpmath.almosteq(p[i - 1], 1 / (2 + mpmath.exp(-s)), 1e-10)
        before = p[i - 1]
    assert mpmath.almosteq(before, 0.5, 1e-9)


def named(items):
    return ", ".join(names(item.classes, "|") for item in items)


def meeting(weights, points, inhabited, boundaries):
    """Return the answer to 1.1."""
    if len(points) == 1:
        (x,) = points
        tied, p = winners(weights, x), shares(weights, x)
        others = [k for k in range(1, len(weights) + 1) if k not in tied]
        each = f"{float(p[tied[0] - 1]):.4g}" if others else f"1/{len(tied)}"
        left = mpmath.fsum(p[k - 1] for k in others)
        left = f"{float(left):.2g}" if left > 1e-300 else "< 1e-300"
        rest = f"; the rest, {left}, is left for {names(others)}" if others else ""
        where, value = exact.place(x), exact.both(height(weights[tied[0] - 1], x))
        text = f"At the green point {where} the activations of {names(tied)} are equal, {value}: each of these classes "
        return f"{text}has probability {each}{rest}.".replace("~=", "≈")
    if points:
        listed = "; ".join(f"{names(winners(weights, x))} at {exact.place(x)}" for x in sorted(points)[:4])
        more = f"; and {len(points) - 4} more" if len(points) > 4 else ""
        text = f"There is no single green point: boundaries meet at {len(points)} points, {listed}{more}."
        return text.replace("~=", "≈")
    why = {1: "there is no boundary", 2: f"{names(inhabited)} meet along one whole line"}
    return f"There is no green point: {why.get(len(inhabited), f'the {boundaries} boundaries are parallel lines')}."


def along(weights, result, points):
    """Return the answers to 1.2."""
    rays, segments, others = pieces(weights, result)
    three = len(weights) == 3
    if not result.boundaries:
        assert figures(result).keys() == {"regions"}
        yield "There is no boundary: no figures along boundaries or into regions are drawn."
    if rays:
        for item in rays:
            holds_along_a_ray(weights, item)
        which = "each red line" if rays == [*result.boundaries] else "each of " * (len(rays) > 1) + named(rays)
        start = "the green point" if len(points) == 1 else "its start"
        up = "to 1/(2 + exp(-rho s)) each, which tends to 1/2; the third falls" if three else "towards 1/2; all others"
        yield (
            f"On {which} the two classes beside it are equally probable: at distance s from {start} both have risen "
            f"{up}{'' if three else ' together fall'} to 0 like exp(-rho s), with {'' if three else 'the least '}"
            "rho = (grad aᵢ - grad aₖ) · u for i beside the line, k not, and u the unit vector along it."
        )
    if three and points:
        thirds = [(({1, 2, 3} - {*item.classes}).pop(), item) for item in rays]
        for k, item in thirds:
            assert all(winners(weights, at(item, -s)) == [k] for s in (1 / FAR, Fraction(1), FAR))
            assert item.behind[k - 1] == 1
        yield f"{EXTENSION} ({', '.join(f'C{k} beyond {named([b])}' for k, b in thirds)}); its probability tends to 1."
    if segments:
        yield f"{named(segments)}: no point is far out; a segment ends at both sides, in points where boundaries meet."
        assert {x for item in segments for x in (item.start, item.end)} <= points
    if others and len(weights) == 2:
        assert all(shares(weights, at(others[0], t)) == [0.5, 0.5] for t in (-FAR, 0, 1, FAR))
        yield "All along C1|C2 both classes have probability 1/2."
    elif others:
        yield f"Along {named(others)} {SHARED}"


def is_bounded(weights, k):
    """Say whether some activation grows faster in every direction: in a fan of exact ones, across all slopes."""
    sides = [(a[0] - weights[k - 1][0], a[1] - weights[k - 1][1]) for a in weights]
    fan = [way for p, q in sides for way in ((p, q), (-q, p), (q, -p)) if any(way)]
    return bool(fan) and all(max(p * u + q * v for p, q in sides) > 0 for u, v in fan)


def inside(weights, result, inhabited):
    """Return the answers to 1.3."""
    groups = {"bounded": [], "certain": [], "others": []}
    for region in (result.regions[k - 1] for k in inhabited):
        if is_bounded(weights, region.class_):
            assert (region.kind, region.limit) == ("bounded", None)
            groups["bounded"].append(region)
        elif len(inhabited) > 1:
            holds_far_out(weights, region)
            assert all(winners(weights, at(region, t)) == [*region.tied] for t in (1 / FAR, 1, FAR))
            if region.kind == "wedge":  # its middle is at equal distance from the lines of its two rays
                u, v = (b.direction for b in result.boundaries if b.kind == "ray" and region.class_ in b.classes)
                assert np.dot(region.direction, u) == pytest.approx(np.dot(region.direction, v), abs=1e-12)
            groups["certain" if region.keep == (region.class_,) else "others"].append(region)
        else:
            assert_allclose(region.limit, [float(p) for p in shares(weights, (7, -3))], rtol=1e-12, atol=1e-300)
            groups["others"].append(region)
    of = {kind: "the region of " + "each of " * (len(items) > 1) + names(item.class_ for item in items)
          for kind, items in groups.items()}  # fmt: skip
    if groups["certain"]:
        where = "each region" if len(groups["certain"]) == len(inhabited) else of["certain"]
        yield (
            f"Far out in the middle of {where} the probability of its class tends to 1, and all others to 0, together "
            "like exp(-rho s): its activation leads by a gap that grows with the distance."
        )
    if groups["bounded"]:
        yield f"No point of {of['bounded']} is far out: it is bounded."
    if groups["others"]:
        yield f"Far out in the middle of {of['others']} {SHARED}"
    for item in [item for item in result.boundaries if item.keep == item.classes][:1]:
        i, j = item.classes
        p, q = (weights[i - 1][k] - weights[j - 1][k] for k in (0, 1))
        x = tuple(c + n / (p * p + q * q) for c, n in zip(at(item, 10 * FAR), (p, q), strict=True))
        found = [f"{float(share):.4g}" for share in shares(weights, x)]
        rest = {2: "", 3: ", the third to 0"}.get(len(weights), ", all others to 0")
        assert all(float(text) < 1e-30 for k, text in enumerate(found, 1) if k not in item.classes)
        yield (
            f"Along a parallel to the boundary C{i}|C{j} with a{i} - a{j} = 1 their probabilities tend to sigma(1) ≈ "
            f"{found[i - 1]} and sigma(-1) ≈ {found[j - 1]}{rest}."
        )


@pytest.mark.parametrize("weights", SETTINGS)
def test_every_sentence_is_true(weights):
    result = analyse(weights)
    points = vertices(weights)
    first = [k for k in range(1, len(weights) + 1) if weights.index(weights[k - 1]) == k - 1]
    inhabited = [k for k in first if has_area(weights, k)]
    told = [(item.question, item.text) for item in document(result).findings]
    assert told == [
        ("1.1", meeting(weights, points, inhabited, len(result.boundaries))),
        *(("1.2", text) for text in along(weights, result, points)),
        *(("1.3", text) for text in inside(weights, result, inhabited)),
    ]
    assert [(item.class_, item.tied, item.kind != "empty") for item in result.regions] == [
        (k, same(weights, k), has_area(weights, k)) for k in range(1, len(weights) + 1)
    ]
    assert [item.text for item in point_document(result).findings] == [told[0][1]] * (not points)


def is_share(text, share, others, rel=6e-4):
    """Assert that a text states a probability, as do "1 - 3e-9" and "< 1e-300"; 0 only for a limit."""
    if text.startswith("<"):
        assert 0 < share < 1e-300
    elif "1 - " in text:
        stated = float(text.rpartition(" ")[2])
        assert 0 < others < stated if text[0] == ">" else float(others) == pytest.approx(stated, rel=0.06)
    elif text in ("0", "1"):
        assert (share if text == "0" else others) < mpmath.mpf(10) ** -10000
    else:
        assert float(share) == pytest.approx(float(text), rel=rel)


def cells_are_true(weights, way, cells, one_point):
    """Judge a row of a table, `cells` by column."""
    if "equation" in cells:
        start, end = (x and exact.place(x).partition(" ~=")[0].replace("~=", "≈") for x in (way.start, way.end))
        piece = f"{start} to {end}" if end else f"ray from {start}" if start else "whole line"
        assert (cells["equation"], cells.get("piece")) == (way.equation, None if one_point else piece)
    else:
        assert cells["region"] == way.kind
    direction = "({:.4g}, {:.4g})".format(*way.direction) if way.limit and way.direction else ""
    assert (cells["direction u"], cells["rate rho"]) == (direction, f"{way.rate:.4g}" if way.rate else "")
    exactly = shares(weights, at(way, FAR) if way.exact_direction else (0, 0)) if way.limit else []
    listed = cells["far out"].split(", ") if way.limit else []
    if len(weights) > 4 and way.limit:
        stated = dict(text.split(" ", 1) for text in listed)
        assert [*stated] == [f"C{k}" for k in way.keep]
        listed = [stated.get(f"C{k}", "0") for k in range(1, len(weights) + 1)]
    for k, (text, share) in enumerate(zip(listed, exactly, strict=True)):
        is_share(text, share, mpmath.fsum(exactly[:k] + exactly[k + 1 :]))
    distances = {int(name[4:]): text for name, text in cells.items() if name.startswith("s = ")}
    assert len(distances) == 3 * one_point
    for s, text in distances.items():
        assert (text == "") == (way.limit is None)
        if text:
            t = Fraction(float(s / mpmath.hypot(*map(precise, way.exact_direction))))
            found = enumerate(shares(weights, at(way, t)), 1)
            is_share(text, mpmath.fsum(p for k, p in found if k not in way.tied), 1, rel=0.06)


@pytest.mark.parametrize("weights", SETTINGS[::2])
def test_every_cell_is_true(weights):
    x = min(vertices(weights), default=(Fraction(7, 3), Fraction(-2)))
    result, place, exactly = analyse(weights), evaluate(weights, x), shares(weights, x)
    *ways, spot = document(result, place).tables
    for table, items in zip(ways, [items for items in (result.boundaries, result.regions) if items], strict=True):
        for row, way in zip(table.rows, items, strict=True):
            cells = dict(zip(map(plain, table.columns), map(plain, row), strict=True))
            assert plain(row[0]) == (named([way]) if "equation" in cells else f"C{way.class_}")
            cells_are_true(weights, way, cells, result.point is not None)
    assert place.exact_activations == tuple(height(w, x) for w in weights)
    assert place.activations == tuple(map(float, place.exact_activations))
    assert_allclose(place.probabilities, [float(p) for p in exactly], rtol=1e-12, atol=1e-300)
    assert (place.x, place.tied) == ((float(x[0]), float(x[1])), tuple(winners(weights, x)))
    assert place.region == (place.tied[0] if len(place.tied) == 1 else None)
    for k, row in enumerate(spot.rows, 1):
        assert [plain(row[0]), plain(row[3])] == [f"C{k}", "largest" * (k in place.tied)]
        is_share(plain(row[2]), exactly[k - 1], mpmath.fsum(exactly[: k - 1] + exactly[k:]))
