"""What the figures of decision regions share: pale fills, class names, the frame around the origin."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import matplotlib.patheffects as effects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from cli726.envelope import Affine, Vector
from cli726.figures.style import COLORS

__all__ = ["HALO", "box", "class_color", "frame", "mark", "name", "pale", "within"]

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
