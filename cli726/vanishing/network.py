"""Problem 4's network, two chains or complete bipartite layers, computed with decimals whose exponent cannot run out.

Decimals of 60 digits keep what underflows every floating-point format. Where numbers are typed, sums are kept exact as
well: an activation, or y - t, that is 0 is told from one that is only small. Source: Bishop (2006), section 5.3.
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

__all__ = ["WIDE", "Network", "Pass", "Setting", "Stack", "build", "forward", "log10", "plain_gradients", "reach"]

# Of each unit of one layer.
Units: TypeAlias = list[Decimal]

WIDE = Context(prec=60, Emin=MIN_EMIN, Emax=MAX_EMAX)
EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
ZERO, ONE, HALF, QUARTER = Decimal(0), Decimal(1), Decimal("0.5"), Decimal("0.25")
# Below it a series gives tanh to more digits than the quotient of exponentials.
TINY = Decimal("1e-20")
wide = np.vectorize(Decimal, otypes=[object])
MOST_LAYERS = 20_000
LARGEST = 1_000
# A chain is two stacks of one unit each, a bipartite network one stack of two units.
UNITS = {Connect.chain: 1, Connect.bipartite: 2}


@dataclass(frozen=True)
class Setting:
    """The network that somebody asked for.

    Attributes:
        depth: Layers of weights.
        weight: "1" for every weight, "normal:0.5" for random ones.
        bias: Of every unit, as typed; None for no biases.
        x, t: The two inputs and the target, as typed.
        dtype, seed: Format of the plain computation; of random weights.
    """

    depth: int = 152
    weight: str = "1"
    bias: str | None = None
    x: str = "1,1"
    t: str = "0.5"
    dtype: Dtype = Dtype.float64
    seed: int = 0


@dataclass(frozen=True)
class Stack:
    """Layers of units that share nothing with others but the output.

    Attributes:
        inner: Weights into hidden layers 2, 3, ...: by layer, unit, and unit that the weight comes from.
        outer: Weights into the output: by unit.
        x: Inputs: by unit.
    """

    inner: Sequence[Sequence[Units]]
    outer: Units
    x: Units


@dataclass(frozen=True)
class Network:
    """Stacks that meet in an output with the identity.

    Attributes:
        bias, t: Of every unit; the target.
        scale: By which all numbers, those of the stacks too, are multiplied: so typed ones are whole.
        exact: Whether they are typed; random ones are rounded to 60 digits in sums.
    """

    hidden: Hidden
    stacks: Sequence[Stack]
    bias: Decimal
    t: Decimal
    scale: Decimal = ONE
    exact: bool = True

    @property
    def depth(self) -> int:
        """Layers of weights."""
        return len(self.stacks[0].inner) + 1


@dataclass(frozen=True)
class Pass:
    """One stack, forward: z of layers 1 (inputs) to depth, a and h' of layers 2 to depth."""

    outputs: list[Units]
    activations: list[Units]
    slopes: list[Units]


