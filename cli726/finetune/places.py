"""Where data sets and weights live, and how much may lie in memory."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

from cache.paths import user_folder

__all__ = ["COURSE_DATA_DIR", "data_dir", "data_dirs", "memory_limit", "weights_dir"]

# Where the course's script puts its data.
COURSE_DATA_DIR = Path("data")


def data_dir(chosen: str | None = None) -> Path:
    """Where data sets are downloaded to: `--data-dir`, else CMPT726_DATA_DIR, else the user's data folder."""
    if chosen is not None:
        return Path(chosen).expanduser()
    return user_folder("CMPT726_DATA_DIR", lambda: user_data_path("cmpt726", appauthor=False))


def data_dirs(chosen: str | None = None) -> list[Path]:
    """Where data sets are looked for, in order; without `--data-dir` the course script's `./data` too."""
    return [data_dir(chosen)] if chosen is not None else [data_dir(), COURSE_DATA_DIR]


def weights_dir() -> Path:
    """Where downloaded weights are kept."""
    return data_dir() / "weights"


def memory_limit() -> int:
    """A quarter of the machine's memory, in bytes: what one array may take of it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):
        return 2**31
