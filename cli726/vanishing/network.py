"""Problem 4's network, two chains or complete bipartite layers, computed with decimals whose exponent cannot run out.

Decimals of 60 digits keep what underflows every floating-point format. Where numbers are typed, sums are kept exact as
well: an activation, or y - t, that is 0 is told from one that is only small. Source: Bishop (2006), section 5.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Connect, Dtype, Hidden
from cli726.errors import RequestError
from cli726.exact import number
from cli726.vectors import vector

# Of Decimals, where nothing else is said; a stack is what shares nothing with others but the output.
Array: TypeAlias = NDArray[Any]

WIDE = Context(prec=60, Emin=MIN_EMIN, Emax=MAX_EMAX)
EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
ZERO, ONE, HALF, QUARTER = Decimal(0), Decimal(1), Decimal("0.5"), Decimal("0.25")
# Below it a series gives tanh to more digits than the quotient of exponentials.
TINY = Decimal("1e-20")
MOST_LAYERS = 20_000
LARGEST = 1_000
# A chain is two stacks of one unit each, a bipartite network one stack of two units.
UNITS = {Connect.chain: 1, Connect.bipartite: 2}


@dataclass(frozen=True)
class Setting:
    """The network that somebody asked for, as typed; its format is that of the plain computation.

    Attributes:
        depth: Layers of weights.
        weight: "1" for every weight, "normal:0.5" for random ones.
        bias: Of every unit; None for no biases.
    """

    depth: int = 152
    weight: str = "1"
    bias: str | None = None
    x: str = "1,1"
    t: str = "0.5"
    dtype: Dtype = Dtype.float64
    seed: int = 0


@dataclass(frozen=True)
class Network:
    """Stacks of units that meet in an output with the identity.

    Attributes:
        inner: Weights into hidden layers 2, 3, ...: of shape (depth - 1, stacks, units, units that they come from).
        outer: Weights into the output: (stacks, units).
        x: Inputs: (stacks, units).
        bias, t: Of every unit; the target.
        scale: By which all these numbers are multiplied: so typed ones are whole.
        exact: Whether they are typed; random ones are rounded to 60 digits in sums.
    """

    hidden: Hidden
    inner: Array
    outer: Array
    x: Array
    bias: Decimal
    t: Decimal
    scale: Decimal = ONE
    exact: bool = True

    def weights(self) -> tuple[Array, Array]:
        """Return the inner and the outer weights themselves, rounded to 60 digits."""
        with localcontext(WIDE):
            return self.inner / self.scale, self.outer / self.scale


class Pass(NamedTuple):
    """Numbers of shape (stacks, units): z of layers 1 (inputs) to depth, a and h' of layers 2 to depth."""

    outputs: list[Array]
    activations: list[Array]
    slopes: list[Array]


def numbers(text: str, count: int, option: str) -> list[Fraction]:
    """Return the numbers of a list as they were typed."""
    vector(text, count, option)
    values = [number(part) for part in text.split(",")]
    largest = float(max(map(abs, values)))
    if largest > LARGEST:
        raise RequestError(f"inputs, target and bias must be at most {LARGEST} in size; got {largest:g}; scale them")
    return values


