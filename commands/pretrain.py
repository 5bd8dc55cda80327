"""`cmpt726 pretrain`: train a CIFAR ResNet from scratch and write a weights file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands import completion
from commands.options import Json, Seed, examples
from commands.progress import progress
from commands.render import emit, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.finetune.pretrain import Pretrained

RECIPE = "Recipe"


def tables(result: "Pretrained") -> "Iterator[RenderableType]":
    low, high = result.test.interval
    rows = [
        ("network", f"ResNet{result.depth}, {result.parameters:,} parameters"),
        ("training images", f"{result.train_images:,}"),
        ("training accuracy", f"{result.train_accuracy:.2%} (augmented, running average over the last epoch)"),
        (
            "test accuracy",
            f"{result.test.accuracy:.2%} of {result.test.images:,} test images, 95 % {low:.2%} to {high:.2%}",
        ),
        ("time", f"{result.seconds / 60:.1f} minutes"),
        ("weights", str(result.output)),
    ]
    yield table("Pre-training", "what", "value", rows=rows)


def pretrain(
    dataset: Annotated[
        str,
        typer.Option(help="As for `cmpt726 finetune`: cifar100, folder:PATH, ...", autocompletion=completion.data_sets),
    ] = "cifar100",
    depth: Annotated[
        int,
        typer.Option(help="20, 32, 44 or 56 layers.", autocompletion=completion.depths, rich_help_panel=RECIPE),
    ] = 20,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the images.", rich_help_panel=RECIPE)] = 60,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.", rich_help_panel=RECIPE)] = 128,
    lr: Annotated[float, typer.Option(help="Peak of the learning rate.", rich_help_panel=RECIPE)] = 0.2,
    weight_decay: Annotated[
        float, typer.Option(help="On convolutions and the classifier.", rich_help_panel=RECIPE)
    ] = 5e-4,
    label_smoothing: Annotated[float, typer.Option(help="Helps here, hurts transfer.", rich_help_panel=RECIPE)] = 0.0,
    augment: Annotated[
        str,
        typer.Option(help="Comma list, in order.", autocompletion=completion.augmentations, rich_help_panel=RECIPE),
    ] = "flip,crop",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or auto.", autocompletion=completion.precisions, rich_help_panel=RECIPE)
    ] = "auto",
    output: Annotated[Path, typer.Option(help="The weights file to write.")] = Path("resnet.safetensors"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside the output.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train a CIFAR ResNet from scratch and write weights that `finetune --weights` takes."""
    from cli726.finetune.data.datasets import load_dataset
    from cli726.finetune.pretrain import PretrainConfig
    from cli726.finetune.pretrain import pretrain as run

    config = PretrainConfig(
        depth=depth,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        augment=augment,
        precision=precision,
        seed=seed,
    )
    with progress() as reporter:
        data = load_dataset(dataset, reporter=reporter)
        result = run(data, config, output, resume=resume, reporter=reporter)
    emit(result, lambda: tables(result), as_json=as_json)


EPILOG = examples(
    "cmpt726 pretrain --dataset digits --epochs 2 --output digits.safetensors",
    "cmpt726 finetune --dataset digits --weights digits.safetensors --epochs 2",
)
