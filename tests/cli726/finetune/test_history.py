"""The runs that are there, whatever their files hold."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cli726.finetune.folder.run_folder import RunFolder
from cli726.finetune.folder.runs import list_runs
from cli726.finetune.run import finetune
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
