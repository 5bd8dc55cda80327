"""Problem 3 in the report."""

from __future__ import annotations

from cli726.backprop import solve
from cli726.backprop.example import example
from cli726.backprop.figures import figures
from cli726.backprop.findings import certain, document
from cli726.document import m
from cli726.report.section import Section
from cli726.text import counted

__all__ = ["section"]


def section() -> Section:
    """Return the assignment's network, on an example drawn from seed 0."""
    result = solve(*example(seed=0))
    items, content = result.derivatives.values(), document(result)
    confirmed = sum(item.verdict == "passed" for item in items)
    return Section(
        headline=f"{counted(len(items), 'derivative')} derived; the complex step confirms {confirmed} in an example.",
        document=content,
        data={
            "values": [m(certain(item.value, item.bound)) for item in items],
            "weights": [[[m(f"{w:.3g}") for w in row] for row in matrix] for matrix in result.network.weights],
            "point": content.lead[-1],
        },
        figures=figures(result),
    )
