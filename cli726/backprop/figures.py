"""Problem 3's figure: the network in the assignment's notation, and the way that each delta comes from the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from cli726.backprop import Backprop, Variable, asked
from cli726.backprop.findings import formula, left_side, output, symbol, typed
from cli726.document import mathtext
from cli726.drawing import COLORS, new_figure

# The error's way, and the weight whose derivative follows.
ORANGE, BLUE = COLORS[5], COLORS[0]
FAINT, PLAIN = "#CCCCCC", "#555555"
MOST_UNITS, MOST_LAYERS = 5, 6
RADIUS, PITCH, INCHES = 0.35, 1.7, 0.82
CENTERED: Any = {"ha": "center", "va": "center", "fontsize": 13}


class Layout(NamedTuple):
    """Columns of the layers, places of the units that are drawn, (layer, unit) -> (x, y), and dots for all others."""

    sizes: tuple[int, ...]
    columns: dict[int, float]
    places: dict[tuple[int, int], tuple[float, float]]
    dots: list[tuple[float, float, str]]
    right: float
    height: float


def shown(count: int, most: int, tail: int) -> list[int]:
    """Return the numbers from 1 to `count`, or the first and the `tail` last of them around a 0."""
    every = list(range(1, count + 1))
    return every if count <= most else [*every[: most - tail - 1], 0, *every[-tail:]]


def layout(sizes: tuple[int, ...]) -> Layout:
    """Return columns of units, the first at the top, with gaps where layers or units are left out."""
    columns: dict[int, float] = {}
    places, dots, x = {}, [], 0.0
    for layer in shown(len(sizes), MOST_LAYERS, 3):
        if not layer:
            dots.append((x - 0.55, 0.0, r"$\cdots$"))
            x += 0.6
            continue
        columns[layer] = x
        units = shown(sizes[layer - 1], MOST_UNITS, 1)
        for row, unit in enumerate(units):
            y = (len(units) - 1) / 2 - row
            if unit:
                places[layer, unit] = (x, y)
            else:
                dots.append((x, y, r"$\vdots$"))
        x += PITCH
    return Layout(sizes, columns, places, dots, x - PITCH, max(y for _, y in places.values()))


def draw_network(axes: Axes, plan: Layout, start: Variable | None = None, weight: Variable | None = None) -> None:
    """Draw the network: in orange the way from the outputs to `start`, in blue the weight."""
    reached = set() if start is None else {(start.layer, start.unit), *(p for p in plan.places if p[0] > start.layer)}
    ends = [(lower, upper) for lower in plan.places for upper in plan.places if upper[0] == lower[0] + 1]
    for lower, upper in ends:
        (x0, y0), (x1, y1) = plan.places[lower], plan.places[upper]
        if weight == Variable(lower[0], upper[1], lower[1]):
            axes.plot([x0, x1], [y0, y1], color=BLUE, linewidth=3.2, zorder=2)
            box, name = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}, mathtext(typed(weight))
            axes.text((x0 + x1) / 2, (y0 + y1) / 2, name, color=BLUE, bbox=box, zorder=5, **CENTERED)
        elif lower in reached:
            # From the upper unit to the lower one: errors travel backwards.
            reach = RADIUS / np.hypot(x1 - x0, y1 - y0)
            style = {"arrowstyle": "-|>", "color": ORANGE, "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
            tip = (x0 + (x1 - x0) * reach, y0 + (y1 - y0) * reach)
            axes.annotate("", xy=tip, xytext=(x1, y1), arrowprops=style, zorder=2)
        else:
            axes.plot([x0, x1], [y0, y1], color=FAINT, linewidth=1.0, zorder=1)
    for (layer, unit), (x, y) in plan.places.items():
        lit = (layer, unit) in reached
        style = {"edgecolor": ORANGE, "linewidth": 2.2} if lit else {"edgecolor": PLAIN, "linewidth": 1.0}
        axes.add_patch(Circle((x, y), RADIUS, facecolor="white", zorder=3, **style))
        last = output(unit, plan.sizes)[0] if layer == len(plan.sizes) else symbol("z", layer, unit)
        name = symbol("delta", layer, unit) if lit else last
        axes.text(x, y, mathtext(name), color=ORANGE if lit else "black", zorder=4, **CENTERED)
    for x, y, dots in plan.dots:
        axes.text(x, y, dots, **CENTERED)
    axes.set(aspect="equal", xlim=(-0.6, plan.right + 0.6), ylim=(-plan.height - 1.0, plan.height + 0.6))
    axes.set_axis_off()


def paths(result: Backprop) -> Figure:
    """Draw the network, then a panel for each delta that the assignment asks for and this network has."""
    sizes, plan = result.network.sizes, layout(result.network.sizes)
    right, below = plan.right, -plan.height - 0.73
    variables = [item for item in asked(sizes).values() if isinstance(item, Variable)]
    deltas = [item for item in variables if item.source is None]
    weights = {item.layer + 1: item for item in variables if item.source is not None}
    rows, columns = (2, 2) if len(deltas) == 3 else (1, len(deltas) + 1)
    figure = new_figure(columns * INCHES * (right + 1.2), rows * INCHES * (2 * plan.height + 2.6))
    first, *others = figure.subplots(rows, columns).ravel()
    draw_network(first, plan)
    first.set_title("The network", fontsize=14)
    names = {1: "inputs", len(sizes): "output"}
    for layer, x in plan.columns.items():
        first.text(x, below, names.get(layer, f"layer {layer}"), **CENTERED)
        if layer + 1 in plan.columns:
            first.text(x + PITCH / 2, below, mathtext(f"w^({layer})"), **CENTERED)
    for axes, delta in zip(others, deltas, strict=True):
        weight = weights.get(delta.layer)
        draw_network(axes, plan, delta, weight)
        axes.set_title(mathtext(f"{left_side(delta)} = {formula(delta, sizes)}"), color=ORANGE, fontsize=14)
        if weight is not None:
            text = mathtext(f"{left_side(weight)} = {formula(weight, sizes)}")
            axes.text(right / 2, below, text, color=BLUE, **CENTERED)
    return figure


def figures(result: Backprop) -> dict[str, Callable[[], Figure]]:
    """Return the name of each figure and how to draw it."""
    return {"network": lambda: paths(result)}
