"""Problem 2's figures: every score as a surface, all of them with their intersections, and the decision regions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from cli726.document import mathtext
from cli726.drawing import BOUNDARY, new_figure
from cli726.exact import Triple
from cli726.exact.envelope import ORIGIN, Vector, edges, visible
from cli726.exact.plane import FloatArray, class_color, draw_regions, reaching, within
from cli726.glm import QUADRANT, Glm, Place, affine

__all__ = ["figures", "regions", "surfaces", "window"]

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
    return reaching(at.exact if at else None, ORIGIN, half)


def squares(half: Fraction) -> tuple[Vector, Fraction]:
    """Return centre and half the width of the square of squares [0, half^2]^2."""
    return (half**2 / 2, half**2 / 2), half**2 / 2


def mirrored(points: Sequence[Vector]) -> list[FloatArray]:
    """Return the points whose squares lie on a polygon or piece of line, in each quadrant: closest together at corners,
    where square roots are steep.
    """
    share = (1 - np.cos(np.linspace(0, np.pi, SAMPLES)))[:, None] / 2
    corners = np.array(points, dtype=float).reshape(-1, 2)
    ends = np.roll(corners, -1, axis=0) if len(corners) > 2 else corners[1:]
    sides = [(1 - share) * a + share * b for a, b in zip(corners, ends, strict=False)] or [corners]
    outline = np.sqrt(np.clip(np.concatenate(sides), 0, None))
    return [outline * signs for signs in ((1, 1), (-1, 1), (-1, -1), (1, -1))] if points else []


def regions(result: Glm, extent: Fraction | None = None, at: Place | None = None) -> Figure:
    """Draw the decision regions on [-extent, extent]^2 with their boundaries in red."""
    half = extent or window(result, at)
    functions = [affine(w) for w in result.weights]
    owners = [item.tied for item in result.regions if not item.empty and item.class_ == item.tied[0]]
    found, point = edges(functions, QUADRANT), at.exact if at else None
    figure, axes = draw_regions(functions, owners, found, squares(half), (ORIGIN, half), mirrored, point)
    if len(result.boundaries) == 1 and not axes.get_title():
        conic = result.boundaries[0]
        axes.set_title(f"{conic.conic} {mathtext(conic.equation)}", color=BOUNDARY)
    return figure


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
    functions = [affine(w) for w in result.weights]
    for edge in edges(functions, QUADRANT):
        for curve in mirrored(visible(functions, edge, within(*squares(half)))):
            height = score(result.weights[edge.owners[0]], *curve.T)
            axes.plot(*curve.T, height, color=BOUNDARY, linewidth=2.6, zorder=10)
    if axes.lines:
        handles.append(Line2D([], [], color=BOUNDARY, linewidth=2.6, label="equal scores"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    axes.set_zlabel("score")
    return figure


def score(weights: Triple, x1: FloatArray, x2: FloatArray) -> FloatArray:
    """Return a score at points, coordinates of any one shape."""
    w0, w1, w2 = map(float, weights)
    result: FloatArray = w0 + w1 * x1**2 + w2 * x2**2
    return result


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
