"""Problem 4's networks: two chains that meet in the output, or complete bipartite layers; stable and plain gradients.

Every array may hold several cases of one shape, computed together. Axes: case c, group g, unit i, and j for the unit
that a weight comes from. A chain is two groups of one unit each, a bipartite network one group of two units.

References:
    Bishop (2006), section 5.3.
    He, Zhang, Ren and Sun (2015), "Deep Residual Learning for Image Recognition", eq. 1 (the skip connection).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.backprop.network import logistic
from cli726.choices import Connect, Hidden
from cli726.errors import RequestError
from cli726.exact import number
from cli726.wide_floats import OF_ZERO, Wide, dot, from_log, normalised, plus, times, total, widen

__all__ = [
    "Backward",
    "DeepNetwork",
    "Forward",
    "back",
    "back_signed",
    "build",
    "run",
    "stacked",
    "sum_of_units",
    "weight_gradients",
]

Array = NDArray[np.float64]
MOST_LAYERS = 20_000
# Up to here every exponent stays far from the largest integer, whatever the depth.
LARGEST = 1_000.0
# Below this activation the logistic function underflows in float64.
LOWEST = -700.0
GROUPS_AND_UNITS = {Connect.chain: (2, 1), Connect.bipartite: (1, 2)}


@dataclass(frozen=True)
class DeepNetwork:
    """One or more cases of a network with identity output.

    Attributes:
        hidden: What hidden units do.
        inner: Weights into hidden layers 2, 3, ...: ndarray of shape (depth - 1, c, g, i, j).
        outer: Weights into the output: ndarray of shape (c, g, i).
        biases: Of the hidden units: ndarray of shape (depth - 1, c, g, i).
        output_bias: ndarray of shape (c,).
        x: Inputs: ndarray of shape (c, g, i).
        t: Targets: ndarray of shape (c,).
        skip: None, or by how much each case scales h before a skip connection adds the layer's input: shape (c,).
    """

    hidden: Hidden
    inner: Array
    outer: Array
    biases: Array
    output_bias: Array
    x: Array
    t: Array
    skip: Array | None = None

    @property
    def depth(self) -> int:
        """Layers of weights."""
        return len(self.inner) + 1

    @property
    def weights(self) -> int:
        """Weights in one case."""
        return (self.inner.size + self.outer.size) // len(self.outer)


@dataclass(frozen=True)
class Forward:
    """What the forward pass leaves.

    Attributes:
        outputs: z of layers 1 (inputs) to depth: shape (depth, c, g, i).
        slopes: h' of layers 2 to depth: shape (depth - 1, c, g, i).
        y: Outputs, of shape (c,).
        residual: y - t, of shape (c,).
    """

    outputs: Wide
    slopes: Wide
    y: Wide
    residual: Wide


@dataclass(frozen=True)
class Backward:
    """Derivatives of the output y with respect to each hidden activation: sums over all paths to the output.

    Each of shape (depth - 1, c, g, i); layer 2 first.

    Attributes:
        signed: As it is: the sum over paths of the product of weights and h'.
        sizes: With |w| for w, so that nothing cancels.
        weights_only: With |w| for w and 1 for h'.
        paths: With 1 for every w and h' that is not 0: the number of live paths.
    """

    signed: Wide
    sizes: Wide
    weights_only: Wide
    paths: Wide


def drawn(rule: str, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Weights by a rule: a number for every weight, or `normal:S` for a normal distribution with deviation S.

    Raises:
        RequestError: for any other rule.
    """
    kind, _, deviation = rule.partition(":")
    try:
        size = float(number(deviation if kind == "normal" else rule))
    except RequestError:
        size = math.inf
    if abs(size) > LARGEST or (kind == "normal" and size <= 0):
        raise RequestError(
            f"--weight takes a number for every weight, or normal:S with S > 0, up to {LARGEST:g} in size; "
            f'got "{rule[:40]}"; try 1 or normal:0.5'
        )
    return generator.normal(0.0, size, shape) if kind == "normal" else np.full(shape, size)


def build(
    hidden: Hidden, connect: Connect, *, depth: int, weight: str, bias: float, x: Array, t: float, seed: int
) -> DeepNetwork:
    """A network of problem 4, one case.

    Args:
        hidden: What hidden units do.
        connect: Chains, or bipartite layers.
        depth: Layers of weights, at least 1.
        weight: Rule for the weights: "1", "normal:0.5".
        bias: Of every unit.
        x: ndarray of shape (2,).
        t: The target.
        seed: From which random weights are drawn.

    Raises:
        RequestError: for a depth, a rule or numbers that make no network.
    """
    if not 1 <= depth <= MOST_LAYERS:
        raise RequestError(f"--depth must be from 1 to {MOST_LAYERS:,} layers of weights; got {depth}; try 152")
    largest = max(abs(bias), abs(t), float(np.abs(x).max()))
    if largest > LARGEST:
        raise RequestError(f"inputs, target and bias must be at most {LARGEST:g} in size; got {largest:g}; scale them")
    groups, units = GROUPS_AND_UNITS[connect]
    generator = np.random.default_rng([seed, units])
    shape = (depth - 1, 1, groups, units)
    return DeepNetwork(
        hidden=hidden,
        inner=drawn(weight, (*shape, units), generator),
        outer=drawn(weight, shape[1:], generator),
        biases=np.full(shape, bias),
        output_bias=np.array([bias]),
        x=x.reshape(shape[1:]),
        t=np.array([t]),
    )


