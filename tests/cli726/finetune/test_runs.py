"""The runs that are there, whatever their files hold; how one is named; and one process at a time in each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli726.errors import RequestError
from cli726.finetune import folder
from cli726.finetune.api import finetune, resume
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.folder import RunFolder
from cli726.finetune.folder.runs import find_run, finished_run, list_runs
from cli726.finetune.result import Finetuned
from tests.cli726.finetune.synthetic import stopped

pytestmark = pytest.mark.usefixtures("small_network")
Small = Callable[..., FinetuneConfig]
GOOD: dict[str, Any] = {
    "dataset": {"name": "x"},
    "best": {"val_error": 0.25},
    "test": {"accuracy": 0.5, "images": 10, "interval": [0.2, 0.8]},
}


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def with_(old: str, new: str) -> bytes:
    return json.dumps(GOOD).replace(old, new).encode()


@pytest.mark.parametrize(
    ("config", "summary"),
    [
        *((content, None) for content in (b"{", b"[]", b"{}", b'{"options": 1}', b"\xff")),
        *((b"{}", content) for content in (b"", b"[]", b"[" * 100_000)),
        *((b"{}", without(name)) for name in GOOD),
        *((b"{}", with_("10", word)) for word in ("Infinity", "NaN")),
        *((b"{}", with_(*words)) for words in (("[0.2, 0.8]", "[0.2]"), ("0.5", "null"), ("0.25", '"good"'))),
    ],
)
def test_files_that_make_no_sense_are_a_damaged_run_among_the_others(
    tmp_path: Path, config: bytes, summary: bytes | None
) -> None:
    assert list_runs(tmp_path) == list_runs(tmp_path / "nowhere") == []
    for name, content, result in (("bad", config, summary), ("good", b"{}", json.dumps(GOOD).encode())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(content)
        if result is not None:
            (tmp_path / name / "summary.json").write_bytes(result)
    assert {run.name: run.state for run in list_runs(tmp_path)} == {"bad": "damaged", "good": "finished"}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Callable[..., Finetuned]) -> Path:
    """runs/ with, from old to new: z-done, b-cut, c-done, d-cut."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(["z-done", "b-cut", "c-done", "d-cut"]):
        shutil.copytree(finished().run_dir, Path("runs", name))
        if name.endswith("cut"):
            Path("runs", name, "summary.json").unlink()
        os.utime(Path("runs", name, "config.json"), (1e9 + number, 1e9 + number))
    Path("runs", "notes").mkdir()
    return Path("runs")


def test_runs_are_listed_in_the_order_they_were_begun(
    places: Path, finished: Callable[..., Finetuned], shapes_folder: Path
) -> None:
    result, (first, second, *_) = finished(), list_runs()
    assert [run.name for run in list_runs()] == ["z-done", "b-cut", "c-done", "d-cut"]
    assert (first.path, first.state, first.dataset) == (places / "z-done", "finished", "shapes")
    assert first.best_val_error == result.best.val_error
    assert (first.test_accuracy, first.test_images) == (result.test.accuracy, result.test.images)
    assert first.test_interval == pytest.approx(result.test.interval)
    assert first.date.startswith("2001-09-0")
    assert (second.state, second.dataset) == ("interrupted", f"folder:{shapes_folder}")
    assert second.test_accuracy is second.best_val_error is None
    assert first.options == second.options == json.loads(json.dumps(result.config.to_json()))


def test_latest_is_the_newest_finished_run_or_to_resume_the_newest_interrupted_one(places: Path) -> None:
    assert find_run("latest") == finished_run("latest") == places / "c-done"
    assert find_run("latest", "interrupted") == places / "d-cut"
    for name in ("b-cut", "runs/b-cut", places / "b-cut"):
        assert find_run(name) == find_run(name, "interrupted") == places / "b-cut"
    with pytest.raises(RequestError, match=r"no summary\.json; go on .* --resume runs/b-cut`"):
        finished_run("b-cut")
    for name in ("nowhere", "runs/nowhere", ""):
        with pytest.raises(RequestError, match="RUN must be"):
            find_run(name)
    with pytest.raises(RequestError, match="did you mean c-done"):
        find_run("c-don")
    shutil.rmtree(places)
    for state in ("finished", "interrupted"):
        with pytest.raises(RequestError, match=f"in runs/ that is {state}"):
            find_run("latest", state)


def test_resume_takes_every_name(places: Path) -> None:
    assert resume("latest").run_dir == places / "d-cut"
    assert resume("b-cut").run_dir == places / "b-cut"
    assert [run.state for run in list_runs()] == ["finished"] * 4


def test_a_run_that_is_running_is_listed_so_and_refused_to_others(
    tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch
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
    finetune(small(), Path("runs", "one"))
    assert seen == [["running"], ["running"]]
    assert [run.state for run in list_runs()] == ["finished"]
    assert not list(Path("runs", "one").glob(".*"))


def test_a_failed_run_says_why_until_it_goes_on(tmp_path: Path, small: Small) -> None:
    with stopped(1, error=OSError(28, "No space left")):
        finetune(small(), tmp_path / "one")
    (run,) = list_runs(tmp_path)
    assert (run.state, run.reason) == ("failed", "[Errno 28] No space left")
    assert run.options["epochs"] == 2
    resume(tmp_path / "one")
    assert [run.state for run in list_runs(tmp_path)] == ["finished"]
    assert not (tmp_path / "one" / "failed.txt").exists()
