"""A fine-tuning run shown: its history, what it confuses, what it sees, its augmentations, and the gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from cli726 import launch
from cli726.drawing import COLORS, UNDATED, new_figure, save, shown, styled
from cli726.errors import RequestError
from cli726.finetune.augment.table import Augmentation, apply_all, draw_all, parse_augmentations
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.datasets import open_dataset
from cli726.finetune.data.decoding import shrunk
from cli726.finetune.data.images import Dataset, Images
from cli726.finetune.network.weights import load_weights
from cli726.finetune.output.gallery import write_gallery
from cli726.finetune.result import Finetuned
from cli726.finetune.training import Best, EpochMetrics
from cli726.finetune.training.evaluation import AVERAGED, Evaluation
from cli726.finetune.training.folds import LearningCurve
from cli726.reporting import Reporter

# Above so many classes a cell is too small for a number.
NUMBERED_CLASSES = 20
DOTTED_EPOCHS = 40
# A contact sheet's, in images; its gap in pixels of theirs.
SHEET_ROWS, SHEET_COLUMNS, SHEET_GAP = 16, 8, 3
# Of augmentations: how many images, and what becomes of each so many times; inches.
ORIGINALS, DRAWS = 2, 4
IMAGE, LABEL, HEADER = 0.8, 1.75, 0.75
# Larger images are shown at so many pixels, as wide as a row of the gallery is high.
THUMBNAIL = 96


def history_figure(history: Sequence[EpochMetrics], best: Best) -> Figure:
    """Draw loss and accuracy by epoch; a dashed line where more layers were turned on, a ring around the best model."""
    figure = new_figure(9, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    epochs = [line.epoch for line in history]
    validated = [line for line in history if line.val_error is not None]
    marked = [line.epoch for line in validated]
    # A line through one point can't be seen.
    dots = "." if len(epochs) <= DOTTED_EPOCHS else ""
    for axes, training, validation in (
        (loss, [line.train_loss for line in history], [line.val_loss for line in validated]),
        (accuracy, [line.train_accuracy for line in history], [1 - (line.val_error or 0) for line in validated]),
    ):
        axes.plot(epochs, training, color=COLORS[0], marker=dots, label="training")
        axes.plot(marked, validation, color=COLORS[1], marker=dots, label="validation")
        for before, after in pairwise(history):
            if before.phase != after.phase:
                axes.axvline(before.epoch + 0.5, color="0.4", ls="--", lw=1.2)
                place = {"xycoords": ("data", "axes fraction"), "xytext": (0, 3), "textcoords": "offset points"}
                look = {"ha": "center", "va": "bottom", "fontsize": 9, "color": "0.3"}
                axes.annotate(f"{after.phase} unfrozen", (before.epoch + 0.5, 1), **place, **look)
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    accuracy.plot([best.epoch], [1 - best.val_error], "o", ms=10, mfc="none", mec=COLORS[5], mew=2, label="best model")
    loss.set_ylabel("loss (nats)")
    loss.set_ylim(bottom=0)
    accuracy.set_ylabel("accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    accuracy.set_ylim(top=1)
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def confusion_figure(confusion: npt.NDArray[np.int64], class_names: Sequence[str], title: str) -> Figure:
    """Draw counts by true class (rows) and predicted class (columns), shaded by share of the row."""
    classes, numbered = len(class_names), len(class_names) <= NUMBERED_CLASSES
    side = min(max(4.5, 0.52 * classes + 2), 16)
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    for row, column in np.argwhere(confusion) if numbered else ():
        color = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, f"{confusion[row, column]}", ha="center", va="center", fontsize=9, color=color)
    names = shown(class_names, 16)
    slant: dict[str, Any] = {} if numbered else {"rotation": 90}
    if numbered and max(map(len, names)) > 2:
        slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    size = 10 if numbered else 5
    axes.set_xticks(range(classes), names, fontsize=size, **slant)
    axes.set_yticks(range(classes), names, fontsize=size)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a class may be called "$x$"
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(shown([title], 100)[0], parse_math=False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label("share of the true class")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def learning_figure(curve: LearningCurve, title: str) -> Figure:
    """Draw the accuracy on images not seen, with its interval, against the number of training images."""
    figure = new_figure()
    axes = figure.subplots()
    low, high = zip(*(result.interval for result in curve.results), strict=True)
    axes.fill_between(curve.images, low, high, color=COLORS[0], alpha=0.2, lw=0, label="95 % interval")
    axes.plot(curve.images, [result.accuracy for result in curve.results], color=COLORS[0], marker="o")
    axes.set_xscale("log")
    axes.set_xticks(curve.images, [f"{images:,}" for images in curve.images])
    axes.minorticks_off()
    axes.set_xlabel("training images")
    axes.set_ylabel("accuracy, each image by a head that had not seen it")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_title(shown([title], 70)[0], parse_math=False)
    axes.legend(loc="lower right")
    return figure


def reliability_figure(before: Evaluation, after: Evaluation, temperature: float) -> Figure:
    """Draw how many of the images of a confidence are right, before and after calibration; below, how many there are.

    Source: Guo et al. (2017), "On calibration of modern neural networks", figure 1.
    """
    figure = new_figure(9, 4.8)
    shares, counts = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3, 1])
    titles = ("as the network gives them", f"at temperature {temperature:.3g}")
    for upper, lower, result, title in zip(shares, counts, (before, after), titles, strict=True):
        filled = [number for number, (images, _, _) in enumerate(result.bins) if images]
        images, sums, right = np.array([result.bins[number] for number in filled]).T
        width = 1 / len(result.bins)
        left = np.array(filled) * width
        upper.plot([0, 1], [0, 1], color="0.4", ls="--", lw=1.2, label="as many right as the confidence says")
        upper.bar(left, right / images, width, align="edge", color=COLORS[0], alpha=0.35, label="right, of a bin")
        upper.plot(
            sums / images, right / images, ".", ms=9, color=COLORS[0], label="at its mean confidence", clip_on=False
        )
        upper.set_title(f"{title}: error {100 * result.calibration_error:.2f} points")
        lower.bar(left, images, width, align="edge", color=COLORS[1], alpha=0.6)
        lower.set_xlabel("confidence: probability of the likeliest class")
        lower.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    shares[0].set_xlim(0, 1)
    shares[0].set_ylim(0, 1)
    shares[0].set_ylabel("right")
    shares[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    counts[0].set_ylabel("images")
    counts[0].yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    figure.legend(*shares[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def contact_sheet(data: Dataset) -> Figure:
    """Draw what the network sees: up to eight training images of each of up to sixteen classes."""
    labels, class_names = data.labels("train"), data.class_names
    present = np.unique(labels)[:SHEET_ROWS]
    chosen = (data.pixels("train", np.flatnonzero(labels == label)[:SHEET_COLUMNS]) for label in present)
    rows = [shrunk(pixels, THUMBNAIL) for pixels in chosen]
    height, width = (side + SHEET_GAP for side in rows[0].shape[1:3])
    # One picture: an axes for each image takes two seconds.
    sheet = np.full((len(present) * height - SHEET_GAP, SHEET_COLUMNS * width - SHEET_GAP, 3), 255, np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * height, column * width
            sheet[top : top + height - SHEET_GAP, left : left + width - SHEET_GAP] = image
    figure = new_figure(SHEET_COLUMNS * 0.85 + 1.6, len(present) * 0.85 + 0.6)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks([])
    names = shown(class_names, 18)
    middles = np.arange(len(present)) * height + (height - SHEET_GAP - 1) / 2
    axes.set_yticks(middles, [names[label] for label in present], parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    more = "" if len(present) == len(class_names) else f"; {len(present)} of {len(class_names)} classes"
    figure.suptitle(f"Training images as the network sees them{more}")
    return figure


def augmentation_sheet(pixels: npt.NDArray[np.uint8], augmentations: Sequence[Augmentation], seed: int = 0) -> Figure:
    """Draw in rows each augmentation alone, then all together; in columns an original and what draws make of it.

    Args:
        pixels: uint8 ndarray of shape (N, H, W, 3); the first image and the last are shown.
        augmentations: At least one, in their order.
        seed: As `--seed`; another one draws others.

    Raises:
        RequestError: if a function of the user's own fails.
    """
    # Far apart, since data sets come sorted by class.
    originals = torch.tensor(pixels[np.unique(np.linspace(0, len(pixels) - 1, ORIGINALS).astype(int))])
    rows: list[tuple[str, str, Sequence[Augmentation]]] = [(one.label, one.meaning, [one]) for one in augmentations]
    if len(augmentations) > 1:
        rows.append(("all together", "in this order", augmentations))
    # A narrow empty column keeps the originals apart.
    widths = ([1.0] * (1 + DRAWS) + [0.15]) * len(originals)
    figure = new_figure(LABEL + IMAGE * sum(widths), HEADER + IMAGE * len(rows))
    grid = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for line, (label, meaning, chosen) in zip(grid, rows, strict=True):
        versions = [originals]
        for number in range(DRAWS):
            draws = draw_all(chosen, len(originals), seed, "preview", number)
            versions.append(apply_all(chosen, originals, draws))
        for axes in line:
            axes.axis("off")
        for number in range(len(originals)):
            for axes, version in zip(line[number * (DRAWS + 2) :], versions, strict=False):
                axes.imshow(version[number].numpy(), interpolation="nearest")
        place = {"transform": line[0].transAxes, "ha": "right", "parse_math": False}
        line[0].text(-0.15, 0.5, label, va="bottom" if meaning else "center", **place)
        line[0].text(-0.15, 0.42, meaning, va="top", fontsize=9, color="0.35", **place)
    for first in range(0, len(widths), DRAWS + 2):
        grid[0, first].set_title("original", fontsize=10)
        grid[0, first + 1].set_title(f"{DRAWS} draws", fontsize=10, loc="left")
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
    if path.suffix.removeprefix(".") not in UNDATED:
        kinds = ", ".join(f".{kind}" for kind in UNDATED)
        raise RequestError(f"--preview-augment must name a file that ends in one of {kinds}; got {path}")
    named = None if config.weights == "auto" else load_weights(config.weights, config.kind, reporter=reporter).kind
    pixels = open_dataset(config, reporter, named).pixels("train")
    draw({path: lambda: augmentation_sheet(pixels, augmentations, config.seed)})


def draw(figures: Mapping[Path, Callable[[], Figure]]) -> list[Path]:
    """Draw each figure into its file."""
    for path, make in figures.items():
        with styled():
            figure = make()
        save(figure, path)
    return list(figures)


def show_scores(
    path: Path, images: Images, scores: Tensor, test: Evaluation, class_names: Sequence[str], summary: Mapping[str, str]
) -> str:
    """Write a gallery of images with their scores; return a line about it."""
    size = write_gallery(
        path,
        f"{summary['Data'].partition(',')[0]}: test images and their scores",
        replace(images, pixels=shrunk(images.pixels, THUMBNAIL)),
        scores.double().softmax(1).float().numpy(),
        class_names,
        {**summary, "Accuracy": test.text, "Calibration": test.calibration},
    )
    return f"gallery of {test.images:,} images: {size / 1e6:.1f} MB"


def write_artifacts(result: Finetuned, reporter: Reporter) -> list[Path]:
    """Draw history, confusion matrix and the contact sheet of inputs; write the gallery. Return their paths."""
    data, folder, (split, test, scores) = result.dataset, result.run_dir, result.judged
    images_of = f"{test.images:,} {'test images' if split == 'test' else 'images, each scored without it'}"
    title = f"{data.name}: {test.text}"
    curve = None if result.crossed is None else result.crossed.curve
    written = draw(
        {
            folder / "history.png": lambda: history_figure(result.history, result.best),
            folder / "confusion.png": lambda: confusion_figure(np.array(test.confusion), data.class_names, title),
            folder / "inputs.png": lambda: contact_sheet(data),
            **({} if curve is None else {folder / "learning.png": lambda: learning_figure(curve, data.name)}),
            folder / "reliability.png": lambda: reliability_figure(result.before, test, result.trust.temperature),
        }
    )
    if result.config.gallery:
        written.append(folder / "gallery.html")
        summary = {
            "Data": f"{data.name}, {len(data.class_names)} classes, {images_of}",
            "Model": f"{result.weights.kind.label}, {result.weights.name} weights; epoch {result.best.epoch}, "
            f"phase {result.best.phase}",
            **({"Scores": AVERAGED} if result.config.tta else {}),
        }
        reporter.start("writing the gallery", 0)
        images = data.thumbnails(split, THUMBNAIL)
        reporter.finish(show_scores(written[-1], images, scores, test, data.class_names, summary))
    return written
