"""One thread, tiny images, weights of our own: no test here needs a download or the bundled weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cli726.finetune.data.images import Dataset
from cli726.finetune.features.extractor import Normalization
from cli726.finetune.network.resnet import Network
from cli726.finetune.network.weights import save_weights
from tests.cli726.finetune.synthetic import lively_backbone, small_dataset, write_pictures

NORMALIZATION = Normalization((0.5, 0.4, 0.6), (0.2, 0.3, 0.25))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and galleries take longer than these runs; the command's tests have them."""
    monkeypatch.setattr("cli726.finetune.finetuning.write_artifacts", lambda *_: [])


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 PNGs of three classes."""
    return write_pictures(tmp_path_factory.mktemp("data") / "shapes", 72)


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file as `pretrain` writes them, of random weights."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    network = Network(lively_backbone(), torch.nn.Linear(64, 100))
    save_weights(path, network, NORMALIZATION, {"data": {"name": "noise", "digest": "0"}})
    return path


@pytest.fixture
def shapes() -> Dataset:
    """The same pictures in memory."""
    return small_dataset()
