"""torchvision's data sets: imported where its extension doesn't match torch, read from the files that users have."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from cli726.errors import EnvironmentFailure, RequestError
from cli726.finetune.data import vision
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.decoding import fit_size
from cli726.finetune.data.names import VISION, data_dirs
from cli726.finetune.data.sources import Reading
from cli726.finetune.data.vision import import_torchvision, load_vision, read_parts
from tests.cli726.finetune.synthetic import pictures


def write_idx(path: Path, array: np.ndarray) -> None:
    """One of MNIST's files: magic number with type and rank, sizes, bytes."""
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + array.astype(np.uint8).tobytes())
    path.with_suffix(path.suffix + ".gz").write_bytes(gzip.compress(path.read_bytes()))


def write_mnist(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(1)
    labels = np.arange(60) % 10
    pixels = chance.integers(0, 256, (60, 28, 28)).astype(np.uint8)
    for split, count in (("train", 60), ("t10k", 20)):
        write_idx(root / name / "raw" / f"{split}-images-idx3-ubyte", pixels[:count])
        write_idx(root / name / "raw" / f"{split}-labels-idx1-ubyte", labels[:count])
    return pixels, labels


def test_torchvision_is_imported_with_data_sets_and_transforms() -> None:
    torchvision = import_torchvision()
    assert torchvision.datasets.CIFAR10.__name__ == "CIFAR10"
    assert hasattr(torchvision.transforms, "RandAugment")
    assert import_torchvision() is torchvision
    assert torch.ops.torchvision.nms is not None


def test_another_failure_of_the_import_is_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("libcudart.so.13 is missing")

    monkeypatch.setattr(vision.importlib, "import_module", fail)
    with pytest.raises(EnvironmentFailure, match="libcudart"):
        import_torchvision()


@pytest.mark.parametrize("typed", ["FashionMNIST", "fashionmnist"])
def test_an_mnist_like_data_set_on_disk(tmp_path: Path, typed: str) -> None:
    pixels, labels = write_mnist(tmp_path, "FashionMNIST")
    dataset = load_dataset(typed, Reading(folders=[tmp_path]))
    assert dataset.name == "fashionmnist"
    assert dataset.class_names[0] == "T-shirt/top"
    assert len(dataset.class_names) == 10
    assert_array_equal(dataset.pools["train"].pixels, fit_size(pixels))
    assert_array_equal(dataset.pools["train"].labels, labels)
    assert len(dataset.splits["test"]) == len(dataset.pools["test"]) == 20
    assert len(dataset.splits["train"]) + len(dataset.splits["validation"]) == 60


def test_auto_finds_cifar_where_the_courses_script_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli726.finetune.data.datasets import choose_auto

    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    assert choose_auto(data_dirs())[0] == "digits"
    (tmp_path / "data" / "cifar-10-batches-py").mkdir(parents=True)
    assert choose_auto(data_dirs()) == ("cifar10", "CIFAR-10 is in data")
    assert choose_auto([tmp_path / "named"])[0] == "digits"


@pytest.mark.parametrize("name", sorted(VISION))
def test_a_data_set_that_is_not_here_is_a_request_that_cannot_be_met(tmp_path: Path, name: str) -> None:
    """Each is a class of torchvision, and nobody asks the network for it: SEMEION would, if it were not told not to."""
    with pytest.raises(RequestError, match=f"--dataset {name} must be on this machine") as caught:
        load_vision(name, Reading(folders=(tmp_path / "a", tmp_path / "b")))
    assert str(tmp_path / "b") in str(caught.value)
    assert not list(tmp_path.rglob("*.*"))


@dataclass
class Part:
    """A split as torchvision's classes look: items, and perhaps arrays."""

    items: list[tuple[Any, Any]]
    data: Any = None
    targets: Any = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.items[index]


PIXELS, LABELS = pictures(9)


@pytest.mark.parametrize(
    ("data", "targets"),
    [
        (None, None), (PIXELS, LABELS), (torch.from_numpy(PIXELS), LABELS.tolist()),
        (PIXELS.transpose(0, 3, 1, 2), LABELS), (PIXELS.astype(np.float32), LABELS), (PIXELS[1:], LABELS[1:]),
        # As QMNIST keeps them: the class in the first column, who wrote it in the others.
        (PIXELS, torch.from_numpy(np.repeat(LABELS[:, None], 8, axis=1))),
    ],
)  # fmt: skip
def test_arrays_and_items_give_the_same_images(data: Any, targets: Any) -> None:
    items = [(Image.fromarray(image), int(label)) for image, label in zip(PIXELS, LABELS, strict=True)]
    images = read_parts("mine", {"train": Part(items, data, targets)}, Reading()).pools["train"]
    assert_array_equal(images.pixels, PIXELS)
    assert_array_equal(images.labels, LABELS)
    with pytest.raises(RequestError, match=r"item 0: .*got list"):
        read_parts("mine", {"train": Part([([1, 2], 0)])}, Reading())
