"""Problem 4: the gradient of every layer of a deep network, why it is small, when it is exactly zero.

References:
    Bishop (2006), *Pattern Recognition and Machine Learning*, section 5.3.
    He, Zhang, Ren and Sun (2015), "Deep Residual Learning for Image Recognition".
    De and Smith (2020), "Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Connect, Dtype, Hidden
from cli726.deep_network import (
    Backward,
    DeepNetwork,
    Forward,
    back,
    back_signed,
    run,
    stacked,
    weight_gradients,
)
from cli726.gradient_causes import Cause, Saturation, Shares, causes, saturate, shares
from cli726.gradient_check import CENTRAL_STEP, central_difference, complex_step
from cli726.live_paths import SwitchedOff, Zeros, count_zeros, switch_off
from cli726.plain_pass import plain_error, plain_gradients
from cli726.vanishing_setting import Setting, formula, slope_formula
from cli726.wide_floats import Wide, times

__all__ = ["Vanishing", "analyse"]

Array = NDArray[np.float64]
LOGISTIC_SLOPE_BOUND = 0.25


@dataclass(frozen=True)
class Numerical:
    """dE/dw_11 of the first layer by numerical differentiation in float64; NaN where the error overflows."""

    central_difference: float
    complex_step: float


@dataclass(frozen=True)
class Vanishing:
    """Problem 4 for one network. Arrays have one element for each layer of weights, 1 first.

    Attributes:
        setting, hidden, connect: Which network.
        y, residual: Output, and output minus target; infinite where float64 overflows.
        log10: log10 |dE/dw_11|, -inf for an exact 0; from exponents that cannot run out.
        sign: Its sign.
        largest: log10 of the largest |dE/dw| in the layer.
        plain: dE/dw_11 by ordinary code, for each format.
        zeros: Gradients that are exactly zero, and why.
        bound_log10: log10 of a bound on |dE/dw_11^(1)| / |(y - t) x_1|: every h' at its largest, nothing cancelling.
        shares: Where the size of the first layer's gradient comes from.
        causes: The same for the middle layer, as given and with one thing changed at a time.
        saturation: Logistic activations pushed to the ends of their range; None for ReLU, or without hidden layer.
        switched_off: What makes gradients exactly zero; empty for logistic units.
        skip: log10 |dE/dw_11| with skip connections.
        skip_slopes: log10 of h' of the unit that w_11 enters, with skip connections; all but the last layer.
        skip_scaled: log10 |dE/dw_11| with skip connections and h scaled by 1 / depth.
        numerical: The first layer's gradient by numerical differentiation.
        slopes: The smallest and the largest h' of hidden units; None without hidden layer.
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
    bound_log10: float
    shares: Shares
    causes: tuple[Cause, ...]
    saturation: Saturation | None
    switched_off: tuple[SwitchedOff, ...]
    skip: Array
    skip_slopes: Array
    skip_scaled: Array
    numerical: Numerical
    slopes: tuple[float, float] | None

    @property
    def name(self) -> str:
        return f"{'ReLU' if self.hidden is Hidden.relu else 'logistic'} {self.connect}"

    def lost_below(self, dtype: Dtype) -> int | None:
        """The highest layer whose gradient is not 0, but 0 to ordinary code in that format; None if there is none."""
        lost = np.flatnonzero((self.plain[dtype] == 0) & np.isfinite(self.log10))
        return int(lost[-1]) + 1 if len(lost) else None

    def overflow_below(self, dtype: Dtype) -> int | None:
        """The highest layer whose gradient is too large for ordinary code in that format; None if there is none."""
        lost = np.flatnonzero(~np.isfinite(self.plain[dtype]))
        return int(lost[-1]) + 1 if len(lost) else None

    def document(self) -> dict[str, Any]:
        """What `--json` prints, without the findings."""
        setting = self.setting
        layers = zip(self.plain[setting.dtype], self.log10, self.largest, self.skip, self.skip_scaled, strict=True)
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
            "formula": formula(self.connect, setting.depth),
            "derivative": slope_formula(self.hidden),
            "layers": [
                {
                    "layer": layer,
                    "gradient": gradient,
                    "log10": log10,
                    "log10_largest": largest,
                    "log10_skip": skip,
                    "log10_skip_scaled": scaled,
                }
                for layer, (gradient, log10, largest, skip, scaled) in enumerate(layers, start=1)
            ],
            "zero_gradients": self.zeros.zero_gradients,
            "total_weights": self.zeros.total_weights,
            "zeros": self.zeros,
            "first_layer_bound": 10.0**self.bound_log10 if self.bound_log10 < 308 else None,
            "first_layer_bound_log10": self.bound_log10,
            "underflow_layer": {dtype: self.lost_below(dtype) for dtype in Dtype},
            "overflow_layer": {dtype: self.overflow_below(dtype) for dtype in Dtype},
            "shares": self.shares,
            "causes": self.causes,
            "saturation": self.saturation,
            "switched_off": self.switched_off,
            "numerical": self.numerical,
        }


