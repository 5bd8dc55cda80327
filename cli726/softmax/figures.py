"""Problem 1's figures: the decision regions, and the probabilities along every boundary and into every region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cli726.document import mathtext
from cli726.drawing import MEETING_POINT, new_figure
from cli726.exact import named
from cli726.exact.envelope import ORIGIN, Vector, edges, slope, value
from cli726.exact.plane import Figures, FloatArray, class_color, draw_regions, reaching
from cli726.softmax import Boundary, Place, Softmax, Way, length, probabilities

# Half the width of the assignment's axes.
EXTENT = Fraction(5)
# More panels than this in one figure can't be read; a curve below this probability is left out.
PANELS, SEEN = 12, 0.005
# Points of a curve, and the length of its dashes, in line widths.
SAMPLES, DASH = 241, 5


def figures(result: Softmax, extent: Fraction | None = None, at: Place | None = None) -> Figures:
    """Return file stem -> how to draw it; without boundaries only the regions."""
    made: Figures = {"regions": partial(regions, result, extent, at)}
    if result.boundaries:
        endless = [item for item in result.inhabited if item.exact_direction]
        made["along-boundaries"] = partial(along, result, result.boundaries, "boundary", "boundaries")
        made["into-regions"] = partial(along, result, endless, "middle of the region", "regions")
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
    return center, reaching(at, center, half)


def regions(result: Softmax, extent: Fraction | None = None, at: Place | None = None) -> Figure:
    """Draw the decision regions on [-extent, extent]^2, the boundaries in red, the points where they meet in green."""
    square = (ORIGIN, extent) if extent else view(result, at)
    owners, found = [item.tied for item in result.inhabited], edges(result.weights)
    figure, axes = draw_regions(result.weights, owners, found, square, square, outline, at)
    for place in result.vertices:
        axes.plot(*place.x, "o", color=MEETING_POINT, markersize=10, markeredgecolor="white", zorder=6)
    return figure


def outline(points: Sequence[Vector]) -> list[FloatArray]:
    """Return points where they are."""
    return [np.array(points, dtype=float)]


def along(result: Softmax, ways: Sequence[Way], path: str, plural: str) -> Figure:
    """Draw probabilities against the distance along boundaries, or into regions: a panel each, four in a row.

    Of a ray, the line behind its start is shown too. What is left out is said. `path` is what the distance runs along.
    """
    shown, reach = ways[:PANELS], 6 / min((way.rate for way in ways if way.rate), default=1.2)
    columns, rows = min(len(shown), 4), -(-len(shown) // 4)
    figure = new_figure(max(3.3 * columns, 4.5), 2.9 * rows + 0.5)
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes, way in zip(panels, shown, strict=False):
        start, low, high = way.start or ORIGIN, 0.0, reach
        if isinstance(way, Boundary):
            start, low = way.start or way.through, -reach if way.kind == "line" else -reach / 2
            if way.end:
                low, high = 0.0, math.dist(tuple(map(float, start)), tuple(map(float, way.end)))
            axes.set_title(mathtext(named(way.classes, "|")), loc="right")
        else:
            axes.set_title("into the region of " + mathtext(named(way.tied, " = ")))
        draw_probabilities(axes, result, start, way.exact_direction or ORIGIN, np.linspace(low, high, SAMPLES))
        if low < 0 and way.start:
            axes.axvspan(low, 0, color="0.9", zorder=0)
            axes.text(0.02, 1.03, "no boundary", size=8.5, color="0.35", transform=axes.transAxes)
            axes.axvline(0, color=MEETING_POINT, linewidth=1.4)
    for unused in panels[len(shown) :]:
        unused.remove()
    left_out = f"; the first {PANELS} of {len(ways)} {plural}" if len(ways) > PANELS else ""
    figure.supxlabel(f"distance along the {path}{left_out}", size=11)
    figure.supylabel("probability", size=11)
    handles = [Line2D([], [], color=class_color(k), label=f"$C_{{{k + 1}}}$") for k in range(len(result.weights))]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 8))
    return figure


def draw_probabilities(axes: Axes, result: Softmax, start: Vector, direction: Vector, distances: FloatArray) -> None:
    """Draw every class's probability along one line, the distance from `start` on the horizontal axis."""
    heights = [value(w, start) for w in result.weights]
    # Rounded last, so that curves that coincide are seen to.
    growth = [float(slope(w, direction) / length(direction)) for w in result.weights]
    paths = [(float(height - max(heights)), up) for height, up in zip(heights, growth, strict=True)]
    curves = np.array([probabilities([gap + up * s for gap, up in paths]) for s in distances])
    for k, path in enumerate(paths):
        if curves[:, k].max() < SEEN:
            continue
        # Curves that coincide take turns: each is drawn in the gaps of the others.
        count, turn = paths.count(path), paths[:k].count(path)
        style = "-" if count == 1 else (DASH * turn, (DASH, DASH * (count - 1)))
        axes.plot(distances, curves[:, k], color=class_color(k), linestyle=style, dash_capstyle="butt")
    axes.set(xlim=(distances[0], distances[-1]), ylim=(-0.03, 1.04), yticks=[0, 0.25, 0.5, 0.75, 1])
