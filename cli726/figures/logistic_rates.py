"""Problem 5's figures of several rates: gradient descent, stochastic descent, both at equal cost; and Newton's."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from cli726.drawing import COLORS, new_figure
from cli726.figures.logistic import (
    FINE,
    NLL,
    draw_separator,
    frame_points,
    literal,
    mark_optimum,
    scatter_points,
    titled,
)
from cli726.logistic.points import Array, Points
from cli726.logistic.results import Comparison, NewtonResult, StochasticComparison, StochasticRun

__all__ = ["equal_cost", "errors", "gaps", "newton_data", "newton_steps", "stochastic_errors"]

# The yellow of the palette is too pale for a line.
LINES = [color for color in COLORS if color != "#F0E442"]
# What a logarithmic axis shows: smaller distances from the optimum are rounding, larger errors a divergence.
SMALLEST, LARGEST = 1e-16, 1e100
DRAWN = 100
# A logarithmic axis that spans less has room for more labels.
SHORT_AXIS = 300


def line(number: int) -> dict[str, Any]:
    """Colour and, when colours run out, dashes of the n-th rate."""
    return {"color": LINES[number % len(LINES)], "linestyle": ("-", "--", ":")[number // len(LINES) % 3]}


def errors(comparison: Comparison) -> Figure:
    """The error against epochs at every rate, with the least error."""
    figure = new_figure(7.4, 4.8)
    axes = figure.subplots()
    for number, run in enumerate(comparison.runs):
        axes.plot(run.nll, label=f"{run.eta:g}", linewidth=FINE if run.rises else 1.8, **line(number))
        if run.converged:
            axes.plot(run.epochs - 1, run.nll[-1], "o", color=LINES[number % len(LINES)], markersize=5)
    mark_optimum(axes, comparison.optimum.nll)
    axes.legend(title=r"rate $\eta$", loc="upper right", ncols=1 + len(comparison.runs) // 8)
    titled(axes, "Gradient descent", comparison.data, centred=comparison.points.means is not None)
    axes.set_xlabel("epoch")
    axes.set_ylabel(NLL)
    axes.set_xlim(0, max(run.epochs for run in comparison.runs))
    return figure


def gaps(comparison: Comparison) -> Figure:
    """Distance above the least error, both axes logarithmic: what the error's own axis hides."""
    figure = new_figure(7.4, 4.8)
    axes = figure.subplots()
    for number, run in enumerate(comparison.runs):
        epochs = np.arange(1, run.epochs)
        axes.loglog(
            epochs, positive(run.nll[1:] - comparison.optimum.nll), label=f"{run.eta:g}",
            linewidth=FINE if run.rises else 1.8, **line(number),
        )  # fmt: skip
    axes.legend(title=r"rate $\eta$", loc="lower left", ncols=1 + len(comparison.runs) // 8)
    titled(axes, "Distance from the optimum", comparison.data, centred=comparison.points.means is not None)
    axes.set_xlabel("epoch")
    axes.set_ylabel("error above the least (nats a point)")
    axes.set_xlim(1, max(2, *(run.epochs for run in comparison.runs)))
    plain_ticks(axes)
    return figure


def positive(values: Array) -> Array:
    """What a logarithmic axis can show."""
    return np.where((values > SMALLEST) & (values < LARGEST), values, np.nan)


def plain_ticks(axes: Axes) -> None:
    """Plain numbers on logarithmic axes: counts on the lower; on the other 2, 3 and 5 too where it is short."""

    def between(value: float, _: object) -> str:
        low, high = axes.get_ylim()
        return f"{value:g}" if high / low < SHORT_AXIS and f"{value:e}"[0] in "235" else ""

    tops = [sibling.dataLim.ymax for sibling in axes.get_shared_y_axes().get_siblings(axes)]
    if not any(0 < top < np.inf for top in tops):
        # Nothing that a logarithmic axis can show; Matplotlib would fail.
        axes.set_ylim(0.1, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(between)


def stochastic_errors(result: StochasticComparison) -> Figure:
    """Median and band of the error over the orders against iterations, at every rate, with the least error."""
    figure = new_figure(7.4, 5.0)
    axes = figure.subplots()
    for number, run in enumerate(result.runs):
        iterations, *band = iterations_of(result, run)
        median, low, high = (positive(values) for values in band)
        style = line(number)
        axes.fill_between(iterations, low, high, color=str(style["color"]), alpha=0.16, linewidth=0)
        axes.loglog(iterations, median, label=f"{run.eta:g}", linewidth=1.3, **style)
    mark_optimum(axes, result.optimum.nll)
    shaded = "" if result.shuffles == 1 else "  (shaded: 10 to 90 % of the orders)"
    axes.legend(title=rf"rate $\eta${shaded}", loc="upper right", ncols=1 + len(result.runs) // 4)
    orders = f"median of {result.shuffles} orders" if result.shuffles > 1 else "one order"
    titled(axes, f"Stochastic gradient descent, {orders}", result.data, centred=result.points.means is not None)
    size = "one point" if result.batch_size == 1 else f"{result.batch_size} points"
    axes.set_xlabel(f"iteration ({size} each; {-(-result.points.count // result.batch_size):,} an epoch)")
    axes.set_ylabel(NLL)
    axes.set_xlim(1, max(2, iterations_of(result, result.runs[0])[0][-1]))
    plain_ticks(axes)
    return figure


def joined_bands(run: StochasticRun) -> list[Array]:
    """Evaluations, median, low and high from the first update on: the first epoch in detail, then epoch after epoch.

    Of the epochs a hundred, evenly spread on the logarithmic axis: more would hide each other.
    """
    first = run.first_epoch
    epochs = np.unique(np.geomspace(1, len(run.evaluations) - 1, DRAWN).round().astype(int))[1:]
    pairs = (
        (first.evaluations, run.evaluations), (first.nll_median, run.nll_median),
        (first.nll_low, run.nll_low), (first.nll_high, run.nll_high),
    )  # fmt: skip
    return [np.concatenate([a[1:], b[epochs]]).astype(np.float64) for a, b in pairs]


def iterations_of(result: StochasticComparison, run: StochasticRun) -> list[Array]:
    """The band against updates."""
    evaluations, *band = joined_bands(run)
    count, updates = result.points.count, -(-result.points.count // result.batch_size)
    epochs, rest = np.divmod(evaluations, count)
    return [epochs * updates + np.ceil(rest / result.batch_size), *band]


def equal_cost(result: StochasticComparison) -> Figure:
    """Stochastic and plain gradient descent at equal numbers of gradient evaluations, a panel for each rate."""
    columns = min(3, len(result.runs))
    rows = -(-len(result.runs) // columns)
    figure = new_figure(max(5.5, 3.2 * columns), 1.2 + 2.4 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, run in zip(panels.flat, result.runs, strict=False):
        panel(axes, run, result)
    for axes in panels.flat:
        plain_ticks(axes)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
    for axes in panels.flat[len(result.runs) :]:
        axes.set_axis_off()
    for axes in panels.flat[max(0, len(result.runs) - columns) : len(result.runs)]:
        axes.set_xlabel("gradient evaluations")
        axes.tick_params(labelbottom=True)
    figure.supylabel("error above the least (nats a point)", fontsize=11)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=1 if columns == 1 else 2)
    centred = ", centred" if result.points.means is not None else ""
    figure.text(0.995, 0.985, literal(result.data) + centred, ha="right", va="top", fontsize=9, color="0.35")
    return figure


def panel(axes: Axes, run: StochasticRun, result: StochasticComparison) -> None:
    """One rate of `equal_cost`."""
    least = result.optimum.nll
    name = "stochastic" if result.shuffles == 1 else "stochastic: median, 10 to 90 %"
    evaluations, *band = joined_bands(run)
    median, low, high = (positive(values - least) for values in band)
    axes.fill_between(evaluations, np.nan_to_num(low, nan=SMALLEST), high, color=LINES[0], alpha=0.2, linewidth=0)
    axes.loglog(evaluations, median, color=LINES[0], linewidth=FINE, label=name)
    reference = positive(run.gradient_descent[1:] - least)
    axes.loglog(run.evaluations[1:], reference, color=LINES[5], linewidth=FINE, label="gradient descent")
    axes.set_title(rf"$\eta$ = {run.eta:g}", loc="left", fontsize=11)
    axes.set_xlim(result.batch_size, run.evaluations[-1])


def newton_steps(result: NewtonResult) -> Figure:
    """Error above the least, and length of the gradient, against Newton steps."""
    figure = new_figure()
    axes = figure.subplots()
    nll = np.array([state.nll for state in result.path])
    norms = np.array([state.gradient_norm for state in result.path])
    axes.semilogy(positive(nll - result.nll), "o-", label="error above the least (nats a point)")
    axes.semilogy(positive(norms), "s--", color=COLORS[5], label="length of the gradient")
    axes.legend()
    titled(axes, "Newton's method", result.data, centred=result.points.means is not None)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def newton_data(result: NewtonResult, points: Points) -> Figure:
    """The points, the best separator, and the lines on which class 1 has probability 0.1 and 0.9."""
    figure = new_figure(6.8, 5.2)
    axes = figure.subplots()
    scatter_points(axes, points)
    best = result.w if result.w is not None else result.direction
    if best is not None:
        draw_separator(axes, best, color="black", linewidth=2, zorder=2.5, label="separator")
    if result.w is not None:
        for probability, color in ((0.1, COLORS[0]), (0.9, COLORS[1])):
            odds = np.log(probability / (1 - probability))
            name = f"$p$(class 1) = {probability:g}"
            draw_separator(axes, result.w - [0, 0, odds], color=color, linewidth=1.4, linestyle="--", label=name)
    frame_points(axes, points)
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=10)
    title = "The optimum" if result.w is not None else "A separator without mistakes"
    title = "A separator with points on it" if result.separation == "quasi-complete" else title
    titled(axes, title, result.data, centred=points.means is not None)
    return figure
