"""`cmpt726 backprop`: problem 3."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli726.choices import Hidden
from cli726.text import typed_path
from commands.drawing import Figures, Output, drawing
from commands.options import Seed, examples

EPILOG = examples(
    "cmpt726 backprop --layers 2,4,1 --x 1,-0.5 --t 0.2",
    "cmpt726 backprop --json > example.json",
    "cmpt726 backprop --weights example.json --x 0,1,2",
)


def option(panel: str, help: str, metavar: str | None = None, **more: Any) -> Any:
    """Return an option in a panel of the help."""
    return typer.Option(help=help, metavar=metavar, rich_help_panel=panel, **more)


SIZES = option("Network", "Units in each layer, inputs first (default: 3,3,3,1).", "N,N,...")
MATRICES = (
    "JSON file with a matrix for each layer, a row for each unit, as --json prints them; or all that it prints "
    "(default: drawn from the seed)."
)
FILE = option("Network", MATRICES, "FILE", parser=typed_path)
HIDDEN = option("Network", "What hidden units do (default: logistic).")
INPUTS = option("Data point", "Inputs (default: drawn from the seed).", "X1,X2,...")
TARGETS = option("Data point", "Targets (default: drawn from the seed).", "T,...")


@drawing("backprop")
def backprop(
    layers: Annotated[str | None, SIZES] = None,
    weights: Annotated[Path | None, FILE] = None,
    hidden: Annotated[Hidden | None, HIDDEN] = None,
    x: Annotated[str | None, INPUTS] = None,
    t: Annotated[str | None, TARGETS] = None,
    seed: Seed = 0,
    *,
    output: Output,
) -> None:
    """Problem 3: error back-propagation, each derivative as formula, number and check."""
    from cli726.backprop import solve
    from cli726.backprop.example import example
    from cli726.backprop.findings import document, payload

    result = solve(*example(layers=layers, x=x, t=t, weights=weights, hidden=hidden, seed=seed))

    def figures() -> Figures:
        """Return the figures; matplotlib is imported only where they are drawn."""
        from cli726.backprop.figures import figures

        return figures(result)

    output.present(payload(result), document(result), figures)
