"""Shared fixtures: the command line in this process, as a user sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings

from commands import app as edge

# That and when files are synced is asked for; no disk need do it.
os.fsync = lambda _: None
# How long an example takes says more about what else the machine is doing than about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@dataclass(frozen=True)
class Completed:
    """What one command left: exit status and both streams."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        def refuse(name: str) -> None:
            raise ValueError(f"{name} is not strict JSON")

        return json.loads(self.stdout, parse_constant=refuse)


@pytest.fixture(scope="module")
def small_network() -> Iterator[None]:
    """`pytestmark = pytest.mark.usefixtures("small_network")` in modules that test plumbing."""
    from tests.cli726.finetune.conftest import shrunk

    with shrunk():
        yield


@pytest.fixture
def cmpt726(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Callable[..., Completed]:
    """Runs `cmpt726 ARGUMENTS` in this process, in an empty folder, without colours, 100 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Completed:
        monkeypatch.setattr("sys.argv", ["cmpt726", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            edge.main()
        out, err = capfd.readouterr()
        code = stop.value.code
        return Completed(code if isinstance(code, int) else int(code is not None), out, err)

    return run
