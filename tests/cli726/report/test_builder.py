"""The whole report: right numbers in its text, failures in their place, the same bytes from the same inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli726.errors import ComputationError, EnvironmentFailure, RequestError, UntrustedDataError
from cli726.report.builder import Report, Request, build, timestamp
from cli726.report.section import Section
from tests.cli726.finetune.synthetic import Listener

EPOCH = "1700000000"  # 14 November 2023


@pytest.fixture(autouse=True)
def dated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)


def fail(error: Exception) -> Callable[..., Section]:
    def section(*_: Any) -> Section:
        raise error

    return section


@pytest.mark.slow
def test_all_six_problems(run: Path, tmp_path: Path, text_of: Callable[..., str]) -> None:
    listener = Listener()
    request = Request(run=str(run), name="Ada #Lovelace", student_id="301*4*")
    result = build(request, tmp_path / "report.pdf", reporter=listener)
    assert result.status == 0
    assert [problem.number for problem in result.problems] == [1, 2, 3, 4, 5, 6]
    text = text_of(tmp_path / "report.pdf")
    summary = json.loads((run / "summary.json").read_text())
    best = f"{summary['best']['val_error']:.2%}"
    for key in ("Ada #Lovelace", "301*4*", "14 November 2023", "3/22", "1/3", f"Best validation error {best}"):
        assert key in text, key
    pages = text.split("\f")
    for number in range(1, 7):
        starts = [page for page in pages if f"\nCode of problem {number}\n" in page[:200] and f"P{number}/" in page]
        assert len(starts) == 1, number
    assert "class BasicBlock" not in text
    assert '#panic("cross")' in text
    assert sum(line.startswith("problem ") for line in listener.lines) == 6


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one.pdf", "two.pdf"):
        build(Request(problems=(2,), name="Ada"), tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one.pdf", "two.pdf"]


def failing(monkeypatch: pytest.MonkeyPatch, path: Path, **errors: Exception) -> Report:
    """A report of those problems, all of which fail."""
    numbers = {"softmax": 1, "glm": 2, "backprop": 3}
    for name, error in errors.items():
        monkeypatch.setattr(f"cli726.report.builder.{name}.section", fail(error))
    return build(Request(problems=tuple(numbers[name] for name in errors)), path)


def test_a_failure_stands_in_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text_of: Callable[..., str]
) -> None:
    path = tmp_path / "report.pdf"
    result = failing(monkeypatch, path, softmax=ComputationError("it #diverged"), glm=KeyError("a bug"))
    assert [(problem.number, problem.status) for problem in result.problems] == [(1, 5), (2, 1)]
    assert result.status == 5
    first, second = (page for page in text_of(path).split("\f") if "could not be computed" in page)
    assert "it #diverged" in first
    assert "a bug" in second


@pytest.mark.parametrize(
    ("error", "status"), [(UntrustedDataError("x"), 3), (RequestError("x"), 2), (ValueError("x"), 1)]
)
def test_the_status_is_the_failures_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, status: int
) -> None:
    assert failing(monkeypatch, tmp_path / "report.pdf", backprop=error).status == status


def test_a_full_disk_is_not_a_problems_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        failing(monkeypatch, tmp_path / "report.pdf", softmax=OSError(28, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_met_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cli726.report.builder.attempt", fail(AssertionError("it ran")))
    output = tmp_path / "report.pdf"
    for request, place, message in (
        (Request(data=tmp_path / "nowhere.txt"), output, "no file"),
        (Request(run=str(tmp_path / "nowhere")), output, "RUN must be a folder"),
        (Request(), tmp_path, "--output must be a file"),
        (Request(), tmp_path / "report.txt", "ends in .pdf"),
    ):
        with pytest.raises(RequestError, match=re.escape(message)):
            build(request, place)


def test_a_folder_that_cannot_be_written_is_refused_early(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(EnvironmentFailure, match="may write"):
        build(Request(problems=(1,)), tmp_path / "report.pdf")


@pytest.mark.parametrize("problems", [(), (0,), (1, 7)])
def test_problems_are_one_to_six(problems: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match="--problems must name some of 1 to 6"):
        Request(problems=problems)


def test_without_a_stated_time_it_is_the_days(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timestamp() == int(EPOCH)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    monkeypatch.setattr("time.time", lambda: 86400 * 20000 + 5000.5)
    assert timestamp() == 86400 * 20000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(RequestError, match="SOURCE_DATE_EPOCH"):
        timestamp()


def test_problem_six_trains_where_no_run_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Path) -> None:
    asked = []

    def train(dataset: str, reporter: Any) -> Path:
        asked.append(dataset)
        return run

    monkeypatch.setattr("cli726.report.builder.finetune.train", train)
    monkeypatch.setattr("cli726.report.builder.finetune.section", fail(ComputationError("enough")))
    result = build(Request(problems=(6,), dataset="digits"), tmp_path / "report.pdf")
    assert asked == ["digits"]
    assert result.status == 5
