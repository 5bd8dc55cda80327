"""Images to measure with: real ones where they are at hand, else random ones. Arithmetic does not care."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from benchmarks.measure import ROOT, SkippedError
from cli726.finetune.data.names import CIFAR

REAL = ROOT.parent / "shared" / "data"
CLASSES = 10


def reader() -> ModuleType:
    """What reads the real images."""
    spec = importlib.util.spec_from_file_location("read", REAL / "read.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_folders(root: Path, training: int, test: int) -> Path:
    """CIFAR-10's training images, as many of each class, in ROOT/train/CLASS/ and ROOT/test/CLASS/.

    Raises:
        SkippedError: where they aren't at hand.
    """
    if not hasattr(reader() if (REAL / "read.py").is_file() else None, "cifar10"):
        raise SkippedError("CIFAR-10 must be at hand: an accuracy of random images says nothing")
    pixels, labels, names = reader().cifar10()
    for label, name in enumerate(names):
        chosen = np.flatnonzero(labels == label)[: (training + test) // CLASSES]
        for number, place in enumerate(chosen):
            folder = root / ("test" if number < test // CLASSES else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[place]).save(folder / f"{number:05}.png")
    return root


@cache
def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (N, 32, 32, 3) and labels (N,) of ten classes: CIFAR-100's, its classes folded, if it is here."""
    if not (REAL / "read.py").is_file():
        chance = np.random.default_rng(0)
        return chance.integers(0, 256, (count, 32, 32, 3), np.uint8), chance.integers(0, CLASSES, count)
    pixels, labels, _ = reader().cifar100("train")
    pixels, labels = (np.resize(array, (count, *array.shape[1:])) for array in (pixels, labels))
    return pixels, labels % CLASSES


def kind() -> str:
    return "real images (CIFAR-100)" if (REAL / "read.py").is_file() else "random images"


def write_cifar10(root: Path, training: int, test: int) -> Path:
    """CIFAR-10's files with these images; the returned file has their digests, for `launch.py`."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    digests = {}
    pixels, labels = images(training + test)
    parts = np.split(np.arange(training + test), [training * n // 5 for n in range(1, 6)])
    names = [name for part in CIFAR["cifar10"].parts.values() for name in part]
    contents = {
        name: {"data": pixels[part].transpose(0, 3, 1, 2).reshape(-1, 3072).copy(), "labels": labels[part].tolist()}
        for name, part in zip(names, parts, strict=True)
    }
    for name, content in {**contents, "batches.meta": {"label_names": [f"class {n}" for n in range(CLASSES)]}}.items():
        written = pickle.dumps(content, protocol=4)
        (folder / name).write_bytes(written)
        digests[name] = hashlib.md5(written).hexdigest()
    path = root / "digests.json"
    path.write_text(json.dumps(digests))
    return path
