"""Problem 4's network, two chains or complete bipartite layers, computed with decimals whose exponent cannot run out.

Decimals of 60 digits keep what underflows every floating-point format. Where numbers are typed, sums are kept exact as
well: an activation, or y - t, that is 0 is told from one that is only small.

References:
    Bishop (2006), *Pattern Recognition and Machine Learning*, section 5.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Connect, Dtype, Hidden
from cli726.errors import RequestError
from cli726.exact import number
from cli726.vectors import vector

__all__ = ["WIDE", "Forward", "Network", "Setting", "build", "forward", "log10", "plain_gradients", "reach"]

# Numbers of one layer: of each unit, in each group; of each weight to a unit from another.
Units: TypeAlias = list[list[Decimal]]
Weights: TypeAlias = list[list[list[Decimal]]]

WIDE = Context(prec=60, Emin=MIN_EMIN, Emax=MAX_EMAX)
EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
ZERO, ONE, HALF, QUARTER = Decimal(0), Decimal(1), Decimal("0.5"), Decimal("0.25")
# Below it a series gives tanh to more digits than the quotient of exponentials.
TINY = Decimal("1e-20")
MOST_LAYERS = 20_000
LARGEST = 1_000
# A chain is two groups of one unit each, a bipartite network one group of two units.
GROUPS_AND_UNITS = {Connect.chain: (2, 1), Connect.bipartite: (1, 2)}


@dataclass(frozen=True)
class Setting:
    """The network that somebody asked for.

    Attributes:
        depth: Layers of weights.
        weight: "1" for every weight, "normal:0.5" for random ones.
        bias: Of every unit, as typed; None for no biases.
        x: The two inputs, as typed.
        t: The target, as typed.
        dtype: Format of the plain computation.
        seed: Of random weights.
    """

    depth: int = 152
    weight: str = "1"
    bias: str | None = None
    x: str = "1,1"
    t: str = "0.5"
    dtype: Dtype = Dtype.float64
    seed: int = 0

    @property
    def bias_value(self) -> float:
        return float(numbers(self.bias or "0", 1, "--bias")[0])


@dataclass(frozen=True)
class Network:
    """A network with identity output.

    Attributes:
        hidden: What hidden units do.
        inner: Weights into hidden layers 2, 3, ...: by layer, group, unit, and unit that the weight comes from.
        outer: Weights into the output: by group and unit.
        bias, t: Of every unit; the target.
        x: Inputs: by group and unit.
        scale: By which all these numbers are multiplied, so that typed ones are whole.
        exact: Whether they are typed; random ones are rounded to 60 digits in sums.
    """

    hidden: Hidden
    inner: Sequence[Weights]
    outer: Units
    bias: Decimal
    x: Units
    t: Decimal
    scale: Decimal = ONE
    exact: bool = True

    @property
    def depth(self) -> int:
        """Layers of weights."""
        return len(self.inner) + 1


@dataclass(frozen=True)
class Forward:
    """The forward pass.

    Attributes:
        outputs: z of layers 1 (inputs) to depth.
        activations: a of layers 2 to depth.
        slopes: h' of layers 2 to depth.
        residual: y - t; 0 only if it is exactly 0.
    """

    outputs: list[Units]
    activations: list[Units]
    slopes: list[Units]
    residual: Decimal


def numbers(text: str, count: int, option: str) -> list[Fraction]:
    """Return the numbers of a list as they were typed.

    Raises:
        RequestError: another count, no number, or one that is too large.
    """
    vector(text, count, option)
    values = [number(part) for part in text.split(",")]
    largest = max(map(abs, values))
    if largest > LARGEST:
        raise RequestError(
            f"inputs, target and bias must be at most {LARGEST} in size; got {float(largest):g}; scale them"
        )
    return values


def rule(text: str) -> tuple[bool, Fraction]:
    """Return whether weights are random, and the deviation or the number that every weight is.

    Raises:
        RequestError: for any other rule.
    """
    kind, _, deviation = text.partition(":")
    random = kind == "normal"
    try:
        size = number(deviation if random else text)
    except RequestError:
        size = Fraction(2 * LARGEST)
    if abs(size) > LARGEST or (random and size <= 0):
        raise RequestError(
            f"--weight takes a number for every weight, or normal:S with S > 0, up to {LARGEST:,} in size; "
            f'got "{text[:40]}"; try 1 or normal:0.5'
        )
    return random, size


def build(setting: Setting, hidden: Hidden, connect: Connect) -> Network:
    """Return the network that a setting describes.

    Raises:
        RequestError: for a depth, a rule or numbers that make none.
    """
    depth, (groups, units) = setting.depth, GROUPS_AND_UNITS[connect]
    if not 1 <= depth <= MOST_LAYERS:
        raise RequestError(f"--depth must be from 1 to {MOST_LAYERS:,} layers of weights; got {depth}; try 152")
    random, size = rule(setting.weight)
    typed = [
        *numbers(setting.bias or "0", 1, "--bias"),
        *numbers(setting.t, 1, "--t"),
        *numbers(setting.x, 2, "--x"),
    ]
    scale = 1 if random else math.lcm(size.denominator, *(value.denominator for value in typed))
    with localcontext(WIDE):
        # Whole, or rounded where weights are random.
        bias, t, *x = (
            Decimal(value.numerator) / value.denominator if random else Decimal(int(value * scale)) for value in typed
        )
    if random:
        generator = np.random.default_rng([setting.seed, units])
        inner = wide(generator.normal(0.0, float(size), (depth - 1, groups, units, units)))
        outer = wide(generator.normal(0.0, float(size), (groups, units)))
    else:
        every = Decimal((size * scale).numerator)
        inner, outer = [[[[every] * units] * units] * groups] * (depth - 1), [[every] * units] * groups
    inputs = [x[unit : unit + units] for unit in range(0, 2, units)]
    return Network(hidden, inner, outer, bias, inputs, t, Decimal(scale), exact=not random)


def wide(values: NDArray[np.float64]) -> Any:
    """Return floats as nested lists of decimals, exactly."""
    return [wide(value) for value in values] if values.ndim else Decimal(float(values))


@lru_cache(maxsize=1024)
def logistic(a: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Return h(a) as an anchor of 0, 1/2 or 1 and the rest, which keeps its digits however small it is, and h'(a).

    Source: Bishop (2006), eqs. 4.59 and 4.88; 1 / (1 + exp(-a)) - 1/2 = tanh(a / 2) / 2.
    """
    with localcontext(WIDE):
        size = abs(a)
        e = (-size).exp()
        if size >= 1:
            small = e / (1 + e)
            return (ONE, -small, small * (1 - small)) if a > 0 else (ZERO, small, small * (1 - small))
        rest = (1 - e) / (2 * (1 + e)) if size > TINY else size / 4 * (1 - size * size / 12)
        return HALF, rest.copy_sign(a), QUARTER - rest * rest


