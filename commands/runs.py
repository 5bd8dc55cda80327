"""`cmpt726 runs`: the fine-tuning runs that are there."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli726.finetune.config import FinetuneConfig
from cli726.text import printable
from commands import completion
from commands.options import RUN, App, Json, examples, path_option
from commands.render import document, emit, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.finetune.folder.runs import RunInfo

app = App(
    help="List and compare fine-tuning runs.",
    epilog=examples("cmpt726 runs ls", "cmpt726 runs ls --folder elsewhere", "cmpt726 runs compare first latest"),
)
Folder = Annotated[Path, path_option("Where the runs are.", "DIR", None, "--folder")]
# Columns of their own, or nothing that a result depends on.
APART = {"dataset", "data_dir", "cache_dir", "workers", "threads", "gallery"}


@app.callback()
def root() -> None:
    """List and compare fine-tuning runs."""


def differing(runs: "list[RunInfo]") -> list[str]:
    """Return for each run the options in which runs differ, as far as they aren't the defaults."""
    usual: dict[str, Any] = FinetuneConfig().to_json()
    usual["l2"] = list(usual["l2"])
    stated = [{**usual, **run.options} for run in runs]
    names = [name for name in usual if name not in APART and any(one[name] != stated[0][name] for one in stated)]
    return [", ".join(spelt(name, one[name]) for name in names if one[name] != usual[name]) for one in stated]


def spelt(name: str, value: object) -> str:
    """Return an option and its value as one would type them, without dashes."""
    shown = " ".join(map(str, value)) if isinstance(value, list) else "on" if value is True else str(value)
    return f"{name.replace('_', '-')} {shown}"


def tables(runs: "list[RunInfo]") -> "Iterator[RenderableType]":
    """Yield a table with a row for each run, the newest last, and how to go on with one that was interrupted."""
    if not runs:
        yield "No runs yet: make one with cmpt726 finetune --cache --unfreeze-after 5"
        return
    from rich.text import Text

    rows: list[list[str]] = []
    different = differing(runs)
    for run, options in zip(runs, different, strict=True):
        validated = "" if run.best_val_error is None else f"{1 - run.best_val_error:.2%}"
        result = f"{run.state}: {run.reason}" if run.reason else run.state
        if run.test_accuracy is not None and run.test_interval is not None:
            low, high = run.test_interval
            result = f"{run.test_accuracy:.2%} of {run.test_images:,} ({low:.1%} to {high:.1%})"
        rows.append([run.name, run.dataset or "-", validated, result, run.date, options])
    columns = ["run", "data", "validation\naccuracy", "test accuracy (95 %), or state", "date", "options"]
    shown = len(columns) - (not any(different))
    listing = table("Runs", *columns[:shown], rows=[row[:shown] for row in rows], numeric=9)
    listing.columns[0].no_wrap = True  # a name is there to be copied
    yield listing
    interrupted = [run for run in runs if run.state == "interrupted"]
    if interrupted:
        yield Text(printable(f"To go on: cmpt726 finetune --resume {shlex.quote(str(interrupted[-1].path))}"))


@app.command("ls", epilog=examples("cmpt726 runs ls", "cmpt726 runs ls --json"))
def list_runs(folder: Folder = Path("runs"), as_json: Json = False) -> None:
    """List runs with their data, the options in which they differ, accuracy or state, and date."""
    from cli726.finetune.folder.runs import list_runs as find

    runs = find(folder)
    emit({"runs": runs}, lambda: tables(runs), as_json=as_json)


def run_argument(name: str) -> Any:
    return typer.Argument(metavar=name, help=RUN, autocompletion=completion.finished_runs)


@app.command(epilog=examples("cmpt726 runs compare first latest", "cmpt726 runs compare first latest --json"))
def compare(a: Annotated[str, run_argument("A")], b: Annotated[str, run_argument("B")], as_json: Json = False) -> None:
    """Compare two finished runs image by image: one is better, or it may be chance (exact McNemar test)."""
    from cli726.finetune.compare import compare as compare_runs

    result = compare_runs(a, b)
    emit(result, lambda: document(result.document()), as_json=as_json)
