"""Problem 3: the six derivatives of error back-propagation as formulas and numbers, each checked, then all gradients.

References:
    Bishop (2006), *Pattern Recognition and Machine Learning*, section 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.backprop_checks import Bench, Sweep, check_all
from cli726.backprop_findings import Derivative, explain
from cli726.errors import RequestError
from cli726.findings import Finding
from cli726.layered_network import (
    LayeredNetwork,
    Pass,
    Variable,
    back_propagate,
    backward_rounding,
    error_of,
    forward,
    forward_rounding,
)
from cli726.notation import derivative, indexed, plain_derivative, subscript

__all__ = ["Absent", "Backprop", "questions", "solve"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Absent:
    """A derivative of the assignment's network that this network does not have, and why."""

    name: str
    reason: str


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
        derivatives: The assignment's six, as far as this network has them.
        absent: Those that it does not have.
        sweep: Every gradient checked; None for a network with too many weights.
        findings: Explanations that hold for these numbers.
    """

    network: LayeredNetwork
    x: Array
    t: Array
    passed: Pass
    error: float
    deltas: tuple[Array, ...]
    gradients: tuple[Array, ...]
    derivatives: tuple[Derivative, ...]
    absent: tuple[Absent, ...]
    sweep: Sweep | None
    findings: tuple[Finding, ...]

    def document(self) -> Mapping[str, Any]:
        """What `--json` prints; a single target, output is a number, several are a list."""
        y = self.passed.outputs[-1]
        single = len(y) == 1
        return {
            "layers": self.network.sizes,
            "hidden": self.network.hidden,
            "x": self.x,
            "t": self.t[0] if single else self.t,
            "output": y[0] if single else y,
            "error": self.error,
            "derivatives": [described(item) for item in self.derivatives],
            "absent": self.absent,
            "activations": self.passed.activations,
            "outputs": self.passed.outputs,
            "deltas": self.deltas,
            "weights": self.network.weights,
            "gradients": self.gradients,
            "sweep": self.sweep,
            "findings": self.findings,
        }


def described(item: Derivative) -> Mapping[str, Any]:
    """A derivative under the keys of the JSON document; `relative_error` is that of the central difference."""
    return {
        "name": item.name,
        "symbol": item.symbol,
        "formula": item.formula,
        "value": item.value,
        "central_difference": item.central.numeric,
        "complex_step": item.complex.numeric,
        "relative_error": item.central.relative_error,
        "complex_step_relative_error": item.complex.relative_error,
        "central_difference_verdict": item.central.verdict,
        "complex_step_verdict": item.complex.verdict,
        "not_testable_because": item.central.reason or item.complex.reason or None,
    }


def questions(sizes: Sequence[int]) -> tuple[tuple[Variable, ...], tuple[Absent, ...]]:
    """The assignment's six derivatives, carried over to any layer sizes; those that don't exist, with the reason."""
    last = len(sizes)
    asked = [Variable(last, 1), Variable(last - 1, 1, 2)]
    absent = []
    if last >= 3:
        asked += [Variable(last - 1, 1), Variable(last - 2, 1, 1)]
    if last >= 4:
        asked += [Variable(2, 1), Variable(1, 1, 1)]
    if last == 2:
        absent.append(Absent("the penultimate and the first hidden layer's", "there is no hidden layer"))
    if last == 3:
        absent.append(Absent("the first hidden layer's", "the only hidden layer is the penultimate one, given above"))
    if sizes[-2] < 2:
        asked.remove(Variable(last - 1, 1, 2))
        absent.append(Absent(plain_derivative("w", last - 1, 1, 2), f"layer {last - 1} has no second unit"))
    return tuple(asked), tuple(absent)


def formula(variable: Variable, sizes: Sequence[int]) -> str:
    """The right-hand side that back-propagation gives, in the assignment's notation."""
    last, unit = len(sizes), variable.unit
    if variable.source is not None:
        source = variable.source
        sent = f"x{subscript(source)}" if variable.layer == 1 else indexed("z", variable.layer, source)
        return f"{indexed('δ', variable.layer + 1, unit)} {sent}"
    layer, delta = variable.layer, indexed("δ", variable.layer, unit)
    if layer == last:
        return f"{delta} = y − t" if sizes[-1] == 1 else f"{delta} = y{subscript(unit)} − t{subscript(unit)}"
    rate = f"h′({indexed('a', layer, unit)})"
    if sizes[layer] == 1:
        return f"{delta} = {rate} {indexed('w', layer, 1, unit)} {indexed('δ', layer + 1, 1)}"
    return f"{delta} = {rate} Σₖ {indexed('w', layer, 'k', unit)} {indexed('δ', layer + 1, 'k')}"


def value_of(variable: Variable, deltas: Sequence[Array], gradients: Sequence[Array]) -> float:
    """The derivative with respect to that variable, among the results of back-propagation."""
    if variable.source is None:
        return float(deltas[variable.layer - 2][variable.unit - 1])
    return float(gradients[variable.layer - 1][variable.unit - 1, variable.source - 1])


def solve(network: LayeredNetwork, x: Array, t: Array) -> Backprop:
    """Answer problem 3 for one network and one data point.

    Args:
        network: The network.
        x: ndarray of shape (inputs,).
        t: ndarray of shape (outputs,).

    Raises:
        RequestError: if the numbers are so large that float64 overflows.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        passed = forward(network, x)
        error = float(error_of(passed, t))
    if not np.isfinite(error):
        raise RequestError(f"the error must be finite in float64; these numbers make it {error}; use smaller ones")
    with np.errstate(under="ignore"):
        deltas, gradients = back_propagate(network, passed, t)
        _, _, error_bound = forward_rounding(network, passed, t)
        bench = Bench(network, x, t, passed, error_bound, *backward_rounding(network, passed, t, deltas))
        asked, absent = questions(network.sizes)
        derivatives = tuple(derive(bench, item, value_of(item, deltas, gradients)) for item in asked)
        sweep = check_all(bench, gradients)
        findings = tuple(explain(bench, derivatives, sweep, deltas, gradients))
    return Backprop(network, x, t, passed, error, deltas, gradients, derivatives, absent, sweep, findings)


def derive(bench: Bench, variable: Variable, value: float) -> Derivative:
    """One derivative with its formula and its checks."""
    indices = (variable.unit,) if variable.source is None else (variable.unit, variable.source)
    place = ("a" if variable.source is None else "w", variable.layer, *indices)
    symbol = derivative(*place)
    return Derivative(
        name=plain_derivative(*place),
        symbol=symbol,
        formula=f"{symbol} = {formula(variable, bench.network.sizes)}",
        value=value,
        central=bench.central_check(variable, value),
        complex=bench.complex_check(variable, value),
    )
