"""Data sets as arrays: uint8 pixels, labels, class names, a digest of the content, and splits."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageOps

from cli726.errors import RequestError

__all__ = [
    "SIZE",
    "TREATMENT",
    "Dataset",
    "Images",
    "Split",
    "SplitName",
    "decode",
    "duplicates_across",
    "fit_size",
    "from_any",
    "make_splits",
]

SIZE = 32
# What decode() does, in words; part of every cache key, with Pillow's version, which does the resampling.
TREATMENT = (
    f"upright by EXIF; centre square; {SIZE} x {SIZE} Lanczos, antialiased; RGB on white; Pillow {PIL.__version__}"
)
# Splits are drawn by a hash of their own, so that runs with different --seed are tested on the same images.
SPLIT_SEED = b"cmpt726 splits"
# Of all images, where no share was typed, and no more than so many.
SHARE = 0.15
MOST_DRAWN = 5000
# Formats that decoders handle safely; a name's ending proves nothing, and EPS would start an interpreter.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# Pillow only warns of these, and a filter of warnings can't be set in one of several threads.
MOST_PIXELS = 89_478_485

SplitName = Literal["train", "validation", "test"]
Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images in an order that never changes.

    Attributes:
        pixels: uint8 ndarray of shape (N, 32, 32, 3), RGB.
        labels: int64 ndarray of shape (N,), from 0.
        names: File name or number of each image, to show.
    """

    pixels: Pixels
    labels: Labels
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, pixels: Pixels, labels: Labels, names: Sequence[str] | None = None) -> Images:
        """Return images from arrays, numbered where there are no names."""
        shown = map(str, range(len(labels))) if names is None else names
        return cls(np.ascontiguousarray(pixels, np.uint8), np.ascontiguousarray(labels, np.int64), tuple(shown))

    @cached_property
    def digests(self) -> Pixels:
        """SHA-256 of each image's pixels: uint8 ndarray of shape (N, 32)."""
        hashed = b"".join(hashlib.sha256(image.data).digest() for image in self.pixels)
        return np.frombuffer(hashed, np.uint8).reshape(len(self.pixels), 32)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shape, pixels and labels."""
        parts = (repr(self.pixels.shape[1:]).encode(), self.digests.data, self.labels.data)
        return hashlib.sha256(b"".join(parts)).hexdigest()


@dataclass(frozen=True)
class Split:
    """Some of the images of one pool.

    Attributes:
        pool: Which pool they are in.
        indices: int64 ndarray, increasing: their positions there.
    """

    pool: str
    indices: Labels

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Dataset:
    """A classification problem.

    Attributes:
        name: To show and to name runs after.
        class_names: One for each label.
        pools: The images as they came: one pool, or one for each split that the data set has of its own.
        splits: train, validation and test as index sets into the pools.
        skipped: Names of broken images that were left out.
    """

    name: str
    class_names: tuple[str, ...]
    pools: Mapping[str, Images]
    splits: Mapping[str, Split]
    skipped: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over the pools' digests and the class names."""
        parts = [f"{name} {pool.digest}" for name, pool in sorted(self.pools.items())]
        return hashlib.sha256("\n".join([*parts, *self.class_names]).encode()).hexdigest()

    def labels(self, split: SplitName) -> Labels:
        """Labels (N,) of one split."""
        chosen = self.splits[split]
        return self.pools[chosen.pool].labels[chosen.indices]

    def pixels(self, split: SplitName, members: npt.NDArray[np.intp] | None = None) -> Pixels:
        """Images (N, 32, 32, 3) of one split, or of some of its positions, copied out of their pool."""
        chosen = self.splits[split]
        indices = chosen.indices if members is None else chosen.indices[members]
        return self.pools[chosen.pool].pixels[indices]

    def image_digests(self, split: SplitName) -> Pixels:
        """Return the SHA-256 of each image's pixels, uint8 of shape (N, 32), of one split."""
        chosen = self.splits[split]
        return self.pools[chosen.pool].digests[chosen.indices]

    def images(self, split: SplitName) -> Images:
        """Return the images of one split, copied out of their pool."""
        chosen = self.splits[split]
        pool = self.pools[chosen.pool]
        names = [pool.names[i] for i in chosen.indices]
        return Images.of(self.pixels(split), self.labels(split), names)


