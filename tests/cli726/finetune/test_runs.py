"""The runs that are there, whatever their files hold; how one is named; and one process at a time in each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from cli726.errors import RequestError
from cli726.finetune import folder
from cli726.finetune.folder import RunFolder
from cli726.finetune.folder.runs import find_run, list_runs
from cli726.finetune.result import Finetuned
from cli726.finetune.run import finetune, resume
from tests.cli726.finetune.synthetic import small_run

pytestmark = pytest.mark.usefixtures("small_network")


class Stopped(BaseException): ...


def test_finished_and_interrupted_runs_in_the_order_they_were_begun(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = finetune(small_run(shapes_folder, small_weights, epochs=1), tmp_path / "z-first")
    monkeypatch.setattr(RunFolder, "keep_epoch", lambda *_: (_ for _ in ()).throw(Stopped))
    with pytest.raises(Stopped):
        finetune(small_run(shapes_folder, small_weights), tmp_path / "a-second")
    (tmp_path / "notes").mkdir()
    for number, name in enumerate(["z-first", "a-second"]):
        os.utime(tmp_path / name / "config.json", (1e9 + number, 1e9 + number))
    first, second = list_runs(tmp_path)
    assert (first.name, first.path, first.state, first.dataset) == (
        "z-first",
        tmp_path / "z-first",
        "finished",
        "shapes",
    )
    assert first.best_val_error == result.best.val_error
    assert (first.test_accuracy, first.test_images) == (result.test.accuracy, result.test.images)
    assert first.test_interval == pytest.approx(result.test.interval)
    assert first.date.startswith("2001-09-0")
    assert (second.name, second.state, second.dataset) == ("a-second", "interrupted", f"folder:{shapes_folder}")
    assert second.test_accuracy is second.best_val_error is None


def test_no_runs_are_no_error(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == list_runs(tmp_path / "nowhere") == []


GOOD: dict[str, Any] = {
    "dataset": {"name": "x"},
    "best": {"val_error": 0.25},
    "test": {"accuracy": 0.5, "images": 10, "interval": [0.2, 0.8]},
}


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


@pytest.mark.parametrize(
    ("config", "summary"),
    [
        (b"{", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"options": 1}', None),
        (b"\xff", None),
        (b"{}", b""),
        (b"{}", b"[]"),
        (b"{}", b"[" * 100_000),
        (b"{}", without("test")),
        (b"{}", without("best")),
        (b"{}", without("dataset")),
        (b"{}", json.dumps(GOOD).replace("10", "Infinity").encode()),
        (b"{}", json.dumps(GOOD).replace("10", "NaN").encode()),
        (b"{}", json.dumps(GOOD).replace("[0.2, 0.8]", "[0.2]").encode()),
        (b"{}", json.dumps(GOOD).replace("0.5", "null").encode()),
        (b"{}", json.dumps(GOOD).replace("0.25", '"good"').encode()),
    ],
)
def test_files_that_make_no_sense_are_a_damaged_run_among_the_others(
    tmp_path: Path, config: bytes, summary: bytes | None
) -> None:
    for name, content, result in (("bad", config, summary), ("good", b"{}", json.dumps(GOOD).encode())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(content)
        if result is not None:
            (tmp_path / name / "summary.json").write_bytes(result)
    states = {run.name: run.state for run in list_runs(tmp_path)}
    assert states == {"bad": "damaged", "good": "finished"}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Callable[..., Finetuned]) -> Path:
    """runs/ with, from old to new: a-done, b-cut, c-done, d-cut."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(["a-done", "b-cut", "c-done", "d-cut"]):
        shutil.copytree(finished().run_dir, Path("runs", name))
        if name.endswith("cut"):
            Path("runs", name, "summary.json").unlink()
        os.utime(Path("runs", name, "config.json"), (1e9 + number, 1e9 + number))
    return Path("runs")


def test_latest_is_the_newest_finished_run_or_to_resume_the_newest_interrupted_one(places: Path) -> None:
    assert find_run("latest") == places / "c-done"
    assert find_run("latest", "interrupted") == places / "d-cut"
    for name in ("b-cut", "runs/b-cut", places / "b-cut"):
        assert find_run(name) == find_run(name, "interrupted") == places / "b-cut"
    for name in ("nowhere", "runs/nowhere", ""):
        with pytest.raises(RequestError, match="RUN must be"):
            find_run(name)
    with pytest.raises(RequestError, match="did you mean a-done"):
        find_run("a-don")
    shutil.rmtree(places)
    for state in ("finished", "interrupted"):
        with pytest.raises(RequestError, match=f"in runs/ that is {state}"):
            find_run("latest", state)


def test_resume_takes_every_name(places: Path) -> None:
    assert resume("latest").run_dir == places / "d-cut"
    assert resume("b-cut").run_dir == places / "b-cut"
    assert [run.state for run in list_runs()] == ["finished"] * 4


def test_a_run_that_is_running_is_listed_so_and_refused_to_others(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at in the middle of training: a lock is held between processes and within one alike."""
    seen: list[Any] = []
    keep = RunFolder.keep_epoch
    monkeypatch.setattr(folder, "SHORTLY", 0.1)
    monkeypatch.chdir(tmp_path)

    def looking(self: RunFolder, *rest: Any) -> None:
        keep(self, *rest)
        if not seen:
            seen.append([run.state for run in list_runs()])
            with pytest.raises(RequestError, match=rf"running \(process {os.getpid()} on .+\)"):
                resume(self.path)
            seen.append([run.state for run in list_runs()])
            with pytest.raises(RequestError, match="there is none"):
                find_run("latest")

    monkeypatch.setattr(RunFolder, "keep_epoch", looking)
    finetune(small_run(shapes_folder, small_weights, epochs=2), Path("runs", "one"))
    assert seen == [["running"], ["running"]]
    assert [run.state for run in list_runs()] == ["finished"]
    assert not list(Path("runs", "one").glob(".*"))


def test_a_failed_run_says_why_until_it_goes_on(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = RunFolder.keep_epoch

    def full(self: RunFolder, *rest: Any) -> None:
        keep(self, *rest)
        raise OSError(28, "No space left")

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "keep_epoch", full)
        with pytest.raises(OSError, match="No space"):
            finetune(small_run(shapes_folder, small_weights, epochs=2), tmp_path / "one")
    (run,) = list_runs(tmp_path)
    assert (run.state, run.reason) == ("failed", "[Errno 28] No space left")
    assert run.options["epochs"] == 2
    resume(tmp_path / "one")
    assert [run.state for run in list_runs(tmp_path)] == ["finished"]
    assert not (tmp_path / "one" / "failed.txt").exists()


def test_every_default_is_resolved_in_the_configuration(finished: Callable[..., Finetuned]) -> None:
    result = finished(unfreeze_after="1", unfreeze="layer3", batch_size=None, precision="auto")
    stored = json.loads((result.run_dir / "config.json").read_bytes())
    assert stored["version"] == version("cmpt726")
    assert stored["precision"] in ("float32", "bfloat16")
    assert stored["device"] in ("cpu", "cuda")
    resolved = stored["resolved"]
    images = {name: len(split) for name, split in result.dataset.splits.items()}
    assert resolved["batch_size"] == 16
    assert resolved["test_fraction"] == images["test"] / sum(images.values())
    assert resolved["val_fraction"] == images["validation"] / sum(images.values())
    head, rest = resolved["phases"]
    assert (head["lr"], head["label_smoothing"], head["epochs"]) == (0.1, 0.0, [1, 1])
    assert (rest["lr"], rest["backbone_lr"], rest["label_smoothing"]) == (0.0125, 0.0125, 0.05)
