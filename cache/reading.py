"""Reads an entry that anybody may have written or damaged: structure and hash first, use afterwards.

The file is read once, in plain reads, into the arrays that are handed out, and hashed there: so the bytes that were
checked are the bytes that are used. HDF5 takes no part in it (see `cache.format`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cache.format import DATA, IMAGE, MANIFEST, Distrusted, Layout, Manifest, State, layout_of, read_manifest
from cache.keys import Request
from cache.system import SAFELY, available_memory, open_regular, read_small

__all__ = ["BLOCK", "EntryInfo", "as_bytes", "describe", "load", "touch_usage", "write_usage"]

# Small enough to be hashed while it is still in the processor's cache, large enough to be handed from thread to thread
# for nothing: with blocks of 4 MB opening 160 MB takes 1.9 times as long as hashing them, with 1 MB 1.1 times.
BLOCK = 2**20
# The sidecar: when an entry was built, in how many seconds, and (its own time) when it was last used. Losing it loses
# nothing that matters, so it is written without care and read with suspicion.
USAGE = "usage.json"
LARGEST_USAGE = 4096
# A hundred years: a longer build is nonsense, as are NaN and infinity.
LONGEST = 3.2e9


@dataclass(frozen=True)
class EntryInfo:
    """One folder of the store.

    Attributes:
        key: Its name; a key unless it is foreign.
        state: "ok" (it looks whole; only `verify` reads the data), "damaged", "superseded" (an earlier version's),
            "foreign" (not ours), or "partial" (being built, or left by a killed process).
        reason: Why it is not ok, or why it is removed.
        request: What it holds; None unless it is ok.
        built, seconds: When it was built, ISO 8601, and how long that took, or reading it where it was verified.
        used: When it was last used, in seconds since 1970. All three are None if unknown.
    """

    key: str
    path: Path
    state: State
    reason: str | None = None
    bytes: int = 0
    request: Request | None = None
    built: str | None = None
    seconds: float | None = None
    used: float | None = None


def fill(file: BinaryIO, block: memoryview) -> None:
    """Read exactly as much as `block` holds."""
    if file.readinto(block) != len(block):  # type: ignore[attr-defined]
        raise Distrusted(f"{DATA} ends early")


def read_ahead(file: BinaryIO, target: memoryview) -> Iterator[memoryview]:
    """Yield the blocks of `target`, each once it is filled; the next ones are filled meanwhile by another thread.

    Fresh memory costs about as much as reading into it, and neither needs the processor that hashes.
    """
    blocks = [target[start : start + BLOCK] for start in range(0, len(target), BLOCK)]
    reader = ThreadPoolExecutor(1, "reader")
    try:
        fillings = [reader.submit(fill, file, block) for block in blocks]
        for block, filling in zip(blocks, fillings, strict=True):
            filling.result()
            yield block
    finally:
        reader.shutdown(cancel_futures=True)


def as_bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array).cast("B")  # type: ignore[arg-type]  # before Python 3.12 no type says Buffer


def scan(file: BinaryIO, layout: Layout, features: NDArray[Any] | None, images: NDArray[np.uint8]) -> str:
    """Read the whole file, into the arrays; features that are None are only hashed. Return its SHA-256."""
    sha256 = hashlib.sha256()

    def take(block: memoryview, expected: bytes | None = None) -> None:
        fill(file, block)
        if expected is not None and block != expected:
            raise Distrusted(f"the structure of {DATA} is not the one that cmpt726 writes")
        sha256.update(block)

    take(memoryview(bytearray(len(layout.head))), layout.head)
    if features is None:
        scratch = memoryview(bytearray(BLOCK))
        for start in range(0, layout.feature_bytes, BLOCK):
            take(scratch[: layout.feature_bytes - start])
    else:
        for block in read_ahead(file, as_bytes(features)):
            sha256.update(block)
    take(memoryview(bytearray(len(layout.middle))), layout.middle)
    take(as_bytes(images))
    take(memoryview(bytearray(len(layout.tail))), layout.tail)
    return sha256.hexdigest()


def open_data(entry: Path, manifest: Manifest, layout: Layout) -> BinaryIO:
    """Open the data file, if its size is right in every respect: the cheap check, before anything is allocated."""
    try:
        file = open_regular(entry / DATA)
    except FileNotFoundError:
        raise Distrusted(f"it has no {DATA}") from None
    except ValueError as error:
        raise Distrusted(str(error)) from None
    size = os.fstat(file.fileno()).st_size
    if not size == manifest.size == layout.size:
        file.close()
        raise Distrusted(f"{DATA} has {size} bytes; {layout.size} are right for what the manifest says")
    return file


def load(entry: Path, manifest: Manifest, *, keep: bool = True) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return features and images of the entry in folder `entry`, checked; without `keep` features are mapped always.

    Returns:
        features: ndarray of shape (rows, *shape), float32, or uint16 holding the bits of bfloat16; writable and the
            caller's own, or a read-only memory map if it takes over a quarter of the available memory. A map stays
            right when the entry is removed meanwhile: the file lives until its last user lets go.
        images: uint8 ndarray of shape (rows, 32): what tells each image apart.

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
    built = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):
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
    total = 0
    with suppress(OSError):
        for path in [folder] if folder.is_symlink() or not folder.is_dir() else folder.iterdir():
            total += path.lstat().st_size
    return total


def describe(entry: Path) -> EntryInfo:
    """Return what an entry's manifest and sizes say: no content is read, none is trusted."""
    known = {"bytes": files_size(entry), **usage_of(entry)}
    try:
        manifest = read_manifest(entry)
        open_data(entry, manifest, layout_of(manifest.request)).close()
    except Distrusted as error:
        return EntryInfo(entry.name, entry, error.state, str(error), **known)
    except OSError as error:
        return EntryInfo(entry.name, entry, "damaged", error.strerror or str(error), **known)
    return EntryInfo(entry.name, entry, "ok", request=manifest.request, **known)
