"""The gallery: one HTML file that shows every test image with its classification scores.

It needs nothing beside itself and fetches nothing: images lie in sprite sheets as `data:` URIs, and a content security
policy allows the one style and the one script by their SHA-256. Without the script it is a plain table, worst first.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from cli726.finetune.data.decoding import SIZE, Pixels
from cli726.finetune.data.images import Labels
from cli726.finetune.storage import replace_file

__all__ = ["write_gallery"]

Probabilities = npt.NDArray[np.float32]
Parts: TypeAlias = tuple[str, ...]

# A browser that prints decodes the sheet anew for every tile: sheets of 32 x 32 made that three times slower.
TILES = 8
# Of 10,000 CIFAR-10 images: 6.2 MB, against 29 MB without loss. At 4:4:4 no colour crosses from tile to tile.
JPEG = {"quality": 85, "subsampling": 0, "optimize": True, "progressive": True}
# Up to so many classes every score is shown; beyond, the best of them and the true class's.
EVERY_SCORE = 20
BEST_SCORES = 5
CONFUSED_PAIRS = 12
# Widths, in columns, to which foreign names are cut: they repeat in every row.
NAME = 120
CLASS_NAME = 60
SCORE_NAME = 28
SCORE_NAME_BESIDE = 16
# Enough for the wide among the faces in use, in bold.
EM_PER_CHARACTER = 0.68


@dataclass(frozen=True)
class Tile:
    """Where an image lies: the sheet, and column and row there."""

    sheet: int
    x: int
    y: int


@dataclass(frozen=True)
class Score:
    """One bar.

    Attributes:
        kind: "hit" (predicted, and right), "wrong" (predicted), "true" (missed), or "".
    """

    name: str
    value: str
    percent: str
    kind: str


@dataclass(frozen=True)
class Row:
    """One image, as the template shows it."""

    tile: Tile
    name: Parts
    true: Parts
    predicted: Parts
    wrong: bool
    scores: tuple[Score, ...]
    confidence: str
    loss: str


@dataclass(frozen=True)
class Pair:
    """How many images of one class were taken for another."""

    true: int
    predicted: int
    true_name: str
    predicted_name: str
    count: int


@dataclass(frozen=True)
class Verdicts:
    """What the scores say of each image; arrays of shape (N,).

    Attributes:
        predicted: The likeliest class; among equals the first.
        confidence: Its probability.
        loss: Minus the logarithm of the true class's probability, in nats; infinite where that is 0.
        order: Image numbers, largest loss first.
    """

    labels: Labels
    predicted: Labels
    confidence: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    order: Labels

    @classmethod
    def of(cls, probabilities: Probabilities, labels: Labels) -> Verdicts:
        exact = probabilities.astype(np.float64)
        everyone = np.arange(len(labels))
        predicted = exact.argmax(1).astype(np.int64)
        with np.errstate(divide="ignore"):
            loss = -np.log(exact[everyone, labels])
        return cls(labels, predicted, exact[everyone, predicted], loss, np.argsort(-loss, kind="stable"))


def columns_wide(text: str) -> int:
    """How many columns `text` takes where East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shown(text: str, limit: int, fallback: str = "") -> str:
    """`text` in at most `limit` printable columns: a foreign name can't reorder, break or swell the page."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text).strip() or fallback
    if columns_wide(clean) <= limit:
        return clean
    clean = clean[:limit]
    while columns_wide(clean) >= limit:
        clean = clean[:-1]
    return clean + "…"


def parts_of(name: str) -> Parts:
    """A name, cut where it may wrap: after each slash, underscore and hyphen."""
    return tuple(re.split(r"(?<=[/_-])(?!$)", name))


def sprite_sheets(pixels: Pixels) -> Iterator[str]:
    """The images (N, 32, 32, 3), 64 to a sheet, as `data:` URIs; each sheet is eight tiles wide."""
    for start in range(0, len(pixels), TILES**2):
        part = pixels[start : start + TILES**2]
        lines = -(-len(part) // TILES)
        tiles = np.zeros((lines * TILES, SIZE, SIZE, 3), np.uint8)
        tiles[: len(part)] = part
        grid = tiles.reshape(lines, TILES, SIZE, SIZE, 3)  # line, column, y, x, channel
        sheet = grid.swapaxes(1, 2).reshape(lines * SIZE, TILES * SIZE, 3)
        buffer = io.BytesIO()
        Image.fromarray(sheet).save(buffer, "JPEG", **JPEG)
        yield "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def bar_rows(classes: int) -> int:
    """How many bars stand one above the other: all of them, or half where six to twenty stand in two columns."""
    if classes > EVERY_SCORE:
        return BEST_SCORES + 1
    return classes if classes < 6 else -(-classes // 2)


def score_names(classes: Sequence[str]) -> list[str]:
    """The classes as they stand beside the bars, where room is scarce."""
    limit = SCORE_NAME_BESIDE if 6 <= len(classes) <= EVERY_SCORE else SCORE_NAME
    return [shown(name, limit) for name in classes]


def tile_of(position: int) -> Tile:
    sheet, place = divmod(position, TILES**2)
    y, x = divmod(place, TILES)
    return Tile(sheet, x, y)


def scores_of(probabilities: Probabilities, true: int, predicted: int, names: Sequence[str]) -> tuple[Score, ...]:
    """The bars of one image: every class in its place, or the best classes and the true one."""
    chosen: Sequence[int] = range(len(names))
    if len(names) > EVERY_SCORE:
        best = [int(k) for k in np.argsort(-probabilities, kind="stable")[:BEST_SCORES]]
        chosen = best if true in best else [*best, true]
    kinds = {predicted: "hit"} if predicted == true else {predicted: "wrong", true: "true"}
    values = probabilities.tolist()
    return tuple(
        Score(names[k], f"{values[k]:.3f}".rstrip("0").rstrip("."), f"{100 * values[k]:.1f}", kinds.get(k, ""))
        for k in chosen
    )


def rows_of(
    verdicts: Verdicts, probabilities: Probabilities, classes: Sequence[str], names: Sequence[str]
) -> Iterator[Row]:
    """The rows, largest loss first."""
    short = score_names(classes)
    wrapping = [parts_of(name) for name in classes]
    for position, image in enumerate(verdicts.order.tolist()):
        true, predicted = int(verdicts.labels[image]), int(verdicts.predicted[image])
        loss = float(verdicts.loss[image])
        yield Row(
            tile=tile_of(position),
            name=parts_of(shown(names[image], NAME, f"image {image}")),
            true=wrapping[true],
            predicted=wrapping[predicted],
            wrong=true != predicted,
            scores=scores_of(probabilities[image], true, predicted, short),
            confidence=f"{100 * verdicts.confidence[image]:.1f}",
            # A probability of 1 gives -0.0.
            loss=f"{abs(loss):.3f}" if math.isfinite(loss) else "∞",
        )


def confused_pairs(verdicts: Verdicts, classes: Sequence[str]) -> list[Pair]:
    """The pairs of classes most often confused, most frequent first, then in the classes' order."""
    wrong = verdicts.labels != verdicts.predicted
    codes, counts = np.unique(verdicts.labels[wrong] * len(classes) + verdicts.predicted[wrong], return_counts=True)
    ranked = np.argsort(-counts, kind="stable")[:CONFUSED_PAIRS]
    pairs = []
    for code, count in zip(codes[ranked].tolist(), counts[ranked].tolist(), strict=True):
        true, predicted = divmod(code, len(classes))
        pairs.append(Pair(true, predicted, classes[true], classes[predicted], count))
    return pairs


