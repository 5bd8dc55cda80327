"""`python:FILE.py:FUNCTION`: code that the user names on the command line, and only there."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli726.errors import RequestError

__all__ = ["is_code", "load_function", "source_digest"]

PREFIX = "python:"


def is_code(name: str) -> bool:
    """Whether an option's value names code."""
    return name.startswith(PREFIX)


def locate(name: str) -> tuple[Path, str]:
    """File and function of `python:FILE.py:FUNCTION`."""
    file, colon, function = name.removeprefix(PREFIX).rpartition(":")
    path = Path(file).expanduser()
    if not colon or not function.isidentifier() or path.suffix != ".py":
        raise RequestError(f"code must be named as python:FILE.py:FUNCTION; got {name}")
    if not path.is_file():
        raise RequestError(f"{name}: the file must exist; got {path}; check the path")
    return path, function


def load_function(name: str) -> Callable[..., Any]:
    """The function that `name` names; its file is run, under a name of its own, to define it.

    Raises:
        RequestError: no such file or function, or the file fails.
    """
    path, function = locate(name)
    spec = importlib.util.spec_from_file_location(f"cmpt726_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RequestError(f"{name}: {path} is no Python file that can be loaded")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    # Somebody else's code may fail in any way.
    except Exception as error:
        raise RequestError(f"{name}: running {path} failed: {type(error).__name__}: {error}; mend it") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise RequestError(f"{name}: {path} must define a function {function}; it doesn't; check the spelling")
    loaded: Callable[..., Any] = found
    return loaded


def source_digest(name: str) -> str:
    """SHA-256 of the file that `name` names: what a cache key knows of somebody's code."""
    return hashlib.sha256(locate(name)[0].read_bytes()).hexdigest()
