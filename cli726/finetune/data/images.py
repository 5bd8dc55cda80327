"""Data sets as arrays: uint8 pixels, labels, class names, digests of the content, splits, duplicates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cli726.errors import RequestError
from cli726.finetune.data.decoding import (
    PLAIN,
    WHITES,
    Deep,
    Levels,
    Pixels,
    Treatment,
    fit_size,
    flatten,
    levels_of,
    room_for,
    shrunk,
)
from cli726.reporting import Reporter
from cli726.text import counted

# Splits are drawn by a hash of their own, so that runs with different --seed are tested on the same images.
SPLIT_SEED = b"cmpt726 splits"
# Of all images, where no share was typed, and no more than so many.
SHARE = 0.15
MOST_DRAWN = 5000
BLOCK = 256
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images in an order that never changes."""

    pixels: Pixels  # uint8 ndarray of shape (N, S, S, 3), RGB
    labels: Labels  # int64 ndarray of shape (N,), from 0
    names: tuple[str, ...]  # file name or number of each image, to show
    # Like `digests`, of the images as ResNet20 sees them, where another backbone doesn't: splits are drawn by them, so
    # that all backbones are tested on the same images.
    places: Pixels | None = None
    files: tuple[Path, ...] = ()  # where each image was read from, if it was a file

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, pixels: Pixels, labels: Labels, names: Sequence[str] | None = None) -> Images:
        """Return images from arrays, numbered where there are no names."""
        shown = map(str, range(len(labels))) if names is None else names
        return cls(np.ascontiguousarray(pixels, np.uint8), np.ascontiguousarray(labels, np.int64), tuple(shown))

    def joined(self, more: Images) -> Images:
        """Return these images and more of them."""
        pixels, labels = np.concatenate([self.pixels, more.pixels]), np.concatenate([self.labels, more.labels])
        both = None if self.places is None or more.places is None else np.concatenate([self.places, more.places])
        return Images(pixels, labels, (*self.names, *more.names), both, (*self.files, *more.files))

    @classmethod
    def fitted(cls, arrays: Pixels, labels: Labels, treatment: Treatment) -> Images:
        """Return images from uint8 arrays of any size (N, H, W[, C])."""
        images = cls.of(fit_size(arrays, treatment), labels)
        return images if treatment.words == PLAIN.words else replace(images, places=digests_of(fit_size(arrays)))

    @cached_property
    def digests(self) -> Pixels:
        """Return SHA-256 of each image's pixels: uint8 ndarray of shape (N, 32)."""
        return digests_of(self.pixels)

    @cached_property
    def digest(self) -> str:
        """Return SHA-256 of shape, pixels and labels."""
        parts = (repr(self.pixels.shape[1:]).encode(), self.digests.data, self.labels.data)
        return hashlib.sha256(b"".join(parts)).hexdigest()


def digests_of(pixels: Sequence[Any] | Pixels) -> Pixels:
    """Return the SHA-256 of each image's pixels: uint8 ndarray of shape (N, 32)."""
    hashed = b"".join(hashlib.sha256(image.data).digest() for image in pixels)
    return np.frombuffer(hashed, np.uint8).reshape(len(pixels), 32)


