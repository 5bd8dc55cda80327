"""Problem 4 for one network: the gradient of every layer, a bound on it, which gradients are exactly zero, and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Connect, Dtype, Hidden
from cli726.document import Math, m
from cli726.exact import number
from cli726.vanishing.network import WIDE, Network, Pass, Setting, build, forward, log10, plain_gradients, reach

__all__ = ["Saturation", "Setting", "Vanishing", "Zeros", "analyse", "formula"]

Array = NDArray[np.float64]
STEEPEST = {Hidden.logistic: Decimal("0.25"), Hidden.relu: Decimal(1)}
DERIVATIVES = {Hidden.logistic: "h′(a) = h(a) (1 − h(a)) ≤ 1/4", Hidden.relu: "h′(a) = 1 for a > 0, else 0"}
# Biases that push a unit from one end of its range to the other, denser where its output changes fastest.
PUSHES = np.array([-12.0, -8.0, -5.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0])


@dataclass(frozen=True)
class Zeros:
    """Count of the gradients that are exactly 0, decided from the structure, and of all weights.

    Attributes:
        because: Reason -> how many gradients have it as their first one.
        inactive_units, dead_layer: Hidden units with h' = 0; the lowest hidden layer that has no others, None for none.
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
        layers, log10: First, middle, last; log10 |dy/dw_11| for each push and layer, -inf for an exact 0: (n, 3).
        place: The hidden layer whose first unit `activation`, `output` and `slope` are of: a, z and h', of shape (n,).
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
        y, residual: Output, and output minus target.
        log10, largest: log10 of |dE/dw_11|, and of the largest |dE/dw| in the layer; -inf for an exact 0.
        plain: dE/dw_11 by ordinary code, for each format.
        bound: On |dE/dw_11^(1)| / |(y - t) x_1|: every h' at its largest, nothing cancelling.
        steepest: The largest h' on the way from w_11^(1) to the output; None without hidden layer.
        factors: Of a chain: what dE/dw_11^(1) is the product of -> log10 of its size; empty for bipartite layers.
        saturation: Of logistic hidden units; None if there are none.
    """

    setting: Setting
    hidden: Hidden
    connect: Connect
    y: float
    residual: float
    log10: Array
    largest: Array
    plain: Mapping[Dtype, NDArray[Any]]
    zeros: Zeros
    bound: Decimal
    steepest: Decimal | None
    factors: Mapping[str, float]
    saturation: Saturation | None

    @property
    def name(self) -> str:
        """Return the network's name."""
        return f"{'ReLU' if self.hidden is Hidden.relu else 'Logistic'} {self.connect}"

    def lost(self, dtype: Dtype) -> list[int]:
        """Return the layers for which ordinary code gives 0 for a gradient that is not 0."""
        return [int(k) + 1 for k in np.flatnonzero((self.plain[dtype] == 0) & np.isfinite(self.log10))]

    def overflows(self, dtype: Dtype) -> list[int]:
        """Return the layers for which ordinary code gives no finite number."""
        return [int(k) + 1 for k in np.flatnonzero(~np.isfinite(self.plain[dtype]))]

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints, but for the findings."""
        setting, bound = self.setting, log10(self.bound)
        layers = zip(self.plain[setting.dtype], self.log10, self.largest, strict=True)
        return {
            "hidden": self.hidden, "connect": self.connect, "depth": setting.depth, "weight": setting.weight,
            "bias": float(number(setting.bias or "0")), "dtype": setting.dtype, "seed": setting.seed,
            "output": self.y, "residual": self.residual,
            "formula": "".join(map(str, formula(self.connect, setting.depth))), "derivative": DERIVATIVES[self.hidden],
            "layers": [
                {"layer": layer, "gradient": gradient, "log10": size, "log10_largest": largest}
                for layer, (gradient, size, largest) in enumerate(layers, start=1)
            ],
            "zero_gradients": self.zeros.zero_gradients, "total_weights": self.zeros.total_weights, "zeros": self.zeros,
            "first_layer_bound": float(self.bound) if bound < 308 else None, "first_layer_bound_log10": bound,
            "underflow_layer": {dtype: max(self.lost(dtype), default=None) for dtype in Dtype},
            "overflow_layer": {dtype: max(self.overflows(dtype), default=None) for dtype in Dtype},
            "saturation": self.saturation,
        }  # fmt: skip


def formula(connect: Connect, depth: int) -> tuple[str | Math, ...]:
    """Return dE/dw of every layer in the assignment's notation."""
    product = f"∏_{{k=l+1}}^{{{depth}}}"
    if connect is Connect.chain:
        return (m(f"∂E_n/∂w_11^(l) = (y − t) z_1^(l) {product} w_11^(k) h'(a_1^(k))"),)
    left = m("∂E_n/∂w_ij^(l) = (y − t) z_j^(l) Σ")
    return (left, " over paths from unit i to y of ", m(f"{product} w^(k) h'(a^(k))"))


