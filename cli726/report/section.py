"""What the builder gets from each problem: its document, what else its template reads, and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from cli726.document import Document, Math
from cli726.document.content import Content

__all__ = ["Draw", "Section", "ready"]

Draw = Callable[[], Figure]


@dataclass(frozen=True)
class Section:
    """One problem, computed; `builder.py` calls a function of its module here and typesets what it returns.

        def section() -> Section:
            result = analyse(ASSIGNMENT)
            return Section(
                headline=("The regions meet at ", m("x = (3/22, -4/11)"), "."),  # like a finding's parts
                document=document(result),  # the one that the command shows
                data={"lines": [m(line.equation) for line in result.boundaries]},  # only what derivations need
                figures=figures(result),  # file stem -> function, as the command's
            )

    templates/problemN.typ has `#let body(d) = { [ ... ] }`. In it `#answers(d, "1.2")` sets the findings of a question,
    `#evidence(d, "1.2")` its tables, their titles as captions (`only: 0` the first of them); `#answers(d, "")` the
    warnings. `d.lines.at(0)` is the formula that `data` holds under that name: `$ #formula(d.lines.at(0)) $` in an
    equation, `#prose((d.lines.at(0),))` in a sentence. `#picture(d, "regions", [Caption.], alt: "...")` shows a figure
    where there is room for it, `#pictures(d, ("y1", [Caption.], "..."), ("y2", ...))` two beside each other; one that
    `figures` lacks is left out. Texts stay as they are: what is mathematics, a negative number or 1e-7 in a sentence
    too, is marked with `m(...)` where the sentence is made; cells of numeric columns needn't be.

    Attributes:
        headline: Its answer in a line.
        document: Its findings and tables.
        data: Whatever else its template reads: texts, numbers, formulas, lists and mappings.
        figures: File stem -> how to draw it.
        images: File name -> content of a PNG file.
    """

    headline: Content
    document: Document
    data: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Draw] = field(default_factory=dict)
    images: Mapping[str, bytes] = field(default_factory=dict)


def ready(value: Any) -> Any:
    """Return data for the template: formulas as their nodes, the rest as it is."""
    if isinstance(value, Math):
        return value.nodes()
    if isinstance(value, Mapping):
        return {name: ready(item) for name, item in value.items()}
    return [ready(item) for item in value] if isinstance(value, list | tuple) else value
