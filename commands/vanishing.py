"""`cmpt726 vanishing`: problem 4."""

from typing import Annotated

import typer

from cli726.choices import Connect, Dtype, Hidden
from commands.drawing import Output, drawing
from commands.options import Seed, examples

NETWORK, POINT = "Network", "Data point"
EPILOG = examples(
    "cmpt726 vanishing",
    "cmpt726 vanishing --hidden relu --connect bipartite --weight normal:0.5 --depth 20",
    "cmpt726 vanishing --hidden logistic --connect chain --bias -5 --dtype float32",
)


@drawing("vanishing")
def vanishing(
    output: Output,
    depth: Annotated[int, typer.Option(help="Layers of weights, 1 to 20000.", rich_help_panel=NETWORK)] = 152,
    hidden: Annotated[
        Hidden | None, typer.Option(help="What hidden units do (default: both).", rich_help_panel=NETWORK)
    ] = None,
    connect: Annotated[
        Connect | None, typer.Option(help="Connections between layers (default: both).", rich_help_panel=NETWORK)
    ] = None,
    weight: Annotated[
        str,
        typer.Option(
            metavar="W",
            help="Every weight, such as 0.9; or normal:0.5, drawn from N(0, 0.5²).",
            rich_help_panel=NETWORK,
        ),
    ] = "1",
    bias: Annotated[
        str | None, typer.Option(metavar="B", help="Of every unit (default: none).", rich_help_panel=NETWORK)
    ] = None,
    x: Annotated[str, typer.Option(metavar="X1,X2", help="Inputs.", rich_help_panel=POINT)] = "1,1",
    t: Annotated[str, typer.Option(metavar="T", help="Target.", rich_help_panel=POINT)] = "0.5",
    dtype: Annotated[
        Dtype, typer.Option(help="Format of the plain computation, beside the exact one.", rich_help_panel=NETWORK)
    ] = Dtype.float64,
    seed: Seed = 0,
) -> None:
    """Problem 4: vanishing gradients in deep chains and bipartite networks, and what makes them exactly zero."""
    from cli726.vanishing import Setting, analyse, document, figures

    setting = Setting(depth=depth, weight=weight, bias=bias, x=x, t=t, dtype=dtype, seed=seed)
    results = [
        analyse(setting, unit, joined)
        for unit in ([hidden] if hidden else Hidden)
        for joined in ([connect] if connect else Connect)
    ]
    content = document(results)
    networks = [{**item.to_json(), "findings": document([item]).findings} for item in results]
    payload = networks[0] if len(networks) == 1 else {"networks": networks, "findings": content.findings}
    output.present(payload, content, lambda: figures(results))
