"""Where the report and the zip may be written."""

from __future__ import annotations

import os
from pathlib import Path

from cli726.errors import EnvironmentFailure, RequestError

__all__ = ["check_output"]


def check_output(output: Path, ending: str) -> None:
    """Refuse early what could not be written in the end; makes the folder.

    Raises:
        RequestError: for a folder, or another ending.
        EnvironmentFailure: if nothing may be written there.
    """
    if output.is_dir() or output.suffix.lower() != ending:
        kind = "a folder" if output.is_dir() else "not that"
        raise RequestError(f"--output must be a file that ends in {ending}; {output} is {kind}; try {output}{ending}")
    if output.parent.exists() and not output.parent.is_dir():
        raise RequestError(f"--output must lie in a folder; {output.parent} is a file; choose another place")
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output.parent, os.W_OK):
        raise EnvironmentFailure(f"--output must lie where you may write; {output.parent} is not; choose another place")
