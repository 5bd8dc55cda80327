"""Data sets as arrays: uint8 pixels, labels, class names, a digest of the content, and splits."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
# Splits are drawn with a seed of their own, so that runs with different --seed are tested on the same images.
SPLIT_SEED = 726
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
        digest: SHA-256 of pixels and labels, or of the files' bytes and labels.
    """

    pixels: Pixels
    labels: Labels
    names: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, pixels: Pixels, labels: Labels, names: Sequence[str] | None = None) -> Images:
        """From arrays; the digest is theirs."""
        pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
        labels = np.ascontiguousarray(labels, dtype=np.int64)
        digest = hashlib.sha256(repr(pixels.shape).encode())
        digest.update(pixels.data)
        digest.update(labels.data)
        shown = tuple(str(i) for i in range(len(labels))) if names is None else tuple(names)
        return cls(pixels, labels, shown, digest.hexdigest())


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

    def images(self, split: SplitName) -> Images:
        """The images of one split, copied out of their pool."""
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


def draw_stratified(labels: Labels, among: Labels, share: float, purpose: int, leave: int) -> tuple[Labels, Labels]:
    """Divide `among` into (rest, drawn) with about `share` of each class drawn: at least one, and `leave` left.

    Shares are of all of a class's images in `among`; both parts come back in increasing order.
    """
    chance = np.random.default_rng((SPLIT_SEED, purpose))
    drawn = []
    for label in np.unique(labels[among]):
        members = among[labels[among] == label]
        count = min(max(round(share * len(members)), 1), len(members) - leave)
        drawn.append(chance.permutation(members)[:count])
    chosen = np.sort(np.concatenate(drawn))
    return np.setdiff1d(among, chosen), chosen


def make_splits(
    pools: Mapping[str, Images], test_fraction: float, val_fraction: float, classes: Sequence[str]
) -> dict[str, Split]:
    """Train, validation and test: the pools of that name, or stratified shares where there is none.

    Args:
        pools: Has "train" (or all there is), and perhaps "validation" and "test".
        test_fraction, val_fraction: Shares of all images that could still be trained on.
        classes: Names, for messages.

    Raises:
        RequestError: if a class has too few images for a part in every split.
    """
    everything = pools["train"]
    missing = [split for split in ("validation", "test") if split not in pools]
    counts = np.bincount(everything.labels, minlength=len(classes))
    poor = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < 1 + len(missing)]
    if poor:
        raise RequestError(
            f"every class needs at least {1 + len(missing)} images to be divided into "
            f"{', '.join(['training', *missing])}; too few: {', '.join(poor[:5])}; add images or leave the class out"
        )
    rest = np.arange(len(everything))
    splits = {}
    if "test" in pools:
        splits["test"] = Split("test", np.arange(len(pools["test"])))
    else:
        rest, chosen = draw_stratified(everything.labels, rest, test_fraction, 0, leave=len(missing))
        splits["test"] = Split("train", chosen)
    if "validation" in pools:
        splits["validation"] = Split("validation", np.arange(len(pools["validation"])))
    else:
        share = min(val_fraction * len(everything) / len(rest), 1)
        rest, chosen = draw_stratified(everything.labels, rest, share, 1, leave=1)
        splits["validation"] = Split("train", chosen)
    splits["train"] = Split("train", rest)
    return splits


def duplicates_across(dataset: Dataset) -> int:
    """How many validation and test images are identical, pixel for pixel, to an image of another split."""
    seen: dict[bytes, str] = {}
    copies = 0
    for name in ("train", "validation", "test"):
        split = dataset.splits[name]
        pixels = dataset.pools[split.pool].pixels
        for index in split.indices:
            digest = hashlib.blake2b(pixels[index], digest_size=16).digest()
            if seen.setdefault(digest, name) != name:
                copies += 1
    return copies
