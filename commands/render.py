"""The one emitter: a result becomes Rich tables, or one strict JSON document with the same numbers."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli726.text import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from cli726.document import Document

PIPE_WIDTH = 100
# Where COLUMNS says less, as 0 from a terminal that doesn't know, nothing could be read at all.
NARROWEST = 20


def console(*, stderr: bool = False) -> Console:
    """Return a Rich console for results (stdout) or notices (stderr); in a pipe its width is fixed: logs don't vary."""
    from rich.console import Console

    stream, columns = sys.stderr if stderr else sys.stdout, os.environ.get("COLUMNS", "")
    fixed = None if stream.isatty() or columns else PIPE_WIDTH
    fixed = NARROWEST if columns.isdecimal() and int(columns) < NARROWEST else fixed
    return Console(file=stream, width=fixed, highlight=False, soft_wrap=False)


def notice(text: str) -> None:
    """Print one line on stderr, never broken: it may hold a command to copy."""
    console(stderr=True).print(printable(text), markup=False, soft_wrap=True)


def jsonable(value: Any) -> Any:
    """Return plain JSON types; what is undefined or infinite becomes null, arrays lists, fractions strings.

    Lone surrogates, which stand for the bytes of an undecodable file name, become visible escapes.

    Raises:
        TypeError: for a type that has no agreed form, rather than guessing one.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if hasattr(value, "to_json"):
        return jsonable(value.to_json())
    if isinstance(value, str | Path | Fraction):
        return str(value).encode(errors="backslashreplace").decode()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # A field whose name is a keyword of Python, as `class_`, ends in an underscore there only.
        return {field.name.rstrip("_"): jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {jsonable(str(name)): jsonable(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, without importing NumPy
        return jsonable(value.tolist())
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    raise TypeError(f"no JSON form for {type(value).__name__}")


def harmless(document: str) -> str:
    """Return the same JSON document, every character escaped that could move the cursor, colour or reorder text."""
    return re.sub(r"[^\n -~]", lambda c: c[0] if printable(c[0]) == c[0] else json.dumps(c[0])[1:-1], document)


def emit(
    payload: Any,
    tables: Callable[[], Iterable[RenderableType]],
    *,
    as_json: bool,
    figures: Sequence[Path] | None = None,
) -> None:
    """Print a result on stdout: `payload`, a dataclass or mapping, as JSON, or `tables`, which are made only then.

    Figures that were written are listed in both forms; None is for commands that draw nothing.
    """
    if as_json:
        content = jsonable(payload) | ({} if figures is None else {"figures": jsonable(figures)})
        narrow = (sys.stdout.encoding or "utf-8").lower() not in {"utf-8", "utf8"}
        print(harmless(json.dumps(content, allow_nan=False, ensure_ascii=narrow, indent=2)))
        return
    out = console()
    for renderable in tables():
        out.print(renderable)
    for path in figures or ():
        out.print(f"wrote {printable(str(path))}", markup=False, soft_wrap=True)


def table(title: str | None, *columns: str, rows: Iterable[Sequence[object]], numeric: int = 1) -> Table:
    """Return a table in the house's look; columns from the `numeric`-th on are right-aligned, cells are plain text."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = None if title is None else Text(printable(title), "bold")
    result = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for position, name in enumerate(columns):
        result.add_column(Text(name), justify="right" if position >= numeric else "left", overflow="fold")
    for row in rows:
        result.add_row(*(Text(printable(str(cell))) for cell in row))
    return result


def document(content: Document) -> Iterator[RenderableType]:
    """Yield a document question by question: its number and wording, the answers, then the evidence."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from cli726.document import plain

    for line in content.lead:
        yield Text(printable(plain(line)))
    for number, question, answers, tables in content.answers():
        if number:
            yield Text(f"\n{number}  {printable(plain(question))}", style="bold")
        grid = Table.grid(padding=(0, 1))
        for item in answers:
            grid.add_row("•", Text(printable(item.text)))
        if answers:
            yield Padding(grid, (0, 0, 0, 2))
        for shown in tables:
            if shown.title is not None:  # not as the table's own title, which would wrap at the table's width
                yield Text(printable(plain(shown.title)), style="bold")
            rows = [[plain(cell) for cell in row] for row in shown.rows]
            yield table(None, *map(plain, shown.columns), rows=rows, numeric=shown.numeric)
