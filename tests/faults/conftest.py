"""Pictures, weights and runs that are small enough to be killed often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cli726.finetune.network import resnet
from cli726.finetune.network.resnet import Network
from cli726.finetune.network.weights import save_weights
from tests.cli726.finetune.conftest import NORMALIZATION
from tests.cli726.finetune.synthetic import lively_backbone, write_pictures
from tests.harness import peak_memory


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 PNGs of three classes."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "shapes", 60)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of random weights, for the network that the module uses."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, Network(lively_backbone(), torch.nn.Linear(resnet.CHANNELS[-1], 100)), NORMALIZATION, {})
    return path


@pytest.fixture
def options(pictures: Path, weights: Path, tmp_path: Path) -> tuple[object, ...]:
    """`finetune`'s options for a small run on one thread, its cache in a folder of its own."""
    return (
        "--dataset", f"folder:{pictures}", "--weights", weights, "--precision", "fp32", "--threads", 1,
        "--cache", "--cache-dir", tmp_path / "cache", "--batch-size", 16,
    )  # fmt: skip


@pytest.fixture
def unadorned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures and no gallery: they take longer than these runs."""
    monkeypatch.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])


@pytest.fixture
def finetune(cmpt726: Callable[..., Any], options: tuple[object, ...], unadorned: None) -> Callable[..., Any]:
    """`cmpt726 finetune` in this process with those options."""
    return lambda *arguments: cmpt726("finetune", *options, *arguments)


@pytest.fixture
def growth() -> Callable[..., AbstractContextManager[None]]:
    """`with growth(below=BYTES)`: how far this process's largest memory may rise meanwhile."""

    @contextmanager
    def watch(below: int) -> Iterator[None]:
        before = peak_memory()
        yield
        assert peak_memory() - before < below

    return watch
