"""`cmpt726 report`: all six problems, typeset; `cmpt726 package`: their code in a zip."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli726.errors import RequestError
from cli726.text import typed_path
from commands import completion
from commands.options import OUTPUT, Json, examples
from commands.progress import progress
from commands.render import emit, notice, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.report.builder import Report
    from cli726.report.code import Package

CONTENT, TITLE = "What it shows", "Title page"
EPILOG_PACKAGE = examples("cmpt726 package", "cmpt726 package --output assignment-2.zip")
EPILOG = examples(
    "cmpt726 report --problems 1,3,5",
    'cmpt726 report --name "Ada Lovelace" --student-id 301234567',
    "cmpt726 report --dataset digits --code none --output digits.pdf",
)


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of `--problems`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d{1,9}", part, re.ASCII) for part in parts):
        raise RequestError(f"--problems must be numbers separated by commas, got {text[:60]!r}; for example 1,3,5")
    return tuple(int(part) for part in parts)


def answer_tables(result: "Report") -> "Iterator[RenderableType]":
    """Each problem's answer in a line."""
    rows = [(problem.number, "failed" if problem.status else "done", problem.headline) for problem in result.problems]
    yield table("Report", "problem", "", "in a line", rows=rows, numeric=9)


def report(
    output: Annotated[
        Path, typer.Option(parser=typed_path, metavar="FILE", help="The PDF file to write.", rich_help_panel=OUTPUT)
    ] = Path("report.pdf"),
    problems: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="Which of the six.",
            autocompletion=completion.problems,
            rich_help_panel=CONTENT,
        ),
    ] = "1,2,3,4,5,6",
    data: Annotated[
        Path | None,
        typer.Option(
            parser=typed_path,
            metavar="FILE",
            help="Problem 5's points, as for cmpt726 lr (default: bundled).",
            rich_help_panel=CONTENT,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="A finished fine-tuning run for problem 6: its folder, its name in runs/, or latest (default: "
            "fine-tune now, into a new folder in runs/).",
            autocompletion=completion.finished_runs,
            rich_help_panel=CONTENT,
        ),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="What to fine-tune on, as for cmpt726 finetune.",
            autocompletion=completion.data_sets,
            rich_help_panel=CONTENT,
        ),
    ] = "auto",
    code: Annotated[
        Literal["core", "all", "none"],
        typer.Option(
            metavar="core|all|none",
            help="Code at the end: the hand-in scripts and the modules that compute the answers, all that the scripts "
            "use, or none.",
            rich_help_panel=CONTENT,
        ),
    ] = "core",
    name: Annotated[str, typer.Option(help="Your name.", rich_help_panel=TITLE)] = "",
    student_id: Annotated[
        str, typer.Option("--student-id", metavar="NUMBER", help="Your student number.", rich_help_panel=TITLE)
    ] = "",
    as_json: Json = False,
) -> None:
    """Run all six problems and typeset a report: derivations, figures, tables, explanations, and the code."""
    if run is not None and dataset != "auto":
        raise RequestError(f"--run and --dataset exclude each other: the run has its data; got --dataset {dataset}")
    chosen = numbers(problems)
    from cli726.report.builder import Request, build

    request = Request(chosen, data=data, run=run, dataset=dataset, code=code, name=name, student_id=student_id)
    with progress() as reporter:
        result = build(request, output, reporter=reporter)
    emit(
        {"output": result.output, "bytes": result.size, "problems": result.problems},
        lambda: answer_tables(result),
        as_json=as_json,
    )
    if not as_json:
        print(f"wrote {result.output}")
    failed = [problem for problem in result.problems if problem.status]
    if failed:
        which = ", ".join(str(problem.number) for problem in failed)
        notice(f"error: problem {which} failed: {failed[0].headline}; the report says so in its place")
        raise typer.Exit(result.status)


def file_tables(result: "Package") -> "Iterator[RenderableType]":
    """Yield a row for each directory."""
    rows = []
    for folder in sorted({name.partition("/")[0] for name in result.files if "/" in name}):
        inside = [name.partition("/")[2] for name in result.files if name.startswith(f"{folder}/")]
        own = ", ".join(name for name in inside if "/" not in name)
        rows.append((f"{folder}/", own or "the modules that the scripts use", len(inside)))
    yield table("Package", "directory", "what", "files", rows=rows, numeric=2)


def package(
    output: Annotated[
        Path, typer.Option(parser=typed_path, metavar="FILE", help="The zip file to write.", rich_help_panel=OUTPUT)
    ] = Path("code.zip"),
    as_json: Json = False,
) -> None:
    """Pack the code: a directory for each problem, and the modules that its scripts use in one for all."""
    from cli726.report import code

    result = code.package(output)
    payload = {"output": result.output, "bytes": result.size, "files": result.files}
    emit(payload, lambda: file_tables(result), as_json=as_json)
    if not as_json:
        print(f"wrote {result.output}")
