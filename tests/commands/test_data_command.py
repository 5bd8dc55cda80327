"""`cmpt726 data` as a user sees it; no test here has a network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

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
