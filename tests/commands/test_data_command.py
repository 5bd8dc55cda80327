"""`cmpt726 data` as a user sees it; no test here has a network."""

from __future__ import annotations

import csv
import io
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cli726.text import printable
from tests.cli726.finetune.synthetic import write_pictures

Run = Callable[..., Any]


@pytest.fixture
def data(cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cmpt726 data` with an empty data folder and no network."""

    def unreachable(*_: Any, **__: Any) -> NoReturn:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path / "data home"))
    return lambda *arguments: cmpt726("data", *arguments)


def test_ls_knows_every_data_set_and_which_are_here(data: Run, tmp_path: Path) -> None:
    (tmp_path / "data home" / "cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "data home" / "FashionMNIST").mkdir()
    (tmp_path / "data" / "cifar-100-python").mkdir(parents=True)  # where the course's script puts it
    rows = {row["name"]: row for row in data("ls", "--json").json["datasets"]}
    assert {"digits", "cifar10", "cifar100", "SVHN", "STL10", "FashionMNIST", "chenyaofo"} <= rows.keys()
    assert rows["digits"]["path"] == "bundled"
    assert rows["cifar10"]["path"] == str(tmp_path / "data home" / "cifar-10-batches-py")
    assert rows["cifar100"]["path"] == "data/cifar-100-python"
    assert rows["FashionMNIST"]["path"] == str(tmp_path / "data home" / "FashionMNIST")
    assert rows["SVHN"]["path"] is rows["chenyaofo"]["path"] is None
    assert rows["SVHN"]["how"] == "cmpt726 data get SVHN"
    assert "by hand" in rows["StanfordCars"]["how"]
    table = data("ls")
    assert table.status == 0
    assert all(name in table.stdout for name in rows)


def test_ls_looks_where_it_is_told_to(data: Run, tmp_path: Path) -> None:
    (tmp_path / "there" / "cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "data" / "cifar-100-python").mkdir(parents=True)
    rows = {row["name"]: row["path"] for row in data("ls", "--data-dir", tmp_path / "there", "--json").json["datasets"]}
    assert rows["cifar10"] == str(tmp_path / "there" / "cifar-10-batches-py")
    assert rows["cifar100"] is None


@pytest.mark.parametrize("name", ["CIFAR10", "chenyaofo", "SVHN"])
def test_without_a_network_get_exits_4_and_leaves_nothing_half_done(data: Run, tmp_path: Path, name: str) -> None:
    done = data("get", name)
    assert done.status == 4, done.stderr
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "could not be fetched" in line
    assert "network" in line
    assert "Traceback" not in done.stderr
    assert not [path for path in (tmp_path / "data home").rglob("*") if path.is_file()]


def test_what_is_there_already_needs_no_network(data: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data home" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    assert data("get", "cifar10", "--json").json == {"name": "cifar10", "path": str(folder)}
    digits = data("get", "digits")
    assert digits.status == 0
    assert "digits" in digits.stdout


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nonsense", "cmpt726 data ls"), ("", "cmpt726 data ls"), ("folder:x", "cmpt726 data ls"),
        ("StanfordCar", "did you mean StanfordCars"), ("stanfordcars", "StanfordCars can't be downloaded"),
    ],
)  # fmt: skip
def test_an_unknown_name_exits_2(data: Run, name: str, part: str) -> None:
    done = data("get", name)
    assert done.status == 2
    assert part in done.stderr


@pytest.mark.parametrize("name", ["cifar10", "SVHN"])
def test_finetune_names_the_command_that_fetches_what_is_missing(data: Run, cmpt726: Run, name: str) -> None:
    done = cmpt726("finetune", "--dataset", name, "--weights", "random")
    assert done.status == 2
    assert f"cmpt726 data get {name}".lower() in done.stderr.lower()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Sixty pictures, two of them with names that would do harm."""
    root = write_pictures(tmp_path / "pictures", 60)
    (root / "rows" / "001.png").rename(root / "rows" / "=1+1 \x1b[31m<b>.png")
    shutil.copy(root / "rows" / "004.png", root / "columns" / "<script>\u202e.png")
    return root


def test_report_prints_the_same_as_tables_json_csv_and_page(data: Run, pictures: Path) -> None:
    before = {path: path.read_bytes() for path in pictures.rglob("*.png")}
    usual = ("report", f"folder:{pictures}", "--weights", "random", "--threads", 1, "--precision", "fp32")
    done = data(*usual, "--json", "--output", "page.html")
    assert done.status == 0, done.stderr
    found = done.json
    keys = {"counts", "label_errors", "near_duplicates", "outliers", "odd", "skipped", "splits"}
    assert keys <= found.keys()
    assert found["figures"] == ["page.html"]
    assert found["counts"] == {"columns": 21, "cross": 20, "rows": 20}
    scores = [row["score"] for row in found["label_errors"]]
    assert scores == sorted(scores, reverse=True)
    (same,) = (row for row in found["near_duplicates"] if row["identical"])
    assert (same["similarity"], set(same["labels"]), len(set(same["splits"]))) == (1, {"rows", "columns"}, 1)
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    table = data(*usual, "--csv", "--output", "page")
    assert table.status == 0
    assert Path("page").read_text(encoding="utf-8") == page, "whatever its ending"
    rows = [*csv.DictReader(io.StringIO(table.stdout))]
    assert [row["path"] for row in rows if row["finding"] == "identical"] == [printable(p) for p in same["paths"]]
    shown = data(*usual)
    assert shown.status == 0
    assert "61 images of 3 classes" in shown.stdout
    for text in (page, table.stdout, shown.stdout, done.stdout):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert before == {path: path.read_bytes() for path in pictures.rglob("*.png")}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["digits", "--csv", "--json"], "--csv and --json exclude each other"),
        (["folder:nowhere"], "needs a folder that exists"), (["nonsense"], "--dataset must be auto"),
        (["digits", "--backbone", "resnet21"], "--backbone must be"), ([], "Missing argument"),
        (["digits", "--output", "."], "--output must be a file; . is a folder; try "),
    ],
)  # fmt: skip
def test_report_refuses_what_it_cannot_do(data: Run, arguments: list[str], part: str) -> None:
    done = data("report", *arguments)
    assert done.status == 2
    assert part in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "features of" not in done.stderr, "refused before anything is computed"