class Pile:
    """Images of one split while they are read."""

    def __init__(self, most: int, treatment: Treatment = PLAIN) -> None:
        self.pixels = room_for(most, treatment.size)
        self.places: list[bytes] = []
        self.labels: list[Any] = []
        self.names: list[str] = []
        self.files: list[Path] = []
        # Pictures of other levels than eight bits: as they are, or their white where eight bits hold enough of them.
        self.deep: dict[int, Deep] = {}
        self.whites: dict[int, float] = {}
        self.low, self.high = math.inf, -math.inf

    def add(self, picture: Pixels | Deep, label: Any, name: str, small: Pixels | Deep | None = None) -> None:
        """Append an image; `small` is what ResNet20 would see, where another backbone doesn't."""
        if small is not None:
            array = small.values if isinstance(small, Deep) else small
            self.places.append(hashlib.sha256(np.ascontiguousarray(array).data).digest())
        index = len(self.labels)
        if isinstance(picture, Deep):
            self.low, self.high = min(self.low, picture.low), max(self.high, picture.high)
            _, white = levels_of(picture.low, picture.high)
            # A signed set's range may end at this picture's largest value: a level must not be coarse for that.
            if white in WHITES and picture.low >= 0 and white / 2 <= picture.high <= white:
                self.pixels[index], self.whites[index] = flatten(picture, (0, white)), white
            else:
                self.deep[index] = picture
        else:
            self.pixels[index] = picture
        self.labels.append(label)
        self.names.append(name)

    def flatten(self, levels: Levels) -> None:
        """Bring all images to one range."""
        for index, picture in self.deep.items():
            self.pixels[index] = flatten(picture, levels)
        for index, white in self.whites.items():
            if levels != (0, white):
                values = self.pixels[index].astype(np.float32) * (white / 255)
                self.pixels[index] = flatten(Deep(values, 0, white), levels)


def settle(
    piles: Mapping[str, Pile], reporter: Reporter, stated: Levels | None = None
) -> tuple[dict[str, Images], Levels | None]:
    """Return the images of each split, other levels than eight bits brought to one range, and that range.

    Says the range, and names images that show nothing. `stated` is the range of a model's training images.
    """
    levels = None
    if deep := sum(len(pile.deep) + len(pile.whites) for pile in piles.values()):
        low, high = min(pile.low for pile in piles.values()), max(pile.high for pile in piles.values())
        levels = levels_of(low, high, stated)
        reporter.say(
            f"levels: {counted(deep, 'image')} with values from {low:g} to {high:g}, read as {levels[0]:g} (black) "
            f"to {levels[1]:g} (white)"
        )
    pools: dict[str, Images] = {}
    empty: list[str] = []
    for split, pile in piles.items():
        if levels:
            pile.flatten(levels)
        kept = pile.pixels[: len(pile.labels)]
        empty += [name for name, image in zip(pile.names, kept, strict=True) if (image == image[0, 0]).all()]
        places = np.frombuffer(b"".join(pile.places), np.uint8).reshape(-1, 32) if pile.places else None
        pools[split] = Images(kept, np.array(pile.labels, dtype=np.int64), tuple(pile.names), places, tuple(pile.files))
    if empty:
        reporter.say(
            f"note: {counted(len(empty), 'image')} of one colour alone, such as {empty[0]}: nothing to see there"
        )
    return pools, levels


@dataclass(frozen=True)
class Skipped:
    """A file, or an item of somebody's data set, that was not read."""

    name: str
    reason: str
    # Unused: it may be an image, or is one in a place where it isn't used. Other: a document or hidden file, which
    # nobody misses.
    kind: Literal["broken", "unused", "other"] = "broken"