def decode(content: bytes) -> Pixels:
    """One image file as the network sees it: upright, cut square about the centre, 32 x 32, RGB.

    Args:
        content: The file's bytes.

    Returns:
        uint8 ndarray of shape (32, 32, 3).

    Raises:
        ValueError: if it is no image of a known format, broken, or a decompression bomb.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"more than {MOST_PIXELS:,} pixels: a decompression bomb")
            if picture.format == "JPEG":
                picture.draft("RGB", (4 * SIZE, 4 * SIZE))  # decodes large photos at a fraction of their size
            return treat(picture)
    # Decoders raise nearly anything on nearly anything; every one of them means the same here.
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def treat(picture: Image.Image) -> Pixels:
    """An opened image as the network sees it, of shape (32, 32, 3); `TREATMENT` says how."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in {"I;16", "I;16B", "I", "F"}:
        upright = stretch(upright)
    if upright.has_transparency_data:
        # What lies under a transparent pixel was never meant to be seen.
        opaque = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    square = ImageOps.fit(upright.convert("RGB"), (SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(square, dtype=np.uint8)


def from_any(image: object) -> Pixels:
    """An item of somebody's data set: a PIL image, an array (H, W[, C]), or a tensor (C, H, W).

    Floats are taken to lie within 0 and 1, as torchvision's `ToTensor` makes them.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(image, Image.Image):
        return treat(image)
    levels = np.asarray(image)
    if levels.ndim == 3 and levels.shape[0] in {1, 3} and not isinstance(image, np.ndarray):
        levels = levels.transpose(1, 2, 0)
    if np.issubdtype(levels.dtype, np.floating):
        levels = (np.clip(levels, 0, 1) * 255).round().astype(np.uint8)
    if levels.dtype != np.uint8 or levels.ndim not in {2, 3} or (levels.ndim == 3 and levels.shape[2] not in {1, 3}):
        raise ValueError(
            f"an image must be a PIL image, an array (H, W[, 1 or 3]) or a tensor (1 or 3, H, W), of uint8 or floats "
            f"from 0 to 1; got {type(image).__name__} of shape {levels.shape} and type {levels.dtype}"
        )
    fitted: Pixels = fit_size(levels[None])[0]
    return fitted


def stretch(picture: Image.Image) -> Image.Image:
    """16-bit and float grey levels brought to 8 bits by their largest possible value (or their own, if beyond it)."""
    levels = np.asarray(picture, dtype=np.float64)
    top = max(65535.0 if levels.max() > 255 else 255.0, levels.max())
    return Image.fromarray(np.clip(levels * (255 / top), 0, 255).astype(np.uint8))


def fit_size(pixels: Pixels) -> Pixels:
    """Arrays of any size (N, H, W[, C]) as (N, 32, 32, 3), treated as files are."""
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    if pixels.shape[1:3] == (SIZE, SIZE):
        return np.ascontiguousarray(pixels)
    return np.stack([treat(Image.fromarray(image)) for image in pixels])


def share_of(typed: float | None, images: int) -> tuple[float, float]:
    """Return a drawn split's share of `images` images and what is added before rounding down.

    The largest number of images holds for images rounded up to two digits, so that one more changes no class's share.
    """
    if typed is not None:
        return typed, 0.5
    unit = 10 ** max(len(str(images)) - 2, 0)
    most = MOST_DRAWN / (-(-images // unit) * unit)
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
    hashed = [hashlib.sha256(SPLIT_SEED + digest.tobytes()).digest()[:8] for digest in images.digests]
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
    pools: Mapping[str, Images], test_fraction: float | None, val_fraction: float | None, classes: Sequence[str]
) -> dict[str, Split]:
    """Return train, validation and test: the pools of that name, or stratified shares where there is none.

    Args:
        pools: Has "train" (or all there is), and perhaps "validation" and "test".
        test_fraction, val_fraction: Shares of all images that could still be trained on; None: 15 %, at most 5,000.
        classes: Names, for messages.

    Raises:
        RequestError: if a class has too few images for a part in every split.
    """
    everything = pools["train"]
    typed: dict[SplitName, float | None] = {"test": test_fraction, "validation": val_fraction}
    shares = {split: share_of(typed[split], len(everything)) for split in typed if split not in pools}
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


def duplicates_across(dataset: Dataset) -> int:
    """Return how many validation and test images are identical, pixel for pixel, to an image of another split."""
    seen: dict[bytes, str] = {}
    copies = 0
    names: tuple[SplitName, ...] = ("train", "validation", "test")
    for name in names:
        for digest in dataset.image_digests(name):
            copies += seen.setdefault(digest.tobytes(), name) != name
    return copies
