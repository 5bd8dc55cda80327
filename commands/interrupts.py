"""SIGINT and SIGTERM as an exception, but not while a library is loaded."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from cli726.errors import Interrupted

__all__ = ["await_interrupts", "interrupt_behind", "leave_interrupts"]

# Seconds from one look at whether a library is still being loaded to the next; and the longest that it is waited for.
PAUSE = 0.02
PATIENCE = 20


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
    """Return the interrupt in whose handling `error` arose: a lock fails on being released, say."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Interrupted):
        seen = seen.__context__
    return seen
