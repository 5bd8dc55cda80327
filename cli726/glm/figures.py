"""Problem 2's figures: every score as a surface, all of them with their intersections, and the decision regions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from cli726.document import mathtext
from cli726.drawing import BOUNDARY, new_figure
from cli726.exact import Triple
from cli726.exact.envelope import ORIGIN, Vector, edges, highest, mean, minus, polygon, visible
from cli726.exact.plane import box, class_color, class_names, frame, mark, name, pale, within
from cli726.glm import QUADRANT, Boundary, Glm, Place, affine

__all__ = ["figures", "regions", "surfaces", "window"]

FloatArray: TypeAlias = npt.NDArray[np.float64]

# Half the width of the axes where no boundary says what matters.
EXTENT = Fraction(3)
CELLS = 40
SAMPLES = 121
# Where the light comes from, how pale it makes a face, how opaque faces are, and the colour of the mesh on them.
LIGHT, PALEST, ALPHA, MESH = (-1.0, -0.6, 0.8), 0.65, 0.72, (1, 1, 1, 0.5)


def figures(result: Glm, extent: Fraction | None = None, at: Place | None = None) -> dict[str, Callable[[], Figure]]:
    """Return file stem -> how to draw it."""
    made: dict[str, Callable[[], Figure]] = {
        f"y{item.class_}": partial(surfaces, result, [item.class_], extent) for item in result.surfaces
    }
    every = [item.class_ for item in result.surfaces]
    return made | {
        "surfaces": partial(surfaces, result, every, extent), "regions": partial(regions, result, extent, at),
    }  # fmt: skip


def window(result: Glm, at: Place | None = None) -> Fraction:
    """Return half the width of the axes: twice as far as boundaries begin, in round numbers; more for a near point."""
    found = edges([affine(w) for w in result.weights], QUADRANT)
    furthest = max((max(corner) for edge in found for corner in (edge.start, edge.end) if corner), default=Fraction(0))
    half = Fraction(f"{2 * math.sqrt(furthest):.1g}") if furthest else EXTENT
    reach = max(map(abs, at.exact)) if at else half
    return reach * Fraction(6, 5) if half < reach <= 10 * half else half


def score(weights: Triple, x1: FloatArray, x2: FloatArray) -> FloatArray:
    """Return a score at points, coordinates of any one shape."""
    w0, w1, w2 = map(float, weights)
    result: FloatArray = w0 + w1 * x1**2 + w2 * x2**2
    return result


def square(half: Fraction) -> tuple[Vector, Fraction]:
    """Return centre and half the width of the square of squares [0, half^2]^2."""
    middle = half**2 / 2
    return (middle, middle), middle


def arcs(result: Glm, half: Fraction) -> Iterator[tuple[Boundary, list[tuple[FloatArray, FloatArray]]]]:
    """Yield each boundary between regions with its curve's pieces in the quadrants, coordinates of shape (SAMPLES,)."""
    by_classes = {item.classes: item for item in result.boundaries}
    functions = [affine(w) for w in result.weights]
    for edge in edges(functions, QUADRANT):
        first, second = edge.owners
        ends = visible(functions, edge, within(*square(half)))
        if ends:
            u, v = sampled(*ends)
            pieces = [(i * np.sqrt(u), j * np.sqrt(v)) for i in (1, -1) for j in (1, -1)]
            yield by_classes[first + 1, second + 1], pieces


def sampled(start: Sequence[Fraction], end: Sequence[Fraction]) -> tuple[FloatArray, FloatArray]:
    """Return points of a segment in the plane of squares, closest at its ends, where square roots are steep."""
    share = (1 - np.cos(np.linspace(0, np.pi, SAMPLES))) / 2
    u, v = (np.clip((1 - share) * float(a) + share * float(b), 0, None) for a, b in zip(start, end, strict=True))
    return u, v


