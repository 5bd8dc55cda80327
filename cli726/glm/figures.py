"""Problem 2's figures: every score as a surface, all of them with their intersections, and the decision regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from matplotlib.colors import LightSource, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from cli726.document import mathtext
from cli726.drawing import BOUNDARY, new_figure
from cli726.exact import Triple
from cli726.exact.envelope import ORIGIN, Vector, edges, visible
from cli726.exact.plane import Figures, FloatArray, class_color, draw_regions, pale, reaching, within
from cli726.glm import QUADRANT, Glm, Place, affine

# Half the width of the axes where no boundary says what matters.
EXTENT = Fraction(3)
# Faces of a surface along each axis, and the colour of the mesh on them.
CELLS, MESH = 40, (1, 1, 1, 0.5)
SAMPLES = 121


def figures(result: Glm, extent: Fraction | None = None, at: Place | None = None) -> Figures:
    """Return file stem -> how to draw it."""
    every = range(1, len(result.weights) + 1)
    made: Figures = {f"y{k}": partial(surfaces, result, [k], extent) for k in every}
    made["surfaces"] = partial(surfaces, result, every, extent)
    return made | {"regions": partial(regions, result, extent, at)}


def window(result: Glm, at: Place | None = None) -> Fraction:
    """Return half the width of the axes: twice as far as boundaries begin, in round numbers; more for a near point."""
    found = edges([affine(w) for w in result.weights], QUADRANT)
    furthest = max((max(corner) for edge in found for corner in (edge.start, edge.end) if corner), default=Fraction(0))
    half = Fraction(f"{2 * math.sqrt(furthest):.1g}") if furthest else EXTENT
    return reaching(at, ORIGIN, half)


def squares(half: Fraction) -> tuple[Vector, Fraction]:
    """Return centre and half the width of the square of squares [0, half^2]^2."""
    return (half**2 / 2, half**2 / 2), half**2 / 2


def mirrored(points: Sequence[Vector]) -> list[FloatArray]:
    """Return the points whose squares lie on a polygon or piece of line, in each quadrant: closest together at corners,
    where square roots are steep.
    """
    share = (1 - np.cos(np.linspace(0, np.pi, SAMPLES)))[:, None] / 2
    corners = np.array(points, dtype=float)
    ends = np.roll(corners, -1, axis=0) if len(corners) > 2 else corners[1:]
    sides = [(1 - share) * a + share * b for a, b in zip(corners, ends, strict=False)] or [corners]
    outline = np.sqrt(np.clip(np.concatenate(sides), 0, None))
    return [outline * signs for signs in ((1, 1), (-1, 1), (-1, -1), (1, -1))]


def regions(result: Glm, extent: Fraction | None = None, at: Place | None = None) -> Figure:
    """Draw the decision regions on [-extent, extent]^2 with their boundaries in red."""
    half = extent or window(result, at)
    functions, owners = [affine(w) for w in result.weights], [item.tied for item in result.inhabited]
    found = edges(functions, QUADRANT)
    figure, axes = draw_regions(functions, owners, found, squares(half), (ORIGIN, half), mirrored, at)
    if len(result.boundaries) == 1 and not axes.get_title():
        (conic,) = result.boundaries
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
    axes.set(xlim=side, ylim=side, zlim=(low - margin, high + margin), xlabel="$x_1$", ylabel="$x_2$", zlabel="score")
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.view_init(elev=32, azim=-60)
    axes.set_box_aspect((1, 1, 0.75), zoom=1.08)
    grids = [np.stack([x1, x2, heights[k - 1]], axis=-1) for k in classes]  # (CELLS + 1, CELLS + 1, 3) each
    cells = [np.stack([g[:-1, :-1], g[:-1, 1:], g[1:, 1:], g[1:, :-1]], axis=2).reshape(-1, 4, 3) for g in grids]
    tints = [to_rgba(pale(class_color(k - 1), 0.7), 0.75) for k in classes]
    # One collection, so that the nearer face hides the farther one where surfaces intersect.
    faces = {
        "facecolors": np.repeat(tints, CELLS**2, axis=0),
        "edgecolors": MESH,
        "linewidth": 0.25,
        "shade": True,
        "lightsource": LightSource(45, 80),
    }
    axes.add_collection3d(Poly3DCollection(np.concatenate(cells), **faces))
    if len(classes) == 1:
        axes.set(zlabel=f"$y_{{{classes[0]}}}$")
        axes.set_title(mathtext(f"y{classes[0]} = {result.surfaces[classes[0] - 1].formula}"))
        return figure
    handles: list[Patch | Line2D] = [Patch(color=class_color(k - 1), label=f"$y_{{{k}}}$") for k in classes]
    functions = [affine(w) for w in result.weights]
    for edge in edges(functions, QUADRANT):
        ends = visible(functions, edge, within(*squares(half)))
        for curve in mirrored(ends) if ends else ():
            axes.plot(
                *curve.T, score(result.weights[edge.owners[0]], *curve.T), color=BOUNDARY, linewidth=2.6, zorder=10
            )
    if axes.lines:
        handles.append(Line2D([], [], color=BOUNDARY, linewidth=2.6, label="equal scores"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    return figure


def score(weights: Triple, x1: FloatArray, x2: FloatArray) -> FloatArray:
    """Return a score at points, coordinates of any one shape."""
    w0, w1, w2 = map(float, weights)
    result: FloatArray = w0 + w1 * x1**2 + w2 * x2**2
    return result
