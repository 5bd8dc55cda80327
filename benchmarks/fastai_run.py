"""fastai's own fine-tuning of our network, in fastai's environment; `bench_fastai.py` starts it.

python fastai_run.py FOLDER ANSWER FREEZE_EPOCHS EPOCHS SEED THREADS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from cli726.finetune.data.vision import import_torchvision
from cli726.finetune.network.weights import load_weights

import_torchvision()  # also where it was built for another torch

from fastai.vision.all import (  # noqa: E402
    CrossEntropyLossFlat,
    Flip,
    ImageDataLoaders,
    Learner,
    Normalize,
    accuracy,
    get_image_files,
    params,
    set_seed,
)

VALIDATION = 0.15


def main(folder: Path, answer: Path, freeze: int, epochs: int, seed: int, threads: int) -> None:
    """Fine-tune as fastai's documentation has it, and write how many test images are right."""
    torch.set_num_threads(threads)
    set_seed(seed, reproducible=True)
    weights = load_weights("bundled")
    treated = [Flip(), Normalize.from_stats(weights.normalization.mean, weights.normalization.std, cuda=False)]
    loaders = ImageDataLoaders.from_folder(
        folder / "train", valid_pct=VALIDATION, seed=seed, batch_tfms=treated, device=torch.device("cpu")
    )
    network = nn.Sequential(weights.build(), nn.Linear(64, loaders.c))
    groups = lambda network: [params(network[0]), params(network[1])]  # noqa: E731
    learner = Learner(loaders, network, loss_func=CrossEntropyLossFlat(), splitter=groups, metrics=accuracy)
    with learner.no_bar():
        learner.fine_tune(epochs, freeze_epochs=freeze)
    scores, labels = learner.get_preds(dl=loaders.test_dl(get_image_files(folder / "test"), with_labels=True))
    correct = int((scores.argmax(1) == labels).sum())
    answer.write_text(json.dumps({"correct": correct, "images": len(labels)}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), *map(int, sys.argv[3:]))
