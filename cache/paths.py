"""Where the feature store lives."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["default_cache_dir"]


def default_cache_dir() -> Path:
    """The folder named by CMPT726_CACHE_DIR, else the system's per-user cache folder for `cmpt726`."""
    named = os.environ.get("CMPT726_CACHE_DIR")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("cmpt726", appauthor=False)
