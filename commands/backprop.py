"""`cmpt726 backprop`: problem 3."""

from pathlib import Path
from typing import Annotated

from cli726.choices import Hidden
from commands.drawing import Figures, Output, drawing
from commands.options import Seed, examples, option, path_option

EPILOG = examples(
    "cmpt726 backprop --layers 2,4,1 --x 1,-0.5 --t 0.2",
    "cmpt726 backprop --json > example.json",
    "cmpt726 backprop --weights example.json --x 0,1,2",
)
NETWORK, LAYERS = "Network", "Units in each layer, inputs first (default: 3,3,3,1)."
MATRICES = (
    "JSON file with a matrix for each layer, a row for each unit, as --json prints them; or all that it prints "
    "(default: drawn from the seed)."
)


@drawing("backprop")
def backprop(
    output: Output,
    layers: Annotated[str | None, option(LAYERS, "N,N,...", NETWORK)] = None,
    weights: Annotated[Path | None, path_option(MATRICES, "FILE", NETWORK)] = None,
    hidden: Annotated[Hidden | None, option("What hidden units do (default: logistic).", None, NETWORK)] = None,
    x: Annotated[str | None, option("Inputs (default: drawn from the seed).", "X1,X2,...", "Data point")] = None,
    t: Annotated[str | None, option("Targets (default: drawn from the seed).", "T,...", "Data point")] = None,
    seed: Seed = 0,
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
