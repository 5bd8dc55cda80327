"""A fine-tuning run shown: its history, what it confuses, what it sees, and the gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from cli726.drawing import COLORS, new_figure, save, shown, styled
from cli726.finetune.data.images import Dataset, Images
from cli726.finetune.output.gallery import write_gallery
from cli726.finetune.result import Finetuned
from cli726.finetune.training import Best, EpochMetrics
from cli726.finetune.training.evaluation import AVERAGED, Evaluation
from cli726.reporting import Reporter

__all__ = ["confusion_figure", "contact_sheet", "draw", "history_figure", "show_scores", "write_artifacts"]

# Above so many classes a cell is too small for a number.
NUMBERED_CLASSES = 20
DOTTED_EPOCHS = 40
# A contact sheet's, in images; its gap in pixels of theirs.
SHEET_ROWS, SHEET_COLUMNS, SHEET_GAP = 16, 8, 3


def history_figure(history: Sequence[EpochMetrics], best: Best) -> Figure:
    """Loss and accuracy by epoch; a dashed line where more layers were turned on, a ring around the best model."""
    figure = new_figure(9, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    epochs = [line.epoch for line in history]
    validated = [line for line in history if line.val_error is not None]
    marked = [line.epoch for line in validated]
    # A line through one point can't be seen.
    dots = "." if len(epochs) <= DOTTED_EPOCHS else ""
    loss.plot(epochs, [line.train_loss for line in history], color=COLORS[0], marker=dots, label="training")
    loss.plot(marked, [line.val_loss for line in validated], color=COLORS[1], marker=dots, label="validation")
    loss.set_ylabel("loss (nats)")
    accuracy.plot(epochs, [line.train_accuracy for line in history], color=COLORS[0], marker=dots, label="training")
    accuracy.plot(
        marked, [1 - (line.val_error or 0) for line in validated], color=COLORS[1], marker=dots, label="validation"
    )
    accuracy.plot([best.epoch], [1 - best.val_error], "o", ms=10, mfc="none", mec=COLORS[5], mew=2, label="best model")
    accuracy.set_ylabel("accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    for axes in (loss, accuracy):
        for before, after in pairwise(history):
            if before.phase != after.phase:
                axes.axvline(before.epoch + 0.5, color="0.4", ls="--", lw=1.2)
                axes.annotate(
                    f"{after.phase} unfrozen",
                    (before.epoch + 0.5, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    fontsize=9,
                    color="0.3",
                )
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    loss.set_ylim(bottom=0)
    accuracy.set_ylim(top=1)
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def confusion_figure(confusion: npt.NDArray[np.int64], class_names: Sequence[str], title: str) -> Figure:
    """Counts by true class (rows) and predicted class (columns), shaded by share of the row."""
    classes = len(class_names)
    side = min(max(4.5, 0.52 * classes + 2), 16)
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    names = shown(class_names, 16)
    if classes <= NUMBERED_CLASSES:
        for row in range(classes):
            for column in range(classes):
                if confusion[row, column]:
                    color = "white" if shares[row, column] > 0.55 else "black"
                    axes.text(
                        column, row, str(confusion[row, column]), ha="center", va="center", fontsize=9, color=color
                    )
    size = 10 if classes <= NUMBERED_CLASSES else 5
    turned = max(map(len, names)) > 2
    slant: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    if classes > NUMBERED_CLASSES:
        slant = {"rotation": 90}
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


def contact_sheet(data: Dataset) -> Figure:
    """What the network sees: up to eight training images of each of up to sixteen classes."""
    labels, class_names = data.labels("train"), data.class_names
    present = np.unique(labels)[:SHEET_ROWS]
    rows = [data.pixels("train", np.flatnonzero(labels == label)[:SHEET_COLUMNS]) for label in present]
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
        title=f"{summary['Data'].partition(',')[0]}: test images and their scores",
        pixels=images.pixels,
        labels=images.labels,
        probabilities=scores.double().softmax(1).float().numpy(),
        class_names=class_names,
        names=images.names,
        summary={
            **summary,
            "Accuracy": test.text,
            "Calibration": f"expected calibration error: {100 * test.calibration_error:.2f} points",
        },
    )
    return f"gallery of {test.images:,} images: {size / 1e6:.1f} MB"


def write_artifacts(result: Finetuned, reporter: Reporter) -> list[Path]:
    """Draw history, confusion matrix and the contact sheet of inputs; write the gallery. Return their paths."""
    data, test, folder = result.dataset, result.test, result.run_dir
    title = f"{data.name}: {test.text}"
    written = draw(
        {
            folder / "history.png": lambda: history_figure(result.history, result.best),
            folder / "confusion.png": lambda: confusion_figure(np.array(test.confusion), data.class_names, title),
            folder / "inputs.png": lambda: contact_sheet(data),
        }
    )
    if result.config.gallery:
        written.append(folder / "gallery.html")
        summary = {
            "Data": f"{data.name}, {len(data.class_names)} classes, {test.images:,} test images",
            "Model": f"{result.weights.kind.label}, {result.weights.name} weights; epoch {result.best.epoch}, "
            f"phase {result.best.phase}",
        }
        if result.config.tta:
            summary["Scores"] = AVERAGED
        reporter.start("writing the gallery", 0)
        images = data.images("test")
        reporter.finish(show_scores(written[-1], images, result.test_scores, test, data.class_names, summary))
    return written
