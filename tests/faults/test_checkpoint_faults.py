"""Best model, log and checkpoint under kills and failing calls: each is the old one or the new one, whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli726.finetune.folder import RunFolder, read_checkpoint
from cli726.finetune.predict import load_model
from tests.faults.checkpoints import PHASES
from tests.harness import cases, environment, folder_in_memory

pytestmark = [
    pytest.mark.faults,
    pytest.mark.usefixtures("small_network"),
    pytest.mark.skipif(os.name != "posix", reason="needs fork"),
]
SCRIPT = Path(__file__).with_name("checkpoints.py")
KILL, FAILURES = 0, cases(errno.ENOSPC, errno.EIO)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with folder_in_memory() as path:
        yield path


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """By error number, what each fault came to."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(KILL), *map(str, FAILURES)],
        capture_output=True, text=True, check=False, env=environment(), timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {
        number: [line for line in lines if Path(line["place"]).parent.name == str(number)]
        for number in (KILL, *FAILURES)
    }


def assert_old_or_new(place: Path, folder: Path) -> None:
    """Every file is one of the two versions; model and checkpoint load; going on leaves no more files than before."""
    for name in ("best.safetensors", "last.safetensors", "metrics.jsonl", "config.json"):
        versions = [(folder / when / name).read_bytes() for when in ("before", "after")]
        assert (place / name).read_bytes() in versions, name
    assert load_model(place).class_names == ("one", "two")
    assert read_checkpoint(place / "last.safetensors")[0].epoch in (1, 2)
    resumed, _, _ = RunFolder.open(place)
    with resumed.locked():
        pass
    written = [line.epoch for line in resumed.history]
    assert written[: resumed.read_progress(PHASES).epoch] == [line.epoch for line in resumed.history]
    assert {path.name for path in place.iterdir()} == {path.name for path in (folder / "before").iterdir()}


def test_sigkill_at_every_system_call_leaves_the_predecessor_or_the_successor(
    folder: Path, runs: dict[int, list[dict[str, Any]]]
) -> None:
    killed = runs[KILL]
    assert [done["status"] for done in killed] == [-signal.SIGKILL] * (len(killed) - 1) + [0]
    assert {"open", "write", "fsync", "replace"} <= {done["call"] for done in killed}
    assert len(killed) > 20
    for done in killed:
        assert_old_or_new(Path(done["place"]), folder)


@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
def test_a_failure_of_every_system_call_is_status_4_and_leaves_the_predecessor(
    folder: Path, runs: dict[int, list[dict[str, Any]]], number: int
) -> None:
    # Where the folder is there already, making it may fail.
    assert [done["status"] for done in runs[number]] == [
        0 if done["call"] in ("mkdir", "") else 4 for done in runs[number]
    ]
    assert len(runs[number]) > 20
    for done in runs[number]:
        place = Path(done["place"])
        assert not list(place.glob(".*.part"))
        assert_old_or_new(place, folder)
