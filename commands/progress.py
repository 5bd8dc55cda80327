"""Progress on stderr: bars on a terminal, one plain line per finished step elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli726.text import printable
from commands.render import console

if TYPE_CHECKING:
    from rich.progress import TaskID

    from cli726.reporting import Reporter


# A task's pace is known after so many seconds and that share of its steps, or after its first round; and the seconds
# left from which on a log says so.
ENOUGH_TO_JUDGE, SHARE_TO_JUDGE, LONG = 5, 0.05, 30


def duration(seconds: float) -> str:
    """Return a rough time, in the unit that one would say it in."""
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


class TerminalProgress:
    """A `Reporter` with Rich's bars, which are to be started and stopped."""

    def __init__(self) -> None:
        from rich import progress as rich

        columns = (
            rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn(),
            rich.TimeElapsedColumn(), rich.TimeRemainingColumn(), rich.TextColumn("{task.fields[note]}", markup=False),
        )  # fmt: skip
        self.bars = rich.Progress(*columns, console=console(stderr=True), transient=True)
        self.task: TaskID | None = None

    def start(self, task: str, total: int) -> None:
        self.clear()
        # Rich takes 0 steps for a task that is finished, and stops its clock.
        self.task = self.bars.add_task(printable(task), total=total or None, note="")

    def advance(self, steps: int) -> None:
        if self.task is not None:
            self.bars.advance(self.task, steps)

    def note(self, text: str) -> None:
        if self.task is not None:
            self.bars.update(self.task, note=printable(text), refresh=True)  # short epochs would pass unseen

    def finish(self, text: str) -> None:
        self.clear()
        self.say(text)

    def say(self, text: str) -> None:
        self.bars.console.print(printable(text), markup=False, soft_wrap=True)

    def clear(self) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None


class PlainProgress:
    """A line when a step is finished, with its time, and one ahead where it will be long: for pipes, logs and CI."""

    def __init__(self) -> None:
        self.start("", 0)

    def start(self, task: str, total: int) -> None:
        self.task, self.total, self.done = task, total, 0
        self.began = time.perf_counter()
        self.warm: tuple[float, int] | None = None
        self.announced = False

    def advance(self, steps: int) -> None:
        self.done += steps
        now = time.perf_counter()
        if self.warm is None:  # the first step also loads and compiles what later ones use
            self.warm = now, self.done
        elif now - self.began >= ENOUGH_TO_JUDGE and self.done >= SHARE_TO_JUDGE * self.total:
            self.announce()

    def note(self, text: str) -> None:
        self.announce()  # a whole round includes what is done once in each, as validation

    def announce(self) -> None:
        """Say once how long the rest will take at the pace so far, where that is long."""
        began, before = self.warm or (self.began, 0)
        if self.announced or self.done == before:
            return
        self.announced = True
        left = (time.perf_counter() - began) / (self.done - before) * (self.total - self.done)
        if left >= LONG:
            self.say(f"{self.task}: about {duration(left)} to go")

    def finish(self, text: str) -> None:
        self.say(f"{text} ({time.perf_counter() - self.began:.1f} s)")

    def say(self, text: str) -> None:
        # In one piece: `print` writes the end of a line by itself, and an interrupt may come before it.
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()


@contextmanager
def progress() -> Iterator[Reporter]:
    """Give the reporter for where stderr goes."""
    if sys.stderr.isatty():
        reporter = TerminalProgress()
        with reporter.bars:
            yield reporter
    else:
        yield PlainProgress()