def live(values: NDArray[Any]) -> NDArray[Any]:
    """Return 1 for each number that is not 0, else 0, as integers of any size."""
    return np.asarray(values != 0, int).astype(object)


def count_zeros(network: Network, passed: Pass, residual: Decimal) -> Zeros:
    """Return the gradients that are exactly 0, each under the first reason that applies.

    Weights that are all equal, or random, can't make paths cancel exactly: all paths have one sign, or no ties.
    """
    because: Counter[str] = Counter()
    total, slopes = 0, list(map(live, passed.slopes))
    ways = reach(live(network.inner), live(network.outer), slopes, 1)
    # The output is a unit that is always active.
    for inputs, slope, way in zip(passed.outputs, [*slopes, ways[-1]], ways, strict=True):
        zero = np.zeros((len(inputs), slope.shape[1], inputs.shape[1]), bool)
        for reason, factor in (
            ("its input is inactive", inputs[:, None, :]),
            ("its unit is inactive", slope[:, :, None]),
            ("no live path leads on to the output", way[:, :, None]),
            ("the error is 0", np.array(residual)),
        ):
            because[reason] += int((~zero & (factor == 0)).sum())
            zero |= factor == 0
        total += zero.size
    first = network.inner[0] if len(network.inner) else network.outer[:, None, :]
    live_paths = int((live(first) * live(network.x)[:, None, :] * ways[0][:, :, None]).sum())
    dead = [layer for layer, slope in enumerate(slopes, start=2) if not slope.any()]
    return Zeros(
        because.total(), total, dict(+because),
        inactive_units=int(sum((slope == 0).sum() for slope in slopes)), dead_layer=dead[0] if dead else None,
        live_paths_log10=math.log10(live_paths) if live_paths else None,
    )  # fmt: skip


def saturate(network: Network) -> Saturation:
    """Return what happens when a bias pushes the activations of a logistic network from one end to the other."""
    depth, rows = len(network.inner) + 1, []
    middle = (depth + 1) // 2
    layers, place = (1, middle, depth) if depth > 2 else (1, 2), max(2, middle)
    for push in PUSHES:
        bias = WIDE.fma(Decimal(float(push)), network.scale, network.bias)
        passed, _ = forward(replace(network, bias=bias))
        deltas = reach(*network.weights(), passed.slopes)
        unit = [float(part[place - 2][0, 0]) for part in (passed.activations, passed.outputs[1:], passed.slopes)]
        rows.append([*unit, *(log10(deltas[at - 1][0, 0]) + log10(passed.outputs[at - 1][0, 0]) for at in layers)])
    activation, output, slope, *sizes = np.array(rows).T
    return Saturation(PUSHES, layers, place, activation, output, slope, np.array(sizes).T)


def analyse(setting: Setting, hidden: Hidden, connect: Connect) -> Vanishing:
    """Answer problem 4 for one network; RequestError if the setting makes none."""
    network = build(setting, hidden, connect)
    passed, residual = forward(network)
    inner, outer = network.weights()
    deltas = reach(inner, outer, passed.slopes, residual)
    with localcontext(WIDE):
        pairs = [*zip(deltas, passed.outputs, strict=True)]
        own = [delta[0, 0] * z[0, 0] for delta, z in pairs]
        largest = [(abs(delta).max(axis=1) * abs(z).max(axis=1)).max() for delta, z in pairs]
        y = residual + network.t / network.scale
    slopes = [slope for layer in passed.slopes for slope in layer[0]]
    factors = {}
    if connect is Connect.chain:
        weights = [*inner[:, 0, 0, 0], outer[0, 0]]
        factors = {
            "slopes": sum(map(log10, slopes)),
            "weights": sum(map(log10, weights[1:])),
            "input": log10(passed.outputs[0][0, 0]),
            "error": log10(residual),
        }
    return Vanishing(
        setting, hidden, connect, float(y), float(residual),
        log10=np.array(list(map(log10, own))), largest=np.array(list(map(log10, largest))),
        plain={dtype: plain_gradients(network, dtype) for dtype in Dtype},
        zeros=count_zeros(network, passed, residual),
        bound=reach(abs(inner), abs(outer), [slope * 0 + STEEPEST[hidden] for slope in passed.slopes])[0][0, 0],
        steepest=max(slopes, default=None), factors=factors,
        saturation=saturate(network) if hidden is Hidden.logistic and setting.depth > 1 else None,
    )  # fmt: skip
