"""Part folders: where entries are built before they are renamed into place, and moved to before they are deleted.

A part folder's name says whose it is (KEY.HOST.PID.RANDOM), so that what a killed process left can be told from what
a living one is still filling.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["discard", "is_alive", "left_over", "part_folder"]

NAME = re.compile(r"[0-9a-f]{64}\.(?P<host>[0-9a-f]{8})\.(?P<pid>\d{1,10})\.[0-9a-f]{8}", re.ASCII)
# A part of another machine, or of a process number that lives again, is given this long without a write.
ABANDONED_SECONDS = 24 * 3600


def host() -> str:
    """Names this machine, or this container: where process numbers mean the same."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def new_name(parts: Path, key: str) -> Path:
    return parts / f"{key}.{host()}.{os.getpid()}.{secrets.token_hex(4)}"


@contextmanager
def part_folder(parts: Path, key: str) -> Iterator[Path]:
    """The path of a folder to make and build `key` in; removed at the end, whatever happens, unless it was renamed."""
    part = new_name(parts, key)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def discard(entry: Path, parts: Path) -> None:
    """Remove an entry: first out of the way in one step, so that nobody meets half of it; then its files.

    A process that has the data file open or mapped keeps it.

    Raises:
        OSError: if it can't be moved.
    """
    parts.mkdir(parents=True, exist_ok=True)
    doomed = new_name(parts, entry.name)
    with suppress(FileNotFoundError):  # another process was faster
        entry.rename(doomed)
    remove(doomed)


def remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number here; True where nobody can tell."""
    if os.name != "posix":
        return True  # there os.kill(pid, 0) is no question but a signal
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def last_written(part: Path) -> float:
    times = [0.0]
    for path in (part, *part.iterdir()):
        with suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times)


def left_over(parts: Path) -> list[Path]:
    """Part folders whose process is gone, or that nobody has written to for a day."""
    found = []
    with suppress(OSError):
        for part in sorted(parts.iterdir()):
            name = NAME.fullmatch(part.name)
            if name is None:
                continue
            gone = name["host"] == host() and not is_alive(int(name["pid"]))
            with suppress(OSError):
                if gone or time.time() - last_written(part) > ABANDONED_SECONDS:
                    found.append(part)
    return found
