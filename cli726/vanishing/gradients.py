"""Problem 4 for one network: the gradient of every layer, a bound on it, which gradients are exactly zero, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Connect, Dtype, Hidden
from cli726.document import Math, m
from cli726.vanishing.network import (
    ONE,
    QUARTER,
    WIDE,
    ZERO,
    Forward,
    Network,
    Setting,
    Units,
    build,
    forward,
    log10,
    plain_gradients,
    reach,
)  # fmt: skip

__all__ = ["Saturation", "Vanishing", "Zeros", "analyse", "formula"]

Array = NDArray[np.float64]
DERIVATIVES = {Hidden.logistic: "h′(a) = h(a) (1 − h(a)) ≤ 1/4", Hidden.relu: "h′(a) = 1 for a > 0, else 0"}
# Biases that push a unit from one end of its range to the other, denser where its output changes fastest.
PUSHES = np.array([-12.0, -8.0, -5.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0])


@dataclass(frozen=True)
class Zeros:
    """The gradients of one network that are exactly 0, decided from its structure.

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
class Saturation:
    """Logistic activations pushed towards the ends of their range by a bias at every hidden unit.

    Attributes:
        push: The biases added: ndarray of shape (n,).
        layers: The layers looked at: first, middle, last.
        place: The hidden layer whose first unit `activation`, `output` and `slope` are of: a, z and h', of shape (n,).
        log10: log10 |dy/dw_11| for each push and layer, -inf for an exact 0: shape (n, 3).
    """

    push: Array
    layers: tuple[int, ...]
    place: int
    activation: Array
    output: Array
    slope: Array
    log10: Array


@dataclass(frozen=True)
class Vanishing:
    """Problem 4 for one network. Arrays have one element for each layer of weights, 1 first.

    Attributes:
        setting, hidden, connect: Which network.
        y, residual: Output, and output minus target; infinite where float64 overflows.
        log10: log10 |dE/dw_11|, -inf for an exact 0.
        sign: Its sign.
        largest: log10 of the largest |dE/dw| in the layer.
        plain: dE/dw_11 by ordinary code, for each format.
        zeros: Gradients that are exactly zero, and why.
        bound: On |dE/dw_11^(1)| / |(y - t) x_1|: every h' at its largest, nothing cancelling.
        steepest: The largest h' on the way from w_11^(1) to the output; None without hidden layer.
        factors: Of a chain: what dE/dw_11^(1) is the product of -> log10 of its size; empty for bipartite layers.
        saturation: Logistic activations pushed to the ends of their range; None for ReLU, or without hidden layer.
    """

    setting: Setting
    hidden: Hidden
    connect: Connect
    y: float
    residual: float
    log10: Array
    sign: Array
    largest: Array
    plain: Mapping[Dtype, NDArray[Any]]
    zeros: Zeros
    bound: Decimal
    steepest: Decimal | None
    factors: Mapping[str, float]
    saturation: Saturation | None

    @property
    def name(self) -> str:
        return f"{'ReLU' if self.hidden is Hidden.relu else 'logistic'} {self.connect}"

    def lost(self, dtype: Dtype) -> NDArray[np.bool_]:
        """Return in which layers ordinary code gives 0 for a gradient that is not 0."""
        return np.asarray((self.plain[dtype] == 0) & np.isfinite(self.log10))

    def overflows(self, dtype: Dtype) -> NDArray[np.bool_]:
        """Return in which layers ordinary code gives no finite number."""
        return np.asarray(~np.isfinite(self.plain[dtype]))

    def to_json(self) -> dict[str, Any]:
        setting, bound = self.setting, log10(self.bound)
        layers = zip(self.plain[setting.dtype], self.log10, self.largest, strict=True)
        return {
            "hidden": self.hidden,
            "connect": self.connect,
            "depth": setting.depth,
            "weight": setting.weight,
            "bias": setting.bias_value,
            "dtype": setting.dtype,
            "seed": setting.seed,
            "output": self.y,
            "residual": self.residual,
            "formula": "".join(map(str, formula(self.connect, setting.depth))),
            "derivative": DERIVATIVES[self.hidden],
            "layers": [
                {"layer": layer, "gradient": gradient, "log10": size, "log10_largest": largest}
                for layer, (gradient, size, largest) in enumerate(layers, start=1)
            ],
            "zero_gradients": self.zeros.zero_gradients,
            "total_weights": self.zeros.total_weights,
            "zeros": self.zeros,
            "first_layer_bound": float(self.bound) if bound < 308 else None,
            "first_layer_bound_log10": bound,
            "underflow_layer": {dtype: highest(self.lost(dtype)) for dtype in Dtype},
            "overflow_layer": {dtype: highest(self.overflows(dtype)) for dtype in Dtype},
            "saturation": self.saturation,
        }  # fmt: skip


def formula(connect: Connect, depth: int) -> tuple[str | Math, ...]:
    """Return dE/dw of every layer in the assignment's notation."""
    product = f"∏_{{k=l+1}}^{{{depth}}}"
    if connect is Connect.chain:
        return (m(f"∂E_n/∂w_11^(l) = (y − t) z_1^(l) {product} w_11^(k) h'(a_1^(k))"),)
    left = m("∂E_n/∂w_ij^(l) = (y − t) z_j^(l) Σ")
    return (left, " over paths from unit i to y of ", m(f"{product} w^(k) h'(a^(k))"))


def highest(layers: NDArray[np.bool_]) -> int | None:
    """Return the highest layer that is marked; None if there is none."""
    marked = np.flatnonzero(layers)
    return int(marked[-1]) + 1 if len(marked) else None


def live(value: Decimal) -> Decimal:
    """Return 1 for what is not 0."""
    return ONE if value else ZERO


