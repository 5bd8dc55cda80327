"""Problem 6 in the report: a run, a second one that shows the rest, and test images with their scores."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from cli726.errors import Cmpt726Error
from cli726.finetune.api import finetune
from cli726.finetune.config import FinetuneConfig, settled
from cli726.finetune.data.datasets import open_dataset
from cli726.finetune.data.images import Dataset
from cli726.finetune.data.names import CIFAR, VISION
from cli726.finetune.folder.runs import FinishedRun, read_run
from cli726.finetune.output.figures import confusion_figure, contact_sheet, history_figure
from cli726.finetune.output.findings import NAME, document, percent, uses
from cli726.finetune.output.gallery import shown
from cli726.finetune.predict import load_model
from cli726.finetune.recipe import KNOWN as AUGMENTATIONS
from cli726.finetune.result import Finetuned
from cli726.finetune.user_code import is_code
from cli726.report.sections import Draw, Section
from cli726.reporting import Reporter
from cli726.text import counted, listed

# Images in the report, scores of each, letters of a file's name that have room.
ROWS, SCORES, FILE = 12, 5, 20
# As `cmpt726 finetune --unfreeze-after 5 --l2 0 --l2 0.001 --l2 0.01` would.
RECIPE: dict[str, Any] = {"unfreeze_after": "5", "l2": (0.0, 1e-3, 1e-2)}
# What the recipe leaves out, on the small data set: half a minute.
SECOND: dict[str, Any] = {
    "dataset": "digits", "epochs": 6, "unfreeze_after": "4", "head": "mlp:64", "augment": "crop,blur", "l2": (1e-3,),
    "gallery": False,
}  # fmt: skip


def train(dataset: str, reporter: Reporter) -> Finetuned:
    """Fine-tune for the report: new layers first, several penalties, then the whole network."""
    return finetune(FinetuneConfig(dataset=dataset, **RECIPE), reporter=reporter)


def train_second(reporter: Reporter) -> FinishedRun:
    """Run what the first leaves out; only its numbers are kept."""
    reporter.start("a second run, on the digits", 0)
    with tempfile.TemporaryDirectory(prefix="cmpt726-report-") as folder:
        run = read_run(finetune(FinetuneConfig(**SECOND), Path(folder) / "second").run_dir)
    reporter.finish("a second run, on the digits")
    return run


def section(path: Path, reporter: Reporter, trained: Finetuned | None = None) -> Section:
    """Return a finished run's section.

    Args:
        trained: The run, where it was trained just now: its data and scores are at hand.

    Raises:
        UntrustedDataError: if its files are not those of a run of ours.
    """
    run = read_run(path)
    scored = score_again(run, reporter) if trained is None else (trained.dataset, trained.judged[2])
    rows, images = ([], {}) if isinstance(scored, str) else gallery(*scored)
    second = train_second(reporter) if trained is not None or run.summary["dataset"]["name"] == "digits" else None
    test, data = run.summary["test"], run.summary["dataset"]
    names = [shown(name, NAME, f"class {k}") for k, name in enumerate(data["class_names"])]
    accuracy, low, high = (percent(value) for value in (test["accuracy"], *test["interval"]))
    figures: dict[str, Draw] = {"history": lambda: history_figure(run.history, run.best)}
    if "confusion" in test:
        title = f"{accuracy} of {test['images']:,} test images"
        figures["confusion"] = lambda: confusion_figure(np.array(test["confusion"]), names, title)
    if not isinstance(scored, str):
        figures["inputs"] = lambda: contact_sheet(scored[0])
    return Section(
        headline=f"On {shown(data['name'], NAME)} the best validation error is {percent(run.best.val_error)} (epoch "
        f"{run.best.epoch}); test accuracy {accuracy} of {test['images']:,} images.",
        document=document(run, second),
        data={
            "run": path.name,
            "dataset": shown(data["name"], NAME),
            "classes": counted(data["classes"], "class", "classes"),
            **{split: f"{data[split]:,}" for split in ("train", "validation", "test")},
            "weights": shown(str(run.summary["weights"]["name"]), NAME),
            "depth": run.summary["weights"]["depth"],
            "epochs": counted(len(run.history), "epoch"),
            "best": {"error": percent(run.best.val_error), "epoch": run.best.epoch, "phase": run.best.phase},
            "right": percent(1 - run.best.val_error),
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "here": {question[2:]: use.text for question, use in uses(run).items()},
            "second": second and {question[2:]: use.text for question, use in uses(second).items()},
            "vision": len(VISION) + len(CIFAR),
            "augmentations": listed(sorted(AUGMENTATIONS)),
            "rows": rows,
            "no_rows": scored if isinstance(scored, str) else "",
        },
        figures=figures,
        images=images,
    )


def score_again(run: FinishedRun, reporter: Reporter) -> tuple[Dataset, torch.Tensor] | str:
    """Return a run's data set and the scores (N, K) of its best model on the test images; or why there are none."""
    config = run.config
    if is_code(config.dataset) or is_code(config.head):
        return "its data set or its new layers are code of its author's own, which is never run because a file names it"
    name = run.summary["dataset"]["name"] if config.dataset == "auto" else config.dataset
    try:
        model = load_model(run.path)
        data = open_dataset(replace(settled(config, run.facts), dataset=name), reporter)
    except Cmpt726Error as error:
        return str(error)
    if data.digest != run.facts.get("dataset_digest"):
        return "the data set on this machine is not the one that the run was trained on"
    if "version" not in run.facts and data.splits["test"].pool == "train":
        return "its test images were drawn by 0.1.0, in another way"
    return data, model.scores(data.pixels("test"))


def gallery(data: Dataset, scores: torch.Tensor) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return some test images of a data set, mistakes first: rows for the template, and PNG files by name."""
    test = data.images("test")
    probabilities = scores.double().softmax(1).cpu().numpy()
    names = [shown(name, NAME, f"class {k}") for k, name in enumerate(data.class_names)]
    order = chosen(probabilities, test.labels)
    rows = [row(probabilities[i], int(test.labels[i]), names, test.names[i], i) for i in order]
    return rows, {f"image-{i}.png": png(test.pixels[i]) for i in order}


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
