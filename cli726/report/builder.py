"""Builds the report: computes the problems, draws their figures, typesets everything."""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cli726.document.content import plain
from cli726.document.content import typeset as typeset_content
from cli726.drawing import save, styled
from cli726.errors import Cmpt726Error, RequestError
from cli726.finetune.folder.storage import replace_file
from cli726.report import backprop, finetune, glm, logistic, softmax, vanishing
from cli726.report.output import check_output
from cli726.report.run_folder import finished_run
from cli726.report.section import Section, ready
from cli726.report.sources import GIVEN, PROBLEMS, Source, library, scripts
from cli726.report.typesetting import typeset
from cli726.report.wording import prose
from cli726.reporting import Reporter, Silent

__all__ = ["Problem", "Report", "Request", "build"]

TITLES = (
    "Softmax for multi-class classification",
    "Generalised linear models for classification",
    "Error back-propagation",
    "Vanishing gradients",
    "Logistic regression",
    "Fine-tuning a pre-trained network",
)
# Whose versions stand on the title page.
PACKAGES = ("cmpt726", "numpy", "matplotlib", "torch", "typst")
# A failure that raised none of our errors.
BUG = 1


@dataclass(frozen=True)
class Request:
    """What somebody asked for.

    Attributes:
        problems: Which of the six, in any order.
        data: Problem 5's points; None for the bundled ones.
        run: A finished fine-tuning run: a folder, a name in `runs/`, or "latest"; None to fine-tune now.
        dataset: What to fine-tune on, as `cmpt726 finetune --dataset` takes it.
        name, student_id: For the title page.
    """

    problems: tuple[int, ...] = PROBLEMS
    data: Path | None = None
    run: str | None = None
    dataset: str = "auto"
    name: str = ""
    student_id: str = ""

    def __post_init__(self) -> None:
        strange = [number for number in self.problems if number not in PROBLEMS]
        if strange or not self.problems:
            got = ", ".join(map(str, strange)) or "none"
            raise RequestError(f"--problems must name some of 1 to {len(PROBLEMS)}; got {got}; for example 1,3,5")


@dataclass(frozen=True)
class Problem:
    """What became of one problem.

    Attributes:
        headline: Its answer in a line, or what went wrong.
        status: 0, or the exit status of its failure.
        run_dir: Of problem 6, the run that it shows.
    """

    number: int
    headline: str
    status: int
    run_dir: Path | None = None


@dataclass(frozen=True)
class Report:
    """A finished report."""

    output: Path
    size: int
    problems: tuple[Problem, ...]

    @property
    def status(self) -> int:
        """0, or the exit status of what failed; 5 where failures differ."""
        found = {problem.status for problem in self.problems if problem.status}
        return 5 if len(found) > 1 else max(found, default=0)


def build(request: Request, output: Path, *, reporter: Reporter | None = None) -> Report:
    """Compute, draw, typeset and write the report.

    Raises:
        RequestError: for an output, points or a run that can't be, before anything is computed.
    """
    reporter = reporter or Silent()
    check_output(output, ".pdf")
    numbers = sorted(set(request.problems))
    if 5 in numbers:
        logistic.check(request.data)
    run = finished_run(request.run) if request.run is not None and 6 in numbers else None
    moment = timestamp()
    with tempfile.TemporaryDirectory(prefix="cmpt726-report-") as name:
        folder = Path(name)
        done = [attempt(number, request, run, folder, reporter) for number in numbers]
        reporter.start("typesetting", 0)
        content = typeset(folder, document(request, done, moment), moment)
        reporter.finish(f"typeset: {len(content) / 1e6:.1f} MB")
    replace_file(output, content)
    return Report(output, len(content), tuple(problem for problem, _ in done))


def timestamp() -> int:
    """SOURCE_DATE_EPOCH, or the beginning of this day, in seconds since 1970.

    Raises:
        RequestError: if SOURCE_DATE_EPOCH is no such number.
    """
    stated = os.environ.get("SOURCE_DATE_EPOCH")
    if stated is None:
        return int(time.time()) // 86400 * 86400
    # Up to the year 9999.
    if not (re.fullmatch(r"\d{1,12}", stated, re.ASCII) and int(stated) < 253_402_300_800):
        raise RequestError(f"SOURCE_DATE_EPOCH must be seconds since 1970, got {stated[:40]!r}; unset it or correct it")
    return int(stated)


def attempt(
    number: int, request: Request, run: Path | None, folder: Path, reporter: Reporter
) -> tuple[Problem, Mapping[str, Any]]:
    """One problem, computed and drawn, or why it could not be: a failure takes nothing but its own place."""
    try:
        if number == 6 and run is None:
            run = finetune.train(request.dataset, reporter)
        reporter.start(f"problem {number}", 0)
        section = compute(number, request, run, reporter)
        draw(number, section, folder, reporter)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the other problems must not suffer
        message, status = explained(error)
        reporter.finish(f"problem {number} failed: {message}")
        shown = entry(number, headline="Could not be computed.", failure=message)
        return Problem(number, message, status), shown
    headline = plain(section.headline)
    reporter.finish(f"problem {number}: {headline}")
    data = {**ready(section.data), "number": number, "drawn": list(section.figures)}
    shown = entry(number, headline=headline, data=data)
    if section.document is not None:
        data["document"] = section.document.to_typst()
        shown = {**shown, "headline": typeset_content(section.headline)}
    return Problem(number, headline, 0, run if number == 6 else None), shown


def explained(error: Exception) -> tuple[str, int]:
    """What went wrong, in one line, and the exit status."""
    if isinstance(error, Cmpt726Error):
        return " ".join(str(error).split()), error.status
    return " ".join(f"a bug of ours, {type(error).__name__}: {error}".split()), BUG


def compute(number: int, request: Request, run: Path | None, reporter: Reporter) -> Section:
    """A problem's section."""
    sections: Mapping[int, Callable[[], Section]] = {
        1: softmax.section,
        2: glm.section,
        3: backprop.section,
        4: vanishing.section,
        5: lambda: logistic.section(request.data),
    }
    if number in sections:
        return sections[number]()
    if run is None:
        raise AssertionError("problem 6 needs a run")
    return finetune.section(run, reporter)


def draw(number: int, section: Section, folder: Path, reporter: Reporter) -> None:
    """A section's figures and images, where its template looks for them."""
    for stem, make in section.figures.items():
        with styled():
            figure = make()
        save(figure, folder / f"p{number}-{stem}.svg")
        reporter.advance(1)
    for name, content in section.images.items():
        (folder / name).write_bytes(content)


def entry(
    number: int,
    *,
    headline: str,
    data: Mapping[str, Any] | None = None,
    failure: str | None = None,
) -> Mapping[str, Any]:
    """A problem as the template reads it."""
    # A class or data set may be called like a symbol; the headline of problem 6 is text as it stands.
    words = [headline] if number == 6 else prose(headline)
    return {
        "number": number,
        "title": TITLES[number - 1],
        "headline": words,
        "data": data,
        "failure": failure,
    }


def document(request: Request, done: Sequence[tuple[Problem, Mapping[str, Any]]], moment: int) -> Mapping[str, Any]:
    """Everything that the template reads."""
    date = datetime.fromtimestamp(moment, UTC)
    python = f"Python {platform.python_version()}"
    return {
        "name": one_line(request.name),
        "student_id": one_line(request.student_id),
        "date": f"{date.day} {date:%B %Y}",
        "versions": ", ".join([*(f"{package} {version(package)}" for package in PACKAGES), python]),
        "sections": [shown for _, shown in done],
        "listings": list(listings([problem.number for problem, _ in done])),
    }


def one_line(text: str) -> str:
    """Foreign text in one line of printable characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text).strip()


def listings(numbers: Sequence[int]) -> Iterator[Mapping[str, Any]]:
    """The code of each problem; a module that several share is listed once, with the first."""
    first: dict[str, int] = {GIVEN: 0}
    for number in numbers:
        own: list[Source] = []
        shared: dict[int, list[str]] = {}
        for source in library(number):
            if source.path not in first:
                first[source.path] = number
                own.append(source)
            elif first[source.path]:
                shared.setdefault(first[source.path], []).append(Path(source.path).name)
        handed = [source for source in scripts(number) if source.language == "python"]
        yield {
            "number": number,
            "note": ""
            if not shared
            else "It uses also, listed before: "
            + "; ".join(f"{', '.join(names)} (problem {other})" for other, names in shared.items())
            + ".",
            "sources": [
                {"path": source.path, "language": source.language, "text": source.text.rstrip("\n")}
                for source in (*(named(number, script) for script in handed), *own)
            ],
        }


def named(number: int, script: Source) -> Source:
    return Source(f"P{number}/{script.path}", script.language, script.text)
