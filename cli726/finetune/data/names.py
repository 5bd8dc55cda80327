"""Data sets by name and prefix, and the folders they lie in. No numpy, no torch: the command line completes names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from cache.system import user_folder
from cli726.text import typed_path

# What stands before the place of somebody's own data, and what of it follows.
PREFIXES = {"folder:": "PATH", "csv:": "FILE", "python:": "FILE.py:FUNCTION"}
# What `data get` fetches besides data sets.
WEIGHTS_NAME = "chenyaofo"
# Where the course's script puts its data.
COURSE_DATA_DIR = Path("data")

CIFAR_HOST = "https://www.cs.toronto.edu/~kriz"
TRAIN_FLAG = {"train": {"train": True}, "test": {"train": False}}
TRAIN_TEST = {"train": {"split": "train"}, "test": {"split": "test"}}
TRAIN_VAL_TEST = {**TRAIN_TEST, "validation": {"split": "val"}}


@dataclass(frozen=True)
class Cifar:
    """A data set of Krizhevsky (2009), "Learning multiple layers of features from tiny images"."""

    url: str  # of its archive
    sha256: str
    size: int  # bytes, to announce
    folder: str  # what unpacking it makes, and where torchvision looks
    parts: Mapping[str, Mapping[str, str]]  # split -> {file: MD5}, in order; the author publishes the digests
    names: str  # the file that holds the class names
    names_md5: str
    labels: str  # what the files call labels, and class names
    classes: str


@dataclass(frozen=True)
class Vision:
    """A class of torchvision.datasets: labelled images."""

    splits: Mapping[str, Mapping[str, Any]]  # our split -> constructor arguments; only "train" if it has no others
    downloads: bool = True  # False where torchvision wants it to be put in place by hand
    folder: str | None = None  # what torchvision calls its folder, or its file, where that is not the name


CIFAR = {
    "cifar10": Cifar(
        f"{CIFAR_HOST}/cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        170_498_071,
        "cifar-10-batches-py",
        {
            "train": {
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            },
            "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
        },
        "batches.meta",
        "5ff9c542aee3614f3951f8cda6e48888",
        "labels",
        "label_names",
    ),
    "cifar100": Cifar(
        f"{CIFAR_HOST}/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        169_001_437,
        "cifar-100-python",
        {
            "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
            "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        },
        "meta",
        "7973b15100ade9c7d40fb424638fde48",
        "fine_labels",
        "fine_label_names",
    ),
}
VISION: dict[str, Vision] = {
    "Caltech101": Vision({"train": {}}),
    "Caltech256": Vision({"train": {}}),
    "Country211": Vision({**TRAIN_TEST, "validation": {"split": "valid"}}),
    "DTD": Vision(TRAIN_VAL_TEST, folder="dtd"),
    "EMNIST": Vision({"train": {"split": "balanced", "train": True}, "test": {"split": "balanced", "train": False}}),
    "EuroSAT": Vision({"train": {}}, folder="eurosat"),
    "FER2013": Vision(TRAIN_TEST, downloads=False),
    "FGVCAircraft": Vision(TRAIN_VAL_TEST, folder="fgvc-aircraft-2013b"),
    "FashionMNIST": Vision(TRAIN_FLAG),
    "Flowers102": Vision(TRAIN_VAL_TEST, folder="flowers-102"),
    "Food101": Vision(TRAIN_TEST, folder="food-101"),
    "GTSRB": Vision(TRAIN_TEST),
    "Imagenette": Vision({"train": {"split": "train"}, "test": {"split": "val"}}, folder="imagenette2"),
    "KMNIST": Vision(TRAIN_FLAG),
    "MNIST": Vision(TRAIN_FLAG),
    "OxfordIIITPet": Vision({"train": {"split": "trainval"}, "test": {"split": "test"}}, folder="oxford-iiit-pet"),
    "PCAM": Vision(TRAIN_VAL_TEST),
    "QMNIST": Vision(TRAIN_FLAG),
    "RenderedSST2": Vision(TRAIN_VAL_TEST, folder="rendered-sst2"),
    "SEMEION": Vision({"train": {}}, folder="semeion.data"),
    "STL10": Vision(TRAIN_TEST, folder="stl10_binary"),
    "SUN397": Vision({"train": {}}),
    "SVHN": Vision(TRAIN_TEST, folder="train_32x32.mat"),
    "StanfordCars": Vision(TRAIN_TEST, downloads=False, folder="stanford_cars"),
    "USPS": Vision(TRAIN_FLAG, folder="usps.bz2"),
}
NAMES = ("digits", *CIFAR, *VISION)

SPELLINGS = {
    "train": {"train", "training"},
    "validation": {"val", "valid", "validate", "validation", "dev", "development", "eval", "evaluation"},
    "test": {"test", "testing"},
}


def split_of(name: str) -> str | None:
    """Return the split that a folder or a cell names, such as "Training", "test_set" or " VAL"; None for no split."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word not in {"", "data", "images", "set", "split"}]
    found = words[0].removesuffix("set") if len(words) == 1 else None
    return next((split for split, spellings in SPELLINGS.items() if found in spellings), None)


def data_dir(chosen: str | None = None) -> Path:
    """Return the folder that data sets are downloaded to: `--data-dir`, CMPT726_DATA_DIR, or the user's data folder."""
    if chosen is not None:
        return typed_path(chosen)
    return user_folder("CMPT726_DATA_DIR", lambda: user_data_path("cmpt726", appauthor=False))


def data_dirs(chosen: str | None = None) -> list[Path]:
    """Return the folders to look for data sets in; without `--data-dir` the course script's `./data` is the second."""
    return [data_dir(chosen)] if chosen is not None else [data_dir(), COURSE_DATA_DIR]


def weights_dir() -> Path:
    """Return the folder of downloaded weights."""
    return data_dir() / "weights"
