"""`cmpt726 backprop`: problem 3."""

from pathlib import Path
from typing import Annotated

import typer

from cli726.choices import Hidden
from commands.drawing import Figures, Output, drawing
from commands.options import Seed, examples

NETWORK, POINT = "Network", "Data point"
EPILOG = examples(
    "cmpt726 backprop --layers 2,4,1 --x 1,-0.5 --t 0.2",
    "cmpt726 backprop --json > example.json",
    "cmpt726 backprop --weights example.json --x 0,1,2",
)


@drawing("backprop")
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
    *,
    output: Output,
) -> None:
    """Problem 3: error back-propagation, each derivative as formula, number and check."""
    from cli726.backprop import document, example, payload, solve

    result = solve(*example(layers=layers, x=x, t=t, weights=weights, hidden=hidden, seed=seed))

    def figures() -> Figures:
        from cli726.backprop.figures import figures

        return figures(result)

    output.present(payload(result), document(result), figures)
