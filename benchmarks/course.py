"""The course's procedure, written plainly: the whole network for every image in every epoch, 32 at a time.

What its script does, with this project's network so that both compute the same thing: per-image transforms in two
workers, float32, forward and backward through everything, SGD on the new layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cli726.finetune.data.vision import import_torchvision
from cli726.finetune.network.resnet import Network
from cli726.finetune.network.weights import COURSE_NORMALIZATION, load_weights

BATCH, WORKERS = 32, 2


class Pictures(Dataset):
    """Images as PIL hands them to torchvision's transforms."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, augmented: bool) -> None:
        transforms = import_torchvision().transforms
        steps = [transforms.RandomCrop(32, padding=4, padding_mode="reflect"), transforms.RandomHorizontalFlip()]
        last = [transforms.ToTensor(), transforms.Normalize(COURSE_NORMALIZATION.mean, COURSE_NORMALIZATION.std)]
        self.transform = transforms.Compose([transforms.ToPILImage(), *(steps if augmented else []), *last])
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pixels[index]), int(self.labels[index])


def batches(pixels: np.ndarray, labels: np.ndarray, *, augmented: bool = False) -> Iterator[list[Tensor]]:
    pictures = Pictures(pixels, labels, augmented)
    return iter(DataLoader(pictures, BATCH, shuffle=True, num_workers=WORKERS, generator=torch.Generator()))


def network() -> Network:
    return Network(load_weights("bundled", seed=0).build(), nn.Linear(64, 10)).train()


def training_epoch(pixels: np.ndarray, labels: np.ndarray, *, everything: bool = False) -> Callable[[], None]:
    """One epoch of the course's script; `everything`: augmented, and the whole network's weights are updated."""
    net = network()
    parameters = net.parameters() if everything else net.head.parameters()
    optimizer = torch.optim.SGD(parameters, lr=0.001, momentum=0.9)

    def epoch() -> None:
        for inputs, targets in batches(pixels, labels, augmented=everything):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()

    return epoch


def extraction(pixels: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """Features by the course's means: its DataLoader, its network, in evaluation mode."""
    backbone = network().backbone.eval()

    def extract() -> None:
        with torch.no_grad():
            for inputs, _ in batches(pixels, labels):
                backbone(inputs)

    return extract
