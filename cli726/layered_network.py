"""A fully connected network without biases: drawing its numbers, forward, backward, and what rounding does to both.

References:
    Bishop (2006), sections 5.1 and 5.3.
    Higham (2002), *Accuracy and Stability of Numerical Algorithms*, section 3.3 (running error analysis).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Hidden
from cli726.errors import RequestError

__all__ = [
    "LayeredNetwork",
    "Pass",
    "Variable",
    "back_propagate",
    "backward_rounding",
    "error_of",
    "forward",
    "forward_rounding",
    "logistic",
    "slope",
]

Array = NDArray[np.float64]
UNIT_ROUNDING = sys.float_info.epsilon / 2


@dataclass(frozen=True)
class LayeredNetwork:
    """Hidden units of one kind, identity outputs, no biases.

    Attributes:
        weights: One ndarray of shape (units in layer l + 1, units in layer l) for each l = 1, 2, ...
        hidden: What hidden units do.
    """

    weights: tuple[Array, ...]
    hidden: Hidden = Hidden.logistic

    def __post_init__(self) -> None:
        for layer, (lower, upper) in enumerate(zip(self.weights, self.weights[1:], strict=False), start=1):
            if len(lower) != upper.shape[1]:
                raise RequestError(
                    f"weight matrices must fit together: matrix {layer} feeds {len(lower)} units, but "
                    f"matrix {layer + 1} has {upper.shape[1]} columns; give matrix {layer + 1} {len(lower)} columns"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units in each layer, inputs first."""
        return (self.weights[0].shape[1], *(len(matrix) for matrix in self.weights))


@dataclass(frozen=True)
class Variable:
    """Something that the error depends on: the activation of `unit` in `layer`, or its weight from unit `source`.

    Attributes:
        layer: For an activation its own layer; for a weight the layer that it leaves. From 1.
        unit: From 1.
        source: The unit that the weight comes from, from 1; None for an activation.
    """

    layer: int
    unit: int
    source: int | None = None


@dataclass(frozen=True)
class Pass:
    """What one forward pass leaves, one ndarray for each layer.

    Attributes:
        activations: a of layers 2, 3, ...
        outputs: z of layers 1 (the inputs), 2, ..., ending with y.
    """

    activations: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...]


def logistic(a: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-a)) of real or complex a; exp never sees a positive real part, so it cannot overflow.

    Source: Bishop (2006), eq. 4.59.
    """
    shrinking = np.exp(np.where(a.real > 0, -a, a))
    return np.where(a.real > 0, 1 / (1 + shrinking), shrinking / (1 + shrinking))


def hidden_output(a: NDArray[Any], hidden: Hidden) -> NDArray[Any]:
    """h(a) of hidden units."""
    return logistic(a) if hidden is Hidden.logistic else np.where(a.real > 0, a, 0)


def slope(a: Array, hidden: Hidden) -> Array:
    """h'(a) of hidden units; of the logistic as h(a) h(-a), which is h (1 - h) without its cancellation near 1.

    Source: Bishop (2006), eq. 4.88.
    """
    return logistic(a) * logistic(-a) if hidden is Hidden.logistic else (a > 0).astype(float)


def forward(network: LayeredNetwork, x: Array, variable: Variable | None = None, shift: complex = 0.0) -> Pass:
    """Activations and outputs of every layer, with one variable shifted by a real or complex amount.

    Args:
        network: The network.
        x: ndarray of shape (inputs,).
        variable: What to shift; None leaves all as it is.
        shift: By how much; complex for the complex step.
    """
    z: NDArray[Any] = x
    activations, outputs = [], [z]
    last = len(network.weights)
    for layer, weights in enumerate(network.weights, start=1):
        matrix: NDArray[Any] = weights
        if variable is not None and variable.source is not None and variable.layer == layer:
            matrix = weights.astype(np.result_type(weights, shift))
            matrix[variable.unit - 1, variable.source - 1] += shift
        a = matrix @ z
        if variable is not None and variable.source is None and variable.layer == layer + 1:
            a = a + shift * (np.arange(len(a)) == variable.unit - 1)
        z = a if layer == last else hidden_output(a, network.hidden)
        activations.append(a)
        outputs.append(z)
    return Pass(tuple(activations), tuple(outputs))


def error_of(passed: Pass, t: Array) -> Any:
    """E_n = 1/2 sum_k (y_k - t_k)^2; not the modulus for complex y, so that it stays analytic.

    Source: Bishop (2006), eq. 5.11.
    """
    return 0.5 * np.sum((passed.outputs[-1] - t) ** 2)


def back_propagate(network: LayeredNetwork, passed: Pass, t: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The deltas of layers 2, 3, ... and the gradient of each weight matrix.

    Source: Bishop (2006), eqs. 5.53, 5.54 and 5.56.
    """
    deltas = [passed.outputs[-1] - t]
    for weights, a in zip(network.weights[:0:-1], passed.activations[-2::-1], strict=True):
        deltas.insert(0, slope(a, network.hidden) * (weights.T @ deltas[0]))
    gradients = tuple(np.outer(delta, z) for delta, z in zip(deltas, passed.outputs, strict=False))
    return tuple(deltas), gradients


