"""Whole runs as users start them, against the course's procedure."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from benchmarks import course
from benchmarks.data import images, write_cifar10
from benchmarks.measure import PYTHON, ROOT, Row, command_seconds, compare, in_seconds, in_turn, per_second

# As many as CIFAR-10 leaves to train on, and its test images.
TRAINING, VALIDATION, TEST = 45_000, 5_000, 10_000
EPOCHS = 10
# Of the course's procedure as much is run as shows its rate: it is the same for every image.
SAMPLE = 1_024
LAYER3 = 10_000


class Launcher:
    """`cmpt726 finetune` in a fresh process on CIFAR-10 files of a temporary folder."""

    def __init__(self, folder: Path, training: int, test: int) -> None:
        self.folder = folder
        self.digests = write_cifar10(folder / "data", training, test)
        self.environment = {
            "CMPT726_DATA_DIR": str(folder / "data"), "CMPT726_CACHE_DIR": str(folder / "cache"),
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def run(self, *options: str) -> float:
        """Seconds of the whole process."""
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        words = [PYTHON, str(ROOT / "benchmarks" / "launch.py"), str(self.digests), "finetune", "--dataset", "cifar10"]
        return command_seconds([*words, "--no-gallery", "--run-dir", str(self.folder / "run"), *options],
                               self.environment)  # fmt: skip

    def epochs(self) -> list[dict[str, float]]:
        """The last run's log."""
        return [json.loads(line) for line in (self.folder / "run" / "metrics.jsonl").read_text().splitlines()]

    def forget(self) -> None:
        shutil.rmtree(self.folder / "cache", ignore_errors=True)


def head_rows(rounds: int) -> list[Row]:
    """Ten epochs of the head, the first time and the second."""
    sample = [array[:SAMPLE] for array in images(SAMPLE)]
    epoch = course.training_epoch(*sample)
    epoch()
    first, second, theirs = [], [], []
    with tempfile.TemporaryDirectory() as name:
        launcher = Launcher(Path(name), TRAINING + VALIDATION, TEST)
        for _ in range(rounds):
            launcher.forget()
            first.append(launcher.run("--cache"))
            second.append(launcher.run("--cache"))
            theirs.append(in_turn({"course": epoch}, 1, warm=False)["course"][0] * TRAINING * EPOCHS / SAMPLE)
    note = f"theirs from {SAMPLE:,} images, without its start and its validation"
    what = f"head, {EPOCHS} epochs of {TRAINING:,} images, whole process"
    return [
        compare(f"{what}, cache built", "the course's procedure", first, theirs, in_seconds, goal=40, note=note),
        compare(f"{what}, cache hit", "the course's procedure", second, theirs, in_seconds, goal=200, note=note),
    ]


def suffix_rows(rounds: int) -> list[Row]:
    """An epoch of layer3 from stored features, and one of the whole network from augmented images."""
    sample = [array[:SAMPLE] for array in images(SAMPLE)]
    plain, whole = course.training_epoch(*sample), course.training_epoch(*sample, everything=True)
    plain()
    stored, again, everything, theirs, theirs_whole = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        launcher = Launcher(Path(name), LAYER3 + VALIDATION, 1_000)
        layer3 = ("--unfreeze", "layer3", "--epochs", "2")
        for _ in range(rounds):
            launcher.run(*layer3, "--cache")
            stored.append(launcher.epochs()[-1]["seconds"])
            launcher.run(*layer3, "--recompute")
            again.append(launcher.epochs()[-1]["seconds"])
            launcher.run("--unfreeze", "all", "--epochs", "1", "--augment", "flip,crop")
            everything.append(launcher.epochs()[-1]["seconds"])
            seconds = in_turn({"plain": plain, "whole": whole}, 1, warm=False)
            theirs.append(seconds["plain"][0])
            theirs_whole.append(seconds["whole"][0])
    what = f"an epoch with --unfreeze layer3, {LAYER3:,} images"
    rate = per_second("images")
    return [
        compare(what, "the same with --recompute", stored, again, in_seconds, goal=1.7),
        compare(what, "the course's procedure", stored, theirs, rate, goal=5, scale=(LAYER3, SAMPLE)),
        compare("the whole network, flip and crop", "eager fp32, batch 32, torchvision's transforms in a DataLoader",
                everything, theirs_whole, rate, goal=2.4, scale=(LAYER3, SAMPLE)),
    ]  # fmt: skip


def rows(rounds: int) -> list[Row]:
    return [*head_rows(max(rounds // 2, 2)), *suffix_rows(max(rounds // 2, 2))]
