"""`cmpt726 pretrain` as a user sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli726.finetune.synthetic import write_pictures
from tests.harness import unless_given

Run = Callable[..., Any]


@pytest.fixture
def pretrain(cmpt726: Run, tmp_path: Path) -> Run:
    torch.set_num_threads(1)
    folder = write_pictures(tmp_path / "data" / "shapes", 36)
    usual = ("--dataset", f"folder:{folder}")
    return lambda *arguments: cmpt726("pretrain", *unless_given(usual, arguments), *arguments)


def test_it_writes_what_finetune_takes(pretrain: Run, cmpt726: Run, tmp_path: Path) -> None:
    done = pretrain("--epochs", 2, "--batch-size", 16, "--lr", 0.02, "--output", "w.safetensors", "--json")
    assert done.status == 0, done.stderr
    document = done.json
    assert document["depth"] == 20
    assert Path(document["output"]) == Path("w.safetensors")
    assert [line for line in done.stderr.splitlines() if line.startswith("epoch 2: training loss")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "w.safetensors"]
    folder = tmp_path / "data" / "shapes"
    tuned = cmpt726(
        "finetune",
        "--dataset",
        f"folder:{folder}",
        "--weights",
        "w.safetensors",
        "--epochs",
        1,
        "--no-gallery",
        "--json",
    )
    assert tuned.status == 0, tuned.stderr
    assert tuned.json["weights"]["name"] == "w.safetensors"
    assert "were trained on shapes itself" in tuned.stderr


def test_the_table_has_accuracy_with_images_and_interval(pretrain: Run) -> None:
    done = pretrain("--epochs", 1, "--batch-size", 32)
    assert done.status == 0, done.stderr
    assert "right: " in done.stdout
    assert "resnet.safetensors" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--epochs", 0), "epochs"),
        (("--batch-size", 1), "batch-size"),
        (("--depth", 18), "got 18"),
        (("--augment", "mirror"), "--augment"),
        (("--precision", "fp8"), "--precision"),
        (("--lr", -1), "--lr"),
        (("--output", "w.pt"), "--output"),
        (("--resume",), ".last"),
        (("--dataset", "folder:nowhere"), "nowhere"),
    ],
)
def test_bad_values_exit_2_and_write_nothing(
    pretrain: Run, tmp_path: Path, arguments: tuple[object, ...], named: str
) -> None:
    done = pretrain(*arguments)
    assert done.status == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert named in " ".join(done.stderr.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
