"""The exact arrangement of regions, against definitions and by counting areas."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli726.exact import envelope
from cli726.exact.plane import within

# Small numbers, so that parallel, coinciding and concurrent functions are common.
coordinate = st.integers(-3, 3).map(Fraction)
functions = st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=1, max_size=6)
places = st.tuples(*(st.fractions(-9, 9, max_denominator=7) for _ in range(2)))
QUADRANT = ((Fraction(1), Fraction(0), Fraction(0)), (Fraction(0), Fraction(1), Fraction(0)))
DOMAINS = pytest.mark.parametrize("domain", [(), QUADRANT])
TINY = Fraction(1, 10**12)


def area(corners):
    return sum((a[0] * b[1] - b[0] * a[1] for a, b in pairwise([*corners, *corners[:1]])), Fraction(0)) / 2


@DOMAINS
@given(functions=functions)
def test_owners_win_on_the_two_sides_of_an_edge(domain, functions):
    for edge in envelope.edges(functions, domain):
        first, second = edge.owners
        assert edge.tied == envelope.highest(functions, edge.through)
        normal = envelope.minus(functions[first], functions[second])[:2]
        for owner, step in ((first, TINY), (second, -TINY)):
            winners = envelope.highest(functions, envelope.along(edge.through, normal, step))
            assert winners == envelope.same(functions, owner)
        assert max(map(abs, edge.direction)) == 1
        assert edge.end is None or edge.start is not None
        for corner in (edge.start, edge.end):
            if corner and not domain:
                assert len({functions[k] for k in envelope.highest(functions, corner)}) >= 3


@DOMAINS
@given(functions=functions, x=places)
def test_regions_fill_a_square_without_overlap_and_only_owners_win_alone(domain, functions, x):
    low = Fraction(0) if domain else Fraction(-4)
    corners = [(low, low), (Fraction(4), low), (Fraction(4), Fraction(4)), (low, Fraction(4))]
    areas = [
        area(envelope.polygon([envelope.minus(f, other) for other in functions], corners))
        for f in dict.fromkeys(functions)
    ]
    assert min(areas) >= 0
    assert sum(areas) == area(corners)
    x = (abs(x[0]) + TINY, abs(x[1]) + TINY) if domain else x
    with_area = envelope.owners(functions, envelope.edges(functions, domain), (Fraction(1), Fraction(1)))
    winners = envelope.highest(functions, x)
    assert set(winners) & set(with_area)
    assert set(winners) <= set(with_area) or winners != envelope.same(functions, winners[0])


@given(functions=functions)
def test_the_visible_part_is_the_edge_within_the_window(functions):
    for edge in envelope.edges(functions):
        ends = envelope.visible(functions, edge, within((Fraction(0), Fraction(0)), Fraction(2)))
        inside = [corner for corner in (edge.start, edge.end, edge.through) if corner and max(map(abs, corner)) < 2]
        assert len(ends) == 2 or not (inside or ends)
        for corner in ends:
            assert set(edge.owners) <= set(envelope.highest(functions, corner))
            assert corner in (edge.start, edge.end) or max(map(abs, corner)) == 2
