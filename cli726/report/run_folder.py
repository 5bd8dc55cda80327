"""A finished fine-tuning run, read again: what its files say, and its test images with their scores."""

from __future__ import annotations

import io
import json
import re
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
from cli726.finetune.folder.runs import find_run
from cli726.finetune.output.gallery import shown
from cli726.finetune.predict import load_model
from cli726.finetune.training.loop import Best, EpochMetrics
from cli726.finetune.user_code import is_code
from cli726.reporting import Reporter

__all__ = ["FinishedRun", "Gallery", "finished_run", "gallery", "read_run", "score_again"]

ROWS = 12
SCORES = 5
NAME = 40
# So many letters fit into a column of the gallery.
UNBROKEN = 16


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
    folder, config, facts = RunFolder.open(path)
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
    if "version" not in run.facts and data.splits["test"].pool == "train":
        return "its test images were drawn by 0.1.0, in another way"
    return data, model.scores(data.pixels("test"))


def gallery(data: Dataset, scores: torch.Tensor) -> Gallery:
    """Return some test images of a data set with their scores, mistakes first."""
    test = data.images("test")
    probabilities = scores.double().softmax(1).cpu().numpy()
    order = chosen(probabilities, test.labels)
    names = [shown(name, NAME, f"class {k}") for k, name in enumerate(data.class_names)]
    rows = tuple(row(probabilities[i], int(test.labels[i]), names, test.names[i], i) for i in order)
    return Gallery(rows, {f"image-{i}.png": png(test.pixels[i]) for i in order}, data)


def chosen(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[int]:
    """Return whom to show: up to half of them mistakes, the worst first, then right ones, class after class."""
    everyone = np.arange(len(labels))
    own = probabilities[everyone, labels]
    predicted = probabilities.argmax(1)
    wrong = everyone[predicted != labels]
    mistakes = wrong[np.argsort(own[wrong], kind="stable")][: ROWS // 2]
    right = everyone[predicted == labels]
    # The first right one of each class, then the second of each, and so on.
    turn = np.empty(len(right), dtype=np.int64)
    for label in np.unique(labels[right]):
        members = labels[right] == label
        turn[members] = np.arange(members.sum())
    ordered = right[np.lexsort((labels[right], turn))]
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
        "name": f"image {name}" if name.isdecimal() else wrapping(shown(name.rpartition("/")[2], NAME)),
        "true": wrapping(names[true]),
        "predicted": wrapping(names[best[0]]),
        "right": best[0] == true,
        "scores": [{"name": n, "share": p, "percent": f"{p:.1%}", "true": own} for n, p, own in scores],
    }


def wrapping(name: str) -> str:
    """Return a name that may be broken after its signs, and in the middle of what is too long for its column."""
    return "\N{ZERO WIDTH SPACE}".join(re.findall(rf"[^/_-]{{1,{UNBROKEN}}}[/_-]?|[/_-]", name))


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an image file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
