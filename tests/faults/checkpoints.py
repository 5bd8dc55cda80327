"""Run as a script: replaces a run's best model and checkpoint again and again, each time with a fault at another call.

`checkpoints.py FOLDER 0 5` first kills the process at its first, second, ... system call, then makes that call fail
with error number 5. FOLDER/before holds the run after one epoch, FOLDER/after the same after two.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from cli726.finetune.config import FinetuneConfig, plan_phases
from cli726.finetune.folder import RunFolder
from cli726.finetune.network.heads import build_head
from cli726.finetune.network.resnet import Network, build_resnet
from cli726.finetune.training import Best, EpochMetrics, Progress
from tests.cli726.finetune.conftest import SMALL, shrunk
from tests.harness import at_each_call

CONFIG = FinetuneConfig(epochs=4)
PHASES = plan_phases(CONFIG)
MODEL = {
    "architecture": {"family": "CIFAR ResNet", "depth": 20},
    "head": {"kind": "linear", "dropout": 0.0, "batch_norm": False},
    "classes": ["one", "two"],
    "normalization": {"mean": [0.5] * 3, "std": [0.25] * 3},
    "precision": "float32",
}


def write_epoch(folder: RunFolder, epoch: int) -> None:
    """A new best model and a checkpoint, as the training loop has them written."""
    torch.manual_seed(epoch)
    network = Network(build_resnet(20), build_head(SMALL[-1], 2, torch.Generator(), standardize=False))
    best = Best("head", epoch, 1 / (epoch + 1), 1.0)
    metrics = EpochMetrics("head", epoch, 1.0, 0.5, 1.0, best.val_error, 0.1, 100.0, 1.0)
    folder.keep_best(network, best)
    folder.keep_epoch(network, None, Progress(epoch, best, 0, (best.val_error, 1.0)), metrics)


def opened(path: Path) -> RunFolder:
    folder, _, _ = RunFolder.open(path)
    folder.model = MODEL
    return folder


def main() -> None:
    folder, numbers = Path(sys.argv[1]), [int(number) for number in sys.argv[2:]]
    torch.set_num_threads(1)
    begun = RunFolder.create(folder / "before", CONFIG, {})
    begun.model = MODEL
    write_epoch(begun, 1)
    shutil.copytree(folder / "before", folder / "after")
    write_epoch(opened(folder / "after"), 2)

    def prepare(place: Path) -> Callable[[], None]:
        shutil.copytree(folder / "before", place)
        run = opened(place)
        return lambda: write_epoch(run, 2)

    for number in numbers:
        at_each_call(folder / str(number), number or None, prepare)


if __name__ == "__main__":
    with shrunk():
        main()
