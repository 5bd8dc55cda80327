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

from cli726.finetune.api import finetune
from cli726.finetune.config import FinetuneConfig
from tests.cli726.finetune.own import HEADS, write_code, write_table

pytestmark = pytest.mark.usefixtures("small_network")
Run = Callable[..., Any]
CLASSES = ("=1+1", "@risk", "[/red]", "plain", "\u202egpj")


def trained(root: Path, run: Path, **options: Any) -> None:
    """A finished run on the pictures in photos/."""
    where = f"csv:{root / 'photos' / 'data.csv'}"
    plain = {"weights": "random", "epochs": 1, "precision": "fp32", "threads": 1, "gallery": False}
    finetune(FinetuneConfig(dataset=where, **plain, **options), run)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ and a finished run, runs/mine."""
    root = tmp_path_factory.mktemp("place")
    write_table(root / "photos", CLASSES, each=5)
    (root / "empty").mkdir()
    trained(root, root / "runs" / "mine")
    return root


@pytest.fixture
def predict(cmpt726: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cmpt726 predict` in that folder."""

    def run(*arguments: object, stdin: bytes = b"", folder: Path = place) -> Any:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return cmpt726("predict", *arguments)

    return run


def test_files_folders_and_standard_input(predict: Run, place: Path) -> None:
    def names(*arguments: object, stdin: bytes = b"") -> list[str]:
        return [one["image"] for one in predict(*arguments, "--json", stdin=stdin).json["predictions"]]

    everything = sorted(f"photos/{path.name}" for path in (place / "photos").glob("*.png"))
    assert names("mine", "photos/003.png") == ["photos/003.png"]
    assert names("runs/mine", "photos/") == everything
    assert names("latest", "photos/001.png", "photos/") == ["photos/001.png", *everything]
    listed = b"photos/002.png\r\n\n   \nphotos/000.png\n"
    assert names(place / "runs" / "mine", "photos/004.png", "-", stdin=listed) == [
        "photos/004.png", "photos/002.png", "photos/000.png",
    ]  # fmt: skip
    done = predict("latest", "-", stdin=b"\n\n")
    assert done.status == 2, "a blank line is not the current folder"
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
    rows = list(csv.DictReader(io.StringIO(predict("latest", "photos", "--csv").stdout)))
    assert len(rows) == len(document["predictions"]) == 25
    shown = ["'=1+1", "'@risk", "[/red]", "plain", "�gpj"]
    assert list(rows[0]) == ["image", "class", "probability", *shown, "problem", "unknown", "unlike"]
    for row, one in zip(rows, document["predictions"], strict=True):
        probabilities = [float(row[name]) for name in shown]
        assert probabilities == one["probabilities"]
        assert sum(probabilities) == pytest.approx(1)
        best = int(np.argmax(probabilities))
        assert (row["image"], row["class"], row["problem"]) == (one["image"], shown[best], "")
        assert one["label"] == document["class_names"][best]
        assert float(row["probability"]) == one["probability"] == max(probabilities)


