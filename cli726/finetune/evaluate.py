"""A finished run put to the test: its scores of labelled images, against their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cli726.document import Document, Table
from cli726.errors import RequestError
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.decoding import shrunk
from cli726.finetune.data.images import Images
from cli726.finetune.data.names import data_dirs
from cli726.finetune.data.sources import Reading
from cli726.finetune.folder import RunFolder
from cli726.finetune.output.figures import THUMBNAIL, confusion_figure, show_scores
from cli726.finetune.predict import Model
from cli726.finetune.training.evaluation import AVERAGED, Evaluation, evaluate
from cli726.reporting import Reporter
from cli726.text import listed

BLOCK = 512


@dataclass(frozen=True)
class Scored:
    """Labelled images, and what a run's model says of them.

    Attributes:
        data: The data set's name.
        split: "test", or "all" where the data set has no test images of its own and none of it was trained on.
        images: As they are shown: of at most 96 pixels.
        scores: Tensor of shape (N, K).
        unknown: Classes of the data set that the model doesn't know; their images are left out.
    """

    model: Model
    data: str
    split: str
    images: Images
    scores: Tensor
    result: Evaluation
    unknown: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.data}, {self.split} images: {self.result.text}"

    def to_json(self) -> dict[str, Any]:
        """Return the keys of `test` in a run's summary, and what was scored."""
        return {
            "run": str(self.model.run),
            "dataset": self.data,
            "split": self.split,
            "class_names": list(self.model.class_names),
            "unknown": list(self.unknown),
            "tta": self.model.tta,
            **self.result.details(),
        }

    def document(self) -> Document:
        """Return what a person reads: the result, each class, and what is confused."""
        names, result = self.model.class_names, self.result
        lead = [self.title, result.calibration]
        if imbalance := result.imbalance(names):
            lead.append(f"balanced accuracy: {imbalance}")
        if self.model.tta:
            lead.append(f"scores are {AVERAGED}")
        if self.unknown:
            lead.append(f"left out, as the model doesn't know them: {listed(self.unknown)}")
        tables = [result.by_class(names)]
        confused = [(names[true], names[guess], f"{count:,}") for true, guess, count in result.most_confused()]
        if confused:
            tables.append(Table("Most confused", ("true", "predicted", "images"), confused, numeric=2))
        return Document(lead, {}, [], tables)

    def figures(self) -> Mapping[str, Any]:
        """Return the confusion matrix, to be drawn."""
        names, title, matrix = self.model.class_names, self.title, np.array(self.result.confusion)
        return {"confusion": lambda: confusion_figure(matrix, names, title)}

    def write_gallery(self, path: Path) -> str:
        """Write the HTML table of images and scores; return a line about it."""
        summary = {"Data": f"{self.data}, {self.split} images", "Model": str(self.model.run)}
        if self.model.tta:
            summary["Scores"] = AVERAGED
        return show_scores(path, self.images, self.scores, self.result, self.model.class_names, summary)


def score_dataset(model: Model, name: str, data_dir: str | None, reporter: Reporter) -> Scored:
    """Score a data set: its test images; those of the run's own data that it was tested on; else all images.

    Args:
        name: As for `finetune --dataset`. Its classes are matched with the model's by name.

    Raises:
        RequestError: if no class of it is one of the model's.
    """
    reading = Reading(reporter=reporter, folders=data_dirs(data_dir), levels=model.levels, treat=model.treatment)
    data = load_dataset(name, reading, divide=False)
    split = "test" if "test" in data.pools else "all"
    pool = data.pools["test" if split == "test" else "train"]
    members = np.arange(len(pool))
    if split == "all" and model.facts.get("dataset") == data.name:
        _, config, facts = RunFolder.open(model.run)
        if model.facts.get("dataset_digest") == data.digest:
            test, validation = config.test_fraction, config.val_fraction
            data = load_dataset(name, reading, test_fraction=test, val_fraction=validation)
            split, (pool, members) = "test", data.chosen("test")
        elif "version" not in facts:
            reporter.say("note: 0.1.0 drew its test images in another way; the run was trained on some of these")
    place = {known: k for k, known in enumerate(model.class_names)}
    labels = np.array([place.get(known, -1) for known in data.class_names])[pool.labels[members]]
    unknown = tuple(known for known in data.class_names if known not in place)
    keep, labels = members[labels >= 0], labels[labels >= 0]
    if not len(keep):
        raise RequestError(
            f"--dataset must have a class of the run's, {listed(model.class_names)}; got {listed(data.class_names)}; "
            "rename its folders"
        )
    reporter.start(f"scoring {len(keep):,} images", len(keep))
    blocks, shown = [], []
    for start in range(0, len(keep), BLOCK):
        pixels = pool.pixels[keep[start : start + BLOCK]]  # never all at once: they may lie on a disk
        blocks.append(model.scores(pixels))
        shown.append(shrunk(pixels, THUMBNAIL))
        reporter.advance(len(pixels))
    reporter.finish(f"scored {len(keep):,} images")
    scores = torch.cat(blocks)
    images = Images.of(np.concatenate(shown), labels, [pool.names[i] for i in keep])
    return Scored(model, data.name, split, images, scores, evaluate(scores, torch.from_numpy(images.labels)), unknown)
