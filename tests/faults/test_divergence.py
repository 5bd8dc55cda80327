"""Losses that stop being numbers end a run with what one needs to know; what was good before is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cli726.finetune import training
from cli726.finetune.predict import load_model
from tests.harness import cases

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("small_network")]
PLAN = ("--epochs", 4, "--unfreeze-after", 2, "--unfreeze", "layer3")


def test_a_rate_that_is_too_large_after_the_unfreezing(finetune: Callable[..., Any], tmp_path: Path) -> None:
    done = finetune(*PLAN, "--backbone-lr", "1e30", "--run-dir", "run")
    assert done.status == 5
    line = done.stderr.splitlines()[-1]
    for part in ("diverged in epoch 3", "phase layer3", "loss nan", "rate ", "try --lr "):
        assert part in line, line
    assert "its best model so far, of epoch" in done.stderr
    assert "--resume" not in done.stderr, "the same numbers diverge again"
    assert len(load_model(tmp_path / "run").class_names) == 3
    stated = json.loads((tmp_path / "run" / "model.json").read_bytes())["best"]
    assert (stated["phase"], stated["epoch"] in (1, 2)) == ("head", True)


@pytest.mark.parametrize("value", cases(float("nan"), float("inf"), -float("inf")))
@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_no_number_at_any_epoch(
    finetune: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, epoch: int
) -> None:
    real, seen = torch.nn.functional.cross_entropy, set()
    starting = training.drawing_from

    def noting(device: Any, *purpose: Any) -> Any:
        seen.add(purpose[-1])
        return starting(device, *purpose)

    def poisoned(*arguments: Any, **options: Any) -> Any:
        loss = real(*arguments, **options)
        return loss * value if epoch in seen and loss.requires_grad else loss

    monkeypatch.setattr(training, "drawing_from", noting)
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", poisoned)
    done = finetune(*PLAN, "--run-dir", "run")
    assert done.status == 5, done.stderr
    assert f"diverged in epoch {epoch} (phase {'head' if epoch < 3 else 'layer3'})" in done.stderr
    assert (tmp_path / "run" / "best.safetensors").exists() == (epoch > 1)
    assert not (tmp_path / "run" / "summary.json").exists()
    if epoch > 1:
        model = load_model(tmp_path / "run")
        assert all(tensor.isfinite().all() for tensor in model.network.state_dict().values())


def test_pretraining_too(cmpt726: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    done = cmpt726(
        "pretrain", "--dataset", f"folder:{pictures}", "--epochs", 2, "--lr", "1e30", "--precision", "fp32",
        "--output", "net.safetensors",
    )  # fmt: skip
    assert done.status == 5
    assert re.search(r"diverged in epoch [12] \(phase all\): loss \S+ at rate \S+; try --lr 1e\+29", done.stderr)
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.parametrize("command", ["gd", "compare", "sgd"])
def test_descents_that_diverge_say_so_after_their_results(cmpt726: Callable[..., Any], command: str) -> None:
    done = cmpt726("lr", command, "--eta", "1e308", *(("--epochs", 2) if command == "sgd" else ()), "--json")
    assert done.status == 5
    assert done.json["data"]
    assert "diverged at --eta 1e+308" in done.stderr
