"""Which gradients are exactly zero, and why: the paths of active units that lead from a weight to the output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cli726.deep_network import (
    Backward,
    DeepNetwork,
    Forward,
    back,
    run,
    stacked,
    sum_of_units,
    weight_gradients,
)
from cli726.wide_floats import dot, times, widen

__all__ = ["DeadNetworks", "SwitchedOff", "Zeros", "count_zeros", "simulate_dead", "switch_off"]

Array = NDArray[np.float64]
# Small and positive, so that the units above a layer that was switched off come to life again.
REVIVING_BIAS = 0.1
ONE_UNIT, WHOLE_LAYER = "one unit of the middle layer", "every unit of the middle layer"
MOST_SIMULATED, MOST_DRAWS = 4_000, 10_000_000


@dataclass(frozen=True)
class Zeros:
    """The gradients of one network that are exactly 0.

    Attributes:
        zero_gradients: How many.
        total_weights: Of how many.
        because: Reason -> how many have it as their first reason; reasons that no gradient has are left out.
        inactive_units: Hidden units with h' = 0.
        dead_layer: The lowest hidden layer with no active unit; None if every layer has one.
        live_paths_log10: Logarithm of the number of paths of active units from inputs to output; None for no path.
    """

    zero_gradients: int
    total_weights: int
    because: Mapping[str, int]
    inactive_units: int
    dead_layer: int | None
    live_paths_log10: float | None


@dataclass(frozen=True)
class SwitchedOff:
    """What is switched off in a network whose units are otherwise active, and how many gradients that makes zero.

    Attributes:
        what: What is switched off.
        zeros_without_biases: Gradients that are exactly 0.
        zeros_with_biases: The same with a small positive bias at every unit.
        total_weights: Of how many.
        weights_at_unit: Weights that enter or leave one unit of the middle layer.
    """

    what: str
    zeros_without_biases: int
    zeros_with_biases: int
    total_weights: int
    weights_at_unit: int


@dataclass(frozen=True)
class DeadNetworks:
    """Random bipartite ReLU networks with weights symmetric about 0: do they stay alive?

    Attributes:
        units: In each layer.
        hidden_layers: How many.
        simulated: How many networks.
        alive: How many of them have an active unit in every layer.
        alive_theory: Probability of that, (1 - 2^-units)^hidden_layers; None with biases, where this doesn't hold.
        layers_alive: Hidden layers below the first dead one, on average.
        layers_alive_theory: The expectation of that; None with biases.
    """

    units: int
    hidden_layers: int
    simulated: int
    alive: int
    alive_theory: float | None
    layers_alive: float
    layers_alive_theory: float | None


def count_zeros(network: DeepNetwork, passed: Forward, backward: Backward, case: int = 0) -> Zeros:
    """Count them from the paths of active units, each zero under the first reason that applies."""
    inner, outer = weight_gradients(passed, backward.signed)
    outputs, slopes = passed.outputs.nonzero[:, case], passed.slopes.nonzero[:, case]
    # For an inner weight the unit that it enters, then the unit that it leaves; an outer weight enters the output.
    shape, output_is_live = inner.mantissa[:, case].shape, np.zeros(outer.mantissa[case].shape, bool)
    error_is_zero = not bool(passed.residual.nonzero[case])
    reasons = {
        "its input is inactive": (~outputs[:-1, :, None, :], ~outputs[-1]),
        "its unit is inactive": (~slopes[..., None], output_is_live),
        "no live path leads on to the output": (~backward.paths.nonzero[:, case][..., None], output_is_live),
        "the paths cancel": (~inner.nonzero[:, case], ~outer.nonzero[case]),
        "the error is 0": (np.full(shape, error_is_zero), np.full(output_is_live.shape, error_is_zero)),
    }
    because: dict[str, int] = {}
    inner_left, outer_left = np.ones(shape, bool), ~output_is_live
    for reason, (inner_flags, outer_flags) in reasons.items():
        count = int(np.sum(inner_left & inner_flags) + np.sum(outer_left & outer_flags))
        inner_left, outer_left = inner_left & ~inner_flags, outer_left & ~outer_flags
        if count:
            because[reason] = count
    dead = np.flatnonzero(~slopes.any(axis=(1, 2)))
    return Zeros(
        zero_gradients=sum(because.values()),
        total_weights=network.weights,
        because=because,
        inactive_units=int(np.sum(~slopes)),
        dead_layer=int(dead[0]) + 2 if len(dead) else None,
        live_paths_log10=live_paths(network, passed, backward, case),
    )


def live_paths(network: DeepNetwork, passed: Forward, backward: Backward, case: int) -> float | None:
    """Logarithm of how many paths of active units lead from the inputs to the output."""
    inputs = widen(passed.outputs.nonzero[0])
    if network.depth == 1:
        count = sum_of_units(times(widen(network.outer != 0), inputs))
    else:
        count = sum_of_units(times(backward.paths[0], dot(widen(network.inner[0] != 0), inputs)))
    logarithm = float(count.log10()[case])
    return logarithm if math.isfinite(logarithm) else None


def switch_off(network: DeepNetwork) -> tuple[SwitchedOff, ...]:
    """Take every weight and input positive, so that all units are active, then switch things off.

    Args:
        network: One case, ReLU; its own biases are set aside.
    """
    middle = network.depth // 2 + 1
    alive = replace(
        network,
        inner=np.abs(network.inner),
        outer=np.abs(network.outer),
        biases=np.zeros_like(network.biases),
        output_bias=np.zeros_like(network.output_bias),
        x=np.abs(network.x),
        # No output is negative, so the error is not 0 either.
        t=np.full_like(network.t, -1.0),
    )
    blind = alive.x.copy()
    blind[:, 0, 0] = 0.0
    cases = {"nothing": alive, "the input x₁": replace(alive, x=blind)}
    if network.depth > 1:
        cases[ONE_UNIT] = silenced(alive, middle, slice(0, 1))
        cases[WHOLE_LAYER] = silenced(alive, middle, slice(None))
    biased = [with_bias(case, REVIVING_BIAS) for case in cases.values()]
    together = stacked([*cases.values(), *biased])
    passed = run(together)
    backward = back(together, passed)
    zeros = [count_zeros(together, passed, backward, case).zero_gradients for case in range(2 * len(cases))]
    units = network.x.shape[-1]
    at_unit = units + (units if middle < network.depth else 1)
    return tuple(
        SwitchedOff(what, zeros[row], zeros[row + len(cases)], network.weights, at_unit)
        for row, what in enumerate(cases)
    )


def silenced(network: DeepNetwork, layer: int, units: slice) -> DeepNetwork:
    """Give units of a hidden layer negative weights: their inputs are not negative, so they are inactive."""
    inner = network.inner.copy()
    _, cases, groups, _, sources = inner.shape
    flat = inner[layer - 2].reshape(cases, -1, sources)
    flat[:, units] *= -1
    inner[layer - 2] = flat.reshape(cases, groups, -1, sources)
    return replace(network, inner=inner)


def with_bias(network: DeepNetwork, bias: float) -> DeepNetwork:
    """The same bias at every unit; negative where the unit's weights are, so that silenced units stay inactive."""
    sign = np.where(network.inner.min(axis=-1) < 0, -1.0, 1.0)
    return replace(network, biases=bias * sign, output_bias=np.full_like(network.output_bias, bias))


