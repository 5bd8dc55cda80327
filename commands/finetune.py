"""`cmpt726 finetune` and `cmpt726 pretrain`: problem 6, with the options that the configurations describe."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cli726.errors import RequestError
from cli726.finetune.config import FinetuneConfig, PretrainConfig
from cli726.finetune.recipe import DATA, FEATURES, MACHINE, MAIN, PHASES, RECIPE
from commands import completion
from commands.options import Json, configured, examples, option, path_option
from commands.progress import progress
from commands.render import document, emit, notice

if TYPE_CHECKING:
    from cli726.finetune.result import Finetuned

EPILOG = examples(
    "cmpt726 finetune --cache --unfreeze-after 5",
    "cmpt726 finetune --dataset digits --epochs 3",
    "cmpt726 finetune --dataset digits --cache --unfreeze layer3 --augment crop --epochs 2",
)
EPILOG_PRETRAIN = examples(
    "cmpt726 pretrain --dataset digits --epochs 2 --output digits.safetensors",
    "cmpt726 finetune --dataset digits --weights digits.safetensors --epochs 2",
)
SHEET = "Draw a contact sheet of what --augment does, and stop."
WHERE = "Where the run is written (default: runs/DATASET-TIMESTAMP)."
RESUMED = "Continue an interrupted run with its own options: its folder, its name in runs/, or latest."
LABELLED = "As for `cmpt726 finetune`: cifar100, folder:PATH, ..."
WEIGHTS = path_option("The weights file to write.", "FILE")
TEACHER = path_option(
    "Weights of a larger network, written by this command on the same images, whose scores are learned too "
    "(distillation).", "FILE",
)  # fmt: skip
CHECKPOINT = option("Continue from the checkpoint beside the output.", None, None, "--resume")


@configured(FinetuneConfig, (MAIN, DATA, FEATURES, PHASES, RECIPE, MACHINE))
def finetune(
    typed: dict[str, Any],
    preview_augment: Annotated[Path | None, path_option(SHEET, "FILE.png", FEATURES)] = None,
    run_dir: Annotated[Path | None, path_option(WHERE, "DIR", MACHINE)] = None,
    resume: Annotated[
        Path | None, path_option(RESUMED, "RUN", MACHINE, autocompletion=completion.interrupted_runs)
    ] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a pre-trained network on your own images: new layers first, then more of it."""
    if resume is not None:
        # Code of the user's own is never run because a file names it: it may, and must, be typed again.
        others = {**typed, "run_dir": run_dir, "preview_augment": preview_augment}
        wrong = [name for name, value in others.items() if value is not None and "python:" not in str(value)]
        if wrong:
            raise RequestError(
                f"--resume goes alone, the options come from the run; got --{wrong[0].replace('_', '-')} too; "
                "leave it out"
            )
    config = FinetuneConfig(**typed)
    if preview_augment is not None:
        from cli726.finetune.output import figures

        with progress() as reporter:
            figures.preview_augment(config, preview_augment, reporter)
        emit({}, lambda: (), as_json=as_json, figures=[preview_augment])
        return
    from cli726.finetune import api

    with progress() as reporter:
        if resume is not None:
            result = api.resume(resume, config.code, reporter=reporter)
        else:
            result = api.finetune(config, run_dir, reporter=reporter)
    emit(result.to_json(), lambda: document(result.document()), as_json=as_json)
    if not as_json:
        for line in next_steps(result):
            notice(line)


def next_steps(result: "Finetuned") -> Iterator[str]:
    """Yield what can be done with a finished run, as commands to type."""
    run, head = shlex.quote(str(result.run_dir)), result.config.head
    own = f" --head {shlex.quote(head)}" if head.startswith("python:") else ""
    yield f"next: cmpt726 predict {run} IMAGE...{own}    classifies your own images"
    if result.config.gallery:
        yield f"      open {result.run_dir / 'gallery.html'} in a browser: the images with their scores"
    if result.test is not None:
        yield f"      cmpt726 report --run {run}    typesets all six problems with it"


@configured(PretrainConfig, (RECIPE, PHASES, MACHINE))
def pretrain(
    typed: dict[str, Any],
    dataset: Annotated[str, option(LABELLED, autocompletion=completion.data_sets)] = "cifar100",
    output: Annotated[Path, WEIGHTS] = Path("resnet.safetensors"),
    teacher: Annotated[Path | None, TEACHER] = None,
    resume: Annotated[bool, CHECKPOINT] = False,
    as_json: Json = False,
) -> None:
    """Train a CIFAR ResNet from scratch and write weights that `finetune --weights` takes."""
    from cli726.finetune.data.datasets import load_dataset
    from cli726.finetune.data.sources import Reading
    from cli726.finetune.pretrain import pretrain as run

    config = PretrainConfig(**typed)
    with progress() as reporter:
        data = load_dataset(dataset, Reading(reporter=reporter))
        result = run(data, config, output, teacher=teacher, resume=resume, reporter=reporter)
    emit(result, lambda: document(result.document()), as_json=as_json)
