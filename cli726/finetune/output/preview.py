"""What `--augment` does to images, to look at before training on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from cli726 import launch
from cli726.drawing import UNDATED, new_figure, save, styled
from cli726.errors import RequestError
from cli726.finetune.augment.table import Augmentation, apply_all, draw_all, parse_augmentations
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.datasets import open_dataset
from cli726.reporting import Reporter

__all__ = ["augmentation_sheet", "preview_augment"]

ORIGINALS = 2
DRAWS = 4
# Inches.
IMAGE, LABEL, HEADER = 0.8, 1.75, 0.75

Pixels = npt.NDArray[np.uint8]


def versions(originals: Pixels, augmentations: Sequence[Augmentation], seed: int) -> list[Pixels]:
    """Several draws of augmented images, (O, H, W, 3) each, as several epochs would see them."""
    batch = torch.tensor(originals)
    return [
        apply_all(augmentations, batch, draw_all(augmentations, len(batch), seed, "preview", number)).numpy()
        for number in range(DRAWS)
    ]


def augmentation_sheet(pixels: Pixels, augmentations: Sequence[Augmentation], seed: int = 0) -> Figure:
    """Rows: each augmentation alone, then all together; columns: an original and what several draws make of it.

    Args:
        pixels: uint8 ndarray of shape (N, H, W, 3); the first image and the last are shown.
        augmentations: At least one, in their order.
        seed: As `--seed`; another one draws others.

    Raises:
        RequestError: if a function of the user's own fails.
    """
    # Far apart, since data sets come sorted by class.
    originals = pixels[np.unique(np.linspace(0, len(pixels) - 1, ORIGINALS).astype(int))]
    rows: list[tuple[str, str, Sequence[Augmentation]]] = [(one.label, one.meaning, [one]) for one in augmentations]
    if len(augmentations) > 1:
        rows.append(("all together", "in this order", augmentations))
    # A narrow empty column keeps the originals apart.
    widths = ([1.0] * (1 + DRAWS) + [0.15]) * len(originals)
    figure = new_figure(LABEL + IMAGE * sum(widths), HEADER + IMAGE * len(rows))
    grid = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for line, (label, meaning, chosen) in zip(grid, rows, strict=True):
        drawn = versions(originals, chosen, seed)
        for axes in line:
            axes.axis("off")
        for number, original in enumerate(originals):
            shown = [original, *(version[number] for version in drawn)]
            for axes, image in zip(line[number * (DRAWS + 2) :], shown, strict=False):
                axes.imshow(image, interpolation="nearest")
        place = {"transform": line[0].transAxes, "ha": "right", "parse_math": False}
        line[0].text(-0.15, 0.5, label, va="bottom" if meaning else "center", **place)
        line[0].text(-0.15, 0.42, meaning, va="top", fontsize=9, color="0.35", **place)
    for number in range(len(originals)):
        grid[0, number * (DRAWS + 2)].set_title("original", fontsize=10)
        grid[0, number * (DRAWS + 2) + 1].set_title(f"{DRAWS} draws", fontsize=10, loc="left")
    figure.suptitle("Augmentation: what training images become")
    return figure


def preview_augment(config: FinetuneConfig, path: Path, reporter: Reporter) -> None:
    """Draw a contact sheet of the configuration's augmentations on its training images.

    Raises:
        RequestError: without augmentations, for a file that is no picture, or as one of several processes.
    """
    launch.require_one("--preview-augment")
    augmentations = parse_augmentations(config.augment)
    if not augmentations:
        raise RequestError("--preview-augment needs --augment; got none; try --augment flip,crop")
    kinds = ", ".join(f".{kind}" for kind in UNDATED)
    if path.suffix.removeprefix(".") not in UNDATED:
        raise RequestError(f"--preview-augment must name a file that ends in one of {kinds}; got {path}")
    pixels = open_dataset(config, reporter).pixels("train")
    with styled():
        figure = augmentation_sheet(pixels, augmentations, config.seed)
    save(figure, path)
