"""Published data sets: torchvision's, read from the files that users have; CIFAR's, if they are the published ones."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from cli726.errors import EnvironmentFailure, RequestError, UntrustedDataError
from cli726.finetune.data import vision
from cli726.finetune.data.datasets import choose_auto, load_dataset
from cli726.finetune.data.decoding import fit_size
from cli726.finetune.data.names import CIFAR, VISION, data_dirs
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
    parts = [repr(options) for options in VISION[name].splits.values()]
    assert len(set(parts)) == len(parts), "two splits are the same images"


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


NAMES = ["airplane", "automobile", "bird"]


def python2_pickle(rows: np.ndarray, field: str, labels: list[int]) -> bytes:
    """A batch as Python 2 pickled it, which is how the published files are: raw bytes in a string."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85U\x01b\x87R"
        + b"(K\x01M" + struct.pack("<H", len(rows)) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    name = field.encode()
    return b"\x80\x02}(U\x04data" + array + b"U" + bytes([len(name)]) + name + numbers + b"u."


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Fifty images in the published layout, whose digests are pinned instead of the real ones."""
    pixels, labels = pictures(50)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    files = CIFAR["cifar10"]
    parts: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    for number, name in enumerate([*files.parts["train"], *files.parts["test"]]):
        chosen = slice(number, None, 5) if number < 5 else slice(9)
        rows = pixels[chosen].transpose(0, 3, 1, 2).reshape(-1, 3072)
        content = python2_pickle(np.ascontiguousarray(rows), "labels", labels[chosen].tolist())
        (folder / name).write_bytes(content)
        parts["train" if number < 5 else "test"][name] = hashlib.md5(content).hexdigest()
    content = pickle.dumps({"label_names": NAMES}, protocol=2)
    (folder / "batches.meta").write_bytes(content)
    written = replace(files, parts=parts, names_md5=hashlib.md5(content).hexdigest())
    monkeypatch.setitem(CIFAR, "cifar10", written)
    return pixels, labels


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    monkeypatch.setattr("cli726.finetune.data.images.MOST_DRAWN", 5)
    return write_cifar10(tmp_path, monkeypatch)


def test_images_labels_and_names_are_those_that_torchvision_reads(
    tmp_path: Path, images: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, labels = images
    dataset = load_dataset("CIFAR10", Reading(folders=[tmp_path / "none", tmp_path]))
    order = np.concatenate([np.arange(50)[n::5] for n in range(5)])
    assert dataset.name == "cifar10"
    assert_array_equal(dataset.pools["train"].pixels, pixels[order])
    assert_array_equal(dataset.pools["train"].labels, labels[order])
    assert_array_equal(dataset.pools["test"].pixels, pixels[:9])
    assert dataset.class_names == tuple(NAMES)
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    assert sizes == {"train": 47, "validation": 3, "test": 9}  # 5 of 50, rounded down class by class
    theirs = import_torchvision().datasets
    monkeypatch.setattr(theirs.cifar, "check_integrity", lambda *_: True)
    for train, split in ((True, "train"), (False, "test")):
        expected = theirs.CIFAR10(tmp_path, train=train)
        assert_array_equal(dataset.pools[split].pixels, expected.data)
        assert_array_equal(dataset.pools[split].labels, expected.targets)
    assert list(dataset.class_names) == expected.classes


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_files_and_digests_are_those_that_torchvision_pins(name: str) -> None:
    theirs = getattr(import_torchvision().datasets, name.upper())
    files = CIFAR[name]
    assert list(files.parts["train"].items()) == [tuple(pair) for pair in theirs.train_list]
    assert list(files.parts["test"].items()) == [tuple(pair) for pair in theirs.test_list]
    assert {"filename": files.names, "key": files.classes, "md5": files.names_md5} == theirs.meta
    assert files.url.startswith("https://")
    assert len(bytes.fromhex(files.sha256)) == 32


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("kind", ["changed", "missing", "fifo", "folder", "huge"])
def test_what_no_published_file_can_be_is_not_opened(
    tmp_path: Path, images: tuple[np.ndarray, np.ndarray], kind: str
) -> None:
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.unlink()
    if kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind == "changed":
        path.write_bytes(content)
    elif kind != "missing":
        (path.mkdir if kind == "folder" else lambda: os.mkfifo(path))()
    said = {"changed": "data_batch_3 must have the MD5", "missing": "data_batch_3 is missing"}
    wrong = RequestError if kind == "missing" else UntrustedDataError
    again = ".* `cmpt726 data get cifar10`"
    with pytest.raises(wrong, match=said.get(kind, "data_batch_3 must be an ordinary file") + again):
        load_dataset("cifar10", Reading(folders=[tmp_path]))
