"""`cmpt726 evaluate` as a user sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli726.finetune.api import finetune
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.training.evaluation import wilson_interval
from tests.cli726.finetune.synthetic import write_pictures

pytestmark = pytest.mark.usefixtures("small_network")
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, runs/mine, its data, and other pictures: 45 labelled, some with split folders."""
    root = tmp_path_factory.mktemp("place")
    for number, (name, count) in enumerate({"mine": 60, "other": 45, "parted/train": 30, "parted/test": 12}.items()):
        write_pictures(root / name, count, seed=number)
    (root / "other" / "columns").rename(root / "other" / "zebras")
    where = f"folder:{root / 'mine'}"
    plain = {"weights": "random", "precision": "fp32", "threads": 1, "gallery": False}
    config = FinetuneConfig(dataset=where, epochs=2, tta=True, **plain)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
        finetune(config, root / "runs" / "mine")
    return root


@pytest.fixture
def evaluate(cmpt726: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cmpt726 evaluate` in that folder."""
    monkeypatch.chdir(place)
    return lambda *arguments: cmpt726("evaluate", *arguments)


def test_numbers_are_those_of_predict_and_the_text_says_the_same(evaluate: Run, cmpt726: Run, place: Path) -> None:
    found = evaluate("mine", "--dataset", "folder:other", "--json").json
    names = found["class_names"]
    assert (found["split"], found["unknown"], found["tta"]) == ("all", ["zebras"], True)
    done = cmpt726("predict", "mine", "other/cross", "other/rows", "--json")
    confusion = np.zeros((3, 3), int)
    for one in done.json["predictions"]:
        confusion[names.index(Path(one["image"]).parent.name), names.index(one["label"])] += 1
    right = int(np.trace(confusion))
    assert found["confusion"] == confusion.tolist()
    assert (found["images"], found["accuracy"], found["figures"]) == (30, right / 30, [])
    assert found["interval"] == pytest.approx(wilson_interval(right, 30))
    done = evaluate("latest", "--dataset", "folder:other", "--gallery", "scores.html", "--out", "figures")
    assert done.status == 0, done.stderr
    low, high = (round(100 * end) for end in found["interval"])
    share = round(100 * right / 30)
    assert f"other, all images: {right} of 30 right: {share} % (95 % interval {low} to {high} %)" in done.stdout
    assert "zebras" in done.stdout
    assert "mirror image" in done.stdout
    assert (place / "figures" / "confusion.png").stat().st_size > 1000
    page = (place / "scores.html").read_text()
    assert f"{right} of 30 right" in page
    assert page.count("<tr") == 30 + 2


def test_only_images_that_were_not_trained_on(evaluate: Run, cmpt726: Run) -> None:
    """A data set's own test images; of the run's own data those that it was tested on, with the same result."""
    parted, own = (evaluate("mine", "--dataset", f"folder:{name}", "--json").json for name in ("parted", "mine"))
    assert [(found["split"], found["images"]) for found in (parted, own)] == [("test", 12), ("test", 9)]
    (run,) = cmpt726("runs", "ls", "--json").json["runs"]
    assert (own["accuracy"], own["images"]) == (run["test_accuracy"], run["test_images"])


@pytest.mark.parametrize(
    ("run", "dataset", "said"),
    [
        ("mine", "digits", "a class of the run's"),
        ("nowhere", "digits", "RUN must be"),
        ("mine", "folder:nowhere", "nowhere"),
    ],
)
def test_what_cannot_be_scored(evaluate: Run, run: str, dataset: str, said: str) -> None:
    done = evaluate(run, "--dataset", dataset)
    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("error:") == 1