def numbers(text: str, count: int, option: str) -> list[Fraction]:
    """Return the numbers of a list as they were typed.

    Raises:
        RequestError: another count, no number, or one that is too large.
    """
    vector(text, count, option)
    values = [number(part) for part in text.split(",")]
    largest = float(max(map(abs, values)))
    if largest > LARGEST:
        raise RequestError(f"inputs, target and bias must be at most {LARGEST} in size; got {largest:g}; scale them")
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
    depth, units = setting.depth, UNITS[connect]
    if not 1 <= depth <= MOST_LAYERS:
        raise RequestError(f"--depth must be from 1 to {MOST_LAYERS:,} layers of weights; got {depth}; try 152")
    random, size = rule(setting.weight)
    bias_text = "0" if setting.bias is None else setting.bias
    typed = numbers(bias_text, 1, "--bias") + numbers(setting.t, 1, "--t") + numbers(setting.x, 2, "--x")
    scale = 1 if random else math.lcm(size.denominator, *(value.denominator for value in typed))
    with localcontext(WIDE):
        # Whole, or rounded where weights are random.
        bias, t, *x = (Decimal(v.numerator) / v.denominator if random else Decimal(int(v * scale)) for v in typed)
    if random:
        generator = np.random.default_rng([setting.seed, units])
        inner = wide(generator.normal(0.0, float(size), (depth - 1, 2 // units, units, units))).tolist()
        outer = wide(generator.normal(0.0, float(size), (2 // units, units))).tolist()
    else:
        outer = [[Decimal(int(size * scale))] * units] * (2 // units)
        inner = [[[weights] * units for weights in outer]] * (depth - 1)
    inputs = [x[:units], x[units:]]
    stacks = [Stack([layer[place] for layer in inner], row, inputs[place]) for place, row in enumerate(outer)]
    return Network(hidden, stacks, bias, t, Decimal(scale), exact=not random)


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


def dot(context: Context, row: Sequence[Decimal], values: Sequence[Decimal], start: Decimal = ZERO) -> Decimal:
    """Return a sum of products, added to a start."""
    for weight, value in zip(row, values, strict=True):
        start = context.fma(weight, value, start)
    return start


def forward(network: Network) -> tuple[list[Pass], Decimal]:
    """Return the pass through each stack, and y - t, which is 0 only if it is exactly 0.

    What is exact (all of a ReLU network, anchors of a logistic one) is summed apart from the rests, as `size` times
    what it stands for; so nothing small is lost beside something large that cancels.
    """
    relu, scale = network.hidden is Hidden.relu, network.scale
    exact = EXACT if network.exact else WIDE
    passes, terms, rest = [], [], ZERO
    with localcontext(WIDE):
        for stack in network.stacks:
            anchors, rests, size = stack.x, [ZERO] * len(stack.x), scale
            passed = Pass([[value / scale for value in stack.x]], [], [])
            for rows in stack.inner:
                start, size = exact.multiply(network.bias, size), exact.multiply(size, scale)
                sums = [dot(exact, row, anchors, start) for row in rows]
                # Rounded first: a quotient of long numbers would take long.
                divisor = +size
                activations = [(+sums[i] + dot(WIDE, row, rests)) / divisor for i, row in enumerate(rows)]
                if relu:
                    anchors, slopes = [max(a, ZERO) for a in sums], [ONE if a > 0 else ZERO for a in sums]
                    outputs = [max(a, ZERO) for a in activations]
                else:
                    anchors, rests, slopes = map(list, zip(*map(logistic, activations), strict=True))
                    outputs, size = [anchor + left for anchor, left in zip(anchors, rests, strict=True)], ONE
                passed.outputs.append(outputs)
                passed.activations.append(activations)
                passed.slopes.append(slopes)
            passes.append(passed)
            terms.append(dot(exact, stack.outer, anchors))
            rest = dot(WIDE, stack.outer, rests, rest)
        whole = dot(exact, [ONE] * len(terms), terms, exact.multiply(exact.subtract(network.bias, network.t), size))
        return passes, (+whole + rest) / (+size * scale)


def reach(
    network: Network, stack: Stack, slopes: Sequence[Units], weight: Callable[[Decimal], Decimal] = Decimal
) -> list[Units]:
    """Return dy/da of layers 2 to depth: sums over the paths to the output of products of weights and slopes.

    Args:
        network, stack: The network, and the stack whose units are meant.
        slopes: The factor of each unit of layers 2 to depth.
        weight: What to take for a weight.

    Source: Bishop (2006), eq. 5.56.
    """
    with localcontext(WIDE):
        deltas, reached = [], [weight(w / network.scale) for w in stack.outer]
        for rows, factors in zip(reversed(stack.inner), reversed(slopes), strict=True):
            delta = [h * r for h, r in zip(factors, reached, strict=True)]
            deltas.append(delta)
            reached = [
                dot(WIDE, [weight(w / network.scale) for w in column], delta) for column in zip(*rows, strict=True)
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

    def plain(values: Any) -> NDArray[Any]:
        exact = np.array(values, dtype=object)
        return np.array([float(value) for value in exact.ravel() / network.scale], dtype).reshape(exact.shape)

    relu, runs = network.hidden is Hidden.relu, []
    with localcontext(WIDE), np.errstate(all="ignore"):
        bias, residual = plain([network.bias, network.bias - network.t])
        for stack in network.stacks:
            inner, outer, outputs, slopes = plain(stack.inner), plain(stack.outer), [plain(stack.x)], []
            for weights in inner:
                a = weights @ outputs[-1] + bias
                # Written so that exp cannot overflow.
                e = np.exp(-np.abs(a))
                z = np.where(a > 0, a, 0).astype(dtype) if relu else np.where(a > 0, 1, e).astype(dtype) / (1 + e)
                slopes.append(a > 0 if relu else z * (1 - z))
                outputs.append(z)
            residual += outer @ outputs[-1]
            runs.append((inner, outer, outputs, slopes))
        inner, outer, outputs, slopes = runs[0]
        reached, gradients = residual * outer, [residual * outputs[-1][0]]
        for weights, slope, below in zip(inner[::-1], slopes[::-1], outputs[-2::-1], strict=True):
            delta = slope * reached
            gradients.append(delta[0] * below[0])
            reached = weights.T @ delta
    # Adding 0 turns -0 into 0.
    return np.array(gradients[::-1], dtype) + 0
