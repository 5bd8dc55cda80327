"""A fully connected network without biases: forward, backward, how far rounding reaches, and checks of derivatives.

The complex step decides whether a derivative is right; the central difference, which subtracts two nearly equal errors,
is shown beside it.

References:
    Bishop (2006), *Pattern Recognition and Machine Learning*, sections 5.1 and 5.3 (central differences: eq. 5.69).
    Higham (2002), *Accuracy and Stability of Numerical Algorithms*, section 3.3 (running error bounds).
    Squire and Trapp (1998), "Using complex variables to estimate derivatives of real functions", SIAM Review 40(1).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Hidden
from cli726.errors import RequestError

__all__ = ["Backprop", "Derivative", "LayeredNetwork", "Pass", "Variable", "asked", "logistic", "solve"]

Array = NDArray[np.float64]
EPSILON = sys.float_info.epsilon
# The cube root: there rounding (epsilon / step) and truncation (step squared) balance.
CENTRAL_STEP, CENTRAL_TOLERANCE = EPSILON ** (1 / 3), 1e-7
# Nothing is subtracted, so the step may be so small that its square vanishes beside 1.
COMPLEX_STEP, COMPLEX_TOLERANCE = 1e-20, 1e-12
# Each weight costs a forward pass.
MOST_CHECKED = 2_000
# Bounds on rounding stay between these, whatever underflows or overflows on the way; they are 0 only by structure.
LEAST, MOST = 1e-300, 1e300


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
    """What one forward pass leaves: the activations a of layers 2, 3, ..., and the outputs z of layers 1, 2, ...

    The first outputs are the inputs x, the last are y.
    """

    activations: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...]


def logistic(a: NDArray[Any]) -> NDArray[Any]:
    """Return 1 / (1 + exp(-a)) of real or complex a; exp never sees a positive real part, so it cannot overflow.

    Source: Bishop (2006), eq. 4.59.
    """
    shrinking = np.exp(np.where(a.real > 0, -a, a))
    return np.where(a.real > 0, 1 / (1 + shrinking), shrinking / (1 + shrinking))


def slope(a: Array, hidden: Hidden) -> Array:
    """Return h'(a) of hidden units; of the logistic as h(a) h(-a), which is h (1 - h) without its cancellation near 1.

    Source: Bishop (2006), eq. 4.88.
    """
    return logistic(a) * logistic(-a) if hidden is Hidden.logistic else (a > 0).astype(float)


def forward(network: LayeredNetwork, x: Array, variable: Variable | None = None, shift: complex = 0.0) -> Pass:
    """Return activations and outputs, with one variable shifted by a real or, for the complex step, complex amount."""
    z: NDArray[Any] = x
    activations, outputs = [], [z]
    for layer, weights in enumerate(network.weights, start=1):
        matrix: NDArray[Any] = weights
        if variable is not None and variable.source is not None and variable.layer == layer:
            matrix = weights.astype(np.result_type(weights, shift))
            matrix[variable.unit - 1, variable.source - 1] += shift
        a = matrix @ z
        if variable is not None and variable.source is None and variable.layer == layer + 1:
            a = a + shift * (np.arange(len(a)) == variable.unit - 1)
        if layer == len(network.weights):
            z = a
        else:
            z = logistic(a) if network.hidden is Hidden.logistic else np.where(a.real > 0, a, 0)
        activations.append(a)
        outputs.append(z)
    return Pass(tuple(activations), tuple(outputs))


def error_of(passed: Pass, t: Array) -> Any:
    """Return E_n = 1/2 sum_k (y_k - t_k)^2; not the modulus for complex y, so that it stays analytic.

    Source: Bishop (2006), eq. 5.11.
    """
    return 0.5 * np.sum((passed.outputs[-1] - t) ** 2)


def back_propagate(network: LayeredNetwork, passed: Pass, t: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return the deltas of layers 2, 3, ... and the gradient of each weight matrix.

    Source: Bishop (2006), eqs. 5.53, 5.54 and 5.56.
    """
    deltas = [passed.outputs[-1] - t]
    for weights, a in zip(network.weights[:0:-1], passed.activations[-2::-1], strict=True):
        deltas.insert(0, slope(a, network.hidden) * (weights.T @ deltas[0]))
    gradients = tuple(np.outer(delta, z) for delta, z in zip(deltas, passed.outputs, strict=False))
    return tuple(deltas), gradients


@dataclass(frozen=True)
class Bounds:
    """How far rounding may have taken each number; 0 only for what is exactly 0 because every term has a factor 0."""

    activations: tuple[Array, ...]
    outputs: tuple[Array, ...]
    deltas: tuple[Array, ...]
    gradients: tuple[Array, ...]
    error: float


def product(left: Array, right: Array) -> Array:
    """Return left * right of numbers that are not negative; 0 only where a factor is."""
    return np.clip(left * right, np.where((left > 0) & (right > 0), LEAST, 0.0), MOST)


