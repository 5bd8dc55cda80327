"""`cmpt726 report`: all six problems, typeset; `cmpt726 package`: their code in a zip."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli726.errors import RequestError
from commands import completion
from commands.options import OUTPUT, Json, examples, option, path_option
from commands.progress import progress
from commands.render import emit, notice, table

EPILOG_PACKAGE = examples("cmpt726 package", "cmpt726 package --output assignment-2.zip")
EPILOG = examples(
    "cmpt726 report --problems 1,3,5",
    'cmpt726 report --name "Ada Lovelace" --student-id 301234567',
    "cmpt726 report --dataset digits --code none --output digits.pdf",
)


CONTENT, TITLE = "What it shows", "Title page"
PDF = path_option("The PDF file to write.", "FILE", OUTPUT)
ZIP = path_option("The zip file to write.", "FILE", OUTPUT)
PROBLEMS = option("Which of the six.", "N,N,...", CONTENT, autocompletion=completion.problems)
DATA = path_option("Problem 5's points, as for cmpt726 lr (default: bundled).", "FILE", CONTENT)
FINISHED = (
    "A finished fine-tuning run for problem 6: its folder, its name in runs/, or latest (default: fine-tune now, into "
    "a new folder in runs/)."
)
RUN = option(FINISHED, "RUN", CONTENT, autocompletion=completion.finished_runs)
DATASET = option("What to fine-tune on, as for cmpt726 finetune.", "DATA", CONTENT, autocompletion=completion.data_sets)
LISTED = "the hand-in scripts and the modules that compute the answers, all that the scripts use, or none."
CODE = option(f"Code at the end: {LISTED}", "core|all|none", CONTENT)
NAME, NUMBER = option("Your name.", None, TITLE), option("Your student number.", "NUMBER", TITLE)


def report(
    output: Annotated[Path, PDF] = Path("report.pdf"),
    problems: Annotated[str, PROBLEMS] = "1,2,3,4,5,6",
    data: Annotated[Path | None, DATA] = None,
    run: Annotated[str | None, RUN] = None,
    dataset: Annotated[str, DATASET] = "auto",
    code: Annotated[Literal["core", "all", "none"], CODE] = "core",
    name: Annotated[str, NAME] = "",
    student_id: Annotated[str, NUMBER] = "",
    as_json: Json = False,
) -> None:
    """Run all six problems and typeset a report: derivations, figures, tables, explanations, and the code."""
    if run is not None and dataset != "auto":
        raise RequestError(f"--run and --dataset exclude each other: the run has its data; got --dataset {dataset}")
    parts = [part.strip() for part in problems.split(",")]
    if not all(re.fullmatch(r"\d{1,9}", part, re.ASCII) for part in parts):
        raise RequestError(f"--problems must be numbers separated by commas, got {problems[:60]!r}; for example 1,3,5")
    chosen = tuple(map(int, parts))
    from cli726.report.builder import Request, build

    request = Request(chosen, data=data, run=run, dataset=dataset, code=code, name=name, student_id=student_id)
    with progress() as reporter:
        result = build(request, output, reporter=reporter)
    rows = [(problem.number, "failed" if problem.status else "done", problem.headline) for problem in result.problems]
    payload = {"output": result.output, "bytes": result.size, "problems": result.problems}
    emit(payload, lambda: [table("Report", "problem", "", "in a line", rows=rows, numeric=9)], as_json=as_json)
    if not as_json:
        print(f"wrote {result.output}")
    failed = [problem for problem in result.problems if problem.status]
    if failed:
        which = ", ".join(str(problem.number) for problem in failed)
        notice(f"error: problem {which} failed: {failed[0].headline}; the report says so in its place")
        raise typer.Exit(result.status)


def package(output: Annotated[Path, ZIP] = Path("code.zip"), as_json: Json = False) -> None:
    """Pack the code: a directory for each problem, and the modules that its scripts use in one for all."""
    from cli726.report import code

    result = code.package(output)
    rows = []
    for folder in sorted({name.partition("/")[0] for name in result.files if "/" in name}):
        inside = [name.partition("/")[2] for name in result.files if name.startswith(f"{folder}/")]
        own = ", ".join(name for name in inside if "/" not in name)
        rows.append((f"{folder}/", own or "the modules that the scripts use", len(inside)))
    payload = {"output": result.output, "bytes": result.size, "files": result.files}
    emit(payload, lambda: [table("Package", "directory", "what", "files", rows=rows, numeric=2)], as_json=as_json)
    if not as_json:
        print(f"wrote {result.output}")
