"""What a fine-tuning run is asked to do. Standard library only: commands take their defaults from here."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cli726.errors import RequestError

__all__ = [
    "AUGMENTATIONS",
    "CUTS",
    "DATASETS",
    "DEPTHS",
    "HEAD_ONLY",
    "PRESETS",
    "STAGES",
    "WEIGHTS",
    "FinetuneConfig",
    "Phase",
    "TrainingConfig",
    "plan_phases",
]

DEPTHS = (20, 32, 44, 56)
STAGES = ("stem", "layer1", "layer2", "layer3", "pool")
HEAD_ONLY = len(STAGES)
# How many stages stay frozen, from the input, for each value of --unfreeze.
CUTS = {"layer3": 3, "layer2": 2, "layer1": 1, "all": 0}
SCHEDULES = ("cosine", "linear", "constant")
# The course's script, value for value: plain SGD with momentum on the new layer alone, the network recomputed for every
# image in every epoch, torch's own start of a layer, CIFAR-10's mean and deviation.
COURSE: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 32,
    "lr": 0.001,
    "momentum": 0.9,
    "nesterov": False,
    "schedule": "constant",
    "l2": (0.0,),
    "label_smoothing": 0.0,
    "augment": "none",
    "recompute": True,
    "standardize": False,
    "normalization": "course",
    "precision": "fp32",
    "even_batches": False,
}
# The best for CIFAR-10 so far: the head's optimum, then the whole network for 30 epochs, mirror averaging at the end.
# Batch and rates come from the number of images: 256 and 0.2 on all of CIFAR-10.
BEST: dict[str, Any] = {
    "epochs": 31,
    "unfreeze_after": "1",
    "solver": "exact",
    "l2": (5e-4,),
    "augment": "flip,crop",
    "tta": True,
}
PRESETS = {"course": COURSE, "best": BEST}
# The command line says and completes these; `augment` does them.
AUGMENTATIONS = (
    "flip", "crop", "color", "rotate", "randaugment", "erase", "blur", "noise", "motionblur", "saltpepper",
)  # fmt: skip
# What --dataset and --weights know besides torchvision's names and files.
DATASETS = ("auto", "digits", "cifar10", "cifar100")
WEIGHTS = ("bundled", "chenyaofo", "random")
OPTIMIZERS = ("sgd", "adamw")
PRECISIONS = ("auto", "bf16", "fp32")
SMALLEST_BATCH, LARGEST_BATCH = 16, 256
# Beyond, torch does not complain but crashes.
MOST_THREADS = 1024
# More than anybody has epochs; each is as many features as the training images have.
MOST_VIEWS = 1000
# float32 ends at 3.4e38.
LARGEST_NUMBER = 1e38
# Of a number of epochs: Python refuses to read numbers of thousands.
MOST_DIGITS = 10


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs that trains the same layers.

    Attributes:
        position: 0 for the first phase.
        name: "head", or the value of --unfreeze that is in force.
        cut: How many stages are frozen, from the input: 5 trains the head alone, 0 everything.
        first, last: Its epochs, both included, numbered through from 1.
    """

    position: int
    name: str
    cut: int
    first: int
    last: int

    @property
    def epochs(self) -> int:
        return self.last - self.first + 1

    @property
    def trains(self) -> tuple[str, ...]:
        """The stages that train, from the input on, and the head."""
        return (*(stage for stage in STAGES[self.cut :] if stage != "pool"), "head")


