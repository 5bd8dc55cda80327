"""How much memory there is to spend."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

__all__ = ["available_memory"]

# Where the system won't say (Windows, without a library for it): small enough for any machine that trains.
ASSUMED = 4 * 2**30
CONTAINER = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this process could take without swapping: what the system says is free, within a container's limit."""
    found = []
    with suppress(OSError):
        line = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if line:
            found.append(1024 * int(line[1]))
    with suppress(OSError, ValueError):  # ValueError: "max", no limit
        limit = int((CONTAINER / "memory.max").read_text())
        found.append(limit - int((CONTAINER / "memory.current").read_text()))
    with suppress(OSError, ValueError, AttributeError):  # AttributeError: Windows
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(0, min(found, default=ASSUMED))
