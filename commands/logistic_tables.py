"""What `cmpt726 lr` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cli726.text import printable
from commands.render import findings, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.logistic import Comparison, GradientDescent, NewtonResult, StochasticComparison
    from cli726.logistic.points import Array
    from cli726.logistic.results import Reached, StochasticRun, Summary

# Distances from the least error that the tables have room for.
SHOWN = (0.3, 0.1, 0.03, 0.01)


def short(value: float | None, digits: int = 4) -> str:
    """A number in a table; nothing for what is undefined."""
    return "" if value is None else f"{value:,.{digits}g}" if abs(value) < 1e6 else f"{value:.{digits}g}"


def source(name: str, points: Summary) -> RenderableType:
    """The first line: whose points."""
    from rich.text import Text

    zeros, ones = points.classes
    features = ", ".join(points.features) + (" (centred)" if points.means is not None else "")
    line = f"Data: {name}: {zeros} of class 0, {ones} of class 1; features {features}; bias {points.bias}"
    return Text(printable(line))


def weight_rows(points: Summary, *columns: Array | None) -> list[list[str]]:
    """A row for each weight."""
    names = [*points.features, "bias"]
    return [[name, *(short(None if w is None else float(w[i]), 6) for w in columns)] for i, name in enumerate(names)]


def descent_tables(result: GradientDescent) -> Iterator[RenderableType]:
    yield source(result.data, result.points)
    yield table(
        f"Gradient descent, eta = {result.eta:g}", "weight", "start", "end", "optimum",
        rows=weight_rows(result.points, result.w[0], result.w[-1], result.optimum.w),
    )  # fmt: skip
    curvature = result.lambda_max
    yield table(
        None, "error", "", "largest curvature", " ",
        rows=[
            ("first", short(result.nll[0], 6), "at the start", short(curvature.start)),
            ("last", short(result.nll[-1], 6), "at the end", short(curvature.end)),
            ("least possible", short(result.optimum.nll, 6), "at the optimum", short(curvature.optimum)),
            ("above the least", short(result.gap), "bound anywhere", short(curvature.bound)),
            ("gradient's length", short(result.gradient_norm), "2 / eta", short(2 / result.eta)),
        ],
        numeric=1,
    )  # fmt: skip
    yield from findings(result.findings)


def note(text: str) -> RenderableType:
    """A line about the table above it."""
    from rich.text import Text

    return Text(text + "\n", style="dim")


def ended(run: GradientDescent) -> str:
    """Why a descent ended, in a word or two."""
    if run.diverged:
        return "overflow"
    return "false stop" if run.false_stop else "tolerance" if run.converged else "limit"


def largest(run: GradientDescent) -> float | None:
    """The largest eta q that a step met."""
    known = [value for value in run.eta_q.tolist() if value == value]
    return max(known, default=None)


def near(reached: Sequence[Reached], points: int) -> list[str]:
    """Epochs to come within the distances shown, for good."""
    return ["never" if r.evaluations is None else str(r.evaluations // points) for r in reached if r.level in SHOWN]


def comparison_tables(result: Comparison) -> Iterator[RenderableType]:
    yield source(result.data, result.points)
    yield table(
        "Gradient descent", "eta", "epochs", "ended by", "last error", "above least", "rises", "largest eta q",
        *(f"within {level:g}" for level in SHOWN),
        rows=[
            (
                f"{run.eta:g}", run.epochs, ended(run), short(run.nll[-1]), short(run.gap, 3), len(run.rises),
                short(largest(run), 3), *near(run.within, result.points.count),
            )
            for run in result.runs
        ],
    )  # fmt: skip
    yield note(f"within: epochs to come, and stay, within that of the least error, {short(result.optimum.nll, 6)}")
    yield from findings(result.findings)


def stochastic_tables(result: StochasticComparison) -> Iterator[RenderableType]:
    yield source(result.data, result.points)
    updates = -(-result.points.count // result.batch_size)
    orders = "1 order" if result.shuffles == 1 else f"{result.shuffles} orders"
    yield table(
        f"Stochastic gradient descent, {result.epochs} epochs of {updates} updates, {orders}",
        "eta", "last error", "10 %", "90 %", "noise floor", "gradient descent's last error",
        rows=[
            (
                f"{run.eta:g}", *(short(band[-1]) for band in (run.nll_median, run.nll_low, run.nll_high)),
                short(run.noise_floor, 2), short(run.gradient_descent[-1]),
            )
            for run in result.runs
        ],
    )  # fmt: skip
    yield note(
        "last error: the median of the orders; noise floor: its mean distance above the least error,\n"
        f"{short(result.optimum.nll, 6)}, over the last quarter of the epochs, where it no longer falls"
    )
    yield table(
        "Gradient evaluations to come, and stay, so near to the least error",
        "eta", "method", *(f"within {level:g}" for level in SHOWN),
        rows=[row for run in result.runs for row in near_both(run)],
        numeric=2,
    )  # fmt: skip
    yield from findings(result.findings)


def near_both(run: StochasticRun) -> Iterator[list[str]]:
    """Both methods' evaluations, at the distances shown."""
    shown = [reached for reached in run.within if reached.level in SHOWN]
    yield [f"{run.eta:g}", "stochastic", *(count(reached.evaluations) for reached in shown)]
    yield ["", "gradient descent", *(count(reached.gradient_descent) for reached in shown)]


def count(evaluations: int | None) -> str:
    return "never" if evaluations is None else f"{evaluations:,}"


def newton_tables(result: NewtonResult) -> Iterator[RenderableType]:
    yield source(result.data, result.points)
    names = [*result.points.features, "bias"]
    yield table(
        "Newton's method", "step", "error", "gradient's length", "share of the step", *names,
        rows=[
            (
                step, f"{state.nll:.10f}", f"{state.gradient_norm:.2e}", f"{state.step:g}" if state.step else "",
                *(short(value, 6) for value in w),
            )
            for step, (state, w) in enumerate(zip(result.path, result.path_w.tolist(), strict=True))
        ],
    )  # fmt: skip
    yield from findings(result.findings)
