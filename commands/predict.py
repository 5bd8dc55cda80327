"""`cmpt726 predict`, `evaluate` and `export`: a finished run on own images, on labelled ones, and without torch."""

import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli726.errors import RequestError
from cli726.text import spreadsheet_text
from commands import completion
from commands.drawing import Output, drawing
from commands.options import OUTPUT, Json, OwnHead, RunName, examples, option, path_option
from commands.progress import progress
from commands.render import emit, notice, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.finetune.predict import Prediction

EPILOG = examples(
    "cmpt726 predict latest photo.jpg --explain why",
    "cmpt726 predict runs/digits-20260101-120000 photos/ --csv > scores.csv",
    "find photos -name '*.jpg' | cmpt726 predict latest -",
)
EPILOG_EVALUATE = examples(
    "cmpt726 evaluate latest --dataset digits", "cmpt726 evaluate latest --dataset digits --gallery scores.html --json"
)
EPILOG_EXPORT = examples(
    "cmpt726 export latest --output model.onnx", "cmpt726 export runs/digits-20260101-120000 --output model.onnx --json"
)
LABELLED = "Labelled images, as for `cmpt726 finetune`: folder:PATH, csv:FILE, digits, ..."
TRUST = "Unknown images"
EVIDENCE = "Draw where in each image the evidence lies for its class and the next (linear heads)."
PAGE = "Write an HTML table of the images and their scores."
# So many classes are listed beside the most probable one.
RUNNERS_UP = 3


def tables(results: "Sequence[Prediction]", class_names: Sequence[str]) -> "Iterator[RenderableType]":
    """Yield a table with a row for each image: its class, and the runners-up."""
    rows = []
    for one in results:
        if one.label is None or one.probability is None:
            rows.append((one.image, "-", "", f"broken: {one.problem}"))
            continue
        order = sorted(range(len(class_names)), key=lambda i: -one.probabilities[i])[1 : RUNNERS_UP + 1]
        others = ", ".join(f"{class_names[i]} {one.probabilities[i]:.1%}" for i in order)
        if one.unknown:
            others = f"{one.label}, {others}" if others else one.label
        if one.unlike:
            others = f"unlike the training images; {others}"
        rows.append((one.image, "unknown" if one.unknown else one.label, f"{one.probability:.1%}", others))
    yield table(None, "image", "class", "probability", "next", rows=rows, numeric=9)


def write_csv(results: "Sequence[Prediction]", class_names: Sequence[str]) -> None:
    """Print a header and a row for each image."""
    import csv

    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["image", "class", "probability", *map(spreadsheet_text, class_names), "problem", "unknown", "unlike"])
    for one in results:
        shares = one.probabilities or [""] * len(class_names)
        named = spreadsheet_text(one.image), "unknown" if one.unknown else spreadsheet_text(one.label or "")
        marks = [str(mark).lower() for mark in (one.unknown, one.unlike)]
        out.writerow([*named, one.probability, *shares, one.problem or "", *marks])


def typed_in() -> list[str]:
    """Return the paths on standard input, a line each, in whatever encoding the file system has them."""
    return [os.fsdecode(line.rstrip(b"\r")) for line in sys.stdin.buffer.read().split(b"\n") if line.strip()]


def predict(
    run: RunName,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Files, folders, or - for paths on standard input.")
    ],
    head: OwnHead = None,
    max_error: Annotated[
        float | None, option("Of what is answered at most this share is to be wrong; the rest is unknown.", "P", TRUST)
    ] = None,
    min_confidence: Annotated[float | None, option("What is less probable than this is unknown.", "P", TRUST)] = None,
    explain: Annotated[Path | None, path_option(EVIDENCE, "DIR", OUTPUT)] = None,
    csv: Annotated[bool, option("Print comma-separated values.", None, OUTPUT, "--csv")] = False,
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
    threshold = model.trust.threshold(max_error, min_confidence)
    paths = domain.collect_images(places)
    results, drawn = domain.predict(model, paths, threshold=threshold), None
    if explain is not None:
        from cli726.finetune.explain import draw_explanations

        with progress() as reporter:
            drawn = draw_explanations(model, paths, results, explain, reporter)
    names = model.class_names
    if csv:
        write_csv(results, names)
    else:
        payload = {"run": str(model.run), "class_names": list(names), "tta": model.tta}
        payload |= {"temperature": model.trust.temperature, "threshold": threshold, "predictions": results}
        figures = None if drawn is None else [path for path in drawn if path is not None]
        payload |= {} if drawn is None else {"explanations": drawn}
        emit(payload, lambda: tables(results, names), as_json=as_json, figures=figures)
    if model.tta:
        notice(f"scores are {AVERAGED}, as in the run's own test")
    if max_error is not None and threshold is not None:
        shown = f"threshold {threshold:.4g}, from {len(model.trust.confidence):,} validation images"
        none = f"no threshold keeps the wrong answers to {max_error:g} on the validation images: every image is unknown"
        notice(shown if math.isfinite(threshold) else none)
    broken = [one.image for one in results if one.problem is not None]
    if broken:
        notice(f"error: {len(broken)} of {len(results)} images are broken, such as {broken[0]}; repair or remove them")
        raise typer.Exit(2)


@drawing("evaluate")
def evaluate(
    run: RunName,
    dataset: Annotated[str, option(LABELLED, autocompletion=completion.data_sets)],
    data_dir: Annotated[str | None, option("Where data sets live.", "DIR")] = None,
    head: OwnHead = None,
    gallery: Annotated[Path | None, path_option(PAGE, "FILE.html", OUTPUT)] = None,
    *,
    output: Output,
) -> None:
    """Score labelled images with a finished run's best model: accuracy, confusion, gallery."""
    from cli726.finetune.evaluate import score_dataset
    from cli726.finetune.folder.runs import find_run
    from cli726.finetune.predict import load_model

    model = load_model(find_run(run), head)
    with progress() as reporter:
        scored = score_dataset(model, dataset, data_dir, reporter)
        if gallery is not None:
            notice(scored.write_gallery(gallery))
    output.present(scored.to_json(), scored.document(), scored.figures)


def export(
    run: RunName,
    output: Annotated[Path, path_option("The file to write.", "FILE.onnx")],
    head: OwnHead = None,
    as_json: Json = False,
) -> None:
    """Write a finished run's best model as one ONNX graph, from uint8 pixels to probabilities."""
    from cli726.finetune.export import export as write
    from cli726.finetune.folder.runs import find_run
    from cli726.finetune.predict import load_model

    model = load_model(find_run(run), head)
    made = write(model, output)
    checked = "not checked: ONNX Runtime isn't installed" if made.difference is None else f"{made.difference:.1e}"
    rows = [
        ("file", f"{made.path} ({made.bytes / 1e6:.1f} MB)"),
        ("input", f"images: uint8 ({', '.join(map(str, made.input))}), red, green, blue"),
        (
            "output",
            f"probabilities: float32 ({', '.join(map(str, made.output))}), in the order of the metadata's classes",
        ),
        ("largest difference from the network", checked),
    ]
    emit(made, lambda: [table(None, "", "", rows=rows)], as_json=as_json)
