"""Where in an image the evidence for a class lies: class-activation maps, exact for a linear head on a mean.

Every backbone here ends in the mean over positions, and standardising, normalising and a linear layer are affine: what
they make of the mean is the mean of what they make of each position.

Source: Zhou, Khosla, Lapedriza, Oliva and Torralba (2016), "Learning deep features for discriminative localization".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from cli726.drawing import draw_all, new_figure, shown
from cli726.errors import RequestError
from cli726.finetune.data.decoding import Pixels, Treatment
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.folder.runs import find_run
from cli726.finetune.network.resnet import divide
from cli726.finetune.predict import Model, Picture, Prediction, load_model, pixels_of
from cli726.reporting import Reporter

# Images at a time.
BLOCK = 64
# Longer side of a picture that is drawn, in pixels.
SIDE = 640
CLASS, NAME = 28, 80  # letters that have room
Floats = npt.NDArray[np.float32]


class Whole(Treatment):
    """A picture as it is, but smaller where it is large: to be shown."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        small = picture.copy()
        small.thumbnail((SIDE, SIDE))
        return small


@dataclass(frozen=True)
class Explanation:
    """One image's scores, position by position.

    Attributes:
        maps: What each position adds to each class's score: float32 ndarray of shape (K, h, w), over the image as the
            network sees it. A class's score is the mean of its map plus its bias.
        bias: float32 ndarray of shape (K,).
        seen: The image as the network sees it, uint8 of shape (S, S, 3).
        picture: The whole picture, uint8 of shape (H, W, 3), at most 640 pixels wide and high.
        fit: How the picture became a square: crop, pad or squash.
    """

    maps: Floats
    bias: Floats
    seen: Pixels
    picture: Pixels
    fit: str

    @property
    def scores(self) -> Floats:
        """Return the classes' scores, (K,)."""
        return cast(Floats, self.maps.mean((1, 2)) + self.bias)

    def resized(self, number: int) -> Floats:
        """Return a class's map, interpolated, at the size of what the network sees: (S, S)."""
        return enlarged(self.maps[number], self.seen.shape[0], self.seen.shape[1])

    def on_picture(self, number: int) -> Floats:
        """Return a class's map on the whole picture: (H, W); nan where the network doesn't see it."""
        height, width = self.picture.shape[:2]
        if self.fit == "squash":
            return enlarged(self.maps[number], height, width)
        side = min(height, width) if self.fit == "crop" else max(height, width)
        square = enlarged(self.maps[number], side, side)
        result = np.full((height, width), np.nan, np.float32)
        top, left = (height - side) // 2, (width - side) // 2  # below 0 where it is padded
        inner = (slice(max(top, 0), max(top, 0) + side), slice(max(left, 0), max(left, 0) + side))
        result[inner] = square[max(-top, 0) : max(-top, 0) + height, max(-left, 0) : max(-left, 0) + width]
        return result


def enlarged(values: Floats, height: int, width: int) -> Floats:
    """Return a map interpolated to (height, width)."""
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR), np.float32)


def require_linear(model: Model) -> None:
    """Raise RequestError for a head whose scores are no sums over positions."""
    form = str(model.facts["head"]["kind"])
    if form != "linear":
        raise RequestError(
            f"--explain needs a linear head: the score of another is no sum over positions; {model.run} has {form}; "
            "leave it out, or train with --head linear"
        )


@torch.no_grad()
def class_maps(model: Model, pixels: Pixels) -> tuple[Floats, Floats]:
    """Return each class's map and bias.

    Args:
        model: With a linear head.
        pixels: uint8 images as the network sees them, (N, S, S, 3).

    Returns:
        (maps, bias): float32 of shapes (N, K, h, w) and (K,). The mean of a map over h and w, plus the bias, is what
        `model.scores` gives, averaged over the mirror image where it does that.

    Raises:
        RequestError: for another head.
    """
    require_linear(model)
    network, bias = model.network, cast(nn.Linear, list(model.network.head.children())[-1]).bias
    body, _ = divide(network.backbone, len(network.backbone) - 1)  # all but the pool
    extract = Extractor(body, model.precision, model.normalization)

    def of(images: Tensor) -> Tensor:
        maps = extract(images).float()  # (N, h, w, D)
        scores = network.head(maps.reshape(-1, maps.shape[-1])) - bias
        return cast(Tensor, scores.reshape(*maps.shape[:3], -1).permute(0, 3, 1, 2))

    stored = torch.from_numpy(np.ascontiguousarray(pixels))
    maps = of(stored)
    if model.tta:
        maps = (maps + of(stored.flip(2)).flip(3)) / 2
    temperature = model.trust.temperature
    return (maps / temperature).contiguous().numpy(), (bias / temperature).numpy()


