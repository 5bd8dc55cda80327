"""`cmpt726 finetune`: problem 6. Parses, calls `cli726.finetune.finetuning`, renders."""

from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli726.errors import RequestError
from cli726.finetune.config import AUGMENTATIONS, PRESETS, FinetuneConfig
from commands import completion
from commands.finetune_tables import next_steps, tables
from commands.options import Json, Seed, examples
from commands.progress import progress
from commands.render import emit, notice

DATA, CACHE, PHASES, RECIPE, MACHINE = "Data", "Features", "What is trained, and when", "Recipe", "Machine and run"


class Stage(StrEnum):
    """How much to turn on, from the output end."""

    layer3 = "layer3"
    layer2 = "layer2"
    layer1 = "layer1"
    all = "all"


class Preset(StrEnum):
    """Named sets of options."""

    course = "course"
    best = "best"


class Solver(StrEnum):
    """How the head is trained while it trains alone."""

    sgd = "sgd"
    exact = "exact"


class Precision(StrEnum):
    """Arithmetic of the convolutions."""

    auto = "auto"
    bf16 = "bf16"
    fp32 = "fp32"


class Schedule(StrEnum):
    """How the rate falls."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"


class Optimizer(StrEnum):
    """Update rules."""

    sgd = "sgd"
    adamw = "adamw"


def configure(context: typer.Context, preset: str | None) -> FinetuneConfig:
    """The configuration: defaults, then the preset, then what was typed."""
    known = {field.name for field in fields(FinetuneConfig)}
    chosen: dict[str, Any] = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if name in known and source is not None and source.name != "DEFAULT":
            chosen[name] = str(value) if isinstance(value, StrEnum | Path) else value
    if "l2" in chosen:
        chosen["l2"] = tuple(chosen["l2"])
    elif chosen.get("solver") == Solver.exact:
        chosen["l2"] = (EXACT_L2,)
    base = dict(PRESETS[preset]) if preset else {}
    if chosen.get("cache") or chosen.get("views"):
        base.pop("recompute", None)
    return FinetuneConfig(**{**base, **chosen})


DEFAULTS = FinetuneConfig()
# Without a penalty, separable features have no optimum.
EXACT_L2 = 1e-3


def finetune(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Option(
            help="auto (CIFAR-10 if it is on this machine, else the bundled digits), digits, cifar10, cifar100, a data "
            "set of torchvision, folder:PATH with PATH/CLASS/* images, csv:FILE with path,label, or "
            "python:FILE.py:FUNCTION.",
            autocompletion=completion.data_sets,
            rich_help_panel=DATA,
        ),
    ] = DEFAULTS.dataset,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where data sets live.", rich_help_panel=DATA)
    ] = None,
    test_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share for testing, where the data set has no such split (default 0.15, at most 5,000 images).",
            rich_help_panel=DATA,
        ),
    ] = DEFAULTS.test_fraction,
    val_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share for validation, where the data set has no such split (default 0.15, at most 5,000 images).",
            rich_help_panel=DATA,
        ),
    ] = DEFAULTS.val_fraction,
    strict: Annotated[
        bool, typer.Option("--strict", help="A broken image is an error, not skipped.", rich_help_panel=DATA)
    ] = False,
    weights: Annotated[
        str,
        typer.Option(
            help="bundled (trained on CIFAR-100), chenyaofo (public, downloaded), random, or a .safetensors, .pt or "
            ".pth file.",
            autocompletion=completion.weights,
            rich_help_panel=DATA,
        ),
    ] = DEFAULTS.weights,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache/--no-cache",
            help="Keep the frozen part's outputs on disk, for this run and every later one.",
            rich_help_panel=CACHE,
        ),
    ] = DEFAULTS.cache,
    cache_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where they are stored.", rich_help_panel=CACHE)
    ] = None,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute", help="Compute them anew in every epoch, as the course's script does.", rich_help_panel=CACHE
        ),
    ] = False,
    augment: Annotated[
        str,
        typer.Option(
            help=f"Comma list, in order: {', '.join(AUGMENTATIONS)}, python:FILE.py:FUNCTION; each with an optional "
            "strength, blur:0.5.",
            autocompletion=completion.augmentations,
            rich_help_panel=CACHE,
        ),
    ] = DEFAULTS.augment,
    preview_augment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Draw a contact sheet of what --augment does, and stop.", rich_help_panel=CACHE
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Store N augmented versions of each training image where a part is frozen; each epoch draws one.",
            rich_help_panel=CACHE,
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(help="In all, over all phases.", rich_help_panel=PHASES)] = DEFAULTS.epochs,
    unfreeze_after: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Train only the new layers for N epochs, then the rest; or 5:layer3,10:all.",
            rich_help_panel=PHASES,
        ),
    ] = None,
    unfreeze: Annotated[
        Stage | None,
        typer.Option(
            help="How much to turn on (default all); without --unfreeze-after from the first epoch on.",
            rich_help_panel=PHASES,
        ),
    ] = None,
    validate_every: Annotated[
        int, typer.Option(help="Epochs between validations.", rich_help_panel=PHASES)
    ] = DEFAULTS.validate_every,
    patience: Annotated[
        int | None,
        typer.Option(help="End a phase after that many validations without a better one.", rich_help_panel=PHASES),
    ] = None,
    head: Annotated[
        str,
        typer.Option(
            help="The new layers: linear, mlp:128, mlp:128,64 or python:FILE.py:FUNCTION.",
            autocompletion=completion.heads,
            rich_help_panel=PHASES,
        ),
    ] = DEFAULTS.head,
    dropout: Annotated[
        float, typer.Option(help="Probability of dropping an input of the last layer.", rich_help_panel=PHASES)
    ] = DEFAULTS.dropout,
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm", help="BatchNorm in the new layers.", rich_help_panel=PHASES)
    ] = False,
    solver: Annotated[
        Solver,
        typer.Option(help="exact: take a linear head to its optimum on the stored features.", rich_help_panel=PHASES),
    ] = Solver.sgd,
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="course: the course script's values, exactly; best: the recipe that did best on CIFAR-10.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    l2: Annotated[
        list[float] | None,
        typer.Option(
            metavar="L2",
            help="Penalty l2/2 * sum w^2 on the new layers' coefficients (default 0; 0.001 with --solver exact); "
            "repeated: each is tried in the head phase, the best by validation goes on.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    weight_decay: Annotated[
        float, typer.Option(help="The same on unfrozen convolutions.", rich_help_panel=RECIPE)
    ] = DEFAULTS.weight_decay,
    optimizer: Annotated[Optimizer, typer.Option(help="The update rule.", rich_help_panel=RECIPE)] = Optimizer.sgd,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Peak rate of the new layers (default 0.1; 0.1 x batch/128 once more is unfrozen).",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    backbone_lr: Annotated[
        float | None, typer.Option(help="Peak rate of unfrozen stages (default: as --lr).", rich_help_panel=RECIPE)
    ] = None,
    momentum: Annotated[
        float, typer.Option(help="Of sgd, Nesterov's; of adamw the first beta.", rich_help_panel=RECIPE)
    ] = DEFAULTS.momentum,
    schedule: Annotated[
        Schedule, typer.Option(help="How the rate falls, to 0 at each phase's end.", rich_help_panel=RECIPE)
    ] = Schedule.cosine,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step (default: by the size of the data).", rich_help_panel=RECIPE)
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Default 0.05 in unfrozen phases, else 0.", rich_help_panel=RECIPE)
    ] = None,
    tta: Annotated[
        bool,
        typer.Option(
            "--tta", help="Average the scores of each test image and its mirror image.", rich_help_panel=RECIPE
        ),
    ] = False,
    precision: Annotated[
        Precision, typer.Option(help="auto: bf16 where the processor has it.", rich_help_panel=MACHINE)
    ] = Precision.auto,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, ...", autocompletion=completion.devices, rich_help_panel=MACHINE)
    ] = DEFAULTS.device,
    threads: Annotated[
        int | None, typer.Option(help="Default: all; under torchrun of each process.", rich_help_panel=MACHINE)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Threads that read image files (default: by processors).", rich_help_panel=MACHINE),
    ] = None,
    seed: Seed = DEFAULTS.seed,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where the run is written (default runs/DATASET-TIMESTAMP).", rich_help_panel=MACHINE
        ),
    ] = None,
    gallery: Annotated[
        bool,
        typer.Option(
            "--gallery/--no-gallery", help="Write the HTML table of test images and scores.", rich_help_panel=MACHINE
        ),
    ] = DEFAULTS.gallery,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with an interrupted run; alone.",
            autocompletion=completion.interrupted_runs,
            rich_help_panel=MACHINE,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a pre-trained ResNet20 on your images: new layers first, then more of the network."""
    if resume is not None:
        # Code of the user's own is never run because a file names it: it may, and must, be typed again.
        typed = [
            name
            for name, value in context.params.items()
            if name not in {"resume", "as_json"}
            and str(context.get_parameter_source(name)).rpartition(".")[2] != "DEFAULT"
            and "python:" not in str(value)
        ]
        if typed:
            raise RequestError(
                f"--resume goes alone, the options come from the run; got --{typed[0].replace('_', '-')} too; "
                "leave it out"
            )
    config = configure(context, preset)
    if preview_augment is not None:
        from cli726.finetune.augment import preview

        with progress() as reporter:
            preview.preview_augment(config, preview_augment, reporter)
        emit({}, lambda: (), as_json=as_json, figures=[preview_augment])
        return
    from cli726.finetune import finetuning

    with progress() as reporter:
        if resume is not None:
            result = finetuning.resume(resume, config.code, reporter=reporter)
        else:
            result = finetuning.finetune(config, run_dir, reporter=reporter)
    emit(result.to_json(), lambda: tables(result), as_json=as_json)
    if not as_json:
        for line in next_steps(result):
            notice(line)


EPILOG = examples(
    "cmpt726 finetune --cache --unfreeze-after 5",
    "cmpt726 finetune --dataset digits --epochs 3",
    "cmpt726 finetune --dataset digits --cache --unfreeze layer3 --augment crop --epochs 2",
)
