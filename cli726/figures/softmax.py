"""Problem 1's figures: the decision regions, and the probabilities along every boundary and into every region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from cli726.drawing import BOUNDARY, MEETING_POINT, new_figure
from cli726.envelope import Vector, minus, polygon, slope, value, visible
from cli726.figures.plane import box, centroid, class_color, frame, mark, mathtext, name, pale, within
from cli726.softmax import Softmax
from cli726.softmax_geometry import Place, probabilities

__all__ = ["EXTENT", "along_boundaries", "into_regions", "regions"]

# Half the width of the assignment's axes.
EXTENT = 5
# More panels than this in one figure can't be read.
PANELS = 12
SAMPLES = 241
# Equations are written along so many boundaries at most, if no longer than this, so far (in half widths) from names.
LABELLED, LONGEST, CLEARANCE = 6, 24, 0.3
# Length of a dash, in line widths; and how near in height curves end that share a label.
DASH, CLOSE = 5, 0.09
# A curve below this probability is left out, and so many names at most share a label.
SEEN, NAMED = 0.005, 3


def window(result: Softmax, at: Place | None) -> Fraction:
    """The assignment's axes, made wider only where a meeting point or the user's point lies outside."""
    points = [*result.vertices, *([at] if at else [])]
    furthest = max((max(abs(place.x[0]), abs(place.x[1])) for place in points), default=0.0)
    return Fraction(EXTENT if furthest <= EXTENT else 1.2 * furthest)


def regions(result: Softmax, extent: Fraction | None = None, at: Place | None = None) -> Figure:
    """The decision regions on [-extent, extent]^2, the boundaries in red, the points where they meet in green."""
    half = extent or window(result, at)
    figure = new_figure(6.2, 5.8)
    axes = figure.subplots()
    corners = box(-half, half)
    names: list[tuple[float, float]] = []
    for item in result.regions:
        k = item.class_ - 1
        if item.kind == "empty" or item.class_ != item.tied[0]:
            continue
        shape = polygon([minus(result.weights[k], other) for other in result.weights], corners)
        if shape:
            outline = np.array(shape, dtype=float)
            axes.fill(outline[:, 0], outline[:, 1], color=pale(class_color(k)), linewidth=0.5)
            names.append(centroid(outline))
            name(axes, names[-1], " = ".join(f"$C_{{{j}}}$" for j in item.tied))
    for boundary in result.boundaries:
        ends = visible(boundary.through, boundary.exact_direction, boundary.start, boundary.end, within(-half, half))
        if ends is None:
            continue
        x, y = zip(*((float(x1), float(x2)) for x1, x2 in ends), strict=True)
        axes.plot(x, y, color=BOUNDARY, linewidth=2.4, solid_capstyle="round", zorder=3)
        if len(result.boundaries) <= LABELLED and len(boundary.equation) <= LONGEST:
            write_along(axes, boundary.equation, (x[0], y[0]), (x[1], y[1]), names, float(half))
    for place in result.vertices:
        axes.plot(
            *place.x, "o", color=MEETING_POINT, markersize=10, markeredgecolor="white", markeredgewidth=1.2, zorder=6
        )
    if at:
        mark(axes, at.x, "$x$")
    frame(axes, float(half))
    axes.grid(visible=False)
    return figure


def write_along(
    axes: Axes,
    equation: str,
    start: tuple[float, float],
    end: tuple[float, float],
    names: Sequence[tuple[float, float]],
    half: float,
) -> None:
    """An equation along a piece of line, where it is long enough, away from the `names` that are there already."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    if math.hypot(dx, dy) < 0.6 * half:
        return
    angle = math.degrees(math.atan2(dy, dx))
    angle -= 180 * math.ceil(angle / 180 - 0.5)
    aside = 0.055 * half
    for share in (0.6, 0.75, 0.4):
        at = (
            start[0] + share * dx - math.sin(math.radians(angle)) * aside,
            start[1] + share * dy + math.cos(math.radians(angle)) * aside,
        )
        if all(math.dist(at, other) > CLEARANCE * half for other in names):
            name(axes, at, mathtext(equation), size=12, rotation=angle)
            return


