"""One picture as the network sees it: upright, cut square about the centre, 32 x 32, RGB; levels beyond eight bits."""

from __future__ import annotations

import importlib
import io
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageOps, features

__all__ = [
    "HEIC", "SIZE", "TREATMENT", "WHITES", "Deep", "Levels", "Pixels", "decode", "fit_size", "flatten", "from_any",
    "is_picture", "levels_of", "open_picture",
]  # fmt: skip

SIZE = 32
# What open_picture() does, in words; part of every cache key, with Pillow's version, which does the resampling.
TREATMENT = (
    f"upright by EXIF; centre square; {SIZE} x {SIZE} Lanczos, antialiased; RGB on white; Pillow {PIL.__version__}"
)
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
class Deep:
    """A picture of other levels than eight bits, whose range its data set decides."""

    values: npt.NDArray[np.float32]  # (32, 32) or (32, 32, 3), as they were stored
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
    """Return a picture in eight bits, of shape (32, 32, 3)."""
    black, white = levels
    scaled = np.clip((picture.values - black) * (255 / ((white - black) or 1)), 0, 255).round().astype(np.uint8)
    return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=-1)


def decode(content: bytes | Image.Image, levels: Levels | None = None) -> Pixels:
    """Return one image as the network sees it, of shape (32, 32, 3).

    Args:
        content: A file's bytes, or an image that was opened already.
        levels: Those of the data set that a model was trained on, for a picture of other levels than eight bits.

    Raises:
        ValueError: if it is no image of a known format, broken, or a decompression bomb.
    """
    picture = treat(content) if isinstance(content, Image.Image) else open_picture(content)
    return flatten(picture, levels_of(picture.low, picture.high, levels)) if isinstance(picture, Deep) else picture


def open_picture(content: bytes) -> Pixels | Deep:
    """Return an image file's pixels of shape (32, 32, 3), or its levels where they aren't eight bits; as `decode`."""
    try:
        with Image.open(io.BytesIO(content), formats=formats_for(content)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"more than {MOST_PIXELS:,} pixels: a decompression bomb")
            if picture.format == "JPEG":
                picture.draft("RGB", (4 * SIZE, 4 * SIZE))  # decodes large photos at a fraction of their size
            return treat(picture)
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


def fit(picture: Image.Image) -> Image.Image:
    """Return an image of any mode, cut square about its centre and resized to 32 x 32: every picture comes by here."""
    return ImageOps.fit(picture, (SIZE, SIZE), Image.Resampling.LANCZOS)


def treat(picture: Image.Image) -> Pixels | Deep:
    """Return an opened image as the network sees it; `TREATMENT` says how."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in {"I", "F"} or upright.mode.startswith("I;16"):
        return deepen(np.asarray(upright))
    if upright.has_transparency_data:
        # What lies under a transparent pixel was never meant to be seen.
        opaque = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return np.asarray(fit(upright.convert("RGB")), dtype=np.uint8)


def deepen(array: npt.NDArray[np.generic]) -> Deep:
    """Return values of any real type, (H, W) or (H, W, 1 or 3), fitted; ValueError if one isn't finite."""
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("an image must have finite values; it has NaN or infinity")
    planes = np.moveaxis(values.reshape(*values.shape[:2], -1), 2, 0)
    fitted = np.stack([np.asarray(fit(Image.fromarray(plane)), np.float32) for plane in planes], axis=-1)
    return Deep(fitted[..., 0] if len(planes) == 1 else fitted, float(values.min()), float(values.max()))


def from_any(image: object) -> Pixels | Deep:
    """Return an item of somebody's data set: a PIL image, an array (H, W[, C]), a tensor (C, H, W); else ValueError."""
    if isinstance(image, Image.Image):
        return treat(image)
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[0] in {1, 3} and not isinstance(image, np.ndarray):
        array = array.transpose(1, 2, 0)
    if array.dtype.kind not in "buif" or array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3}):
        raise ValueError(
            f"an image must be a PIL image, an array (H, W[, 1 or 3]) or a tensor (1 or 3, H, W) of real numbers; got "
            f"{type(image).__name__} of shape {array.shape} and type {array.dtype}"
        )
    return deepen(array) if array.dtype != np.uint8 else fit_size(array[None])[0]


def fit_size(pixels: Pixels) -> Pixels:
    """Return uint8 arrays of any size (N, H, W[, C]) as (N, 32, 32, 3), treated as files are."""
    coloured = np.broadcast_to(pixels.reshape(*pixels.shape[:3], -1), (*pixels.shape[:3], 3))
    if coloured.shape[1:3] == (SIZE, SIZE):
        return np.ascontiguousarray(coloured)
    return np.stack([np.asarray(fit(Image.fromarray(np.ascontiguousarray(image))), np.uint8) for image in coloured])
