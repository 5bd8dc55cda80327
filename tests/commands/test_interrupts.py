"""Interrupts at the moments at which Python itself would swallow them, or tell of what they tore down."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from commands.progress import PlainProgress

SCRIPT = """
import os, signal, sys, time
from cli726.errors import Interrupted
from commands.process import await_interrupts

class Whole:
    def __init__(self, when):
        self.when = when
        self.strike("made")
        self.part = 1
    def strike(self, when):
        if when == self.when:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
    def __del__(self):
        self.strike("gone")
        self.part

await_interrupts()
try:
    Whole(sys.argv[1])
    time.sleep(10)
except Interrupted as stop:
    del stop
    print("interrupted")
"""


@pytest.mark.skipif(os.name != "posix", reason="a process of its own is interrupted as POSIX does it")
@pytest.mark.parametrize("when", ["made", "gone"])
def test_an_interrupt_is_neither_lost_nor_told_by_what_it_tore_down(when: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, when], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_a_line_of_a_log_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an interrupt may come before its end, and `error: interrupted` stands behind it."""
    written: list[str] = []
    stream = io.StringIO()
    stream.write = written.append  # type: ignore[method-assign, assignment]
    monkeypatch.setattr("sys.stderr", stream)
    PlainProgress().say("epoch 1")
    assert written == ["epoch 1\n"]
