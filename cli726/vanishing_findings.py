"""Problem 4's findings: why gradients are small, where formats lose them, which are exactly zero, what helps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from cli726.choices import Connect, Dtype, Hidden
from cli726.findings import Finding
from cli726.gradient_causes import PUSH
from cli726.live_paths import ONE_UNIT, WHOLE_LAYER, DeadNetworks
from cli726.notation import superscript
from cli726.vanishing import Vanishing

__all__ = ["explain", "explain_dead", "explain_together", "magnitude"]

# A factor counts as a reason once it takes an order of magnitude.
NOTABLE = 1.0
# Beyond so many orders of magnitude a gradient has vanished, or exploded.
EXTREME = 3.0


def magnitude(log10: float) -> str:
    """10**log10 with two digits, for any logarithm; "0" for -inf."""
    if not math.isfinite(log10):
        return "0"
    if -4 < log10 < 5:
        value = 10**log10
        return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
    exponent = math.floor(log10)
    digits = f"{10 ** (log10 - exponent):.1f}"
    return f"1.0e{exponent + 1:+03d}" if digits == "10.0" else f"{digits}e{exponent:+03d}"


def explain(result: Vanishing) -> Iterator[Finding]:
    """All that holds for one network."""
    yield from explain_size(result)
    yield from explain_reasons(result)
    yield from explain_saturation(result)
    yield from explain_formats(result)
    yield from explain_zeros(result)
    yield from explain_switching(result)
    yield from explain_skips(result)


def explain_together(results: Sequence[Vanishing], dead: Sequence[DeadNetworks]) -> Iterator[Finding]:
    """What several networks beside each other show, without what their common tables show already."""
    for item in [item for item in results if item.hidden is Hidden.logistic][:1]:
        for part in (explain_reasons, explain_saturation, explain_skips):
            yield from (named(item, finding) for finding in part(item))
    for item in results:
        if item.zeros.zero_gradients:
            yield from (named(item, finding) for finding in explain_zeros(item))
        yield from (named(item, finding) for finding in explain_switching(item))
    yield from explain_dead(dead)


def named(result: Vanishing, finding: Finding) -> Finding:
    """A finding under the name of its network."""
    lowered = finding.text[0].lower() + finding.text[1:]
    evidence = {"network": result.name, **finding.evidence}
    return Finding(f"{result.name[0].upper()}{result.name[1:]}: {lowered}", evidence)


def explain_size(result: Vanishing) -> Iterator[Finding]:
    """How the gradient changes from the last layer to the first."""
    depth, last, first = result.setting.depth, float(result.log10[-1]), float(result.log10[0])
    if depth == 1 or not math.isfinite(last + first):
        return
    change = first - last
    ends = f"{magnitude(last)} in layer {depth} to {magnitude(first)} in layer 1"
    rate = f"{abs(change) / (depth - 1):.2g} orders of magnitude a layer"
    if change < -NOTABLE:
        verb = "vanishes" if first < -EXTREME else "shrinks"
        text = f"The gradient {verb} towards the input: |∂Eₙ/∂w₁₁| falls from {ends}, {rate}."
    elif change > NOTABLE:
        verb = "explodes" if first > EXTREME else "grows"
        text = f"The gradient {verb} towards the input: |∂Eₙ/∂w₁₁| grows from {ends}, {rate}."
    else:
        text = f"The gradient keeps its size through the layers: |∂Eₙ/∂w₁₁| goes from {ends}."
    yield Finding(text, {"first": first, "last": last})


def explain_reasons(result: Vanishing) -> Iterator[Finding]:
    """Each factor that takes at least an order of magnitude from the first layer's gradient, and how many it takes."""
    shares, factors = result.shares, result.setting.depth - 1
    if shares.total is None:
        return
    slopes = ""
    if result.slopes is not None:
        best = magnitude(result.bound_log10)
        slopes = f"{factors} factors, none above {result.slopes[1]:.3g}; even at 1/4 each the product would be {best}"
    reasons = (
        ("small h′", shares.slopes, slopes),
        ("small weights", shares.weights, f"{factors} factors |w|, summed over paths"),
        ("an input near 0", shares.output, "the factor x₁"),
        ("a small error", shares.error, f"the factor y − t = {result.residual:.3g}"),
        ("paths that cancel", shares.cancellation, "their signs differ"),
    )
    for what, share, factor in reasons:
        if share is not None and share <= -NOTABLE:
            yield Finding(
                f"Reason {what}: {-share:.1f} orders of magnitude at layer 1 ({factor}), "
                f"whose gradient is {magnitude(shares.total)}.",
                {"reason": what, "share_log10": share, "total_log10": shares.total},
            )


