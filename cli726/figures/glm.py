"""Problem 2's figures: every score as a surface, all of them with their intersections, and the decision regions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from cli726.drawing import BOUNDARY, new_figure
from cli726.envelope import Vector, edges, highest, minus, polygon, visible
from cli726.exact import Triple
from cli726.figures.plane import FloatArray, box, centroid, class_color, frame, mark, mathtext, name, pale, within
from cli726.glm import Glm
from cli726.glm_regions import QUADRANT, Boundary, Place, affine, formula

__all__ = ["all_surfaces", "regions", "surface"]

# Half the width of the axes where no boundary says what matters.
EXTENT = Fraction(3)
CELLS = 40
SAMPLES = 121
# Where the light comes from, how pale it makes a face, how opaque faces are, and the colour of the mesh on them.
LIGHT, PALEST, ALPHA, MESH = (-1.0, -0.6, 0.8), 0.65, 0.72, (1, 1, 1, 0.5)
ORIGIN = (Fraction(0), Fraction(0))


def window(result: Glm, at: Place | None = None) -> Fraction:
    """Twice as wide as the boundaries' characteristic points, in round numbers."""
    functions = [affine(w) for w in result.weights]
    corners = [corner for edge in edges(functions, QUADRANT) for corner in (edge.start, edge.end) if corner]
    furthest = math.sqrt(max((float(max(corner)) for corner in corners), default=0.0))
    half = Fraction(f"{2 * furthest:.1g}") if furthest else EXTENT
    point = max(map(abs, at.x)) if at else 0.0
    return half if point <= half else Fraction(1.2 * point)


def score(weights: Triple, x1: FloatArray, x2: FloatArray) -> FloatArray:
    """A score at points, coordinates of any one shape."""
    w0, w1, w2 = map(float, weights)
    result: FloatArray = w0 + w1 * x1**2 + w2 * x2**2
    return result


def arcs(result: Glm, half: Fraction) -> Iterator[tuple[Boundary, list[tuple[FloatArray, FloatArray]]]]:
    """Each boundary between regions, as its curve's pieces in the four quadrants, coordinates of shape (SAMPLES,)."""
    functions = [affine(w) for w in result.weights]
    by_classes = {item.classes: item for item in result.boundaries}
    for edge in edges(functions, QUADRANT):
        first, second = edge.owners
        ends = visible(edge.through, edge.direction, edge.start, edge.end, within(Fraction(0), half**2))
        if ends:
            u, v = sampled(ends[0], ends[1])
            pieces = [(i * np.sqrt(u), j * np.sqrt(v)) for i in (1, -1) for j in (1, -1)]
            yield by_classes[first + 1, second + 1], pieces


def sampled(start: Sequence[Fraction], end: Sequence[Fraction]) -> tuple[FloatArray, FloatArray]:
    """Points of a segment in the plane of squares, closest at its ends, where square roots are steep."""
    share = (1 - np.cos(np.linspace(0, np.pi, SAMPLES))) / 2
    u, v = (np.clip((1 - share) * float(a) + share * float(b), 0, None) for a, b in zip(start, end, strict=True))
    return u, v


def regions(result: Glm, extent: Fraction | None = None, at: Place | None = None) -> Figure:
    """The decision regions on [-extent, extent]^2 with their boundaries in red."""
    half = extent or window(result, at)
    figure = new_figure(6.2, 5.8)
    axes = figure.subplots()
    functions = [affine(w) for w in result.weights]
    for item in result.regions:
        k = item.class_ - 1
        if item.empty or item.class_ != item.tied[0]:
            continue
        corners = polygon([minus(functions[k], other) for other in functions], box(Fraction(0), half**2))
        if len(corners) < 3:
            continue
        axes.add_patch(PathPatch(mirrored(corners), color=pale(class_color(k)), linewidth=0.7))
        at_origin = highest(functions, ORIGIN) == tuple(j - 1 for j in item.tied)
        label = " = ".join(f"$C_{{{j}}}$" for j in item.tied)
        name(axes, label_place(corners, at_origin=at_origin), label)
    for boundary, pieces in arcs(result, half):
        for x1, x2 in pieces:
            axes.plot(x1, x2, color=BOUNDARY, linewidth=2.4, solid_capstyle="round", zorder=3)
        if len(result.boundaries) == 1:
            axes.set_title(f"{boundary.conic} {mathtext(boundary.equation)}", color=BOUNDARY)
    if at:
        mark(axes, at.x, "$x$")
    frame(axes, float(half))
    axes.grid(visible=False)
    return figure


