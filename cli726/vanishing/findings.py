"""Problem 4's answers: general ones with their derivation, then what holds for the networks at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_UP, Context, Decimal

import numpy as np

from cli726.choices import Connect, Hidden
from cli726.document import Document, Finding, Math, m
from cli726.text import counted
from cli726.vanishing.gradients import Vanishing, formula
from cli726.vanishing.network import log10
from cli726.vanishing.tables import magnitude, tables

__all__ = ["document"]

CHAIN = Connect.chain
# A factor is told once it changes a gradient by an order of magnitude; by so much biases are pushed.
NOTABLE, PUSH = 1.0, 5.0
UPWARDS = Context(prec=3, rounding=ROUND_UP, Emin=MIN_EMIN, Emax=MAX_EMAX)


def told(text: str) -> tuple[str | Math, ...]:
    """Return a sentence whose mathematics stands between backticks."""
    return tuple(m(part) if place % 2 else part for place, part in enumerate(text.split("`")))


QUESTIONS = {
    "4.1": told("`∂E_n/∂w_11^(l)` for all layers l"),
    "4.2": "Logistic units: h'; learning at small l with outputs near 0 and 1; reasons for small gradients",
    "4.3": "ReLU: when are the gradients zero?",
    "4.4": "ReLU with complete bipartite connections: when are the gradients zero?",
}


def question(item: Vanishing) -> str:
    """Return the number of the question that a network answers."""
    return "4.2" if item.hidden is Hidden.logistic else "4.3" if item.connect is CHAIN else "4.4"


def title(item: Vanishing) -> str:
    """Return a network's name at the beginning of a sentence."""
    return item.name[0].upper() + item.name[1:]


def document(results: Sequence[Vanishing]) -> Document:
    """Return the answers that one or more networks of one setting give."""
    setting = results[0].setting
    random = ":" in setting.weight
    rule = f"weights {setting.weight}, seed {setting.seed}" if random else f"every weight {setting.weight}"
    bias = "no biases" if setting.bias is None else f"biases {setting.bias}"
    lead = f"{counted(setting.depth, 'layer of weights', 'layers of weights')}, {rule}, {bias}"
    asked = {"4.1", *map(question, results)}
    findings = [*explain_formula(results), *explain_logistic([item for item in results if question(item) == "4.2"])]
    for number, general in (("4.3", explain_relu), ("4.4", explain_paths)):
        if number in asked:
            findings += [Finding(number, told(text)) for text in general(setting.depth)]
            findings += [zeros for item in results if question(item) == number for zeros in explain_zeros(item)]
    return Document(
        [f"{lead}, x = ({setting.x}), t = {setting.t}."],
        {number: wording for number, wording in QUESTIONS.items() if number in asked},
        findings,
        tables(results),
    )


def explain_formula(results: Sequence[Vanishing]) -> Iterator[Finding]:
    """State the gradient of every layer, and the step of the chain rule that gives it."""
    depth, asked = results[0].setting.depth, set(map(question, results))
    ends = told(f"; `z^(1) = x`, no product for `l = {depth}`.")
    chain = any(item.connect is CHAIN for item in results)
    if chain:
        yield Finding("4.1", (*formula(CHAIN, depth), *ends))
        rule = (
            f"One path leads back from the output, with `δ_1^({depth + 1}) = y − t`: the chain rule gives "
            "`δ_1^(l) = h'(a_1^(l)) w_11^(l) δ_1^(l+1)` and `∂E_n/∂w_11^(l) = δ_1^(l+1) z_1^(l)`."
        )
        yield Finding("4.1", told(rule))
    if any(item.connect is not CHAIN for item in results):
        place = "4.4" if chain and "4.4" in asked else "4.1"
        yield Finding(place, (*formula(Connect.bipartite, depth), *(ends if place == "4.1" else ".")))


def explain_logistic(networks: Sequence[Vanishing]) -> Iterator[Finding]:
    """Derive h', say what its size does to learning, and how large each reason for a small gradient is here."""
    if not networks:
        return
    derivation = (
        "With `u = 1 + e^{-a}` and `h = 1/u = z`, the chain rule gives `h' = −u^{-2} u' = u^{-2} e^{-a} = "
        "z^2 (1/z − 1) = z (1 − z)`: at most 1/4, at `z = 1/2`, and near 0 where z is near 0 or 1."
    )
    learning = (
        f"There learning stops: layer l has `{networks[0].setting.depth} − l` factors h' behind it, all near 0. In a "
        "chain, `∂E_n/∂w_11^(l-1)` is `z_1^(l-1) (1 − z_1^(l)) w_11^(l)` times `∂E_n/∂w_11^(l)`: with `|w| <= 1` and "
        "`|x_1| <= 1`, the earlier the layer, the more slowly it learns."
    )
    reasons = (
        "A gradient is small where a factor is: the slopes h' behind the weight, weights `|w| < 1` behind it, its "
        "input `z_1^(l)`, or the error `y − t`."
    )
    yield from (Finding("4.2", told(text)) for text in (derivation, learning, reasons))
    for item in networks:
        yield from explain_factors(item)
    yield from explain_saturation(networks[0])
    for item in networks:
        yield from explain_zeros(item)


