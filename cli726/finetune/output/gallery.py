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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageFile

from cli726.finetune.data.decoding import Pixels
from cli726.finetune.data.images import Images, Labels
from cli726.finetune.storage import replace_file
from cli726.text import printable

Probabilities = npt.NDArray[np.float64]

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


def columns_wide(text: str) -> int:
    """Return how many columns `text` takes where East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shown(text: str, limit: int, fallback: str = "") -> str:
    """Return `text` in at most `limit` printable columns: a foreign name can't reorder, break or swell the page."""
    clean = printable(text.strip(" ")[: limit + 1]) or fallback
    if columns_wide(clean) <= limit:
        return clean
    clean = clean[:limit]
    while columns_wide(clean) >= limit:
        clean = clean[:-1]
    return clean + "…"


def wrapping(name: str) -> list[str]:
    """Return a name, cut where it may wrap: after each slash, underscore and hyphen."""
    return re.split(r"(?<=[/_-])(?!$)", name)


def sprite_sheets(pixels: Pixels) -> Iterator[str]:
    """Yield the images (N, H, W, 3), 64 to a sheet, as `data:` URIs; each sheet is eight tiles wide."""
    height, width = pixels.shape[1:3]
    for start in range(0, len(pixels), TILES**2):
        part = pixels[start : start + TILES**2]
        lines = -(-len(part) // TILES)
        tiles = np.zeros((lines * TILES, height, width, 3), np.uint8)
        tiles[: len(part)] = part
        grid = tiles.reshape(lines, TILES, height, width, 3)  # line, column, y, x, channel
        sheet = grid.swapaxes(1, 2).reshape(lines * height, TILES * width, 3)
        yield "data:image/jpeg;base64," + base64.b64encode(as_jpeg(Image.fromarray(sheet))).decode()


def as_jpeg(picture: Image.Image) -> bytes:
    """Return a picture as a JPEG."""
    buffer, reserved = io.BytesIO(), ImageFile.MAXBLOCK
    # Pillow reserves a byte a pixel, and fails on noise, which needs two.
    ImageFile.MAXBLOCK = max(reserved, 4 * picture.width * picture.height)
    try:
        picture.save(buffer, "JPEG", **JPEG)
    finally:
        ImageFile.MAXBLOCK = reserved
    return buffer.getvalue()


def tile_of(position: int) -> str:
    """Return the style's classes for an image's place: its sheet, and column and row there."""
    sheet, place = divmod(position, TILES**2)
    return f"s{sheet} x{place % TILES} y{place // TILES}"


class Ranked(NamedTuple):
    """What the scores say of the images, the largest loss first."""

    order: Labels  # (N,): where each image stood before
    labels: Labels  # (N,)
    probabilities: Probabilities  # (N, K)
    predicted: Labels  # (N,): the likeliest class; among equals the first
    loss: npt.NDArray[np.float64]  # (N,): -ln of the true class's probability; infinite where that is 0


def rank(labels: Labels, probabilities: npt.NDArray[np.float32]) -> Ranked:
    """Return images in falling order of their losses; ValueError if probabilities aren't, or don't fit the labels."""
    if probabilities.shape[:1] != labels.shape or not ((labels >= 0) & (labels < probabilities.shape[1])).all():
        raise ValueError(f"each image must have a label and scores; got {labels.shape} and {probabilities.shape}")
    # Written so that NaN fails, too.
    if not np.all((probabilities >= 0) & (probabilities <= 1 + 1e-6)):
        raise ValueError("probabilities must be from 0 to 1; got others; apply the softmax, and drop diverged runs")
    exact = probabilities.astype(np.float64)
    with np.errstate(divide="ignore"):
        loss = -np.log(exact[np.arange(len(labels)), labels])
    order = np.argsort(-loss, kind="stable")
    return Ranked(order, labels[order], exact[order], exact[order].argmax(1), loss[order])


def scores_of(row: Probabilities, true: int, predicted: int, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the bars of one image: every class in its place, or the best classes and the true one.

    Their kinds: "hit" (predicted, and right), "wrong" (predicted), "true" (missed), or "".
    """
    chosen: Sequence[int] = range(len(names))
    if len(names) > EVERY_SCORE:
        chosen = np.argsort(-row, kind="stable")[:BEST_SCORES].tolist()
        chosen = chosen if true in chosen else [*chosen, true]
    kinds = {predicted: "hit"} if predicted == true else {predicted: "wrong", true: "true"}
    for k in chosen:
        value = f"{row[k]:.3f}".rstrip("0").rstrip(".")
        yield {"name": names[k], "value": value, "percent": f"{100 * row[k]:.1f}", "kind": kinds.get(k, "")}


def rows_of(
    ranked: Ranked, classes: Sequence[str], short: Sequence[str], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the table's rows; `short` are the names of classes that stand beside the bars."""
    cut = [wrapping(name) for name in classes]
    for position, (image, true, row, predicted, loss) in enumerate(zip(*ranked, strict=True)):
        yield {
            "tile": tile_of(position),
            "name": wrapping(shown(names[image], NAME, f"image {image}")),
            "true": cut[true],
            "predicted": cut[predicted],
            "wrong": true != predicted,
            "scores": scores_of(row, true, predicted, short),
            "confidence": f"{100 * row[predicted]:.1f}",
            # A probability of 1 gives -0.0.
            "loss": f"{abs(loss):.3f}" if math.isfinite(loss) else "∞",
        }


def confused_pairs(ranked: Ranked, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the pairs of classes most often confused, most frequent first, then in the classes' order."""
    wrong = ranked.labels != ranked.predicted
    pairs, counts = np.unique(np.stack([ranked.labels, ranked.predicted])[:, wrong], axis=1, return_counts=True)
    for place in np.argsort(-counts, kind="stable")[:CONFUSED_PAIRS]:
        true, predicted = pairs[:, place].tolist()
        names = {"true_name": classes[true], "predicted_name": classes[predicted]}
        yield {"true": true, "predicted": predicted, **names, "count": int(counts[place])}


def write_page(path: Path, name: str, style: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Write a page, atomically, of NAME.html.j2, NAME.css.j2 and NAME.js, if there is one; return its size in bytes.

    Whatever is filled in is escaped. Every page here has the head, the looks and the policy of page.html.j2 and
    page.css.j2.
    """
    environment = Environment(
        loader=PackageLoader("cli726.finetune.output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = {
        "style": environment.get_template(f"{name}.css.j2").render(style),
        "script": environment.select_template([f"{name}.js", "none.js"]).render(),
    }
    digests = {
        f"{part}_digest": base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for part, text in parts.items()
    }
    content = environment.get_template(f"{name}.html.j2").render({**values, **parts, **digests}).encode()
    replace_file(path, content)
    return len(content)


def write_gallery(
    path: Path,
    title: str,
    images: Images,
    probabilities: npt.NDArray[np.float32],
    class_names: Sequence[str],
    summary: Mapping[str, str],
) -> int:
    """Write the gallery, atomically, and return its size in bytes; the same arguments give the same bytes.

    Args:
        path: The HTML file, replaced if it exists.
        title: Heading of the page.
        images: N images with their true classes and their names; any text, however hostile.
        probabilities: float32 ndarray of shape (N, K), from 0 to 1.
        class_names: Of the K classes.
        summary: Labelled lines for the head of the page.

    Raises:
        ValueError: if shapes or ranges don't fit.
    """
    ranked = rank(images.labels, probabilities)
    classes = [shown(name, CLASS_NAME, f"class {k}") for k, name in enumerate(class_names)]
    # Bars stand one above the other, in two columns where there are six to twenty: there is little room for names.
    two = 6 <= len(classes) <= EVERY_SCORE
    bars = len(classes) if len(classes) <= EVERY_SCORE else BEST_SCORES + 1
    short = [shown(name, SCORE_NAME_BESIDE if two else SCORE_NAME) for name in classes]
    style = {
        # Base64 and numbers: nothing in the style comes from a name.
        "sheets": sprite_sheets(images.pixels[ranked.order]),
        "tiles": TILES,
        "bar_rows": -(-bars // 2) if two else bars,
        "name_width": round(EM_PER_CHARACTER * max(map(columns_wide, short)), 2),
    }
    values = {
        "title": shown(title, NAME, "Gallery"),
        "summary": {shown(key, NAME): shown(text, 4 * NAME) for key, text in summary.items()},
        # What the script sorts and filters by, by position in the table as written: classes, and the positions in the
        # order of the images and in that of rising confidence.
        "facts": {
            "true": ranked.labels.tolist(),
            "predicted": ranked.predicted.tolist(),
            "image": np.argsort(ranked.order).tolist(),
            "confidence": np.argsort(ranked.probabilities.max(1), kind="stable").tolist(),
        },
        "classes": classes,
        "pairs": list(confused_pairs(ranked, classes)),
        "wrong": int((ranked.labels != ranked.predicted).sum()),
        "images": len(images),
        "every_score": len(classes) <= EVERY_SCORE,
        "best_scores": BEST_SCORES,
        "rows": rows_of(ranked, classes, short, images.names),
    }
    return write_page(path, "gallery", style, values)
