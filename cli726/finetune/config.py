"""What a fine-tuning run is asked to do: every option with its default, help, choices and limits; presets.

Standard library only: commands take their options from here.
"""

# Annotations are objects, not strings: options are made of them at every start.
import dataclasses
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from cli726.errors import RequestError, did_you_mean
from cli726.finetune.backbones import BACKBONES, RESNET20, Backbone
from cli726.finetune.options import completed, described, fits, option
from cli726.finetune.phases import Phase, plan
from cli726.finetune.recipe import (
    DATA,
    FEATURES,
    LARGEST_NUMBER,
    MACHINE,
    MAIN,
    MOST_THREADS,
    PHASES,
    RECIPE,
    PretrainConfig,
    TrainingConfig,
)

__all__ = [
    "LARGEST_IMAGE",
    "PRESETS",
    "SMALLEST_IMAGE",
    "WEIGHTS",
    "FinetuneConfig",
    "Phase",
    "PretrainConfig",
    "TrainingConfig",
    "plan_phases",
]

# The course's script, value for value: plain SGD with momentum on the new layer alone, the network recomputed for every
# image in every epoch, torch's own start of a layer, CIFAR-10's mean and deviation.
COURSE: dict[str, Any] = {
    "backbone": "resnet20",
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
# The best for CIFAR-10 so far: the head's optimum, then the whole network for 57 epochs, mirror averaging at the end.
# Batch and rates come from the number of images: 256 and 0.2 on all of CIFAR-10. Few images are held out, so that more
# are trained on; among so few the late epochs' differences are chance (choosing among all of them cost 0.8 points of
# 5,000 test images), so that only every third part of the way, and the last epoch, is validated.
BEST: dict[str, Any] = {
    "backbone": "resnet20",
    "epochs": 58,
    "unfreeze_after": "1",
    "solver": "exact",
    "l2": (5e-4,),
    "augment": "altflip,crop,erase",
    "warmup": 0.1,
    "validate_every": 19,
    "val_most": 1000,
    "tta": True,
}
PRESETS = {"course": COURSE, "best": BEST}
FEW_IMAGES = 1000
# Beyond, a stage has nothing left to see, or maps fill the memory.
SMALLEST_IMAGE, LARGEST_IMAGE = 32, 1024
# Without a penalty, separable features have no optimum.
EXACT_L2 = 1e-3
# What --weights knows besides files.
WEIGHTS = ("auto", "bundled", "chenyaofo", "random")
# More than anybody has epochs; each is as many features as the training images have.
MOST_VIEWS = 1000
MOST_FOLDS = 20


@completed
@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """One fine-tuning run: every option of `cmpt726 finetune`, and what only presets set."""

    dataset: str = option(
        "auto", "auto (CIFAR-10 if it is on this machine, else the bundled digits), digits, cifar10, cifar100, a data "
        "set of torchvision, folder:PATH with PATH/CLASS/* images, csv:FILE with columns path,label, or "
        "python:FILE.py:FUNCTION.", MAIN, complete="data_sets",
    )  # fmt: skip
    cache: bool = option(
        False, "Keep the outputs of the frozen part on disk, for this run and every later one.", MAIN,
        flags="--cache/--no-cache",
    )  # fmt: skip
    unfreeze_after: str | None = option(
        None, "Train only the new layers for N epochs, then the rest as well; or gradually, as in 5:layer3,10:all.",
        MAIN, metavar="N",
    )  # fmt: skip
    preset: Literal["course", "best"] | None = option(
        None, "course: the course script's values, exactly; best: the recipe that did best on CIFAR-10.", MAIN
    )
    data_dir: str | None = option(None, "Where data sets live.", DATA, metavar="DIR")
    test_fraction: float | None = option(
        None, "Share of all images for testing, where the data set has no test split (default: 0.15, at most 5,000).",
        DATA, above=0, below=1,
    )  # fmt: skip
    val_fraction: float | None = option(
        None, "Share of all images for validation, where it has no validation split (default: 0.15, at most 5,000).",
        DATA, above=0, below=1,
    )  # fmt: skip
    strict: bool = option(False, "Stop at a broken or unused image instead of skipping and counting it.", DATA)
    backbone: str = option(
        "auto", "auto (ResNet20 for images of 32 x 32 and below, else the best whose weights are here), "
        f"{', '.join(BACKBONES)}.", DATA, metavar="NAME", complete="backbones",
    )  # fmt: skip
    weights: str = option(
        "auto", "auto (the backbone's own), bundled (ResNet20, trained on CIFAR-100), chenyaofo (public, downloaded), "
        "random, or a .safetensors, .pt, .pth or .th file.", DATA, complete="weights",
    )  # fmt: skip
    image_size: int | None = option(
        None, "Side of the images that the network sees, in pixels (default: the backbone's own, 32 or 224).", DATA,
        low=SMALLEST_IMAGE, high=LARGEST_IMAGE, metavar="PIXELS",
    )  # fmt: skip
    fit: Literal["auto", "pad", "squash", "crop"] = option(
        "auto", "How a picture becomes a square: white at two sides, squashed, or cut about its centre (auto: crop for "
        "ResNet20 to 56, pad for the others).", DATA,
    )  # fmt: skip
    cache_dir: str | None = option(None, "Where --cache stores (default: CMPT726_CACHE_DIR).", FEATURES, metavar="DIR")
    recompute: bool = option(
        False, "Compute the frozen part anew in every epoch, as the course's script does.", FEATURES
    )
    views: int | None = option(
        None, "Store N augmented versions of each training image where a part is frozen; each epoch draws one of them.",
        FEATURES, low=1, high=MOST_VIEWS, metavar="N",
    )  # fmt: skip
    unfreeze: str | None = option(
        None, "Layers to train besides the head, from the first epoch or from --unfreeze-after on (default: all).",
        PHASES, metavar="last|layer3|layer2|layer1|all", complete="stages",
    )  # fmt: skip
    head: str = option(
        "linear", "New layers: linear, mlp:128, mlp:128,64 or python:FILE.py:FUNCTION.", PHASES, complete="heads"
    )
    dropout: float = option(0.0, "Probability of dropping an input of the last layer.", PHASES, low=0, below=1)
    batch_norm: bool = option(False, "Put BatchNorm into the new layers.", PHASES)
    solver: Literal["sgd", "exact"] = option(
        "sgd", "exact: take a linear head to its optimum on the stored features, instead of by epochs.", PHASES
    )
    folds: int | None = option(
        None, "Cross-validate the head: score each of K parts of the images by a head fitted to the others; the model "
        "is then fitted to all of them.", PHASES, low=2, high=MOST_FOLDS, metavar="K",
    )  # fmt: skip
    learning_curve: bool = option(
        False, "With --folds, near duplicates kept together: also on 10, 20, 40 and 80 % of the training images. Would "
        "more images help?", PHASES,
    )  # fmt: skip
    l2: tuple[float, ...] = option(
        (0.0,), "Penalty l2/2 * sum w^2 on the coefficients of the new layers (default: 0; with --solver exact 0.001); "
        "repeated: each is tried in the head phase, the best by validation goes on.",
        RECIPE, low=0, high=LARGEST_NUMBER, metavar="L2",
    )  # fmt: skip
    balance: bool = option(
        False, "Let every class count alike, however few images it has, in training and for the best epoch.", RECIPE
    )
    tta: bool = option(False, "Average the scores of each test image and its mirror image.", RECIPE)
    workers: int | None = option(
        None, "Threads that read image files (default: by processors).", MACHINE, low=1, high=MOST_THREADS
    )
    gallery: bool = option(
        True, "Write the HTML table of test images and scores.", MACHINE, flags="--gallery/--no-gallery"
    )
    val_most: int | None = None
    """The most images drawn for validation where the data set has a test split of its own; else 5,000."""
    standardize: bool = True
    """Train the head on standardised features, from zero; else on the features as they are, as torch starts a layer."""
    normalization: Literal["weights", "course"] = "weights"
    """"weights": the mean and deviation stored with the weights; "course": the course script's."""

    @staticmethod
    def usual(given: dict[str, Any]) -> dict[str, Any]:
        """Return what is not given and follows from what is: the preset's values, the exact solver's penalty."""
        usual = dict(PRESETS.get(str(given.get("preset")), {}))
        if "weights" in given:
            usual.pop("backbone", None)
        if given.get("cache") or given.get("views"):
            usual.pop("recompute", None)
        if given.get("solver") == "exact":
            usual["l2"] = (EXACT_L2,)
        return {name: value for name, value in usual.items() if name not in given}

    def conflicts(self) -> list[str]:
        found = []
        test, val = (0.15 if share is None else share for share in (self.test_fraction, self.val_fraction))
        if max(test, val) < 1 <= test + val:
            found.append(f"--test-fraction and --val-fraction must leave images to train on; got {test} and {val}")
        if self.head.startswith("python:") and (self.dropout or self.batch_norm):
            found.append("--dropout and --batch-norm are for linear and mlp: heads; build them into your own --head")
        if self.views is not None and self.augment in {"none", ""}:
            found.append(
                f"--views {self.views} needs --augment: without it all views are the same; try --augment flip,crop"
            )
        if self.views is not None and self.recompute:
            found.append("--views and --recompute exclude each other: one stores augmented features, the other nothing")
        if self.solver == "exact" and (self.head != "linear" or self.dropout or self.batch_norm):
            found.append(f"--solver exact needs a plain linear head; got --head {self.head}, leave out the rest")
        if self.cache and self.recompute:
            found.append("--cache and --recompute exclude each other: one keeps the features, the other never does")
        if self.learning_curve and self.folds is None:
            found.append("--learning-curve needs --folds: each share is judged on images left out; add --folds 5")
        if self.folds is not None:
            apart = {
                "--unfreeze": self.unfreeze, "--unfreeze-after": self.unfreeze_after, "--views": self.views,
                "--val-fraction": self.val_fraction, "--patience": self.patience, "--recompute": self.recompute,
                "--tta": self.tta, "--augment": self.augment not in {"none", ""},
            }  # fmt: skip
            given = [name for name, value in apart.items() if value not in {None, False}]
            if given:
                found.append(f"--folds trains the head alone, on stored features; got {given[0]} too; leave it out")
            if self.folds == 2 and len(self.l2) > 1:
                found.append("several --l2 are chosen within the other folds, so --folds must be 3 or more; got 2")
        if self.backbone != "auto" and self.backbone not in BACKBONES:
            near = did_you_mean(self.backbone, BACKBONES)
            return [*found, f"--backbone must be auto or one of {', '.join(BACKBONES)}; got {self.backbone}{near}"]
        cifar = self.kind is None or self.kind.depth is not None
        if not {"bundled": self.kind in {None, RESNET20}, "chenyaofo": cifar}.get(self.weights, True):
            found.append(f"--weights {self.weights} are not those of {self.backbone}; leave --weights out")
        try:
            first = plan_phases(self)[0]
        except RequestError as error:
            return [*found, str(error)]
        if not first.head_only and (len(self.l2) > 1 or self.solver == "exact"):
            found.append(
                f"several --l2, and --solver exact, need a phase that trains the head alone; got --unfreeze "
                f"{first.name} from the first epoch on; add --unfreeze-after N"
            )
        return found

    @property
    def kind(self) -> Backbone | None:
        """Return the backbone that was chosen; None for auto."""
        return BACKBONES.get(self.backbone)

    @property
    def code(self) -> list[str]:
        """Return everything in it that names code: python:FILE.py:FUNCTION."""
        named = [self.dataset, self.head, *(part.strip() for part in self.augment.split(","))]
        return [name for name in named if name.startswith("python:")]

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Return the configuration that `to_json` wrote; unknown names are an error, because they would change the run.

        Raises:
            TypeError: for such a name, or a value of another type.
            RequestError: for a value that breaks a rule.
        """
        options = {**stored, "l2": tuple(stored["l2"])}
        for name, field in described(cls).items():
            if name in options and not fits(options[name], field):
                raise TypeError(f"{name} is {options[name]!r:.80}")
        return cls(**options)


def settled(config: FinetuneConfig, facts: Mapping[str, Any]) -> FinetuneConfig:
    """Return a run's configuration with the backbone that `auto` was; 0.2.0 knew ResNet20 and files."""
    stated = facts.get("resolved", {}).get("backbone", RESNET20.name if config.weights in WEIGHTS else "auto")
    return dataclasses.replace(config, backbone=stated) if config.backbone == "auto" else config


def plan_phases(
    config: FinetuneConfig, kind: Backbone | None = None, images: int = FEW_IMAGES, pretrained: bool = True
) -> tuple[Phase, ...]:
    """Return the phases of a run with a backbone; before it is known, with the first that has the stages typed.

    Args:
        images: For training; few of them train a pre-trained network that is larger than the CIFAR ResNets gently.
    """
    gentle = pretrained and images < FEW_IMAGES and kind is not None and kind.depth is None
    # Without epochs, which is a mistake of its own, the rest can be checked all the same.
    epochs = config.epochs if config.epochs > 0 else sys.maxsize
    typed = set(re.findall(r"layer\d+", f"{config.unfreeze},{config.unfreeze_after}"))
    able = (one for one in BACKBONES.values() if typed <= set(one.stages))
    kind = kind or config.kind or next(able, RESNET20)
    return plan(epochs, config.unfreeze_after, config.unfreeze, kind.stages, gentle=gentle)
