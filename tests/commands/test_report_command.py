"""`cmpt726 report` and `cmpt726 package` as a user meets them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli726.errors import ComputationError
from cli726.report.section import Section

Run = Callable[..., Any]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    def section(*_: Any) -> Section:
        raise error

    monkeypatch.setattr(f"cli726.report.builder.{name}.section", section)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems that fail at once: what they compute is tested below the commands."""
    for name in ("softmax", "backprop"):
        failing(monkeypatch, name, ComputationError("too [bold]large[/x]"))


def test_a_report_is_written_and_each_problem_told(cmpt726: Run) -> None:
    done = cmpt726("report", "--problems", "2", "--name", "Ada [/x] Lovelace", "--output", "new/two.pdf")
    assert done.status == 0
    assert Path("new/two.pdf").read_bytes().startswith(b"%PDF-")
    assert "radius 1" in done.stdout
    assert done.stdout.rstrip().endswith("wrote new/two.pdf")
    assert "problem 2: " in done.stderr
    assert "typeset: " in done.stderr
    assert [path.name for path in Path().iterdir()] == ["new"]


def test_a_failing_problem_sets_the_status_and_the_report_is_there(cmpt726: Run) -> None:
    done = cmpt726("report", "--problems", "3,1", "--code", "none")
    assert done.status == 5
    assert Path("report.pdf").is_file()
    assert done.stderr.splitlines()[-1].startswith("error: problem 1, 3 failed: too [bold]large[/x]")
    assert "Traceback" not in done.stderr


def test_a_bug_of_ours_exits_1(cmpt726: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "glm", ZeroDivisionError("oh"))
    done = cmpt726("report", "--problems", "2", "--code", "none")
    assert done.status == 1
    assert Path("report.pdf").is_file()
    assert done.stderr.splitlines()[-1].startswith("error: problem 2 failed: a bug of ours, ZeroDivisionError: oh")


def test_json_is_one_document(cmpt726: Run) -> None:
    done = cmpt726("report", "--problems", "1", "--json", "--code", "none")
    assert done.status == 5
    assert done.json["output"] == "report.pdf"
    assert done.json["bytes"] == Path("report.pdf").stat().st_size
    (problem,) = done.json["problems"]
    assert (problem["number"], problem["status"]) == (1, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--problems", "7"), "1 to 6"),
        (("--problems", "one"), "numbers separated by commas"),
        (("--problems", ""), "numbers separated by commas"),
        (("--problems", "5", "--data", "nowhere.txt"), "nowhere.txt"),
        (("--run", "nowhere"), "nowhere"),
        (("--run", "latest"), "runs/"),
        (("--run", "latest", "--dataset", "digits"), "--run and --dataset exclude each other"),
        (("--code", "some"), "core"),
        (("--output", "."), "--output must be a file"),
        (("--output", "report.doc"), "ends in .pdf"),
    ],
)
def test_bad_values_exit_2_with_an_error(cmpt726: Run, options: tuple[str, ...], message: str) -> None:
    done = cmpt726("report", *options)
    assert done.status == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(Path().iterdir()) == []


def test_help_ends_with_examples(cmpt726: Run) -> None:
    done = cmpt726("report", "--help")
    assert done.status == 0
    for option in ("--output", "--problems", "--data", "--run", "--dataset", "--code", "--name", "--student-id"):
        assert option in done.stdout
    assert "$ cmpt726 report --problems 1,3,5" in done.stdout


def test_a_zip_is_written_and_its_files_are_told(cmpt726: Run) -> None:
    done = cmpt726("package")
    assert done.status == 0
    assert all(f" {name}/ " in done.stdout for name in ("P1", "P5", "P6", "lib"))
    assert done.stdout.rstrip().endswith("wrote code.zip")
    assert [path.name for path in Path().iterdir()] == ["code.zip"]
    told = cmpt726("package", "--output", "new/assignment.zip", "--json").json
    with zipfile.ZipFile("new/assignment.zip") as archive:
        assert told["files"] == archive.namelist()
    assert told["bytes"] == Path("new/assignment.zip").stat().st_size
    refused = cmpt726("package", "--output", ".")
    assert refused.status == 2
    assert refused.stderr.startswith("error: --output must be a file that ends in .zip")
