"""`cmpt726 evaluate` as a user sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli726.finetune.config import FinetuneConfig
from cli726.finetune.run import finetune
from cli726.finetune.training.evaluation import wilson_interval
from tests.cli726.finetune.synthetic import write_pictures

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, runs/mine, its data, and other pictures: 45 labelled, some with split folders."""
    root = tmp_path_factory.mktemp("place")
    write_pictures(root / "mine", 60)
    write_pictures(root / "other", 45, seed=1)
    write_pictures(root / "parted" / "train", 30, seed=2)
    write_pictures(root / "parted" / "test", 12, seed=3)
    (root / "other" / "columns").rename(root / "other" / "zebras")
    config = FinetuneConfig(
        dataset=f"folder:{root / 'mine'}", epochs=2, precision="fp32", threads=1, gallery=False, tta=True
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
        finetune(config, root / "runs" / "mine")
    return root


@pytest.fixture
def evaluate(cmpt726: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cmpt726 evaluate` in that folder."""

    def run(*arguments: object) -> Any:
        monkeypatch.chdir(place)
        return cmpt726("evaluate", *arguments)

    return run


def test_numbers_are_those_of_predict(evaluate: Run, cmpt726: Run, place: Path) -> None:
    found = evaluate("mine", "--dataset", "folder:other", "--json").json
    names = found["class_names"]
    assert (found["split"], found["unknown"], found["tta"]) == ("all", ["zebras"], True)
    done = cmpt726("predict", "mine", *(f"other/{name}" for name in ("cross", "rows")), "--json")
    confusion = np.zeros((3, 3), int)
    for one in done.json["predictions"]:
        confusion[names.index(Path(one["image"]).parent.name), names.index(one["label"])] += 1
    assert found["confusion"] == confusion.tolist()
    assert found["images"] == 30
    right = int(np.trace(confusion))
    assert found["accuracy"] == right / 30
    assert found["interval"] == pytest.approx(wilson_interval(right, 30))
    assert found["figures"] == []


def test_the_text_has_split_count_and_interval_and_names_what_is_left_out(evaluate: Run, place: Path) -> None:
    found = evaluate("mine", "--dataset", "folder:other", "--json").json
    done = evaluate("latest", "--dataset", "folder:other", "--gallery", "scores.html", "--out", "figures")
    assert done.status == 0, done.stderr
    right = round(30 * found["accuracy"])
    low, high = (round(100 * end) for end in found["interval"])
    share = round(100 * right / 30)
    assert f"other, all images: {right} of 30 right: {share} % (95 % interval {low} to {high} %)" in done.stdout
    assert "zebras" in done.stdout
    assert "mirror image" in done.stdout
    assert (place / "figures" / "confusion.png").stat().st_size > 1000
    page = (place / "scores.html").read_text()
    assert f"{right} of 30 right" in page
    assert page.count("<tr") == 30 + 2


@pytest.mark.parametrize(("dataset", "split", "images"), [("folder:parted", "test", 12), ("folder:mine", "test", 9)])
def test_only_images_that_were_not_trained_on(evaluate: Run, dataset: str, split: str, images: int) -> None:
    """A data set's own test images; of the run's own data those that it was tested on."""
    found = evaluate("mine", "--dataset", dataset, "--json").json
    assert (found["split"], found["images"]) == (split, images)


def test_the_runs_own_data_give_its_own_result(evaluate: Run, cmpt726: Run) -> None:
    own = cmpt726("runs", "ls", "--json")
    found = evaluate("mine", "--dataset", "folder:mine", "--json").json
    (run,) = cmpt726("runs", "ls", "--json").json["runs"]
    assert own.status == 0
    assert (found["accuracy"], found["images"]) == (run["test_accuracy"], run["test_images"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mine", "--dataset", "digits"), "a class of the run's"),
        (("nowhere", "--dataset", "digits"), "RUN must be"),
        (("mine", "--dataset", "folder:nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_scored(evaluate: Run, arguments: tuple[str, ...], said: str) -> None:
    done = evaluate(*arguments)
    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("error:") == 1
