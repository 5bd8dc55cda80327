"""The process around a command: its standard streams as the user left them, and the signals that end it."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from cli726.errors import Interrupted

# Seconds from one look at whether a library is still being loaded to the next; and the longest that it is waited for.
PAUSE = 0.02
PATIENCE = 20


def open_streams() -> None:
    """Give every closed stream to the null device, and let characters that a stream can't show become `?`.

    Otherwise the next file that is opened, a cache for instance, takes the free number, and what a library prints to
    "stderr" ends up inside it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def mute() -> None:
    """Let nothing that Python prints be seen any more."""
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end


def flush(stream: TextIO, number: int) -> OSError | None:
    """Write out what is still buffered; return the failure, if it fails.

    The stream is given to the null device then: Python would try again at exit, complain, and exit with 120.
    """
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        return error
    return None


def loading(frame: FrameType | None) -> bool:
    """Tell whether `frame` runs on behalf of an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            return True
        frame = frame.f_back
    return False


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise what ends the process with 128 + `number`; after an import that is going on.

    Libraries import others from compiled code, which swallows what we raise there, or ends the process by a signal:
    torch's says `terminate called`. Python itself swallows what is raised in a `__del__` or a callback: there it is
    raised once more, a little later. What is torn down half made fails in its own `__del__`: nobody is told of that.
    """
    deadline = time.monotonic() + PATIENCE

    def again() -> None:
        signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, PAUSE)

    def look(_: int, frame: FrameType | None) -> None:
        timed = hasattr(signal, "setitimer")
        if timed and loading(frame) and time.monotonic() < deadline:
            again()
        else:
            sys.unraisablehook = lambda lost: again() if timed and isinstance(lost.exc_value, Interrupted) else None
            raise Interrupted(number)

    look(number, frame)


def await_interrupts() -> None:
    """Make SIGINT and SIGTERM raise `Interrupted` from now on."""
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def leave_interrupts() -> None:
    """Let SIGINT and SIGTERM end the process as they usually do: nothing of ours runs any more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if hasattr(signal, "setitimer"):  # a look that is still to come would end the process by SIGALRM
        signal.setitimer(signal.ITIMER_REAL, 0)


def interrupt_behind(error: BaseException) -> Interrupted | None:
    """Return the interrupt in whose handling `error` arose: a lock that was being taken fails when released, say."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Interrupted):
        seen = seen.__context__
    return seen