def first_gradients(passed: Forward, deltas: Wide) -> Wide:
    """dE/dw_11 of every layer: shape (depth, c)."""
    inner, outer = weight_gradients(passed, deltas)
    mantissa = np.concatenate([inner.mantissa[:, :, 0, 0, 0], outer.mantissa[None, :, 0, 0]])
    exponent = np.concatenate([inner.exponent[:, :, 0, 0, 0], outer.exponent[None, :, 0, 0]])
    return times(Wide(mantissa, exponent), passed.residual)


def largest_gradients(passed: Forward, deltas: Wide) -> Array:
    """log10 of the largest |dE/dw| in every layer: shape (depth,); first case."""
    inner, outer = (part.log10() for part in weight_gradients(passed, deltas))
    largest: Array = np.append(inner[:, 0].max(axis=(1, 2, 3)), outer[0].max())
    return largest + float(passed.residual[0].log10())


def with_skips(network: DeepNetwork) -> tuple[Array, Array]:
    """Skip connections as they are, and with h scaled by 1 / depth.

    Returns:
        log10 |dE/dw_11| of every layer, shape (depth, 2), and log10 h' of the unit that it enters, (depth - 1, 2).
    """
    both = stacked([replace(network, skip=np.array([scale])) for scale in (1.0, 1.0 / network.depth)])
    passed = run(both)
    gradients = first_gradients(passed, back_signed(both, passed))
    return gradients.log10(), passed.slopes[:, :, 0, 0].log10()


def first_layer_bound(network: DeepNetwork, backward: Backward) -> float:
    """log10 of the largest that |dE/dw_11^(1)| / |(y - t) x_1| can be with these weights and any activations."""
    if network.depth == 1:
        return 0.0
    slope = LOGISTIC_SLOPE_BOUND if network.hidden is Hidden.logistic else 1.0
    return float(backward.weights_only[0, 0, 0, 0].log10()) + (network.depth - 1) * math.log10(slope)


def numerically(network: DeepNetwork) -> Numerical:
    """The two numerical derivatives with respect to w_11 of layer 1."""
    difference = central_difference(lambda shift: plain_error(network, shift).real, 0.0, CENTRAL_STEP)
    if not math.isfinite(difference):
        return Numerical(math.nan, math.nan)
    return Numerical(difference, complex_step(lambda shift: plain_error(network, shift), 0.0))


def analyse(setting: Setting, hidden: Hidden, connect: Connect) -> Vanishing:
    """Answer problem 4 for one network.

    Raises:
        RequestError: for a setting that makes no network.
    """
    network = setting.network(hidden, connect)
    passed = run(network)
    backward = back(network, passed)
    gradients = first_gradients(passed, backward.signed)[:, 0]
    slopes = passed.slopes.rounded()[:, 0]
    skips, skip_slopes = with_skips(network)
    relu = hidden is Hidden.relu
    return Vanishing(
        setting=setting,
        hidden=hidden,
        connect=connect,
        y=float(passed.y.rounded()[0]),
        residual=float(passed.residual.rounded()[0]),
        log10=gradients.log10(),
        sign=np.sign(gradients.mantissa),
        largest=largest_gradients(passed, backward.signed),
        # Adding 0 turns -0 into 0.
        plain={dtype: plain_gradients(network, dtype) + 0 for dtype in Dtype},
        zeros=count_zeros(network, passed, backward),
        bound_log10=first_layer_bound(network, backward),
        shares=shares(passed, backward, 1),
        causes=causes(network, passed),
        saturation=None if relu or setting.depth == 1 else saturate(network),
        switched_off=switch_off(network) if relu else (),
        skip=skips[:, 0],
        skip_slopes=skip_slopes[:, 0],
        skip_scaled=skips[:, 1],
        numerical=numerically(network),
        slopes=(float(slopes.min()), float(slopes.max())) if slopes.size else None,
    )
