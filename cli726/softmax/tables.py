"""Problem 1's tables: the boundaries, the regions, one point."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from cli726.document import Table
from cli726.exact import both, named, place, place_table, table
from cli726.softmax import Place, Softmax, Way, rest

__all__ = ["boundary_table", "point_table", "readable", "region_table", "small"]

# With more classes than this only those that keep a share are listed.
LISTED = 4
# The distances from the green point at which the tables look.
DISTANCES = (1, 2, 5)
# Probabilities below this are not told apart from 0 in float64.
SMALLEST = 1e-300


def small(probability: float) -> str:
    """Return a probability to two digits; one that is lost in float64 is not called 0."""
    return f"{probability:.2g}" if probability > SMALLEST else f"< {SMALLEST:g}"


def shares(values: Sequence[float], keep: Collection[int]) -> list[str]:
    """Return probabilities to four digits; one that would round to 1 as "1 - 3.2e-12", from the sum of the others.

    Args:
        keep: The classes, from 1, whose probability is above 0.
    """
    texts = []
    for k, share in enumerate(values, 1):
        others = math.fsum(value for j, value in enumerate(values, 1) if j != k)
        text = f"{share:.4g}" if k not in keep or share > SMALLEST else small(share)
        if text == "1" and len(keep) > 1:
            text = f"1 - {small(others)}" if others > SMALLEST else f"> 1 - {SMALLEST:g}"
        texts.append(text)
    return texts


def readable(way: Way) -> str:
    """Return all limits in order, or of many those above 0 by name; "" for none."""
    texts = shares(way.limit or (), way.keep)
    return ", ".join(texts if len(texts) <= LISTED else (f"C{k} {texts[k - 1]}" for k in way.keep))


def boundary_table(result: Softmax) -> Table:
    """Return 1.2's table: what the classes that are not the largest have along each boundary."""
    rows = []
    for item in result.boundaries:
        # Long fractions of a point are rounded, of others the decimals are left out.
        start, end = (x and (place(x).partition(" ~= ")[0]) for x in (item.start, item.end))
        piece = f"`{start}` to `{end}`" if end else f"ray from `{start}`" if start else "whole line"
        rows.append([f"`{named(item.classes, '|')}`", f"`{item.equation}`", *([] if result.point else [piece])])
    columns = ("line", "equation", *([] if result.point else ["piece"]))
    return ways("Along each boundary", columns, rows, result.boundaries, "1.2", result)


def region_table(result: Softmax) -> Table:
    """Return 1.3's table: what the other classes have along the middle of each region."""
    rows = [[f"`C{item.class_}`", item.kind] for item in result.regions]
    return ways("In the middle of each region", ("class", "region"), rows, result.regions, "1.3", result)


def ways(
    title: str, columns: Sequence[str], rows: Sequence[list[str]], items: Sequence[Way], question: str, result: Softmax
) -> Table:
    """Return rows with direction, rate, the other classes' share at some distances from a green point, and limits."""
    distances = DISTANCES if result.point else ()
    for row, way in zip(rows, items, strict=True):
        cells = ["({:.4g}, {:.4g})".format(*way.direction) if way.direction and way.limit else ""]
        cells.append("" if way.rate is None else f"{way.rate:.4g}")
        others = [rest(result.weights, way, distance) for distance in distances]
        cells += ["" if share is None else small(share) for share in others]
        row += [f"`{cell}`" for cell in (*cells, readable(way))]
    title += ": all others together at distance s, and the limits" if distances else ": the limits"
    head = [*columns, "direction u", "rate `rho`", *(f"`s = {s}`" for s in distances), "far out"]
    return table(title, head, rows, question)


def point_table(title: str, item: Place) -> Table:
    """Return activations and probabilities at one point."""
    texts = shares(item.probabilities, range(1, len(item.probabilities) + 1))
    heights = [f"`{both(activation)}`" for activation in item.exact_activations]
    return place_table(title, item, activation=heights, probability=texts)