def dot(context: Context, row: Sequence[Decimal], values: Sequence[Decimal], start: Decimal) -> Decimal:
    """Return a sum of products, added to a start."""
    for weight, value in zip(row, values, strict=True):
        start = context.fma(weight, value, start)
    return start


def forward(network: Network) -> Forward:
    """Return the forward pass.

    What is exact (all of a ReLU network, anchors of a logistic one) is summed apart from the rests, as `size` times
    what it stands for; so nothing small is lost beside something large that cancels.
    """
    relu, scale = network.hidden is Hidden.relu, network.scale
    exact = EXACT if network.exact else WIDE
    anchors, rests = network.x, [[ZERO] * len(group) for group in network.x]
    size = rounded = scale
    with localcontext(WIDE):
        passed = Forward([[[value / scale for value in group] for group in network.x]], [], [], ZERO)
        for rows in network.inner:
            start, size, rounded = exact.multiply(network.bias, size), exact.multiply(size, scale), rounded * scale
            sums = [
                [(dot(exact, row, values, start), dot(WIDE, row, small, ZERO)) for row in group]
                for group, values, small in zip(rows, anchors, rests, strict=True)
            ]
            # Rounded first: a quotient of long numbers would take long.
            activations = [[(+whole + small) / rounded for whole, small in group] for group in sums]
            if relu:
                anchors = [[max(whole, ZERO) for whole, _ in group] for group in sums]
                outputs = [[max(a, ZERO) for a in group] for group in activations]
                slopes = [[ONE if a > 0 else ZERO for a in group] for group in activations]
            else:
                parts = [[logistic(a) for a in group] for group in activations]
                anchors, rests, slopes = ([[part[k] for part in group] for group in parts] for k in range(3))
                outputs = [[anchor + rest for anchor, rest, _ in group] for group in parts]
                size = rounded = ONE
            passed.outputs.append(outputs)
            passed.activations.append(activations)
            passed.slopes.append(slopes)
        whole, small = exact.multiply(exact.subtract(network.bias, network.t), size), ZERO
        for weights, values, rest in zip(network.outer, anchors, rests, strict=True):
            whole, small = dot(exact, weights, values, whole), dot(WIDE, weights, rest, small)
        residual = (+whole + small) / (rounded * scale)
    return Forward(passed.outputs, passed.activations, passed.slopes, residual)


