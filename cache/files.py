"""Plain file work: opening what a stranger may have left, and making writes last."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_regular", "read_small", "sync_folder", "write_synced"]

# Never follow a link out of the store, never wait for a FIFO's writer. Windows has neither flag, but needs O_BINARY.
SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
BINARY = getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BinaryIO:
    """Open an ordinary file for unbuffered reading.

    Raises:
        ValueError: if it is a link, a folder, a device or a FIFO.
        OSError: as `os.open` does.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path.name} is not an ordinary file")
    file = os.fdopen(os.open(path, os.O_RDONLY | SAFELY | BINARY), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{path.name} is not an ordinary file")
    return file


def read_small(path: Path, limit: int) -> bytes:
    """The whole of an ordinary file.

    Raises:
        ValueError: if it is larger than `limit` bytes or no ordinary file.
        OSError: as `os.open` does.
    """
    with open_regular(path) as file:
        content = b""
        while chunk := file.read(limit + 1 - len(content)):
            content += chunk
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    return content


def create(path: Path) -> int:
    """The descriptor of a new file, which nobody else made or linked."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFELY | BINARY, 0o666)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of `content` where the descriptor stands."""
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_synced(path: Path, content: bytes) -> None:
    """Create `path` with `content`, on the disk when this returns."""
    descriptor = create(path)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make names created in a folder last; Windows opens no folders, and needs none of this."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
