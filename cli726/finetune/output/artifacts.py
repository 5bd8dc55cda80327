"""What a finished run shows: figures and the gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cli726.drawing import save, styled
from cli726.finetune.finetuned import Finetuned
from cli726.finetune.output.figures import confusion_figure, contact_sheet, history_figure
from cli726.finetune.output.gallery import write_gallery
from cli726.reporting import Reporter

__all__ = ["write_artifacts"]


def write_artifacts(result: Finetuned, reporter: Reporter) -> list[Path]:
    """Draw the history, the confusion matrix and the contact sheet of inputs; write the gallery. Their paths."""
    data, test = result.dataset, result.test
    accuracy = f"{test.accuracy:.2%} of {test.images:,} test images"
    figures: Mapping[str, Callable[[], Figure]] = {
        "history": lambda: history_figure(result.history, result.best),
        "confusion": lambda: confusion_figure(np.array(test.confusion), data.class_names, f"{data.name}: {accuracy}"),
        "inputs": lambda: contact_sheet(data),
    }
    written = []
    for stem, make in figures.items():
        with styled():
            figure = make()
        written.append(result.run_dir / f"{stem}.png")
        save(figure, written[-1])
    if result.config.gallery:
        written.append(result.run_dir / "gallery.html")
        shown = data.images("test")
        low, high = test.interval
        reporter.start("writing the gallery", 0)
        size = write_gallery(
            written[-1],
            title=f"{data.name}: test images and their scores",
            pixels=shown.pixels,
            labels=shown.labels,
            probabilities=result.test_scores.double().softmax(1).float().numpy(),
            class_names=data.class_names,
            names=shown.names,
            summary={
                "Data": f"{data.name}, {len(data.class_names)} classes, {test.images:,} test images",
                "Model": f"ResNet{result.weights.depth}, {result.weights.name} weights; epoch {result.best.epoch}, "
                f"phase {result.best.phase}",
                "Accuracy": f"{accuracy}, 95 % {low:.2%} to {high:.2%}",
                "Calibration": f"expected error {test.calibration_error:.2%}",
            },
        )
        reporter.finish(f"gallery of {test.images:,} images: {size / 1e6:.1f} MB")
    return written
