"""Problem 4 in the report."""

from __future__ import annotations

from collections.abc import Sequence

from cli726.choices import Connect, Dtype, Hidden
from cli726.figures.vanishing import by_layer, saturation
from cli726.live_paths import REVIVING_BIAS, DeadNetworks
from cli726.notation import indexed, superscript
from cli726.report.section import Section, table, told
from cli726.report.wording import prose
from cli726.vanishing import Vanishing, analyse
from cli726.vanishing_findings import explain, explain_dead, magnitude
from cli726.vanishing_setting import Setting, dead_networks

__all__ = ["section"]


def section() -> Section:
    """The assignment's networks: 152 layers of weights, every weight 1."""
    setting = Setting()
    results = [analyse(setting, hidden, connect) for hidden in Hidden for connect in Connect]
    logistic, relu = (chosen(results, hidden, Connect.chain) for hidden in Hidden)
    dead = dead_networks(setting)
    depth = setting.depth
    small = magnitude(float(logistic.log10[0]))
    return Section(
        headline=f"In the logistic chain {indexed('w', 1, 1, 1)} has a gradient of {small}; with ReLU one inactive "
        f"unit makes {whole_chain(relu)} gradients exactly 0.",
        data={
            "depth": depth,
            "output": depth + 1,
            "factors": depth - 1,
            "bound": prose(magnitude(logistic.bound_log10)),
            "setting": prose(f"every weight {setting.weight}, x = ({setting.x.replace(',', ', ')}), t = {setting.t}"),
            "together": together_table(results),
            "causes": cause_table(logistic),
            "cause_layer": logistic.causes[0].layer,
            "switched": switch_table([item for item in results if item.switched_off]),
            "dead": dead_table(dead),
            "logistic": told(explain(logistic)),
            "relu": told(explain(relu)),
            "bipartite": told([*explain(chosen(results, Hidden.relu, Connect.bipartite)), *explain_dead(dead)]),
        },
        figures={"layers": lambda: by_layer(results), "saturation": lambda: saturation(results)},
    )


def chosen(results: Sequence[Vanishing], hidden: Hidden, connect: Connect) -> Vanishing:
    return next(item for item in results if item.hidden is hidden and item.connect is connect)


def whole_chain(relu: Vanishing) -> str:
    """How many gradients one inactive unit makes zero, of how many."""
    counts = [row.zeros_without_biases for row in relu.switched_off if row.what.startswith("one unit")]
    return f"{counts[0]} of {relu.zeros.total_weights}"


def together_table(results: Sequence[Vanishing]) -> object:
    """The gradient at some layers, a row for each network."""
    depth = results[0].setting.depth
    layers = sorted({1, depth // 4, depth // 2, 3 * depth // 4, depth})
    rows = [
        (
            item.name,
            *(magnitude(float(item.log10[layer - 1])) for layer in layers),
            f"{item.zeros.zero_gradients} of {item.zeros.total_weights}",
            *(lost(item, dtype) for dtype in Dtype),
        )
        for item in results
    ]
    return table(("network", *(f"l = {layer}" for layer in layers), "exactly 0", *Dtype), rows)


def lost(item: Vanishing, dtype: Dtype) -> str:
    """From which layer down ordinary code of that format returns no gradient."""
    under, over = item.lost_below(dtype), item.overflow_below(dtype)
    return f"0 from {under}" if under else f"∞ from {over}" if over else "right"


def cause_table(item: Vanishing) -> object:
    """Orders of magnitude of each factor, as given and with one thing changed."""
    rows = []
    for cause in item.causes:
        parts = cause.shares
        shares = (parts.error, parts.output, parts.weights, parts.slopes, parts.total)
        rows.append((cause.change, *("−∞" if share is None else order(share) for share in shares)))
    names = ("y − t", indexed("z", "l", 1), "weights", "slopes h′", "sum")
    return table(("one thing changed", *names), rows)


def order(share: float) -> str:
    text = f"{share:+.1f}".replace("-", "−")
    return text if text[1:] != "0.0" else "0.0"


def switch_table(results: Sequence[Vanishing]) -> object:
    """How many gradients are exactly zero once something is switched off."""
    columns = ["switched off"]
    for item in results:
        columns += [f"{item.connect}, no biases", f"{item.connect}, biases {REVIVING_BIAS:g}"]
    rows = []
    for options in zip(*(item.switched_off for item in results), strict=True):
        counts = [
            f"{count} of {row.total_weights}"
            for row in options
            for count in (row.zeros_without_biases, row.zeros_with_biases)
        ]
        rows.append((options[0].what, *counts))
    return table(columns, rows)


def dead_table(dead: Sequence[DeadNetworks]) -> object:
    """Random bipartite ReLU networks: how many have an active unit in every layer."""
    rows = [
        (
            item.units,
            f"{item.alive} of {item.simulated}",
            "" if item.alive_theory is None else f"{item.alive_theory:.3g}",
            f"{item.layers_alive:.4g}",
            "" if item.layers_alive_theory is None else f"{item.layers_alive_theory:.4g}",
        )
        for item in dead
    ]
    power = superscript(dead[0].hidden_layers)
    columns = ("units a layer, n", "alive", f"(1 − 2⁻ⁿ){power}", "layers alive, mean", "expected")
    return table(columns, rows)
