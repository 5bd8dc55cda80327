"""An interrupted run ends as an uninterrupted one: stopped anywhere, killed anywhere, in either phase."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune import storage
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.folder import RunFolder
from cli726.finetune.run import finetune, resume
from cli726.finetune.storage import read_tensors, replace_file, write_tensors
from tests.cli726.finetune.synthetic import Listener, metrics, same_bits, small_run, write_pictures

pytestmark = pytest.mark.usefixtures("small_network")


class Stopped(BaseException):
    """What an interrupt looks like from inside."""


def assert_same_result(run: Path, whole: Path) -> None:
    assert metrics(run) == metrics(whole)
    assert (run / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    assert (run / "model.json").read_bytes() == (whole / "model.json").read_bytes()
    mine, theirs = (read_tensors(path / "last.safetensors") for path in (run, whole))
    assert same_bits(mine[0], theirs[0])
    assert mine[1] == theirs[1]
    for name in ("best", "test", "l2"):
        mine_, theirs_ = (json.loads((path / "summary.json").read_bytes())[name] for path in (run, whole))
        assert mine_ == theirs_, name


def interrupt(
    config: FinetuneConfig, path: Path, monkeypatch: pytest.MonkeyPatch, *, after: int, written: bool
) -> None:
    """Run until an epoch is over: just after it was written down, or just before."""
    keep = RunFolder.keep_epoch

    def stopping(self: RunFolder, network: Any, optimizer: Any, progress: Any, line: Any) -> None:
        if written or line.epoch < after:
            keep(self, network, optimizer, progress, line)
        if line.epoch == after:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "keep_epoch", stopping)
        with pytest.raises(Stopped):
            finetune(config, path)
    assert len(metrics(path)) == (after if written else after - 1)
    assert not (path / "summary.json").exists()


TWO_STAGES: dict[str, Any] = {"epochs": 4, "unfreeze_after": "2", "unfreeze": "layer3", "augment": "flip,crop"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shapes_folder: Path, small_weights: Path) -> Path:
    """Two stages without an interruption; unfreezing happens between epochs 2 and 3."""
    path = tmp_path_factory.mktemp("whole") / "run"
    finetune(small_run(shapes_folder, small_weights, **TWO_STAGES), path)
    return path


@pytest.mark.parametrize("after", [1, 2, 3, 4], ids=["before", "at", "after", "at the end"])
def test_stopped_once_an_epoch_is_written_down(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, after: int
) -> None:
    config = small_run(shapes_folder, small_weights, **TWO_STAGES)
    interrupt(config, tmp_path / "run", monkeypatch, after=after, written=True)
    torch.rand(7)
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


@pytest.mark.parametrize("after", [2, 3], ids=["the last of stage 1", "the first of stage 2"])
def test_stopped_with_the_best_model_written_and_the_epoch_not(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, after: int
) -> None:
    config = small_run(shapes_folder, small_weights, **TWO_STAGES)
    interrupt(config, tmp_path / "run", monkeypatch, after=after, written=False)
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


@pytest.mark.parametrize("epoch", [2, 3, 4], ids=["the last of stage 1", "the first of stage 2", "the last of all"])
def test_stopped_in_the_middle_of_an_epoch(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, epoch: int
) -> None:
    """After some of its steps: what they changed is nowhere but in memory."""
    keep, step, steps = RunFolder.keep_epoch, torch.optim.SGD.step, {"epoch": 0, "taken": 0}

    def counting(self: RunFolder, network: Any, optimizer: Any, progress: Any, line: Any) -> None:
        keep(self, network, optimizer, progress, line)
        steps.update(epoch=line.epoch, taken=0)

    def stopping(self: torch.optim.SGD, *rest: Any) -> Any:
        result = step(self, *rest)
        steps["taken"] += 1
        if (steps["epoch"], steps["taken"]) == (epoch - 1, 2):
            raise Stopped
        return result

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "keep_epoch", counting)
        patched.setattr(torch.optim.SGD, "step", stopping)
        with pytest.raises(Stopped):
            finetune(small_run(shapes_folder, small_weights, **TWO_STAGES), tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == epoch - 1
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


def test_stopped_again_and_again(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    interrupt(
        small_run(shapes_folder, small_weights, **TWO_STAGES), tmp_path / "run", monkeypatch, after=1, written=True
    )
    keep = RunFolder.keep_epoch

    def stopping(self: RunFolder, *rest: Any) -> None:
        keep(self, *rest)
        raise Stopped

    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(RunFolder, "keep_epoch", stopping)
            with pytest.raises(Stopped):
                resume(tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ({"epochs": 3, "unfreeze_after": "1:layer3,2:layer2", "precision": "bf16"}, 2),
        ({"epochs": 3, "unfreeze_after": "2", "unfreeze": "layer3", "optimizer": "adamw", "cache": True}, 3),
        ({"epochs": 3, "optimizer": "adamw", "head": "mlp:8", "dropout": 0.4, "batch_norm": True}, 2),
        ({"epochs": 2, "recompute": True, "validate_every": 2, "tta": True, "augment": "flip"}, 1),
        ({"epochs": 6, "unfreeze_after": "4", "unfreeze": "layer3", "patience": 1, "lr": 1e-9}, 2),
        ({"epochs": 3, "unfreeze_after": "2", "unfreeze": "layer3", "l2": (0.0, 0.5)}, 3),
    ],
    ids=["gradual", "adamw cached", "deep head", "recomputed", "patience", "several penalties"],
)
def test_stopped_under_every_kind_of_option(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any], after: int,
) -> None:  # fmt: skip
    if options.get("cache"):
        options = {**options, "cache_dir": str(tmp_path / "cache")}
    config = small_run(shapes_folder, small_weights, **options)
    finetune(config, tmp_path / "whole")
    interrupt(config, tmp_path / "run", monkeypatch, after=after, written=True)
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", tmp_path / "whole")


KILLED_AT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from cli726.finetune.network import resnet
resnet.CHANNELS = (4, 8, 8)
from cli726.finetune import folder as run
from cli726.finetune import storage
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.run import finetune

folder, weights, path, where, epoch = sys.argv[1:]
options = dict(epochs=4, batch_size=16, precision="fp32", unfreeze_after="2", unfreeze="layer3", augment="flip,crop")
seen = dict(epoch=0)
keep = run.RunFolder.keep_epoch

def noting(self, network, optimizer, progress, line):
    seen["epoch"] = line.epoch
    keep(self, network, optimizer, progress, line)

really_replace = Path.replace

def die(self, target):
    # Between what is written beside a file and its taking the file's place.
    if seen["epoch"] == int(epoch) and Path(target).name == where:
        os.kill(os.getpid(), signal.SIGKILL)
    return really_replace(self, target)

run.RunFolder.keep_epoch = noting
Path.replace = die
finetune(FinetuneConfig(dataset="folder:" + folder, weights=weights, **options), Path(path))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize(
    ("where", "epoch"), [("last.safetensors", 2), ("metrics.jsonl", 3)], ids=["in phase 1", "in phase 2"]
)
def test_killed_in_the_middle_of_writing(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, whole: Path, where: str, epoch: int
) -> None:
    arguments = [str(shapes_folder), str(small_weights), str(tmp_path / "run"), where, str(epoch)]
    done = subprocess.run([sys.executable, "-c", KILLED_AT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


def test_a_run_that_stops_says_how_to_go_on(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    keep = RunFolder.keep_epoch

    def stopping(self: RunFolder, *rest: Any) -> None:
        keep(self, *rest)
        raise Stopped

    monkeypatch.setattr(RunFolder, "keep_epoch", stopping)
    with pytest.raises(Stopped):
        finetune(small_run(shapes_folder, small_weights), tmp_path / "run", reporter=listener)
    assert f"cmpt726 finetune --resume {tmp_path / 'run'}" in listener.lines[-1]
    assert "epoch 1" in listener.lines[-1]


def test_there_must_be_a_run_to_resume_and_it_must_not_be_over(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(RequestError, match=r"a folder with a config\.json"):
        resume(tmp_path)
    with pytest.raises(RequestError, match=r"finished.*summary\.json"):
        resume(whole)


def test_a_run_that_never_reached_an_epochs_end_starts_over(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    config = small_run(shapes_folder, small_weights, **TWO_STAGES)
    with monkeypatch.context() as patched:
        patched.setattr("cli726.finetune.run.Run.train", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            finetune(config, tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


def test_other_data_or_weights_are_not_taken_for_the_runs_own(
    tmp_path: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pictures(tmp_path / "data", 30)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(small_weights.read_bytes())
    interrupt(small_run(folder, weights, epochs=2), tmp_path / "run", monkeypatch, after=1, written=True)
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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"options": 3}',
        b'{"options": {"unheard_of": 1}}',
        b'{"options": {"epochs": "x"}}',
        b"\xff\xfe",
    ],
)
def test_a_configuration_that_is_none_of_ours_is_not_trusted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UntrustedDataError):
        resume(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "foreign", "facts"])
def test_a_damaged_checkpoint_is_not_trusted(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    interrupt(small_run(shapes_folder, small_weights), tmp_path / "run", monkeypatch, after=1, written=True)
    last = tmp_path / "run" / "last.safetensors"
    tensors, facts = read_tensors(last)
    if damage == "cut":
        last.write_bytes(last.read_bytes()[:-100])
    elif damage == "foreign":
        write_tensors(last, {"network.x": torch.zeros(2)}, facts)
    else:
        write_tensors(last, tensors, {"progress": {"epoch": 1}})
    with pytest.raises(UntrustedDataError):
        resume(tmp_path / "run")


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
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
            finetune(small_run(shapes_folder, small_weights, **TWO_STAGES), tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)