def unit_bounds(a: Array, bound: Array, rounding: float, hidden: Hidden) -> tuple[Array, Array]:
    """Return bounds on the errors of h(a) and h'(a), where a is wrong by up to `bound`."""
    if hidden is Hidden.relu:
        return np.where(a > -bound, bound, 0.0), np.zeros_like(a)
    # h' is at most 1/4, and |h''| <= h': within 1 of a both change by a factor of e at most.
    moved = np.where(bound > 1, 1.0, 3 * np.minimum(bound, 1) * slope(a, hidden))
    return moved + rounding * logistic(a) + LEAST, np.minimum(moved, 0.25) + rounding * slope(a, hidden) + LEAST


def bounds_of(network: LayeredNetwork, passed: Pass, t: Array, deltas: Sequence[Array]) -> Bounds:
    """Return bounds on the rounding of a pass and its back-propagation, each carried along with its number.

    The exact numbers are those as typed: float64 rounds even these.
    """
    rounding = EPSILON * (max(network.sizes) + 8)
    a_bounds, rate_bounds, z_bounds = [], [], [rounding * np.abs(passed.outputs[0])]
    for weights, a, z in zip(network.weights, passed.activations, passed.outputs, strict=False):
        a_bounds.append(product(np.abs(weights), z_bounds[-1] + rounding * np.abs(z)).sum(axis=1))
        z_bound, rate_bound = unit_bounds(a, a_bounds[-1], rounding, network.hidden)
        z_bounds.append(z_bound)
        rate_bounds.append(rate_bound)
    z_bounds[-1] = a_bounds[-1]
    delta_bounds = [a_bounds[-1] + rounding * (np.abs(passed.outputs[-1]) + np.abs(t))]
    for layer in range(len(network.weights) - 1, 0, -1):
        back, delta, bound = np.abs(network.weights[layer].T), np.abs(deltas[layer]), delta_bounds[0]
        wrong_rate = product(rate_bounds[layer - 1], product(back, delta + bound).sum(axis=1))
        rate = slope(passed.activations[layer - 1], network.hidden)
        delta_bounds.insert(0, wrong_rate + product(rate, product(back, bound + rounding * delta).sum(axis=1)))
    gradient_bounds = [
        product(bound[:, None], np.abs(z) + z_bound) + product(np.abs(delta)[:, None], z_bound + rounding * np.abs(z))
        for bound, delta, z, z_bound in zip(delta_bounds, deltas, passed.outputs, z_bounds, strict=False)
    ]
    residual, bound = np.abs(deltas[-1]), delta_bounds[-1]
    error = float(product(residual + bound, bound + rounding * residual).sum())
    return Bounds(tuple(a_bounds), tuple(z_bounds), tuple(delta_bounds), tuple(gradient_bounds), error)


@dataclass(frozen=True)
class Derivative:
    """One derivative of the error, and what numerical differentiation makes of it.

    Attributes:
        question: Its number in the assignment; "" for a weight that none asks for.
        variable: With respect to what.
        value: As back-propagation gives it.
        bound: How far rounding may have taken the value.
        complex_step, complex_error: Im E(v + ih) / h, and its relative error.
        central_difference, central_error: (E(v + h) - E(v - h)) / 2h, and its relative error; 0 without a question.
        kink: A ReLU unit that the variable moves stands at 0 or changes sides within the step: there is no derivative.
        lost: The central difference disagrees, and its two errors are too close to be told from their rounding.
    """

    question: str
    variable: Variable
    value: float
    bound: float
    complex_step: float
    central_difference: float
    complex_error: float
    central_error: float
    kink: bool
    lost: bool

    @property
    def verdict(self) -> str:
        """What the complex step says."""
        if self.kink:
            return "not testable"
        return "passed" if self.complex_error <= COMPLEX_TOLERANCE else "failed"


def asked(sizes: Sequence[int]) -> dict[str, Variable | str]:
    """Return the variable of each question, carried over to any layer sizes, or why this network has none."""
    last = len(sizes)
    missing = "The only hidden layer is the penultimate one." if last == 3 else "There is no hidden layer."
    return {
        "3.1": Variable(last, 1),
        "3.2": Variable(last - 1, 1, 2) if sizes[-2] > 1 else f"Layer {last - 1} has no second unit.",
        "3.3": Variable(last - 1, 1) if last > 2 else missing,
        "3.4": Variable(last - 2, 1, 1) if last > 2 else missing,
        "3.5": Variable(2, 1) if last > 3 else missing,
        "3.6": Variable(1, 1, 1) if last > 3 else missing,
    }


def relative(value: float, estimate: float, floor: float) -> float:
    """Return the distance of two numbers over the larger of them, or over `floor` where both are smaller."""
    scale = max(abs(value), abs(estimate), floor)
    return abs(value - estimate) / scale if scale else 0.0


