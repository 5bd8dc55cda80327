"""torchvision's labelled-image data sets by name. Standard library only: the command line completes the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KNOWN", "Source", "resolve_name"]

TRAIN_FLAG = {"train": {"train": True}, "test": {"train": False}}
TRAIN_TEST = {"train": {"split": "train"}, "test": {"split": "test"}}
TRAIN_VAL_TEST = {**TRAIN_TEST, "validation": {"split": "val"}}


@dataclass(frozen=True)
class Source:
    """How a class of torchvision.datasets is asked for its splits.

    Attributes:
        splits: Our split's name -> constructor arguments. Only "train": the data set has no split of its own.
        downloads: Whether torchvision can fetch it; the others want to be put in place by hand.
        folder: What torchvision calls its folder, or its file, where that is not the name.
    """

    splits: Mapping[str, Mapping[str, Any]]
    downloads: bool = True
    folder: str | None = None


KNOWN: dict[str, Source] = {
    "CIFAR10": Source(TRAIN_FLAG),
    "CIFAR100": Source(TRAIN_FLAG),
    "Caltech101": Source({"train": {}}),
    "Caltech256": Source({"train": {}}),
    "Country211": Source({**TRAIN_TEST, "validation": {"split": "valid"}}),
    "DTD": Source(TRAIN_VAL_TEST, folder="dtd"),
    "EMNIST": Source({"train": {"split": "balanced", "train": True}, "test": {"split": "balanced", "train": False}}),
    "EuroSAT": Source({"train": {}}, folder="eurosat"),
    "FER2013": Source(TRAIN_TEST, downloads=False),
    "FGVCAircraft": Source(TRAIN_VAL_TEST, folder="fgvc-aircraft-2013b"),
    "FashionMNIST": Source(TRAIN_FLAG),
    "Flowers102": Source(TRAIN_VAL_TEST, folder="flowers-102"),
    "Food101": Source(TRAIN_TEST, folder="food-101"),
    "GTSRB": Source(TRAIN_TEST),
    "Imagenette": Source({"train": {"split": "train"}, "test": {"split": "val"}}, folder="imagenette2"),
    "KMNIST": Source(TRAIN_FLAG),
    "MNIST": Source(TRAIN_FLAG),
    "OxfordIIITPet": Source({"train": {"split": "trainval"}, "test": {"split": "test"}}, folder="oxford-iiit-pet"),
    "PCAM": Source(TRAIN_VAL_TEST),
    "QMNIST": Source(TRAIN_FLAG),
    "RenderedSST2": Source(TRAIN_VAL_TEST, folder="rendered-sst2"),
    "SEMEION": Source({"train": {}}, folder="semeion.data"),
    "STL10": Source(TRAIN_TEST, folder="stl10_binary"),
    "SUN397": Source({"train": {}}),
    "SVHN": Source(TRAIN_TEST, folder="train_32x32.mat"),
    "StanfordCars": Source(TRAIN_TEST, downloads=False, folder="stanford_cars"),
    "USPS": Source(TRAIN_FLAG, folder="usps.bz2"),
}


def resolve_name(name: str) -> str | None:
    """torchvision's spelling of a data set's name, whatever the case; None if it is not one of ours."""
    return {known.lower(): known for known in KNOWN}.get(name.lower())
