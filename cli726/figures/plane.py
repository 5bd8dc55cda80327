"""What the figures of decision regions share: pale fills, class names, the frame around the origin."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import matplotlib.patheffects as effects
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from cli726.drawing import COLORS
from cli726.envelope import Affine, Vector

__all__ = ["FloatArray", "box", "centroid", "class_color", "frame", "mark", "mathtext", "name", "pale", "within"]

FloatArray: TypeAlias = npt.NDArray[np.float64]

HALO = [effects.withStroke(linewidth=3, foreground="white")]


def class_color(k: int) -> str:
    """The colour of the class with index k."""
    return COLORS[k % len(COLORS)]


def pale(color: str, share: float = 0.25) -> tuple[float, float, float]:
    """A tint, opaque, so that shapes side by side show no seam."""
    red, green, blue = to_rgb(color)
    return 1 - share * (1 - red), 1 - share * (1 - green), 1 - share * (1 - blue)


def box(low: Fraction, high: Fraction) -> list[Vector]:
    """The corners of the square [low, high]^2."""
    return [(low, low), (high, low), (high, high), (low, high)]


def within(low: Fraction, high: Fraction) -> list[Affine]:
    """Functions that are all >= 0 in the square [low, high]^2."""
    one, zero = Fraction(1), Fraction(0)
    return [(one, zero, -low), (-one, zero, high), (zero, one, -low), (zero, -one, high)]


def frame(axes: Axes, extent: float) -> None:
    """Equal scales from -extent to extent, with labels."""
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    axes.spines[:].set_visible(True)


def name(axes: Axes, x: Sequence[float], text: str, *, size: float = 15, rotation: float = 0) -> None:
    """A label in the plane, readable on any fill."""
    axes.text(
        x[0], x[1], text, size=size, rotation=rotation, ha="center", va="center", path_effects=HALO, zorder=5,
        clip_on=True, rotation_mode="anchor",
    )  # fmt: skip


def mark(axes: Axes, x: Sequence[float], text: str) -> None:
    """The point that the user asked about."""
    axes.plot(x[0], x[1], "X", color="black", markersize=9, markeredgecolor="white", zorder=6, clip_on=False)
    axes.annotate(text, (x[0], x[1]), (8, 8), textcoords="offset points", path_effects=HALO, zorder=6)


def mathtext(formula: str) -> str:
    """A formula in x1 and x2 as Matplotlib typesets it."""
    return f"${formula.replace('x1', 'x_1').replace('x2', 'x_2')}$"


def centroid(outline: FloatArray) -> tuple[float, float]:
    """The centroid of a polygon, corners of shape (n, 2)."""
    x, y = outline[:, 0], outline[:, 1]
    after_x, after_y = np.roll(x, -1), np.roll(y, -1)
    cross = x * after_y - after_x * y
    area = cross.sum() / 2
    if area == 0:
        return float(x.mean()), float(y.mean())
    return float(((x + after_x) * cross).sum() / (6 * area)), float(((y + after_y) * cross).sum() / (6 * area))
