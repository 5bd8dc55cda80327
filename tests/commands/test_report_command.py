"""`cmpt726 report` and `cmpt726 package` as a user meets them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from cli726.errors import ComputationError
from cli726.report.sections import SECTIONS


@pytest.fixture(autouse=True)
def failing(monkeypatch):
    """Problems 3 and 5 fail at once, 4 by a bug: what they compute is tested below the commands."""
    large, bug = ComputationError("too [bold]large[/x]"), ZeroDivisionError("oh")
    for number, error in ((3, large), (5, large), (4, bug)):

        def section(*_, error=error):
            raise error

        monkeypatch.setitem(SECTIONS, number, section)


def test_a_report_is_written_and_each_problem_told(cmpt726):
    done = cmpt726("report", "--problems", "2", "--name", "Ada [/x] Lovelace", "--output", "new/two.pdf")
    assert done.status == 0
    assert Path("new/two.pdf").read_bytes().startswith(b"%PDF-")
    assert "radius 1" in done.stdout
    assert done.stdout.rstrip().endswith("wrote new/two.pdf")
    assert "problem 2: " in done.stderr
    assert "typeset: " in done.stderr
    assert [path.name for path in Path().iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("problems", "status", "said"),
    [
        ("5,3", 5, "problem 3, 5 failed: too [bold]large[/x]"),
        ("4", 1, "problem 4 failed: a bug of ours, ZeroDivisionError: oh"),
    ],
)
def test_a_failing_problem_sets_the_status_and_the_report_is_there(cmpt726, problems, status, said):
    done = cmpt726("report", "--problems", problems, "--code", "none", "--json")
    assert done.status == status
    assert done.stderr.splitlines()[-1].startswith(f"error: {said}")
    assert "Traceback" not in done.stderr
    assert done.json["bytes"] == Path(done.json["output"]).stat().st_size
    assert {problem["status"] for problem in done.json["problems"]} == {status}


def test_bad_values_exit_2_with_an_error(cmpt726):
    for options, message in (
        ("--problems 7", "1 to 6"),
        ("--problems one", "numbers separated by commas"),
        ("--problems=", "numbers separated by commas"),
        ("--problems 5 --data nowhere.txt", "nowhere.txt"),
        ("--run nowhere", "nowhere"),
        ("--run latest", "runs/"),
        ("--run latest --dataset digits", "--run and --dataset exclude each other"),
        ("--code some", "core"),
        ("--output .", "--output must be a file"),
        ("--output report.doc", "ends in .pdf"),
    ):
        done = cmpt726("report", *options.split())
        assert (done.status, done.stdout) == (2, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert list(Path().iterdir()) == []


def test_a_zip_is_written_and_its_files_are_told(cmpt726):
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
