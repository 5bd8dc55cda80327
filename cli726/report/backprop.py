"""Problem 3 in the report."""

from __future__ import annotations

from cli726.backprop import document, example, solve
from cli726.backprop.figures import figures
from cli726.backprop.findings import certain, left_side
from cli726.document import m
from cli726.report.section import Section
from cli726.text import counted

__all__ = ["section"]


def section() -> Section:
    """Return the assignment's network, on an example drawn from seed 0."""
    result = solve(*example(seed=0))
    content = document(result)
    names = [m(left_side(item.variable)) for item in result.derivatives]
    checks = [item.parts for item in content.findings if "complex_step" in item.evidence]
    confirmed = sum(item.verdict == "passed" for item in result.derivatives)
    return Section(
        headline=f"{counted(len(names), 'derivative')} derived; the complex step confirms {confirmed} in an example.",
        document=content,
        data={
            "values": [m(certain(item.value, item.bound)) for item in result.derivatives],
            "weights": [[[m(f"{w:.3g}") for w in row] for row in matrix] for matrix in result.network.weights],
            "point": content.lead[-1],
            "checks": list(zip(names, checks, strict=True)),
        },
        figures=figures(result),
    )
