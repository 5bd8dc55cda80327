"""CIFAR's own files: read as torchvision reads them, and only if they are the published ones."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.names import CIFAR
from cli726.finetune.data.sources import Reading
from cli726.finetune.data.vision import import_torchvision
from tests.cli726.finetune.synthetic import pictures

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


def test_torchvision_is_not_imported_for_it(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    code = (
        "import sys\n"
        "from pathlib import Path\nfrom cli726.errors import RequestError\n"
        "from cli726.finetune.data.sources import Reading\n"
        "from cli726.finetune.data.datasets import load_dataset\n"
        "try:\n    load_dataset('cifar10', Reading(folders=[Path(sys.argv[1])]))\n"
        "except RequestError:\n    print('torchvision' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