def along_boundaries(result: Softmax) -> Figure:
    """Probabilities against the distance along each boundary; a ray's line also behind its start, where it is none."""
    shown = result.boundaries[:PANELS]
    rates = [item.rate for item in shown if item.rate]
    reach = 6 / min(rates) if rates else float(EXTENT)
    figure, panels = grid(len(shown))
    for axes, item in zip(panels, shown, strict=True):
        low, high = (-reach, reach) if item.kind == "line" else (-reach / 2, reach)
        if item.end and item.start:
            low, high = 0.0, math.dist(tuple(map(float, item.start)), tuple(map(float, item.end)))
        draw_probabilities(axes, result, item.start or item.through, item.exact_direction, low, high)
        if item.kind == "ray":
            axes.axvspan(low, 0, color="0.9", zorder=0)
            axes.text(0.02, 1.03, "no boundary", size=8.5, color="0.35", transform=axes.transAxes)
            axes.axvline(0, color=MEETING_POINT, linewidth=1.4)
        first, second = item.classes
        axes.set_title(f"$C_{{{first}}}\\,|\\,C_{{{second}}}$", loc="right")
    finish(figure, result, "distance along the boundary")
    return figure


def into_regions(result: Softmax) -> Figure:
    """Probabilities against the distance along the middle of each region that reaches to infinity."""
    shown = [item for item in result.regions if item.exact_direction and item.class_ == item.tied[0]][:PANELS]
    rates = [item.rate for item in shown if item.rate]
    reach = 6 / min(rates) if rates else float(EXTENT)
    figure, panels = grid(len(shown))
    for axes, item in zip(panels, shown, strict=True):
        if item.start and item.exact_direction:
            draw_probabilities(axes, result, item.start, item.exact_direction, 0.0, reach)
        axes.set_title(f"into the region of $C_{{{item.class_}}}$")
    finish(figure, result, "distance along the middle of the region")
    return figure


def grid(count: int) -> tuple[Figure, list[Axes]]:
    """At most four panels in a row, with one scale of probability."""
    columns = min(max(count, 1), 4)
    rows = max(-(-count // columns), 1)
    figure = new_figure(max(3.3 * columns, 4.5), 2.9 * rows + 0.5)
    layout = figure.get_layout_engine()
    if isinstance(layout, ConstrainedLayoutEngine):
        layout.set(wspace=0.06, hspace=0.06)
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def draw_probabilities(axes: Axes, result: Softmax, start: Vector, direction: Vector, low: float, high: float) -> None:
    """Every class's probability along one line, the distance from `start` on the horizontal axis."""
    size = math.hypot(float(direction[0]), float(direction[1]))
    heights = [value(w, start) for w in result.weights]
    gaps = [float(height - max(heights)) for height in heights]
    growth = [float(slope(w, direction)) / size for w in result.weights]
    distance = np.linspace(low, high, SAMPLES)
    curves = np.array([probabilities([gap + up * s for gap, up in zip(gaps, growth, strict=True)]) for s in distance])
    paths = list(zip(gaps, growth, strict=True))
    for k, path in enumerate(paths):
        # Curves that coincide take turns: each is drawn in the gaps of the others.
        if curves[:, k].max() < SEEN:
            continue
        count, turn = paths.count(path), paths[:k].count(path)
        style = "-" if count == 1 else (DASH * turn, (DASH, DASH * (count - 1)))
        color = class_color(k)
        axes.plot(distance, curves[:, k], color=color, linestyle=style, dash_capstyle="butt")
    label_ends(axes, high, [(k, float(curves[-1, k])) for k in range(len(paths)) if curves[:, k].max() >= SEEN])
    axes.set(xlim=(low, high), ylim=(-0.03, 1.04), yticks=[0, 0.25, 0.5, 0.75, 1])


def label_ends(axes: Axes, x: float, ends: Sequence[tuple[int, float]]) -> None:
    """Names right of the ends of the curves (class index, height), those that end close together in one label."""
    left = sorted(ends, key=lambda end: end[1])
    while left:
        near = [end for end in left if end[1] - left[0][1] < CLOSE]
        left = left[len(near) :]
        texts = [f"$C_{{{k + 1}}}$" for k, _ in sorted(near)]
        text = ", ".join(texts[:NAMED]) + (", ..." if len(texts) > NAMED else "")
        height = sum(height for _, height in near) / len(near)
        axes.annotate(text, (x, height), (4, 0), textcoords="offset points", va="center", size=10)


def finish(figure: Figure, result: Softmax, label: str) -> None:
    """Labels and one legend for all panels."""
    figure.supxlabel(label, size=11)
    figure.supylabel("probability", size=11)
    handles = [Line2D([], [], color=class_color(k), label=f"$C_{{{k + 1}}}$") for k in range(len(result.weights))]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 8))
