"""Runs of 0.1.0: a finished one goes on to predict, to be evaluated and reported; an interrupted one is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cli726.finetune.folder.runs import list_runs, read_run
from cli726.report.finetune import score_again
from cli726.reporting import Silent

OLD = Path(__file__).parents[2] / "data" / "run-0.1.0"


def test_it_predicts_what_it_predicted(tmp_path: Path, cmpt726: Callable[..., Any]) -> None:
    """`expected.json` is what 0.1.0 printed for these digits."""
    expected = json.loads((OLD / "expected.json").read_bytes())
    with np.load(str(files("cli726") / "assets" / "digits.npz")) as stored:
        for name in expected:
            grey = (stored["images"][int(name)].astype(float) * (255 / 16)).round().astype(np.uint8)
            Image.fromarray(grey).save(tmp_path / f"{name}.png")
    done = cmpt726("predict", OLD, tmp_path, "--json")
    assert done.status == 0, done.stderr
    assert done.json["tta"] is False
    found = {Path(one["image"]).stem: (one["label"], one["probabilities"]) for one in done.json["predictions"]}
    assert found.keys() == expected.keys()
    for name, (label, shares) in expected.items():
        assert found[name][0] == label
        # In bfloat16, which processors round differently.
        np.testing.assert_allclose(found[name][1], shares, atol=0.02)


def test_it_is_listed_and_reported(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "old")
    (run,) = list_runs(tmp_path)
    assert (run.state, run.dataset, run.test_images) == ("finished", "digits", 269)
    read = read_run(tmp_path / "old")
    assert len(read.history) == 3
    assert read.summary["test"]["accuracy"] == run.test_accuracy
    # Its test images are no longer drawn as then: none are shown, and why is said.
    assert isinstance(score_again(read, Silent()), str)


def test_it_is_evaluated_with_a_warning_where_it_was_trained_on_the_images(cmpt726: Callable[..., Any]) -> None:
    done = cmpt726("evaluate", OLD, "--dataset", "digits", "--json")
    assert done.status == 0, done.stderr
    assert (done.json["split"], done.json["images"]) == ("all", 1797)
    assert done.json["accuracy"] > 0.97
    assert "0.1.0 drew its test images in another way" in done.stderr


def test_an_interrupted_one_is_refused_in_one_line(tmp_path: Path, cmpt726: Callable[..., Any]) -> None:
    shutil.copytree(OLD, tmp_path / "old")
    (tmp_path / "old" / "summary.json").unlink()
    done = cmpt726("finetune", "--resume", tmp_path / "old")
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"error: {tmp_path / 'old'} was started by 0.1.0 with other batches and splits; start anew"
    )
