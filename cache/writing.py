"""Builds an entry so that SIGKILL, a full disk or a power cut leave either no entry or a right one.

A part folder; space reserved; rows written in place by plain system calls; synced; read again and checked; manifest;
one rename; the parent synced.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache.errors import EnvironmentFailure
from cache.files import create, sync_folder, write_all, write_synced
from cache.layout import Layout
from cache.manifest import DATA, MANIFEST, Distrusted, Manifest
from cache.paths import as_option
from cache.quantities import as_size
from cache.reading import BLOCK, Content, as_bytes, load

__all__ = ["Room", "commit", "reserve", "vouch", "write_data"]

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Manifest, sidecar and the folders' own blocks.
BESIDES = 64 * 1024


def free_space(folder: Path) -> int:
    """Bytes that this user may still write where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class Room:
    """What an entry needs of the disk, and what there was before anything was written.

    Attributes:
        folder: The store's.
        needed: Size of the entry's data.
        free: Bytes free; None if the system would not say.
    """

    folder: Path
    needed: int
    free: int | None

    @classmethod
    def measured(cls, folder: Path, needed: int) -> Self:
        """What is free now."""
        free = None
        with suppress(OSError):
            free = free_space(folder)
        return cls(folder, needed, free)

    def failure(self, why: str) -> EnvironmentFailure:
        """Too little space, with the figures."""
        free = "unknown" if self.free is None else as_size(self.free)
        return EnvironmentFailure(
            f"{why}: the cache entry needs {as_size(self.needed)}, free in {self.folder}: {free}; free some space "
            f"(`cmpt726 cache prune --max-size SIZE{as_option(self.folder)}`) or choose another folder (--cache-dir)"
        )

    def require(self) -> None:
        """Refuse at once what can't fit.

        Raises:
            EnvironmentFailure: with what is needed and what is free.
        """
        if self.free is not None and self.needed + BESIDES > self.free:
            raise self.failure("too little space")

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Turn what the system refuses inside into an EnvironmentFailure that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                raise self.failure(error.strerror or str(error)) from error
            raise EnvironmentFailure(
                f"the cache in {self.folder} must be a folder that can be read and written; got "
                f"{error.strerror or error}; choose another one (--cache-dir) or do without (--no-cache)"
            ) from error


def reserve(descriptor: int, size: int) -> None:
    """Claim the file's blocks now, so that a full disk shows before the work and not in the middle of it.

    Raises:
        OSError: if there aren't so many.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        else:
            return
    zeros = bytes(BLOCK)
    os.lseek(descriptor, 0, os.SEEK_SET)
    for start in range(0, size, BLOCK):
        write_all(descriptor, zeros[: size - start])


def rows_of(blocks: Iterable[NDArray[Any]], layout: Layout) -> Iterator[memoryview]:
    """The bytes of consecutive blocks of rows, checked.

    Raises:
        ValueError: if a block has another dtype or shape than promised, or their rows don't add up.
    """
    rows = 0
    for block in blocks:
        rows += len(block)
        if block.dtype != layout.dtype or block.shape[1:] != layout.shape[1:] or rows > layout.rows:
            raise ValueError(f"expected {layout.rows} rows of {layout.shape[1:]} {layout.dtype}; got {block.shape}")
        if block.size:
            yield as_bytes(np.ascontiguousarray(block))
    if rows != layout.rows:
        raise ValueError(f"expected {layout.rows} rows; got {rows}")


def drop_from_memory(descriptor: int) -> None:
    """Ask that the next read comes from the disk; a hint where the system takes one."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def write_data(
    part: Path, layout: Layout, labels: NDArray[np.int64], blocks: Iterable[NDArray[Any]], room: Room
) -> str:
    """Write the data file of an entry and sync it; its SHA-256.

    Raises:
        EnvironmentFailure: for what the system refuses; an error of `blocks` itself passes as it is.
        ValueError: if `blocks` are not what `layout` says.
    """
    sha256 = hashlib.sha256()
    descriptor = -1

    def put(content: bytes | memoryview) -> None:
        with room.refusals():
            write_all(descriptor, content)
        sha256.update(content)

    try:
        with room.refusals():
            descriptor = create(part / DATA)
            reserve(descriptor, layout.size)
            os.lseek(descriptor, 0, os.SEEK_SET)
        put(layout.head)
        for block in rows_of(blocks, layout):
            put(block)
        put(layout.middle)
        put(as_bytes(labels))
        put(layout.tail)
        with room.refusals():
            os.fsync(descriptor)
            drop_from_memory(descriptor)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return sha256.hexdigest()


def vouch(part: Path, manifest: Manifest) -> Content:
    """Read the data again as any later run will, then write the manifest; the data.

    Raises:
        EnvironmentFailure: if they did not read back as written.
        OSError: for what the system refuses.
    """
    try:
        content = load(part, manifest)
    except Distrusted as error:
        raise EnvironmentFailure(
            f"what is written must read back the same; {error}; check the disk of {part}"
        ) from None
    write_synced(part / MANIFEST, manifest.render())
    sync_folder(part)
    return content


def commit(part: Path, entry: Path) -> bool:
    """Rename a finished part folder into place, for good; False if another process was first.

    Raises:
        OSError: for what the system refuses.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.rename(entry)
    except OSError:
        if not os.path.lexists(entry):
            raise
        return False
    sync_folder(entry.parent)
    sync_folder(entry.parent.parent)
    return True
