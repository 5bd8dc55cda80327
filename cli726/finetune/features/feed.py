"""Where a phase's inputs come from: stored features, or images through augmentation and the frozen prefix.

One interface, so that the training loop doesn't know which it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cli726.finetune.augment.table import Augmentation, apply_all, draw_all
from cli726.finetune.features.extractor import Extractor, Normalization, as_maps
from cli726.finetune.parallel import ALONE, Group, Part
from cli726.finetune.training.chance import generator

__all__ = ["Feed", "ImageFeed", "StoredFeed", "ViewsFeed"]


class Feed(Protocol):
    """Labelled inputs of the trained suffix, an epoch at a time."""

    labels: Tensor
    batch_size: int

    @property
    def steps(self) -> int:
        """Batches an epoch."""

    @property
    def parts(self) -> Sequence[Part]:
        """How much of each batch is this process's part."""

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) of this process's part of each batch, in this epoch's order."""

    def plain(self, limit: int) -> Iterator[Tensor]:
        """Inputs of up to `limit` images, without augmentation, in their own order."""


def steps_for(images: int, batch_size: int) -> int:
    """Batches an epoch; a last one of a single image joins the one before it: BatchNorm can't train on one."""
    whole, rest = divmod(images, batch_size)
    return max(whole + (rest > 1), 1)


def parts_for(images: int, batch_size: int, group: Group) -> list[Part]:
    """This process's part of each batch."""
    rest = steps_for(images, batch_size) - 1
    return [group.part_of(batch_size)] * rest + [group.part_of(images - rest * batch_size)]


def shuffled(images: int, batch_size: int, purpose: tuple[int | str, ...], group: Group) -> Iterator[Tensor]:
    """Positions 0..images-1 in the order that `purpose` draws, in batches; of each, this process's part."""
    order = torch.randperm(images, generator=generator(*purpose, "order"))
    last = steps_for(images, batch_size) - 1
    for step in range(last + 1):
        yield group.part(order[step * batch_size : None if step == last else (step + 1) * batch_size])


class StoredFeed:
    """Features that were computed once."""

    def __init__(
        self, features: Tensor, labels: Tensor, batch_size: int, seed: int, phase: str, group: Group = ALONE
    ) -> None:
        """Take features as stored, (N, 64) or (N, H, W, C), and labels (N,)."""
        self.features = features
        self.labels = labels
        self.batch_size = batch_size
        self.purpose = (seed, phase)
        self.group = group

    @property
    def steps(self) -> int:
        return steps_for(len(self.labels), self.batch_size)

    @property
    def parts(self) -> Sequence[Part]:
        return parts_for(len(self.labels), self.batch_size, self.group)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in shuffled(len(self.labels), self.batch_size, (*self.purpose, epoch), self.group):
            where = chosen.to(self.features.device)
            yield as_maps(self.features[where]), self.labels[where]

    def plain(self, limit: int) -> Iterator[Tensor]:
        for block in self.features[:limit].split(256):
            yield as_maps(block)


class ViewsFeed(StoredFeed):
    """Features of several augmented versions of each image; each epoch draws one for each."""

    def __init__(
        self, views: Sequence[Tensor], labels: Tensor, batch_size: int, seed: int, phase: str, group: Group = ALONE
    ) -> None:
        """Take at least one version of the features, in order of their numbers."""
        super().__init__(views[0], labels, batch_size, seed, phase, group)
        self.views = views

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        purpose = (*self.purpose, epoch)
        count = len(self.labels)
        drawn = torch.randint(len(self.views), (count,), generator=generator(*purpose, "views"))
        for chosen in shuffled(count, self.batch_size, purpose, self.group):
            where = chosen.to(self.features.device)
            batch = torch.empty_like(self.features[: len(chosen)])
            for number in drawn[chosen].unique().tolist():
                mine = (drawn[chosen] == number).to(where.device)
                batch[mine] = self.views[number][where[mine]]
            yield as_maps(batch), self.labels[where]


class ImageFeed:
    """Images, augmented afresh in every epoch, through the frozen prefix if there is one."""

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        batch_size: int,
        seed: int,
        phase: str,
        *,
        prefix: Extractor | None,
        normalization: Normalization,
        augmentations: Sequence[Augmentation] = (),
        group: Group = ALONE,
    ) -> None:
        """Take uint8 images (N, 32, 32, 3) and labels (N,); without a prefix they are only normalised."""
        self.pixels = pixels
        self.labels = labels
        self.batch_size = batch_size
        self.purpose = (seed, phase)
        self.prefix = prefix
        self.normalization = normalization
        self.augmentations = tuple(augmentations)
        self.group = group

    @property
    def steps(self) -> int:
        return steps_for(len(self.labels), self.batch_size)

    @property
    def parts(self) -> Sequence[Part]:
        return parts_for(len(self.labels), self.batch_size, self.group)

    def inputs(self, pixels: Tensor) -> Tensor:
        return self.normalization(pixels) if self.prefix is None else as_maps(self.prefix(pixels))

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        purpose = (*self.purpose, epoch)
        count = len(self.labels)
        drawn = draw_all(self.augmentations, count, *purpose)
        for chosen in shuffled(count, self.batch_size, purpose, self.group):
            where = chosen.to(self.pixels.device)
            batch = apply_all(self.augmentations, self.pixels[where], [parameters[chosen] for parameters in drawn])
            yield self.inputs(batch), self.labels[where]

    def plain(self, limit: int) -> Iterator[Tensor]:
        for block in self.pixels[:limit].split(256):
            yield self.inputs(block)
