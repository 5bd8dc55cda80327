"""Where the feature store lives."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs

from cache.errors import EnvironmentFailure

__all__ = ["as_option", "default_cache_dir", "user_folder"]


def user_folder(variable: str, otherwise: Callable[[], Path]) -> Path:
    """The folder that an environment variable names, else the system's own for this user.

    Raises:
        EnvironmentFailure: if that needs a home folder and there is none.
    """
    named = os.environ.get(variable)
    try:
        folder = Path(named).expanduser() if named else otherwise()
    except RuntimeError:
        folder = Path("~")
    if folder.parts[:1] == ("~",):  # older platformdirs don't say that there is no home
        raise EnvironmentFailure(f"{variable} must name a folder where this user has no home folder; set it, or HOME")
    return folder


def default_cache_dir() -> Path:
    """The folder named by CMPT726_CACHE_DIR, else the system's per-user cache folder for `cmpt726`."""
    return user_folder("CMPT726_CACHE_DIR", lambda: platformdirs.user_cache_path("cmpt726", appauthor=False))


def as_option(folder: Path) -> str:
    """What a command that is named as a remedy needs besides to reach `folder`: nothing where that is the usual one."""
    with suppress(EnvironmentFailure):
        if folder == default_cache_dir():
            return ""
    return f" --cache-dir {shlex.quote(str(folder))}"
