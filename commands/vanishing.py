"""`cmpt726 vanishing`: problem 4."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli726.choices import Connect, Dtype, Hidden
from commands.drawing import draw
from commands.options import FigureFormat, Format, Json, NoFigures, Out, Seed, Show, examples
from commands.render import emit, findings, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from cli726.findings import Finding
    from cli726.live_paths import DeadNetworks
    from cli726.vanishing import Vanishing
    from cli726.vanishing_setting import Setting

NETWORK, POINT = "Network", "Data point"
EPILOG = examples(
    "cmpt726 vanishing",
    "cmpt726 vanishing --hidden relu --connect bipartite --weight normal:0.5 --depth 20",
    "cmpt726 vanishing --hidden logistic --connect chain --bias -5 --dtype float32",
)
SHOWN_LAYERS = 7


def spread(depth: int, count: int) -> list[int]:
    """Some layers from the first to the last, evenly spread."""
    return sorted({round(1 + step * (depth - 1) / (count - 1)) for step in range(count)})


def signed(share: float | None) -> str:
    """A share in orders of magnitude; of a factor that is exactly 0 there is none."""
    if share is None:
        return "-inf"
    text = f"{share:+.1f}"
    return text if text[1:] != "0.0" else "0.0"


def together_table(results: "Sequence[Vanishing]") -> "RenderableType":
    """The gradient at some layers, a row for each network."""
    from cli726.vanishing_findings import magnitude

    layers = spread(results[0].setting.depth, 4)
    rows = [
        (
            item.name,
            *(magnitude(item.log10[layer - 1]) for layer in layers),
            f"{item.zeros.zero_gradients} of {item.zeros.total_weights}",
            *(lost(item, dtype) for dtype in Dtype),
        )
        for item in results
    ]
    columns = ("network", *(f"l = {layer}" for layer in layers), "exactly 0", "float32", "float64")
    return table("|∂Eₙ/∂w₁₁⁽ˡ⁾|, and from which layer down ordinary code loses it", *columns, rows=rows)


def lost(item: "Vanishing", dtype: Dtype) -> str:
    """Where a format under- or overflows."""
    under, over = item.lost_below(dtype), item.overflow_below(dtype)
    return f"0 from {under}" if under else f"inf from {over}" if over else "-"


def layer_table(item: "Vanishing") -> "RenderableType":
    """The gradient of one network at some layers: exact, as ordinary code finds it, with skip connections."""
    from cli726.vanishing_findings import magnitude

    dtype = item.setting.dtype
    signs = {1: "+", -1: "-", 0: ""}
    rows = [
        (
            layer,
            signs[int(item.sign[layer - 1])] + magnitude(item.log10[layer - 1]),
            f"{item.log10[layer - 1]:.2f}",
            f"{item.plain[dtype][layer - 1]:.2g}",
            magnitude(item.skip[layer - 1]),
            magnitude(item.skip_scaled[layer - 1]),
        )
        for layer in spread(item.setting.depth, SHOWN_LAYERS)
    ]
    columns = ("layer l", "∂Eₙ/∂w₁₁⁽ˡ⁾", "log₁₀ |·|", f"in {dtype}", "|·| with skips", "skips, h/depth")
    return table("Gradient by layer", *columns, rows=rows)


def cause_table(item: "Vanishing") -> "RenderableType":
    """The shares of each factor, as given and with one thing changed."""
    from cli726.notation import indexed

    layer = item.causes[0].layer
    cancels = any(cause.shares.cancellation for cause in item.causes)
    rows = []
    for cause in item.causes:
        parts = cause.shares
        shares = [parts.error, parts.output, parts.weights, parts.slopes, *([parts.cancellation] if cancels else [])]
        rows.append((cause.change, *map(signed, shares), signed(parts.total)))
    names = [
        "one thing changed",
        "y − t",
        indexed("z", layer, 1),
        "weights",
        "h′",
        *(["signs"] if cancels else []),
        "sum",
    ]
    title = f"Orders of magnitude that each factor contributes at layer {layer}, {item.name}"
    return table(title, *names, rows=rows)


def switch_table(results: "Sequence[Vanishing]") -> "RenderableType":
    """How many gradients are exactly zero once something is switched off."""
    from cli726.live_paths import REVIVING_BIAS

    columns = ["switched off"]
    for item in results:
        columns += [f"{item.connect},\nno biases", f"{item.connect},\nbiases {REVIVING_BIAS:g}"]
    rows = []
    for options in zip(*(item.switched_off for item in results), strict=True):
        if not any(row.zeros_without_biases + row.zeros_with_biases for row in options):
            continue
        counts = [
            f"{count} of {row.total_weights}"
            for row in options
            for count in (row.zeros_without_biases, row.zeros_with_biases)
        ]
        rows.append((options[0].what, *counts))
    return table("ReLU: gradients that are exactly 0 once one thing is switched off", *columns, rows=rows)


def dead_table(dead: "Sequence[DeadNetworks]") -> "RenderableType":
    """Random bipartite ReLU networks: how many stay alive, and how long."""
    rows = [
        (
            item.units,
            f"{item.alive} of {item.simulated}",
            "-" if item.alive_theory is None else f"{item.alive_theory:.3g}",
            f"{item.layers_alive:.4g}",
            "-" if item.layers_alive_theory is None else f"{item.layers_alive_theory:.4g}",
        )
        for item in dead
    ]
    columns = ("units a layer", "alive", "probability", "layers alive, mean", "expected")
    return table("Random bipartite ReLU networks: an active unit in every layer?", *columns, rows=rows)


def opening(setting: "Setting", results: "Sequence[Vanishing]") -> "Iterator[RenderableType]":
    """The setting and the formulas."""
    from rich.text import Text

    from cli726.vanishing_setting import formula, slope_formula

    biases = "no biases" if setting.bias is None else f"biases {setting.bias}"
    layers = f"{setting.depth} layers of weights" if setting.depth > 1 else "1 layer of weights"
    rule = (
        f"every weight {setting.weight}"
        if ":" not in setting.weight
        else f"weights {setting.weight}, seed {setting.seed}"
    )
    yield Text(f"{layers}, {rule}, {biases}, x = ({setting.x}), t = {setting.t}.")
    for connect in dict.fromkeys(item.connect for item in results):
        yield Text(f"  {connect}: {formula(connect, setting.depth)}")
    slopes = (
        f"{'ReLU' if hidden is Hidden.relu else 'logistic'}: {slope_formula(hidden)}"
        for hidden in dict.fromkeys(item.hidden for item in results)
    )
    yield Text(f"  for l = 1 ... {setting.depth}; z⁽¹⁾ = x, and the product is 1 for l = {setting.depth}")
    yield Text(f"  {'; '.join(slopes)}\n")


def tables(
    setting: "Setting", results: "Sequence[Vanishing]", dead: "Sequence[DeadNetworks]", explained: "Sequence[Finding]"
) -> "Iterator[RenderableType]":
    """What a person reads."""
    yield from opening(setting, results)
    yield layer_table(results[0]) if len(results) == 1 else together_table(results)
    if results[0].causes[0].shares.total is not None:
        yield cause_table(results[0])
    relu = [item for item in results if item.switched_off]
    if relu:
        yield switch_table(relu)
    if dead and len(results) == 1:
        yield dead_table(dead)
    yield from findings(explained)


def document(
    results: "Sequence[Vanishing]", dead: "Sequence[DeadNetworks]", explained: "Sequence[Finding]"
) -> Mapping[str, Any]:
    """What `--json` prints: one network's keys at the top, several under `networks`."""
    from cli726.vanishing_findings import explain

    extra = {"dead_networks": dead} if dead else {}
    if len(results) == 1:
        return {**results[0].document(), **extra, "findings": explained}
    networks = [{**item.document(), "findings": list(explain(item))} for item in results]
    return {"networks": networks, **extra, "findings": explained}


