"""How any network is trained: the options that fine-tuning and pre-training share. Standard library only."""

# Annotations are objects, not strings: options are made of them at every start.
import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from cli726.errors import RequestError
from cli726.finetune.backbones import DEPTHS
from cli726.finetune.options import broken_rules, described, fits, option
from cli726.finetune.phases import Phase

DEVICES = ("auto", "cpu", "cuda", "mps")
SMALLEST_BATCH, LARGEST_BATCH = 16, 256
# Of `Phase.gentle`: the backbone's rate, as a share of the head's, and the usual patience.
GENTLE_RATE, GENTLE_PATIENCE = 0.1, 5
# Beyond, torch does not complain but crashes.
MOST_THREADS = 1024
# float32 ends at 3.4e38.
LARGEST_NUMBER = 1e38
# In the order in which `--help` lists them.
MAIN, DATA, FEATURES = "Most used", "Data", "Features"
PHASES, RECIPE, MACHINE = "What is trained, and when", "Recipe", "Machine and run"


@dataclass(frozen=True)
class Kind:
    """An augmentation; the functions NAME and draw_NAME of `augment.transforms` do it.

    Attributes:
        meaning: What its strength is, in words.
        default, low, high: The strength if none is given, and its range.
        whole: The strength is a whole number.
        torchvision: What it does may change with torchvision's version.
        alternates: Drawn once; what it does to an image turns over from epoch to epoch.
    """

    meaning: str
    default: float
    low: float
    high: float
    whole: bool = False
    torchvision: bool = False
    alternates: bool = False


