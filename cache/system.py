"""What the store asks of the system: files opened and written with care, memory to spend, folders of this user."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import platformdirs

from cache.errors import EnvironmentFailure

# Never follow a link out of the store, never wait for a FIFO's writer. Windows has neither flag, but needs O_BINARY.
SAFELY = sum(getattr(os, f"O_{flag}", 0) for flag in ("NOFOLLOW", "NONBLOCK", "CLOEXEC", "BINARY"))
# Where the system won't say (Windows, without a library for it): small enough for any machine that trains.
ASSUMED = 4 * 2**30
SYSTEM_MEMORY = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")
# Limit, what is used of it, and the file cache in that, by the two versions of control groups.
LIMITS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; ValueError if it is a link, a folder, a device or a FIFO."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path.name} is not an ordinary file")
    return os.fdopen(os.open(path, os.O_RDONLY | SAFELY), "rb")


def read_small(path: Path, limit: int) -> bytes:
    """Return the whole of an ordinary file; ValueError if it is none, or larger than `limit` bytes."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    return content


def create(path: Path) -> int:
    """Return the descriptor of a new file, which nobody else made or linked."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFELY, 0o666)


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
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Return whether there is a process of that number here; True where nobody can tell."""
    try:
        if os.name == "posix":  # elsewhere it is no question but a signal
            os.kill(pid, 0)
    except (OSError, OverflowError) as error:
        return not isinstance(error, ProcessLookupError)
    return True


def left_in_container() -> Iterator[int]:
    """Yield what each limit of a container leaves; cached files count as free, since they give way to whoever asks."""
    for limit, used, statistics, cached in LIMITS:
        with suppress(OSError, ValueError):  # ValueError: "max", no limit
            left = int((CONTAINER / limit).read_text()) - int((CONTAINER / used).read_text())
            found = re.search(rf"^{cached} (\d+)$", (CONTAINER / statistics).read_text(), re.MULTILINE)
            yield left + (int(found[1]) if found else 0)


def available_memory() -> int:
    """Return how many bytes this process could take without swapping, within a container's limit."""
    found = list(left_in_container())
    with suppress(OSError):
        line = re.search(r"^MemAvailable:\s*(\d+) kB", SYSTEM_MEMORY.read_text(), re.MULTILINE)
        if line:
            found.append(1024 * int(line[1]))
    with suppress(OSError, ValueError, AttributeError):  # AttributeError: Windows
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(0, min(found, default=ASSUMED))


def memory_limit() -> int:
    """Return how many bytes one array may take: a quarter of the memory that is there to be had."""
    return available_memory() // 4


def user_folder(variable: str, otherwise: Callable[[], Path]) -> Path:
    """Return the folder that an environment variable names, else the system's; EnvironmentFailure without a home."""
    named = os.environ.get(variable)
    try:
        folder = Path(named).expanduser() if named else otherwise()
    except RuntimeError:
        folder = Path("~")
    if folder.parts[:1] == ("~",):  # older platformdirs don't say that there is no home
        raise EnvironmentFailure(f"{variable} must name a folder where this user has no home folder; set it, or HOME")
    return folder


def default_cache_dir() -> Path:
    """Return the folder named by CMPT726_CACHE_DIR, else the system's per-user cache folder for `cmpt726`."""
    return user_folder("CMPT726_CACHE_DIR", lambda: platformdirs.user_cache_path("cmpt726", appauthor=False))


def as_option(folder: Path) -> str:
    """Return what a command that is named as a remedy needs to reach `folder`: nothing where that is the usual one."""
    with suppress(EnvironmentFailure):
        if folder == default_cache_dir():
            return ""
    return f" --cache-dir {shlex.quote(str(folder))}"