def test_names_neither_begin_as_formulas_do_nor_paint_the_terminal(predict: Run, place: Path, tmp_path: Path) -> None:
    for name in ("=cmd.png", "-1.png", "+2.png", "@sum.png", "a,b.png", 'q"q.png', "[red]\x1b[31m\u202e.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    (tmp_path / "=broken.png").write_bytes(b"=1+1")
    images = ["\n".join(sorted(path.name for path in tmp_path.glob("*.png"))).encode()]
    done = predict(place / "runs" / "mine", "-", "--csv", stdin=images[0], folder=tmp_path)
    assert done.status == 2
    cells = [cell for row in csv.reader(io.StringIO(done.stdout)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in {"=", "+", "-", "@"}]
    assert {"'=cmd.png", "a,b.png", 'q"q.png'} <= set(cells)
    table = predict(place / "runs" / "mine", "-", stdin=images[0], folder=tmp_path)
    for shown in (done, table):
        assert not {"\x1b", "\u202e"} & set(shown.stdout + shown.stderr)


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
    assert [len(row) for row in rows] == [len(CLASSES) + 6] * 4
    assert rows[2][1:-3] == [""] * (len(CLASSES) + 2)
    assert (bool(rows[2][-3]), rows[2][-2:]) == (True, ["false", "false"])


def test_what_is_not_sure_enough_is_unknown_in_every_form(predict: Run) -> None:
    plain = predict("latest", "photos", "--json").json
    assert plain["threshold"] is None
    assert not any(one["unknown"] for one in plain["predictions"])
    middle = sorted(one["probability"] for one in plain["predictions"])[12]
    chosen = predict("latest", "photos", "--json", "--min-confidence", middle).json
    assert chosen["threshold"] == middle
    for one, before in zip(chosen["predictions"], plain["predictions"], strict=True):
        assert one == {**before, "unknown": before["probability"] < middle}
    unknown = sum(one["unknown"] for one in chosen["predictions"])
    assert 0 < unknown <= 12
    rows = list(csv.DictReader(io.StringIO(predict("latest", "photos", "--csv", "--min-confidence", middle).stdout)))
    assert [row["unknown"] for row in rows] == [str(one["unknown"]).lower() for one in chosen["predictions"]]
    assert all((row["class"] == "unknown") is (row["unknown"] == "true") for row in rows)
    assert predict("latest", "photos", "--min-confidence", middle).stdout.count(" unknown ") == unknown
    everything = predict("latest", "photos", "--json", "--max-error", 1)
    assert everything.json["threshold"] == 0
    assert "validation images" in everything.stderr


def test_where_no_threshold_keeps_the_share_all_is_unknown_and_that_is_said(
    predict: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli726.finetune.trust.least_confidence", lambda *_: float("inf"))
    done = predict("latest", "photos", "--json", "--max-error", 0.05)
    assert done.json["threshold"] is None
    assert all(one["unknown"] for one in done.json["predictions"])
    assert "every image is unknown" in done.stderr


def test_an_image_unlike_the_training_images_is_marked(predict: Run, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (32, 32, 3), np.uint8) * 255).save(tmp_path / "x.png")
    (one,) = predict("latest", tmp_path / "x.png", "--json").json["predictions"]
    assert one["unlike"]
    assert "unlike the training images" in " ".join(predict("latest", tmp_path / "x.png").stdout.split())
    assert predict("latest", tmp_path / "x.png", "--csv").stdout.endswith(",false,true\n")


@pytest.mark.parametrize("damage", ["changed", "no model.json", "another's model.json", "empty"])
def test_a_run_whose_files_do_not_match_exits_3(predict: Run, place: Path, tmp_path: Path, damage: str) -> None:
    for name in ("best.safetensors", "model.json"):
        (tmp_path / name).write_bytes((place / "runs" / "mine" / name).read_bytes())
    assert predict(tmp_path, "photos/000.png").status == 0
    if damage == "no model.json":
        (tmp_path / "model.json").unlink()
    elif damage == "another's model.json":
        stated = json.loads((tmp_path / "model.json").read_bytes())
        (tmp_path / "model.json").write_text(json.dumps({**stated, "sha256": "0" * 64}))
    else:
        content = bytearray((tmp_path / "best.safetensors").read_bytes())
        content[len(content) // 2] ^= 4
        (tmp_path / "best.safetensors").write_bytes(b"" if damage == "empty" else content)
    done = predict(tmp_path, "photos/000.png")
    assert (done.status, done.stdout) == (3, "")
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
        (["latest", "photos", "--max-error", "0.1", "--min-confidence", "0.5"], "exclude each other"),
        (["latest", "photos", "--max-error", "1.5"], "--max-error must be a share from 0 to 1; got 1.5"),
        (["latest", "photos", "--min-confidence", "nan"], "--min-confidence must be a share from 0 to 1; got nan"),
        (["latest", "photos", "--max-error", "much"], "--max-error must be a number"),
    ],
)
def test_what_cannot_be_met_exits_2(predict: Run, arguments: list[str], part: str) -> None:
    done = predict(*arguments)
    assert (done.status, done.stdout) == (2, "")
    assert part in done.stderr


def test_without_any_run_latest_says_how_to_make_one(cmpt726: Run) -> None:
    done = cmpt726("predict", "latest", "x.png")
    assert done.status == 2
    assert "cmpt726 finetune" in done.stderr


def test_an_own_head_must_be_typed_again(predict: Run, place: Path, tmp_path: Path) -> None:
    own = write_code(tmp_path / "heads.py", HEADS)("small")
    trained(place, tmp_path / "run", head=own)
    refused = predict(tmp_path / "run", "photos/000.png")
    assert refused.status == 2
    assert f"type --head {own}" in refused.stderr
    assert predict(tmp_path / "run", "photos/000.png", "--head", own).status == 0


def test_explanations_are_a_figure_for_each_image_under_names_of_their_own(
    predict: Run, place: Path, tmp_path: Path
) -> None:
    names = ("a/same.png", "b/same.png", "[red]\x1b[31m\u202e$x_1$.png", "broken.png")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (48, 32), "red").save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"x")
    done = predict(
        place / "runs" / "mine", *(tmp_path / name for name in names), "--explain", tmp_path / "why", "--json"
    )
    assert done.status == 2, "an image is broken"
    *drawn, none = done.json["explanations"]
    assert none is None
    assert done.json["figures"] == drawn
    assert [Path(path).name for path in drawn] == ["1-same.png", "2-same.png", "3-_red___31m__x_1_.png"]
    assert sorted(map(str, (tmp_path / "why").iterdir())) == drawn
    assert all(Path(path).stat().st_size > 5000 for path in drawn)
    table = predict("mine", "photos/000.png", "--explain", tmp_path / "again")
    assert f"wrote {tmp_path}/again/1-000.png" in table.stdout
    plain = predict("mine", "photos/000.png", "--json")
    assert {"explanations", "figures"}.isdisjoint(plain.json)


def test_no_explanation_of_another_head(predict: Run, place: Path, tmp_path: Path) -> None:
    trained(place, tmp_path / "run", head="mlp:4")
    done = predict(tmp_path / "run", "photos/000.png", "--explain", tmp_path / "why")
    assert (done.status, done.stdout, (tmp_path / "why").exists()) == (2, "", False)
    assert "--explain needs a linear head" in done.stderr
