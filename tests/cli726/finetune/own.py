"""Code as users write it, for `python:`, and the tables of `csv:`."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from tests.cli726.finetune.synthetic import pictures

HEADS = """
import torch
from torch import nn

def small(features, classes):
    return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, classes))

def wide(features, classes):
    return nn.Linear(features, classes + 1)

def flat(features, classes):
    class Flat(nn.Linear):
        def forward(self, x):
            return super().forward(x).flatten()
    return Flat(features, classes)

def failing(features, classes):
    return 1 / 0

def leaving(features, classes):
    raise SystemExit(0)

def function(features, classes):
    return lambda x: x[:, :classes]

def idle(features, classes):
    class Idle(nn.Module):
        def forward(self, x):
            return x[:, :classes]
    return Idle()

def tied(features, classes):
    one, other = nn.Linear(features, features), nn.Linear(features, features)
    other.weight = one.weight
    return nn.Sequential(one, other, nn.Linear(features, classes))

not_a_function = 3
"""

DATA = """
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from tests.cli726.finetune.synthetic import pictures

PIXELS, LABELS = pictures(60)

@dataclass(eq=False)
class Items(Dataset):
    items: list

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

def only_training(make):
    def give(split):
        return Items([(make(i), int(LABELS[i])) for i in range(60)]) if split == "train" else None
    return give

pil = only_training(lambda i: Image.fromarray(PIXELS[i]))
rgb = only_training(lambda i: PIXELS[i])
grey = only_training(lambda i: PIXELS[i].mean(2).astype(np.uint8))
one_channel = only_training(lambda i: PIXELS[i].mean(2, keepdims=True).astype(np.uint8))
floats = only_training(lambda i: torch.from_numpy(PIXELS[i]).permute(2, 0, 1) / 255)
grey_floats = only_training(lambda i: torch.from_numpy(PIXELS[i]).permute(2, 0, 1).float().mean(0, keepdim=True) / 255)
planes = lambda i: torch.from_numpy(PIXELS[i]).permute(2, 0, 1)
levels = only_training(planes)
long = only_training(lambda i: planes(i).long())
words = only_training(lambda i: PIXELS[i].astype(np.uint16) * 257)
normalised = only_training(lambda i: (planes(i) / 255 - 0.5) / 0.25)
slightly = only_training(lambda i: planes(i) / 255 - 0.4)
signed = only_training(lambda i: PIXELS[i].astype(np.int16) - 128)
endless = only_training(lambda i: np.full((32, 32), np.inf))
WIDE = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)

def wide(split):
    return Items([(x, i % 2) for i, x in enumerate(WIDE)]) if split == "train" else None

def wide_pil(split):
    return Items([(Image.fromarray(x), i % 2) for i, x in enumerate(WIDE)]) if split == "train" else None

def labelled(label, classes=None, n=60):
    def give(split):
        if split != "train":
            return None
        part = Items([(PIXELS[i], label(i)) for i in range(n)])
        if classes is not None:
            part.classes = classes
        return part
    return give

tensor_labels = labelled(lambda i: torch.tensor(LABELS[i]))
numpy_labels = labelled(lambda i: np.int64(LABELS[i]))
named = labelled(lambda i: int(LABELS[i]), ["crosses", "rows", "columns"])
too_few_names = labelled(lambda i: int(LABELS[i]), ["crosses"])
strange_names = labelled(lambda i: int(LABELS[i]), 7)
negative = labelled(lambda i: int(LABELS[i]) - 1)
enormous = labelled(lambda i: 10**12)
fractions = labelled(lambda i: LABELS[i] + 0.5)
one_hot = labelled(lambda i: torch.eye(3)[LABELS[i]])
words_for_labels = labelled(lambda i: "cat")
one_class = labelled(lambda i: 0)
no_images = labelled(lambda i: 0, n=0)

def all_splits(split):
    start, end = {"train": (0, 36), "validation": (36, 48), "test": (48, 60)}[split]
    return Items([(PIXELS[i], int(LABELS[i])) for i in range(start, end)])

def validation_drawn(split):
    return all_splits(split) if split != "validation" else None

def turned(split):
    '''What it keeps under torchvision's names is not what it gives.'''
    part = rgb(split)
    if part is not None:
        part.data, part.targets = np.zeros((60, 32, 32, 3), np.uint8), [0] * 60
    return part

def no_training(split):
    return None

def no_length(split):
    return iter([])

def raises(split):
    raise KeyError("my own mistake")

def fails_late(split):
    class Late(Items):
        def __getitem__(self, index):
            return {}["my own mistake"]
    return Late([None] * 60)

def wrong_type(split):
    return Items(["a picture"] * 60)

def wrong_image(split):
    return Items([("a.png", 0)] * 60)

def two_channels(split):
    return Items([(np.zeros((32, 32, 2)), 0)] * 60)

def talkative(split):
    print("from my own code")
    return rgb(split)
"""

AUGMENTATIONS = """
def darken(images, generator):
    return images // 2
"""

CANARY = """
from pathlib import Path
Path({canary!r}).write_text("run")
"""


def write_code(path: Path, source: str) -> Callable[[str], str]:
    """Write a file of code; gives the option's value for one of its functions."""
    path.write_text(source)
    return lambda function: f"python:{path}:{function}"


def write_table(folder: Path, labels: Sequence[str], each: int = 6) -> Path:
    """`folder/data.csv` with `each` pictures of every label."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, _ = pictures(each * len(labels))
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(folder / f"{number:03}.png")
            table.writerow([f"{number:03}.png", labels[number % len(labels)]])
    return folder / "data.csv"
