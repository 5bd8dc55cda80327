"""Problem 4's tables: the gradient of some layers, and where ordinary code loses it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cli726.choices import Dtype
from cli726.document import Table, m
from cli726.document.content import Content
from cli726.vanishing.gradients import Vanishing

__all__ = ["magnitude", "tables"]

ALONE, TOGETHER = 5, 4


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


def lost(item: Vanishing, dtype: Dtype) -> str:
    """Return in how many layers a format gives 0 for a gradient that is not 0, or no finite number."""
    counts = {"0": int(item.lost(dtype).sum()), "inf": int(item.overflows(dtype).sum())}
    return ", ".join(f"{what} in {count:,}" for what, count in counts.items() if count) or "-"


def tables(results: Sequence[Vanishing]) -> list[Table]:
    """Return a table with a row for each network; for one alone a second row has what ordinary code gives."""
    first = results[0]
    layers = spread(first.setting.depth, TOGETHER if len(results) > 1 else ALONE)
    rows: list[Sequence[Content]] = [
        (
            item.name,
            *(m(magnitude(item.log10[layer - 1])) for layer in layers),
            f"{item.zeros.zero_gradients:,} of {item.zeros.total_weights:,}",
            *(lost(item, dtype) for dtype in Dtype),
        )
        for item in results
    ]
    if len(results) == 1:
        plain = (abs(first.plain[first.setting.dtype][layer - 1]) for layer in layers)
        rows.append((f"in {first.setting.dtype}", *(f"{value:.2g}" for value in plain), "", "", ""))
    title = (m("|∂E_n/∂w_11^(l)|"), ", how many gradients are 0, and in how many layers float32 and float64 lose it")
    return [Table(title, ("network", *(m(f"l = {layer}") for layer in layers), "exactly 0", *Dtype), rows)]
