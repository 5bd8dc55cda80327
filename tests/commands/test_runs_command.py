"""`cmpt726 runs` as a user sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli726.finetune.api import finetune
from cli726.finetune.config import FinetuneConfig
from tests.cli726.finetune.own import write_table

Run = Callable[..., Any]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """runs/ with one finished, one interrupted and one damaged run."""
    summary = {
        "dataset": {"name": "[/red]digits"},
        "best": {"val_error": 0.125},
        "test": {"accuracy": 0.875, "images": 1234, "interval": [0.8554, 0.8922]},
    }
    files = {"done": json.dumps(summary), "half done": None, "hurt": "{"}
    for number, (name, content) in enumerate(files.items()):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        options = {"dataset": "folder:photos", **({"lr": 0.5} if name == "half done" else {})}
        (folder / "config.json").write_text(json.dumps({"options": options}))
        os.utime(folder / "config.json", (1_700_000_000 + number,) * 2)
        if content:
            (folder / "summary.json").write_text(content)
    (tmp_path / "runs" / "notes.txt").write_text("x")
    return tmp_path / "runs"


def test_finished_interrupted_and_damaged_runs_in_a_table(
    cmpt726: Run, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    done = cmpt726("runs", "ls")
    assert done.status == 0
    first, half, hurt = [
        row for row in map(str.split, done.stdout.splitlines()) if {*row[:1]} & {"done", "half", "hurt"}
    ]
    assert first[:3] == ["done", "[/red]digits", "87.50%"]
    assert half[1:4] == ["done", "folder:photos", "interrupted"]
    assert hurt[:3] == ["hurt", "-", "damaged"]
    assert half[-2:] == ["lr", "0.5"], "the options in which runs differ"
    for part in ("87.50% of 1,234", "85.5% to 89.2%", "2023-11-1"):
        assert part in done.stdout, part
    assert done.stdout.endswith("To go on: cmpt726 finetune --resume 'runs/half done'\n")


def test_json_has_the_same_numbers_unrounded_and_those_that_are_none_are_null(cmpt726: Run, runs: Path) -> None:
    found = cmpt726("runs", "ls", "--json").json["runs"]
    assert [run["state"] for run in found] == ["finished", "interrupted", "damaged"]
    first = found[0]
    assert first["test_interval"] == [0.8554, 0.8922]
    assert [first[name] for name in ("dataset", "best_val_error", "test_accuracy")] == ["[/red]digits", 0.125, 0.875]
    assert first["path"] == "runs/done"
    assert found[1]["test_accuracy"] is found[2]["dataset"] is None
    path = runs / "done" / "summary.json"
    path.write_text(path.read_text().replace("0.875", "NaN").replace("0.125", "Infinity"))
    first = cmpt726("runs", "ls", "--json").json["runs"][0]
    assert first["test_accuracy"] is first["best_val_error"] is None
    assert cmpt726("runs", "ls").status == 0


def test_another_folder_and_none_at_all(cmpt726: Run, runs: Path) -> None:
    moved = runs.rename(runs.with_name("elsewhere")) / "[red]\x1b[31m\u202edone"
    (moved.parent / "done").rename(moved)
    done = cmpt726("runs", "ls", "--folder", "elsewhere")
    assert done.status == 0
    assert not {"\x1b", "\u202e"} & set(done.stdout), "names cannot paint the terminal"
    assert "[red]" in done.stdout
    empty = "No runs yet: make one with cmpt726 finetune --cache --unfreeze-after 5\n"
    assert cmpt726("runs", "ls").stdout == empty
    assert cmpt726("runs", "ls", "--json").json == {"runs": []}


def test_compare_reads_alike_in_table_and_json(cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
    where = f"csv:{write_table(tmp_path / 'photos', ('[/red]', '=1+1', 'plain'), each=12)}"
    for name, epochs in (("first", 1), ("second", 3)):
        config = FinetuneConfig(dataset=where, weights="random", epochs=epochs, precision="fp32", threads=1)
        finetune(config, Path("runs", name))
    document = cmpt726("runs", "compare", "first", "latest", "--json").json
    assert (document["a"], document["b"], document["images"]) == ("runs/first", "runs/second", 6)
    assert sum(document[name] for name in ("both_right", "only_a", "only_b", "both_wrong")) == 6
    for side, alone in (("a", "only_a"), ("b", "only_b")):
        summary = json.loads(Path(document[side], "summary.json").read_text())
        assert document["runs"][side]["accuracy"] == pytest.approx(summary["test"]["accuracy"])
        assert 6 * summary["test"]["accuracy"] == pytest.approx(document["both_right"] + document[alone])
    for row in document["flipped"]:
        assert {row["a"], row["b"], row["true"]} <= {"[/red]", "=1+1", "plain"}
    done = cmpt726("runs", "compare", "first", "runs/second")
    assert done.status == 0, done.stderr
    assert f"p = {document['p_value']:.3g} (exact McNemar test)" in " ".join(done.stdout.split())
    assert f"{document['runs']['b']['bytes'] / 1e6:.2f} MB" in done.stdout
    gained = document["runs"]["b"]["accuracy"] - document["runs"]["a"]["accuracy"]
    assert f"{100 * gained:+.2f} points" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("nowhere", "done"), "got nowhere"),
        (("half done", "done"), "RUN must be"),
        (("done", "done"), "predictions.csv"),
        (("done",), "B"),
    ],
)
def test_what_cannot_be_compared(cmpt726: Run, runs: Path, names: tuple[str, ...], said: str) -> None:
    (runs / "done" / "best.safetensors").touch()
    done = cmpt726("runs", "compare", *names)
    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr
