"""Tiny data and weights that the tests make for themselves, and what they compare."""

from __future__ import annotations

import copy
import functools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cli726.finetune.api import finetune
from cli726.finetune.backbones import RESNET20, cuts_of
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.images import Dataset, Images, make_splits
from cli726.finetune.folder import RunFolder
from cli726.finetune.network import resnet
from cli726.finetune.network.resnet import build_resnet
from cli726.finetune.storage import read_tensors

# Of the network that most tests use.
STAGES = RESNET20.stages
HEAD_ONLY, CUTS = len(STAGES), cuts_of(STAGES)
CLASSES = ("cross", "rows", "columns")
Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]
SHAPES: tuple[Shape, ...] = (
    lambda y, x: (abs(y - 16) < 4) | (abs(x - 16) < 4),
    lambda y, x: y % 8 < 4,
    lambda y, x: x % 8 < 4,
)


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (count, 32, 32, 3) of three shapes in random colours under noise, and their labels."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    labels = np.arange(count) % len(CLASSES)
    pixels = []
    for label in labels:
        mask = SHAPES[label](y + chance.integers(-3, 4), x + chance.integers(-3, 4))[..., None]
        clean = np.where(mask, chance.integers(0, 256, 3), chance.integers(0, 256, 3))
        pixels.append(np.clip(clean + chance.normal(0, 60, (32, 32, 3)), 0, 255))
    return np.stack(pixels).astype(np.uint8), labels.astype(np.int64)


def write_pictures(root: Path, count: int, seed: int = 0) -> Path:
    """PATH/CLASS/NUMBER.png."""
    for number, (image, label) in enumerate(zip(*pictures(count, seed), strict=True)):
        folder = root / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return root


def small_dataset(count: int = 72, seed: int = 0) -> Dataset:
    """One pool of `count` pictures, divided."""
    pools = {"train": Images.of(*pictures(count, seed))}
    return Dataset("shapes", CLASSES, pools, make_splits(pools, 0.2, 0.2, CLASSES))


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """Return a network whose BatchNorm statistics and scales are anything but their defaults; in eval mode."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    return network.eval()


def lively_backbone(seed: int = 0, depth: int = 20) -> torch.nn.Sequential:
    """Random weights whose BatchNorm statistics and scales are anything but their defaults; in eval mode."""
    return copy.deepcopy(made_lively(seed, depth, resnet.CHANNELS))


@functools.cache
def made_lively(seed: int, depth: int, _channels: tuple[int, ...]) -> torch.nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_resnet(depth).train()
        for _ in range(3):
            backbone(torch.randn(32, 3, 32, 32))
        for module in backbone.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    return backbone.eval()


class Listener:
    """A reporter that remembers every line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, task: str, total: int) -> None: ...

    def advance(self, steps: int) -> None: ...

    def finish(self, text: str) -> None:
        self.lines.append(text)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None: ...


def metrics(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what a clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in {"seconds", "images_per_second"}} for line in lines]


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two state dicts agree in names, types, shapes and every bit."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def run(config: FinetuneConfig, path: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor], dict[str, Tensor]]:
    """Run a configuration; (metrics without times, best tensors, last checkpoint's tensors)."""
    finetune(config, path)
    return metrics(path), read_tensors(path / "best.safetensors")[0], read_tensors(path / "last.safetensors")[0]


class Stopped(BaseException):
    """What an interrupt looks like from inside."""


@contextmanager
def stopped(
    after: int,
    *,
    written: bool = True,
    error: BaseException | None = None,
    keeper: type = RunFolder,
    by: str = "keep_epoch",
) -> Iterator[None]:
    """What is run meanwhile must end after that epoch: once it has been written down by `keeper`, or just before."""
    keep, ends = getattr(keeper, by), error or Stopped()

    def stopping(self: Any, *arguments: Any) -> None:
        epoch = arguments[-1].epoch
        if written or epoch < after:
            keep(self, *arguments)
        if epoch == after:
            raise ends

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keeper, by, stopping)
        try:
            yield
        except type(ends):
            return
    raise AssertionError("nothing ended")


def assert_same_result(run: Path, whole: Path) -> None:
    """A run that was gone on with must have ended as one that was left in peace, in every bit."""
    assert metrics(run) == metrics(whole)
    for name in ("best.safetensors", "model.json", "last.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    mine, theirs = (json.loads((path / "summary.json").read_bytes()) for path in (run, whole))
    for name in ("best", "test", "l2"):
        assert mine[name] == theirs[name], name


def development_data() -> Path:
    """The folder of real images, or a visible skip: CMPT726_TEST_DATA, else `../shared/data` beside the repository."""
    named = os.environ.get("CMPT726_TEST_DATA")
    path = Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real images in {path}; CMPT726_TEST_DATA names a folder that holds cifar10/")
    return path


def small_run(folder: Path, weights: Path | str, **options: Any) -> FinetuneConfig:
    """Three epochs in batches of 16, in float32, unless told otherwise."""
    chosen: dict[str, Any] = {"epochs": 3, "batch_size": 16, "precision": "fp32", **options}
    return FinetuneConfig(dataset=f"folder:{folder}", weights=str(weights), **chosen)
