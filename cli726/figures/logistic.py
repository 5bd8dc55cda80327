"""Problem 5's figures of one gradient descent: the separator's path, the error, the data, and why it oscillates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from cli726.drawing import COLORS, new_figure, shown
from cli726.logistic.points import Array, Points
from cli726.logistic.results import GradientDescent

__all__ = [
    "FINE",
    "NLL",
    "curvature",
    "data",
    "draw_separator",
    "error",
    "frame_points",
    "literal",
    "mark_optimum",
    "orientation",
    "scatter_points",
    "separator_path",
    "titled",
]

# The course's axes for slope and intercept.
COURSE_SLOPES, COURSE_INTERCEPTS = (-5.0, 5.0), (-10.0, 0.0)
# Beyond it the course's axes show too little of the path, and the figure chooses its own.
INSIDE = 0.5
FILLED = 0.1
EPOCH_COLORS = "viridis"
LONGEST_NAME = 28
SEPARATORS = 12
NLL = "negative log-likelihood (nats a point)"
# A line that swings every epoch, drawn so that its swings can be told apart.
FINE = 0.9


def literal(text: str) -> str:
    """A foreign name as Matplotlib prints it as it stands: no mathematics, no control characters, not too long."""
    (plain,) = shown([text], len(text))
    if len(plain) > LONGEST_NAME:
        plain = f"{plain[: LONGEST_NAME // 2]}…{plain[-LONGEST_NAME // 2 :]}"
    return plain.replace("$", r"\$")


def titled(axes: Axes, title: str, source: str, *, centred: bool = False) -> None:
    """What it is on the left; whose points on the right."""
    axes.set_title(title, loc="left")
    axes.set_title(literal(source) + (", centred" if centred else ""), loc="right", fontsize=9, color="0.35")


def mark_optimum(axes: Axes, nll: float) -> None:
    """The least error as a level, if the axis has it, named at the left end, where errors are still far above."""
    if axes.get_yscale() == "log" and nll <= 0:
        return
    axes.axhline(nll, color="0.2", linewidth=1.2, linestyle=(0, (4, 3)), zorder=1.5)
    axes.annotate(
        "least error", (0, nll), xycoords=("axes fraction", "data"), xytext=(4, 2), textcoords="offset points",
        ha="left", va="bottom", fontsize=9, color="0.2",
    )  # fmt: skip


def epochs_norm(run: GradientDescent) -> Normalize:
    return LogNorm(1, max(2, run.epochs))


def color_bar(figure: Figure, axes: Axes | Sequence[Axes], norm: Normalize) -> None:
    bar = figure.colorbar(ScalarMappable(norm, EPOCH_COLORS), ax=axes, pad=0.02)
    bar.set_label("epoch")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    bar.ax.minorticks_off()


def separator_path(run: GradientDescent) -> Figure:
    """The course's figure 2: the separator in slope-intercept space; weights without a slope are left out."""
    figure = new_figure(7.2, 4.8)
    axes = figure.subplots()
    lines = run.slope_intercept
    assert lines is not None
    segments = np.stack([lines[:-1], lines[1:]], axis=1)
    known = np.isfinite(segments).all(axis=(1, 2))
    norm = epochs_norm(run)
    epochs = np.arange(1, len(lines))
    axes.add_collection(
        LineCollection(list(segments[known]), array=epochs[known], cmap=EPOCH_COLORS, norm=norm, linewidths=1)
    )
    axes.scatter(lines[1:, 0], lines[1:, 1], c=epochs, cmap=EPOCH_COLORS, norm=norm, s=9, zorder=2.5)
    frame_path(axes, lines)
    first = int(np.flatnonzero(np.isfinite(lines[:, 0]))[0])
    place(axes, lines[first], f"epoch {first}", "o", -1)
    if run.optimum.w is not None and run.optimum.w[1]:
        best = -run.optimum.w[[0, 2]] / run.optimum.w[1]
        # The name on the side that the path does not come from.
        place(axes, best, "optimum", "*", -1 if lines[-1, 0] > best[0] else 1)
    titled(
        axes,
        f"Separator in slope–intercept space, $\\eta$ = {run.eta:g}",
        run.data,
        centred=run.points.means is not None,
    )
    axes.set_xlabel("slope")
    axes.set_ylabel("intercept")
    color_bar(figure, axes, norm)
    return figure


