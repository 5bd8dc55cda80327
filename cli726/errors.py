"""Everything that `cmpt726` raises on purpose, and the exit status each becomes at the edge.

Cmpt726Error            1  never raised itself: what reaches the edge with status 1 is a bug of ours
├── RequestError        2  the request can't be met as given: an option, a value, a file's content
├── UntrustedDataError  3  data that can't be trusted: corrupt cache, wrong checksum, hostile file
├── EnvironmentFailure  4  the environment failed: disk full, no permission, no network
├── ComputationError    5  the computation failed: training diverged
└── ToldElsewhere       *  another process of the same run failed with this status, and says why
Interrupted       130/143  SIGINT, SIGTERM; not an Exception, so that no library swallows it

A message says the rule, the value received and the remedy. The first four are defined one floor down, in
`cache.errors`, because the store raises them too and imports run downwards only.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from cli726 import require_own

require_own("cache")

from cache.errors import Cmpt726Error, EnvironmentFailure, RequestError, UntrustedDataError  # noqa: E402 - only now is it sure to be ours

__all__ = [
    "Cmpt726Error", "ComputationError", "EnvironmentFailure", "Interrupted", "RequestError", "ToldElsewhere",
    "UntrustedDataError", "did_you_mean",
]  # fmt: skip


class ComputationError(Cmpt726Error):
    """The numbers went wrong, though the request was fine."""

    status = 5


class ToldElsewhere(Cmpt726Error):  # noqa: N818 - nothing to say, hence no error of its own
    """Another process of the run says what is wrong; this one has nothing to add."""

    def __init__(self, status: int) -> None:
        super().__init__("another process of the run says what is wrong")
        self.status = status


class Interrupted(BaseException):
    """The user or the system asked us to stop."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.status = 128 + signal


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known ones, whatever the case, or nothing."""
    spelt = {one.lower(): one for one in known}
    near = [spelt[match] for match in get_close_matches(name.lower(), spelt)]
    return f"; did you mean {' or '.join(near)}?" if near else ""