def regions(result: Glm, extent: Fraction | None = None, at: Place | None = None) -> Figure:
    """Draw the decision regions on [-extent, extent]^2 with their boundaries in red."""
    half = extent or window(result, at)
    figure = new_figure(6.2, 5.8)
    axes = figure.subplots()
    functions = [affine(w) for w in result.weights]
    for item in result.regions:
        k = item.class_ - 1
        if item.empty or item.class_ != item.tied[0]:
            continue
        corners = polygon([minus(functions[k], other) for other in functions], box(*square(half)))
        if len(set(corners)) > 2:
            axes.add_patch(PathPatch(mirrored(corners), color=pale(class_color(k)), linewidth=0.7))
            middle = highest(functions, ORIGIN) == tuple(j - 1 for j in item.tied)
            u, v = ORIGIN if middle else mean(corners)
            name(axes, math.sqrt(u), math.sqrt(v), class_names(item.tied))
    drawn = list(arcs(result, half))
    for _, pieces in drawn:
        for x1, x2 in pieces:
            axes.plot(x1, x2, color=BOUNDARY, linewidth=2.4, solid_capstyle="round", zorder=3)
    if not drawn:
        axes.set_title("no boundary in the figure")
    elif len(result.boundaries) == 1:
        conic = result.boundaries[0]
        axes.set_title(f"{conic.conic} {mathtext(conic.equation)}", color=BOUNDARY)
    frame(axes, ORIGIN, half)
    if at:
        mark(axes, at.exact, ORIGIN, half)
    return figure


def mirrored(corners: Sequence[Vector]) -> Path:
    """Return the set of points whose squares lie in a polygon: its image in each quadrant."""
    sides = [sampled(a, b) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)]
    outline = np.column_stack([np.sqrt(np.concatenate(values)) for values in zip(*sides, strict=True)])
    images = [Path(outline * np.array(signs), closed=True) for signs in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    return Path.make_compound_path(*images)


def surfaces(result: Glm, classes: Sequence[int], extent: Fraction | None = None) -> Figure:
    """Draw the scores of some classes (from 1) on a scale that fits all, the curves above the boundaries in red."""
    half = extent or window(result)
    figure = new_figure(6.0, 4.9)
    axes = figure.add_subplot(projection="3d", computed_zorder=False)
    x1, x2 = np.meshgrid(*[np.linspace(-float(half), float(half), CELLS + 1)] * 2)
    heights = [score(w, x1, x2) for w in result.weights]
    low, high = float(np.min(heights)), float(np.max(heights))
    margin = 0.04 * (high - low) or 1.0
    side = (-float(half), float(half))
    axes.set(xlim=side, ylim=side, zlim=(low - margin, high + margin), xlabel="$x_1$", ylabel="$x_2$")
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.view_init(elev=32, azim=-60)
    axes.set_box_aspect((1, 1, 0.75), zoom=1.08)
    lit = [faces(x1, x2, heights[k - 1], class_color(k - 1), high - low + 2 * margin) for k in classes]
    cells, colors = (np.concatenate(parts) for parts in zip(*lit, strict=True))
    # One collection, so that the nearer face hides the farther one where surfaces intersect.
    axes.add_collection3d(Poly3DCollection(cells, facecolors=colors, edgecolors=MESH, linewidth=0.25))
    if len(classes) == 1:
        axes.set_zlabel(f"$y_{{{classes[0]}}}$")
        axes.set_title(mathtext(f"y{classes[0]} = {result.surfaces[classes[0] - 1].formula}"))
        return figure
    handles: list[Patch | Line2D] = [Patch(color=class_color(k - 1), label=f"$y_{{{k}}}$") for k in classes]
    for boundary, pieces in arcs(result, half):
        for along1, along2 in pieces:
            above = score(result.weights[boundary.classes[0] - 1], along1, along2)
            axes.plot(along1, along2, above, color=BOUNDARY, linewidth=2.6, zorder=10)
    if axes.lines:
        handles.append(Line2D([], [], color=BOUNDARY, linewidth=2.6, label="equal scores"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    axes.set_zlabel("score")
    return figure


def faces(x1: FloatArray, x2: FloatArray, height: FloatArray, color: str, tall: float) -> tuple[FloatArray, FloatArray]:
    """Return the faces of a surface, shape (CELLS^2, 4, 3), and their colours, the paler, the more they face the light.

    Args:
        tall: Height of the axes.
    """
    grid = np.stack([x1, x2, height], axis=-1)  # (CELLS + 1, CELLS + 1, 3)
    cells = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=2).reshape(-1, 4, 3)
    sides = cells / (x1.max(), x2.max(), tall)
    normals = np.cross(sides[:, 1] - sides[:, 0], sides[:, 3] - sides[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    brightness = (1 + normals @ (np.array(LIGHT) / np.linalg.norm(LIGHT))) / 2
    plain = np.array(to_rgb(color))
    mixed = plain + PALEST * brightness[:, None] * (1 - plain)
    return cells, np.column_stack([mixed, np.full(len(cells), ALPHA)])
