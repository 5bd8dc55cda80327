"""Words: foreign names made printable, numbers and lists for reading, singular and plural; paths as typed."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path


def printable(text: str) -> str:
    """Return `text` as one line of printable characters, so that foreign names can't move a terminal's cursor,
    colour it or reorder its text.
    """
    return "".join(
        c if unicodedata.category(c)[0] not in "CZ" or c == " " else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def spreadsheet_text(text: str) -> str:
    """Return a cell of comma-separated values: one that a spreadsheet would take for a formula gets an apostrophe."""
    text = printable(text)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} else text


def number(value: float, digits: int = 3) -> str:
    """Return a number for reading: significant digits, and no exponent where there is no need."""
    return f"{value:,.0f}" if abs(value) >= 10**digits and abs(value) < 1e9 else f"{value:.{digits}g}"


def listed(items: Iterable[object], last: str = "and") -> str:
    """Return a list in words: "a, b and c"."""
    *most, end = [str(item) for item in items] or [""]
    return f"{', '.join(most)} {last} {end}" if most else end


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 epoch", "3 epochs", "1,797 images"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def typed_path(text: str) -> Path:
    """Return the path that somebody typed: `~` is the home folder, unless something of that literal name is there.

    A shell expands `~` at the beginning of a word only, so not after `--out=` or `folder:`.

    Raises:
        RuntimeError: for the home of a user who doesn't exist.
    """
    path = Path(text)
    return path if path.exists() else path.expanduser()
