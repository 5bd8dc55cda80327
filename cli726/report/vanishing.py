"""Problem 4 in the report."""

from __future__ import annotations

from dataclasses import replace

from cli726.choices import Connect, Hidden
from cli726.document import m
from cli726.report.section import Section
from cli726.vanishing import Setting, analyse
from cli726.vanishing.figures import figures
from cli726.vanishing.findings import document, magnitude

__all__ = ["section"]


def section() -> Section:
    """The assignment's networks: 152 layers of weights, every weight 1; the template has what holds in general."""
    setting = Setting()
    results = [analyse(setting, hidden, connect) for hidden in Hidden for connect in Connect]
    answers = document(results)
    first = m(magnitude(results[0].log10[0]))
    dead = f"; with ReLU one inactive unit makes all {setting.depth} gradients of its chain 0."
    return Section(
        headline=("In the logistic chain ", m("w_11^(1)"), " has a gradient of ", first, dead),
        document=replace(answers, findings=[item for item in answers.findings if item.evidence]),
        data={"depth": setting.depth},
        figures=figures(results),
    )
