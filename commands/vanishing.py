"""`cmpt726 vanishing`: problem 4."""

from typing import Annotated

from cli726.choices import Connect, Dtype, Hidden
from commands.drawing import Figures, Output, drawing
from commands.options import Seed, examples, option

EPILOG = examples(
    "cmpt726 vanishing",
    "cmpt726 vanishing --hidden relu --connect bipartite --weight normal:0.5 --depth 20",
    "cmpt726 vanishing --hidden logistic --connect chain --bias -5 --dtype float32",
)
NETWORK, FORMAT = "Network", "Format of the plain computation, beside the exact one."
EVERY = "Every weight, such as 0.9; or normal:0.5, drawn from N(0, 0.5²)."


@drawing("vanishing")
def vanishing(
    output: Output,
    depth: Annotated[int, option("Layers of weights, 1 to 20000.", None, NETWORK)] = 152,
    hidden: Annotated[Hidden | None, option("What hidden units do (default: both).", None, NETWORK)] = None,
    connect: Annotated[Connect | None, option("Connections between layers (default: both).", None, NETWORK)] = None,
    weight: Annotated[str, option(EVERY, "W", NETWORK)] = "1",
    bias: Annotated[str | None, option("Of every unit (default: none).", "B", NETWORK)] = None,
    x: Annotated[str, option("Inputs.", "X1,X2", "Data point")] = "1,1",
    t: Annotated[str, option("Target.", "T", "Data point")] = "0.5",
    dtype: Annotated[Dtype, option(FORMAT, None, NETWORK)] = Dtype.float64,
    seed: Seed = 0,
) -> None:
    """Problem 4: vanishing gradients in deep chains and bipartite networks, and what makes them exactly zero."""
    from cli726.vanishing import Setting, analyse
    from cli726.vanishing.findings import document

    setting = Setting(depth=depth, weight=weight, bias=bias, x=x, t=t, dtype=dtype, seed=seed)
    kinds = [(unit, joined) for unit in Hidden for joined in Connect]
    chosen = [kind for kind in kinds if hidden in (None, kind[0]) and connect in (None, kind[1])]
    results = [analyse(setting, *kind) for kind in chosen]

    def figures() -> Figures:
        """Return the figures; matplotlib is imported only where they are drawn."""
        from cli726.vanishing.figures import figures

        return figures(results)

    content = document(results)
    networks = [{**item.to_json(), "findings": document([item]).findings} for item in results]
    payload = networks[0] if len(networks) == 1 else {"networks": networks, "findings": content.findings}
    output.present(payload, content, figures)