def frame_path(axes: Axes, lines: Array) -> None:
    """The course's axes where they hold most of the path and it fills some of them; otherwise axes that fit it."""
    known = lines[np.isfinite(lines).all(axis=1)]
    low, high = np.array([COURSE_SLOPES, COURSE_INTERCEPTS]).T
    # Without the wildest swings, of which the first steps are full.
    least, most = np.percentile(known, [5, 95], axis=0)
    inside = ((known >= low) & (known <= high)).all(axis=1).mean()
    if inside < INSIDE or ((most - least) / (high - low)).max() < FILLED:
        margin = 0.25 * (most - least) + 1e-3 * np.abs(most) + 1e-12
        low, high = least - margin, most + margin
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])


def place(axes: Axes, at: Array, name: str, marker: str, side: int) -> None:
    """A named mark, if it lies inside the axes; its name on the left (-1) or the right (1)."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    if not (left <= at[0] <= right and bottom <= at[1] <= top):
        return
    size = 13 if marker == "*" else 8
    axes.plot(*at, marker, color=COLORS[5], markersize=size, markeredgecolor="white", zorder=4)
    # Away from the nearer of top and bottom, where the name might run into the title or the axis.
    up = 1 if at[1] < (bottom + top) / 2 else -1
    axes.annotate(name, (at[0], at[1]), xytext=(9 * side, 4 * up), textcoords="offset points", zorder=5,
                  ha="left" if side > 0 else "right", va="bottom" if up > 0 else "top")  # fmt: skip


def error(run: GradientDescent) -> Figure:
    """The course's figure 3: the error against epochs, with the least error."""
    figure = new_figure()
    axes = figure.subplots()
    axes.plot(run.nll, linewidth=FINE)
    mark_optimum(axes, run.optimum.nll)
    titled(axes, f"Training logistic regression, $\\eta$ = {run.eta:g}", run.data, centred=run.points.means is not None)
    axes.set_xlabel("epoch")
    axes.set_ylabel(NLL)
    axes.set_xlim(0, max(1, run.epochs - 1))
    return figure


def curvature(run: GradientDescent) -> Figure:
    """Why the error rises: eta q of every step, predicted to raise it above 2; its colour says what the error did."""
    figure = new_figure()
    axes = figure.subplots()
    epochs = np.arange(1, run.epochs)
    met = run.eta_q[:-1]
    rose = np.isin(epochs, run.rises)
    top = max(2.5, 1.08 * float(np.nanmax(met, initial=0.0)))
    axes.axhspan(2, top, color=COLORS[5], alpha=0.08, linewidth=0)
    axes.axhline(2, color=COLORS[5], linewidth=1.2, label=r"$\eta\,q = 2$: beyond it a step overshoots")
    for mask, color, name in ((rose, COLORS[5], "the error rose"), (~rose, COLORS[0], "the error fell")):
        if mask.any():
            axes.scatter(epochs[mask], met[mask], s=9, color=color, label=f"{name}: {mask.sum()} steps")
    axes.legend(loc="best", markerscale=2)
    titled(axes, f"Curvature met by each step, $\\eta$ = {run.eta:g}", run.data, centred=run.points.means is not None)
    axes.set_xlabel("epoch")
    axes.set_ylabel(r"$\eta\,q$  (rate times curvature met)")
    axes.set_ylim(0, top)
    axes.set_xlim(0, max(1, run.epochs - 1))
    return figure