@dataclass(frozen=True)
class Backprop:
    """Problem 3 for one network and one data point.

    Attributes:
        network: The network.
        x: ndarray of shape (inputs,).
        t: ndarray of shape (outputs,).
        passed: Activations and outputs of the forward pass.
        error: E_n.
        deltas: dE/da of layers 2, 3, ..., one ndarray each.
        gradients: dE/dw, an ndarray of the weights' shape for each matrix.
        bounds: How far rounding may have taken all these.
    """

    network: LayeredNetwork
    x: Array
    t: Array
    passed: Pass
    error: float
    deltas: tuple[Array, ...]
    gradients: tuple[Array, ...]
    bounds: Bounds

    @cached_property
    def derivatives(self) -> tuple[Derivative, ...]:
        """The assignment's six, as far as this network has them."""
        variables = asked(self.network.sizes).items()
        return tuple(self.check(item, number) for number, item in variables if isinstance(item, Variable))

    @cached_property
    def sweep(self) -> dict[str, float] | None:
        """How many weights have which verdict, and the largest relative error; None if there are too many to check."""
        if sum(gradient.size for gradient in self.gradients) > MOST_CHECKED:
            return None
        checks = [
            self.check(Variable(layer, unit + 1, source + 1))
            for layer, gradient in enumerate(self.gradients, start=1)
            for unit, source in np.ndindex(*gradient.shape)
        ]
        worst = max((check.complex_error for check in checks if not check.kink), default=0.0)
        verdicts = [check.verdict.replace(" ", "_") for check in checks]
        counts = {verdict: verdicts.count(verdict) for verdict in ("passed", "failed", "not_testable")}
        return {"weights": len(checks), "worst": worst, **counts}

    @property
    def kinks(self) -> list[tuple[int, int]]:
        """(layer, unit) of each ReLU unit whose activation is 0 to within rounding."""
        if self.network.hidden is not Hidden.relu:
            return []
        layers = enumerate(zip(self.passed.activations[:-1], self.bounds.activations, strict=False), start=2)
        return [(layer, int(unit) + 1) for layer, (a, bound) in layers for unit in np.flatnonzero(np.abs(a) <= bound)]

    def check(self, variable: Variable, question: str = "") -> Derivative:
        """Return one derivative with both estimates; the central difference only for a question."""
        layer, unit = variable.layer, variable.unit - 1
        if variable.source is None:
            at = self.passed.activations[layer - 2][unit]
            value, bound = self.deltas[layer - 2][unit], self.bounds.deltas[layer - 2][unit]
        else:
            at = self.network.weights[layer - 1][unit, variable.source - 1]
            value = self.gradients[layer - 1][unit, variable.source - 1]
            bound = self.bounds.gradients[layer - 1][unit, variable.source - 1]
        with np.errstate(all="ignore"):
            moved = forward(self.network, self.x, variable, 1j * COMPLEX_STEP)
            exact = float(error_of(moved, self.t).imag) / COMPLEX_STEP
            # No hidden activation moves further than the step.
            reach = max([1.0, *(float(np.abs(a.imag).max()) / COMPLEX_STEP for a in moved.activations[:-1])])
            step = CENTRAL_STEP / reach
            above, below = (forward(self.network, self.x, variable, shift) for shift in (step, -step))
            rise = float(error_of(above, self.t) - error_of(below, self.t)) if question else 0.0
            central = rise / (float((at + step) - (at - step)) or 2 * step)
        # Both sides of a comparison are rounded: where they are smaller than this, that alone would count as an error.
        floor = float(4 * bound / COMPLEX_TOLERANCE)
        wrong, apart = (relative(float(value), estimate, floor) for estimate in (exact, central))
        lost = apart > CENTRAL_TOLERANCE and abs(rise) <= 1000 * self.bounds.error
        kink = self.kinked(moved, above, below)
        return Derivative(question, variable, float(value), float(bound), exact, central, wrong, apart, kink, lost)

    def kinked(self, moved: Pass, above: Pass, below: Pass) -> bool:
        """Whether a ReLU unit that is moved stands at 0, to within rounding, or changes sides within the step."""
        layers = zip(
            moved.activations[:-1], above.activations, below.activations, self.bounds.activations, strict=False
        )
        return self.network.hidden is Hidden.relu and any(
            bool(np.any(((np.abs(a.real) <= bound) & (a.imag != 0)) | ((up > 0) != (down > 0))))
            for a, up, down, bound in layers
        )


def solve(network: LayeredNetwork, x: Array, t: Array) -> Backprop:
    """Answer problem 3 for one network and one data point.

    Args:
        network: The network.
        x: ndarray of shape (inputs,).
        t: ndarray of shape (outputs,).

    Raises:
        RequestError: if the numbers are so large that float64 overflows.
    """
    with np.errstate(all="ignore"):
        passed = forward(network, x)
        error = float(error_of(passed, t))
        deltas, gradients = back_propagate(network, passed, t)
        if not np.isfinite([error, *(np.abs(values).max() for values in (*deltas, *gradients))]).all():
            raise RequestError(
                f"the error and all derivatives must be finite in float64; the error is {error:g}, and a derivative or "
                "itself overflows; use smaller numbers"
            )
        return Backprop(network, x, t, passed, error, deltas, gradients, bounds_of(network, passed, t, deltas))
