"""Why a gradient is small: the orders of magnitude that each factor contributes, and what saturation does to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Hidden
from cli726.deep_network import Backward, DeepNetwork, Forward, back, back_signed, run, stacked

__all__ = ["Cause", "Saturation", "Shares", "causes", "saturate", "shares"]

Array = NDArray[np.float64]
PUSH = 5.0
SMALL_ERROR = 1e-3


@dataclass(frozen=True)
class Shares:
    """log10 |dE/dw_11| of one layer as a sum; None where a factor is exactly 0.

    Attributes:
        error: log10 |y - t|.
        output: log10 |z_1| of the layer that the weight leaves.
        weights: log10 of the sum over paths of the product of |w|.
        slopes: How much h' takes off that: log10 of its average product over the paths.
        cancellation: What paths of opposite sign take off; 0 for a chain.
        total: Their sum.
    """

    error: float | None
    output: float | None
    weights: float | None
    slopes: float | None
    cancellation: float | None
    total: float | None


@dataclass(frozen=True)
class Cause:
    """The shares at one layer after one change to the network."""

    change: str
    layer: int
    shares: Shares


@dataclass(frozen=True)
class Saturation:
    """Logistic activations pushed towards the ends of their range by a bias at every hidden unit.

    Attributes:
        push: The biases added: ndarray of shape (n,).
        layers: The layers looked at: first, middle, last.
        output: z_1 of the middle layer under each push.
        slope: h' there.
        log10: log10 |dy/dw_11| for each push and layer: shape (n, 3). Without the factor y - t, which depends on t.
    """

    push: Array
    layers: tuple[int, ...]
    output: Array
    slope: Array
    log10: Array


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def shares(passed: Forward, backward: Backward, layer: int, case: int = 0) -> Shares:
    """Where the size of the gradient of w_11 in one layer comes from."""
    error = float(passed.residual[case].log10())
    output = float(passed.outputs[layer - 1, case, 0, 0].log10())
    if layer == len(passed.outputs.mantissa):
        weights = sizes = signed = 0.0
    else:
        index = (layer - 1, case, 0, 0)
        parts = (backward.weights_only, backward.sizes, backward.signed)
        weights, sizes, signed = (float(part[index].log10()) for part in parts)
    slopes = finite(sizes - weights) if math.isfinite(weights) else None
    cancellation = finite(signed - sizes) if math.isfinite(sizes) else None
    return Shares(finite(error), finite(output), finite(weights), slopes, cancellation, finite(error + output + signed))


def changed(network: DeepNetwork, passed: Forward) -> Mapping[str, DeepNetwork]:
    """The network as given, and with one thing changed at a time."""
    y = passed.y.rounded()
    cases = {"as given": network}
    if network.hidden is Hidden.logistic:
        cases["every weight halved"] = scaled(network, 0.5)
        cases[f"biases lowered by {PUSH:g}: outputs near 0"] = pushed(network, -PUSH)
        cases[f"biases raised by {PUSH:g}: outputs near 1"] = pushed(network, PUSH)
    else:
        cases["every weight times 0.9"] = scaled(network, 0.9)
        cases["every weight times 1.1"] = scaled(network, 1.1)
    if np.isfinite(y).all() and (y - SMALL_ERROR != y).all():
        cases[f"target {SMALL_ERROR:g} from the output"] = replace(network, t=y - SMALL_ERROR)
    return cases


def scaled(network: DeepNetwork, factor: float) -> DeepNetwork:
    return replace(network, inner=factor * network.inner, outer=factor * network.outer)


def pushed(network: DeepNetwork, bias: float) -> DeepNetwork:
    return replace(network, biases=network.biases + bias)


def causes(network: DeepNetwork, passed: Forward) -> tuple[Cause, ...]:
    """The shares at the middle layer, as given and with one thing changed at a time."""
    cases = changed(network, passed)
    together = stacked(list(cases.values()))
    rerun = run(together)
    backward = back(together, rerun)
    layer = (network.depth + 1) // 2
    return tuple(Cause(change, layer, shares(rerun, backward, layer, case)) for case, change in enumerate(cases))


def saturate(network: DeepNetwork) -> Saturation:
    """Push the activations of a logistic network with at least one hidden layer from one end to the other."""
    # Denser about 0, where the outputs change fastest.
    push = 12.0 * np.linspace(-1.0, 1.0, 33) * np.abs(np.linspace(-1.0, 1.0, 33))
    together = stacked([pushed(network, float(bias)) for bias in push])
    passed = run(together)
    signed = back_signed(together, passed)
    middle = (network.depth + 1) // 2
    layers = (1, max(2, middle), network.depth) if network.depth > 2 else (1, 2)
    reached = [signed[layer - 1, :, 0, 0].log10() if layer < network.depth else np.zeros(len(push)) for layer in layers]
    sent = [passed.outputs[layer - 1, :, 0, 0].log10() for layer in layers]
    place = max(1, middle - 1)
    return Saturation(
        push=push,
        layers=layers,
        output=passed.outputs[place, :, 0, 0].rounded(),
        slope=passed.slopes[place - 1, :, 0, 0].rounded(),
        log10=np.stack([a + b for a, b in zip(reached, sent, strict=True)], axis=1),
    )