def scatter_points(axes: Axes, points: Points) -> None:
    """Two features, a colour and a marker for each class."""
    for label, marker, color in ((0, "o", COLORS[0]), (1, "^", COLORS[1])):
        chosen = points.X[points.t == label]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=26, marker=marker, color=color, edgecolor="white", linewidth=0.5,
                     label=f"class {label}", zorder=3)  # fmt: skip
    axes.set_xlabel(literal(points.features[0]))
    axes.set_ylabel(literal(points.features[1]))


def draw_separator(axes: Axes, w: Array, **style: Any) -> None:
    """The line w1 x1 + w2 x2 + bias = 0, however steep; nothing where there is none."""
    size = float(np.hypot(w[0], w[1]))
    if not (np.isfinite(w).all() and 0 < size < np.inf):
        return
    normal = w[:2] / size
    foot = -w[2] / size * normal
    axes.axline(tuple(foot), tuple(foot + np.array([-normal[1], normal[0]])), **style)


def frame_points(axes: Axes, points: Points) -> None:
    """Axes that hold the points and a margin, whatever lines cross them."""
    low, high = points.X[:, :2].min(axis=0), points.X[:, :2].max(axis=0)
    margin = np.where(high > low, 0.05 * (high - low), 1.0)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])


def data(run: GradientDescent, points: Points) -> Figure:
    """The points, the separator at a dozen epochs, and the best one."""
    figure = new_figure(7.4, 5.2)
    axes = figure.subplots()
    scatter_points(axes, points)
    norm = epochs_norm(run)
    shades = ScalarMappable(norm, EPOCH_COLORS)
    for epoch in np.unique(np.geomspace(1, len(run.w) - 1, SEPARATORS).round().astype(int)):
        draw_separator(axes, run.w[epoch], color=shades.to_rgba(epoch), linewidth=1.4, zorder=2)
    if run.optimum.w is not None:
        draw_separator(axes, run.optimum.w, color="black", linewidth=2, linestyle="--", zorder=2.5, label="optimum")
    frame_points(axes, points)
    axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")
    titled(axes, f"The separator on its way, $\\eta$ = {run.eta:g}", points.name, centred=points.means is not None)
    color_bar(figure, axes, norm)
    return figure


def orientation(run: GradientDescent) -> Figure:
    """What slope and intercept lose: the separator's angle and offset, also where w2 = 0, and the length of w."""
    figure = new_figure(7, 6.2)
    panels = figure.subplots(3, sharex=True)
    normal, bias = run.w[:, :2], run.w[:, 2]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        length = np.linalg.norm(normal, axis=1)
        angle = np.degrees(np.unwrap(np.arctan2(normal[:, 1], normal[:, 0])))
        offset = np.where(length > 0, -bias / length, np.nan)
    angle[length == 0] = np.nan
    best = run.optimum.w
    levels: tuple[float | None, ...] = (None, None, None)
    if best is not None and best[:2].any():
        size = float(np.linalg.norm(best[:2]))
        turns = 360 * np.round((angle[-1] - np.degrees(np.arctan2(best[1], best[0]))) / 360)
        levels = (float(np.degrees(np.arctan2(best[1], best[0])) + turns), float(-best[2] / size), size)
    names = ("angle of $(w_1, w_2)$\n(degrees)", "offset from the origin\n$-w_{bias}/|(w_1, w_2)|$", "$|(w_1, w_2)|$")
    for axes, values, level, name in zip(panels, (angle, offset, length), levels, names, strict=True):
        axes.plot(values, linewidth=FINE)
        if level is not None:
            axes.axhline(level, color="0.2", linewidth=1.2, linestyle=(0, (4, 3)), label="optimum")
        axes.set_ylabel(name)
    if levels[0] is not None:
        panels[0].legend(loc="lower right")
    titled(
        panels[0], f"Angle, offset and length, $\\eta$ = {run.eta:g}", run.data, centred=run.points.means is not None
    )
    panels[-1].set_xlabel("epoch")
    panels[-1].set_xlim(0, len(run.w) - 1)
    figure.align_ylabels(panels)
    return figure
