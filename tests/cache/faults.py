"""Run as a script: builds an entry again and again in forked children, each with a fault at another system call.

`faults.py FOLDER kill` kills the child at its first, second, ... call; `faults.py FOLDER errno NUMBER` makes that call
fail; `faults.py FOLDER moments COUNT` kills it at COUNT random moments. Prints a line
of JSON for each child: place, call, status.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from building import a_request, assert_right, build

from tests.harness import at_each_call


def older_and_new(folder: Path):
    """An entry that must survive, and the one to build."""
    older, wanted = a_request(weights="older"), a_request()
    build(folder, older)
    return wanted


def prepare(place: Path):
    wanted = older_and_new(place)
    return lambda: assert_right(build(place, wanted), wanted)


def at_moments(folder: Path, moments: int) -> None:
    chance = random.Random(726)
    for at in range(moments):
        place = folder / str(at)
        wanted = older_and_new(place)
        pid = os.fork()
        if pid == 0:
            build(place, wanted, pause=0.005)
            os._exit(0)
        time.sleep(chance.uniform(0, 0.12))
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"place": str(place), "call": "", "status": status}), flush=True)


if __name__ == "__main__":
    kind, *rest = sys.argv[2:]
    if kind == "moments":
        at_moments(Path(sys.argv[1]), int(rest[0]))
    else:
        at_each_call(Path(sys.argv[1]), int(rest[0]) if rest else None, prepare)