def vanishing(
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
    out: Out = None,
    format: Format = FigureFormat.png,
    no_figures: NoFigures = False,
    show: Show = False,
    as_json: Json = False,
) -> None:
    """Problem 4: vanishing gradients in deep chains and bipartite networks, and what makes them exactly zero."""
    from cli726.vanishing import analyse
    from cli726.vanishing_findings import explain, explain_dead, explain_together
    from cli726.vanishing_setting import Setting, dead_networks

    setting = Setting(depth=depth, weight=weight, bias=bias, x=x, t=t, dtype=dtype, seed=seed)
    results = [
        analyse(setting, unit, joined)
        for unit in ([hidden] if hidden else Hidden)
        for joined in ([connect] if connect else Connect)
    ]
    dead = dead_networks(setting) if results[-1].hidden is Hidden.relu else ()
    if len(results) == 1:
        explained = [*explain(results[0]), *explain_dead(dead)]
    else:
        explained = list(explain_together(results, dead))
    written = draw(
        figures(results), "vanishing", out=out, format=format, no_figures=no_figures, show=show, as_json=as_json
    )
    emit(
        document(results, dead, explained),
        lambda: tables(setting, results, dead, explained),
        as_json=as_json,
        figures=written,
    )


def figures(results: "Sequence[Vanishing]") -> "Mapping[str, Callable[[], Figure]]":
    """File stem -> how to draw it."""

    def gradients() -> "Figure":
        from cli726.figures.vanishing import by_layer

        return by_layer(results)

    def pushed() -> "Figure":
        from cli726.figures.vanishing import saturation

        return saturation(results)

    if any(item.saturation is not None for item in results):
        return {"gradients": gradients, "saturation": pushed}
    return {"gradients": gradients}
