"""What the figures of decision regions share: a colour for each class, names, the user's point, the frame."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import matplotlib.patheffects as effects
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb, to_hex, to_rgb

from cli726.document import mathtext
from cli726.drawing import COLORS
from cli726.exact import place
from cli726.exact.envelope import Affine, Vector, value

__all__ = ["box", "class_color", "class_names", "frame", "mark", "name", "pale", "within"]

HALO = [effects.withStroke(linewidth=3, foreground="white")]
# Eight more than the house's colours, far from these and from each other; then hues a golden section apart.
MORE = ("#66BF39", "#8C0075", "#595900", "#4965F2", "#F2A0A0", "#00A5A5", "#590000", "#F249F2")
GOLDEN = 0.618


def class_color(k: int) -> str:
    """Return the colour of the class with index k; no two classes share one."""
    colors = (*COLORS, *MORE)
    return colors[k] if k < len(colors) else to_hex(tuple(hsv_to_rgb((GOLDEN * k % 1, 0.6, 0.6))))


def pale(color: str, share: float = 0.3) -> tuple[float, float, float]:
    """Return a tint, opaque, so that shapes side by side show no seam."""
    red, green, blue = to_rgb(color)
    return 1 - share * (1 - red), 1 - share * (1 - green), 1 - share * (1 - blue)


def within(center: Vector, half: Fraction) -> list[Affine]:
    """Return functions that are all >= 0 in the square around `center`."""
    one, zero = Fraction(1), Fraction(0)
    (x, y) = center
    return [(one, zero, half - x), (-one, zero, half + x), (zero, one, half - y), (zero, -one, half + y)]


def box(center: Vector, half: Fraction) -> list[Vector]:
    """Return the corners of the square around `center`."""
    return [(center[0] + i * half, center[1] + j * half) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def frame(axes: Axes, center: Vector, half: Fraction) -> None:
    """Set equal scales over the square around `center`, with labels."""
    limits = [(float(c - half), float(c + half)) for c in center]
    axes.set(xlim=limits[0], ylim=limits[1], aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    axes.spines[:].set_visible(True)
    axes.grid(visible=False)


def class_names(classes: Sequence[int]) -> str:
    """Return the names of classes that share a region: $C_{1} = C_{3}$."""
    return mathtext(" = ".join(f"C{k}" for k in classes))


def name(axes: Axes, x: float, y: float, text: str) -> None:
    """Write a label into the plane, readable on any fill."""
    axes.text(x, y, text, size=15, ha="center", va="center", path_effects=HALO, zorder=5, clip_on=True)


def mark(axes: Axes, x: Vector, center: Vector, half: Fraction) -> None:
    """Mark the point that the user asked about, or say that it lies outside: a figure never grows with it."""
    if all(value(side, x) >= 0 for side in within(center, half)):
        at = (float(x[0]), float(x[1]))
        axes.plot(*at, "X", color="black", markersize=9, markeredgecolor="white", zorder=6, clip_on=False)
        axes.annotate("$x$", at, (8, 8), textcoords="offset points", path_effects=HALO, zorder=6, annotation_clip=False)
    else:
        text = f"{mathtext(f'x = {place(x)}')} lies outside the figure"
        axes.text(0.5, 0.02, text, size=9, ha="center", transform=axes.transAxes, path_effects=HALO, zorder=6)
