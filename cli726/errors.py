"""Everything that `cmpt726` raises on purpose, and the exit status each becomes at the edge.

Cmpt726Error            1  never raised itself: what reaches the edge with status 1 is a bug of ours
├── RequestError        2  the request can't be met as given: an option, a value, a file's content
├── UntrustedDataError  3  data that can't be trusted: corrupt cache, wrong checksum, hostile file
├── EnvironmentFailure  4  the environment failed: disk full, no permission, no network
└── ComputationError    5  the computation failed: training diverged
Interrupted       130/143  SIGINT, SIGTERM; not an Exception, so that no library swallows it

A message says the rule, the value received and the remedy.
"""

from __future__ import annotations

__all__ = [
    "Cmpt726Error",
    "ComputationError",
    "EnvironmentFailure",
    "Interrupted",
    "RequestError",
    "UntrustedDataError",
]


class Cmpt726Error(Exception):
    """Base of the errors that a user can do something about."""

    status = 1


class RequestError(Cmpt726Error):
    """The request can't be met as given."""

    status = 2


class UntrustedDataError(Cmpt726Error):
    """Data on disk or from the network is not what it says it is."""

    status = 3


class EnvironmentFailure(Cmpt726Error):
    """The machine refused: no space, no permission, no network."""

    status = 4


class ComputationError(Cmpt726Error):
    """The numbers went wrong, though the request was fine."""

    status = 5


class Interrupted(BaseException):
    """The user or the system asked us to stop."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.status = 128 + signal
