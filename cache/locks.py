"""One process builds an entry while the others wait. Only a courtesy: nothing that is right depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["forget", "turn"]


@contextmanager
def turn(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`; `on_wait` is called once if somebody else has it.

    Where files can't be locked (a read-only folder, some network file systems), go on without.
    """
    lock = FileLock(path)
    with suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait:
                on_wait()
            lock.acquire()
    try:
        yield
    finally:
        if lock.is_locked:
            # Unlinked while held: whoever waits for it finds the entry built, and no lock file is left behind.
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):
                lock.release()


def forget(folder: Path) -> None:
    """Remove the lock files in `folder` that nobody holds: killed processes left them."""
    with suppress(OSError):
        for path in folder.glob("*.lock"):
            # Timeout, an OSError too, says that somebody holds it.
            with suppress(OSError, NotImplementedError), FileLock(path).acquire(timeout=0):
                path.unlink()
