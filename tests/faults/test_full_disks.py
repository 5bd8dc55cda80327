"""A disk that fills up: exit status 4, one line, nothing half-written, and the run goes on once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli726.finetune.data import decoding, images
from cli726.finetune.predict import load_model
from tests.cli726.finetune.synthetic import assert_same_result
from tests.conftest import Completed
from tests.harness import child, small_disk, start_command

pytestmark = pytest.mark.faults


def the_error(done: Any) -> str:
    """The one error line of a command that failed for lack of space."""
    assert done.status == 4, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_figures_are_whole_or_not_there(cmpt726: Callable[..., Any]) -> None:
    with small_disk(0.02) as disk:
        assert "No space left on device" in the_error(cmpt726("softmax", "--out", disk))
        assert list(disk.iterdir()) == []


def test_a_run_keeps_its_checkpoint_and_goes_on_when_there_is_room(
    tmp_path: Path, finetune: Callable[..., Any], cmpt726: Callable[..., Any]
) -> None:
    plan = ("--epochs", 4, "--unfreeze-after", 2, "--unfreeze", "layer3")
    assert finetune(*plan, "--run-dir", tmp_path / "whole").status == 0
    with small_disk(3) as disk:
        done = finetune(*plan, "--run-dir", disk / "run")
        assert "No space left on device" in the_error(done)
        assert "go on with: cmpt726 finetune --resume" in done.stderr
        assert not list((disk / "run").glob(".*"))
        assert len(load_model(disk / "run").class_names) == 3
        subprocess.run(["mount", "-o", "remount,size=30m", disk], check=True)
        assert cmpt726("finetune", "--resume", disk / "run").status == 0
        assert_same_result(disk / "run", tmp_path / "whole")


def test_a_cache_tells_what_it_needs_and_what_is_free(tmp_path: Path, pictures: Path) -> None:
    """As a process: no library crashes on its way out."""
    with small_disk(0.05) as disk:
        process = start_command(
            "finetune", "--dataset", f"folder:{pictures}", "--weights", "random", "--cache", "--cache-dir", disk,
            "--threads", 1, "--run-dir", "run", cwd=tmp_path,
        )  # fmt: skip
        out, err = process.communicate(timeout=300)
        line = the_error(Completed(process.returncode, out, err))
        assert "the cache entry needs" in line
        assert "free in" in line
        assert not [path for path in disk.rglob("*") if path.is_file()]


def test_pretraining_leaves_no_half_written_weights(cmpt726: Callable[..., Any], pictures: Path) -> None:
    with small_disk(1) as disk:
        output = disk / "resnet.safetensors"
        done = cmpt726(
            "pretrain", "--dataset", f"folder:{pictures}", "--epochs", 1, "--precision", "fp32", "--output", output
        )
        assert "No space left on device" in the_error(done)
        assert list(disk.iterdir()) == []


def test_images_that_must_be_mapped_fail_before_the_first_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to a map of a full disk would end in SIGBUS."""
    with small_disk(1) as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        monkeypatch.setattr(decoding, "memory_limit", lambda: 0)

        def fill(count: int) -> None:
            images.Pile(count).pixels[:] = 7

        assert child(lambda: fill(100)) == 0
        assert child(lambda: fill(2000)) == 4
