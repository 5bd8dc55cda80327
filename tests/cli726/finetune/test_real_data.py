"""On real images with really pre-trained weights; each test skips, and says so, where these are not at hand."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from cli726.finetune.config import FinetuneConfig
from cli726.finetune.features.extractor import has_bf16
from cli726.finetune.run import finetune
from tests.cli726.finetune.synthetic import development_data

pytestmark = pytest.mark.slow


def bundled() -> None:
    if not (files("cli726") / "assets" / "resnet20-cifar100.safetensors").is_file():
        pytest.skip("cli726/assets/resnet20-cifar100.safetensors is not there yet")


def test_two_stages_on_the_digits(tmp_path: Path) -> None:
    bundled()
    config = FinetuneConfig(dataset="digits", cache=True, cache_dir=str(tmp_path / "cache"), unfreeze_after="5")
    first = finetune(config, tmp_path / "first")
    assert first.test.accuracy >= 0.975
    assert first.gain is not None
    assert first.gain > 0.05
    assert first.best.phase == "all"
    assert first.cache["state"] == "built"
    again = finetune(FinetuneConfig(dataset="digits", cache=True, cache_dir=config.cache_dir, epochs=1), tmp_path / "2")
    assert again.cache["state"] == "hit"


def head_on_cifar10(tmp_path: Path, weights: str) -> float:
    config = FinetuneConfig(
        dataset=f"folder:{development_data() / 'cifar10'}",
        weights=weights,
        cache=True,
        cache_dir=str(tmp_path / "cache"),
    )
    result = finetune(config, tmp_path / "run")
    assert result.test.images == 2000
    return result.test.accuracy


def probe_on_cifar10(tmp_path: Path, precision: str) -> float:
    """Test accuracy of the linear classifier at its optimum."""
    config = FinetuneConfig(
        dataset=f"folder:{development_data() / 'cifar10'}", solver="exact", l2=(1e-3,), epochs=1, precision=precision
    )
    return finetune(config, tmp_path / precision).test.accuracy


def test_the_head_alone_on_cifar10(tmp_path: Path) -> None:
    development_data()
    bundled()
    assert head_on_cifar10(tmp_path, "bundled") >= 0.65


def test_bf16_moves_the_accuracy_of_a_linear_classifier_by_less_than_a_third_of_a_point(tmp_path: Path) -> None:
    development_data()
    bundled()
    if not has_bf16():
        pytest.skip("this processor emulates bfloat16, which takes minutes")
    assert abs(probe_on_cifar10(tmp_path, "fp32") - probe_on_cifar10(tmp_path, "bf16")) < 0.003


def test_the_head_alone_on_cifar10_with_a_public_checkpoint(tmp_path: Path) -> None:
    path = development_data().parent / "weights" / "course-checkpoint.pth"
    if not path.is_file():
        pytest.skip(f"no checkpoint {path}")
    assert head_on_cifar10(tmp_path, str(path)) >= 0.65
