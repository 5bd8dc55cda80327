"""What torchrun says of this process, in its environment. Standard library only: the command line asks before torch."""

from __future__ import annotations

import math
import os
import time
from functools import partial
from pathlib import Path

from cli726.errors import Interrupted, RequestError, ToldElsewhere

# Seconds within which the first of several processes comes as far as the others.
GRACE = 30
# Seconds by which the process that says what is wrong ends before the others: torchrun names the first.
PAUSE = 1


def told(name: str, alone: int) -> int:
    """Return a number that torchrun set; without torchrun `alone`, whatever other programs mean by that name."""
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else alone


# This process's number, from 0, and how many share the work; the same on its own machine.
rank, world = partial(told, "RANK", 0), partial(told, "WORLD_SIZE", 1)
local_rank, local_world = partial(told, "LOCAL_RANK", 0), partial(told, "LOCAL_WORLD_SIZE", 1)
# On how many machines they are, and how often torchrun has started all of them again.
machines, restarts = partial(told, "GROUP_WORLD_SIZE", 1), partial(told, "TORCHELASTIC_RESTART_COUNT", 0)


def require_one(what: str) -> None:
    """Refuse to do `what` as one of several processes.

    Raises:
        RequestError: in each of them.
    """
    if world() > 1:
        raise RequestError(f"{what} runs as one process; got {world()}; start it without torchrun")


def await_first() -> bool:
    """Let the first of several processes say what is wrong; False where it, or torchrun, has ended this one meanwhile.

    What is wrong before the processes have met is wrong in all of them. torchrun ends all when one has ended: nobody
    must be faster than the one that speaks.
    """
    try:
        time.sleep(GRACE if rank() else 0)
    except Interrupted:
        return False
    return True


def speaks(error: BaseException) -> bool:
    """Return whether this process is to say what ended it, once the one that does has done so.

    One that is not the first is heard where it alone knows what happened.
    """
    if isinstance(error, ToldElsewhere):
        time.sleep(PAUSE)
        return False
    return bool(getattr(error, "__notes__", ())) or await_first()


def running() -> float:
    """Return how many other processes want a processor at this moment, where the system tells; else infinity."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return math.inf


def crowding(threads: int) -> str:
    """Return a note where other programs leave fewer processors than torch has threads; "" where they don't.

    Threads of torch wait for each other at every layer, so that one without a processor holds up all: two threads on a
    busy machine took 81 to 102 seconds for what one did in 7 to 11.
    """
    try:
        busy = min(os.getloadavg()[0], running())  # the average also remembers what has just ended
    except (OSError, AttributeError):  # no such number on Windows
        return ""
    processors = os.cpu_count() or 1
    if threads < 2 or processors - busy > threads - 0.5:
        return ""
    return (
        f"note: other programs keep about {busy:.1f} of {processors} processors busy, and torch's {threads} threads "
        "wait for each other: --threads 1 may be several times as fast"
    )
