"""Problem 4's figures: the gradient by layer for each network, and what saturation does to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cli726.backprop.network import logistic
from cli726.choices import Connect, Dtype, Hidden
from cli726.drawing import COLORS, new_figure
from cli726.gradient_causes import Saturation
from cli726.vanishing import Vanishing

__all__ = ["by_layer", "saturation"]

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = COLORS[:6]
LOGIT_TICKS = {0.0001: "0.0001", 0.01: "0.01", 0.5: "0.5", 0.99: "0.99", 0.9999: "0.9999"}


def by_layer(results: Sequence[Vanishing]) -> Figure:
    """log10 |dE/dw_11| by layer: exact, in float32, with skip connections; a panel for each network."""
    hidden = [kind for kind in Hidden if any(item.hidden is kind for item in results)]
    connect = [kind for kind in Connect if any(item.connect is kind for item in results)]
    figure = new_figure(4.6 * len(connect) + (0.6 if len(connect) > 1 else 1.9), 3.4 * len(hidden) + 0.9)
    grid = figure.subplots(len(hidden), len(connect), sharex=True, sharey="row", squeeze=False)
    for item in results:
        axes = grid[hidden.index(item.hidden), connect.index(item.connect)]
        layer_panel(axes, item)
    for row in grid:
        row[0].set_ylabel("$\\log_{10}\\,|\\partial E_n/\\partial w_{11}^{(l)}|$")
    for axes in grid[-1]:
        axes.set_xlabel("layer $l$")
    handles = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    return figure


def layer_panel(axes: Axes, item: Vanishing) -> None:
    """One network."""
    layers = np.arange(1, item.setting.depth + 1)
    marker = "o" if len(layers) < 30 else ""
    # The last weights lie beyond the last branch, so they have no place on the curves of skip connections.
    curves = (
        ("the network as it is", item.log10, layers, BLUE, "-", 2.6),
        ("with skip connections", item.skip[:-1], layers[:-1], ORANGE, "--", 1.8),
        ("with skips, branches scaled by 1/depth", item.skip_scaled[:-1], layers[:-1], GREEN, "-.", 1.8),
    )
    for label, logs, places, color, dashes, width in curves:
        kept = np.isfinite(logs)
        if not kept.any():
            continue
        style: dict[str, Any] = {"color": color, "linestyle": dashes, "linewidth": width, "marker": marker}
        axes.plot(places[kept], logs[kept], label=label, markersize=4, **style)
    title = "ReLU" if item.hidden is Hidden.relu else "Logistic"
    zeros = (
        f": {item.zeros.zero_gradients} of {item.zeros.total_weights} exactly 0" if item.zeros.zero_gradients else ""
    )
    axes.set_title(f"{title}, {item.connect}{zeros}")
    lost = item.lost_below(Dtype.float32)
    if lost is not None:
        axes.plot(
            lost, item.log10[lost - 1], marker="v", color=VERMILION, markersize=9, linestyle="none",
            label="float32 gives exactly 0 from here down",
        )  # fmt: skip
    axes.margins(x=0.02)


def saturation(results: Sequence[Vanishing]) -> Figure:
    """h' and z against the activation, and the gradient of three layers as the activations are pushed to the ends."""
    pushed = [(item, item.saturation) for item in results if item.saturation is not None]
    figure = new_figure(4.3 * (1 + len(pushed)), 3.9)
    panels = figure.subplots(1, 1 + len(pushed))
    slope_panel(panels[0])
    for axes, (item, experiment) in zip(panels[1:], pushed, strict=True):
        push_panel(axes, item, experiment)
    return figure


def slope_panel(axes: Axes) -> None:
    """The logistic function and its derivative."""
    a = np.linspace(-8, 8, 321)
    z = logistic(a)
    axes.plot(a, z, color=PINK, linestyle="--")
    axes.plot(a, z * (1 - z), color=BLUE, linewidth=2.4)
    axes.axhline(0.25, color="#888888", linewidth=0.8, linestyle=":")
    axes.text(-7.8, 0.265, "1/4", color="#555555", va="bottom")
    axes.text(2.2, 0.80, "$h(a)$", color=PINK, fontsize=13)
    axes.text(2.0, 0.14, "$h'(a) = h\\,(1 - h)$", color=BLUE, fontsize=13)
    axes.set_xlabel("activation $a$")
    axes.set_title("Logistic unit")


def push_panel(axes: Axes, item: Vanishing, experiment: Saturation) -> None:
    """One network under biases that push its activations."""
    place = np.log(experiment.output) - np.log1p(-experiment.output)
    styles = zip(experiment.layers, (BLUE, ORANGE, GREEN), ("-", "--", "-."), experiment.log10.T, strict=False)
    for layer, color, style, logs in styles:
        axes.plot(place, logs, color=color, linestyle=style, label=f"layer {layer}")
    ticks = [np.log(z / (1 - z)) for z in LOGIT_TICKS]
    axes.set_xticks(ticks, LOGIT_TICKS.values())
    axes.set_xlim(min(ticks) - 0.6, max(ticks) + 0.6)
    inside = (place >= min(ticks) - 0.6) & (place <= max(ticks) + 0.6)
    axes.set_ylim(1.05 * float(experiment.log10[inside].min()) - 1, None)
    axes.set_xlabel("output $z$ in the middle layer")
    axes.set_ylabel("$\\log_{10}\\,|\\partial y/\\partial w_{11}^{(l)}|$")
    axes.set_title(f"Logistic {item.connect}, pushed by biases")
    axes.legend(loc="lower center")
