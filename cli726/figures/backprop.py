"""Problem 3's figure: the network in the assignment's notation, and the way that each delta comes from the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from cli726.backprop import Backprop, questions
from cli726.drawing import COLORS, new_figure
from cli726.layered_network import Variable
from cli726.notation import mathtext

__all__ = ["paths"]

BLUE, GREEN, VERMILION = COLORS[0], COLORS[2], COLORS[5]
FAINT, PLAIN = "#CCCCCC", "#555555"
MOST_UNITS, MOST_LAYERS = 5, 6
RADIUS = 0.35
INCHES = 0.82


@dataclass(frozen=True)
class Layout:
    """Where the units that are drawn stand: (layer, unit) -> (x, y); dots stand for those left out."""

    sizes: tuple[int, ...]
    columns: dict[int, float]
    places: dict[tuple[int, int], tuple[float, float]]
    dots: tuple[tuple[float, float], ...]

    @property
    def height(self) -> float:
        return max(abs(y) for _, y in self.places.values())

    @property
    def last(self) -> int:
        return len(self.sizes)

    def edges(self) -> Iterator[tuple[int, int, int]]:
        """(layer, source, unit) of each weight whose two ends are drawn."""
        for lower, upper in pairwise(self.columns):
            if upper == lower + 1:
                sources = [unit for layer, unit in self.places if layer == lower]
                units = [unit for layer, unit in self.places if layer == upper]
                yield from ((lower, source, unit) for source in sources for unit in units)


def shown(count: int, most: int, tail: int) -> list[int]:
    """The numbers from 1 to `count`, or the first and the `tail` last of them."""
    if count <= most:
        return list(range(1, count + 1))
    return [*range(1, most - tail), *range(count - tail + 1, count + 1)]


def layout(sizes: tuple[int, ...]) -> Layout:
    """Columns of units, the first at the top, with gaps where layers or units are left out."""
    columns: dict[int, float] = {}
    places, dots = {}, []
    x, previous = 0.0, 0
    for layer in shown(len(sizes), MOST_LAYERS, 3):
        if layer != previous + 1:
            dots.append((x - 0.55, 0.0))
            x += 0.6
        columns[layer] = x
        units = shown(sizes[layer - 1], MOST_UNITS, 1)
        rows = len(units) + (len(units) < sizes[layer - 1])
        for row, unit in enumerate(units):
            gap = unit != row + 1
            places[layer, unit] = (x, (rows - 1) / 2 - row - gap)
            if gap:
                dots.append((x, (rows - 1) / 2 - row))
        x, previous = x + 1.7, layer
    return Layout(sizes, columns, places, tuple(dots))


def delta_symbol(layer: int, unit: int | str) -> str:
    return mathtext("\\delta", layer, unit)


def unit_label(layer: int, unit: int, last: int, outputs: int) -> str:
    if layer == 1:
        return mathtext("x", None, unit)
    if layer == last:
        return "$y$" if outputs == 1 else mathtext("y", None, unit)
    return mathtext("z", layer, unit)


def draw_network(
    axes: Axes,
    plan: Layout,
    *,
    labels: dict[tuple[int, int], str],
    lit: set[tuple[int, int, int]],
    target: tuple[int, int, int] | None,
) -> None:
    """The network; `lit` weights in vermilion, the `target` weight in blue, units with a label stand out."""
    for layer, source, unit in plan.edges():
        (x0, y0), (x1, y1) = plan.places[layer, source], plan.places[layer + 1, unit]
        edge = (layer, source, unit)
        if edge == target:
            axes.plot([x0, x1], [y0, y1], color=BLUE, linewidth=3.2, zorder=2)
        elif edge in lit:
            # An arrow from the upper unit to the lower one: errors travel backwards.
            reach = RADIUS / np.hypot(x1 - x0, y1 - y0)
            tip = (x0 + (x1 - x0) * reach, y0 + (y1 - y0) * reach)
            style = {"arrowstyle": "-|>", "color": VERMILION, "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", xy=tip, xytext=(x1, y1), arrowprops=style, zorder=2)
        else:
            axes.plot([x0, x1], [y0, y1], color=FAINT, linewidth=1.0, zorder=1)
    for key, (x, y) in plan.places.items():
        marked = key in labels
        color = VERMILION if marked else PLAIN
        width = 2.2 if marked else 1.0
        axes.add_patch(Circle((x, y), RADIUS, facecolor="white", edgecolor=color, linewidth=width, zorder=3))
        text = labels.get(key) or unit_label(*key, plan.last, plan.sizes[-1])
        axes.text(x, y, text, ha="center", va="center", fontsize=13, color=color if marked else "black", zorder=4)
    for x, y in plan.dots:
        axes.text(
            x, y, "$\\cdots$" if y == 0 and x not in plan.columns.values() else "$\\vdots$", ha="center", va="center"
        )
    axes.set_aspect("equal")
    axes.set_xlim(-0.6, max(plan.columns.values()) + 0.6)
    axes.set_ylim(-plan.height - 1.0, plan.height + 0.6)
    axes.set_axis_off()


def overview(axes: Axes, plan: Layout) -> None:
    """The network with its layers and weight matrices named."""
    draw_network(axes, plan, labels={}, lit=set(), target=None)
    low = -plan.height - 0.72
    for layer, x in plan.columns.items():
        name = "inputs" if layer == 1 else "output" if layer == plan.last else f"layer {layer}"
        axes.text(x, low, name, ha="center", va="center", fontsize=12)
    for lower, upper in pairwise(plan.columns):
        if upper == lower + 1:
            middle = (plan.columns[lower] + plan.columns[upper]) / 2
            axes.text(middle, low, f"$w^{{({lower})}}$", ha="center", va="center", fontsize=14)
    axes.set_title("The network", fontsize=14)


def flow(plan: Layout, layer: int, unit: int) -> tuple[set[tuple[int, int, int]], dict[tuple[int, int], str]]:
    """Weights and units that the error passes on its way from the outputs to one unit."""
    reached = {(layer, unit)} | {key for key in plan.places if key[0] > layer}
    lit = {edge for edge in plan.edges() if (edge[0], edge[1]) in reached}
    return lit, {key: delta_symbol(*key) for key in reached}


def delta_formula(sizes: Sequence[int], layer: int, unit: int) -> str:
    """How delta comes from the layer above, as mathtext."""
    delta, last = delta_symbol(layer, unit), len(sizes)
    if layer == last:
        right = "$y - t$" if sizes[-1] == 1 else f"$y_{{{unit}}} - t_{{{unit}}}$"
        return f"{delta} = {right}"
    rate = f"$h'(${mathtext('a', layer, unit)}$)$"
    if sizes[layer] == 1:
        return f"{delta} = {rate} {mathtext('w', layer, 1, unit)} {delta_symbol(layer + 1, 1)}"
    total = "$\\sum_k$"
    return f"{delta} = {rate} {total} {mathtext('w', layer, 'k', unit)} {delta_symbol(layer + 1, 'k')}"


def weight_formula(weight: Variable) -> str:
    """The derivative with respect to a weight, as mathtext."""
    source = weight.source or 0
    sent = mathtext("x", None, source) if weight.layer == 1 else mathtext("z", weight.layer, source)
    lower = mathtext("w", weight.layer, weight.unit, source).strip("$")
    left = f"$\\partial E_n/\\partial {lower}$"
    return f"{left} = {delta_symbol(weight.layer + 1, weight.unit)} {sent}"


def delta_panel(axes: Axes, plan: Layout, delta: Variable, weight: Variable | None) -> None:
    """One delta: where it comes from, and the weight whose derivative follows from it."""
    lit, labels = flow(plan, delta.layer, delta.unit)
    target = None if weight is None else (weight.layer, weight.source or 0, weight.unit)
    draw_network(axes, plan, labels=labels, lit=lit, target=target)
    axes.set_title(delta_formula(plan.sizes, delta.layer, delta.unit), color=VERMILION, fontsize=14)
    if weight is None or target is None:
        return
    (x0, y0), (x1, y1) = plan.places[target[0], target[1]], plan.places[target[0] + 1, target[2]]
    middle = max(plan.columns.values()) / 2
    style: dict[str, Any] = {"color": BLUE, "ha": "center", "va": "center"}
    axes.text(middle, -plan.height - 0.75, weight_formula(weight), fontsize=14, **style)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    name = mathtext("w", weight.layer, weight.unit, target[1])
    axes.text(0.5 * (x0 + x1), 0.5 * (y0 + y1), name, fontsize=13, bbox=box, zorder=5, **style)


def paths(result: Backprop) -> Figure:
    """The network, then a panel for each delta that the assignment asks for and this network has."""
    plan = layout(result.network.sizes)
    asked, _ = questions(result.network.sizes)
    deltas = [item for item in asked if item.source is None]
    weights = {item.layer + 1: item for item in asked if item.source is not None}
    width = max(plan.columns.values()) + 1.2
    height = 2 * plan.height + 2.6
    count = len(deltas) + 1
    rows, columns = (2, 2) if count == 4 else (1, count)
    figure = new_figure(columns * INCHES * width, rows * INCHES * height)
    panels = figure.subplots(rows, columns).ravel()
    overview(panels[0], plan)
    for axes, delta in zip(panels[1:], deltas, strict=True):
        delta_panel(axes, plan, delta, weights.get(delta.layer))
    return figure
