"""Run as a script: builds an entry again and again in forked children, each with a fault at another system call.

`faults.py FOLDER kill OLDER` kills the child at its first, second, ... call; `faults.py FOLDER errno OLDER NUMBER`
makes that call fail; `faults.py FOLDER moments OLDER COUNT` kills it at COUNT random moments. OLDER is what is there
before: "other" weights' entry, or the same images but one ("relative"). Prints a line of JSON for each child: place,
call, status.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.cache.building import a_request, assert_right, build
from tests.harness import at_each_call

WANTED = a_request()
OLDER = {"other": a_request(weights="older"), "relative": a_request(names=[*range(599), 1000])}


def at_moments(folder: Path, older: str, moments: int) -> None:
    chance = random.Random(726)
    for at in range(moments):
        place = folder / str(at)
        build(place, OLDER[older])
        pid = os.fork()
        if pid == 0:
            build(place, WANTED, pause=0.005)
            os._exit(0)
        time.sleep(chance.uniform(0, 0.12))
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"place": str(place), "call": "", "status": status}), flush=True)


def main(folder: Path, kind: str, older: str, number: int | None = None) -> None:
    def prepare(place: Path):
        build(place, OLDER[older])
        return lambda: assert_right(build(place, WANTED), WANTED)

    if kind == "moments":
        at_moments(folder, older, number)
    else:
        at_each_call(folder, number, prepare)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4], *map(int, sys.argv[4:]))
