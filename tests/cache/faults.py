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

from commands.app import status_of

# What the store asks of the system while it builds; removals are left out, since they clean up after a fault.
CALLS = ("mkdir", "open", "posix_fallocate", "lseek", "write", "fsync", "rename", "utime")


def sabotage(at: int, number: int | None, told: int) -> None:
    """Make the call number `at` the last of this process, or (with an errno) fail."""
    count = 0

    def wrap(name):
        real = getattr(os, name)

        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == at:
                os.pwrite(told, name.ljust(20).encode(), 0)
                if number is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        return call

    for name in CALLS:
        if hasattr(os, name):
            setattr(os, name, wrap(name))


def child(work) -> int:
    """Run `work` in a fork; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            work()
            status = 0
        except BaseException as error:  # noqa: BLE001
            status = status_of(error)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def older_and_new(folder: Path):
    """An entry that must survive, and the one to build."""
    older, wanted = a_request(weights="older"), a_request()
    build(folder, older)
    return wanted


def at_each_call(folder: Path, number: int | None) -> None:
    for at in range(1, 200):
        place = folder / str(at)
        wanted = older_and_new(place)
        note = folder / f"{at}.call"
        told = os.open(note, os.O_RDWR | os.O_CREAT)

        def work(at=at, place=place, wanted=wanted, told=told):
            sabotage(at, number, told)
            assert_right(build(place, wanted), wanted)

        status = child(work)
        name = os.pread(told, 20, 0).decode().strip()
        os.close(told)
        note.unlink()
        print(json.dumps({"place": str(place), "call": name, "status": status}), flush=True)
        if not name:  # every call was reached
            return


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
        at_each_call(Path(sys.argv[1]), int(rest[0]) if rest else None)
