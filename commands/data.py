"""`cmpt726 data` and `cmpt726 doctor`: the data sets that are known, and on this machine; the machine itself."""

from pathlib import Path
from typing import Annotated

import typer

from cli726.text import typed_path
from commands.completion import downloads
from commands.options import App, Json, examples
from commands.progress import progress
from commands.render import emit, table

app = App(
    help="List and fetch data sets.",
    no_args_is_help=True,
    epilog=examples("cmpt726 data ls", "cmpt726 data get cifar10"),
)

EPILOG_DOCTOR = examples("cmpt726 doctor", "cmpt726 doctor --json")
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", parser=typed_path, metavar="DIR", help="Where data sets live (default CMPT726_DATA_DIR)."
    ),
]


@app.command("ls", epilog=examples("cmpt726 data ls", "cmpt726 data ls --data-dir ./data", "cmpt726 data ls --json"))
def list_data(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the data sets that `finetune --dataset` knows, and where each is on this machine."""
    from cli726.finetune.data.datasets import inventory

    rows = inventory(None if data_dir is None else str(data_dir))
    cells = [(row["name"], row["source"], row["path"] or "-", row["how"]) for row in rows]
    emit(
        {"datasets": rows},
        lambda: [table("Data sets", "name", "source", "on this machine", "how to get it", rows=cells, numeric=9)],
        as_json=as_json,
    )


@app.command("get", epilog=examples("cmpt726 data get cifar10", "cmpt726 data get FashionMNIST --data-dir ./data"))
def get_data(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name that `cmpt726 data ls` lists.", autocompletion=downloads)
    ],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Download a data set; CIFAR and the public weights against pinned digests."""
    from cli726.finetune.data.datasets import fetch_dataset

    with progress() as reporter:
        path = fetch_dataset(name, None if data_dir is None else str(data_dir), reporter)
    result = {"name": name, "path": str(path)}
    emit(result, lambda: [table(None, "data set", "is in", rows=[(name, path)], numeric=9)], as_json=as_json)


def doctor(as_json: Json = False) -> None:
    """Look at this machine and say what to do about each problem."""
    from cli726.doctor import examine

    checks = list(examine())
    rows = [("" if check.ok else "!", check.name, check.value, check.remedy) for check in checks]
    bad = sum(not check.ok for check in checks)
    title = "All is well" if not bad else f"{bad} problem{'s' if bad > 1 else ''}"
    emit(
        {"checks": checks, "problems": bad},
        lambda: [table(title, "", "what", "found", "what to do", rows=rows, numeric=9)],
        as_json=as_json,
    )
