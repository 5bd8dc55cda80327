"""`cmpt726 runs`: the fine-tuning runs that are there."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli726.text import printable
from commands.options import App, Json, examples
from commands.render import emit, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.finetune.folder.history import RunInfo

app = App(
    help="List fine-tuning runs.",
    no_args_is_help=True,
    epilog=examples("cmpt726 runs ls", "cmpt726 runs ls --folder elsewhere"),
)


@app.callback()
def root() -> None:
    """List fine-tuning runs."""


def tables(runs: "list[RunInfo]") -> "Iterator[RenderableType]":
    """A row a run, the newest last, and how to go on with one that was interrupted."""
    if not runs:
        yield "No runs yet: make one with cmpt726 finetune --cache --unfreeze-after 5"
        return
    from rich.text import Text

    rows = []
    for run in runs:
        if run.test_accuracy is None or run.test_interval is None or run.best_val_error is None:
            rows.append((run.name, run.dataset or "-", "", run.state, run.date))
            continue
        low, high = run.test_interval
        accuracy = f"{run.test_accuracy:.2%} of {run.test_images:,} ({low:.1%} to {high:.1%})"
        rows.append((run.name, run.dataset or "-", f"{run.best_val_error:.2%}", accuracy, run.date))
    listing = table(
        "Runs",
        "run", "data", "validation\nerror", "test accuracy (95 %)", "date",
        rows=rows, numeric=9,
    )  # fmt: skip
    listing.columns[0].no_wrap = True  # a name is there to be copied
    yield listing
    interrupted = [run for run in runs if run.state == "interrupted"]
    if interrupted:
        yield Text(printable(f"To go on: cmpt726 finetune --resume {shlex.quote(str(interrupted[-1].path))}"))


@app.command("ls", epilog=examples("cmpt726 runs ls", "cmpt726 runs ls --json"))
def list_runs(
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where the runs are.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs with their data, best validation error, test accuracy and date."""
    from cli726.finetune.folder.history import list_runs as find

    runs = find(folder)
    emit({"runs": runs}, lambda: tables(runs), as_json=as_json)
