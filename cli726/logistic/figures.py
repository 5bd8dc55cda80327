"""Problem 5's figures: one descent, several rates, stochastic descent at equal cost, Newton's method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from cli726.drawing import COLORS, new_figure, shown
from cli726.logistic.descent import Comparison, GradientDescent
from cli726.logistic.findings import aim
from cli726.logistic.optimum import NewtonResult, Optimum
from cli726.logistic.points import Array
from cli726.logistic.stochastic import StochasticComparison, StochasticRun
from cli726.logistic.tables import Result
from cli726.text import counted

Draw: TypeAlias = Callable[[], Figure]

# The course's axes for slope and intercept; where less than INSIDE of the path lies in them, or it fills less than
# FILLED of them, the figure chooses its own.
COURSE = np.array([[-5.0, -10.0], [5.0, 0.0]])
INSIDE, FILLED = 0.5, 0.1
LONGEST_NAME = 28
SEPARATORS = 12
NLL = "negative log-likelihood (nats a point)"
# A line that swings every epoch, drawn so that its swings can be told apart; with no more values than FEW, with marks.
FINE, FEW = 0.9, 12
LEGEND: dict[str, Any] = {"loc": "outside lower center", "ncols": 3}
RATES: dict[str, Any] = {"title": r"rate $\eta$", "loc": "outside right upper"}
# The yellow of the palette is too pale for a line.
LINES = [color for color in COLORS if color != "#F0E442"]
OVERSHOT = COLORS[5]
# What a logarithmic axis shows: smaller distances from the minimum are rounding, larger losses a divergence.
SMALLEST, LARGEST = 1e-16, 1e290
# Epochs drawn on a logarithmic axis, where more would hide each other.
DRAWN = 100


def figures(result: Result) -> dict[str, Draw]:
    """Return the figures of a result: file stem -> how to draw it.

    None of a descent that diverged; those of the separator for two features only.
    """
    made: dict[str, Draw] = {}
    match result:
        case GradientDescent() if not result.diverged:
            if result.slope_intercept is not None and np.isfinite(result.slope_intercept).any():
                made["separator-path"] = lambda: separator_path(result)
            made |= {"error": lambda: losses_by_epoch(result), "curvature": lambda: curvature(result)}
            made["data"] = lambda: separators(result)
        case Comparison():
            made = {
                "error": lambda: losses_by_epoch(result),
                "distance": lambda: losses_by_epoch(result, logarithmic=True),
            }
        case StochasticComparison():
            made = {"error": lambda: stochastic_losses(result), "equal-cost": lambda: equal_cost(result)}
        case NewtonResult():
            made = {"steps": lambda: newton_steps(result), "data": lambda: separators(result)}
    return {stem: draw for stem, draw in made.items() if len(result.points.features) == 2 or stem != "data"}


def literal(text: str) -> str:
    """Return a foreign name for Matplotlib to print as it stands: no mathematics, no controls, not too long."""
    return shown([text], LONGEST_NAME)[0].replace("$", r"\$")


def source(result: Result) -> str:
    """Return whose points."""
    return literal(result.data) + (", centred" if result.points.means is not None else "")


def titled(axes: Axes, title: str, result: Result, x: str, y: str) -> None:
    """Write what it is on the left, whose points on the right, and the axes' names; what is counted has whole ticks."""
    axes.set_title(title + (f", $\\eta$ = {result.eta:g}" if isinstance(result, GradientDescent) else ""), loc="left")
    axes.set_title(source(result), loc="right", fontsize=9, color="0.35")
    axes.set(xlabel=x, ylabel=y)
    if x in ("epoch", "step") and axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def say_if_empty(axes: Axes, text: str) -> None:
    """Say why no line is drawn, where none is."""
    if not any(np.isfinite(np.asarray(line.get_ydata(), dtype=np.float64)).any() for line in axes.lines):
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")


def mark_minimum(axes: Axes, optimum: Optimum) -> None:
    """Mark the minimum loss (or the infimum), named at the left end, where losses are still far above."""
    if axes.get_yscale() == "linear" or optimum.nll > 0:
        axes.axhline(optimum.nll, color="0.2", linewidth=1.2, linestyle=(0, (4, 3)), zorder=1.5)
        axes.annotate(aim(optimum), (0, optimum.nll), xycoords=("axes fraction", "data"), xytext=(4, 2),
                      textcoords="offset points", fontsize=9, color="0.2")  # fmt: skip


