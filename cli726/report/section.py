"""What the builder gets from each problem: data for the template, and figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from cli726.findings import Finding
from cli726.report.wording import Parts, prose

__all__ = ["Draw", "Section", "table", "told"]

Draw = Callable[[], Figure]
QUESTION = re.compile(r"^\d\.\d ")


@dataclass(frozen=True)
class Section:
    """One problem, computed.

    Attributes:
        headline: Its answer in a line.
        data: Whatever its template reads: texts, numbers, lists and mappings.
        figures: File stem -> how to draw it.
        images: File name -> content of a PNG file.
    """

    headline: str
    data: Mapping[str, Any]
    figures: Mapping[str, Draw] = field(default_factory=dict)
    images: Mapping[str, bytes] = field(default_factory=dict)


def told(findings: Iterable[Finding]) -> list[Parts]:
    """Findings for the template, without the number of the question, under which they stand there."""
    return [prose(QUESTION.sub("", finding.text)) for finding in findings]


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Mapping[str, list[Any]]:
    """A table for the template; cells are sentences."""
    return {
        "columns": [prose(column) for column in columns],
        "rows": [[prose(str(cell)) for cell in row] for row in rows],
    }
