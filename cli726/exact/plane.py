"""The figure of decision regions: a colour for each class, boundaries in red, the user's point or a word about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import matplotlib.patheffects as effects
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb, to_hex, to_rgb
from matplotlib.figure import Figure

from cli726.document import mathtext
from cli726.drawing import BOUNDARY, COLORS, new_figure
from cli726.exact import named, place
from cli726.exact.envelope import ORIGIN, Affine, Edge, Spot, Vector, highest, mean, minus, polygon, value, visible

# File stem -> how to draw it.
Figures = dict[str, Callable[[], Figure]]
FloatArray = npt.NDArray[np.float64]
Square = tuple[Vector, Fraction]  # centre, half the width
# Where points of the plane of the affine functions are drawn: a polygon or a piece of line as outlines of shape (n, 2).
Image = Callable[[Sequence[Vector]], list[FloatArray]]

HALO = [effects.withStroke(linewidth=3, foreground="white")]


def class_color(k: int) -> str:
    """Return the colour of the class with index k: after the house's colours hues far from their neighbours'."""
    more = hsv_to_rgb(((0.55 * k + 0.3) % 1, 0.9, (0.65, 1.0)[k % 2]))
    return COLORS[k] if k < len(COLORS) else to_hex(tuple(more))


def pale(color: str, share: float = 0.3) -> str:
    """Return a tint, opaque, so that shapes side by side show no seam."""
    red, green, blue = (1 - share * (1 - part) for part in to_rgb(color))
    return to_hex((red, green, blue))


def within(center: Vector, half: Fraction) -> list[Affine]:
    """Return functions that are all >= 0 in the square around `center`."""
    (x, y), one, zero = center, Fraction(1), Fraction(0)
    return [(one, zero, half - x), (-one, zero, half + x), (zero, one, half - y), (zero, -one, half + y)]


def reaching(at: Spot | None, center: Vector, half: Fraction) -> Fraction:
    """Return half the width of the axes, larger where the user's point lies outside, but not far away."""
    reach = max(abs(at.exact[0] - center[0]), abs(at.exact[1] - center[1])) if at else half
    return reach * Fraction(6, 5) if half < reach <= 10 * half else half


def draw_regions(
    functions: Sequence[Affine], owners: Iterable[Sequence[int]], found: Iterable[Edge], plane: Square, frame: Square,
    image: Image, at: Spot | None,
) -> tuple[Figure, Axes]:  # fmt: skip
    """Draw the regions in which functions are the largest, with their names, and the edges between them.

    Args:
        owners: The classes that share a region, from 1, for each region with an area.
        found: The edges.
        plane, frame: The square to be seen, in the functions' plane and in the figure.
        image: From the one to the other.
        at: The user's point, in the figure.
    """
    (x, y), half = plane
    box = [(x + i * half, y + j * half) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    figure = new_figure(6.2, 5.8)
    axes = figure.subplots()
    for tied in owners:
        k = tied[0] - 1
        corners = polygon([minus(functions[k], other) for other in functions], box)
        if len(set(corners)) > 2:
            pieces = image(corners)
            for outline in pieces:
                axes.fill(*outline.T, color=pale(class_color(k)), linewidth=0.7)
            # Where the region comes in mirror images, the middle of all, if that belongs to it.
            middle = len(pieces) > 1 and highest(functions, ORIGIN) == tuple(j - 1 for j in tied)
            x, y = image([ORIGIN if middle else mean(corners)])[0][0]
            text = mathtext(named(tied, " = "))
            axes.text(x, y, text, size=15, ha="center", va="center", path_effects=HALO, zorder=5, clip_on=True)
    for edge in found:
        ends = visible(functions, edge, within(*plane))
        for curve in image(ends) if ends else ():
            axes.plot(*curve.T, color=BOUNDARY, linewidth=2.4, solid_capstyle="round", zorder=3)
    if not axes.lines:
        axes.set_title("no boundary in the figure")
    (left, right), (low, high) = [(float(c - frame[1]), float(c + frame[1])) for c in frame[0]]
    axes.set(xlim=(left, right), ylim=(low, high), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    axes.spines[:].set_visible(True)
    axes.grid(visible=False)
    if at and all(value(side, at.exact) >= 0 for side in within(*frame)):
        axes.plot(*at.x, "X", color="black", markersize=9, markeredgecolor="white", zorder=6, clip_on=False)
        axes.annotate("$x$", at.x, (8, 8), textcoords="offset points", path_effects=HALO, annotation_clip=False)
    elif at:  # a figure never grows with the user's point
        text = mathtext(f"x = {place(at.exact)}") + " lies outside the figure"
        axes.text(0.5, 0.02, text, size=9, ha="center", transform=axes.transAxes, path_effects=HALO, zorder=6)
    return figure, axes
