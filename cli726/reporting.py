"""How long work reports: a protocol that the command line fulfils, and that does nothing by default."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Somebody who wants to know how far we are."""

    def start(self, task: str, total: int) -> None:
        """Begin a task of `total` steps; 0 where their number isn't known."""

    def advance(self, steps: int) -> None:
        """Count that many more steps of it as done."""

    def note(self, text: str) -> None:
        """Say how the task stands, in a few words beside its bar; after each of its rounds, such as epochs."""

    def finish(self, text: str) -> None:
        """End it with one line about it."""

    def say(self, text: str) -> None:
        """Print a line that belongs to no task."""


class Silent:
    """A reporter for libraries, notebooks and tests."""

    def start(self, task: str, total: int) -> None:
        pass

    def advance(self, steps: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def finish(self, text: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass
