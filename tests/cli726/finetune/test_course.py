"""`--preset course` against the course's script, written out in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cli726.finetune.api import finetune
from cli726.finetune.chance import generator
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.network.heads import build_head
from cli726.finetune.network.weights import load_weights
from cli726.finetune.storage import read_tensors
from tests.cli726.finetune.conftest import SMALL
from tests.cli726.finetune.synthetic import metrics

pytestmark = pytest.mark.usefixtures("small_network")

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def test_the_preset_is_the_courses_script_which_computes_every_image_in_every_epoch(
    tmp_path: Path, small: Callable[..., FinetuneConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    run = Extractor.run

    def counting(self: Extractor, block: torch.Tensor) -> torch.Tensor:
        seen.append(len(block))
        return run(self, block)

    monkeypatch.setattr(Extractor, "run", counting)
    config = small(preset="course", epochs=3, batch_size=32)
    result = finetune(config, tmp_path / "run")
    sizes = {name: len(split) for name, split in result.dataset.splits.items()}
    # Once more at the end: how far to trust the best model is measured on them.
    assert sum(seen) == 4 * (sizes["train"] + sizes["validation"]) + sizes["test"]

    train = result.dataset.images("train")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    x = (torch.from_numpy(train.pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    labels = torch.from_numpy(train.labels)
    backbone = load_weights(config.weights).build()
    fc = build_head(SMALL[-1], 3, generator(0, "head"), standardize=False)[-1]
    optimizer = torch.optim.SGD(fc.parameters(), lr=0.001, momentum=0.9)
    losses = []
    for epoch in (1, 2, 3):
        total = 0.0
        for chosen in torch.randperm(len(x), generator=generator(0, "head", epoch, "order")).split(32):
            with torch.no_grad():
                features = backbone(x[chosen])
            loss = nn.functional.cross_entropy(fc(features), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        losses.append(total / len(x))

    last, _ = read_tensors(tmp_path / "run" / "last.safetensors")
    torch.testing.assert_close(last["network.head.1.weight"], fc.weight.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(last["network.head.1.bias"], fc.bias.detach(), rtol=1e-3, atol=1e-4)
    lines = metrics(tmp_path / "run")
    torch.testing.assert_close(torch.tensor([line["train_loss"] for line in lines]), torch.tensor(losses))
    assert {line["lr"] for line in lines} == {0.001}


def test_every_value_is_the_scripts() -> None:
    config = FinetuneConfig(preset="course")
    assert (config.lr, config.momentum, config.nesterov, config.optimizer) == (0.001, 0.9, False, "sgd")
    assert (config.batch_size, config.epochs, config.schedule) == (32, 10, "constant")
    assert (config.l2, config.label_smoothing, config.dropout, config.head) == ((0.0,), 0.0, 0.0, "linear")
    assert (config.augment, config.views, config.recompute, config.cache) == ("none", None, True, False)
    assert (config.unfreeze, config.unfreeze_after, config.precision) == (None, None, "fp32")