def explain_saturation(result: Vanishing) -> Iterator[Finding]:
    """What pushing the activations towards 0 and 1 does, where both ends are worse than the middle."""
    pushed = result.saturation
    if pushed is None:
        return
    low, middle, high = (int(np.argmin(np.abs(pushed.push - push))) for push in (-PUSH, 0.0, PUSH))
    layer, sizes = pushed.layers[1], [float(pushed.log10[row, 1]) for row in (low, middle, high)]
    if max(sizes[0], sizes[2]) >= sizes[1] - NOTABLE:
        return
    output = [float(pushed.output[row]) for row in (low, middle, high)]
    yield Finding(
        f"Saturation stops learning: |∂y/∂w₁₁| of layer {layer} is {magnitude(sizes[1])} at z = {output[1]:.2g}, "
        f"but {magnitude(sizes[2])} pushed to z = {output[2]:.3g} and {magnitude(sizes[0])} at z = {output[0]:.2g}, "
        "where z itself is a small factor too.",
        {"log10": sizes, "output": output},
    )


def explain_formats(result: Vanishing) -> Iterator[Finding]:
    """Where ordinary code returns 0 or no number, and numerical differentiation with it."""
    for dtype in Dtype:
        lost, overflow = result.lost_below(dtype), result.overflow_below(dtype)
        if lost is not None:
            size = magnitude(float(result.log10[lost - 1]))
            yield Finding(
                f"In {dtype} the gradient underflows to 0 from layer {lost} down, where it is {size}.",
                {"dtype": dtype, "underflow_layer": lost},
            )
        if overflow is not None:
            yield Finding(
                f"In {dtype} the gradient overflows from layer {overflow} down.",
                {"dtype": dtype, "overflow_layer": overflow},
            )
    numerical, first = result.numerical, float(result.log10[0])
    if numerical.central_difference == 0 and numerical.complex_step != 0 and math.isfinite(first):
        exact = math.log10(abs(numerical.complex_step)) if math.isfinite(numerical.complex_step) else math.nan
        if abs(exact - first) < 1e-6:
            yield Finding(
                f"A central difference in w₁₁⁽¹⁾ returns exactly 0, the complex step {numerical.complex_step:.2g}: "
                "the difference is lost to rounding, the gradient is not.",
                {"central_difference": 0.0, "complex_step": numerical.complex_step},
            )


def explain_zeros(result: Vanishing) -> Iterator[Finding]:
    """Which gradients are exactly zero in this network."""
    zeros = result.zeros
    if zeros.zero_gradients == 0:
        if result.hidden is Hidden.relu and result.slopes is not None:
            paths = "" if zeros.live_paths_log10 is None else f", {magnitude(zeros.live_paths_log10)} live paths"
            yield Finding(
                f"No gradient is 0: every hidden unit is active{paths}. There h′ = 1: only weights scale gradients.",
                {"zeros": zeros},
            )
        return
    reasons = "; ".join(f"{reason}: {count}" for reason, count in zeros.because.items())
    dead = "" if zeros.dead_layer is None else f" Layer {zeros.dead_layer} has no active unit: nothing passes it."
    yield Finding(
        f"{zeros.zero_gradients} of {zeros.total_weights} gradients are exactly 0 ({reasons}).{dead}", {"zeros": zeros}
    )


