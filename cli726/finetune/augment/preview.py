"""What `--augment` does to the images at hand, drawn before anything is trained."""

from __future__ import annotations

from pathlib import Path

from cli726 import launch
from cli726.drawing import UNDATED, save, styled
from cli726.errors import RequestError
from cli726.finetune.augment.figures import augmentation_sheet
from cli726.finetune.augment.table import parse_augmentations
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.datasets import open_dataset
from cli726.reporting import Reporter

__all__ = ["preview_augment"]


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