def look(count: int, number: int = 0) -> dict[str, Any]:
    """Return how the n-th line is drawn: colour, dashes when colours run out, marks where its values are few."""
    dashes = ("-", "--", ":")[number // len(LINES) % 3]
    marks = {"marker": "o" if count <= FEW else "", "markersize": 4}
    return {"color": LINES[number % len(LINES)], "linestyle": dashes, **marks}


def epoch_colors(figure: Figure, axes: Axes, epochs: int) -> ScalarMappable:
    """Draw a bar of colours, and return them."""
    colors = ScalarMappable(LogNorm(1, max(2, epochs)), "viridis")
    bar = figure.colorbar(colors, ax=axes, pad=0.02)
    bar.set_label("epoch")
    bar.ax.yaxis.set(major_formatter=lambda value, _: f"{value:g}", minor_locator=NullLocator())
    return colors


def separator_path(run: GradientDescent) -> Figure:
    """Draw the course's figure 2: the separator in slope-intercept space; weights without a slope are left out."""
    axes = (figure := new_figure(7.2, 4.8)).subplots()
    lines = run.slope_intercept
    assert lines is not None
    axes.plot(*lines.T, color="0.85", linewidth=0.5)
    shades = epoch_colors(figure, axes, run.epochs).to_rgba(np.arange(1, len(lines)))
    axes.scatter(lines[1:, 0], lines[1:, 1], c=shades, s=9, zorder=2.5)
    path, (low, high) = lines[np.isfinite(lines).all(axis=1)], COURSE
    least, most = np.percentile(path, [5, 95], axis=0)  # without the wildest swings, of which the first steps are full
    inside = ((path >= low) & (path <= high)).all(axis=1).mean()
    if inside < INSIDE or ((most - least) / (high - low)).max() < FILLED:
        margin = 0.25 * (most - least) + 1e-2 * np.abs(most) + 1e-12
        low, high = least - margin, most + margin
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    first = int(np.flatnonzero(np.isfinite(lines[:, 0]))[0])
    axes.plot(*lines[first], "o", color=OVERSHOT, markersize=8, zorder=4, label=f"epoch {first}")
    if run.optimum.w is not None and run.optimum.w[1]:
        best = -run.optimum.w[[0, 2]] / run.optimum.w[1]
        axes.plot(*best, "*", color=OVERSHOT, markersize=13, zorder=4, label="minimum")
    figure.legend(**LEGEND)
    titled(axes, "Separator in slope–intercept space", run, "slope", "intercept")
    return figure


def curvature(run: GradientDescent) -> Figure:
    """Draw why the loss rises: eta q of every step, which should raise it above 2; colours say what the loss did."""
    axes = (figure := new_figure()).subplots()
    steps = np.arange(1, run.epochs + 1)
    rose, met = np.isin(steps, run.risen), np.isfinite(run.eta_q)
    top = max(2.5, 1.08 * float(run.eta_q[met].max(initial=0.0)))
    axes.axhspan(2, top, color=OVERSHOT, alpha=0.08, linewidth=0)
    axes.axhline(2, color=OVERSHOT, linewidth=1.2, label=r"$\eta\,q = 2$: beyond it a step overshoots")
    for mask, color, name in ((rose, OVERSHOT, "the loss rose"), (~rose, COLORS[0], "it did not")):
        if (mask & met).any():
            size = 9 if run.epochs > FEW else 25
            axes.scatter(steps[mask], run.eta_q[mask], s=size, color=color, label=f"{name}: {mask.sum()}")
    if not met.any():
        axes.text(0.5, 0.4, "no step met a gradient other than 0", transform=axes.transAxes, ha="center")
    figure.legend(**LEGEND, markerscale=2)
    titled(axes, "Curvature met by each step", run, "step", r"$\eta\,q$  (rate times curvature met)")
    axes.set(xlim=(0.5, run.epochs + 0.5), ylim=(0, top))
    return figure


def draw_separator(axes: Axes, w: Array, **style: Any) -> None:
    """Draw what the axes hold of the line w1 x1 + w2 x2 + bias = 0, however steep it is and whatever the unit."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    # In the axes' own coordinates, 0 to 1: a . u + c = 0.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        line = np.array([w[0] * (right - left), w[1] * (top - bottom), w[:2] @ [left, bottom] + w[2]])
        line /= np.linalg.norm(line[:2])
    if np.isfinite(line).all() and abs(line[2]) < 2:
        nearest, along = -line[2] * line[:2], np.array([-line[1], line[0]])
        axes.plot(*np.transpose([nearest - 2 * along, nearest + 2 * along]), transform=axes.transAxes, **style)


def separators(result: GradientDescent | NewtonResult) -> Figure:
    """Draw two features, a colour and a marker for each class; the separator at a dozen epochs, and the best one."""
    axes, points = (figure := new_figure(7.2, 5.6)).subplots(), result.points
    for label, marker in enumerate("o^"):
        x, y = points.X[points.t == label, :2].T
        style: dict[str, Any] = {"color": COLORS[label], "edgecolor": "white", "linewidth": 0.5, "zorder": 3}
        axes.scatter(x, y, s=26, marker=marker, label=f"class {label}", **style)
    axes.margins(0.05)
    if isinstance(result, GradientDescent):
        title, name, best = "The separator on its way", "minimum", result.optimum.w
        colors = epoch_colors(figure, axes, result.epochs)
        for epoch in np.unique(np.geomspace(1, result.epochs, SEPARATORS).round().astype(int)):
            draw_separator(axes, result.w[epoch], color=colors.to_rgba(epoch), linewidth=1.4, zorder=2)
    else:
        title, name, best = "The minimum", "separator", result.w
        if best is None:
            title, best = "A direction that separates", result.direction
    if best is not None:
        draw_separator(axes, best, color="black", linewidth=2, linestyle="--", zorder=2.5, label=name)
    figure.legend(**LEGEND)
    titled(axes, title, result, *map(literal, points.features))
    return figure


def losses_by_epoch(result: GradientDescent | Comparison, *, logarithmic: bool = False) -> Figure:
    """Draw the loss against epochs, the course's figure 3, of one descent or at every rate, with the minimum; or its
    distance from there, on logarithmic axes.
    """
    axes, goal = (figure := new_figure(7.4, 4.8)).subplots(), aim(result.optimum)
    runs = [result] if isinstance(result, GradientDescent) else result.runs
    for number, run in enumerate(runs):
        loss, epochs = np.append(run.nll, run.final), np.arange(run.epochs + 1)
        style = look(run.epochs, number) | {"label": f"{run.eta:g}", "linewidth": FINE if run.risen else 1.8}
        if logarithmic:
            axes.loglog(epochs[1:], positive(loss[1:] - result.optimum.nll), **style)
        else:
            axes.plot(epochs, loss, **style)
            if run.converged:
                axes.plot(run.epochs, run.final, "o", color=style["color"], markersize=5)
    if len(runs) > 1:
        figure.legend(**RATES)
    axes.set_xlim(int(logarithmic), max(1 + logarithmic, *(run.epochs for run in runs)))
    if logarithmic:
        say_if_empty(axes, f"no loss above the {goal} that this axis could show")
        titled(axes, f"Distance from the {goal}", result, "epoch", f"loss above the {goal} (nats a point)")
        plain_ticks(axes)
    else:
        mark_minimum(axes, result.optimum)
        titled(axes, "Gradient descent", result, "epoch", NLL)
    return figure


def positive(values: Array) -> Array:
    """Return what a logarithmic axis can show."""
    return np.where((values > SMALLEST) & (values < LARGEST), values, np.nan)


def plain_ticks(axes: Axes) -> None:
    """Write plain counts on the lower of logarithmic axes, and see that the other has an extent."""
    tops = [sibling.dataLim.ymax for sibling in axes.get_shared_y_axes().get_siblings(axes)]
    if not any(0 < top < np.inf for top in tops):
        axes.set_ylim(0.1, 1)  # with nothing that a logarithmic axis can show, Matplotlib would fail
    low, high = axes.get_ylim()
    if high / low < 1.1:
        axes.set_ylim(low / 2, high * 2)  # where all is the same, differences in the last digits would fill the axis
    axes.xaxis.set(major_formatter=lambda value, _: f"{value:,.0f}", minor_formatter=NullFormatter())


def draw_run(axes: Axes, x: Array, band: Sequence[Array], above: float = 0.0, **style: Any) -> None:
    """Draw the median over the shuffles and its band, so far above a loss."""
    median, low, high = (positive(values - above) for values in band)
    axes.fill_between(x, np.nan_to_num(low, nan=SMALLEST), high, color=style["color"], alpha=0.18, linewidth=0)
    axes.loglog(x, median, **style)


def joined_bands(run: StochasticRun) -> list[Array]:
    """Return evaluations, median, low and high from the first update on: the first epoch in detail, then the others."""
    epochs = np.unique(np.geomspace(1, len(run.evaluations) - 1, DRAWN).round().astype(int))[1:]
    names = vars(run.first_epoch)
    return [np.concatenate([names[n][1:], getattr(run, n)[epochs]]).astype(np.float64) for n in names]


def stochastic_losses(result: StochasticComparison) -> Figure:
    """Draw median and band of the loss over the shuffles against iterations, at every rate, with the minimum."""
    axes = (figure := new_figure(7.4, 5.0)).subplots()
    for number, run in enumerate(result.runs):
        evaluations, *band = joined_bands(run)
        epochs, rest = np.divmod(evaluations, len(result.points.X))
        iterations = epochs * result.updates + np.ceil(rest / result.batch_size)
        draw_run(axes, iterations, band, label=f"{run.eta:g}", linewidth=1.3, **look(len(iterations), number))
    say_if_empty(axes, "no loss that this axis could show")
    mark_minimum(axes, result.optimum)
    figure.legend(**RATES)
    shuffles = f"median of {result.shuffles} shuffles, 10 to 90 % shaded" if result.shuffles > 1 else "one shuffle"
    steps = f"iteration ({counted(result.batch_size, 'point')} each; {result.updates:,} an epoch)"
    titled(axes, f"Stochastic gradient descent\n{shuffles}", result, steps, NLL)
    axes.set_xlim(1, max(2, result.epochs * result.updates))
    plain_ticks(axes)
    return figure


def equal_cost(result: StochasticComparison) -> Figure:
    """Draw both methods' losses at equal numbers of gradient evaluations, a panel for each rate."""
    columns = min(3, len(result.runs))
    rows = -(-len(result.runs) // columns)
    figure = new_figure(max(5.5, 3.2 * columns), 1.2 + 2.4 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    name = "stochastic" if result.shuffles == 1 else "stochastic: median, 10 to 90 %"
    for axes, run in zip(panels.flat, result.runs, strict=False):
        evaluations, *band = joined_bands(run)
        draw_run(axes, evaluations, band, result.optimum.nll, label=name, linewidth=FINE, **look(len(evaluations)))
        full = positive(run.gradient_descent[1:] - result.optimum.nll)
        axes.loglog(run.evaluations[1:], full, label="gradient descent", linewidth=FINE, **look(len(full), 5))
        say_if_empty(axes, f"nothing above the\n{aim(result.optimum)} to show")
        axes.set_title(rf"$\eta$ = {run.eta:g}", loc="left", fontsize=11)
        axes.set_xlim(result.batch_size, max(run.evaluations[-1], result.batch_size + 1))
    for place, axes in enumerate(panels.flat):
        plain_ticks(axes)
        axes.xaxis.set(major_locator=LogLocator(numticks=5), minor_locator=NullLocator())
        axes.tick_params(labelbottom=place >= len(result.runs) - columns)
        if place >= len(result.runs):
            axes.set_axis_off()
    figure.supxlabel("gradient evaluations", fontsize=11)
    figure.supylabel(f"loss above the {aim(result.optimum)} (nats a point)", fontsize=11)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=min(2, columns))
    figure.text(0.995, 0.985, source(result), ha="right", va="top", fontsize=9, color="0.35")
    return figure


def newton_steps(result: NewtonResult) -> Figure:
    """Draw the loss above the minimum, and the gradient norm, against Newton steps."""
    axes = (figure := new_figure()).subplots()
    gaps = np.array([state.nll - result.nll for state in result.path])
    norms = np.array([state.gradient_norm for state in result.path])
    axes.semilogy(positive(gaps), "o-", label=f"loss above the {aim(result)} (nats a point)")
    axes.semilogy(positive(norms), "s--", color=OVERSHOT, label="gradient norm")
    say_if_empty(axes, "nothing above 0 to show")
    figure.legend(**LEGEND)
    titled(axes, "Newton's method", result, "step", "")
    return figure
