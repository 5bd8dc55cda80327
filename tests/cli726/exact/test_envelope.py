"""The exact arrangement of regions, against definitions and by counting areas."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli726.exact import envelope

# Small numbers, so that parallel, coinciding and concurrent functions are common.
coordinate = st.integers(-3, 3).map(Fraction)
functions = st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=1, max_size=6)
places = st.tuples(*(st.fractions(-9, 9, max_denominator=7) for _ in range(2)))
QUADRANT = ((Fraction(1), Fraction(0), Fraction(0)), (Fraction(0), Fraction(1), Fraction(0)))
DOMAINS = ((), QUADRANT)
ORIGIN = (Fraction(0), Fraction(0))
TINY = Fraction(1, 10**12)


def on(edge, x):
    """Whether the point `x`, known to be on the edge's line, is on the edge."""
    return all(
        corner is None or sign * sum(d * (a - b) for d, a, b in zip(edge.direction, x, corner, strict=True)) >= 0
        for corner, sign in ((edge.start, 1), (edge.end, -1))
    )


def area(corners):
    return sum((a[0] * b[1] - b[0] * a[1] for a, b in pairwise([*corners, *corners[:1]])), Fraction(0)) / 2


@pytest.mark.parametrize("domain", DOMAINS)
@given(functions=functions)
def test_owners_win_on_the_two_sides_of_an_edge(domain, functions):
    for edge in envelope.edges(functions, domain):
        first, second = edge.owners
        assert edge.tied == envelope.highest(functions, edge.through)
        normal = envelope.minus(functions[first], functions[second])[:2]
        for owner, step in ((first, TINY), (second, -TINY)):
            winners = envelope.highest(functions, envelope.along(edge.through, normal, step))
            assert winners == envelope.same(functions, owner)


@given(functions=functions, start=places, end=places)
def test_winners_change_only_on_edges(functions, start, end):
    """Walk a straight way: wherever the winner changes, there is an edge between the two, or edges meet."""
    found = envelope.edges(functions)
    way = (end[0] - start[0], end[1] - start[1])
    stops = {Fraction(0), Fraction(1)}
    for i, f in enumerate(functions):
        for g in functions[:i]:
            difference = envelope.minus(f, g)
            if envelope.slope(difference, way):
                stops.add(-envelope.value(difference, start) / envelope.slope(difference, way))
    times = sorted(t for t in stops if 0 <= t <= 1)
    winners = [envelope.highest(functions, envelope.along(start, way, (a + b) / 2)) for a, b in pairwise(times)]
    for t, (before, after) in zip(times[1:-1], pairwise(winners), strict=True):
        if before != after:
            here = envelope.along(start, way, t)
            tied = envelope.highest(functions, here)
            assert any(set(edge.owners) <= set(tied) and on(edge, here) for edge in found)


@pytest.mark.parametrize("domain", DOMAINS)
@given(functions=functions)
def test_regions_fill_a_square_without_overlap(domain, functions):
    low = Fraction(0) if domain else Fraction(-4)
    corners = [(low, low), (Fraction(4), low), (Fraction(4), Fraction(4)), (low, Fraction(4))]
    areas = [
        area(envelope.polygon([envelope.minus(f, other) for other in functions], corners))
        for f in dict.fromkeys(functions)
    ]
    assert min(areas) >= 0
    assert sum(areas) == area(corners)


@pytest.mark.parametrize("domain", DOMAINS)
@given(functions=functions, x=places)
def test_only_owners_win_alone(domain, functions, x):
    x = (abs(x[0]) + TINY, abs(x[1]) + TINY) if domain else x
    found = envelope.edges(functions, domain)
    with_area = envelope.owners(functions, found, (Fraction(1), Fraction(1)))
    winners = envelope.highest(functions, x)
    if winners == envelope.same(functions, winners[0]):
        assert set(winners) <= set(with_area)
    assert set(winners) & set(with_area)


@given(functions=functions)
def test_ends_of_edges_are_where_three_meet(functions):
    for edge in envelope.edges(functions):
        for corner in (edge.start, edge.end):
            if corner:
                assert len({functions[k] for k in envelope.highest(functions, corner)}) >= 3
        assert max(map(abs, edge.direction)) == 1
        assert edge.end is None or edge.start is not None


@given(functions=functions)
def test_visible_part_stays_inside(functions):
    frame = [(Fraction(s), Fraction(0), Fraction(2)) for s in (1, -1)]
    frame += [(Fraction(0), Fraction(s), Fraction(2)) for s in (1, -1)]
    for edge in envelope.edges(functions):
        ends = envelope.visible(functions, edge, frame)
        assert len(ends) in (0, 2)
        inside = [corner for corner in (edge.start, edge.end, edge.through) if corner and max(map(abs, corner)) < 2]
        assert ends or not inside
        for corner in ends:
            assert corner in (edge.start, edge.end) or max(map(abs, corner)) == 2
            assert all(envelope.value(constraint, corner) >= 0 for constraint in frame)
            assert on(edge, corner)
            assert set(edge.owners) <= set(envelope.highest(functions, corner))


def test_a_function_that_only_touches_has_no_edge():
    f, g, touching = (
        (Fraction(1), Fraction(0), Fraction(0)),
        (Fraction(-1), Fraction(0), Fraction(0)),
        (Fraction(0),) * 3,
    )
    (edge,) = envelope.edges([f, g, touching])
    assert edge.owners == (0, 1)
    assert edge.tied == (0, 1, 2)
    assert envelope.owners([f, g, touching], [edge], ORIGIN) == (0, 1)
