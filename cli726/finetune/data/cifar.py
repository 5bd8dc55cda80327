"""CIFAR-10 and CIFAR-100 as they are published, read without torchvision, whose import takes longer than the reading.

Source: Krizhevsky (2009), "Learning multiple layers of features from tiny images"; the files are those of torchvision.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.data.downloads import CIFAR, cifar_root
from cli726.finetune.data.images import SIZE, Images
from cli726.finetune.data.sources import Pools

__all__ = ["load_cifar"]

# The largest of them has 155 MB.
LARGEST = 2**28
# What a published file is made of.
ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


@dataclass(frozen=True)
class Files:
    """One data set's files.

    Attributes:
        parts: Split -> {file: MD5}, in order; the digests are those that its author publishes.
        names, names_md5: The file that holds the class names.
        labels, classes: What the files call labels and class names.
    """

    parts: Mapping[str, Mapping[str, str]]
    names: str
    names_md5: str
    labels: str
    classes: str


FILES = {
    "cifar10": Files(
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
    "cifar100": Files(
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


class OnlyArrays(pickle.Unpickler):
    """Loads arrays and plain values, and calls nothing else that a file may name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a CIFAR file")
        return ADMITTED[module, name]


def read(path: Path, md5: str, name: str) -> dict[str, Any]:
    """One file's dictionary, once its digest is the published one; `name` is the data set's.

    Raises:
        UntrustedDataError: if it is not.
        OSError: if it can't be read.
    """
    if path.exists() and not (path.is_file() and path.stat().st_size <= LARGEST):
        raise UntrustedDataError(
            f"{path} must be an ordinary file of at most {LARGEST:,} bytes; remove {path.parent} and fetch it again: "
            f"`cmpt726 data get {name}`"
        )
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UntrustedDataError(
            f"{path} must have the MD5 {md5}; it has {found}; remove {path.parent} and fetch it again: "
            f"`cmpt726 data get {name}`"
        )
    loaded: dict[str, Any] = OnlyArrays(io.BytesIO(content), encoding="latin1").load()
    return loaded


def load_cifar(name: str, folders: list[Path]) -> Pools:
    """CIFAR-10 or CIFAR-100 from the first folder that has it.

    Args:
        name: "cifar10" or "cifar100".
        folders: Roots to look in.

    Raises:
        RequestError: if it is in none of them.
        UntrustedDataError: if a file is not the published one.
    """
    files = FILES[name]
    root = cifar_root(name, folders)
    if root is None:
        places = "; ".join(map(str, folders))
        raise RequestError(
            f"--dataset {name} must be on this machine; not found in {places}; fetch it with `cmpt726 data get {name}`"
        )
    folder = root / CIFAR[name].folder
    try:
        parts = {
            split: [read(folder / file, md5, name) for file, md5 in published.items()]
            for split, published in files.parts.items()
        }
        names = read(folder / files.names, files.names_md5, name)[files.classes]
    except FileNotFoundError as error:
        raise RequestError(
            f"{folder} must hold the published files; {Path(error.filename).name} is missing; remove the folder and "
            f"fetch it again: `cmpt726 data get {name}`"
        ) from None
    pools = {split: as_images(loaded, files.labels) for split, loaded in parts.items()}
    return pools, tuple(names), ()


def as_images(parts: list[dict[str, Any]], labels: str) -> Images:
    """The files of one split, one after the other."""
    counts = [len(part[labels]) for part in parts]
    pixels = np.empty((sum(counts), SIZE, SIZE, 3), np.uint8)
    start = 0
    for part, count in zip(parts, counts, strict=True):
        planes = np.asarray(part["data"]).reshape(count, 3, SIZE, SIZE)
        for channel in range(3):  # four times as fast as one transposed copy
            pixels[start : start + count, :, :, channel] = planes[:, channel]
        start += count
    return Images.of(pixels, np.concatenate([np.asarray(part[labels], np.int64) for part in parts]))
