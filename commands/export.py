"""`cmpt726 export`: a finished run's model for programs that have no torch."""

from pathlib import Path
from typing import Annotated

import typer

from cli726.text import typed_path
from commands.options import Json, OwnHead, RunName, examples
from commands.render import emit, table

EPILOG = examples(
    "cmpt726 export latest --output model.onnx", "cmpt726 export runs/digits-20260101-120000 --output model.onnx --json"
)


def export(
    run: RunName,
    output: Annotated[Path, typer.Option(parser=typed_path, metavar="FILE.onnx", help="The file to write.")],
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
