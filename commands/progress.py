"""Progress on stderr: bars on a terminal, one plain line per finished step elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from cli726.text import printable
from commands.render import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


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
    """A Rich progress display; a `Reporter` and a context manager."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console(stderr=True),
            transient=True,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> TerminalProgress:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def start(self, task: str, total: int) -> None:
        self.clear()
        # Rich takes 0 steps for a task that is finished, and stops its clock.
        self.task = self.progress.add_task(printable(task), total=total or None, note="")

    def advance(self, steps: int) -> None:
        if self.task is not None:
            self.progress.advance(self.task, steps)

    def note(self, text: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, note=printable(text))

    def finish(self, text: str) -> None:
        self.clear()
        self.say(text)

    def say(self, text: str) -> None:
        self.progress.console.print(printable(text), markup=False, soft_wrap=True)

    def clear(self) -> None:
        if self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None


class PlainProgress:
    """A line when a step is finished, with its time, and one ahead where it will be long: for pipes, logs and CI."""

    def __init__(self) -> None:
        self.start("", 0)

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

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
        print(printable(text), file=sys.stderr, flush=True)


def progress() -> TerminalProgress | PlainProgress:
    """The reporter for where stderr goes."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()
