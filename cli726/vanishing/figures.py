"""Problem 4's figures: the gradient by layer of each network, and what saturation does to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cli726.choices import Dtype
from cli726.document import mathtext
from cli726.drawing import COLORS, new_figure
from cli726.vanishing import Saturation, Vanishing

BLUE, ORANGE, GREEN, PINK, _, VERMILION = COLORS[:6]
# With so few layers, or gaps between them, points are marked.
FEW = 30


def figures(results: Sequence[Vanishing]) -> Mapping[str, Callable[[], Figure]]:
    """Return file stem -> how to draw it."""
    pushed = [(item, item.saturation) for item in results if item.saturation]
    drawn: dict[str, Callable[[], Figure]] = {"gradients": partial(by_layer, results)}
    return drawn | ({"saturation": partial(saturation, pushed)} if pushed else {})


def by_layer(results: Sequence[Vanishing]) -> Figure:
    """Draw log10 |dE/dw_11| by layer, a panel for each network."""
    hidden, connect = ([*dict.fromkeys(kinds)] for kinds in zip(*((i.hidden, i.connect) for i in results), strict=True))
    figure = new_figure(4.6 * len(connect) + (0.6 if len(connect) > 1 else 1.9), 3.4 * len(hidden) + 0.7)
    grid = figure.subplots(len(hidden), len(connect), sharex=True, sharey="row", squeeze=False)
    for item in results:
        layer_panel(grid[hidden.index(item.hidden), connect.index(item.connect)], item)
    for row in grid:
        row[0].set_ylabel(f"$\\log_{{10}}$ {mathtext('|∂E_n/∂w_11^(l)|')}")
    for axes in grid[-1]:
        axes.set_xlabel("layer $l$")
    handles = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center")
    return figure


def layer_panel(axes: Axes, item: Vanishing) -> None:
    """Draw one network; layers whose gradient is exactly 0 stay out, and the title counts the gradients."""
    depth, kept, zeros = item.setting.depth, np.isfinite(item.log10), item.zeros
    marker = "o" if depth < FEW else "" if kept.all() else "."
    shown = np.where(kept, item.log10, np.nan)
    axes.plot(np.arange(1, depth + 1), shown, color=BLUE, linewidth=2.6, marker=marker, markersize=4)
    axes.set_xlim(1 - 0.02 * depth, 1.02 * depth)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    some = f": {zeros.zero_gradients:,} of {zeros.total_weights:,} gradients exactly 0" if zeros.zero_gradients else ""
    axes.set_title(item.name + some)
    if not kept.any():
        text = f"the gradient of {mathtext('w_11^(l)')} is exactly 0\nin every layer"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#555555")
    for lost in item.lost(Dtype.float32)[-1:]:
        text = "highest layer for which float32 gives 0"
        axes.plot(lost, item.log10[lost - 1], "v", color=VERMILION, markersize=9, label=text)


def saturation(networks: Sequence[tuple[Vanishing, Saturation]]) -> Figure:
    """Draw h and h', and the gradient of three layers as a bias pushes the activations to the ends."""
    figure = new_figure(4.3 * (1 + len(networks)), 3.9)
    first, *others = figure.subplots(1, 1 + len(networks))
    a = np.linspace(-8, 8, 321)
    z = 1 / (1 + np.exp(-a))
    first.plot(a, z, color=PINK, linestyle="--")
    first.plot(a, z * (1 - z), color=BLUE, linewidth=2.4)
    first.axhline(0.25, color="#888888", linewidth=0.8, linestyle=":")
    first.text(-7.8, 0.265, "1/4", color="#555555", va="bottom")
    first.text(2.2, 0.80, "$h(a)$", color=PINK, fontsize=13)
    first.text(2.0, 0.14, "$h'(a) = h\\,(1 - h)$", color=BLUE, fontsize=13)
    first.set(xlabel="activation $a$", title="Logistic unit")
    for axes, network in zip(others, networks, strict=True):
        push_panel(axes, *network)
    return figure


def push_panel(axes: Axes, item: Vanishing, pushed: Saturation) -> None:
    """Draw one network under biases; a layer whose gradient is 0 stands in the legend only."""
    styles = zip((BLUE, ORANGE, GREEN), ("-", "--", "-."), strict=True)
    for layer, logs, (color, dashes) in zip(pushed.layers, pushed.log10.T, styles, strict=False):
        kept = np.where(np.isfinite(logs), logs, np.nan)
        label = f"layer {layer}" if np.isfinite(logs).any() else f"layer {layer}: exactly 0"
        axes.plot(pushed.activation, kept, color=color, linestyle=dashes, marker=".", label=label)
    axes.set_xlabel(f"activation {mathtext(f'a_1^({pushed.place})')}")
    axes.set_ylabel(f"$\\log_{{10}}$ {mathtext('|∂y/∂w_11^(l)|')}")
    axes.set_title(f"{item.name}, pushed by biases")
    axes.legend(loc="lower center")
