"""The errors that start on the lowest floor, for imports run downwards; `cli726.errors` has the whole tree."""

from __future__ import annotations


class Cmpt726Error(Exception):
    """Base of the errors that a user can do something about."""

    status = 1


class RequestError(Cmpt726Error):
    """The request can't be met as given."""

    status = 2


class UntrustedDataError(Cmpt726Error):
    """Data on disk or from the network is not what it says it is."""

    status = 3


class EnvironmentFailure(Cmpt726Error):  # noqa: N818 - a failure of the environment, not an error in it
    """The machine refused: no space, no permission, no network."""

    status = 4
