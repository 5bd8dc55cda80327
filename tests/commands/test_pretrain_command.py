"""`cmpt726 pretrain` as a user sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli726.finetune.synthetic import write_pictures

pytestmark = pytest.mark.usefixtures("small_network")
Run = Callable[..., Any]


@pytest.fixture
def pretrain(cmpt726: Run, tmp_path: Path) -> Run:
    """`cmpt726 pretrain` on 36 pictures, data/shapes."""
    write_pictures(tmp_path / "data" / "shapes", 36)

    def run(*arguments: object, dataset: str = "folder:data/shapes") -> Any:
        return cmpt726("pretrain", "--dataset", dataset, "--threads", 1, *arguments)

    return run


def test_it_writes_what_finetune_takes(pretrain: Run, cmpt726: Run, tmp_path: Path) -> None:
    done = pretrain("--epochs", 2, "--batch-size", 16, "--lr", 0.02, "--output", "w.safetensors", "--json")
    assert done.status == 0, done.stderr
    assert (done.json["depth"], done.json["output"]) == (20, "w.safetensors")
    assert [line for line in done.stderr.splitlines() if line.startswith("epoch 2: training loss")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "w.safetensors"]
    options = ("--weights", "w.safetensors", "--epochs", 1, "--threads", 1, "--no-gallery", "--json")
    tuned = cmpt726("finetune", "--dataset", "folder:data/shapes", *options)
    assert tuned.status == 0, tuned.stderr
    assert tuned.json["weights"]["name"] == "w.safetensors"
    assert "were trained on shapes itself" in tuned.stderr
    table = pretrain("--epochs", 1, "--batch-size", 32, "--teacher", "w.safetensors")
    assert table.status == 0, table.stderr
    assert table.stdout.partition("teacher")[2].split()[0] == "ResNet20"
    assert "right: " in table.stdout
    assert "resnet.safetensors" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--epochs", 0), "--epochs must be at least 1; got 0"),
        (("--depth", 18), "--depth must be one of 20, 32, 44, 56; got 18"),
        (("--augment", "mirror"), "--augment"),
        (("--output", "w.pt"), "--output"),
        (("--resume",), ".last"),
        (("--teacher", "w.safetensors"), "w.safetensors; check the path"),
    ],
)
def test_bad_values_exit_2_and_write_nothing(
    pretrain: Run, tmp_path: Path, arguments: tuple[object, ...], named: str
) -> None:
    done = pretrain(*arguments)
    assert (done.status, done.stdout) == (2, "")
    assert named in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
