"""Builds an entry so that SIGKILL, a full disk or a power cut leave either no entry or a right one.

A part folder; space reserved; rows written in place by plain system calls; synced; read again and checked; manifest;
one rename; the parent synced. A part folder's name says whose it is (KEY.HOST.PID.RANDOM), so that what a killed
process left can be told from what a living one is still filling.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cache.errors import EnvironmentFailure
from cache.format import DATA, MANIFEST, Distrusted, Layout, Manifest
from cache.keys import as_size
from cache.reading import BLOCK, as_bytes, load
from cache.system import as_option, create, is_alive, sync_folder, write_all, write_synced

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Manifest, sidecar and the folders' own blocks.
BESIDES = 64 * 1024
# Rows that are put together at a time, of those taken over and of new ones.
TOGETHER = 256
PART = re.compile(r"[0-9a-f]{64}\.(?P<host>[0-9a-f]{8})\.(?P<pid>\d{1,10})\.[0-9a-f]{8}", re.ASCII)
# A part of another machine, or of a process number that lives again, is given this long without a write.
ABANDONED_SECONDS = 24 * 3600
Room: TypeAlias = Callable[[], AbstractContextManager[None]]


def free_space(folder: Path) -> int:
    """Return how many bytes this user may still write where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def refusals(folder: Path, needed: int = 0, free: int = 0) -> Iterator[None]:
    """Turn what the system refuses in a store's folder into an EnvironmentFailure that says what to do."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in NO_SPACE:
            raise EnvironmentFailure(
                f"{why}: the cache entry needs {as_size(needed)}, free in {folder}: {as_size(free)}; free some space "
                f"(`cmpt726 cache prune --max-size SIZE{as_option(folder)}`) or choose another folder (--cache-dir)"
            ) from error
        raise EnvironmentFailure(
            f"the cache in {folder} must be a folder that can be read and written; got {why}; "
            "choose another one (--cache-dir) or do without (--no-cache)"
        ) from error


def room_for(folder: Path, needed: int) -> Room:
    """Return `refusals` with these figures; an EnvironmentFailure for what can't fit is raised at once."""
    with refusals(folder):
        free = free_space(folder)
    room = partial(refusals, folder, needed, free)
    if needed + BESIDES > free:
        with room():
            raise OSError(errno.ENOSPC, "too little space")
    return room


def reserve(descriptor: int, size: int) -> None:
    """Claim the file's blocks now, so that a full disk shows (an OSError) before the work, not in the middle of it."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError) as error:  # AttributeError: not every system has it
        if getattr(error, "errno", errno.ENOSYS) not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.lseek(descriptor, 0, os.SEEK_SET)
        for start in range(0, size, BLOCK):
            write_all(descriptor, bytes(min(BLOCK, size - start)))


def checked(blocks: Iterable[NDArray[Any]], layout: Layout, count: int) -> Iterator[NDArray[Any]]:
    """Yield blocks of `count` rows in all; ValueError if one has another dtype or shape, or they don't add up."""
    rows = 0
    for block in blocks:
        rows += len(block)
        if block.dtype != layout.dtype or block.shape[1:] != layout.shape[1:] or rows > count:
            raise ValueError(f"expected {count} rows of {layout.shape[1:]} {layout.dtype}; got {block.shape}")
        yield block
    if rows != count:
        raise ValueError(f"expected {count} rows; got {rows}")


def interleaved(old: NDArray[Any], sources: NDArray[np.intp], new: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Yield blocks of rows: for each of `sources` that row of `old`, or for -1 the next of `new`."""
    rows = (row for block in new for row in block)
    for start in range(0, len(sources), TOGETHER):
        chosen = sources[start : start + TOGETHER]
        block = old[np.maximum(chosen, 0)]
        for place in np.flatnonzero(chosen < 0):
            block[place] = next(rows)
        yield block
    for _ in rows:  # what produces them may have something to say at its end
        pass


def drop_from_memory(descriptor: int) -> None:
    """Ask that the next read comes from the disk; a hint where the system takes one."""
    with suppress(OSError, AttributeError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def write_data(
    part: Path, layout: Layout, images: NDArray[np.uint8], blocks: Iterable[NDArray[Any]], room: Room
) -> str:
    """Write the data file of an entry and sync it; return its SHA-256. An error of `blocks` itself passes as it is."""
    sha256 = hashlib.sha256()
    with room():
        descriptor = create(part / DATA)

    def put(content: bytes | memoryview) -> None:
        with room():
            write_all(descriptor, content)
        sha256.update(content)

    try:
        with room():
            reserve(descriptor, layout.size)
            os.lseek(descriptor, 0, os.SEEK_SET)
        put(layout.head)
        for block in blocks:
            if block.size:
                put(as_bytes(np.ascontiguousarray(block)))
        put(layout.middle)
        put(as_bytes(images))
        put(layout.tail)
        with room():
            os.fsync(descriptor)
            drop_from_memory(descriptor)
    finally:
        os.close(descriptor)
    return sha256.hexdigest()


def vouch(part: Path, manifest: Manifest) -> NDArray[Any]:
    """Read the data again as any later run will, then write the manifest; return the features."""
    try:
        features, _ = load(part, manifest)
    except Distrusted as error:
        wrong = f"what is written must read back the same; {error}; check the disk of {part}"
        raise EnvironmentFailure(wrong) from None
    write_synced(part / MANIFEST, manifest.render())
    sync_folder(part)
    return features


def commit(part: Path, entry: Path) -> bool:
    """Rename a finished part folder into place, for good; return False if another process was first."""
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


def host() -> str:
    """Return a name of this machine, or this container: where process numbers mean the same."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def new_name(parts: Path, key: str) -> Path:
    return parts / f"{key}.{host()}.{os.getpid()}.{secrets.token_hex(4)}"


@contextmanager
def part_folder(parts: Path, key: str) -> Iterator[Path]:
    """Give the path of a folder to make and build `key` in; removed at the end, unless it was renamed."""
    part = new_name(parts, key)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def discard(entry: Path, parts: Path) -> None:
    """Remove an entry: first out of the way in one step, so that nobody meets half of it; then its files.

    A process that has the data file open or mapped keeps it.
    """
    parts.mkdir(parents=True, exist_ok=True)
    doomed = new_name(parts, entry.name)
    with suppress(FileNotFoundError):  # another process was faster
        entry.rename(doomed)
    remove(doomed)


def remove(folder: Path) -> None:
    """Remove a folder, or a link to one, as far as the system lets us."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def left_over(parts: Path) -> list[Path]:
    """Return the part folders whose process is gone, or that nobody has written to for a day."""
    found = []
    for part in sorted(parts.iterdir()) if parts.is_dir() else []:
        name = PART.fullmatch(part.name)
        with suppress(OSError):
            written = max(path.lstat().st_mtime for path in (part, *part.iterdir()))
            gone = name and name["host"] == host() and not is_alive(int(name["pid"]))
            if name and (gone or time.time() - written > ABANDONED_SECONDS):
                found.append(part)
    return found
