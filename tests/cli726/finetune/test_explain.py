"""Class-activation maps: their means and the bias are the scores, whatever the backbone; and where they lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cli726.errors import RequestError
from cli726.finetune.backbones import BACKBONES, Backbone
from cli726.finetune.data.decoding import Treatment
from cli726.finetune.explain import Explanation, class_maps, explain
from cli726.finetune.network.build import build_backbone
from cli726.finetune.network.heads import build_head
from cli726.finetune.network.resnet import Network, Normalization, width_of
from cli726.finetune.predict import Model, load_model
from cli726.finetune.result import Finetuned
from cli726.finetune.trust import Trust
from tests.cli726.finetune.synthetic import lively

NORMALIZATION = Normalization((0.5, 0.4, 0.6), (0.2, 0.3, 0.25))


def model_of(kind: Backbone, size: int, fit: Any = "crop", **options: Any) -> Model:
    """A model of random weights that is anything but trivial: statistics, standardisation, coefficients, biases."""
    torch.manual_seed(0)
    backbone = build_backbone(kind)
    head = build_head(width_of(backbone), 4, torch.Generator(), batch_norm=True, dropout=0.3)
    network = lively(Network(backbone, head))
    standardize, norm, _, linear = head.children()
    for numbers in (standardize.mean, norm.running_mean, norm.bias, linear.weight, linear.bias):
        nn.init.normal_(numbers)
    for numbers in (standardize.scale, norm.running_var, norm.weight):
        nn.init.uniform_(numbers, 0.5, 1.5)
    stated = {"tta": False, "levels": None, "precision": torch.float32, "trust": Trust(1.7), **options}
    facts = {"head": {"kind": stated.pop("head", "linear")}}
    return Model(
        network, tuple("abcd"), NORMALIZATION, run=Path("run"), treatment=Treatment.of(kind, size, fit), facts=facts,
        **stated,
    )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in {"resnet32", "resnet44", "resnet50"}])
def test_a_maps_mean_and_the_bias_are_the_score(name: str) -> None:
    size = 32 if BACKBONES[name].depth else 64
    model = model_of(BACKBONES[name], size)
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    for tta in (False, True):
        model = replace(model, tta=tta)
        maps, bias = class_maps(model, pixels)
        scores = model.scores(pixels).numpy()
        assert maps.shape[:2] == (2, 4)
        assert maps.std((2, 3)).min() > 1e-5 * np.abs(scores).max()
        np.testing.assert_allclose(maps.mean((2, 3)) + bias, scores, rtol=1e-4, atol=1e-4 * np.abs(scores).max())


@pytest.mark.parametrize("options", [{"tta": True}, {"unfreeze_after": "1", "precision": "bf16"}], ids=str)
@pytest.mark.usefixtures("small_network")
def test_a_runs_own_test_images_too(
    finished: Callable[..., Finetuned], shapes_folder: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    model = load_model(finished(**options).run_dir)
    paths = sorted(shapes_folder.rglob("*.png"))[:3]
    (tmp_path / "broken.png").write_bytes(b"x")
    first, none, *rest = explain(model, [paths[0], tmp_path / "broken.png", *paths[1:]])
    assert none is None
    for path, found in zip(paths, [first, *rest], strict=True):
        assert found is not None
        expected = model.scores(found.seen[None]).numpy()[0]
        np.testing.assert_allclose(found.scores, expected, rtol=1e-3, atol=1e-3)
        assert found.resized(1).shape == (32, 32)
        np.testing.assert_allclose(found.resized(1)[2::4, 2::4], found.maps[1], atol=0.4 * np.ptp(found.maps[1]))
        assert np.array_equal(found.picture, np.asarray(Image.open(path)))


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(60, 120), (120, 60), (64, 64)], ids=str)
def test_maps_lie_where_the_picture_was_seen(fit: Any, shape: tuple[int, int]) -> None:
    """A map that is 1 where the network sees a dark patch is 1 where the patch is in the picture."""
    picture = np.full((*shape, 3), 255, np.uint8)  # as white as what is added at two sides
    top, left = shape[0] // 2, shape[1] // 2 - 20
    picture[top : top + 16, left : left + 16] = 0
    seen = np.asarray(Treatment.of(BACKBONES["resnet18"], 64, fit)(Image.fromarray(picture)))
    dark = 1 - seen[..., 0].astype(np.float32) / 255
    found = Explanation(dark[None], np.zeros(1, np.float32), seen, picture, fit).on_picture(0)
    assert found.shape == shape
    visible = ~np.isnan(found)
    assert visible.mean() == (min(shape) / max(shape) if fit == "crop" else 1)
    apart = np.abs(found - (1 - picture[..., 0] / 255.0))[visible]
    assert apart.mean() < 0.03
    assert (apart > 0.6).mean() < 0.005


@pytest.mark.usefixtures("small_network")
def test_other_heads_are_refused_before_anything_is_drawn(finished: Callable[..., Finetuned]) -> None:
    run = finished(head="mlp:8,4", dropout=0.3, batch_norm=True).run_dir
    with pytest.raises(RequestError, match=r"--explain needs a linear head.* has mlp:8,4"):
        next(explain(run, []))
    own = model_of(BACKBONES["resnet20"], 32, head="python:mine.py:head")
    with pytest.raises(RequestError, match=r"has python:mine.py:head"):
        class_maps(own, np.zeros((1, 32, 32, 3), np.uint8))
