"""The whole report: right numbers in its text, failures in their place, the same bytes from the same inputs."""

from __future__ import annotations

import json
import re

import pytest
import typst

from cli726.errors import ComputationError, EnvironmentFailure, RequestError, UntrustedDataError
from cli726.report.builder import Request, build, covered, timestamp
from cli726.report.sections import SECTIONS
from tests.cli726.finetune.synthetic import Listener

pytestmark = pytest.mark.usefixtures("small_network")
EPOCH = "1700000000"  # 14 November 2023


@pytest.fixture(autouse=True)
def dated(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)


def fail(error):
    def section(*_):
        raise error

    return section


@pytest.mark.slow
def test_all_six_problems(run, tmp_path, text_of):
    listener = Listener()
    request = Request(run=str(run), name="Ada #Lovelace", student_id="301*4*")
    result = build(request, tmp_path / "report.pdf", reporter=listener)
    assert result.status == 0, result.problems
    assert [problem.number for problem in result.problems] == [1, 2, 3, 4, 5, 6]
    text = text_of(tmp_path / "report.pdf")
    best = f"{json.loads((run / 'summary.json').read_text())['best']['val_error']:.2%}"
    for key in ("Ada #Lovelace", "301*4*", "14 November 2023", "0.1364", f"error {best}", '#panic("cross")'):
        assert key in text, key
    pages = text.split("\f")
    assert len(pages) - 1 <= 55
    for number in range(1, 7):
        starts = [page for page in pages if f"\nCode of problem {number}\n" in page[:200] and f"P{number}/" in page]
        assert len(starts) == 1, number
    assert "class BasicBlock" not in text
    assert sum(line.startswith("problem ") for line in listener.lines) == 6


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    for name in ("one.pdf", "two.pdf"):
        build(Request(problems=(3,), name="Ada", code="none"), tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one.pdf", "two.pdf"]


@pytest.fixture
def failing(monkeypatch, tmp_path):
    """A report of problems all of which fail."""

    def report(errors):
        for number, error in errors.items():
            monkeypatch.setitem(SECTIONS, number, fail(error))
        return build(Request(problems=tuple(errors), code="none"), tmp_path / "report.pdf")

    return report


def test_a_failure_stands_in_its_place(failing, tmp_path, text_of):
    diverged, full = ComputationError("it #diverged --a ,,b ?`c"), OSError(28, "No space left on device", "/tmp/#x")
    result = failing({3: diverged, 4: KeyError("a bug"), 5: full})
    assert [(problem.number, problem.status) for problem in result.problems] == [(3, 5), (4, 1), (5, 4)]
    assert result.status == 5
    failed = [page for page in text_of(tmp_path / "report.pdf").split("\f") if "could not be computed" in page]
    for page, said in zip(failed, ("it #diverged --a ,,b ?`c", "a bug", "No space left on device"), strict=True):
        assert said in page
    for error, status in ((UntrustedDataError("x"), 3), (RequestError("x"), 2), (ValueError(), 1), (MemoryError(), 4)):
        assert failing({3: error}).status == status


def test_a_report_that_cannot_be_written_leaves_nothing(monkeypatch, failing, tmp_path):
    monkeypatch.setattr("cli726.report.builder.replace_file", fail(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        failing({3: ValueError()})
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_met_is_refused_before_anything_runs(monkeypatch, tmp_path):
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
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(EnvironmentFailure, match="may write"):
        build(Request(problems=(1,)), output)


def test_without_a_stated_time_it_is_the_days(monkeypatch):
    assert timestamp() == int(EPOCH)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    monkeypatch.setattr("time.time", lambda: 86400 * 20000 + 5000.5)
    assert timestamp() == 86400 * 20000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(RequestError, match="SOURCE_DATE_EPOCH"):
        timestamp()


@pytest.mark.parametrize("place", ["../secret.txt", "/../secret.txt"])
def test_files_outside_are_out_of_reach(tmp_path, place):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "report.typ").write_text(f'#read("{place}")')
    with pytest.raises(typst.TypstError, match="escape the project root"):
        typst.Compiler(tmp_path / "folder" / "report.typ", root=tmp_path / "folder").compile(format="pdf")


def test_other_scripts_need_the_machines_fonts():
    assert all(map(covered, ("Ada", "Łukasz Ω Жуков", "h′(a₁⁽ˡ⁾) ≤ 1/4")))
    assert not any(map(covered, ("张伟", "علي")))


def test_problem_six_trains_where_no_run_is_given(monkeypatch, tmp_path, run):
    asked = []

    def train(dataset, reporter):
        asked.append(dataset)
        return type("Finetuned", (), {"run_dir": run})()

    def section(path, reporter, trained):
        asked.append((path, trained.run_dir))
        raise ComputationError("enough")

    monkeypatch.setattr("cli726.report.builder.finetune.train", train)
    monkeypatch.setattr("cli726.report.builder.finetune.section", section)
    result = build(Request(problems=(6,), dataset="digits", code="none"), tmp_path / "report.pdf")
    assert asked == ["digits", (run, run)]
    assert result.status == 5
