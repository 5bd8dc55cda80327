"""How long work reports: a protocol that the command line fulfils, and that does nothing by default."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Reporter", "Silent"]


class Reporter(Protocol):
    """Somebody who wants to know how far we are."""

    def start(self, task: str, total: int) -> None:
        """A task of `total` steps begins."""

    def advance(self, steps: int) -> None:
        """So many more steps of it are done."""

    def finish(self, text: str) -> None:
        """It is done; one line about it."""

    def say(self, text: str) -> None:
        """A line that belongs to no task."""


class Silent:
    """A reporter for libraries, notebooks and tests."""

    def start(self, task: str, total: int) -> None:
        pass

    def advance(self, steps: int) -> None:
        pass

    def finish(self, text: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass
