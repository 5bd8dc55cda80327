"""Builds the report: computes the problems, draws their figures, typesets everything.

The compiler of Typst sees one folder and nothing else: no file outside it, no package, no network. Texts reach it as
strings of a JSON file, so that no name can be markup.
"""

from __future__ import annotations

import json
import os
import platform
import re
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import typst

from cli726.document import plain
from cli726.document import typeset as typeset_content
from cli726.drawing import draw_all
from cli726.errors import Cmpt726Error, EnvironmentFailure, RequestError
from cli726.finetune.folder.runs import finished_run
from cli726.finetune.storage import check_output, replace_file
from cli726.logistic import load_points
from cli726.report import finetune
from cli726.report.code import PROBLEMS, Code, listings
from cli726.report.sections import SECTIONS
from cli726.reporting import Reporter, Silent
from cli726.text import printable

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
# The scripts of Typst's own fonts, and letters of other scripts that these have.
SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "HEBREW")
SMALL = "′ₖₗₙᵢⱼˡᵏⁿ"


@dataclass(frozen=True)
class Request:
    """What somebody asked for.

    Attributes:
        problems: Which of the six, in any order.
        data: Problem 5's points; None for the bundled ones.
        run: A finished fine-tuning run: a folder, a name in `runs/`, or "latest"; None to fine-tune now.
        dataset: What to fine-tune on, as `cmpt726 finetune --dataset` takes it.
        code: How much of the code stands at the end.
        name, student_id: For the title page.
    """

    problems: tuple[int, ...] = PROBLEMS
    data: Path | None = None
    run: str | None = None
    dataset: str = "auto"
    code: Code = "core"
    name: str = ""
    student_id: str = ""

    def __post_init__(self) -> None:
        strange = [number for number in self.problems if number not in PROBLEMS]
        if strange or not self.problems:
            got = ", ".join(map(str, strange)) or "none"
            raise RequestError(f"--problems must name some of 1 to {len(PROBLEMS)}; got {got}; for example 1,3,5")


@dataclass(frozen=True)
class Problem:
    """What became of one problem: its answer in a line, or what went wrong; 0, or the status of its failure."""

    number: int
    headline: str
    status: int
    run_dir: Path | None = None  # of problem 6, the run that it shows


@dataclass(frozen=True)
class Report:
    """A finished report."""

    output: Path
    size: int
    problems: tuple[Problem, ...]

    @property
    def status(self) -> int:
        """Return 0, or the exit status of what failed; 5 where failures differ."""
        found = {problem.status for problem in self.problems if problem.status}
        return 5 if len(found) > 1 else max(found, default=0)


def build(request: Request, output: Path, *, reporter: Reporter | None = None) -> Report:
    """Compute, draw, typeset and write the report.

    Raises:
        RequestError: for an output, points or a run that can't be, before anything is computed.
        OSError: if the report itself can't be written.
    """
    reporter = reporter or Silent()
    check_output(output, ".pdf")
    numbers = sorted(set(request.problems))
    if 5 in numbers:
        load_points(request.data)
    run = finished_run(request.run) if request.run is not None and 6 in numbers else None
    moment = timestamp()
    date = datetime.fromtimestamp(moment, UTC)
    with tempfile.TemporaryDirectory(prefix="cmpt726-report-") as name:
        folder = Path(name)
        done = [attempt(number, request, run, folder, reporter) for number in numbers]
        reporter.start("typesetting", 0)
        versions = [f"{package} {version(package)}" for package in PACKAGES] + [f"Python {platform.python_version()}"]
        document = {
            "name": printable(request.name).strip(),
            "student_id": printable(request.student_id).strip(),
            "date": f"{date.day} {date:%B %Y}",
            "versions": ", ".join(versions),
            "sections": [shown for _, shown in done],
            "listings": list(listings(numbers, request.code)),
        }
        content = typeset(folder, document, moment)
        reporter.finish(f"typeset: {len(content) / 1e6:.1f} MB")
    replace_file(output, content)
    return Report(output, len(content), tuple(problem for problem, _ in done))


def timestamp() -> int:
    """Return SOURCE_DATE_EPOCH, or the beginning of this day, in seconds since 1970.

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
    """Compute and draw one problem, or say why it could not be: a failure takes nothing but its own place."""
    shown = {"number": number, "title": TITLES[number - 1], "data": None, "failure": None}
    try:
        trained = finetune.train(request.dataset, reporter) if number == 6 and run is None else None
        reporter.start(f"problem {number}", 0)
        shown_run = trained.run_dir if trained else run if number == 6 else None
        if shown_run is not None:
            section = finetune.section(shown_run, reporter, trained)
        else:
            section = SECTIONS[number](*([request.data] if number == 5 else []))
        draw_all(section.figures, folder, "svg", prefix=f"p{number}-", drawn=lambda: reporter.advance(1))
        for name, content in section.images.items():
            (folder / name).write_bytes(content)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other problems must not suffer
        message, status = explained(error)
        reporter.finish(f"problem {number} failed: {message}")
        return Problem(number, message, status), shown | {"headline": ["Could not be computed."], "failure": message}
    headline = plain(section.headline)
    reporter.finish(f"problem {number}: {headline}")
    own = {"number": number, "drawn": list(section.figures), "document": section.document.to_typst()}
    shown |= {"headline": typeset_content(section.headline), "data": {**section.data, **own}}
    return Problem(number, headline, 0, shown_run), shown


def explained(error: Exception) -> tuple[str, int]:
    """Return what went wrong, in one line, and the exit status."""
    if isinstance(error, Cmpt726Error):
        message, status = str(error), error.status
    elif isinstance(error, OSError | MemoryError):
        message, status = f"{error or 'out of memory'}; make room, or leave this problem out", EnvironmentFailure.status
    else:
        message, status = f"a bug of ours, {type(error).__name__}: {error}", 1
    return printable(" ".join(message.split())), status


def typeset(folder: Path, content: Mapping[str, Any], timestamp: int) -> bytes:
    """Return the PDF; the same content, figures and time, in seconds since 1970, give the same bytes.

    Args:
        folder: Where its figures are; the templates and the content are written there, too.
        content: What the templates read.
    """
    for template in (files("cli726.report") / "templates").iterdir():
        if template.name.endswith(".typ"):
            (folder / template.name).write_bytes(template.read_bytes())
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, default=lambda formula: formula.nodes())
    (folder / "report.json").write_text(text, encoding="utf-8")
    compiler = typst.Compiler(
        folder / "report.typ",
        root=folder,
        # Names in other scripts need the machine's own fonts; nothing else does.
        ignore_system_fonts=covered(text),
        package_path=folder / "packages",
        package_cache_path=folder / "packages",
    )
    pdf = compiler.compile(format="pdf", timestamp=timestamp)
    if not isinstance(pdf, bytes):
        raise AssertionError("a PDF is one file")
    return pdf


def covered(text: Iterable[str]) -> bool:
    """Say whether Typst's own fonts have every letter."""
    letters = {c for c in text if not c.isascii() and unicodedata.category(c)[0] == "L" and c not in SMALL}
    return all(unicodedata.name(c, "").startswith(SCRIPTS) for c in letters)