def forward_rounding(network: LayeredNetwork, passed: Pass, t: Array) -> tuple[list[Array], list[Array], float]:
    """Bounds, to first order, on the rounding errors of activations, outputs and the error.

    Source: Higham (2002), section 3.3: each bound is carried along with the number that it belongs to.
    """
    u = UNIT_ROUNDING
    output_bounds = [np.zeros_like(passed.outputs[0])]
    activation_bounds = []
    for weights, a, z in zip(network.weights, passed.activations, passed.outputs, strict=False):
        terms = weights.shape[1]
        activation_bounds.append(np.abs(weights) @ (output_bounds[-1] + terms * u * np.abs(z)))
        last = len(activation_bounds) == len(network.weights)
        rate = np.ones_like(a) if last else slope(a, network.hidden)
        output_bounds.append(rate * activation_bounds[-1] + 4 * u * np.abs(passed.outputs[len(output_bounds)]))
    y = passed.outputs[-1]
    residual = np.abs(y - t)
    residual_bound = output_bounds[-1] + u * residual
    bound = float(np.sum(residual * residual_bound + residual_bound**2) + (len(t) + 2) * u * error_of(passed, t))
    return activation_bounds, output_bounds, bound


def backward_rounding(
    network: LayeredNetwork, passed: Pass, t: Array, deltas: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """Bounds, to first order, on the rounding errors of deltas and gradients, carried backward in the same way."""
    u = UNIT_ROUNDING
    activation_bounds, output_bounds, _ = forward_rounding(network, passed, t)
    delta_bounds = [output_bounds[-1] + u * np.abs(deltas[-1])]
    for layer in range(len(network.weights) - 1, 0, -1):
        weights, a = network.weights[layer], passed.activations[layer - 1]
        rate, terms = slope(a, network.hidden), len(weights)
        above = np.abs(weights.T) @ (delta_bounds[0] + (terms + 6) * u * np.abs(deltas[layer]))
        # |h''| <= h' for the logistic, and h'' = 0 for ReLU.
        bend = rate * activation_bounds[layer - 1] if network.hidden is Hidden.logistic else 0.0
        delta_bounds.insert(0, rate * above + bend * np.abs(weights.T @ deltas[layer]))
    gradient_bounds = [
        np.outer(delta_bound, np.abs(z)) + np.outer(np.abs(delta), z_bound + u * np.abs(z))
        for delta_bound, delta, z, z_bound in zip(delta_bounds, deltas, passed.outputs, output_bounds, strict=False)
    ]
    return delta_bounds, gradient_bounds
