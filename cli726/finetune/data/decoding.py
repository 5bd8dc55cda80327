"""One picture as the network sees it: upright, brought to a square, RGB; levels beyond eight bits."""

from __future__ import annotations

import importlib
import io
import math
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageOps, features

from cache.system import memory_limit
from cache.writing import reserve
from cli726.finetune.backbones import RESNET20, Backbone, Fit

# Formats that decoders handle safely; a name's ending proves nothing, and EPS would start an interpreter.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", *(["AVIF"] if features.check("avif") else []))
SIGNATURES = (
    b"\x89PNG\r\n", b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6",
)  # fmt: skip
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
# The reason for a picture that phones write and Pillow doesn't read by itself.
HEIC = ".heic (install pillow-heif, or convert to .jpg)"
# Pillow only warns of these, and a filter of warnings can't be set in one of several threads.
MOST_PIXELS = 89_478_485
# What white is, by the largest value; resampling overshoots by a few percent.
WHITES = (1.0, 255.0, 4095.0, 65535.0)
OVERSHOOT = 0.05

Pixels = npt.NDArray[np.uint8]
# Black and white.
Levels = tuple[float, float]


@dataclass(frozen=True)
class Treatment:
    """A way to bring every picture to what a backbone takes.

    Attributes:
        kind: The backbone.
        size: Side of the square, in pixels: S in the shapes of this module.
        fit: "crop" cuts a square about the centre, "pad" adds white at two sides, "squash" scales the sides apart.
    """

    kind: Backbone = RESNET20
    size: int = RESNET20.size
    fit: Fit = RESNET20.fit

    @classmethod
    def of(cls, kind: Backbone, size: int | None = None, fit: str = "auto") -> Treatment:
        """Return a backbone's own treatment, but for what is given."""
        return cls(kind, size or kind.size, kind.fit if fit == "auto" else cast(Fit, fit))

    @property
    def words(self) -> str:
        """Return the treatment in words; part of every cache key, with Pillow's version, which does the resampling."""
        square = {"crop": "centre square", "pad": "padded to a square", "squash": "squashed to a square"}[self.fit]
        return (
            f"upright by EXIF; {square}; {self.size} x {self.size} {self.kind.resampling.capitalize()}, antialiased; "
            f"RGB on white; Pillow {PIL.__version__}"
        )

    @property
    def coarse(self) -> tuple[int, int]:
        """Return the size at which a JPEG file is decoded, at the least: large photographs at a fraction of theirs."""
        return (4 * self.size,) * 2 if self.size <= PLAIN.size else (2 * self.size,) * 2

    def __call__(self, picture: Image.Image) -> Image.Image:
        """Return an image of any mode at the size wanted: every picture comes by here."""
        shape, method = (self.size, self.size), Image.Resampling[self.kind.resampling]
        if self.fit == "pad":
            white: Any = "white" if picture.mode == "RGB" else picture.getextrema()[1]
            return ImageOps.pad(picture, shape, method, white)
        return picture.resize(shape, method) if self.fit == "squash" else ImageOps.fit(picture, shape, method)


# ResNet20's own, by which splits are drawn, whatever the network sees.
PLAIN = Treatment()


@dataclass(frozen=True)
class Deep:
    """A picture of other levels than eight bits, whose range its data set decides."""

    values: npt.NDArray[np.float32]  # (S, S, 1) or (S, S, 3), as they were stored
    low: float  # the least of the whole picture, and the largest
    high: float


def levels_of(low: float, high: float, stated: Levels | None = None) -> Levels:
    """Return what black and white are for values from `low` to `high`.

    Those stated, as a model's training images had them, unless the values exceed them by far. Else 0 and the first of
    1, 255, 4,095, 65,535 that the largest value doesn't exceed; signed values from least to largest.
    """
    if stated is not None and high <= 2 * max(map(abs, stated)):
        return stated
    white = next((white for white in WHITES if high <= white * (1 + OVERSHOOT)), high)
    return (0.0, white) if low >= -OVERSHOOT * high else (low, high)


