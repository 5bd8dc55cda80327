"""Functions of the user's own, named on the command line as python:FILE.py:FUNCTION.

Only what was typed is ever loaded: a name found inside a file (a run's config.json, a manifest) must not get here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from cli726.errors import Cmpt726Error, RequestError
from cli726.text import typed_path

PREFIX = "python:"


def is_code(name: str) -> bool:
    """Return whether an option's value names code."""
    return name.startswith(PREFIX)


def locate(name: str) -> tuple[Path, str]:
    """Return file and function of `python:FILE.py:FUNCTION`."""
    file, colon, function = name.removeprefix(PREFIX).rpartition(":")
    path = typed_path(file)
    if not is_code(name) or not colon or not function.isidentifier() or path.suffix != ".py":
        raise RequestError(f"code must be named as python:FILE.py:FUNCTION; got {name}")
    if not path.is_file():
        raise RequestError(f"{name}: the file must exist; got {path}; check the path")
    return path.resolve(), function


def source_digest(name: str) -> str:
    """Return the SHA-256 of the file that `name` names: all that a cache key knows of somebody's code."""
    return hashlib.sha256(locate(name)[0].read_bytes()).hexdigest()


@contextmanager
def own_code(name: str) -> Iterator[None]:
    """Run somebody else's code inside: its output goes to stderr, what it raises is a RequestError with its line."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Cmpt726Error:
        raise
    # Somebody else's code may fail in any way.
    except (Exception, SystemExit) as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(locate(name)[0])]
        where = f" in line {own[-1].lineno}" if own else ""
        raise RequestError(f"{name} failed{where}: {type(error).__name__}: {error}; mend it") from error


@contextmanager
def neighbours_importable(folder: Path) -> Iterator[None]:
    """Make modules beside the user's file importable, after all others; they leave no __pycache__ behind."""
    path, wrote = list(sys.path), sys.dont_write_bytecode
    sys.path.append(str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = wrote


def load_module(name: str, path: Path) -> ModuleType:
    """Return a file as a module under a private name, which shadows no other; run once while it stays the same."""
    private = f"_cmpt726_user_{hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()}"
    if private in sys.modules:
        return sys.modules[private]
    spec = importlib.util.spec_from_file_location(private, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"{name}: {path} is no Python file that can be loaded")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickle look their module up here.
    sys.modules[private] = module
    try:
        with neighbours_importable(path.parent), own_code(name):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[private]
        raise
    return module


def load_function(name: str) -> Callable[..., Any]:
    """Return the function that `name`, such as "python:mine.py:darken", names; its file is run to define it.

    Raises:
        RequestError: no such file or function, or the file fails.
    """
    path, function = locate(name)
    found = getattr(load_module(name, path), function, None)
    if not callable(found):
        raise RequestError(f"{name}: {path} must define a function {function}; it doesn't; check the spelling")
    loaded: Callable[..., Any] = found
    return loaded
