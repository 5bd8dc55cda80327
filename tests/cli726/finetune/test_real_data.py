"""On real images with the bundled weights; those of CIFAR-10, where they are at hand, under `make test-faults` only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli726.finetune.api import run_finetune
from cli726.finetune.network.kernels import has_bf16
from cli726.finetune.result import Finetuned
from tests.cli726.finetune.synthetic import development_data
from tests.harness import FULL, ONLY_FULL

pytestmark = pytest.mark.slow
full = pytest.mark.skipif(not FULL, reason=ONLY_FULL)


def test_a_second_stage_on_the_digits_gains(tmp_path: Path) -> None:
    result = run_finetune(
        dataset="digits", cache=True, cache_dir=str(tmp_path / "cache"), epochs=3, unfreeze_after="2",
        unfreeze="layer3", run_dir=tmp_path / "run",
    )  # fmt: skip
    assert result.test.accuracy >= 0.94
    assert result.gain is not None
    assert result.gain > 0.02
    assert (result.best.phase, result.cache["state"]) == ("layer3", "built")


@full
def test_two_stages_on_the_digits(tmp_path: Path) -> None:
    result = run_finetune(dataset="digits", unfreeze_after="5", run_dir=tmp_path / "run")
    assert result.test.accuracy >= 0.975
    assert result.gain is not None
    assert result.gain > 0.05
    assert result.best.phase == "all"


def cifar10(path: Path, **options: Any) -> Finetuned:
    result = run_finetune(dataset=f"folder:{development_data() / 'cifar10'}", run_dir=path, **options)
    assert result.test.images == 2000
    return result


@full
@pytest.mark.parametrize("weights", ["bundled", "course-checkpoint.pth"])
def test_the_head_alone_on_cifar10(tmp_path: Path, weights: str) -> None:
    if weights != "bundled":
        weights = str(development_data().parent / "weights" / weights)
        if not Path(weights).is_file():
            pytest.skip(f"no checkpoint {weights}")
    assert cifar10(tmp_path / "run", weights=weights).test.accuracy >= 0.65


@full
def test_bf16_moves_the_accuracy_of_a_linear_classifier_by_less_than_a_third_of_a_point(tmp_path: Path) -> None:
    if not has_bf16():
        pytest.skip("this processor emulates bfloat16, which takes minutes")
    options: dict[str, Any] = {"solver": "exact", "l2": (1e-3,), "epochs": 1}
    found = [cifar10(tmp_path / kind, precision=kind, **options).test.accuracy for kind in ("fp32", "bf16")]
    assert abs(found[0] - found[1]) < 0.003
