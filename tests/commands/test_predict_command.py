"""`cmpt726 predict` as a user sees it."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli726.finetune.config import FinetuneConfig
from cli726.finetune.run import finetune
from tests.cli726.finetune.own import HEADS, write_code, write_table

Run = Callable[..., Any]
CLASSES = ("=1+1", "@risk", "[/red]", "plain", "\u202egpj")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ and a finished run, runs/mine."""
    root = tmp_path_factory.mktemp("place")
    table = write_table(root / "photos", CLASSES, each=5)
    config = FinetuneConfig(
        dataset=f"csv:{table}", weights="random", epochs=1, precision="fp32", threads=1, gallery=False
    )
    finetune(config, root / "runs" / "mine")
    return root


@pytest.fixture
def predict(cmpt726: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cmpt726 predict` in that folder."""

    def run(*arguments: object, stdin: bytes = b"") -> Any:
        monkeypatch.chdir(place)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return cmpt726("predict", *arguments)

    return run


def names(done: Any) -> list[str]:
    return [one["image"] for one in done.json["predictions"]]


def test_files_folders_and_standard_input(predict: Run, place: Path) -> None:
    everything = sorted(f"photos/{path.name}" for path in (place / "photos").glob("*.png"))
    assert names(predict("mine", "photos/003.png", "--json")) == ["photos/003.png"]
    assert names(predict("runs/mine", "photos/", "--json")) == everything
    assert names(predict("latest", "photos/001.png", "photos/", "--json")) == ["photos/001.png", *everything]
    listed = b"photos/002.png\r\n\n   \nphotos/000.png\n"
    assert names(predict("latest", "-", "--json", stdin=listed)) == ["photos/002.png", "photos/000.png"]
    assert names(predict(place / "runs" / "mine", "photos/004.png", "-", "--json", stdin=b"photos/001.png")) == [
        "photos/004.png", "photos/001.png",
    ]  # fmt: skip


def test_a_blank_line_is_not_the_current_folder(predict: Run) -> None:
    done = predict("latest", "-", stdin=b"\n\n")
    assert done.status == 2
    assert "found none in standard input" in done.stderr


@pytest.mark.skipif(os.name != "posix" or sys.getfilesystemencoding() != "utf-8", reason="names are bytes elsewhere")
def test_standard_input_may_name_files_in_any_bytes(predict: Run, place: Path) -> None:
    image = place / os.fsdecode(b"caf\xe9.png")
    image.write_bytes((place / "photos" / "000.png").read_bytes())
    for option in ("--json", "--csv", None):
        done = predict("latest", "-", *([option] if option else []), stdin=os.fsencode(image.name) + b"\n")
        assert done.status == 0, done.stderr
        assert "caf\\xe9.png" in done.stdout.replace("\\\\", "\\"), "JSON writes a backslash twice"


def test_json_csv_and_table_agree(predict: Run) -> None:
    document = predict("latest", "photos", "--json").json
    assert document["class_names"] == sorted(CLASSES)
    assert document["run"] == "runs/mine"
    assert "�" in predict("latest", "photos").stdout
    done = predict("latest", "photos", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == len(document["predictions"]) == 25
    shown = ["'=1+1", "'@risk", "[/red]", "plain", "�gpj"]
    assert list(rows[0]) == ["image", "class", "probability", *shown, "problem"]
    for row, one in zip(rows, document["predictions"], strict=True):
        probabilities = [float(row[name]) for name in shown]
        assert probabilities == one["probabilities"]
        assert sum(probabilities) == pytest.approx(1)
        best = int(np.argmax(probabilities))
        assert (row["image"], row["class"]) == (one["image"], shown[best])
        assert one["label"] == document["class_names"][best]
        assert float(row["probability"]) == one["probability"] == max(probabilities)
        assert row["problem"] == ""


def test_no_cell_begins_as_a_formula_does(predict: Run, tmp_path: Path) -> None:
    for name in ("=cmd.png", "-1.png", "+2.png", "@sum.png", "a,b.png", 'q"q.png'):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    (tmp_path / "=broken.png").write_bytes(b"=1+1")
    done = predict("latest", "-", "--csv", stdin="\n".join(map(str, sorted(tmp_path.glob("*.png")))).encode())
    assert done.status == 2
    cells = [cell for row in csv.reader(io.StringIO(done.stdout)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in {"=", "+", "-", "@"}]
    assert str(tmp_path / "a,b.png") in cells
    assert str(tmp_path / 'q"q.png') in cells


def test_names_that_begin_as_formulas_do_are_made_harmless(
    predict: Run, cmpt726: Run, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "=1+1.png")
    monkeypatch.chdir(tmp_path)
    done = cmpt726("predict", place / "runs" / "mine", "=1+1.png", "--csv")
    assert done.stdout.splitlines()[1].startswith("'=1+1.png,")


def test_broken_images_are_reported_in_their_place_and_the_exit_status_is_2(predict: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"x")
    arguments = ("latest", "photos/000.png", tmp_path / "broken.png", "photos/001.png")
    done = predict(*arguments, "--json")
    assert done.status == 2
    assert [one["problem"] is None for one in done.json["predictions"]] == [True, False, True]
    assert done.json["predictions"][1]["label"] is None
    assert "error: 1 of 3 images are broken, such as" in done.stderr
    table = predict(*arguments)
    assert (table.status, table.stdout.count("broken:")) == (2, 1)
    rows = list(csv.reader(io.StringIO(predict(*arguments, "--csv").stdout)))
    assert [len(row) for row in rows] == [len(CLASSES) + 4] * 4
    assert rows[2][1:-1] == [""] * (len(CLASSES) + 2)
    assert rows[2][-1]
    assert "Traceback" not in table.stderr


def test_names_cannot_paint_the_terminal(predict: Run, tmp_path: Path) -> None:
    strange = tmp_path / "[red]\x1b[31m\u202e.png"
    strange.write_bytes(b"x")
    for option in ([], ["--csv"]):
        done = predict("latest", "photos/000.png", strange, *option)
        assert not {"\x1b", "\u202e"} & set(done.stdout + done.stderr)


def copy_run(place: Path, target: Path) -> Path:
    target.mkdir()
    for name in ("best.safetensors", "model.json"):
        (target / name).write_bytes((place / "runs" / "mine" / name).read_bytes())
    return target


@pytest.mark.parametrize("damage", ["changed", "no model.json", "another's model.json", "empty"])
def test_a_run_whose_files_do_not_match_exits_3(predict: Run, place: Path, tmp_path: Path, damage: str) -> None:
    run = copy_run(place, tmp_path / "run")
    assert predict(run, "photos/000.png").status == 0
    if damage == "changed":
        content = bytearray((run / "best.safetensors").read_bytes())
        content[len(content) // 2] ^= 4
        (run / "best.safetensors").write_bytes(content)
    elif damage == "no model.json":
        (run / "model.json").unlink()
    elif damage == "another's model.json":
        stated = json.loads((run / "model.json").read_bytes())
        (run / "model.json").write_text(json.dumps({**stated, "sha256": "0" * 64}))
    else:
        (run / "best.safetensors").write_bytes(b"")
    done = predict(run, "photos/000.png")
    assert done.status == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere", "photos/000.png"], "cmpt726 runs ls"),
        (["latest", "nowhere.png"], "got nowhere.png"),
        (["latest", "empty"], "found none"),
        (["latest", "photos/000.png", "--csv", "--json"], "--csv and --json exclude each other"),
        (["latest", "photos/000.png", "--head", "python:x.py:f"], "leave it out"),
        (["latest"], "IMAGE"),
    ],
)
def test_what_cannot_be_met_exits_2(predict: Run, place: Path, arguments: list[str], part: str) -> None:
    (place / "empty").mkdir(exist_ok=True)
    done = predict(*arguments)
    assert done.status == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_without_any_run_latest_says_how_to_make_one(cmpt726: Run, tmp_path: Path) -> None:
    done = cmpt726("predict", "latest", "x.png")
    assert done.status == 2
    assert "cmpt726 finetune" in done.stderr


def test_an_own_head_must_be_typed_again(predict: Run, cmpt726: Run, place: Path, tmp_path: Path) -> None:
    own = write_code(tmp_path / "heads.py", HEADS)("small")
    config = FinetuneConfig(
        dataset=f"csv:{place / 'photos' / 'data.csv'}", weights="random", epochs=1, precision="fp32", threads=1,
        gallery=False, head=own,
    )  # fmt: skip
    finetune(config, tmp_path / "run")
    refused = predict(tmp_path / "run", "photos/000.png")
    assert refused.status == 2
    assert f"type --head {own}" in refused.stderr
    assert predict(tmp_path / "run", "photos/000.png", "--head", own).status == 0
