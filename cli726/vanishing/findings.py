"""Problem 4's answers: general ones with their derivation, what holds for the networks at hand, and their table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_UP, Context, Decimal

import numpy as np

from cli726.choices import Connect, Dtype, Hidden
from cli726.document import Content, Document, Finding, Math, Table, m
from cli726.text import counted
from cli726.vanishing import Vanishing, formula
from cli726.vanishing.network import log10

# A factor is told once it changes a gradient by an order of magnitude; by so much biases are pushed.
NOTABLE, PUSH = 1.0, 5.0
UPWARDS = Context(prec=3, rounding=ROUND_UP, Emin=MIN_EMIN, Emax=MAX_EMAX)
QUESTIONS = {
    "4.1": "`∂E_n/∂w_11^(l)` for all layers l",
    "4.2": "Logistic units: `h'`; learning at small l with outputs near 0 and 1; reasons for small gradients",
    "4.3": "ReLU: when are the gradients zero?",
    "4.4": "ReLU with complete bipartite connections: when are the gradients zero?",
}
# What holds for every network that a question is about, paragraph by paragraph; without hidden layer only the first.
# DEPTH and ALL stand for the layers of weights, and for the number of weights of bipartite layers.
GENERAL = {
    "4.2": """
        With `u = 1 + e^{-a}` and `h = 1/u = z`, the chain rule gives `h' = −u^{-2} u' = u^{-2} e^{-a} = z^2 (1/z − 1) =
        z (1 − z)`: at most 1/4, at `z = 1/2`, and near 0 where z is near 0 or 1.

        There learning all but stops: the gradient of layer l has `DEPTH − l` factors `h'`, all near 0. In a chain,
        `∂E_n/∂w_11^(l-1)` is `z_1^(l-1) (1 − z_1^(l)) w_11^(l)` times `∂E_n/∂w_11^(l)`: with `|w| <= 1` and
        `|x_1| <= 1`, the earlier the layer, the more slowly it learns.

        A gradient is small where a factor is: the slopes `h'` behind the weight, weights `|w| < 1` behind it, its input
        `z_1^(l)`, or the error `y − t`.""",
    "4.3": """
        `h'(a) = 1` for `a > 0`, else 0. So `∂E_n/∂w_11^(l) = 0` exactly when `y = t`, or `z_1^(l) = 0` (the unit before
        it is inactive, or `x_1 = 0`), or a unit after it is inactive, `a_1^(k) <= 0`, or a weight after it is 0,
        `w_11^(k) = 0`, for some k from `l+1` to DEPTH.

        One inactive unit in layer k zeroes the gradients of `w_11^(1)` to `w_11^(k)`, the weight that leaves it;
        without biases all later units get 0 and are inactive too: all DEPTH of its chain are 0.""",
    "4.4": """
        `∂E_n/∂w_ij^(l) = 0` when `y = t`, or its input `z_j^(l) = 0`, or no path of active units (and weights other
        than 0) leads from unit i of layer `l+1` to the output; else only if paths of opposite sign cancel.

        One inactive unit, all others active, zeroes only the gradients of the weights that enter and leave it: other
        paths live on. A layer with none active zeroes those of all weights up to the ones that leave it; without
        biases, all ALL.""",
}


def told(text: str) -> tuple[str | Math, ...]:
    """Return a sentence whose mathematics stands between backticks."""
    return tuple(m(part) if place % 2 else part for place, part in enumerate(text.split("`")))


def question(item: Vanishing) -> str:
    """Return the number of the question that a network answers."""
    return "4.2" if item.hidden is Hidden.logistic else "4.3" if item.connect is Connect.chain else "4.4"


def document(results: Sequence[Vanishing]) -> Document:
    """Return the answers that one or more networks of one setting give."""
    setting, findings = results[0].setting, list(explain_formula(results))
    depth, every = f"{setting.depth:,}", f"{4 * (setting.depth - 1) + 2:,}"
    asked = {number: [item for item in results if question(item) == number] for number in GENERAL}
    for number, items in asked.items():
        if items:
            texts = GENERAL[number].replace("DEPTH", depth).replace("ALL", every).split("\n\n")
            texts = texts if setting.depth > 1 else texts[:1]
            findings += [Finding(number, told(" ".join(text.split()))) for text in texts]
            findings += [finding for item in items for finding in explain_factors(item)]
            findings += explain_saturation(items[0])
            findings += [finding for item in items for finding in explain_zeros(item)]
    random = ":" in setting.weight
    rule = f"weights {setting.weight}, seed {setting.seed}" if random else f"every weight {setting.weight}"
    bias = "no biases" if setting.bias is None else f"biases {setting.bias}"
    layers = counted(setting.depth, "layer of weights", "layers of weights")
    questions = {number: told(text) for number, text in QUESTIONS.items() if asked.get(number, True)}
    lead = f"{layers}, {rule}, {bias}, x = ({setting.x}), t = {setting.t}."
    return Document([lead], questions, findings, [table(results)])


def explain_formula(results: Sequence[Vanishing]) -> Iterator[Finding]:
    """State the gradient of every layer, and the step of the chain rule that gives it."""
    depth, place = results[0].setting.depth, "4.1"
    ends = told(f"; `z^(1) = x`, no product for `l = {depth}`.")
    if any(item.connect is Connect.chain for item in results):
        yield Finding(place, (*formula(Connect.chain, depth), *ends))
        rule = (
            f"One path leads back from the output, with `δ_1^({depth + 1}) = y − t`: the chain rule gives "
            "`δ_1^(l) = h'(a_1^(l)) w_11^(l) δ_1^(l+1)` and `∂E_n/∂w_11^(l) = δ_1^(l+1) z_1^(l)`."
        )
        yield Finding(place, told(rule))
        place, ends = ("4.4", (".",)) if any(question(item) == "4.4" for item in results) else (place, ends)
    if any(item.connect is Connect.bipartite for item in results):
        yield Finding(place, (*formula(Connect.bipartite, depth), *ends))


def explain_factors(item: Vanishing) -> Iterator[Finding]:
    """Say how large the first layer's gradient is, how large at most, and how much each factor takes off it or adds."""
    count, factors = item.setting.depth - 1, item.factors
    if item.hidden is Hidden.relu or item.steepest is None or not math.isfinite(item.log10[0]):
        return
    slopes = f"{'The' if factors else 'Each path has'} {counted(count, 'factor')} `h' <= {at_most(item.steepest)}`"
    if factors:
        slopes += f" {'takes' if count == 1 else 'take'} {-factors['slopes']:.1f} orders of magnitude off it"
    for name, what in (("weights", "the product of the weights"), ("input", "the input"), ("error", "the error")):
        size = factors.get(name, 0.0)
        if abs(size) >= NOTABLE:
            slopes += f"; {what} {'adds' if size > 0 else 'takes off'} {abs(size):.1f}"
    text = (
        f"{item.name}: `|∂E_n/∂w_11^(1)| ~= {magnitude(item.log10[0])}`; whatever the activations (`h' <= 1/4`), it "
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
            f"{item.name}: `|∂y/∂w_11^({pushed.layers[1]})|` is {own} in layer {pushed.place}, {low} with every bias "
            f"{PUSH:g} lower, {high} with {PUSH:g} higher (figure saturation)."
        )
        yield Finding("4.2", told(text), {"network": item.name, "log10": sizes, "activation": activations})