def explain(run: Model | str | Path, images: Sequence[Picture]) -> Iterator[Explanation | None]:
    """Yield where in each image the evidence for each class lies, in order; None for a broken one.

    Args:
        run: A model, or a finished run: its folder, its name in `runs/`, or "latest".
        images: As for `predict`.

    Raises:
        RequestError: if there is no such run, its head isn't linear, or an array is no image.
    """
    model = run if isinstance(run, Model) else load_model(find_run(run))
    require_linear(model)
    whole = Whole(model.treatment.kind, SIDE // 2)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        read = [pixels_of(model, image, model.treatment) for image in block]
        found: Iterator[tuple[Floats, Pixels]] = iter(())
        good = [one for one in read if not isinstance(one, str)]
        if good:
            seen = np.stack(good)
            maps, bias = class_maps(model, seen)
            found = zip(maps, seen, strict=True)
        for image, one in zip(block, read, strict=True):
            picture = pixels_of(model, image, whole)
            own = None if isinstance(one, str) else next(found)
            if own is None or isinstance(picture, str):
                yield None
            else:
                yield Explanation(own[0], bias, own[1], picture, model.treatment.fit)


def explanation_figure(explanation: Explanation, prediction: Prediction, class_names: Sequence[str]) -> Figure:
    """Draw the picture, and over it the maps of the likeliest class and of the next."""
    order = np.argsort(-np.array(prediction.probabilities), kind="stable")[:2].tolist()
    height, width = explanation.picture.shape[:2]
    figure = new_figure(3 * (1 + len(order)) + 0.8, min(3 * height / width, 6) + 0.9)
    axes = figure.subplots(1, 1 + len(order))
    largest = max(float(np.abs(explanation.maps[order]).max()), 1e-9)
    axes[0].set_title("the picture", fontsize=10)
    for number, place in zip(order, axes[1:], strict=True):
        name, score = shown([class_names[number]], CLASS)[0], explanation.scores[number]
        title = (
            f"{name}\n{prediction.probabilities[number]:.1%}, score {score:.2f} (bias {explanation.bias[number]:.2f})"
        )
        place.set_title(title, fontsize=10, parse_math=False)
    for place in axes:
        place.imshow(explanation.picture, alpha=1 if place is axes[0] else 0.55)
        place.axis("off")
    for number, place in zip(order, axes[1:], strict=True):
        look = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest, "alpha": 0.55}
        drawn = place.imshow(explanation.on_picture(number), **look)
    figure.colorbar(drawn, ax=axes, shrink=0.8).set_label("evidence for the class")
    figure.suptitle(shown([prediction.image or "image"], NAME)[0], fontsize=11, parse_math=False)
    return figure


def draw_explanations(
    model: Model, images: Sequence[Path], predictions: Sequence[Prediction], folder: Path, reporter: Reporter
) -> list[Path | None]:
    """Draw a figure for each image into a folder, numbered in their order; return the paths, None for a broken image.

    Raises:
        RequestError: if the head isn't linear.
    """
    drawn: list[Path | None] = []
    digits = len(str(len(images)))
    reporter.start("drawing", len(images))
    for number, (path, one, found) in enumerate(zip(images, predictions, explain(model, images), strict=True), 1):
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in path.stem)[:60]
        if found is None:
            drawn.append(None)
        else:
            figure = partial(explanation_figure, found, one, model.class_names)
            drawn += draw_all({f"{number:0{digits}}-{safe}": figure}, folder)
        reporter.advance(1)
    reporter.finish(f"drew {sum(path is not None for path in drawn):,} images' class-activation maps")
    return drawn
