"""One thread, tiny images, weights of our own: no test here needs a download or the bundled weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cli726.finetune.api import finetune
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.images import Dataset
from cli726.finetune.features import bank
from cli726.finetune.network import resnet
from cli726.finetune.network.build import expected_tensors
from cli726.finetune.network.resnet import Network, Normalization
from cli726.finetune.network.weights import save_weights
from cli726.finetune.result import Finetuned
from tests.cli726.finetune.synthetic import (
    CLASSES,
    Listener,
    lively_backbone,
    small_dataset,
    small_run,
    write_pictures,
)

NORMALIZATION = Normalization((0.5, 0.4, 0.6), (0.2, 0.3, 0.25))
SMALL = (4, 8, 8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and galleries take longer than these runs; the command's tests have them."""
    monkeypatch.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 PNGs of three classes."""
    return write_pictures(tmp_path_factory.mktemp("data") / "shapes", 72)


# What the weights files say that they were trained on.
STATED = {"data": {"name": "noise", "digest": "0"}}


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file as `pretrain` writes them, of random weights."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    network = Network(lively_backbone(), torch.nn.Linear(64, 100))
    save_weights(path, network, NORMALIZATION, STATED)
    return path


@contextmanager
def shrunk() -> Iterator[None]:
    """A network of a few channels, for tests of everything but its numbers: it costs a sixteenth."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(resnet, "CHANNELS", SMALL)
        patched.setattr(bank, "WORTH", 20)  # fewer channels, less work for a byte
        expected_tensors.cache_clear()
        yield
    expected_tensors.cache_clear()


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file for the small network."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    with shrunk():
        save_weights(path, Network(lively_backbone(), torch.nn.Linear(SMALL[-1], 100)), NORMALIZATION, STATED)
    return path


@pytest.fixture(scope="session")
def small(shapes_folder: Path, small_weights: Path) -> Callable[..., FinetuneConfig]:
    """A configuration of the small network on the pictures: two epochs, unless told otherwise."""
    return lambda **options: small_run(shapes_folder, small_weights, **{"epochs": 2, **options})


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory, small: Any) -> Callable[..., tuple[Finetuned, list[str]]]:
    """A finished run of `small` with these options, and what it said; made once for all tests that ask for it."""
    made: dict[str, tuple[Finetuned, list[str]]] = {}

    def make(**options: Any) -> tuple[Finetuned, list[str]]:
        key = json.dumps(options, sort_keys=True)
        if key not in made:
            place, listener = tmp_path_factory.mktemp("runs"), Listener()
            caching = {"cache_dir": str(place / "cache")} if options.get("cache") else {}
            with shrunk(), pytest.MonkeyPatch.context() as patched:
                patched.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
                made[key] = finetune(small(**caching, **options), place / "run", reporter=listener), listener.lines
        return made[key]

    return make


@pytest.fixture(scope="session")
def finished(told: Any) -> Callable[..., Finetuned]:
    """The run of `told` alone."""
    return lambda **options: told(**options)[0]  # type: ignore[no-any-return]


@pytest.fixture
def shapes() -> Dataset:
    """The same pictures in memory."""
    return small_dataset()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of 90 x 70 pixels in two classes: coarse noise, red or blue."""
    folder, chance = tmp_path_factory.mktemp("data") / "photographs", np.random.default_rng(0)
    for number in range(40):
        noise = chance.integers(0, 256, (7, 9, 3), np.uint8).repeat(10, 0).repeat(10, 1)
        noise[..., 2 * (number % 2)] //= 2
        (folder / CLASSES[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(folder / CLASSES[number % 2] / f"{number:02}.png")
    return folder