def stacked(cases: Sequence[DeepNetwork]) -> DeepNetwork:
    """Networks of one shape as cases of one, to be computed together."""
    return replace(
        cases[0],
        inner=np.concatenate([case.inner for case in cases], axis=1),
        outer=np.concatenate([case.outer for case in cases]),
        biases=np.concatenate([case.biases for case in cases], axis=1),
        output_bias=np.concatenate([case.output_bias for case in cases]),
        x=np.concatenate([case.x for case in cases]),
        t=np.concatenate([case.t for case in cases]),
        skip=None if cases[0].skip is None else np.concatenate([case.skip for case in cases if case.skip is not None]),
    )


def run(network: DeepNetwork) -> Forward:
    """The forward pass, with exponents that cannot run out."""
    inner, biases = widen(network.inner), widen(network.biases)
    biased, relu = bool(np.any(network.biases)), network.hidden is Hidden.relu
    branch = None if network.skip is None else widen(network.skip[:, None, None])
    z = widen(network.x)
    outputs, activations = [z], []
    for layer in range(network.depth - 1):
        a = dot(inner[layer], z)
        if biased:
            a = plus(a, biases[layer])
        if relu:
            active = a.mantissa > 0
            # Kept as its sign, which rounding to float64 could lose.
            values = np.where(active, 1.0, 0.0)
            h = Wide(np.where(active, a.mantissa, 0.0), np.where(active, a.exponent, OF_ZERO))
        else:
            values = a.rounded()
            h = widen(logistic(values)) if values.min() > LOWEST else from_log(-np.logaddexp(0.0, -values))
        activations.append(values)
        z = h if branch is None else plus(times(branch, h), z)
        outputs.append(z)
    y = plus(sum_of_units(times(widen(network.outer), z)), widen(network.output_bias))
    kept = np.array(activations).reshape(network.biases.shape)
    return Forward(
        outputs=Wide(np.array([z.mantissa for z in outputs]), np.array([z.exponent for z in outputs])),
        slopes=widen(kept) if relu else from_log(-np.logaddexp(0.0, kept) - np.logaddexp(0.0, -kept)),
        y=y,
        residual=plus(y, widen(-network.t)),
    )


def sum_of_units(values: Wide) -> Wide:
    """The sum over groups and units: shape (c, g, i) gives (c,)."""
    cases = len(values.mantissa)
    return total(Wide(values.mantissa.reshape(cases, -1), values.exponent.reshape(cases, -1)))


def weight_gradients(passed: Forward, deltas: Wide) -> tuple[Wide, Wide]:
    """dy/dw of the inner and the outer weights: the delta above times the output below.

    Returns:
        Shapes (depth - 1, c, g, i, j) and (c, g, i).
    """
    below = passed.outputs[:-1]
    spread = Wide(below.mantissa[..., None, :], below.exponent[..., None, :])
    return times(Wide(deltas.mantissa[..., None], deltas.exponent[..., None]), spread), passed.outputs[-1]


def back(network: DeepNetwork, passed: Forward) -> Backward:
    """Derivatives of y with respect to hidden activations, and the three sums that tell where their size comes from."""
    slopes = passed.slopes
    ones = widen(np.ones(slopes.mantissa.shape))
    inner, outer = network.inner, network.outer
    sums = carried(
        network,
        inner=[inner, np.abs(inner), np.abs(inner), inner != 0],
        outer=[outer, np.abs(outer), np.abs(outer), outer != 0],
        slopes=[slopes, slopes, ones, widen(slopes.nonzero)],
    )
    return Backward(*(sums[:, version] for version in range(4)))


def back_signed(network: DeepNetwork, passed: Forward) -> Wide:
    """Derivatives of y with respect to hidden activations alone: shape (depth - 1, c, g, i)."""
    return carried(network, inner=[network.inner], outer=[network.outer], slopes=[passed.slopes])[:, 0]


def carried(
    network: DeepNetwork, *, inner: Sequence[NDArray[Any]], outer: Sequence[NDArray[Any]], slopes: Sequence[Wide]
) -> Wide:
    """Sums over paths from each hidden unit to the output, for several versions of weights and slopes.

    Returns:
        Shape (depth - 1, versions, c, g, i).

    Source: Bishop (2006), eq. 5.56; with skip connections the derivative passes each layer unchanged as well.
    """
    rates = [item if network.skip is None else times(item, widen(network.skip[:, None, None])) for item in slopes]
    mantissas = np.stack([item.mantissa for item in rates], axis=1)
    exponents = np.stack([item.exponent for item in rates], axis=1)
    # Axes (layer, version, c, g, j, i): from the upper unit to the lower one.
    lowering = widen(np.stack(inner, axis=1).swapaxes(-1, -2))
    reached = widen(np.stack(outer))
    for layer in range(network.depth - 2, -1, -1):
        delta = Wide(mantissas[layer] * reached.mantissa, exponents[layer] + reached.exponent)
        mantissas[layer], exponents[layer] = delta.mantissa, delta.exponent
        lower = dot(lowering[layer], delta)
        reached = lower if network.skip is None else plus(lower, reached)
    return normalised(mantissas, exponents)
