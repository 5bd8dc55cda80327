"""Reads an entry that anybody may have written or damaged: the bytes that were checked are the bytes that are used."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cache.format import DATA, IMAGE, MANIFEST, Distrusted, Layout, Manifest, State, honest, layout_of, read_manifest
from cache.keys import Request
from cache.system import SAFELY, available_memory, open_regular, read_small

# Small enough to be hashed while it is still in the processor's cache, large enough to be handed from thread to thread
# for nothing: with blocks of 4 MB opening 160 MB takes 1.9 times as long as hashing them, with 1 MB 1.1 times.
BLOCK = 2**20
# The sidecar: when an entry was built, in how many seconds, and (its own time) when it was last used. Losing it loses
# nothing that matters, so it is written without care and read with suspicion.
USAGE, LARGEST_USAGE = "usage.json", 4096
# A hundred years: a longer build is nonsense, as are NaN and infinity.
LONGEST = 3.2e9


@dataclass(frozen=True)
class EntryInfo:
    """One folder of the store; what isn't known is None."""

    key: str  # its name; a key unless it is foreign
    path: Path
    state: State  # "ok": it looks whole; only `verify` reads the data
    reason: str | None  # it is not ok, or is removed
    bytes: int
    request: Request | None = None  # where it is ok
    built: str | None = None  # when: ISO 8601
    seconds: float | None = None  # that building it took, or reading it where it was verified
    used: float | None = None  # when last, in seconds since 1970


def as_bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array).cast("B")  # type: ignore[arg-type]  # before Python 3.12 no type says Buffer


def scan(file: BinaryIO, layout: Layout, features: NDArray[Any] | None, images: NDArray[np.uint8]) -> str:
    """Read the whole file, into the arrays; features that are None are only hashed. Return its SHA-256."""
    sha256 = hashlib.sha256()

    def take(block: memoryview) -> memoryview:
        if file.readinto(block) != len(block):  # type: ignore[attr-defined]
            raise Distrusted(f"{DATA} ends early")
        return block

    def demand(structure: bytes) -> None:
        if take(memoryview(bytearray(len(structure)))) != structure:
            raise Distrusted(f"the structure of {DATA} is not the one that cmpt726 writes")
        sha256.update(structure)

    demand(layout.head)
    starts = range(0, layout.feature_bytes, BLOCK)
    if features is None:
        scratch = memoryview(bytearray(BLOCK))
        for start in starts:
            sha256.update(take(scratch[: layout.feature_bytes - start]))
    else:  # fresh memory costs about as much as reading into it, and neither needs the processor that hashes
        target = as_bytes(features)
        with ThreadPoolExecutor(1, "reader") as reader:
            for block in reader.map(take, [target[start : start + BLOCK] for start in starts]):
                sha256.update(block)
    demand(layout.middle)
    sha256.update(take(as_bytes(images)))
    demand(layout.tail)
    return sha256.hexdigest()


def open_data(entry: Path, manifest: Manifest, layout: Layout) -> BinaryIO:
    """Open the data file, if its size is right in every respect: the cheap check, before anything is allocated."""
    with honest(DATA):
        file = open_regular(entry / DATA)
    size = os.fstat(file.fileno()).st_size
    if not size == manifest.size == layout.size:
        file.close()
        raise Distrusted(f"{DATA} has {size} bytes; {layout.size} are right for what the manifest says")
    return file


def load(entry: Path, manifest: Manifest, *, keep: bool = True) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the entry's features (rows, *shape) and uint8 images (rows, 32), read once, in plain reads, and checked.

    Features are writable and the caller's own; a read-only memory map without `keep`, or if they take over a quarter
    of the available memory. A map stays right when the entry is removed: the file lives until its last user lets go.

    Raises:
        Distrusted: if structure, size or hash is wrong.
    """
    layout = layout_of(manifest.request)
    with open_data(entry, manifest, layout) as file:
        images = np.empty((layout.shape[0], IMAGE), np.uint8)
        whole = keep and 4 * layout.feature_bytes <= available_memory()
        features = np.empty(layout.shape, layout.dtype) if whole else None
        found = scan(file, layout, features, images)
        if found != manifest.sha256:
            raise Distrusted(f"the SHA-256 of {DATA} is {found[:12]}...; the manifest says {manifest.sha256!s:.12}...")
        if features is None:
            features = np.memmap(file, layout.dtype, "r", len(layout.head), layout.shape)
    return features, images


def write_usage(entry: Path, seconds: float) -> None:
    """Note that `entry` was built just now, in `seconds`."""
    with suppress(OSError):
        built = datetime.now(UTC).isoformat(timespec="seconds")
        (entry / USAGE).write_text(json.dumps({"built": built, "seconds": seconds}) + "\n")


def touch_usage(entry: Path) -> None:
    """Note that `entry` was used just now; not in a folder that may not be written to, and through no link."""
    with suppress(OSError):
        os.close(os.open(entry / USAGE, os.O_WRONLY | os.O_CREAT | SAFELY, 0o666))
        os.utime(entry / USAGE)


def usage_of(entry: Path) -> dict[str, Any]:
    """Return `built`, `seconds` and `used`; without a sidecar an entry counts as last used when it was built."""
    known: dict[str, Any] = {}
    for name in (MANIFEST, USAGE):
        with suppress(OSError):
            known["used"] = (entry / name).lstat().st_mtime
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        document = json.loads(read_small(entry / USAGE, LARGEST_USAGE))
        known["built"] = datetime.fromisoformat(document["built"]).isoformat()
        if type(document["seconds"]) in (int, float) and 0 <= document["seconds"] < LONGEST:
            known["seconds"] = float(document["seconds"])
    return known


def files_size(folder: Path) -> int:
    """Return the size of the files directly in a folder, or of a file itself."""
    with suppress(OSError):
        whole = folder.is_symlink() or not folder.is_dir()
        return sum(path.lstat().st_size for path in ([folder] if whole else folder.iterdir()))
    return 0


def verdict(error: Distrusted | OSError) -> tuple[State, str]:
    """Return state and reason of an entry that can't be read."""
    return (error.state, str(error)) if isinstance(error, Distrusted) else ("damaged", error.strerror or str(error))


def describe(entry: Path) -> EntryInfo:
    """Return what an entry's manifest and sizes say: no content is read, none is trusted."""
    known = {"bytes": files_size(entry), **usage_of(entry)}
    try:
        manifest = read_manifest(entry)
        open_data(entry, manifest, layout_of(manifest.request)).close()
    except (Distrusted, OSError) as error:
        return EntryInfo(entry.name, entry, *verdict(error), **known)
    return EntryInfo(entry.name, entry, "ok", None, request=manifest.request, **known)
