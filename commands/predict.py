"""`cmpt726 predict`: class and scores for the user's own images, with a finished run."""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli726.errors import RequestError
from cli726.text import printable
from commands.completion import finished_runs
from commands.options import Json, examples
from commands.render import emit, notice, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.finetune.predict import Prediction

EPILOG = examples(
    "cmpt726 predict latest photo.jpg",
    "cmpt726 predict runs/digits-20260101-120000 photos/ --csv > scores.csv",
    "find photos -name '*.jpg' | cmpt726 predict latest -",
)
SHOWN = 3


def tables(results: "Sequence[Prediction]", class_names: Sequence[str]) -> "Iterator[RenderableType]":
    """A row an image: its class, and the runners-up."""
    rows = []
    for one in results:
        if one.label is None or one.probability is None:
            rows.append((one.image, "-", "", f"broken: {one.problem}"))
            continue
        order = sorted(range(len(class_names)), key=lambda i: -one.probabilities[i])[1 : SHOWN + 1]
        others = ", ".join(f"{class_names[i]} {one.probabilities[i]:.1%}" for i in order)
        rows.append((one.image, one.label, f"{one.probability:.1%}", others))
    yield table(None, "image", "class", "probability", "next", rows=rows, numeric=9)


def write_csv(results: "Sequence[Prediction]", class_names: Sequence[str]) -> None:
    """A header and a row an image; a cell that a spreadsheet would take for a formula gets an apostrophe."""
    import csv

    def safe(text: str) -> str:
        text = printable(text)
        return f"'{text}" if text[:1] in {"=", "+", "-", "@"} else text

    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["image", "class", "probability", *map(safe, class_names), "problem"])
    for one in results:
        shares = one.probabilities or [""] * len(class_names)
        out.writerow([safe(one.image), safe(one.label or ""), one.probability, *shares, one.problem or ""])


def typed_in() -> list[str]:
    """The paths on standard input, a line each, in whatever encoding the file system has them."""
    return [os.fsdecode(line.rstrip(b"\r")) for line in sys.stdin.buffer.read().split(b"\n") if line.strip()]


def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's folder, its name in runs/, or latest.", autocompletion=finished_runs
        ),
    ],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Files, folders, or - for paths on standard input.")
    ],
    head: Annotated[
        str | None,
        typer.Option(metavar="python:FILE.py:FUNCTION", help="The run's head, where it is code of your own."),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.", rich_help_panel="Output")] = False,
    as_json: Json = False,
) -> None:
    """Classify your own images with a finished run's best model."""
    from cli726.finetune import predict as domain
    from cli726.finetune.folder.runs import find_run
    from cli726.finetune.training.evaluation import AVERAGED

    if csv and as_json:
        raise RequestError("--csv and --json exclude each other; got both; leave one out")
    places = [place for name in images for place in (typed_in() if name == "-" else [name])]
    model = domain.load_model(find_run(run), head)
    results = domain.predict(model, domain.collect_images(places))
    names = model.class_names
    if csv:
        write_csv(results, names)
    else:
        payload = {"run": str(model.run), "class_names": list(names), "tta": model.tta, "predictions": results}
        emit(payload, lambda: tables(results, names), as_json=as_json)
    if model.tta:
        notice(f"scores are {AVERAGED}, as in the run's own test")
    broken = [one.image for one in results if one.problem is not None]
    if broken:
        notice(f"error: {len(broken)} of {len(results)} images are broken, such as {broken[0]}; repair or remove them")
        raise typer.Exit(2)
