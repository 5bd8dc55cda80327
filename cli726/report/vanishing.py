"""Problem 4 in the report."""

from __future__ import annotations

from cli726.choices import Connect, Hidden
from cli726.document.content import typeset
from cli726.report.section import Section
from cli726.report.wording import prose
from cli726.vanishing import Setting, analyse, document, figures

__all__ = ["section"]


def section() -> Section:
    """The assignment's networks: 152 layers of weights, every weight 1."""
    setting = Setting()
    results = [analyse(setting, hidden, connect) for hidden in Hidden for connect in Connect]
    answers = document(results)
    told = {
        number: [typeset(item.parts) for item in answers.findings if item.question == number and "network" in item.evidence]
        for number in answers.questions
    }
    (table,) = answers.tables
    draw = figures(results)
    logistic = results[0]
    return Section(
        headline="..",
        data={},
        figures={"layers": draw["gradients"], "saturation": draw["saturation"]},
    )