def each(function: Any, layers: list[Units]) -> list[Units]:
    """Return the layers with a function applied to every unit."""
    return [[[function(value) for value in group] for group in layer] for layer in layers]


def count_zeros(network: Network, passed: Forward) -> Zeros:
    """Return the gradients that are exactly 0, each under the first reason that applies.

    Weights that are all equal, or random, can't make paths cancel exactly: all paths have one sign, or no ties.
    """
    paths = reach(network, each(live, passed.slopes), live)
    no_error = not passed.residual
    because: dict[str, int] = {}
    total = 0
    # The output is a unit that is always active.
    above = zip([*passed.slopes, [[ONE]] * len(network.x)], [*paths, [[ONE]] * len(network.x)], strict=True)
    for below, (slopes, ways) in zip(passed.outputs, above, strict=True):
        for inputs, group_slopes, group_ways in zip(below, slopes, ways, strict=True):
            for z in inputs:
                for slope, way in zip(group_slopes, group_ways, strict=True):
                    total += 1
                    reasons = {
                        "its input is inactive": not z,
                        "its unit is inactive": not slope,
                        "no live path leads on to the output": not way,
                        "the error is 0": no_error,
                    }
                    for reason in [reason for reason, holds in reasons.items() if holds][:1]:
                        because[reason] = because.get(reason, 0) + 1
    units = [[value for group in layer for value in group] for layer in passed.slopes]
    dead = [layer for layer, values in enumerate(units, start=2) if not any(values)]
    logarithm = log10(count_paths(network, passed, paths))
    return Zeros(
        zero_gradients=sum(because.values()),
        total_weights=total,
        because=because,
        inactive_units=sum(not value for values in units for value in values),
        dead_layer=dead[0] if dead else None,
        live_paths_log10=logarithm if np.isfinite(logarithm) else None,
    )


def count_paths(network: Network, passed: Forward, paths: list[Units]) -> Decimal:
    """Return how many paths of active units and weights that are not 0 lead from the inputs to the output."""
    rows = network.inner[0] if network.inner else [[group] for group in network.outer]
    ways = paths[0] if paths else [[ONE]] * len(rows)
    with localcontext(WIDE):
        return sum(
            (
                live(weight) * live(x) * way
                for group, inputs, ends in zip(rows, passed.outputs[0], ways, strict=True)
                for row, way in zip(group, ends, strict=True)
                for weight, x in zip(row, inputs, strict=True)
            ),
            ZERO,
        )


def saturate(network: Network) -> Saturation:
    """Return what happens when a bias pushes the activations of a logistic network from one end to the other."""
    middle = (network.depth + 1) // 2
    layers = (1, middle, network.depth) if network.depth > 2 else (1, 2)
    place = max(2, middle)
    alone = replace(network, inner=[layer[:1] for layer in network.inner], outer=network.outer[:1], x=network.x[:1])
    rows = []
    for push in PUSHES:
        pushed = replace(alone, bias=WIDE.fma(Decimal(float(push)), network.scale, network.bias))
        passed = forward(pushed)
        deltas = [*reach(pushed, passed.slopes), [[ONE]]]
        unit = [float(part[place - 2][0][0]) for part in (passed.activations, passed.outputs[1:], passed.slopes)]
        sizes = (log10(deltas[at - 1][0][0]) + log10(passed.outputs[at - 1][0][0]) for at in layers)
        rows.append([*unit, *sizes])
    activation, output, slope, *sizes_by_layer = np.array(rows).T
    return Saturation(PUSHES, layers, place, activation, output, slope, np.array(sizes_by_layer).T)


def analyse(setting: Setting, hidden: Hidden, connect: Connect) -> Vanishing:
    """Answer problem 4 for one network.

    Raises:
        RequestError: for a setting that makes no network.
    """
    network = build(setting, hidden, connect)
    passed = forward(network)
    logistic = hidden is Hidden.logistic
    # The last weights enter the output, whose delta is y - t itself.
    deltas = [*reach(network, passed.slopes), [[ONE]] * len(network.x)]
    largest_slope = QUARTER if logistic else ONE
    bound = reach(network, each(lambda _: largest_slope, passed.slopes), abs)
    with localcontext(WIDE):
        gradients = [passed.residual * delta[0][0] * z[0][0] for delta, z in zip(deltas, passed.outputs, strict=True)]
        largest = [
            max(max(map(abs, d)) * max(map(abs, z)) for d, z in zip(delta, below, strict=True)) * abs(passed.residual)
            for delta, below in zip(deltas, passed.outputs, strict=True)
        ]
        y = passed.residual + network.t / network.scale
    on_the_way = [h for layer in passed.slopes for h in layer[0]]
    factors = {}
    if connect is Connect.chain:
        weights = [*(layer[0][0][0] for layer in network.inner[1:]), network.outer[0][0]] if network.inner else []
        factors = {
            "slopes": sum(map(log10, on_the_way)),
            "weights": sum(log10(WIDE.divide(weight, network.scale)) for weight in weights),
            "input": log10(passed.outputs[0][0][0]),
            "error": log10(passed.residual),
        }
    return Vanishing(
        setting=setting,
        hidden=hidden,
        connect=connect,
        y=float(y),
        residual=float(passed.residual),
        log10=np.array([log10(value) for value in gradients]),
        sign=np.array([value.compare(ZERO) for value in gradients], dtype=float),
        largest=np.array([log10(value) for value in largest]),
        plain={dtype: plain_gradients(network, dtype) for dtype in Dtype},
        zeros=count_zeros(network, passed),
        bound=bound[0][0][0] if bound else ONE,
        steepest=max(on_the_way) if on_the_way else None,
        factors=factors,
        saturation=saturate(network) if logistic and network.inner else None,
    )
