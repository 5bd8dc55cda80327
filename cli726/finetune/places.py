"""Where data sets and weights live, and how much may lie in memory."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path

from cache.system import available_memory, user_folder
from cli726.text import typed_path

__all__ = ["COURSE_DATA_DIR", "data_dir", "data_dirs", "memory_limit", "weights_dir"]

# Where the course's script puts its data.
COURSE_DATA_DIR = Path("data")


def data_dir(chosen: str | None = None) -> Path:
    """Where data sets are downloaded to: `--data-dir`, else CMPT726_DATA_DIR, else the user's data folder."""
    if chosen is not None:
        return typed_path(chosen)
    return user_folder("CMPT726_DATA_DIR", lambda: user_data_path("cmpt726", appauthor=False))


def data_dirs(chosen: str | None = None) -> list[Path]:
    """Where data sets are looked for, in order; without `--data-dir` the course script's `./data` too."""
    return [data_dir(chosen)] if chosen is not None else [data_dir(), COURSE_DATA_DIR]


def weights_dir() -> Path:
    """Where downloaded weights are kept."""
    return data_dir() / "weights"


def memory_limit() -> int:
    """Return what one array may take, in bytes: a quarter of the memory that is there to be had."""
    return available_memory() // 4