def flatten(picture: Deep, levels: Levels) -> Pixels:
    """Return a picture in eight bits, of shape (S, S, 3)."""
    black, white = levels
    scaled = np.clip((picture.values - black) * (255 / ((white - black) or 1)), 0, 255).round().astype(np.uint8)
    return np.repeat(scaled, 3 // scaled.shape[2], axis=2)


def decode(content: bytes | Image.Image, levels: Levels | None = None, treatment: Treatment = PLAIN) -> Pixels:
    """Return one image as the network sees it, of shape (S, S, 3).

    Args:
        content: A file's bytes, or an image that was opened already.
        treatment: How it is brought to its size.
        levels: Those of the data set that a model was trained on, for a picture of other levels than eight bits.

    Raises:
        ValueError: if it is no image of a known format, broken, or a decompression bomb.
    """
    picture = treat(content, treatment) if isinstance(content, Image.Image) else open_picture(content, treatment)
    return flatten(picture, levels_of(picture.low, picture.high, levels)) if isinstance(picture, Deep) else picture


def open_picture(content: bytes, treatment: Treatment = PLAIN) -> Pixels | Deep:
    """Return an image file's pixels of shape (S, S, 3), or its levels where they aren't eight bits; as `decode`."""
    try:
        with Image.open(io.BytesIO(content), formats=formats_for(content)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"more than {MOST_PIXELS:,} pixels: a decompression bomb")
            if picture.format == "JPEG":
                picture.draft("RGB", treatment.coarse)
            return treat(picture, treatment)
    # Decoders raise nearly anything on nearly anything; every one of them means the same here.
    except Exception as error:
        raise error if str(error) == HEIC else ValueError(f"{type(error).__name__}: {error}") from error


def is_heif(beginning: bytes) -> bool:
    return beginning[4:8] == b"ftyp" and beginning[8:12] in HEIF_BRANDS


def is_picture(beginning: bytes) -> bool:
    """Return whether a file's first twelve bytes are those of a picture, whatever the file is called."""
    riff = beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP"
    return riff or is_heif(beginning) or beginning[4:12] == b"ftypavif" or beginning.startswith(SIGNATURES)


def formats_for(content: bytes) -> tuple[str, ...]:
    """Return the formats to try; HEIF only where the user has installed its decoder."""
    if not is_heif(content):
        return FORMATS
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
        return ("HEIF",)
    raise ValueError(HEIC)


def side_of(path: Path) -> int | None:
    """Return the longer side of an image file, in pixels, by its header alone; None where that can't be read."""
    with suppress(Exception), Image.open(path, formats=FORMATS) as picture:  # what is wrong with it is said later
        return max(picture.size)
    return None


def treat(picture: Image.Image, treatment: Treatment) -> Pixels | Deep:
    """Return an opened image as the network sees it."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in {"I", "F"} or upright.mode.startswith("I;16"):
        return deepen(np.asarray(upright), treatment)
    if upright.has_transparency_data:
        # What lies under a transparent pixel was never meant to be seen.
        opaque = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return np.asarray(treatment(upright.convert("RGB")), dtype=np.uint8)


def deepen(array: npt.NDArray[np.generic], treatment: Treatment) -> Deep:
    """Return values of any real type, (H, W) or (H, W, 1 or 3), fitted; ValueError if one isn't finite."""
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("an image must have finite values; it has NaN or infinity")
    planes = np.moveaxis(values.reshape(*values.shape[:2], -1), 2, 0)
    fitted = np.stack([np.asarray(treatment(Image.fromarray(plane)), np.float32) for plane in planes], axis=-1)
    return Deep(fitted, float(values.min()), float(values.max()))


def from_any(image: object, treatment: Treatment = PLAIN) -> Pixels | Deep:
    """Return an item of somebody's data set: a PIL image, an array (H, W[, C]), a tensor (C, H, W); else ValueError."""
    if isinstance(image, Image.Image):
        return treat(image, treatment)
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[0] in {1, 3} and not isinstance(image, np.ndarray):
        array = array.transpose(1, 2, 0)
    if array.dtype.kind not in "buif" or array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3}):
        raise ValueError(
            f"an image must be a PIL image, an array (H, W[, 1 or 3]) or a tensor (1 or 3, H, W) of real numbers; got "
            f"{type(image).__name__} of shape {array.shape} and type {array.dtype}"
        )
    return deepen(array, treatment) if array.dtype != np.uint8 else fit_size(array[None], treatment)[0]


def room_for(images: int, size: int) -> Pixels:
    """Return pixels (N, S, S, 3) to be filled: in memory, or beyond a quarter of it in a nameless file on disk."""
    shape = (images, size, size, 3)
    if math.prod(shape) <= memory_limit():
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        reserve(file.fileno(), math.prod(shape))  # a disk that fills up under a map kills the process
        return np.memmap(file, np.uint8, "r+", shape=shape)


def fit_size(pixels: Pixels, treatment: Treatment = PLAIN) -> Pixels:
    """Return uint8 arrays of any size (N, H, W[, C]) as (N, S, S, 3), treated as files are."""
    coloured = np.broadcast_to(pixels.reshape(*pixels.shape[:3], -1), (*pixels.shape[:3], 3))
    if coloured.shape[1:3] == (treatment.size, treatment.size):
        return np.ascontiguousarray(coloured)
    fitted = room_for(len(pixels), treatment.size)
    for place, image in enumerate(coloured):
        fitted[place] = np.asarray(treatment(Image.fromarray(np.ascontiguousarray(image))), np.uint8)
    return fitted


def shrunk(pixels: Pixels, side: int) -> Pixels:
    """Return images (N, S, S, 3) to be shown at `side` pixels, where they are larger."""
    if pixels.shape[1] <= side:
        return pixels
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side)), np.uint8) for image in pixels])