def simulate_dead(
    units: int, hidden_layers: int, *, deviation: float = 1.0, bias: float = 0.0, seed: int = 0
) -> DeadNetworks:
    """Draw random bipartite ReLU networks, layer after layer, until each is dead or ends.

    Args:
        units: In each layer, and inputs, which are all 1.
        hidden_layers: How many.
        deviation: Of the normal weights.
        bias: Of every unit.
        seed: Of the weights.
    """
    unbiased = bias == 0
    # A network without biases lives 2^units layers on average, which bounds what has to be drawn.
    expected = min(hidden_layers, 2**units) if unbiased else hidden_layers
    simulated = int(np.clip(MOST_DRAWS // max(1, units * units * expected), 100, MOST_SIMULATED))
    generator = np.random.default_rng([seed, units, hidden_layers])
    z = np.ones((simulated, units))
    # Outputs are kept with the largest at 1, and the bias in the same unit: nothing can under- or overflow.
    relative_bias = np.full((simulated, 1), bias)
    lived = 0
    for _ in range(hidden_layers):
        weights = generator.normal(0.0, deviation, (len(z), units, units))
        a = (weights @ z[..., None])[..., 0] + relative_bias
        alive = (a > 0).any(axis=1)
        a, relative_bias = a[alive], relative_bias[alive]
        lived += len(a)
        largest = np.max(a, axis=1, keepdims=True)
        z, relative_bias = np.maximum(a, 0) / largest, relative_bias / largest
        if not len(z):
            break
    survival = 1 - 2.0**-units
    return DeadNetworks(
        units=units,
        hidden_layers=hidden_layers,
        simulated=simulated,
        alive=len(z),
        alive_theory=survival**hidden_layers if unbiased else None,
        layers_alive=lived / simulated,
        layers_alive_theory=survival * (1 - survival**hidden_layers) / (1 - survival) if unbiased else None,
    )
