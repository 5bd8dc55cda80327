"""Fine-tuning beside fastai: the same images, weights and number of epochs, each program in its own way.

    python -m benchmarks.bench_fastai --epochs 4

fastai's `fine_tune` trains the new layer for a quarter of the epochs and then everything, with flips; ours the same.
Both are whole processes that read the images from a folder, nothing cached yet, and are tested on the same other
images. fastai lives in an environment of its own, build/fastai, made here with the torch that ours has.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path
from statistics import mean

import torch

from benchmarks.bench_accuracy import run
from benchmarks.data import write_folders
from benchmarks.measure import ROOT, Row, SkippedError, command_seconds, compare, in_seconds
from cli726.finetune.training.evaluation import wilson_interval

PLACE = ROOT / "build" / "fastai"
# With what ours needs: its network and its weights are trained there.
WANTED = (str(ROOT), "fastai>=2.8,<2.9", *(f"{name}=={version(name)}" for name in ("torch", "torchvision")))
TRAINING, TEST = 10_000, 2_000


def interpreter() -> Path:
    """The Python of fastai's environment, which is made if it isn't there.

    Raises:
        SkippedError: where it can't be had, with pip's last words.
    """
    python, done = PLACE / "bin" / "python", PLACE / ".installed"
    if not done.exists():
        venv.create(PLACE, with_pip=True)
        options = shlex.split(os.environ.get("PIP_OPTIONS", ""))
        words = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", *options, *WANTED]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SkippedError(f"fastai can't be installed: {' '.join(ended.stderr.split())[-300:]}")
        done.touch()
    return python


def fastai(python: Path, folder: Path, seed: int, head: int, whole: int) -> dict[str, float]:
    """One run of fastai's: its correct test images, their number, and its seconds."""
    with tempfile.TemporaryDirectory() as name:
        answer = Path(name) / "answer.json"
        words = [str(python), str(ROOT / "benchmarks" / "fastai_run.py"), str(folder), str(answer)]
        words += map(str, (head, whole, seed, torch.get_num_threads()))
        seconds = command_seconds(words, {"PYTHONPATH": str(ROOT), "FASTAI_HOME": name})
        return {**json.loads(answer.read_text()), "seconds": seconds}


def rows(rounds: int, epochs: int = 20) -> list[Row]:
    python, head = interpreter(), max(epochs // 4, 1)
    ours, theirs = [], []
    words = ("--cache", "--unfreeze-after", str(head), "--epochs", str(epochs), "--augment", "flip")
    with tempfile.TemporaryDirectory() as name:
        folder = write_folders(Path(name), TRAINING, TEST)
        for seed in range(rounds):
            ours.append(run(f"folder:{folder}", seed, words, ["--threads", str(torch.get_num_threads())]))
            theirs.append(fastai(python, folder, seed, head, epochs - head))
    said = []
    for results in (ours, theirs):
        share, images = mean(one["correct"] / one["images"] for one in results), int(results[0]["images"])
        low, high = wilson_interval(round(share * images), images)
        said.append(f"{share:.1%} ({low:.1%} to {high:.1%})")
    return [
        compare(
            f"finetune {' '.join(words)}, {TRAINING:,} images of CIFAR-10",
            f"fastai 2.8, fine_tune({epochs - head}, freeze_epochs={head}), flips, our weights",
            [one["seconds"] for one in ours], [one["seconds"] for one in theirs], in_seconds,
            note=f"of {TEST:,} other images right {said[0]} against {said[1]}",
        )
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    print(*rows(options.rounds, options.epochs), sep="\n")


if __name__ == "__main__":
    main()
