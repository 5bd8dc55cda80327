"""The conics p x1^2 + q x2^2 + c = 0, classified exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from cli726.exact import equation, root

__all__ = ["SQUARES", "Conic", "classify", "describe"]

SQUARES = ("x1^2", "x2^2")
CENTER = (0.0, 0.0)


@dataclass(frozen=True)
class Conic:
    """The points at which p x1^2 + q x2^2 + c = 0.

    Attributes:
        equation: In smallest integers.
        conic: "circle", "ellipse", "hyperbola", "crossing lines", "parallel lines", "double line", "point", "nothing"
            or "everything".
        center: The one centre of symmetry; None where there is none or more than one.
        radius: Of a circle.
        axes: Semi-axes along x1 and x2 of an ellipse or hyperbola.
        exact: The radius, the semi-axes or half the distance of parallel lines, exactly: "1", "sqrt(3/2)".
        opens: The axis that a hyperbola crosses, "x1" or "x2".
        lines: The equations of the lines that the conic consists of.
    """

    equation: str
    conic: str
    center: tuple[float, float] | None = None
    radius: float | None = None
    axes: tuple[float, float] | None = None
    exact: tuple[str, ...] = ()
    opens: str | None = None
    lines: tuple[str, ...] = ()


def classify(p: Fraction, q: Fraction, c: Fraction) -> Conic:
    """Name, centre and size of p x1^2 + q x2^2 + c = 0, by the signs of the exact coefficients."""
    text = equation((p, q), SQUARES, c)
    if p == q == 0:
        return Conic(text, "nothing" if c else "everything")
    if p == 0 or q == 0:
        return of_one_variable(text, "x1" if p else "x2", -c / (p or q))
    if c == 0:
        if p * q > 0:
            return Conic(text, "point", center=CENTER)
        steep = root(-p / q)
        right = "x1" if steep == "1" else f"{steep} x1"
        return Conic(text, "crossing lines", center=CENTER, lines=(f"x2 = {right}", f"x2 = -{right}"))
    first, second = -c / p, -c / q
    if first < 0 and second < 0:
        return Conic(text, "nothing")
    exact = (root(abs(first)), root(abs(second)))
    axes = (math.sqrt(abs(first)), math.sqrt(abs(second)))
    if p * q < 0:
        return Conic(text, "hyperbola", CENTER, axes=axes, exact=exact, opens="x1" if first > 0 else "x2")
    if p == q:
        return Conic(text, "circle", CENTER, radius=axes[0], exact=exact[:1])
    return Conic(text, "ellipse", CENTER, axes=axes, exact=exact)


def of_one_variable(text: str, name: str, square: Fraction) -> Conic:
    """The points at which the square of one coordinate has a given value."""
    if square < 0:
        return Conic(text, "nothing")
    if square == 0:
        return Conic(text, "double line", lines=(f"{name} = 0",))
    size = root(square)
    return Conic(text, "parallel lines", exact=(size,), lines=(f"{name} = {size}", f"{name} = -{size}"))


def describe(item: Conic) -> str:
    """A conic's centre and size in words."""
    if item.radius is not None:
        return f"centre (0, 0), radius {item.exact[0]}" + approximately(item.exact[0], item.radius)
    if item.axes:
        along = [f"{text}{approximately(text, size)}" for text, size in zip(item.exact, item.axes, strict=True)]
        opens = f", opening along {item.opens}" if item.opens else ""
        return f"centre (0, 0), semi-axes {along[0]} along x1 and {along[1]} along x2{opens}"
    if item.lines:
        return " and ".join(item.lines)
    return "the origin" if item.conic == "point" else ""


def approximately(exact: str, size: float) -> str:
    return "" if exact == f"{size:.4g}" else f" = {size:.4g}"