def facts_of(verdicts: Verdicts) -> dict[str, list[int]]:
    """What the script sorts and filters by: numbers only, by position in the table as written."""
    order = verdicts.order
    return {
        "true": verdicts.labels[order].tolist(),
        "predicted": verdicts.predicted[order].tolist(),
        # Positions in the order of the images, and in that of rising confidence.
        "image": np.argsort(order).tolist(),
        "confidence": np.argsort(verdicts.confidence[order], kind="stable").tolist(),
    }


def digest(text: str) -> str:
    """SHA-256 in base64, as a content security policy names a style or a script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def check(pixels: Pixels, labels: Labels, probabilities: Probabilities, classes: int, names: int) -> None:
    """Raises ValueError if the parts don't belong together."""
    images = len(pixels)
    shapes = (pixels.shape, labels.shape, probabilities.shape, names)
    expected = ((images, SIZE, SIZE, 3), (images,), (images, classes), images)
    if shapes != expected or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels (uint8), labels, probabilities and names must have the shapes {expected} for {images} images of "
            f"{classes} classes; got {shapes} ({pixels.dtype}); pass one entry for each image"
        )
    if images and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"labels must be from 0 to {classes - 1}; got {labels.min()} to {labels.max()}; map them first"
        )
    # Written so that NaN fails, too.
    if not np.all((probabilities >= 0) & (probabilities <= 1 + 1e-6)):
        raise ValueError("probabilities must be from 0 to 1; got others; apply the softmax, and drop diverged runs")


def render(template: str, **values: Any) -> str:
    """One of the templates, filled in; what is filled in is escaped."""
    environment = Environment(
        loader=PackageLoader("cli726.finetune.output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def write_gallery(
    path: Path,
    *,
    title: str,
    pixels: Pixels,
    labels: Labels,
    probabilities: Probabilities,
    class_names: Sequence[str],
    names: Sequence[str],
    summary: Mapping[str, str],
) -> int:
    """Write the gallery, atomically; the same arguments give the same bytes.

    Args:
        path: The HTML file, replaced if it exists.
        title: Heading of the page.
        pixels: uint8 ndarray of shape (N, 32, 32, 3), RGB.
        labels: int64 ndarray of shape (N,), the true classes, from 0.
        probabilities: float32 ndarray of shape (N, K), from 0 to 1.
        class_names, names: Of the K classes and the N images; any text, however hostile.
        summary: Labelled lines for the head of the page.

    Returns:
        The size of the file in bytes.

    Raises:
        ValueError: if shapes or ranges don't fit.
    """
    check(pixels, labels, probabilities, len(class_names), len(names))
    classes = [shown(name, CLASS_NAME, f"class {k}") for k, name in enumerate(class_names)]
    verdicts = Verdicts.of(probabilities, labels)
    # Base64 and numbers: nothing in the style comes from a name.
    style = render(
        "gallery.css.j2",
        sheets=sprite_sheets(pixels[verdicts.order]),
        tiles=TILES,
        bar_rows=bar_rows(len(classes)),
        name_width=round(EM_PER_CHARACTER * max(map(columns_wide, score_names(classes))), 2),
    )
    script = render("gallery.js")
    page = render(
        "gallery.html.j2",
        title=shown(title, NAME, "Gallery"),
        summary={shown(key, NAME): shown(text, 4 * NAME) for key, text in summary.items()},
        style=style,
        script=script,
        style_digest=digest(style),
        script_digest=digest(script),
        facts=facts_of(verdicts),
        classes=classes,
        pairs=confused_pairs(verdicts, classes),
        wrong=int((verdicts.labels != verdicts.predicted).sum()),
        images=len(labels),
        every_score=len(classes) <= EVERY_SCORE,
        best_scores=BEST_SCORES,
        rows=rows_of(verdicts, probabilities, classes, names),
    )
    content = page.encode()
    replace_file(path, content)
    return len(content)