def explain_switching(result: Vanishing) -> Iterator[Finding]:
    """What one inactive unit and one inactive layer cost, if all else is active."""
    rows = {row.what: row for row in result.switched_off}
    unit, layer = rows.get(ONE_UNIT), rows.get(WHOLE_LAYER)
    if unit is None or layer is None or rows["nothing"].zeros_without_biases:
        return
    total, place = unit.total_weights, result.setting.depth // 2 + 1
    if result.connect is Connect.chain:
        whole = ", all of its chain" if unit.zeros_without_biases == result.setting.depth else ""
        upto = ", those up to and including the one that leaves it" if unit.zeros_with_biases == place else ""
        text = (
            f"One inactive unit (layer {place}) makes {unit.zeros_without_biases} of {total} gradients 0{whole}; "
            f"with biases {unit.zeros_with_biases}{upto}."
        )
    else:
        alone = unit.zeros_without_biases == unit.zeros_with_biases == unit.weights_at_unit
        text = (
            f"One inactive unit (layer {place}) makes {unit.zeros_without_biases} of {total} gradients 0"
            f"{', the weights at it, for other paths live on' if alone else ''}; a layer with none active "
            f"{layer.zeros_without_biases}, with biases {layer.zeros_with_biases}."
        )
    yield Finding(text, {"one_unit": unit, "whole_layer": layer})


def explain_skips(result: Vanishing) -> Iterator[Finding]:
    """What skip connections change, compared in the first layer and in the worst."""
    # The last weights lie beyond the last branch.
    depth, first, skip, scaled = result.setting.depth, float(result.log10[0]), result.skip[:-1], result.skip_scaled[:-1]
    if depth == 1 or not np.isfinite(skip[0]):
        return
    evidence = {"first": first, "first_with_skip": skip[0], "worst_with_skip": skip.min(), "scaled": scaled}
    size = magnitude(float(skip[0]))
    if first < min(skip[0], 0.0) - NOTABLE:
        worst = int(np.argmin(skip))
        saturated = skip[worst] < skip[0] - NOTABLE and result.skip_slopes[worst] < -NOTABLE
        low, slope = magnitude(float(skip[worst])), magnitude(float(result.skip_slopes[worst]))
        but = (
            f", but layer {worst + 1} {low}, for the sum of outputs saturates its unit (h′ = {slope})"
            if saturated
            else ""
        )
        text = (
            f"Skip connections (ResNet, z⁽ˡ⁺¹⁾ = z⁽ˡ⁾ + h) make each factor w h′ into 1 + w h′: layer 1 has {size}, "
            f"not {magnitude(first)}{but}."
        )
    elif skip[0] > max(first, 0.0) + NOTABLE:
        text = f"Skip connections alone make the gradient of layer 1 explode to {size}."
    else:
        return
    if np.isfinite(scaled).all() and np.ptp(scaled) < NOTABLE:
        ends = f"{magnitude(float(scaled.min()))} to {magnitude(float(scaled.max()))}"
        text += f" With branches scaled by 1/{depth}, the work of normalisation, every layer has {ends}."
    yield Finding(text, evidence)


def explain_dead(dead: Sequence[DeadNetworks]) -> Iterator[Finding]:
    """How likely a whole random bipartite ReLU network is dead, simulated and by theory."""
    if not dead or dead[0].hidden_layers == 0:
        return
    units = ", ".join(str(item.units) for item in dead)
    alive = ", ".join(f"{item.alive} of {item.simulated}" for item in dead)
    chances = [item.alive_theory for item in dead if item.alive_theory is not None]
    text = f"Random bipartite ReLU networks, n = {units} units a layer: {alive} simulated have no dead layer"
    if len(chances) == len(dead):
        power = superscript(dead[0].hidden_layers)
        text += f"; weights symmetric about 0 give (1 − 2⁻ⁿ){power} = {', '.join(f'{c:.2g}' for c in chances)}"
    yield Finding(f"{text}.", {"dead_networks": list(dead)})
