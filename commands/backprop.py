"""`cmpt726 backprop`: problem 3."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli726.choices import Hidden
from commands.drawing import draw
from commands.options import FigureFormat, Format, Json, NoFigures, Out, Seed, Show, examples
from commands.render import emit, findings, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from cli726.backprop import Backprop
    from cli726.gradient_check import Check

NETWORK, POINT = "Network", "Data point"
EPILOG = examples(
    "cmpt726 backprop --layers 2,4,1 --x 1,-0.5 --t 0.2",
    "cmpt726 backprop --json > example.json",
    "cmpt726 backprop --weights example.json --x 0,1,2",
)
# Beyond this a matrix is summed up in a line.
MOST_ROWS, MOST_COLUMNS = 12, 4


def listed(values: Iterable[float]) -> str:
    """A few numbers in brackets, or the first of many."""
    texts = [f"{value:.4g}" for value in values]
    return f"({', '.join(texts if len(texts) <= MOST_COLUMNS else [*texts[: MOST_COLUMNS - 1], '...'])})"


def agreement(check: "Check") -> str:
    """The relative error, or the verdict where there is none or it is not the point."""
    if check.verdict != "passed":
        return str(check.verdict)
    return f"{check.relative_error:.0e}" if check.relative_error else "0"


def derivative_table(result: "Backprop") -> "RenderableType":
    """The derivatives asked for, each with its checks."""
    rows = [
        (
            item.formula,
            f"{item.value:.6g}",
            f"{item.central.numeric:.6g}",
            agreement(item.central),
            agreement(item.complex),
        )
        for item in result.derivatives
    ]
    columns = ("derivative", "value", "central\ndifference", "relative\nerror", "complex\nstep error")
    return table("Derivatives that the assignment asks for", *columns, rows=rows)


def layer_table(result: "Backprop") -> "RenderableType":
    """What the forward and the backward pass leave at each layer."""
    rows = [("1", "", listed(result.x), "")]
    passes = zip(result.passed.activations, result.passed.outputs[1:], result.deltas, strict=True)
    rows += [(str(layer), listed(a), listed(z), listed(delta)) for layer, (a, z, delta) in enumerate(passes, start=2)]
    return table("Forward and backward", "layer", "a", "z", "δ = ∂Eₙ/∂a", rows=rows, numeric=9)


def gradient_table(result: "Backprop") -> "RenderableType":
    """Weights and gradients side by side; of large matrices only their shape and largest gradient."""
    from cli726.notation import indexed, superscript

    small = sum(len(matrix) for matrix in result.gradients) <= MOST_ROWS
    if small and all(matrix.shape[1] <= MOST_COLUMNS for matrix in result.gradients):
        pairs = enumerate(zip(result.network.weights, result.gradients, strict=True), start=1)
        rows = [
            (indexed("w", layer, unit, "j"), listed(weights), listed(gradient))
            for layer, (matrix, matrix_gradient) in pairs
            for unit, (weights, gradient) in enumerate(zip(matrix, matrix_gradient, strict=True), start=1)
        ]
        return table("Every gradient", "weights to a unit", "w", "∂Eₙ/∂w", rows=rows, numeric=9)
    rows = [
        (f"w{superscript(f'({layer})')}", f"{len(matrix)} x {matrix.shape[1]}", f"{abs(matrix).max():.4g}")
        for layer, matrix in enumerate(result.gradients, start=1)
    ]
    return table("Every gradient in short", "layer", "shape", "largest |∂Eₙ/∂w|", rows=rows)


def tables(result: "Backprop") -> "Iterator[RenderableType]":
    """What a person reads."""
    from rich.text import Text

    sizes = "-".join(map(str, result.network.sizes))
    point = f"x = {listed(result.x)}, t = {listed(result.t)}: y = {listed(result.passed.outputs[-1])}"
    yield Text(f"{sizes} network, {result.network.hidden} hidden units, identity output, no biases.")
    yield Text(f"{point}, Eₙ = {result.error:.6g}.\n")
    yield derivative_table(result)
    for item in result.absent:
        yield Text(f"Not in this network: {item.name} ({item.reason}).")
    yield layer_table(result)
    yield gradient_table(result)
    yield from findings(result.findings)


def backprop(
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Units in each layer, inputs first (default: 3,3,3,1).", rich_help_panel=NETWORK
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON file with a matrix for each layer, a row for each unit, as --json prints them; or all that "
            "--json prints (default: drawn from the seed).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    hidden: Annotated[
        Hidden | None, typer.Option(help="What hidden units do (default: logistic).", rich_help_panel=NETWORK)
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(metavar="X1,X2,...", help="Inputs (default: drawn from the seed).", rich_help_panel=POINT),
    ] = None,
    t: Annotated[
        str | None,
        typer.Option(metavar="T,...", help="Targets (default: drawn from the seed).", rich_help_panel=POINT),
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    format: Format = FigureFormat.png,
    no_figures: NoFigures = False,
    show: Show = False,
    as_json: Json = False,
) -> None:
    """Problem 3: error back-propagation, each derivative as formula, number and check."""
    from cli726.backprop import solve
    from cli726.worked_example import example

    result = solve(*example(layers=layers, x=x, t=t, weights=weights, hidden=hidden, seed=seed))

    def figure() -> "Figure":
        from cli726.figures.backprop import paths

        return paths(result)

    written = draw(
        {"network": figure},
        "backprop",
        out=out,
        format=format,
        no_figures=no_figures,
        show=show,
        as_json=as_json,
    )
    emit(result.document(), lambda: tables(result), as_json=as_json, figures=written)
