"""Reads an entry that anybody may have written or damaged: structure and hash first, use afterwards.

The file is read once, in plain reads, into the arrays that are handed out, and hashed there: so the bytes that were
checked are the bytes that are used. HDF5 takes no part in it (see `cache.layout`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cache.files import open_regular
from cache.layout import LABEL, Layout, layout_of
from cache.manifest import DATA, Distrusted, Manifest
from cache.memory import available_memory

__all__ = ["BLOCK", "Content", "as_bytes", "examine", "is_large", "load", "open_data"]

# Small enough to be hashed while it is still in the processor's cache, large enough to be handed from thread to thread
# for nothing: with blocks of 4 MB opening 160 MB takes 1.9 times as long as hashing them, with 1 MB 1.1 times.
BLOCK = 2**20
# Above this size a file of holes, which takes no space, would keep us hashing zeros for minutes or days.
SUSPICIOUS = 64 * 2**30
HOLLOW = 1024


@dataclass(frozen=True, eq=False)
class Content:
    """The data of one entry.

    Attributes:
        features: ndarray of shape (rows, *shape), float32, or uint16 holding the bits of bfloat16; a read-only memory
            map if it is large, else writable and the caller's own.
        labels: int64 ndarray of shape (rows,).
    """

    features: NDArray[Any]
    labels: NDArray[np.int64]


def is_large(size: int) -> bool:
    """Whether features of that size are mapped rather than loaded: above a quarter of the memory available."""
    return 4 * size > available_memory()


def fill(file: BinaryIO, block: memoryview) -> None:
    """Read exactly as much as `block` holds."""
    while block:
        count = file.readinto(block)  # type: ignore[attr-defined]
        if not count:
            raise Distrusted(f"{DATA} ends early")
        block = block[count:]


def read_ahead(file: BinaryIO, target: memoryview) -> Iterator[memoryview]:
    """The blocks of `target`, each once it is filled; the next ones are filled meanwhile by another thread.

    Fresh memory costs about as much as reading into it, and neither needs the processor that hashes.
    """
    blocks = [target[start : start + BLOCK] for start in range(0, len(target), BLOCK)]
    if len(blocks) == 1:
        fill(file, target)
        yield target
        return
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


def scan(file: BinaryIO, layout: Layout, features: NDArray[Any] | None, labels: NDArray[Any] | None) -> str:
    """Read the whole file, into the arrays where given; its SHA-256.

    Raises:
        Distrusted: if one byte of the structure is not as in `layout`.
    """
    sha256 = hashlib.sha256()

    def structure(expected: bytes) -> None:
        found = bytearray(len(expected))
        fill(file, memoryview(found))
        if found != expected:
            raise Distrusted(f"the structure of {DATA} is not the one that cmpt726 writes")
        sha256.update(found)

    def data(length: int, array: NDArray[Any] | None) -> None:
        if array is not None:
            for block in read_ahead(file, as_bytes(array)):
                sha256.update(block)
            return
        scratch = memoryview(bytearray(min(BLOCK, length)))
        for start in range(0, length, BLOCK):
            fill(file, scratch[: length - start])
            sha256.update(scratch[: length - start])

    structure(layout.head)
    data(layout.feature_bytes, features)
    structure(layout.middle)
    data(layout.label_bytes, labels)
    structure(layout.tail)
    return sha256.hexdigest()


def open_data(entry: Path, manifest: Manifest, layout: Layout) -> BinaryIO:
    """The data file, opened, if its size is right in every respect: the cheap check, before anything is allocated.

    Raises:
        Distrusted: if it is missing, no ordinary file, or of another size.
        OSError: if it can't be read.
    """
    try:
        file = open_regular(entry / DATA)
    except (FileNotFoundError, NotADirectoryError):
        raise Distrusted(f"it has no {DATA}") from None
    except ValueError as error:
        raise Distrusted(str(error)) from None
    try:
        status = os.fstat(file.fileno())
        if not status.st_size == manifest.size == layout.size:
            raise Distrusted(f"{DATA} has {status.st_size} bytes; {layout.size} are right for what the manifest says")
        # A file system that counts no blocks reports 0.
        allocated = 512 * getattr(status, "st_blocks", 0)
        if status.st_size > SUSPICIOUS and 0 < allocated < status.st_size // HOLLOW:
            raise Distrusted(f"{DATA} is a file of holes")
    except BaseException:
        file.close()
        raise
    return file


def check(found: str, manifest: Manifest) -> None:
    if found != manifest.sha256:
        raise Distrusted(f"the SHA-256 of {DATA} is {found[:12]}...; the manifest says {manifest.sha256[:12]}...")


def examine(entry: Path, manifest: Manifest) -> None:
    """Read the data file in `entry` and keep nothing, in a block of memory.

    Raises:
        Distrusted: if structure, size or hash is wrong.
        OSError: if it can't be read.
    """
    layout = layout_of(manifest.request)
    with open_data(entry, manifest, layout) as file:
        check(scan(file, layout, None, None), manifest)


def load(entry: Path, manifest: Manifest) -> Content:
    """The data of the entry in folder `entry`, whole in memory, or mapped if that takes over a quarter of it.

    A map stays right when the entry is removed meanwhile: the file lives until its last user lets go.

    Raises:
        Distrusted: if structure, size or hash is wrong.
        OSError: if it can't be read.
    """
    layout = layout_of(manifest.request)
    with open_data(entry, manifest, layout) as file:
        labels = np.empty(layout.rows, LABEL)
        if is_large(layout.feature_bytes):
            check(scan(file, layout, None, labels), manifest)
            features: NDArray[Any] = np.memmap(file, layout.dtype, "r", len(layout.head), layout.shape)
        else:
            features = np.empty(layout.shape, layout.dtype)
            check(scan(file, layout, features, labels), manifest)
    return Content(features, labels)