def rule(text: str) -> tuple[bool, Fraction]:
    """Return whether weights are random, and the deviation or the number that every weight is."""
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
    """Return the network that a setting describes; RequestError for a depth, a rule or numbers that make none."""
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
    generator, wide = np.random.default_rng([setting.seed, units]), np.vectorize(Decimal, otypes=[object])

    def drawn(*shape: int) -> Array:
        """Return weights of a shape."""
        equal = np.full(shape, Decimal(int(size * scale)))
        return np.asarray(wide(generator.normal(0.0, float(size), shape)) if random else equal)

    inner, outer = drawn(depth - 1, 2 // units, units, units), drawn(2 // units, units)
    inputs = np.array(x).reshape(outer.shape)
    return Network(hidden, inner, outer, inputs, bias, t, Decimal(scale), exact=not random)


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


def times(weights: Array, values: Array) -> Array:
    """Return weights @ values for each stack: of shape (stacks, units), from one more axis and the same."""
    return np.asarray((weights @ values[..., None])[..., 0])


def forward(network: Network) -> tuple[Pass, Decimal]:
    """Return the pass through the layers, and y - t, which is 0 only if it is exactly 0.

    What is exact (all of a ReLU network, anchors of a logistic one) is summed apart from the rests, as `size` times
    what it stands for; so nothing small is lost beside something large that cancels.
    """
    exact, units = EXACT if network.exact else WIDE, np.vectorize(logistic, otypes=[object] * 3)
    anchors, rests, size = network.x, network.x * ZERO, network.scale
    with localcontext(WIDE):
        passed = Pass([network.x / network.scale], [], [])
        for weights in network.inner:
            with localcontext(exact):
                sums, size = times(weights, anchors) + network.bias * size, size * network.scale
            # Rounded first: a quotient of long numbers would take long.
            activations = (+sums + times(weights, rests)) / +size
            if network.hidden is Hidden.relu:
                active = sums > 0
                anchors, slopes = sums * active, active * ONE
                passed.outputs.append(activations * active)
            else:
                anchors, rests, slopes = units(activations)
                size = ONE
                passed.outputs.append(anchors + rests)
            passed.activations.append(activations)
            passed.slopes.append(slopes)
        with localcontext(exact):
            whole = (network.outer * anchors).sum() + (network.bias - network.t) * size
        return passed, (+whole + (network.outer * rests).sum()) / (+size * network.scale)


def reach(inner: Array, outer: Array, slopes: Sequence[Array], start: Any = ONE) -> list[Array]:
    """Return the derivatives with respect to a of layers 2 to depth and of the output, by back-propagation.

    Args:
        inner, outer: Weights as `Network` has them, or what to take for them, numbers of any kind.
        slopes: The factor of each unit of layers 2 to depth.
        start: The derivative with respect to the output.

    Source: Bishop (2006), eq. 5.56.
    """
    deltas = [np.full((len(outer), 1), start)]
    with localcontext(WIDE):
        reached = outer * start
        for weights, slope in zip(inner[::-1], slopes[::-1], strict=True):
            deltas.append(slope * reached)
            reached = times(weights.swapaxes(1, 2), deltas[-1])
    return deltas[::-1]


def log10(value: Decimal) -> float:
    """Return the base-10 logarithm of the size; -inf for 0."""
    if not value:
        return -math.inf
    exponent = value.adjusted()
    return exponent + math.log10(abs(float(value.scaleb(-exponent, WIDE))))


def plain_gradients(network: Network, dtype: Dtype) -> NDArray[Any]:
    """Return dE/dw_11 of every layer, (depth,), as ordinary code finds it in a format: 0 where lost, inf, nan."""
    relu, ends = network.hidden is Hidden.relu, np.array([network.bias, network.bias - network.t])
    with localcontext(WIDE), np.errstate(all="ignore"):
        typed = (values / network.scale for values in (network.inner, network.outer, network.x, ends))
        inner, outer, z, (bias, residual) = (values.astype(np.float64).astype(dtype) for values in typed)
        outputs, slopes = [z], []
        for weights in inner:
            a = times(weights, z) + bias
            # Written so that exp cannot overflow.
            e = np.exp(-np.abs(a))
            z = np.where(a > 0, a, 0).astype(dtype) if relu else np.where(a > 0, 1, e).astype(dtype) / (1 + e)
            slopes.append(a > 0 if relu else z * (1 - z))
            outputs.append(z)
        deltas = reach(inner, outer, slopes, residual + (outer * z).sum())
        gradients = [delta[0, 0] * z[0, 0] for delta, z in zip(deltas, outputs, strict=True)]
    # Adding 0 turns -0 into 0.
    return np.array(gradients, dtype) + 0