def reach(network: Network, slopes: Sequence[Units], weight: Callable[[Decimal], Decimal] = Decimal) -> list[Units]:
    """Return dy/da of layers 2 to depth: sums over the paths to the output of products of weights and slopes.

    Args:
        network: The network.
        slopes: The factor of each hidden unit of layers 2 to depth.
        weight: What to take for a weight.

    Source: Bishop (2006), eq. 5.56.
    """
    with localcontext(WIDE):
        scale, deltas = network.scale, []
        reached = [[weight(w / scale) for w in group] for group in network.outer]
        for rows, factors in zip(reversed(network.inner), reversed(slopes), strict=True):
            delta = [[h * r for h, r in zip(*pair, strict=True)] for pair in zip(factors, reached, strict=True)]
            deltas.append(delta)
            reached = [
                [
                    sum((weight(row[unit] / scale) * d for row, d in zip(group, above, strict=True)), ZERO)
                    for unit in range(len(group))
                ]
                for group, above in zip(rows, delta, strict=True)
            ]
    return deltas[::-1]


def log10(value: Decimal) -> float:
    """Return the base-10 logarithm of the size; -inf for 0."""
    if not value:
        return -math.inf
    exponent = value.adjusted()
    return exponent + math.log10(abs(float(value.scaleb(-exponent, WIDE))))


def plain_gradients(network: Network, dtype: Dtype) -> NDArray[Any]:
    """Return dE/dw_11 of every layer as ordinary code finds it in one floating-point format.

    Returns:
        ndarray of shape (depth,) of that format; 0 where it is lost, not finite where it overflows.
    """

    def plain(values: Any, *shape: int) -> NDArray[Any]:
        flat = np.array(values, dtype=object).ravel()
        return np.array([float(value) for value in flat / network.scale]).reshape(shape).astype(dtype)

    groups, units = len(network.x), len(network.x[0])
    with localcontext(WIDE), np.errstate(all="ignore"):
        inner = plain(network.inner, network.depth - 1, groups, units, units)
        outer, z = plain(network.outer, groups, units), plain(network.x, groups, units)
        bias, constant = plain(network.bias, 1)[0], plain(network.bias - network.t, 1)[0]
        outputs, slopes = [z], []
        for weights in inner:
            a = (weights @ z[..., None])[..., 0] + bias
            # Written so that exp cannot overflow.
            e = np.exp(-np.abs(a))
            relu = network.hidden is Hidden.relu
            z = np.where(a > 0, a, 0).astype(dtype) if relu else np.where(a > 0, 1, e).astype(dtype) / (1 + e)
            slopes.append(a > 0 if relu else z * (1 - z))
            outputs.append(z)
        residual = np.sum(outer * z) + constant
        reached, gradients = residual * outer, [residual * z[0, 0]]
        for weights, slope, below in zip(inner[::-1], slopes[::-1], outputs[-2::-1], strict=True):
            delta = slope * reached
            gradients.append(delta[0, 0] * below[0, 0])
            reached = (weights.swapaxes(-1, -2) @ delta[..., None])[..., 0]
    # Adding 0 turns -0 into 0.
    return np.array(gradients[::-1], dtype=dtype) + 0