def explain_factors(item: Vanishing) -> Iterator[Finding]:
    """Say how large the first layer's gradient is, how large at most, and how much each factor takes off it or adds."""
    count, factors = item.setting.depth - 1, item.factors
    if item.steepest is None or not math.isfinite(item.log10[0]):
        return
    slopes = f"{'The' if factors else 'Each path has'} {counted(count, 'factor')} `h' <= {at_most(item.steepest)}`"
    if factors:
        slopes += f" {'takes' if count == 1 else 'take'} {-factors['slopes']:.1f} orders of magnitude off it"
    for name, what in (("weights", "the product of the weights"), ("input", "the input"), ("error", "the error")):
        size = factors.get(name, 0.0)
        if abs(size) >= NOTABLE:
            slopes += f"; {what} {'adds' if size > 0 else 'takes off'} {abs(size):.1f}"
    text = (
        f"{title(item)}: `|∂E_n/∂w_11^(1)| ~= {magnitude(item.log10[0])}`; whatever the activations (`h' <= 1/4`), it "
        f"is at most `|y − t| |x_1|` times `{at_most(item.bound)}`. {slopes}."
    )
    evidence = {"log10": item.log10[0], "bound_log10": log10(item.bound), "factors_log10": factors}
    yield Finding("4.2", told(text), {"network": item.name, "largest_slope": float(item.steepest), **evidence})


def explain_saturation(item: Vanishing) -> Iterator[Finding]:
    """Say what a bias that pushes the outputs towards 0 and 1 does to a gradient in the middle."""
    pushed = item.saturation
    if pushed is None:
        return
    rows = [int(np.argmin(np.abs(pushed.push - push))) for push in (0, -PUSH, PUSH)]
    sizes, activations = pushed.log10[rows, 1], pushed.activation[rows]
    if np.isfinite(sizes).all():
        pairs = zip(sizes, activations, strict=True)
        own, low, high = (f"`{magnitude(size)}` at `z = {output(a)}`" for size, a in pairs)
        text = (
            f"{title(item)}: `|∂y/∂w_11^({pushed.layers[1]})|` is {own} in layer {pushed.place}, {low} with every bias "
            f"{PUSH:g} lower, {high} with {PUSH:g} higher (figure saturation)."
        )
        yield Finding("4.2", told(text), {"network": item.name, "log10": sizes, "activation": activations})


def explain_relu(depth: int) -> Iterator[str]:
    """State when the gradients of a ReLU chain are zero."""
    yield (
        "`h'(a) = 1` for `a > 0`, else 0. So `∂E_n/∂w_11^(l) = 0` exactly when `y = t`, or `z_1^(l) = 0` (the unit "
        "before it is inactive, or `x_1 = 0`), or a unit after it is inactive, `a_1^(k) <= 0`, or a weight after it "
        f"is 0, `w_11^(k) = 0`, for some k from `l+1` to {depth}."
    )
    if depth > 1:
        yield (
            "One inactive unit in layer k zeroes the gradients of `w_11^(1)` to `w_11^(k)`, the weight that leaves it; "
            f"without biases all later units get 0 and are inactive too: all {depth:,} of its chain are 0."
        )


def explain_paths(depth: int) -> Iterator[str]:
    """State when the gradients of complete bipartite ReLU layers are zero."""
    yield (
        "`∂E_n/∂w_ij^(l) = 0` when `y = t`, or its input `z_j^(l) = 0`, or no path of active units (and weights other "
        "than 0) leads from unit i of layer `l+1` to the output; else only if paths of opposite sign cancel."
    )
    if depth > 1:
        yield (
            "One inactive unit, all others active, zeroes only the gradients of the weights that enter and leave it: "
            "other paths live on. A layer with none active zeroes those of all weights up to the ones that leave it; "
            f"without biases, all {4 * (depth - 1) + 2:,}."
        )


def explain_zeros(item: Vanishing) -> Iterator[Finding]:
    """Count the gradients that are exactly zero in this network, each under its first reason."""
    zeros, total, text = item.zeros, f"{item.zeros.total_weights:,}", f"{title(item)}: "
    if zeros.zero_gradients:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in zeros.because.items())
        dead = "" if zeros.dead_layer is None else f" Layer {zeros.dead_layer} has no active unit."
        text += f"{zeros.zero_gradients:,} of {total} gradients are exactly 0 ({reasons}).{dead}"
    elif item.hidden is Hidden.relu:
        active = ": every hidden unit is active" if item.setting.depth > 1 else ""
        text += f"none of the {total} gradients is 0{active}."
    else:
        return
    yield Finding(question(item), text, {"network": item.name, "zeros": zeros})


def output(activation: float) -> str:
    """Return h(a) with two digits, as 1 less what is missing where it is near 1."""
    missing, own = (-np.logaddexp(0.0, a) / math.log(10) for a in (activation, -activation))
    return f"1 − {magnitude(missing)}" if missing < -2 else magnitude(own)


def at_most(value: Decimal) -> str:
    """Return a number with three digits, rounded up: what is at most the one is at most the other."""
    return f"{UPWARDS.plus(value).normalize():g}".replace("E", "e")
