"""Problem 4's tables: the gradient of some layers, and where ordinary code loses it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cli726.choices import Dtype
from cli726.document import Table, m
from cli726.vanishing.gradients import Vanishing

__all__ = ["magnitude", "tables"]

SHOWN_LAYERS, SHOWN_TOGETHER = 7, 4


def magnitude(log10: float) -> str:
    """Return 10**log10 with two digits, for any logarithm; "0" for -inf."""
    if not math.isfinite(log10):
        return "0"
    if -4 < log10 < 5:
        value = 10**log10
        return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
    exponent = math.floor(log10)
    digits = f"{10 ** (log10 - exponent):.1f}"
    return f"1.0e{exponent + 1:+03d}" if digits == "10.0" else f"{digits}e{exponent:+03d}"


def spread(depth: int, count: int) -> list[int]:
    """Return some layers from the first to the last, evenly spread."""
    return sorted({round(1 + step * (depth - 1) / (count - 1)) for step in range(count)})


def tables(results: Sequence[Vanishing]) -> list[Table]:
    """Return the table of one network, or of several beside each other."""
    return [layer_table(results[0]) if len(results) == 1 else together_table(results)]


def lost(item: Vanishing, dtype: Dtype) -> str:
    """Return in how many layers a format gives 0 for a gradient that is not 0, or no finite number."""
    counts = {"0": int(item.lost(dtype).sum()), "inf": int(item.overflows(dtype).sum())}
    return ", ".join(f"{what} in {count:,}" for what, count in counts.items() if count) or "-"


def together_table(results: Sequence[Vanishing]) -> Table:
    layers = spread(results[0].setting.depth, SHOWN_TOGETHER)
    return Table(
        (m("|∂E_n/∂w_11^(l)|"), ", how many gradients are 0, and in how many layers float32 and float64 lose it"),
        ("network", *(m(f"l = {layer}") for layer in layers), "exactly 0", *Dtype),
        [
            (
                item.name,
                *(m(magnitude(item.log10[layer - 1])) for layer in layers),
                f"{item.zeros.zero_gradients:,} of {item.zeros.total_weights:,}",
                *(lost(item, dtype) for dtype in Dtype),
            )
            for item in results
        ],
    )


def layer_table(item: Vanishing) -> Table:
    signs, dtype = {1: "+", -1: "−", 0: ""}, item.setting.dtype
    wrong = (f"{name}: {lost(item, name)}" for name in Dtype if lost(item, name) != "-")
    return Table(
        (
            m("∂E_n/∂w_11^(l)"),
            ", and what ordinary code gives",
            *(f"; {text} of {len(item.log10):,}" for text in wrong),
        ),
        ("layer l", "gradient", m("log_10 |·|"), f"in {dtype}"),
        [
            (
                f"{layer}",
                m(signs[int(item.sign[layer - 1])] + magnitude(item.log10[layer - 1])),
                f"{item.log10[layer - 1]:.2f}" if item.sign[layer - 1] else "",
                f"{item.plain[dtype][layer - 1]:.2g}",
            )
            for layer in spread(item.setting.depth, SHOWN_LAYERS)
        ],
    )
