"""Images that differ from the rest: nothing to see, very dark, blurred, tiny, of another shape, size or mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
from PIL import Image

from cli726.finetune.data.decoding import FORMATS, Pixels

# Levels, of 0 to 255: a standard deviation below which nothing is to be seen; what nearly all pixels lie below.
BLANK, DARK, NEARLY_ALL = 2.0, 40, 99
# Robust standard deviations beyond which a value is an outlier (Iglewicz and Hoaglin 1993).
FAR = 3.5
# Times the usual ratio of the sides; share of the usual side, and of what the network sees; what most files must have.
LONG, TINY, MOST = 2.0, 0.5, 0.9
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
BLOCK = 256
Values = npt.NDArray[np.float64]


def robust_scores(values: Values) -> Values:
    """Return how many robust standard deviations each value lies above the median; 0 where most are equal."""
    centred = values - np.median(values)
    spread = 1.4826 * np.median(np.abs(centred))
    return centred / spread if spread > 0 else np.zeros_like(values)


def look_at(pixels: Pixels) -> tuple[Values, Values, Values]:
    """Return each image's standard deviation, the level that 99 % of its pixels lie below, and how sharp it is.

    Sharpness is the logarithm of the mean square of the Laplacian over the variance. (N,) each.
    """
    parts = []
    for start in range(0, len(pixels), BLOCK):
        grey = pixels[start : start + BLOCK] @ LUMA  # (N, S, S)
        edges = (
            4 * grey[:, 1:-1, 1:-1] - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1] - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
        )
        variance = grey.var((1, 2))
        sharp = np.log(((edges**2).mean((1, 2)) + 1e-3) / np.maximum(variance, 1))
        parts.append((np.sqrt(variance), np.percentile(grey, NEARLY_ALL, (1, 2)), sharp))
    spread, level, sharp = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    return spread, level, sharp


def odd_pixels(pixels: Pixels) -> Iterator[tuple[int, str]]:
    """Yield images (N, S, S, 3) that are blank, very dark or blurred, by position, with the reason."""
    spread, level, sharp = look_at(pixels)
    seen = spread >= BLANK
    blurred = np.zeros(len(pixels), bool)
    if seen.any():
        blurred[seen] = robust_scores(sharp[seen]) < -FAR
    for position in np.flatnonzero(~seen | (level < DARK) | blurred):
        if not seen[position]:
            yield int(position), f"blank: levels vary by {spread[position]:.1f} of 255"
        elif level[position] < DARK:
            yield int(position), f"very dark: {NEARLY_ALL} % of it below level {level[position]:.0f} of 255"
        else:
            yield int(position), "blurred: far fewer edges than the other images"


def header_of(path: Path) -> tuple[int, int, str] | None:
    """Return an image file's width, height and mode, by its header alone; None where that can't be read."""
    with suppress(Exception), Image.open(path, formats=FORMATS) as picture:  # the pixels were read all the same
        return (*picture.size, picture.mode)
    return None


def odd_files(files: Sequence[Path], size: int) -> Iterator[tuple[int, str]]:
    """Yield files that are tiny or of another shape, size or mode than the rest, by position, with the reason.

    Args:
        files: Of images that were read.
        size: Side of what the network sees, in pixels.
    """
    headers = {position: header for position, path in enumerate(files) if (header := header_of(path))}
    if not headers:
        return
    usual_side = median(max(width, height) for width, height, _ in headers.values())
    usual_ratio = median(max(w, h) / min(w, h) for w, h, _ in headers.values())
    (usual, alike), *_ = Counter((w, h) for w, h, _ in headers.values()).most_common(1)
    (usual_mode, same), *_ = Counter(mode for *_, mode in headers.values()).most_common(1)
    for position, (width, height, mode) in headers.items():
        shape, side = f"{width} x {height} pixels", max(width, height)
        if side < TINY * size and side < TINY * usual_side:
            yield position, f"tiny: {shape}"
        elif side / min(width, height) > LONG * usual_ratio:
            yield position, f"odd shape: {shape}, where the usual ratio of sides is {usual_ratio:.2g}"
        elif (width, height) != usual and alike >= MOST * len(headers):
            yield position, f"odd size: {shape}, where {alike / len(headers):.0%} are {usual[0]} x {usual[1]}"
        if mode != usual_mode and same >= MOST * len(headers):
            yield position, f"odd mode: {mode}, where {same / len(headers):.0%} are {usual_mode}"
