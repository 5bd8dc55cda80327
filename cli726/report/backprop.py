"""Problem 3 in the report."""

from __future__ import annotations

from collections.abc import Iterable

from cli726.backprop import Backprop, solve
from cli726.figures.backprop import paths
from cli726.gradient_check import CENTRAL_STEP, CENTRAL_TOLERANCE, COMPLEX_STEP, COMPLEX_TOLERANCE, Check
from cli726.notation import superscript
from cli726.report.section import Section, table, told
from cli726.report.wording import prose
from cli726.worked_example import example

__all__ = ["section"]


def signed(value: float, digits: int = 4) -> str:
    """A number with a real minus sign."""
    return f"{value:.{digits}g}".replace("-", "−", 1) if value < 0 else f"{value:.{digits}g}"


def listed(values: Iterable[float]) -> str:
    return ", ".join(signed(float(value)) for value in values)


def verdict(check: Check) -> str:
    """The relative error, or what kept the check from finding one."""
    return f"{check.relative_error or 0:.1g}" if check.verdict == "passed" else str(check.verdict)


def section() -> Section:
    """The assignment's network, on an example drawn from seed 0."""
    result = solve(*example(seed=0))
    agreed = all(check.verdict == "passed" for item in result.derivatives for check in (item.central, item.complex))
    count = len(result.derivatives)
    return Section(
        headline=f"All {count} derivatives derived; in an example each agrees with two numerical checks."
        if agreed
        else f"{count} derivatives derived; not every numerical check in the example agrees.",
        data={
            "x": listed(result.x),
            "t": listed(result.t),
            "y": listed(result.passed.outputs[-1]),
            "error": signed(result.error),
            "values": [prose(signed(item.value)) for item in result.derivatives],
            "weights": [[[signed(float(w), 3) for w in row] for row in matrix] for matrix in result.network.weights],
            "passes": layer_table(result),
            "derivatives": derivative_table(result),
            "checks": {
                "central_step": prose(f"{CENTRAL_STEP:.1g}"),
                "central_limit": prose(f"{CENTRAL_TOLERANCE:.0e}"),
                "complex_step": prose(f"{COMPLEX_STEP:.0e}"),
                "complex_limit": prose(f"{COMPLEX_TOLERANCE:.0e}"),
            },
            "findings": told(result.findings),
        },
        figures={"network": lambda: paths(result)},
    )


def layer_table(result: Backprop) -> object:
    """What the forward and the backward pass leave at each layer."""
    rows: list[tuple[str, ...]] = [("1", "", f"x = ({listed(result.x)})", "")]
    passes = zip(result.passed.activations, result.passed.outputs[1:], result.deltas, strict=True)
    for layer, (a, z, delta) in enumerate(passes, start=2):
        cells = (f"({listed(values)})" if len(values) > 1 else listed(values) for values in (a, z, delta))
        rows.append((str(layer), *cells))
    head = [f"{letter}{superscript('(l)')}" for letter in "azδ"]
    return table(("layer l", *head), rows)


def derivative_table(result: Backprop) -> object:
    """The six derivatives with their checks."""
    rows = [
        (
            item.symbol,
            signed(item.value, 6),
            signed(item.central.numeric, 6),
            verdict(item.central),
            signed(item.complex.numeric, 6),
            verdict(item.complex),
        )
        for item in result.derivatives
    ]
    return table(
        ("derivative", "back-propagation", "central difference", "relative error", "complex step", "relative error"),
        rows,
    )
