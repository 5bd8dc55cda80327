"""The standard streams as the user left them: closed, full, of a narrow encoding, or with nobody reading any more."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO


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
    """Write out what is still buffered; the failure, if it fails.

    The stream is given to the null device then: Python would try again at exit, complain, and exit with 120.
    """
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        return error
    return None
