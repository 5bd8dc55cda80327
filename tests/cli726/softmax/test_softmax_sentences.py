"""Every sentence and table of problem 1, over generated settings, against exact arithmetic and direct evaluation."""

from __future__ import annotations

import re
from fractions import Fraction

import mpmath
import pytest

from cli726 import softmax
from cli726.document.content import plain
from cli726.softmax.figures import figures
from cli726.softmax.findings import document
from tests.cli726.exact.settings import (
    FAR,
    coinciding,
    coordinates,
    has_area,
    height,
    meeting_points,
    numbers,
    settings,
    shares,
    winners,
)  # fmt: skip

# Last, one green point of C2, C4 and C5, at which their neighbours by number, C1 and C3, are far below.
LOW = tuple(tuple(map(Fraction, w)) for w in ((0, 0, -9), (1, 0, 0), (0, 0, -8), (-1, 1, 0), (-1, -1, 0)))
SETTINGS = [pytest.param(weights, id=str(k)) for k, weights in enumerate([*settings(1), LOW])]


class Oracle:
    """Decides each kind of sentence for one setting; every sentence must be of one kind."""

    def __init__(self, weights):
        self.weights, self.result = weights, softmax.analyse(weights)
        self.points = meeting_points(weights)
        self.with_area = [k for k in range(1, len(weights) + 1) if has_area(weights, k)]
        self.distinct = [k for k in self.with_area if weights.index(weights[k - 1]) == k - 1]
        self.named = {"ray": set(), "segment": set(), "region": set(), "empty": set(), "same": set()}

    def at(self, way, distance, sign=1):
        x, d = way.start or way.through, way.exact_direction
        return tuple(a + sign * b * distance for a, b in zip(x, d, strict=True))

    def boundary(self, text):
        return next(item for item in self.result.boundaries if list(item.classes) == numbers(text))

    def limits(self, text, x):
        texts = re.split(r", (?!others)", text.rstrip("."))
        stated = dict(enumerate(texts, 1))
        if texts[0].startswith("C"):
            stated = {int(t.split()[0][1:]): t.split(maxsplit=1)[1] for t in texts}
        exact = shares(self.weights, x)
        for k, share in enumerate(exact, 1):
            is_share(stated.get(k, "0"), share, mpmath.fsum(exact[: k - 1] + exact[k:]))

    def one_point(self, point, tied, equal, each, rest, left):
        (x,) = self.points
        assert coordinates(point) in (x, None)
        exact = shares(self.weights, x)
        assert numbers(tied) == winners(self.weights, x)
        assert not equal or Fraction(equal) == height(self.weights[numbers(tied)[0] - 1], x)
        assert float(Fraction(each)) == pytest.approx(float(exact[numbers(tied)[0] - 1]), rel=6e-4)
        others = [k for k in range(1, len(self.weights) + 1) if k not in numbers(tied)]
        assert others == numbers(left or "")
        if others:
            is_share(rest, sum(exact[k - 1] for k in others), 1, rel=0.06)

    def many_points(self, count, listed, more):
        assert int(count) == len(self.points) > 1
        parts = listed.split("; ")
        assert len(parts) + int(more or 0) == len(self.points)
        for part in parts:
            x = coordinates(part.partition(" at ")[2])
            assert x is None or (x in self.points and numbers(part) == winners(self.weights, x))

    def no_point(self, why):
        assert not self.points
        if why == "there is no boundary":
            assert len(self.distinct) == 1
        elif "meet along" in why:
            assert numbers(why) == self.distinct
        else:
            assert int(re.search(r"\d+", why)[0]) == len(self.distinct) - 1 > 1
            p, q = ([m - n for m, n in zip(self.weights[k - 1], self.weights[self.distinct[0] - 1], strict=True)]
                    for k in self.distinct[1:3])  # fmt: skip
            assert p[0] * q[1] == p[1] * q[0]

    def rays(self, which, start, each, others):
        items = list(self.result.boundaries)
        if which != "each red line":
            items = [self.boundary(name) for name in which.removeprefix("each of ").split(", ")]
        self.named["ray"] |= {item.classes for item in items}
        three = len(self.weights) == 3
        assert bool(each) == three == others.startswith("the third")
        assert (start == "the green point") == (len(self.points) == 1)
        for item in items:
            i, j = item.classes
            length = mpmath.sqrt(mpmath.fsum(mpmath.mpf(float(d)) ** 2 for d in item.exact_direction))
            before, rho = 0, mpmath.mpf(item.rate)
            for s in (Fraction(0), Fraction(1, 3), Fraction(2), Fraction(30)):
                way = s / Fraction(item.rate)
                p = shares(self.weights, self.at(item, way / Fraction(float(length))))
                rest = 1 - p[i - 1] - p[j - 1]
                assert p[i - 1] == p[j - 1] == max(p)
                assert before <= p[i - 1] <= 0.5
                before = p[i - 1]
                if three:
                    assert mpmath.almosteq(p[i - 1], 1 / (2 + mpmath.exp(-mpmath.mpf(float(s)))), 1e-10)
            assert mpmath.almosteq(p[i - 1], 0.5, 1e-9)
            # The last of the others to fade does so at the stated rate.
            a, b = (self.at(item, FAR * t / Fraction(float(length))) for t in (1, 2))
            gaps = [min(height(self.weights[i - 1], x) - height(w, x) for k, w in enumerate(self.weights, 1)
                        if k not in item.classes) for x in (a, b)]  # fmt: skip
            assert float((gaps[1] - gaps[0]) / FAR) == pytest.approx(float(rho), rel=1e-9)
            assert rest < 1e-9

    def beyond(self, listed):
        assert len(self.weights) == 3
        assert len(listed.split(", ")) == 3
        for part in listed.split(", "):
            k, i, j = numbers(part)
            item = self.boundary(f"C{i}|C{j}")
            assert all(winners(self.weights, self.at(item, s, -1)) == [k] for s in (1 / FAR, Fraction(1), FAR))
            assert mpmath.almosteq(shares(self.weights, self.at(item, FAR, -1))[k - 1], 1, 1e-30)

    def nothing_drawn(self):
        assert len(self.distinct) == 1
        assert figures(self.result).keys() == {"regions"}

    def segments(self, listed):
        for name in listed.split(", "):
            item = self.boundary(name)
            self.named["segment"].add(item.classes)
            assert all(not set(winners(self.weights, self.at(item, FAR, sign))) & set(item.classes) for sign in (1, -1))
            assert {item.start, item.end} <= self.points

    def shared_along(self, name, kind, keep, limits):
        item = self.boundary(name)
        self.named["ray"].add(item.classes)
        ends = (1, -1) if kind == "whole line" else (1,)
        assert all(set(item.classes) <= set(winners(self.weights, self.at(item, FAR, sign))) for sign in ends)
        assert kind == "whole line" or not set(item.classes) & set(winners(self.weights, self.at(item, FAR, -1)))
        self.constant(item, numbers(keep), limits)

    def constant(self, way, keep, limits):
        """Assert that exactly these keep their differences far out, and that these are the limits."""
        near, far = self.at(way, FAR), self.at(way, 2 * FAR)
        first = self.weights[keep[0] - 1]
        gaps = [(height(w, near) - height(first, near), height(w, far) - height(first, far)) for w in self.weights]
        assert [k for k, (a, b) in enumerate(gaps, 1) if a == b] == keep
        assert all(b < a < 0 for k, (a, b) in enumerate(gaps, 1) if k not in keep)
        self.limits(limits, far)

    def certain(self, whose):
        names = self.distinct if whose == "each region" else numbers(whose)
        self.named["region"] |= set(names)
        assert whose.startswith(
            "each" if len(names) == len(self.distinct) else "the regions" if names[1:] else "the region "
        )
        for k in names:
            item = self.result.regions[k - 1]
            near, far = self.at(item, FAR), self.at(item, 2 * FAR)
            lead = [[height(self.weights[k - 1], x) - height(w, x) for w in self.weights] for x in (near, far)]
            assert all(0 < a < b for j, (a, b) in enumerate(zip(*lead, strict=True), 1) if j != k)
            assert winners(self.weights, self.at(item, 1 / FAR)) == [k]
            size = mpmath.sqrt(sum(mpmath.mpf(d.numerator) ** 2 / mpmath.mpf(d.denominator) ** 2
                                   for d in item.exact_direction))  # fmt: skip
            slowest = min(float(b - a) for j, (a, b) in enumerate(zip(*lead, strict=True), 1) if j != k)
            assert slowest / float(FAR) / float(size) == pytest.approx(item.rate, rel=1e-9)

    def bounded(self, who):
        k = numbers(who)[0]
        self.named["region"].add(k)
        hull = [w[:2] for w in self.weights]
        p, q = self.weights[k - 1][:2]
        # Some activation grows faster in every direction: in a fan of exact ones, and across every pair of slopes.
        fan = [(a - p, b - q) for a, b in hull] + [(q - b, a - p) for a, b in hull] + [(b - q, p - a) for a, b in hull]
        for u, v in [direction for direction in fan if any(direction)]:
            assert max((a - p) * u + (b - q) * v for a, b in hull) > 0

    def shared_inside(self, who, kind, keep, limits):
        k = numbers(who)[0]
        self.named["region"].add(k)
        item = self.result.regions[k - 1]
        assert item.kind == kind
        if kind == "whole plane":
            assert self.distinct == [k]
            return self.limits(limits, (Fraction(7), Fraction(-3)))
        assert k in winners(self.weights, self.at(item, FAR))
        return self.constant(item, numbers(keep), limits)

    def parallel(self, name, first, second, others):
        item = self.boundary(name)
        i, j = item.classes
        a, b = (self.weights[k - 1] for k in (i, j))
        p, q = a[0] - b[0], a[1] - b[1]
        x = tuple(c + n / (p * p + q * q) for c, n in zip(self.at(item, 10 * FAR), (p, q), strict=True))
        assert height(a, x) - height(b, x) == 1
        exact = shares(self.weights, x)
        assert [f"{float(exact[k - 1]):.4g}" for k in (i, j)] == [first, second]
        assert bool(others) == (len(self.weights) > 2)
        assert sum(exact) - exact[i - 1] - exact[j - 1] < 1e-30

    def same(self, who):
        self.named["same"].add(tuple(numbers(who)))

    def empty(self, who):
        self.named["empty"] |= set(numbers(who))
        assert not set(numbers(who)) & set(self.with_area)

    def cells(self, way, cells):
        """Judge a row of a table."""
        if "equation" in cells:
            left, right = cells["equation"].split(" = ")
            p, q = (eval(re.sub(r"([\d.]+) x", r"Fraction('\1')*x", left), {"x1": a, "x2": b, "Fraction": Fraction})
                    for a, b in ((1, 0), (0, 1)))  # fmt: skip
            assert all(p * x + q * y == Fraction(right) for x, y in (way.through, self.at(way, 3)))
        piece = cells.get("piece", "")
        assert (piece == "whole line", " to " in piece) == (
            way.start is None,
            way.kind == "segment",
        ) or "class" in cells
        if "region" in cells:
            assert (cells["region"] == "empty") == (way.class_ not in self.with_area)
        if not way.keep or not way.exact_direction:
            assert cells["direction u"] == cells["rate rho"] == ""
            return
        u = [float(c) for c in cells["direction u"].strip("()").split(", ")]
        assert u == pytest.approx(list(map(float, way.direction)), abs=6e-4)
        assert mpmath.hypot(*way.direction) == pytest.approx(1)
        self.constant(way, list(way.keep), cells["far out"])
        for name, text in cells.items():
            if name.startswith("s = ") and text:
                x = [a + int(name[4:]) * Fraction(d) for a, d in zip(way.start, way.direction, strict=True)]
                exact = shares(self.weights, x)
                is_share(text, mpmath.fsum(p for k, p in enumerate(exact, 1) if k not in way.tied), 1, rel=0.06)


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


