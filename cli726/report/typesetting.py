"""Typst: from a folder of templates, data and figures to a PDF.

The compiler sees one folder and nothing else: no file outside it, no package, no network. Texts reach it as strings
of a JSON file, so that no name can be markup.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import typst

__all__ = ["typeset"]

# The scripts of Typst's own fonts.
SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "HEBREW")


def typeset(folder: Path, document: Mapping[str, Any], timestamp: int) -> bytes:
    """Typeset the report; the same document, figures and time give the same bytes.

    Args:
        folder: Where its figures are; the templates and the data are written there, too.
        document: What the templates read.
        timestamp: The time that the PDF carries, in seconds since 1970.

    Returns:
        The PDF file.
    """
    for template in (files("cli726.report") / "templates").iterdir():
        if template.name.endswith(".typ"):
            (folder / template.name).write_bytes(template.read_bytes())
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_text(text, encoding="utf-8")
    compiler = typst.Compiler(
        folder / "report.typ",
        root=folder,
        # Names in other scripts need the machine's own fonts; nothing else does.
        ignore_system_fonts=covered(text),
        package_path=folder / "packages",
        package_cache_path=folder / "packages",
    )
    typeset = compiler.compile(format="pdf", timestamp=timestamp)
    if not isinstance(typeset, bytes):
        raise AssertionError("a PDF is one file")
    return typeset


def covered(text: Iterable[str]) -> bool:
    """Whether Typst's own fonts have every letter."""
    letters = {c for c in text if not c.isascii() and unicodedata.category(c)[0] == "L" and c not in "′ₖₗₙᵢⱼˡᵏⁿ"}
    return all(unicodedata.name(c, "").startswith(SCRIPTS) for c in letters)