def label_place(corners: Sequence[Vector], *, at_origin: bool) -> tuple[float, float]:
    """A place inside the set of points whose squares lie in a polygon: on an axis of symmetry, if it can be."""
    if at_origin:
        return 0.0, 0.0
    for axis in (0, 1):
        on = [math.sqrt(corner[axis]) for corner in corners if corner[1 - axis] == 0]
        if len(on) > 1:
            middle = (min(on) + max(on)) / 2
            return (middle, 0.0) if axis == 0 else (0.0, middle)
    u, v = centroid(np.array(corners, dtype=float))
    return math.sqrt(u), math.sqrt(v)


def mirrored(corners: Sequence[Sequence[Fraction]]) -> Path:
    """The set of points whose squares lie in a polygon: its image in each quadrant."""
    sides = [sampled(a, b) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)]
    outline = np.column_stack([np.sqrt(np.concatenate(values)) for values in zip(*sides, strict=True)])
    images = [Path(outline * np.array(signs), closed=True) for signs in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    return Path.make_compound_path(*images)


def surface(result: Glm, k: int, extent: Fraction | None = None) -> Figure:
    """The graph of the score of class k (from 1), on the same scales as the other classes' graphs."""
    half = float(extent or window(result))
    figure = new_figure(6.0, 4.9)
    axes = space(figure, result, half)
    add_surfaces(axes, [(result.weights[k - 1], class_color(k - 1))], half)
    axes.set_zlabel(f"$y_{{{k}}}$")
    axes.set_title(mathtext(f"y_{{{k}}} = {formula(result.weights[k - 1], exact=False)}"))
    return figure


def all_surfaces(result: Glm, extent: Fraction | None = None) -> Figure:
    """All scores together, the curves above the boundaries in red."""
    half = extent or window(result)
    figure = new_figure(6.0, 4.9)
    axes = space(figure, result, float(half))
    add_surfaces(axes, [(w, class_color(k)) for k, w in enumerate(result.weights)], float(half))
    drawn = False
    for boundary, pieces in arcs(result, half):
        for x1, x2 in pieces:
            height = score(result.weights[boundary.classes[0] - 1], x1, x2)
            axes.plot(x1, x2, height, color=BOUNDARY, linewidth=2.6, zorder=10)
            drawn = True
    handles: list[Patch | Line2D] = [
        Patch(color=class_color(k), label=f"$y_{{{k + 1}}}$") for k in range(len(result.weights))
    ]
    if drawn:
        handles.append(Line2D([], [], color=BOUNDARY, linewidth=2.6, label="equal scores"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    axes.set_zlabel("score")
    return figure


def space(figure: Figure, result: Glm, half: float) -> Axes3D:
    """Axes wide enough for all surfaces."""
    axes = figure.add_subplot(projection="3d", computed_zorder=False)
    ends = np.array([0.0, half])
    x1, x2 = np.meshgrid(ends, ends)
    heights = np.concatenate([score(w, x1, x2).ravel() for w in result.weights])
    low, high = float(heights.min()), float(heights.max())
    margin = 0.04 * (high - low) or 1.0
    axes.set(xlim=(-half, half), ylim=(-half, half), zlim=(low - margin, high + margin))
    axes.set(xlabel="$x_1$", ylabel="$x_2$")
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.view_init(elev=32, azim=-60)
    axes.set_box_aspect((1, 1, 0.75), zoom=1.08)
    return axes


def add_surfaces(axes: Axes3D, shown: Sequence[tuple[Triple, str]], half: float) -> None:
    """Draw surfaces as one collection, so that the nearer face hides the farther one where they intersect."""
    ticks = np.linspace(-half, half, CELLS + 1)
    x1, x2 = np.meshgrid(ticks, ticks)
    low, high = axes.get_zlim()
    faces, colors = [], []
    for weights, color in shown:
        grid = np.stack([x1, x2, score(weights, x1, x2)], axis=-1)  # (CELLS + 1, CELLS + 1, 3)
        corners = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=2)
        cells = corners.reshape(-1, 4, 3)  # (CELLS^2, 4, 3)
        faces.append(cells)
        colors.append(lit(cells / (half, half, high - low), color))
    axes.add_collection3d(
        Poly3DCollection(np.concatenate(faces), facecolors=np.concatenate(colors), edgecolors=MESH, linewidth=0.25)
    )


def lit(cells: FloatArray, color: str) -> FloatArray:
    """A colour for each face, shape (n, 4, 3) to (n, 4): the paler, the more it faces the light; half transparent."""
    normals = np.cross(cells[:, 1] - cells[:, 0], cells[:, 3] - cells[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    brightness = (1 + normals @ (np.array(LIGHT) / np.linalg.norm(LIGHT))) / 2
    plain = np.array(to_rgb(color))
    mixed = plain + PALEST * brightness[:, None] * (1 - plain)
    return np.column_stack([mixed, np.full(len(cells), ALPHA)])
