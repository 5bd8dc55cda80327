"""Findings, tables and the document that holds them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cli726.document.mathematics import Math

# A sentence or a cell: text that stays text, and marked mathematics, one after another.
Content: TypeAlias = "str | Math | Sequence[str | Math]"
NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", re.ASCII)


def parts(content: Content) -> Sequence[str | Math]:
    """Return the texts and formulas, one after another."""
    return (content,) if isinstance(content, str | Math) else content


def plain(content: Content) -> str:
    """Return the content as a terminal shows it."""
    return "".join(map(str, parts(content)))


def typeset(content: Content) -> list[str | list[dict[str, Any]]]:
    """Return the content for the report's template: a string for text, a list of nodes for a formula."""
    return [part if isinstance(part, str) else part.nodes() for part in parts(content)]


def cell(content: Content) -> list[str | list[dict[str, Any]]]:
    """Return the cell of a numeric column for the template: a number is set as mathematics, with a real minus."""
    return typeset(Math(content) if isinstance(content, str) and NUMBER.fullmatch(content) else content)


@dataclass(frozen=True)
class Finding:
    """One sentence that answers a question, or warns, stated only while it holds."""

    question: str  # its number in the assignment, such as "1.2"; "" for a warning that belongs to none
    parts: Content  # the sentence; numbers rounded for reading, mathematics marked
    evidence: Mapping[str, Any] = field(default_factory=dict)  # the numbers that it rests on, unrounded, by name

    @property
    def text(self) -> str:
        """Return the sentence as a terminal shows it."""
        return plain(self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        return {"question": self.question, "text": self.text, "evidence": self.evidence}


@dataclass(frozen=True)
class Table:
    """Rows of cells under a question."""

    title: Content | None  # what it shows
    columns: Sequence[Content]
    rows: Sequence[Sequence[Content]]  # as many cells as there are columns, ready to read: numbers are rounded already
    question: str = ""  # that it is evidence for
    numeric: int = 1  # columns from this one on hold numbers, and are aligned to the right

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"a row needs {len(self.columns)} cells; got {wrong[0]}")


@dataclass(frozen=True)
class Document:
    """All that a result says, question by question."""

    lead: Sequence[Content]  # lines above everything: the setting, whose data
    questions: Mapping[str, Content]  # number -> the question in brief, in the order in which they are answered
    findings: Sequence[Finding]  # those of one question stand together, before its tables
    tables: Sequence[Table]

    def __post_init__(self) -> None:
        asked = {"", *self.questions}
        strange = ({item.question for item in self.findings} | {item.question for item in self.tables}) - asked
        if strange:
            raise ValueError(f"findings and tables answer one of {', '.join(self.questions)}; got {strange}")

    def answers(self) -> Iterable[tuple[str, Content, list[Finding], list[Table]]]:
        """Yield each question's number, wording, findings and tables; what belongs to none comes last."""
        for number, question in {**self.questions, "": ""}.items():
            findings = [item for item in self.findings if item.question == number]
            yield number, question, findings, [item for item in self.tables if item.question == number]

    def to_typst(self) -> dict[str, Any]:
        """Return the findings and tables of each question for the report's template."""
        return {
            number or "notes": {
                "findings": [typeset(item.parts) for item in findings],
                "tables": [
                    {
                        "title": typeset(table.title or ""),
                        "columns": [typeset(column) for column in table.columns],
                        "rows": [
                            [*map(typeset, row[: table.numeric]), *map(cell, row[table.numeric :])]
                            for row in table.rows
                        ],
                        "numeric": table.numeric,
                    }
                    for table in tables
                ],
            }
            for number, _, findings, tables in self.answers()
        }