@dataclass(frozen=True)
class Split:
    """Some of the images of one pool: its name, and their positions there, int64, increasing."""

    pool: str
    indices: Labels

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Dataset:
    """A classification problem."""

    name: str
    class_names: tuple[str, ...]
    pools: Mapping[str, Images]  # as they came: "train" alone, or one for each split that the data set has of its own
    splits: Mapping[str, Split] = field(default_factory=dict)  # train, validation and test, once it is divided
    left_out: tuple[Skipped, ...] = ()
    levels: Levels | None = None  # what black and white are, where its images have other levels than eight bits
    treated: Treatment = PLAIN  # how its images were brought to one size, and for which backbone

    @property
    def skipped(self) -> tuple[str, ...]:
        """Return the names of images that are broken or couldn't be read."""
        return tuple(one.name for one in self.left_out if one.kind == "broken")

    @property
    def treatment(self) -> str:
        """Return the treatment of each image, in words."""
        words = self.treated.words
        return words if self.levels is None else f"{words}; levels {self.levels[0]:g} to {self.levels[1]:g}"

    @property
    def digest(self) -> str:
        """Return SHA-256 over the pools' digests and the class names."""
        parts = [f"{name} {pool.digest}" for name, pool in sorted(self.pools.items())]
        return hashlib.sha256("\n".join([*parts, *self.class_names]).encode()).hexdigest()

    def chosen(self, split: SplitName) -> tuple[Images, Labels]:
        """Return the pool that a split's images are in, and their positions there."""
        return self.pools[self.splits[split].pool], self.splits[split].indices

    def labels(self, split: SplitName) -> Labels:
        """Return the labels (N,) of one split."""
        pool, indices = self.chosen(split)
        return pool.labels[indices]

    def pixels(self, split: SplitName, members: npt.NDArray[np.intp] | None = None) -> Pixels:
        """Return the images (N, S, S, 3) of one split, or of some of its positions, copied out of their pool."""
        pool, indices = self.chosen(split)
        return pool.pixels[indices if members is None else indices[members]]

    def image_digests(self, split: SplitName) -> Pixels:
        """Return the SHA-256 of each image's pixels, uint8 of shape (N, 32), of one split."""
        pool, indices = self.chosen(split)
        return pool.digests[indices]

    def identities(self, split: SplitName) -> Pixels:
        """Return a digest of each image of one split, uint8 of shape (N, 32), that is the same for all backbones."""
        pool, indices = self.chosen(split)
        return (pool.digests if pool.places is None else pool.places)[indices]

    def images(self, split: SplitName) -> Images:
        """Return the images of one split, copied out of their pool."""
        pool, indices = self.chosen(split)
        return Images(pool.pixels[indices], pool.labels[indices], tuple(pool.names[i] for i in indices))

    def thumbnails(self, split: SplitName, side: int) -> Images:
        """Return the images of one split to be shown, of at most `side` pixels; copied block by block."""
        pool, indices = self.chosen(split)
        blocks = np.array_split(indices, -(-len(indices) // BLOCK))
        pixels = np.concatenate([shrunk(pool.pixels[block], side) for block in blocks])
        return Images(pixels, pool.labels[indices], tuple(pool.names[i] for i in indices))


def share_of(typed: float | None, images: int, largest: int = MOST_DRAWN) -> tuple[float, float]:
    """Return a drawn split's share of `images` images and what is added before rounding down.

    The largest number of images holds for images rounded up to two digits, so that one more changes no class's share.
    """
    if typed is not None:
        return typed, 0.5
    unit = 10 ** max(len(str(images)) - 2, 0)
    most = largest / (-(-images // unit) * unit)
    return (SHARE, 0.5) if most >= SHARE else (most, 1e-6)


def divide(units: int, shares: Mapping[SplitName, tuple[float, float]]) -> npt.NDArray[np.int64]:
    """Return the split of each of `units` ranked images: 1 (test) for the first, 2 (validation) for the last, else 0.

    One more unit moves each boundary by at most one. Each part has at least one.
    """
    parts = np.zeros(units, np.int64)
    room = units - len(shares) - 1
    for split, (share, extra) in shares.items():
        count = 1 + min(max(int(share * units + extra) - 1, 0), room)
        room -= count - 1
        parts[slice(count) if split == "test" else slice(units - count, None)] = 1 if split == "test" else 2
    return parts


def draw_parts(images: Images, shares: Mapping[SplitName, tuple[float, float]]) -> npt.NDArray[np.int64]:
    """Return the part of each image (0 training, 1 test, 2 validation), by the rank of its content within its class.

    Identical images get the same part, which the lowest of their labels decides; only a class of fewer different
    images than there are parts is divided copy by copy. One image added, removed or relabelled moves at most one other
    across each boundary in the classes that it touches.
    """
    digests = images.digests if images.places is None else images.places
    hashed = [hashlib.sha256(SPLIT_SEED + digest.tobytes()).digest()[:8] for digest in digests]
    places = np.frombuffer(b"".join(hashed), ">u8")
    units, unit_of = np.unique(places, return_inverse=True)  # in the order of their places
    home = np.full(len(units), np.iinfo(np.int64).max)
    np.minimum.at(home, unit_of, images.labels)
    parts_of_units = np.zeros(len(units), np.int64)
    scarce = []
    for label in np.unique(images.labels):
        own = np.flatnonzero(home == label)
        if len(own) > len(shares):
            parts_of_units[own] = divide(len(own), shares)
        else:
            scarce.append(label)
    parts = parts_of_units[unit_of]
    for label in scarce:
        members = np.flatnonzero(images.labels == label)
        parts[members[np.argsort(places[members], kind="stable")]] = divide(len(members), shares)
    return parts


def make_splits(
    pools: Mapping[str, Images],
    test_fraction: float | None,
    val_fraction: float | None,
    classes: Sequence[str],
    val_most: int | None = None,
) -> dict[str, Split]:
    """Return train, validation and test: the pools of that name, or stratified shares where there is none.

    The fractions are of all images that could still be trained on; None: 15 %, at most 5,000; 0: none are drawn.
    `val_most` takes the place of 5,000 for validation where there is a test pool.
    `classes` are names, for the RequestError where a class has too few images for a part in every split.
    """
    everything = pools["train"]
    typed: dict[SplitName, float | None] = {"test": test_fraction, "validation": val_fraction}
    largest = {"test": MOST_DRAWN, "validation": val_most if val_most and "test" in pools else MOST_DRAWN}
    shares = {
        split: share_of(typed[split], len(everything), largest[split])
        for split in typed
        if split not in pools and typed[split] != 0
    }
    counts = np.bincount(everything.labels, minlength=len(classes))
    poor = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count <= len(shares)]
    if poor:
        raise RequestError(
            f"every class needs at least {1 + len(shares)} images to be divided into "
            f"{', '.join(['training', *reversed(shares)])}; too few: {', '.join(poor[:5])}; add images or leave the "
            "class out"
        )
    parts = draw_parts(everything, shares) if shares else np.zeros(len(everything), np.int64)
    splits = {"train": Split("train", np.flatnonzero(parts == 0))}
    for number, split in enumerate(typed, 1):
        own = split in pools
        indices = np.arange(len(pools[split])) if own else np.flatnonzero(parts == number)
        splits[split] = Split(split if own else "train", indices)
    return splits


# Split, class and name of an image.
Place = tuple[SplitName, str, str]


def find_duplicates(dataset: Dataset) -> list[list[Place]]:
    """Return images that lie in several splits or under several labels, each with its copies, pixel for pixel."""
    groups: dict[bytes, list[Place]] = {}
    for split in SPLITS:
        pool, indices = dataset.chosen(split)
        for index in indices:
            place = (split, dataset.class_names[pool.labels[index]], pool.names[index])
            groups.setdefault(pool.digests[index].tobytes(), []).append(place)
    return [group for group in groups.values() if len({place[:2] for place in group}) > 1]


def duplicates_across(dataset: Dataset) -> int:
    """Return how many validation and test images are identical, pixel for pixel, to an image of another split."""
    return sum(split != group[0][0] for group in find_duplicates(dataset) for split, _, _ in group)


def lists_of(dataset: Dataset) -> dict[str, str]:
    """Return what a run folder lists of its data, by file: what was not read and why, and identical images."""
    skipped = [f"{one.name}\t{one.reason}" for one in dataset.left_out]
    groups = ["\n".join("\t".join(place) for place in group) for group in find_duplicates(dataset)]
    lists = {"skipped.txt": "\n".join(skipped), "duplicates.txt": "\n\n".join(groups)}
    return {file: f"{text}\n" for file, text in lists.items() if text}
