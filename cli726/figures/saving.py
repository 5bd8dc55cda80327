"""Writes figures, atomically and reproducibly."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure

from cli726.figures.style import styled

__all__ = ["save"]

# Without these a file would carry the time at which it was drawn.
UNDATED = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "ModDate": None},
}


def save(figure: Figure, path: Path) -> None:
    """Write `figure` beside `path` and rename: a reader sees the old file or the new one, never half of one."""
    kind = path.suffix.removeprefix(".")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with styled():
            figure.savefig(part, format=kind, metadata=UNDATED[kind])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