KINDS = {
    Oracle.one_point: (
        r"At the green point ((?:≈ )?\(.*\)) the activations of (.*) are equal(?:, a = (\S+))?: each of these classes "
        r"has probability ([^;]+?)(?:; the rest, (.*), is left for (.*))?\."
    ),
    Oracle.many_points: (
        r"There is no single green point: boundaries meet at (\d+) points, (.*?)(?:; and (\d+) more)?\."
    ),
    Oracle.no_point: r"There is no green point: (.*)\.",
    Oracle.rays: (
        r"On (.*) the two classes beside it are equally probable: at distance s from (.*) both have risen"
        r"( to 1/\(2 \+ exp\(-rho s\)\) each)?, which tends to 1/2; (.*) to 0 like exp\(-rho s\), with (?:the least )?"
        r"rho = \(grad aᵢ - grad aₖ\) · u for i beside the line, k not, and u the unit vector along it\."
    ),
    Oracle.beyond: (
        r"On the extension of each boundary line beyond the green point the third class is the most probable "
        r"\((.*)\); its probability tends to 1\."
    ),
    Oracle.nothing_drawn: r"There is no boundary: no figures along boundaries or into regions are drawn\.",
    Oracle.segments: r"(.*): no point is far out; a segment ends at both sides, in points where boundaries meet\.",
    Oracle.shared_along: (
        r"Along (.*), a (ray|whole line), the activations of (.*) differ by constants, so that each keeps a share: the "
        r"limits are (.*)\."
    ),
    Oracle.certain: (
        r"Far out in the middle of (each region|the regions? of .*) the probability of its class tends to 1, and all "
        r"others to 0, together like exp\(-rho s\): its activation leads by a gap that grows with the distance\."
    ),
    Oracle.bounded: r"The region of (.*) is bounded: no point of it is far out\.",
    Oracle.shared_inside: (
        r"Far out in the middle of the region of (.*), a (.*), the activations of (.*) differ by constants, so that "
        r"each keeps a share: the limits are (.*)\."
    ),
    Oracle.parallel: (
        r"Along a parallel to the boundary (.*) with a\d+ - a\d+ = 1 their probabilities tend to sigma\(1\) ≈ (\S+) "
        r"and sigma\(-1\) ≈ ([^,]*?)(, the third to 0|, all others to 0)?\."
    ),
    Oracle.same: r"(.*) have the same activation: they are equally probable everywhere\.",
    Oracle.empty: r"No region belongs to (.*): nowhere is such an activation larger than all others\.",
}


