"""`cmpt726 data` and `cmpt726 doctor`: the data sets that are known, what is odd in one; the machine itself."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli726.errors import RequestError
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.recipe import DATA, FEATURES, MACHINE, MAIN
from commands.completion import data_sets, downloads
from commands.options import OUTPUT, App, Json, configured, examples, option, path_option
from commands.progress import progress
from commands.render import document, emit, table

app = App(
    help="List and fetch data sets, and look one over.",
    epilog=examples("cmpt726 data ls", "cmpt726 data get cifar10", "cmpt726 data report digits"),
)
# What a report takes of a run's options.
REPORT = (
    "cache", "data_dir", "backbone", "weights", "image_size", "fit", "cache_dir", "precision", "device", "threads",
    "workers", "seed",
)  # fmt: skip
EPILOG_DOCTOR = examples("cmpt726 doctor", "cmpt726 doctor --json")
LIVE = "Where data sets live (default CMPT726_DATA_DIR)."
DataDir = Annotated[Path | None, path_option(LIVE, "DIR", None, "--data-dir")]
LISTED = "A name that `cmpt726 data ls` lists."
Name = Annotated[str, typer.Argument(metavar="NAME", help=LISTED, autocompletion=downloads)]


@app.command("ls", epilog=examples("cmpt726 data ls", "cmpt726 data ls --data-dir ./data", "cmpt726 data ls --json"))
def list_data(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the data sets that `finetune --dataset` knows, and where each is on this machine."""
    from cli726.finetune.data.datasets import inventory

    rows = inventory(None if data_dir is None else str(data_dir))
    cells = [(row["name"], row["source"], row["path"] or "-", row["how"]) for row in rows]
    columns = ("name", "source", "on this machine", "how to get it")
    emit({"datasets": rows}, lambda: [table("Data sets", *columns, rows=cells, numeric=9)], as_json=as_json)


@app.command("get", epilog=examples("cmpt726 data get cifar10", "cmpt726 data get FashionMNIST --data-dir ./data"))
def get_data(name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
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
    columns = ("", "what", "found", "what to do")
    emit({"checks": checks, "problems": bad}, lambda: [table(title, *columns, rows=rows, numeric=9)], as_json=as_json)


REPORTS = (
    "cmpt726 data report digits --output report.html",
    "cmpt726 data report digits --cache --json",
    "cmpt726 data report digits --csv > findings.csv",
)
AS_THERE = "As for `cmpt726 finetune --dataset`."
PICTURES = "Write a page of the findings with their pictures."


@app.command("report", epilog=examples(*REPORTS))
@configured(FinetuneConfig, (MAIN, DATA, FEATURES, MACHINE), REPORT)
def report_data(
    typed: dict[str, Any],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=AS_THERE, autocompletion=data_sets)],
    output: Annotated[Path | None, path_option(PICTURES, "FILE.html", OUTPUT, "--output")] = None,
    csv: Annotated[bool, option("Print comma-separated values.", None, OUTPUT, "--csv")] = False,
    as_json: Json = False,
) -> None:
    """List probable label errors, near duplicates, leaks, outliers and odd images of a data set; change nothing."""
    if csv and as_json:
        raise RequestError("--csv and --json exclude each other; got both; leave one out")
    config = FinetuneConfig(dataset=dataset, **typed)
    from cli726.finetune.data_report import report_data as look
    from cli726.finetune.storage import check_output

    if output is not None:
        check_output(output, ".html", any_ending=True)
    with progress() as reporter:
        found = look(config, reporter)
    if output is not None:
        from cli726.finetune.output.data_page import write_data_page

        write_data_page(found, output)
    if csv:
        sys.stdout.write(found.to_csv())
    else:
        pages = None if output is None else [output]
        emit(found.to_json(), lambda: document(found.document()), as_json=as_json, figures=pages)
