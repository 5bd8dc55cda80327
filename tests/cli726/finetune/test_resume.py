"""An interrupted run ends as an uninterrupted one: stopped anywhere, killed anywhere, in either phase."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune import storage
from cli726.finetune.api import finetune, resume
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.result import Finetuned
from cli726.finetune.storage import read_tensors, replace_file, write_tensors
from tests.cli726.finetune.synthetic import (
    Listener,
    Stopped,
    assert_same_result,
    metrics,
    small_run,
    stopped,
    write_pictures,
)
from tests.harness import cases, environment

pytestmark = pytest.mark.usefixtures("small_network")
Small = Callable[..., FinetuneConfig]
# Unfreezing happens between epochs 2 and 3.
TWO_STAGES: dict[str, Any] = {"epochs": 4, "unfreeze_after": "2", "unfreeze": "layer3", "augment": "flip,crop"}


@pytest.fixture
def whole(finished: Callable[..., Finetuned]) -> Path:
    """Two stages without an interruption."""
    return finished(**TWO_STAGES).run_dir


@pytest.mark.parametrize("after", [1, 2, 3, 4], ids=["before", "at", "after", "at the end"])
@pytest.mark.parametrize("written", [True, False])
def test_stopped_at_an_epochs_end(tmp_path: Path, small: Small, whole: Path, after: int, written: bool) -> None:
    """Once the epoch has been written down; or where only its best model has."""
    with stopped(after, written=written):
        finetune(small(**TWO_STAGES), tmp_path / "run")
    assert len(metrics(tmp_path / "run") if after > 1 or written else []) == (after if written else after - 1)
    assert not (tmp_path / "run" / "summary.json").exists()
    torch.rand(7)
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


@pytest.mark.parametrize("epoch", [2, 3, 4], ids=["the last of stage 1", "the first of stage 2", "the last of all"])
def test_stopped_in_the_middle_of_an_epoch(
    tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch, whole: Path, epoch: int
) -> None:
    """After some of its steps: what they changed is nowhere but in memory."""
    step, taken = torch.optim.SGD.step, [0]
    batches = 3  # in an epoch

    def stopping(self: torch.optim.SGD, *rest: Any) -> Any:
        result = step(self, *rest)
        taken[0] += 1
        if taken[0] == (epoch - 1) * batches + 2:
            raise Stopped
        return result

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.SGD, "step", stopping)
        with pytest.raises(Stopped):
            finetune(small(**TWO_STAGES), tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == epoch - 1
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


def test_stopped_again_and_again(tmp_path: Path, small: Small, whole: Path) -> None:
    with stopped(1):
        finetune(small(**TWO_STAGES), tmp_path / "run")
    for epoch in (2, 3, 4):
        with stopped(epoch):
            resume(tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ({"epochs": 3, "unfreeze_after": "1:layer3,2:layer2", "precision": "bf16"}, 2),
        ({"epochs": 3, "unfreeze_after": "2", "unfreeze": "layer3", "optimizer": "adamw", "cache": True}, 3),
        ({"epochs": 3, "optimizer": "adamw", "head": "mlp:8", "dropout": 0.4, "batch_norm": True}, 2),
        ({"epochs": 3, "views": 2, "augment": "flip,crop", "unfreeze_after": "2", "unfreeze": "layer3"}, 1),
        ({"epochs": 2, "recompute": True, "validate_every": 2, "tta": True, "augment": "flip"}, 1),
        ({"epochs": 6, "unfreeze_after": "4", "unfreeze": "layer3", "patience": 1, "lr": 1e-9}, 2),
        ({"epochs": 3, "unfreeze_after": "2", "unfreeze": "layer3", "l2": (0.0, 0.5), "balance": True}, 3),
        ({"epochs": 4, "unfreeze_after": "2", "unfreeze": "layer3", "l2": (0.01,), "solver": "exact"}, 2),
        ({"epochs": 4, "unfreeze_after": "2", "unfreeze": "layer3", "l2": (0.01,), "solver": "exact"}, 3),
    ],
    ids=["gradual", "adamw cached", "deep", "views", "recomputed", "patience", "penalties", "exact", "after exact"],
)
def test_stopped_under_every_kind_of_option(
    tmp_path: Path, small: Small, finished: Callable[..., Finetuned], options: dict[str, Any], after: int
) -> None:
    with stopped(after):
        finetune(small(**options, cache_dir=str(tmp_path / "cache")), tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", finished(**options).run_dir)


KILLED_AT = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.api import finetune
from tests.cli726.finetune.conftest import shrunk

options, path, where, time = json.loads(sys.argv[1]), *sys.argv[2:]
really_replace, seen = Path.replace, []

def die(self, target):
    # Between what is written beside a file and its taking the file's place.
    seen.append(Path(target).name)
    if seen.count(where) == int(time):
        os.kill(os.getpid(), signal.SIGKILL)
    return really_replace(self, target)

Path.replace = die
with shrunk():
    finetune(FinetuneConfig.from_json(options), Path(path))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize(("where", "time"), cases(("metrics.jsonl", 3), ("last.safetensors", 2)))
def test_killed_in_the_middle_of_writing(tmp_path: Path, small: Small, whole: Path, where: str, time: int) -> None:
    options = json.dumps(small(**TWO_STAGES).to_json())
    words = [sys.executable, "-c", KILLED_AT, options, str(tmp_path / "run"), where, str(time)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == -signal.SIGKILL, done.stderr
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


def test_a_run_that_stops_says_how_to_go_on(tmp_path: Path, small: Small) -> None:
    listener = Listener()
    with stopped(1):
        finetune(small(), tmp_path / "run", reporter=listener)
    assert f"cmpt726 finetune --resume {tmp_path / 'run'}" in listener.lines[-1]
    assert "epoch 1" in listener.lines[-1]


def test_there_must_be_a_run_to_resume_and_it_must_not_be_over(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(RequestError, match=r"a folder with a config\.json"):
        resume(tmp_path)
    with pytest.raises(RequestError, match=r"finished.*summary\.json"):
        resume(whole)


def test_a_run_that_never_reached_an_epochs_end_starts_over(
    tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("cli726.finetune.run.Run.train", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            finetune(small(**TWO_STAGES), tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


def test_other_data_or_weights_are_not_taken_for_the_runs_own(tmp_path: Path, small_weights: Path) -> None:
    folder = write_pictures(tmp_path / "data", 30)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(small_weights.read_bytes())
    with stopped(1):
        finetune(small_run(folder, weights, epochs=2), tmp_path / "run")
    tensors, facts = read_tensors(weights)
    tensors["backbone.stem.conv1.weight"][0, 0, 0, 0] += 1
    write_tensors(weights, tensors, facts)
    with pytest.raises(UntrustedDataError, match="weights"):
        resume(tmp_path / "run")
    weights.write_bytes(small_weights.read_bytes())
    removed = next((folder / "rows").iterdir())
    content = removed.read_bytes()
    removed.unlink()
    with pytest.raises(UntrustedDataError, match="dataset"):
        resume(tmp_path / "run")
    removed.write_bytes(content)
    resume(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"options": 3}', b'{"options": {"epochs": "x"}}', b"\xff\xfe"])
def test_a_configuration_that_is_none_of_ours_is_not_trusted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UntrustedDataError):
        resume(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "foreign", "facts", "optimizer"])
def test_a_damaged_checkpoint_is_not_trusted(tmp_path: Path, small: Small, damage: str) -> None:
    with stopped(1):
        finetune(small(), tmp_path / "run")
    last = tmp_path / "run" / "last.safetensors"
    tensors, facts = read_tensors(last)
    if damage == "cut":
        last.write_bytes(last.read_bytes()[:-100])
    elif damage == "foreign":
        write_tensors(last, {"network.x": torch.zeros(2)}, facts)
    elif damage == "facts":
        write_tensors(last, tensors, {"progress": {"epoch": 1}})
    else:
        state = next(name for name in tensors if name.startswith("optimizer."))
        write_tensors(last, {**tensors, state: torch.zeros(2)}, facts)
    with pytest.raises(UntrustedDataError):
        resume(tmp_path / "run")


def test_checkpoint_and_log_must_agree(tmp_path: Path, small: Small) -> None:
    with stopped(2):
        finetune(small(epochs=3), tmp_path / "run")
    log = tmp_path / "run" / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    for text in ("", lines[0], lines[1] + lines[0], "".join(lines).replace('"head"', '"all"')):
        log.write_text(text)
        with pytest.raises(UntrustedDataError, match="disagree"):
            resume(tmp_path / "run")
    log.write_text("".join(lines) + lines[1].replace('"epoch": 2', '"epoch": 3'))
    resume(tmp_path / "run")


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    calls = iter(range(10_000))

    def full(path: Path, content: bytes) -> None:
        if path.name == "last.safetensors" and next(calls) == 2:  # the third epoch's
            path.with_name(f".{path.name}.part").write_bytes(content[:100])
            raise OSError(28, "No space left on device")
        replace_file(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "replace_file", full)
        with pytest.raises(OSError, match="No space"):
            finetune(small(**TWO_STAGES), tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)
