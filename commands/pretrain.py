"""`cmpt726 pretrain`: train a CIFAR ResNet from scratch and write a weights file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli726.finetune.config import PretrainConfig
from cli726.finetune.recipe import MACHINE, PHASES, RECIPE
from cli726.text import typed_path
from commands import completion
from commands.options import Json, configured, examples
from commands.progress import progress
from commands.render import emit, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.finetune.pretrain import Pretrained


def tables(result: "Pretrained") -> "Iterator[RenderableType]":
    rows = [
        ("network", f"ResNet{result.depth}, {result.parameters:,} parameters"),
        ("training images", f"{result.train_images:,}"),
        ("training accuracy", f"{result.train_accuracy:.2%} (augmented, running average over the last epoch)"),
        ("test images", result.test.text),
        ("time", f"{result.seconds / 60:.1f} minutes"),
        ("weights", str(result.output)),
    ]
    yield table("Pre-training", "what", "value", rows=rows)


@configured(PretrainConfig, (RECIPE, PHASES, MACHINE))
def pretrain(
    typed: dict[str, Any],
    dataset: Annotated[
        str,
        typer.Option(help="As for `cmpt726 finetune`: cifar100, folder:PATH, ...", autocompletion=completion.data_sets),
    ] = "cifar100",
    output: Annotated[Path, typer.Option(parser=typed_path, metavar="FILE", help="The weights file to write.")] = Path(
        "resnet.safetensors"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint beside the output.")] = False,
    as_json: Json = False,
) -> None:
    """Train a CIFAR ResNet from scratch and write weights that `finetune --weights` takes."""
    from cli726.finetune.data.datasets import load_dataset
    from cli726.finetune.pretrain import pretrain as run

    config = PretrainConfig(**typed)
    with progress() as reporter:
        data = load_dataset(dataset, reporter=reporter)
        result = run(data, config, output, resume=resume, reporter=reporter)
    emit(result, lambda: tables(result), as_json=as_json)


EPILOG = examples(
    "cmpt726 pretrain --dataset digits --epochs 2 --output digits.safetensors",
    "cmpt726 finetune --dataset digits --weights digits.safetensors --epochs 2",
)
