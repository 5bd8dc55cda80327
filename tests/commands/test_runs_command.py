"""`cmpt726 runs ls` as a user sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """runs/ with one finished, one interrupted and one damaged run."""
    summary = {
        "dataset": {"name": "[/red]digits"},
        "best": {"val_error": 0.125},
        "test": {"accuracy": 0.875, "images": 1234, "interval": [0.8554, 0.8922]},
    }
    for number, (name, files) in enumerate(
        {
            "done": {"summary.json": json.dumps(summary)},
            "stopped": {"metrics.jsonl": ""},
            "hurt": {"summary.json": "{"},
        }.items()
    ):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"options": {"dataset": "folder:photos"}}))
        os.utime(folder / "config.json", (1_700_000_000 + number,) * 2)
        for file, content in files.items():
            (folder / file).write_text(content)
    (tmp_path / "runs" / "notes.txt").write_text("x")
    return tmp_path / "runs"


def test_finished_interrupted_and_damaged_runs(cmpt726: Run, runs: Path) -> None:
    done = cmpt726("runs", "ls")
    assert done.status == 0
    rows = [line for line in done.stdout.splitlines() if line.split()[:1] in (["done"], ["stopped"], ["hurt"])]
    assert [row.split()[:3] for row in rows] == [
        ["done", "[/red]digits", "87.50%"],
        ["stopped", "folder:photos", "interrupted"],
        ["hurt", "-", "damaged"],
    ]
    for part in ("87.50%", "87.50% of 1,234", "85.5% to 89.2%", "2023-11-1"):
        assert part in done.stdout, part


def test_json_has_the_same_numbers_unrounded(cmpt726: Run, runs: Path) -> None:
    found = cmpt726("runs", "ls", "--json").json["runs"]
    assert [run["state"] for run in found] == ["finished", "interrupted", "damaged"]
    assert found[0]["test_interval"] == [0.8554, 0.8922]
    assert (found[0]["dataset"], found[0]["best_val_error"], found[0]["test_accuracy"]) == (
        "[/red]digits",
        0.125,
        0.875,
    )
    assert found[0]["path"] == "runs/done"
    assert found[1]["test_accuracy"] is found[2]["dataset"] is None


def test_numbers_that_are_none_are_null(cmpt726: Run, runs: Path) -> None:
    path = runs / "done" / "summary.json"
    path.write_text(path.read_text().replace("0.875", "NaN").replace("0.125", "Infinity"))
    first = cmpt726("runs", "ls", "--json").json["runs"][0]
    assert first["test_accuracy"] is first["best_val_error"] is None
    assert cmpt726("runs", "ls").status == 0


def test_another_folder_and_none_at_all(cmpt726: Run, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (runs / "done").rename(tmp_path / "elsewhere" / "moved")
    assert "moved" in cmpt726("runs", "ls", "--folder", tmp_path / "elsewhere").stdout
    empty = cmpt726("runs", "ls", "--folder", tmp_path / "nothing")
    assert (empty.status, empty.stdout.startswith("No runs yet")) == (0, True)
    assert cmpt726("runs", "ls", "--folder", tmp_path / "nothing", "--json").json == {"runs": []}


def test_names_cannot_paint_the_terminal(cmpt726: Run, runs: Path) -> None:
    (runs / "done").rename(runs / "[red]\x1b[31m\u202edone")
    done = cmpt726("runs", "ls")
    assert done.status == 0
    assert not {"\x1b", "\u202e"} & set(done.stdout)
    assert "[red]" in done.stdout
