"""What lies in a store's folder, looked at cheaply: no content is read, none is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cache.errors import RequestError
from cache.layout import layout_of
from cache.manifest import Distrusted, read_manifest
from cache.reading import open_data
from cache.usage import read_usage

__all__ = ["EntryInfo", "State", "describe", "resolve", "survey"]

KEY = re.compile("[0-9a-f]{64}")
SHORTENED = re.compile("[0-9a-f]{1,64}")
PREFIX = re.compile("[0-9a-f]{2}")
CANDIDATES = 5
State: TypeAlias = Literal["ok", "damaged", "foreign", "partial"]


@dataclass(frozen=True)
class EntryInfo:
    """One folder of the store.

    Attributes:
        key: Its name; a key unless it is foreign.
        path: Where it is.
        state: "ok" (it looks whole; only `verify` reads the data), "damaged", "foreign" (not written by this
            version), or "partial" (being built, or left by a killed process).
        reason: Why it is not ok.
        bytes: Size of its files.
        rows, shape, dtype, fields, provenance: From the manifest; None or empty unless it is ok.
        built: When it was built, ISO 8601; None if unknown.
        seconds: How long that took; None if unknown.
        used: When it was last used, in seconds since 1970; None if unknown.
    """

    key: str
    path: Path
    state: State
    reason: str | None = None
    bytes: int = 0
    rows: int | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    built: str | None = None
    seconds: float | None = None
    used: float | None = None


def children(folder: Path) -> list[Path]:
    """What is in a folder, sorted, hidden files left out; empty if it can't be listed."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []


def files_size(folder: Path) -> int:
    """Size of the files directly in a folder, or of a file itself."""
    total = 0
    inside = [] if folder.is_symlink() or not folder.is_dir() else children(folder)
    for path in inside or [folder]:
        with suppress(OSError):
            total += path.lstat().st_size
    return total


def describe(entry: Path) -> EntryInfo:
    """One entry folder, by its manifest and sizes."""
    size = files_size(entry)
    usage = read_usage(entry)
    try:
        if entry.is_symlink() or not entry.is_dir():
            raise Distrusted("it is not a folder", "foreign")
        manifest = read_manifest(entry)
        open_data(entry, manifest, layout_of(manifest.request)).close()
    except Distrusted as error:
        return EntryInfo(entry.name, entry, error.state, str(error), size, used=usage.used)
    except OSError as error:
        return EntryInfo(entry.name, entry, "damaged", error.strerror or str(error), size, used=usage.used)
    request = manifest.request
    return EntryInfo(
        key=request.key,
        path=entry,
        state="ok",
        bytes=size,
        rows=request.rows,
        shape=request.shape,
        dtype=request.dtype,
        fields=request.fields,
        provenance=request.provenance,
        built=usage.built,
        seconds=usage.seconds,
        used=usage.used,
    )


def survey(root: Path, apart: frozenset[str]) -> Iterator[EntryInfo]:
    """Everything under a version's folder but the store's own folders, whose names are in `apart`."""
    for prefix in children(root):
        if prefix.name in apart:
            continue
        if not PREFIX.fullmatch(prefix.name) or not prefix.is_dir():
            yield EntryInfo(prefix.name, prefix, "foreign", "no entry has such a name", files_size(prefix))
            continue
        for entry in children(prefix):
            if KEY.fullmatch(entry.name) and entry.name.startswith(prefix.name):
                yield describe(entry)
            else:
                yield EntryInfo(entry.name, entry, "foreign", "no entry has such a name", files_size(entry))


def resolve(shortened: str, root: Path) -> Path:
    """The one entry folder whose key begins with `shortened`.

    Raises:
        RequestError: if there is none or more than one; names candidates.
    """
    if not SHORTENED.fullmatch(shortened):
        raise RequestError(f"a key is 1 to 64 of the digits 0-9a-f; got {shortened!r}; `cmpt726 cache ls` lists them")
    folders = [path for path in children(root) if PREFIX.fullmatch(path.name)]
    entries = [entry for folder in folders for entry in children(folder) if KEY.fullmatch(entry.name)]
    found = [entry for entry in entries if entry.name.startswith(shortened)]
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(entry.name for entry in found[:CANDIDATES]) + (", ..." if len(found) > CANDIDATES else "")
        raise RequestError(f"key {shortened!r} must name one entry; {len(found)} begin so: {named}")
    raise RequestError(
        f"key {shortened!r} must name an entry; none begins so; `cmpt726 cache ls` lists all {len(entries)}"
    )
