"""`cmpt726 evaluate`: labelled images against a finished run."""

from pathlib import Path
from typing import Annotated

import typer

from cli726.text import typed_path
from commands import completion
from commands.drawing import Output, drawing
from commands.options import OUTPUT, examples
from commands.progress import progress
from commands.render import notice

EPILOG = examples(
    "cmpt726 evaluate latest --dataset digits", "cmpt726 evaluate latest --dataset digits --gallery scores.html --json"
)


@drawing("evaluate")
def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's folder, its name in runs/, or latest.", autocompletion=completion.finished_runs
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            help="Labelled images, as for `cmpt726 finetune`: folder:PATH, csv:FILE, digits, ...",
            autocompletion=completion.data_sets,
        ),
    ],
    data_dir: Annotated[str | None, typer.Option(metavar="DIR", help="Where data sets live.")] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="python:FILE.py:FUNCTION", help="The run's head, where it is code of your own."),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            parser=typed_path,
            metavar="FILE.html",
            help="Write an HTML table of the images and their scores.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    *,
    output: Output,
) -> None:
    """Score labelled images with a finished run's best model."""
    from cli726.finetune.evaluate import score_dataset
    from cli726.finetune.folder.runs import find_run
    from cli726.finetune.predict import load_model

    model = load_model(find_run(run), head)
    with progress() as reporter:
        scored = score_dataset(model, dataset, data_dir, reporter)
        if gallery is not None:
            notice(scored.write_gallery(gallery))
    output.present(scored.to_json(), scored.document(), scored.figures)
