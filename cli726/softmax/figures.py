"""Problem 1's figures: the decision regions, and the probabilities along every boundary and into every region."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cli726.document import mathtext
from cli726.drawing import BOUNDARY, MEETING_POINT, new_figure
from cli726.exact.envelope import ORIGIN, Vector, edges, mean, minus, polygon, slope, value, visible
from cli726.exact.plane import box, class_color, class_names, frame, mark, name, pale, within
from cli726.softmax import Boundary, Place, Region, Softmax, Way, length, probabilities

__all__ = ["along_boundaries", "figures", "into_regions", "regions", "view"]

Item = TypeVar("Item", Boundary, Region)

# Half the width of the assignment's axes.
EXTENT = Fraction(5)
# More panels than this in one figure can't be read.
PANELS = 12
SAMPLES = 241
# Length of a dash, in line widths.
DASH = 5
# A curve below this probability is left out.
SEEN = 0.005


def figures(
    result: Softmax, extent: Fraction | None = None, at: Place | None = None
) -> dict[str, Callable[[], Figure]]:
    """Return file stem -> how to draw it; without boundaries only the regions."""
    made: dict[str, Callable[[], Figure]] = {"regions": partial(regions, result, extent, at)}
    if result.boundaries:
        made["along-boundaries"] = partial(along_boundaries, result)
        made["into-regions"] = partial(into_regions, result)
    return made


def view(result: Softmax, at: Place | None = None) -> tuple[Vector, Fraction]:
    """Return centre and half the width of axes that show where boundaries begin, or a point of a whole line.

    These are the assignment's axes unless something lies outside, or all lies so close together that it can't be told
    apart. They also grow for the user's point, if it is not far away.
    """
    points = [place.exact for place in result.vertices] + [b.through for b in result.boundaries if b.kind == "line"]
    spans = [(min(c), max(c)) for c in zip(*points, strict=True)]
    furthest = max((abs(c) for ends in spans for c in ends), default=Fraction(0))
    spread = max((high - low for low, high in spans), default=Fraction(0))
    center, half = ORIGIN, EXTENT if furthest <= EXTENT else furthest * Fraction(6, 5)
    if 0 < spread < half / 10:
        (left, right), (low, high) = spans
        center, half = ((left + right) / 2, (low + high) / 2), 2 * spread
    reach = max(abs(x - c) for x, c in zip(at.exact, center, strict=True)) if at else half
    return center, max(half, reach * Fraction(6, 5)) if half < reach <= 10 * half else half


def regions(result: Softmax, extent: Fraction | None = None, at: Place | None = None) -> Figure:
    """Draw the decision regions on [-extent, extent]^2, the boundaries in red, the points where they meet in green."""
    center, half = (ORIGIN, extent) if extent else view(result, at)
    figure = new_figure(6.2, 5.8)
    axes = figure.subplots()
    for item in result.regions:
        k = item.class_ - 1
        if item.kind != "empty" and item.class_ == item.tied[0]:
            shape = polygon([minus(result.weights[k], other) for other in result.weights], box(center, half))
            if len(set(shape)) > 2:
                axes.fill(*np.array(shape, dtype=float).T, color=pale(class_color(k)), linewidth=0.5)
                x, y = mean(shape)
                name(axes, float(x), float(y), class_names(item.tied))
    for edge in edges(result.weights):
        ends = visible(result.weights, edge, within(center, half))
        if ends:
            axes.plot(*np.array(ends, dtype=float).T, color=BOUNDARY, linewidth=2.4, solid_capstyle="round", zorder=3)
    for place in result.vertices:
        axes.plot(
            *place.x, "o", color=MEETING_POINT, markersize=10, markeredgecolor="white", markeredgewidth=1.2, zorder=6
        )
    frame(axes, center, half)
    if at:
        mark(axes, at.exact, center, half)
    return figure


def along_boundaries(result: Softmax) -> Figure:
    """Draw probabilities against the distance along each boundary; a ray's line also behind its start."""
    figure, panels = grid(result, result.boundaries, "boundaries", "distance along the boundary")
    reach = far_enough(result.boundaries)
    for axes, item in panels:
        low, high = (-reach, reach) if item.kind == "line" else (-reach / 2, reach)
        if item.end and item.start:
            low, high = 0.0, math.dist(tuple(map(float, item.start)), tuple(map(float, item.end)))
        draw_probabilities(axes, result, item, item.start or item.through, low, high)
        if item.kind == "ray":
            axes.axvspan(low, 0, color="0.9", zorder=0)
            axes.text(0.02, 1.03, "no boundary", size=8.5, color="0.35", transform=axes.transAxes)
            axes.axvline(0, color=MEETING_POINT, linewidth=1.4)
        axes.set_title(mathtext("C{}|C{}".format(*item.classes)), loc="right")
    return figure


def into_regions(result: Softmax) -> Figure:
    """Draw probabilities against the distance along the middle of each region that reaches to infinity."""
    endless = [item for item in result.regions if item.exact_direction and item.class_ == item.tied[0]]
    figure, panels = grid(result, endless, "regions", "distance along the middle of the region")
    for axes, item in panels:
        if item.start:
            draw_probabilities(axes, result, item, item.start, 0.0, far_enough(endless))
        axes.set_title(f"into the region of {class_names(item.tied)}")
    return figure


def far_enough(ways: Sequence[Way]) -> float:
    """Return the distance at which what falls to 0 is near it along all of these."""
    return 6 / min((way.rate for way in ways if way.rate), default=6 / float(EXTENT))


def grid(result: Softmax, items: Sequence[Item], plural: str, label: str) -> tuple[Figure, list[tuple[Axes, Item]]]:
    """Return a figure with a panel for each item, at most four in a row, and one legend; it says what it leaves out."""
    shown = items[:PANELS]
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure = new_figure(max(3.3 * columns, 4.5), 2.9 * rows + 0.5)
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for unused in panels[len(shown) :]:
        unused.remove()
    left_out = f"; the first {PANELS} of {len(items)} {plural}" if len(items) > PANELS else ""
    figure.supxlabel(label + left_out, size=11)
    figure.supylabel("probability", size=11)
    handles = [Line2D([], [], color=class_color(k), label=f"$C_{{{k + 1}}}$") for k in range(len(result.weights))]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 8))
    return figure, list(zip(panels, shown, strict=False))


def draw_probabilities(axes: Axes, result: Softmax, way: Way, start: Vector, low: float, high: float) -> None:
    """Draw every class's probability along one line, the distance from `start` on the horizontal axis."""
    heights = [value(w, start) for w in result.weights]
    # Rounded last, so that curves that coincide are seen to.
    growth = [slope(w, way.exact_direction or ORIGIN) / length(way.exact_direction or ORIGIN) for w in result.weights]
    paths = [(float(height - max(heights)), float(up)) for height, up in zip(heights, growth, strict=True)]
    distances = np.linspace(low, high, SAMPLES)
    curves = np.array([probabilities([gap + up * s for gap, up in paths]) for s in distances])
    for k, path in enumerate(paths):
        if curves[:, k].max() < SEEN:
            continue
        # Curves that coincide take turns: each is drawn in the gaps of the others.
        count, turn = paths.count(path), paths[:k].count(path)
        style = "-" if count == 1 else (DASH * turn, (DASH, DASH * (count - 1)))
        axes.plot(distances, curves[:, k], color=class_color(k), linestyle=style, dash_capstyle="butt")
    axes.set(xlim=(low, high), ylim=(-0.03, 1.04), yticks=[0, 0.25, 0.5, 0.75, 1])
