"""Whole runs killed and interrupted at any moment: nothing is left behind, and going on ends as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache import reading
from cache.store import Store
from cli726.finetune.folder import RunFolder
from tests.cli726.finetune.synthetic import assert_same_result
from tests.harness import await_, cases, environment, start_command, times

pytestmark = [pytest.mark.faults, pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")]

# For all runs of a test; on a machine that is busy with other things too.
LONGEST = times(1800, 4 * 3600)


def assert_nothing_left(cache: Path, run: Path) -> None:
    """No lock, no part, and only whole entries."""
    assert not [path for path in cache.rglob("*") if path.suffix == ".lock" or path.parent.name == "parts"]
    assert not list(run.glob(".*"))
    assert {verdict.state for verdict in Store(cache).verify()} <= {"ok"}


def test_runs_killed_at_random_moments_end_as_one_left_in_peace(tmp_path: Path, pictures: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("runs.py")), tmp_path, pictures, str(times(2, 50))],
        capture_output=True, text=True, check=False, env=environment(), timeout=LONGEST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(runs) == times(2, 50)
    assert sum(run["kills"] for run in runs) > len(runs)
    for run in runs:
        place = Path(run["place"])
        assert_same_result(place, tmp_path / "whole")
        cache = Path(f"{place}-cache")
        store = Store(cache)
        store.remove(store.prunable())
        assert_nothing_left(cache, place)


@pytest.mark.parametrize("number", cases(signal.SIGINT, signal.SIGTERM))
def test_an_interrupt_is_told_and_can_be_gone_on_from(
    tmp_path: Path, finetune: Callable[..., Any], cmpt726: Callable[..., Any], options: tuple[object, ...], number: int
) -> None:
    plan = ("--epochs", 8, "--unfreeze", "layer3")
    process = start_command("finetune", *options, *plan, "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert process.stderr is not None
    said = ""
    while "epoch   2" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(number)
    out, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + number, rest
    assert out == ""
    assert rest.splitlines()[-1] == "error: interrupted"
    assert f"go on with: cmpt726 finetune --resume {tmp_path / 'run'}" in rest
    assert "Traceback" not in rest
    assert_nothing_left(tmp_path / "cache", tmp_path / "run")
    assert 2 <= len(RunFolder.open(tmp_path / "run")[0].history) < 8
    if number == signal.SIGINT:
        assert cmpt726("finetune", "--resume", tmp_path / "run").status == 0
        assert finetune(*plan, "--run-dir", tmp_path / "whole").status == 0
        assert_same_result(tmp_path / "run", tmp_path / "whole")


def test_an_interrupt_at_any_moment_is_an_interrupt(tmp_path: Path, options: tuple[object, ...]) -> None:
    """Also while libraries are loaded, whose compiled code may swallow what we raise."""
    chance = random.Random(726)
    for attempt in range(times(1, 50)):
        run = tmp_path / f"run-{attempt}"
        plan = ("--epochs", 3, "--threads", 1 + attempt % 2)
        usual = [word for word in options if word not in ("--threads", 1)]
        process = start_command("finetune", *usual, *plan, "--run-dir", run, cwd=tmp_path)
        time.sleep(chance.uniform(0.1, 3))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        # Before our first line runs, the system's own way; after our last, none.
        assert process.returncode in (143, -signal.SIGTERM, 0), said
        assert "Traceback" not in said
        assert "a bug of ours" not in said
        if process.returncode != 0:
            assert_nothing_left(tmp_path / "cache", run)


def test_an_interrupt_waits_for_a_library_that_is_loaded(tmp_path: Path, options: tuple[object, ...]) -> None:
    """Compiled code that imports swallows what we raise there, or aborts."""
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "Path('begun').touch()\n"
        "for _ in range(100):\n    time.sleep(0.01)\n"
        "Path('loaded').touch()\n"
        "def dark(images, generator):\n    Path('called').touch()\n    return images // 2\n"
    )
    process = start_command("finetune", *options, "--augment", "python:slow.py:dark", "--no-cache", cwd=tmp_path)
    await_((tmp_path / "begun").exists)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == "error: interrupted"
    assert (tmp_path / "loaded").exists()
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("mapped", cases(True, False))
def test_entries_may_be_cleared_while_a_run_trains_from_them(
    tmp_path: Path, finetune: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    """By another process, after the first epoch on stored features: the next epochs, and the test, go on with them."""
    plan = ("--epochs", 3, "--unfreeze-after", 2, "--unfreeze", "layer3")
    assert finetune(*plan, "--run-dir", "whole").status == 0
    keep, store = RunFolder.keep_epoch, Store(tmp_path / "cache")

    def clearing(self: RunFolder, network: Any, optimizer: Any, progress: Any, line: Any) -> None:
        keep(self, network, optimizer, progress, line)
        if line.epoch in (1, 3):
            for command in (("clear", "--yes"), ("prune", "--max-size", 0, "--yes")):
                process = start_command("cache", *command, "--cache-dir", store.folder)
                assert process.communicate(timeout=120)[1] == ""
                assert process.returncode == 0
            assert store.entries() == []

    monkeypatch.setattr(RunFolder, "keep_epoch", clearing)
    if mapped:
        monkeypatch.setattr(reading, "available_memory", lambda: 0)
    done = finetune(*plan, "--run-dir", "run")
    assert done.status == 0, done.stderr
    assert_same_result(tmp_path / "run", tmp_path / "whole")


def test_two_runs_share_one_extraction(tmp_path: Path, options: tuple[object, ...]) -> None:
    runs = [tmp_path / f"run-{number}" for number in range(times(2, 8))]
    plan = ("finetune", *options, "--epochs", 1, "--no-gallery", "--json")
    processes = [start_command(*plan, "--run-dir", run) for run in runs]
    outcomes = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(runs), outcomes
    documents = [json.loads(out) for out, _ in outcomes]
    built = [[entry["state"] for entry in document["cache"]["entries"]].count("built") for document in documents]
    assert sum(built) == len(documents[0]["cache"]["entries"]) > 0, "each once"
    assert all(document["test"] == documents[0]["test"] for document in documents)
    await_(lambda: not list((tmp_path / "cache").rglob("*.lock")))