@dataclass(frozen=True)
class TrainingConfig:
    """How any network is trained: what `finetune` and `pretrain` share.

    None stands for "chosen from the data or the phase"; the finetune guide says how.
    """

    epochs: int = 10
    batch_size: int | None = None
    """Images a step. None: the largest power of two up to (training images)/40, within 16 and 256."""
    even_batches: bool = True
    """Batches that differ by one image at most; else a smaller last one, as the course's script has it."""
    lr: float | None = None
    """Peak rate of the head. None: 0.1 while it trains alone, 0.1 x batch/128 in unfrozen phases."""
    backbone_lr: float | None = None
    """Peak rate of the unfrozen stages. None: the head's."""
    momentum: float = 0.9
    nesterov: bool = True
    optimizer: str = "sgd"
    schedule: str = "cosine"
    warmup: float = 0.2
    """Share of an unfrozen phase's steps in which the rate climbs linearly from 0."""
    weight_decay: float = 5e-4
    """On the unfrozen convolutions."""
    label_smoothing: float | None = None
    """None: 0.05 in unfrozen phases, 0 while the head trains alone."""
    augment: str = "none"
    validate_every: int = 1
    patience: int | None = None
    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    seed: int = 0

    @property
    def code(self) -> list[str]:
        """Everything in it that names code of the user's own."""
        return []

    def __post_init__(self) -> None:
        problems = list(self.problems())
        if problems:
            raise RequestError("; ".join(problems))

    def problems(self) -> list[str]:
        """Every rule that a value breaks, so that all are reported at once."""
        found = []

        def require(name: str, rule: str, holds: bool) -> None:
            if not holds:
                option = "--" + name.replace("_", "-")
                found.append(f"{option} must be {rule}; got {getattr(self, name)}")

        def finite(value: float | None, low: float, *, strict: bool = False) -> bool:
            return value is None or (math.isfinite(value) and (value > low if strict else value >= low))

        require("epochs", "at least 1", self.epochs >= 1)
        require("batch_size", "at least 2", self.batch_size is None or self.batch_size >= 2)
        require("lr", "a positive number", finite(self.lr, 0, strict=True))
        require("backbone_lr", "a positive number", finite(self.backbone_lr, 0, strict=True))
        require("momentum", "at least 0 and below 1", 0 <= self.momentum < 1)
        require("weight_decay", "0 or more", finite(self.weight_decay, 0))
        smoothing = self.label_smoothing
        require("label_smoothing", "at least 0 and below 1", smoothing is None or 0 <= smoothing < 1)
        require("validate_every", "at least 1", self.validate_every >= 1)
        require("patience", "at least 1", self.patience is None or self.patience >= 1)
        require("threads", f"from 1 to {MOST_THREADS}", self.threads is None or 1 <= self.threads <= MOST_THREADS)
        for name in ("lr", "backbone_lr", "weight_decay"):
            value = getattr(self, name)
            require(name, f"at most {LARGEST_NUMBER:g}", value is None or not LARGEST_NUMBER < value < math.inf)
        require("schedule", f"one of {', '.join(SCHEDULES)}", self.schedule in SCHEDULES)
        require("optimizer", f"one of {', '.join(OPTIMIZERS)}", self.optimizer in OPTIMIZERS)
        require("precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS)
        return found

    def batch_for(self, images: int) -> int:
        """The batch size for `images` training images.

        A small set still takes tens of steps an epoch: 1,797 digits reach 10 to 63 % with batches of 256 and 99 %
        with 32 in the same number of epochs.
        """
        if self.batch_size is not None:
            return min(self.batch_size, max(images, 2))
        power = 1 << int(math.log2(max(images / 40, 1)))
        return max(SMALLEST_BATCH, min(LARGEST_BATCH, power))

    def rates_for(self, phase: Phase, batch: int) -> tuple[float, float]:
        """Peak rates (head, backbone) of a phase."""
        default = 0.1 if phase.cut == HEAD_ONLY else 0.1 * batch / 128
        if self.optimizer == "adamw":
            default *= 0.01
        head = default if self.lr is None else self.lr
        return head, head if self.backbone_lr is None else self.backbone_lr

    def smoothing_for(self, phase: Phase) -> float:
        """Label smoothing of a phase."""
        if self.label_smoothing is not None:
            return self.label_smoothing
        return 0.0 if phase.cut == HEAD_ONLY else 0.05

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class FinetuneConfig(TrainingConfig):
    """One fine-tuning run: every option of `cmpt726 finetune`, and what only presets set."""

    dataset: str = "auto"
    data_dir: str | None = None
    test_fraction: float | None = None
    """Of all images, where the data set has no test split. None: 15 %, at most 5,000 images."""
    val_fraction: float | None = None
    """The same for validation."""
    weights: str = "bundled"
    cache: bool = False
    cache_dir: str | None = None
    recompute: bool = False
    unfreeze_after: str | None = None
    unfreeze: str | None = None
    head: str = "linear"
    dropout: float = 0.0
    batch_norm: bool = False
    l2: tuple[float, ...] = (0.0,)
    """Several are tried one after another in the head phase; the best by validation goes on."""
    solver: str = "sgd"
    """"exact": the head phase takes a linear head to its optimum instead of by epochs."""
    views: int | None = None
    """Augmented versions of each training image to store, for phases with a frozen part."""
    strict: bool = False
    tta: bool = False
    workers: int | None = None
    gallery: bool = True
    preset: str | None = None
    standardize: bool = True
    """Train the head on standardised features, from zero; else on the features as they are, as torch starts a layer."""
    normalization: str = "weights"
    """"weights": the mean and deviation stored with the weights; "course": the course script's."""

    def problems(self) -> list[str]:
        found = super().problems()
        test, val = (0.15 if share is None else share for share in (self.test_fraction, self.val_fraction))
        for name, share in (("test", test), ("val", val)):
            if not 0 < share < 1:
                found.append(f"--{name}-fraction must lie between 0 and 1; got {share}")
        if max(test, val) < 1 <= test + val:
            found.append(f"--test-fraction and --val-fraction must leave images to train on; got {test} and {val}")
        if not self.l2 or not all(math.isfinite(value) and value >= 0 for value in self.l2):
            found.append(f"--l2 must be 0 or more; got {', '.join(map(str, self.l2))}")
        elif max(self.l2) > LARGEST_NUMBER:
            found.append(f"--l2 must be at most {LARGEST_NUMBER:g}; got {max(self.l2)}")
        if not 0 <= self.dropout < 1:
            found.append(f"--dropout must be at least 0 and below 1; got {self.dropout}")
        if self.head.startswith("python:") and (self.dropout or self.batch_norm):
            found.append("--dropout and --batch-norm are for linear and mlp: heads; build them into your own --head")
        if self.views is not None and self.views < 1:
            found.append(f"--views must be at least 1; got {self.views}")
        if self.views is not None and self.views > MOST_VIEWS:
            found.append(f"--views must be at most {MOST_VIEWS}; got {self.views}")
        if self.views is not None and self.augment in {"none", ""}:
            found.append(
                f"--views {self.views} needs --augment: without it all views are the same; try --augment flip,crop"
            )
        if self.views is not None and self.recompute:
            found.append("--views and --recompute exclude each other: one stores augmented features, the other nothing")
        if self.solver == "exact" and (self.head != "linear" or self.dropout or self.batch_norm):
            found.append(f"--solver exact needs a plain linear head; got --head {self.head}, leave out the rest")
        if self.workers is not None and self.workers < 1:
            found.append(f"--workers must be at least 1; got {self.workers}")
        if self.workers is not None and self.workers > MOST_THREADS:
            found.append(f"--workers must be at most {MOST_THREADS}; got {self.workers}")
        if self.cache and self.recompute:
            found.append("--cache and --recompute exclude each other: one keeps the features, the other never does")
        if self.unfreeze is not None and self.unfreeze not in CUTS:
            found.append(f"--unfreeze must be one of {', '.join(CUTS)}; got {self.unfreeze}")
        if self.epochs >= 1 and (self.unfreeze is None or self.unfreeze in CUTS):
            try:
                phases = plan_phases(self)
            except RequestError as error:
                return [*found, str(error)]
            if phases[0].cut != HEAD_ONLY and (len(self.l2) > 1 or self.solver == "exact"):
                found.append(
                    f"several --l2, and --solver exact, need a phase that trains the head alone; got --unfreeze "
                    f"{phases[0].name} from the first epoch on; add --unfreeze-after N"
                )
        return found

    @property
    def code(self) -> list[str]:
        """Everything in it that names code: python:FILE.py:FUNCTION."""
        named = [self.dataset, self.head, *(part.strip() for part in self.augment.split(","))]
        return [name for name in named if name.startswith("python:")]

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> FinetuneConfig:
        """The inverse of `to_json`; unknown names are an error, because they would change the run.

        Raises:
            TypeError: for such a name, or a value of another type.
            RequestError: for a value that breaks a rule.
        """
        options = {**stored, "l2": tuple(stored["l2"])}
        for option in dataclasses.fields(cls):
            if option.name in options and not fits(options[option.name], str(option.type)):
                raise TypeError(f"{option.name} is {options[option.name]!r:.80}")
        return cls(**options)


def fits(value: Any, annotation: str) -> bool:
    """Whether a value from a file is of the type that a field is annotated with."""
    if isinstance(value, tuple):
        return annotation == "tuple[float, ...]" and all(fits(part, "float") for part in value)
    names = {type(value).__name__.replace("NoneType", "None")}
    return not names.isdisjoint(annotation.split(" | ")) or (type(value) is int and annotation.startswith("float"))


def parse_steps(text: str, default: str) -> list[tuple[int, str]]:
    """`--unfreeze-after`: "5", or "5:layer3,10:all", as (epochs before, how much to turn on)."""
    steps = []
    for part in text.split(","):
        number, colon, how_much = part.strip().partition(":")
        if not (number.isascii() and number.isdigit() and len(number) < MOST_DIGITS) or (colon and not how_much):
            raise RequestError(
                f"--unfreeze-after must be N or N:STAGE,N:STAGE; got {text}; for example 5:layer3,10:all"
            )
        if how_much and how_much not in CUTS:
            raise RequestError(f"--unfreeze-after knows the stages {', '.join(CUTS)}; got {how_much}")
        steps.append((int(number), how_much or default))
    for (earlier, before), (later, after) in pairwise(steps):
        if later <= earlier or CUTS[after] >= CUTS[before]:
            raise RequestError(f"--unfreeze-after must turn on more at later epochs; got {text}; try 5:layer3,10:all")
    return steps


def plan_phases(config: FinetuneConfig) -> tuple[Phase, ...]:
    """The phases of a run.

    Raises:
        RequestError: where the rest would be turned on at or after the end, or gradual unfreezing runs backwards.
    """
    if config.unfreeze_after is None:
        steps = [] if config.unfreeze is None else [(0, config.unfreeze)]
    else:
        if config.unfreeze is not None and ":" in config.unfreeze_after:
            raise RequestError(
                f"--unfreeze {config.unfreeze} and --unfreeze-after {config.unfreeze_after} both name stages; give one"
            )
        steps = parse_steps(config.unfreeze_after, config.unfreeze or "all")
    if steps and steps[-1][0] >= config.epochs:
        raise RequestError(
            f"--unfreeze-after must be below --epochs, {config.epochs}; got {config.unfreeze_after}; "
            f"try --epochs {steps[-1][0] * 2 or 1}"
        )
    starts = [(0, "head", HEAD_ONLY), *((after, name, CUTS[name]) for after, name in steps)]
    ends = [start for start, _, _ in starts[1:]] + [config.epochs]
    spans = [(name, cut, start + 1, end) for (start, name, cut), end in zip(starts, ends, strict=True) if end > start]
    return tuple(Phase(position, *span) for position, span in enumerate(spans))
