"""A phase's training inputs, an epoch at a time: from stored features, or from images through the frozen prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cli726.finetune import parallel
from cli726.finetune.augment.table import Augmentation, apply_all, draw_all
from cli726.finetune.chance import generator
from cli726.finetune.config import FinetuneConfig, Phase
from cli726.finetune.features.bank import Bank, Variant
from cli726.finetune.features.extractor import Extractor, Stored
from cli726.finetune.network.resnet import Normalization, as_maps
from cli726.text import listed

Inputs = Callable[[Tensor], Tensor]
"""From rows, positions of images, to what the trained suffix takes."""
Source = Callable[[tuple[int | str, ...] | None], Inputs]
"""The same for an epoch, given what its chance is for; for None without augmentation."""
PLAIN_BATCH = 256


def batch_sizes(images: int, batch: int, *, even: bool = True) -> list[int]:
    """Return the sizes of an epoch's batches: near to `batch`, and even, because a small last one destroys a network.

    (A step on four images at the full rate took one from 90.8 % to between 8 and 69 %.) With `even` off as the
    course's script has them, rest and all; only a rest of one joins the batch before: BatchNorm can't train on it.
    """
    if even:
        count = max(1, min(round(images / batch), images // 2))
        size, larger = divmod(images, count)
        return [size + 1] * larger + [size] * (count - larger)
    whole, rest = divmod(images, batch)
    sizes = [batch] * whole + [rest] * (rest > 0)
    if rest == 1 and whole:
        sizes[-2:] = [batch + 1]
    return sizes


@dataclass(frozen=True)
class Feed:
    """Labelled inputs of the trained suffix.

    Attributes:
        labels: Tensor (N,), on the device.
        sizes: Images of each batch of an epoch.
        purpose: Seed and phase: what its chance is for.
        source: Gives the inputs.
    """

    labels: Tensor
    sizes: Sequence[int]
    purpose: tuple[int | str, ...]
    source: Source

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) of this process's part of each batch, in this epoch's order."""
        purpose = (*self.purpose, epoch)
        inputs = self.source(purpose)
        order = torch.randperm(len(self.labels), generator=generator(*purpose, "order"))
        for batch in order.split(list(self.sizes)):
            rows = parallel.part(batch)
            yield inputs(rows), self.labels[rows.to(self.labels.device)]

    def plain(self, limit: int) -> Iterator[Tensor]:
        """Yield inputs of up to `limit` images, without augmentation, in their own order and in even batches."""
        inputs, images = self.source(None), min(limit, len(self.labels))
        for rows in torch.arange(images).split(batch_sizes(images, PLAIN_BATCH)):
            yield inputs(rows)


def from_stored(features: Stored) -> Source:
    """Return features that were computed once, as stored: (N, D) or (N, H, W, C)."""
    return lambda _: lambda rows: as_maps(features[rows.to(features.device)])


def from_views(views: Sequence[Stored]) -> Source:
    """Return features of several augmented versions of each image, by number; each epoch draws one for each."""

    def source(purpose: tuple[int | str, ...] | None) -> Inputs:
        count = len(views[0])
        drawn = torch.zeros(count, dtype=torch.int64)
        if purpose is not None:
            drawn = torch.randint(len(views), (count,), generator=generator(*purpose, "views"))

        def inputs(rows: Tensor) -> Tensor:
            chosen, where = drawn[rows], rows.to(views[0].device)
            batch = torch.empty_like(views[0][: len(rows)])
            for number in chosen.unique().tolist():
                mine = (chosen == number).to(where.device)
                batch[mine] = views[number][where[mine]]
            return as_maps(batch)

        return inputs

    return source


def from_images(
    pixels: Stored, normalization: Normalization, prefix: Extractor | None, augmentations: Sequence[Augmentation] = ()
) -> Source:
    """Return uint8 images (N, H, W, 3), augmented afresh in every epoch; without a prefix they are only normalised."""

    def source(purpose: tuple[int | str, ...] | None) -> Inputs:
        used = () if purpose is None else tuple(augmentations)
        drawn = draw_all(used, len(pixels), *(purpose or ()))

        def inputs(rows: Tensor) -> Tensor:
            images = apply_all(used, pixels[rows.to(pixels.device)], [parameters[rows] for parameters in drawn])
            return normalization(images) if prefix is None else as_maps(prefix(images))

        return inputs

    return source


def feed_for(bank: Bank, phase: Phase, config: FinetuneConfig, augmentations: Sequence[Augmentation]) -> Feed:
    """Return the training inputs of a phase; say what --cache, --augment and --views mean for it."""
    cut, labels = phase.cut, bank.labels("train")
    sizes = batch_sizes(len(labels), config.batch_for(len(labels)), even=config.even_batches)
    bank.forget_all_but(cut)
    stored = bank.stores(cut)
    text = ""
    if stored and config.views is not None:
        text = f"{config.views} augmented views of each image, one drawn in each epoch"
    elif stored and augmentations and config.cache:
        text = (
            "trains on the cached features of plain images; --augment takes effect where training starts from "
            "images, or with --views"
        )
    elif stored and augmentations:
        text = "augments afresh and computes the frozen part in every epoch"
        stored = False
    elif cut and not bank.pays(cut):
        text = f"runs the {listed(phase.stages[:cut])} live: what comes out is too large to be worth keeping"
    elif cut == 0 and config.cache:
        text = "trains from images; there is nothing frozen to cache"
    elif cut and not stored and not config.recompute:
        text = "features exceed a quarter of memory and are computed in every epoch; try --cache"
    if text:
        bank.reporter.say(f"phase {phase.name}: {text}")
    if stored and config.views is not None:
        variants = [Variant("view", number, config.augment, config.seed) for number in range(config.views)]
        source = from_views([bank.features("train", cut, variant) for variant in variants])
    elif stored:
        source = from_stored(bank.features("train", cut))
    else:
        prefix = bank.prefix(cut) if cut else None
        source = from_images(bank.pixels("train"), bank.normalization, prefix, augmentations)
    return Feed(labels, sizes, (config.seed, phase.name), source)
