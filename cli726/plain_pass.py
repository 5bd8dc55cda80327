"""Problem 4's gradients as ordinary code computes them, in float32 or float64: where they underflow, so does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.backprop.network import logistic
from cli726.choices import Dtype, Hidden
from cli726.deep_network import DeepNetwork

__all__ = ["plain_error", "plain_gradients"]


@dataclass(frozen=True)
class PlainForward:
    """The first case in one floating-point format: z of each layer, a of each hidden layer, y - t, the weights."""

    outputs: list[NDArray[Any]]
    activations: list[NDArray[Any]]
    residual: Any
    inner: NDArray[Any]
    outer: NDArray[Any]


def plain_forward(network: DeepNetwork, dtype: str, shift: complex = 0.0) -> PlainForward:
    """The forward pass of ordinary code, with w_11 of layer 1 shifted."""
    inner, outer, biases = (
        array.astype(dtype) for array in (network.inner[:, 0], network.outer[0], network.biases[:, 0])
    )
    first = inner[0, 0, :, :1] if len(inner) else outer[:, :1]
    first[0, 0] += shift
    z = network.x[0].astype(dtype)
    outputs, activations = [z], []
    for weights, bias in zip(inner, biases, strict=True):
        a = (weights @ z[..., None])[..., 0] + bias
        z = np.where(a.real > 0, a, 0).astype(dtype) if network.hidden is Hidden.relu else logistic(a)
        activations.append(a)
        outputs.append(z)
    constant = (network.output_bias[:1] - network.t[:1]).astype(dtype)[0]
    return PlainForward(outputs, activations, np.sum(outer * z) + constant, inner, outer)


def plain_error(network: DeepNetwork, shift: complex) -> complex:
    """E_n of the first case in float64, or in complex128 for a complex shift of w_11 in layer 1."""
    with np.errstate(all="ignore"):
        residual = plain_forward(network, "complex128" if isinstance(shift, complex) else "float64", shift).residual
        return complex(0.5 * residual * residual)


def plain_gradients(network: DeepNetwork, dtype: Dtype) -> NDArray[Any]:
    """The gradient of w_11 in every layer as ordinary code in one floating-point format finds it (first case).

    Returns:
        ndarray of shape (depth,) of that format; 0 where it underflowed, not finite where it overflowed.
    """
    with np.errstate(all="ignore"):
        passed = plain_forward(network, dtype)
        reached = passed.residual * passed.outer
        gradients = [passed.residual * passed.outputs[-1][0, 0]]
        for layer in range(network.depth - 2, -1, -1):
            a, z = passed.activations[layer], passed.outputs[layer + 1]
            delta = (a > 0) * reached if network.hidden is Hidden.relu else z * (1 - z) * reached
            gradients.append(delta[0, 0] * passed.outputs[layer][0, 0])
            reached = (passed.inner[layer].swapaxes(-1, -2) @ delta[..., None])[..., 0]
    return np.array(gradients[::-1], dtype=dtype)