def explain_zeros(item: Vanishing) -> Iterator[Finding]:
    """Count the gradients that are exactly zero in this network, each under its first reason."""
    zeros, total = item.zeros, f"{item.zeros.total_weights:,}"
    if zeros.zero_gradients:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in zeros.because.items())
        dead = "" if zeros.dead_layer is None else f" Layer {zeros.dead_layer} has no active unit."
        text = f"{zeros.zero_gradients:,} of {total} gradients are exactly 0 ({reasons}).{dead}"
    elif item.hidden is Hidden.relu:
        active = ": every hidden unit is active" if item.setting.depth > 1 else ""
        text = f"none of the {total} gradients is 0{active}."
    else:
        return
    yield Finding(question(item), f"{item.name}: {text}", {"network": item.name, "zeros": zeros})


def output(activation: float) -> str:
    """Return h(a) with two digits, as 1 less what is missing where it is near 1."""
    missing, own = (-np.logaddexp(0.0, a) / math.log(10) for a in (activation, -activation))
    return f"1 − {magnitude(missing)}" if missing < -2 else magnitude(own)


def at_most(value: Decimal) -> str:
    """Return a number with three digits, rounded up: what is at most the one is at most the other."""
    return f"{UPWARDS.plus(value).normalize():g}".replace("E", "e")


def magnitude(log10: float) -> str:
    """Return 10**log10 with two digits, for any logarithm; "0" for -inf."""
    if not math.isfinite(log10):
        return "0"
    if -4 < log10 < 5:
        value = 10**log10
        return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
    exponent = math.floor(log10)
    digits = f"{10 ** (log10 - exponent):.1f}"
    return f"1.0e{exponent + 1:+03d}" if digits == "10.0" else f"{digits}e{exponent:+03d}"


def lost(item: Vanishing, dtype: Dtype) -> str:
    """Return in how many layers a format gives 0 for a gradient that is not 0, or no finite number."""
    counts = {"0": len(item.lost(dtype)), "inf": len(item.overflows(dtype))}
    return ", ".join(f"{what} in {count:,}" for what, count in counts.items() if count) or "-"


def table(results: Sequence[Vanishing]) -> Table:
    """Return a row for each network with the gradient of some layers; for one alone, what ordinary code gives too."""
    first = results[0]
    layers = np.unique(np.linspace(1, first.setting.depth, 4).round().astype(int)).tolist()
    rows: list[Sequence[Content]] = [
        (
            item.name,
            *(m(magnitude(item.log10[layer - 1])) for layer in layers),
            f"{item.zeros.zero_gradients:,} of {item.zeros.total_weights:,}",
            *(lost(item, dtype) for dtype in Dtype),
        )
        for item in results
    ]
    if len(results) == 1:
        plain = (abs(first.plain[first.setting.dtype][layer - 1]) for layer in layers)
        rows.append((f"in {first.setting.dtype}", *(f"{value:.2g}" for value in plain), "", "", ""))
    heading = (m("|∂E_n/∂w_11^(l)|"), ", how many gradients are 0, and in how many layers float32 and float64 lose it")
    return Table(heading, ("network", *(m(f"l = {layer}") for layer in layers), "exactly 0", *Dtype), rows)
