"""A finished fine-tuning run, read again: what its files say, and its test images with their scores."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from cli726.errors import Cmpt726Error, RequestError, UntrustedDataError
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.images import Dataset
from cli726.finetune.folder.run_folder import RunFolder
from cli726.finetune.output.gallery import shown
from cli726.finetune.predict import find_run, load_model
from cli726.finetune.training.evaluation import network_scores
from cli726.finetune.training.loop import Best, EpochMetrics
from cli726.finetune.user_code import is_code
from cli726.reporting import Reporter, Silent

__all__ = ["FinishedRun", "Gallery", "finished_run", "gallery", "read_run", "score_again"]

ROWS = 12
SCORES = 5
# Letters of a class's and a file's name that have room.
NAME, FILE = 40, 20


@dataclass(frozen=True)
class FinishedRun:
    """What the files of a finished run say.

    Attributes:
        facts: What `config.json` says besides the options.
        summary: `summary.json`.
    """

    path: Path
    config: FinetuneConfig
    facts: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: tuple[EpochMetrics, ...]
    best: Best


@dataclass(frozen=True)
class Gallery:
    """Some test images with their scores.

    Attributes:
        rows: For the template.
        images: File name -> PNG file.
        dataset: The data set that they come from.
    """

    rows: tuple[Mapping[str, Any], ...]
    images: Mapping[str, bytes]
    dataset: Dataset


def finished_run(name: str) -> Path:
    """Return the folder of a finished run: a path, a name in `runs/`, or "latest".

    Raises:
        RequestError: if there is no such run, or it isn't finished.
    """
    path = find_run(name)
    if not (path / "summary.json").is_file():
        raise RequestError(
            f"--run must name a finished run; {path} has no summary.json; go on with it by "
            f"`cmpt726 finetune --resume {path}`"
        )
    return path


def read_run(path: Path) -> FinishedRun:
    """Read a finished run.

    Raises:
        UntrustedDataError: if its files are not those of a run of ours.
    """
    folder, config, facts = RunFolder.open(path, Silent())
    try:
        summary = json.loads((path / "summary.json").read_bytes())
        best = Best(**summary["best"])
        if not folder.history or not all(name in summary for name in ("dataset", "weights", "phases", "test")):
            raise ValueError("it lacks its history or a part of its summary")
    except (ValueError, KeyError, TypeError) as error:
        raise UntrustedDataError(f"{path} is not a finished run of ours ({error}); start a new one") from None
    return FinishedRun(path, config, facts, summary, tuple(folder.history), best)


def score_again(run: FinishedRun, reporter: Reporter) -> tuple[Dataset, torch.Tensor] | str:
    """Return a run's data set and the scores (N, K) of its best model on the test images; or why there are none."""
    config = run.config
    if is_code(config.dataset) or is_code(config.head):
        return "its data set or its new layers are code of its author's own, which is never run because a file names it"
    name = run.summary["dataset"]["name"] if config.dataset == "auto" else config.dataset
    try:
        model = load_model(run.path)
        data = load_dataset(
            name,
            data_folder=config.data_dir,
            test_fraction=config.test_fraction,
            val_fraction=config.val_fraction,
            reporter=reporter,
        )
    except Cmpt726Error as error:
        return str(error)
    if data.digest != run.facts.get("dataset_digest"):
        return "the data set on this machine is not the one that the run was trained on"
    pixels = data.images("test").pixels
    views = [pixels, pixels[:, :, ::-1]] if config.tta else [pixels]
    scores = [
        network_scores(model.network, 0, torch.from_numpy(view.copy()), model.precision, model.normalization)
        for view in views
    ]
    return data, torch.stack(scores).mean(0)


def gallery(data: Dataset, scores: torch.Tensor) -> Gallery:
    """Return some test images of a data set with their scores, mistakes first."""
    test = data.images("test")
    probabilities = scores.double().softmax(1).cpu().numpy()
    names = [shown(name, NAME, f"class {k}") for k, name in enumerate(data.class_names)]
    order = chosen(probabilities, test.labels)
    rows = tuple(row(probabilities[i], int(test.labels[i]), names, test.names[i], i) for i in order)
    return Gallery(rows, {f"image-{i}.png": png(test.pixels[i]) for i in order}, data)


def chosen(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[int]:
    """Return whom to show: up to half of them mistakes, the worst first, then right ones, class after class."""
    everyone = np.arange(len(labels))
    right = probabilities.argmax(1) == labels
    own = probabilities[everyone, labels]
    mistakes = everyone[~right][np.argsort(own[~right], kind="stable")][: ROWS // 2]
    # How many right ones of its class come before each: the first of every class, then the second, and so on.
    turn = [int((right & (labels == labels[i]))[:i].sum()) for i in everyone[right]]
    ordered = everyone[right][np.lexsort((labels[right], turn))]
    return [*mistakes.tolist(), *ordered[: ROWS - len(mistakes)].tolist()]


def row(
    probabilities: npt.NDArray[np.float64], true: int, names: Sequence[str], name: str, image: int
) -> dict[str, Any]:
    """Return one image: its true and predicted class, and its highest scores."""
    best = np.argsort(-probabilities, kind="stable")[:SCORES].tolist()
    listed = best if true in best else [*best[:-1], true]
    scores = [(names[k], float(probabilities[k]), k == true) for k in listed]
    return {
        "file": f"image-{image}.png",
        "name": f"image {name}" if name.isdecimal() else shown(name.rpartition("/")[2], FILE),
        "true": names[true],
        "predicted": names[best[0]],
        "right": best[0] == true,
        "scores": [{"name": n, "share": p, "percent": f"{p:.1%}", "true": own} for n, p, own in scores],
    }


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an image file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