@pytest.mark.parametrize("weights", SETTINGS)
def test_every_sentence_is_true(weights):
    oracle = Oracle(weights)
    content = document(oracle.result)
    for finding in content.findings:
        found = ((judge, re.fullmatch(kind, finding.text)) for judge, kind in KINDS.items())
        judge, match = next((judge, match) for judge, match in found if match)
        judge(oracle, *match.groups())
    # Nothing is left out: every boundary and region is told of, and each question has an answer.
    assert {item.classes for item in oracle.result.boundaries} == oracle.named["ray"] | oracle.named["segment"]
    assert oracle.named["region"] == set(oracle.distinct)
    assert oracle.named["same"] == coinciding(weights)
    assert oracle.named["empty"] == {
        k for k in range(1, len(weights) + 1) if k not in oracle.with_area and weights.index(weights[k - 1]) == k - 1
    }
    assert {item.question for item in content.findings} >= {"1.1", "1.2", "1.3"}


@pytest.mark.parametrize("weights", SETTINGS[::3])
def test_every_cell_is_true(weights):
    oracle = Oracle(weights)
    for table in document(oracle.result).tables:
        for row in table.rows:
            cells = dict(zip(map(plain, table.columns), map(plain, row), strict=True))
            way = (
                oracle.boundary(cells["line"])
                if "line" in cells
                else oracle.result.regions[numbers(cells["class"])[0] - 1]
            )
            oracle.cells(way, cells)