# The augmentations that --augment knows.
KNOWN: dict[str, Kind] = {
    "flip": Kind("probability", 0.5, 0, 1),
    "altflip": Kind("probability in the first epoch", 0.5, 0, 1, alternates=True),
    "crop": Kind("pixels, at most", 4, 0, 31, whole=True),
    "color": Kind("change, at most", 0.4, 0, 1),
    "rotate": Kind("degrees, at most", 15, 0, 180),
    "randaugment": Kind("magnitude, of 30", 9, 0, 30, whole=True, torchvision=True),
    "erase": Kind("probability", 0.5, 0, 1),
    "blur": Kind("sigma in pixels, at most", 1, 0, 5),
    "noise": Kind("sigma, at most", 0.1, 0, 1),
    "motionblur": Kind("pixels, at most", 6, 0, 15),
    "saltpepper": Kind("share of pixels, at most", 0.1, 0, 1),
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How any network is trained: what `finetune` and `pretrain` share.

    None stands for "chosen from the data or the phase"; the finetune guide says how.
    """

    epochs: int = option(10, "Total number of epochs, all phases together.", MAIN, low=1)
    augment: str = option(
        "none", f"Comma list, in order: {', '.join(KNOWN)}, python:FILE.py:FUNCTION; each with an optional strength, "
        "as in blur:0.5.", MAIN, complete="augmentations",
    )  # fmt: skip
    validate_every: int = option(1, "Number of epochs between validations.", PHASES, low=1)
    patience: int | None = option(None, "End a phase after this many validations without a better one.", PHASES, low=1)
    weight_decay: float = option(5e-4, "L2 penalty on the unfrozen convolutions.", RECIPE, low=0, high=LARGEST_NUMBER)
    optimizer: Literal["sgd", "adamw"] = option("sgd", "The update rule.", RECIPE)
    lr: float | None = option(
        None, "Peak learning rate of the new layers. Default: 0.1 while they train alone, then 0.1 x batch / 128.",
        RECIPE, above=0, high=LARGEST_NUMBER,
    )  # fmt: skip
    backbone_lr: float | None = option(
        None, "Peak learning rate of the unfrozen stages (default: that of --lr).", RECIPE, above=0, high=LARGEST_NUMBER
    )
    momentum: float = option(0.9, "Nesterov momentum (sgd) or beta1 (adamw).", RECIPE, low=0, below=1)
    schedule: Literal["cosine", "linear", "constant"] = option(
        "cosine", "Fall of the learning rate, to 0 at each phase's end.", RECIPE
    )
    batch_size: int | None = option(
        None, "Images in a step. Default: the largest power of two up to (training images) / 40, from 16 to 256.",
        RECIPE, low=2,
    )  # fmt: skip
    label_smoothing: float | None = option(None, "Default: 0.05 in unfrozen phases, else 0.", RECIPE, low=0, below=1)
    precision: Literal["auto", "bf16", "fp32"] = option(
        "auto", "Arithmetic of the network; auto: bf16 where the processor has it.", MACHINE
    )
    device: str = option(
        "auto", "auto (a GPU where there is one), cpu, cuda, cuda:1, mps ...", MACHINE, complete="devices"
    )
    threads: int | None = option(
        None, "CPU threads (default: all; with torchrun, per process).", MACHINE, low=1, high=MOST_THREADS
    )
    seed: int = option(0, "Same seed, same machine: same numbers.", MACHINE, low=0, high=2**63 - 1, metavar="N")
    even_batches: bool = True
    """Batches that differ by one image at most; else a smaller last one, as the course's script has it."""
    nesterov: bool = True
    warmup: float = 0.2
    """Share of an unfrozen phase's steps in which the learning rate climbs linearly from 0."""

    def __post_init__(self) -> None:
        problems = list(broken_rules(self))
        if all(fits(getattr(self, name), field) for name, field in described(type(self)).items()):
            problems += self.conflicts()
        if problems:
            raise RequestError("; ".join(problems))

    @property
    def code(self) -> list[str]:
        """Return everything in it that names code of the user's own."""
        return []

    def conflicts(self) -> list[str]:
        """Return every rule that options break together, so that all are reported at once."""
        return []

    def batch_for(self, images: int) -> int:
        """Return the batch size for `images` training images.

        A small set still takes tens of steps an epoch: 1,797 digits reach 10 to 63 % with batches of 256 and 99 %
        with 32 in the same number of epochs.
        """
        if self.batch_size is not None:
            return min(self.batch_size, max(images, 2))
        power = 1 << int(math.log2(max(images / 40, 1)))
        return max(SMALLEST_BATCH, min(LARGEST_BATCH, power))

    def rates_for(self, phase: Phase, batch: int) -> tuple[float, float]:
        """Return the peak rates (head, backbone) of a phase."""
        default = 0.1 if phase.head_only else 0.1 * batch / 128
        if self.optimizer == "adamw":
            default *= 0.01
        head = default if self.lr is None else self.lr
        usual = GENTLE_RATE * head if phase.gentle else head
        return head, usual if self.backbone_lr is None else self.backbone_lr

    def patience_for(self, phase: Phase) -> int | None:
        """Return how many validations without a better one end a phase; None for any number."""
        return GENTLE_PATIENCE if self.patience is None and phase.gentle else self.patience

    def smoothing_for(self, phase: Phase) -> float:
        """Return the label smoothing of a phase."""
        if self.label_smoothing is not None:
            return self.label_smoothing
        return 0.0 if phase.head_only else 0.05

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Every option of `cmpt726 pretrain`."""

    epochs: int = option(60, "Passes over the images.", RECIPE, low=1)
    depth: int = option(20, "Layers of the network: 20, 32, 44 or 56.", RECIPE, complete="depths")
    batch_size: int | None = option(128, "Images in a step.", RECIPE, low=2)
    lr: float | None = option(0.2, "Peak learning rate.", RECIPE, above=0, high=LARGEST_NUMBER)
    weight_decay: float = option(
        5e-4, "L2 penalty on convolutions and the classifier.", RECIPE, low=0, high=LARGEST_NUMBER
    )
    label_smoothing: float | None = option(
        0.0, "Raises the accuracy here, lowers what a new head can learn from the features.", RECIPE, low=0, below=1
    )
    augment: str = option("flip,crop", f"Comma list, in order: {', '.join(KNOWN)}.", RECIPE, complete="augmentations")
    warmup: float = 0.1
    # Nothing is held out and nothing is frozen.
    validate_every: int = field(default=1, init=False)
    patience: int | None = field(default=None, init=False)
    backbone_lr: float | None = field(default=None, init=False)

    def conflicts(self) -> list[str]:
        known = ", ".join(map(str, DEPTHS))
        return [] if self.depth in DEPTHS else [f"--depth must be one of {known}; got {self.depth}"]
