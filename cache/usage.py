"""An entry's sidecar: when it was built, in how many seconds, and (the file's own time) when last used.

Losing it loses nothing that matters, so it is written without care and read with suspicion.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cache.files import BINARY, SAFELY, read_small
from cache.manifest import MANIFEST

__all__ = ["USAGE", "Usage", "read_usage", "touch_usage", "write_usage"]

USAGE = "usage.json"
LARGEST = 4096
# A hundred years: a longer build is nonsense, as are NaN and infinity.
LONGEST = 3.2e9


@dataclass(frozen=True)
class Usage:
    """What the sidecar says.

    Attributes:
        built: When, in ISO 8601 and UTC; None if unknown.
        seconds: How long building took; None if unknown.
        used: When it was last used, in seconds since 1970; None if unknown.
    """

    built: str | None = None
    seconds: float | None = None
    used: float | None = None


def write_usage(entry: Path, seconds: float) -> None:
    """Note that `entry` was built just now, in `seconds`."""
    built = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):
        (entry / USAGE).write_text(json.dumps({"built": built, "seconds": seconds}) + "\n")


def touch_usage(entry: Path) -> None:
    """Note that `entry` was used just now; not in a folder that may not be written to, and through no link."""
    with suppress(OSError):
        descriptor = os.open(entry / USAGE, os.O_WRONLY | os.O_CREAT | SAFELY | BINARY, 0o666)
        os.close(descriptor)
        os.utime(entry / USAGE)


def read_usage(entry: Path) -> Usage:
    """What is known of `entry`; without a sidecar it counts as last used when it was built."""
    used = None
    for name in (MANIFEST, USAGE):
        with suppress(OSError):
            used = (entry / name).lstat().st_mtime
    try:
        document = json.loads(read_small(entry / USAGE, LARGEST))
        built, seconds = datetime.fromisoformat(document["built"]).isoformat(), document["seconds"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return Usage(used=used)
    known = type(seconds) in (int, float) and 0 <= seconds < LONGEST
    return Usage(built, float(seconds) if known else None, used)
