"""One feed, whatever its inputs are made from; and its batches, which are even."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cli726.finetune import parallel
from cli726.finetune.api import finetune
from cli726.finetune.augment.table import parse_augmentations
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.features.feed import Feed, batch_sizes, from_images, from_stored, from_views
from cli726.finetune.network.resnet import Normalization, divide
from cli726.finetune.pretrain import PretrainConfig, pretrain
from tests.cli726.finetune.synthetic import lively_backbone, pictures, small_dataset

NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
images_and_batch = {"images": st.integers(1, 3000), "batch": st.integers(2, 300)}


@given(**images_and_batch)
def test_batches_are_even_and_none_holds_one_image(images: int, batch: int) -> None:
    sizes = batch_sizes(images, batch)
    assert len(sizes) == max(1, min(round(images / batch), images // 2))
    assert sum(sizes) == images
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) > 1 or images == 1


@given(**images_and_batch)
def test_the_courses_batches_are_a_data_loaders_but_for_a_rest_of_one(images: int, batch: int) -> None:
    expected = [len(part) for part in torch.arange(images).split(batch)]
    if images > batch and expected[-1] == 1:
        expected[-2:] = [batch + 1]
    assert batch_sizes(images, batch, even=False) == expected


def numbered(images: int, batch: int, seed: int = 0, phase: str = "head") -> Feed:
    """A feed whose inputs are the images' numbers, as their labels are."""
    numbers = torch.arange(images)
    return Feed(numbers, batch_sizes(images, batch), (seed, phase), from_stored(numbers[:, None].float()))


@given(images=st.integers(1, 200), batch=st.integers(2, 64))
def test_an_epoch_shows_each_image_once_beside_its_label(images: int, batch: int) -> None:
    feed = numbered(images, batch)
    seen = list(feed.batches(1))
    assert [len(labels) for _, labels in seen] == feed.sizes
    assert all(torch.equal(inputs[:, 0].long(), labels) for inputs, labels in seen)
    assert torch.equal(torch.cat([labels for _, labels in seen]).sort().values, torch.arange(images))
    plain = [len(inputs) for inputs in feed.plain(150)]
    assert sum(plain) == min(images, 150)


def test_statistics_are_taken_of_even_batches_too() -> None:
    """Each counts alike, a last one of four images would weigh as much as 256."""
    assert [len(inputs) for inputs in numbered(1028, 64).plain(2048)] == [257] * 4


def test_the_order_changes_with_everything_it_should() -> None:
    def order(seed: int, phase: str, epoch: int) -> tuple[int, ...]:
        return tuple(torch.cat([labels for _, labels in numbered(50, 16, seed, phase).batches(epoch)]).tolist())

    assert order(0, "head", 1) == order(0, "head", 1)
    assert len({order(0, "head", 1), order(1, "head", 1), order(0, "all", 1), order(0, "head", 2)}) == 4


def test_every_source_gives_the_same_batches_bit_for_bit() -> None:
    backbone = lively_backbone()
    pixels, labels = map(torch.from_numpy, pictures(37))
    for cut in (2, 3, 5):
        prefix = Extractor(divide(backbone, cut)[0], normalization=NORMALIZATION)
        features = prefix(pixels)
        sources = (from_stored(features), from_views([features]), from_images(pixels, NORMALIZATION, prefix))
        feeds = [Feed(labels, batch_sizes(37, 9), (0, "x"), source) for source in sources]
        for (a, a_labels), *others in zip(*(feed.batches(1) for feed in feeds), strict=True):
            assert all(torch.equal(a, b) and torch.equal(a_labels, b_labels) for b, b_labels in others)
            assert all(a.stride() == b.stride() for b, _ in others)
        plain = [torch.cat(list(feed.plain(20))) for feed in feeds]
        assert len(plain[0]) == 20
        assert all(torch.equal(plain[0], other) for other in plain[1:])


def test_statistics_are_taken_of_plain_images() -> None:
    pixels, labels = map(torch.from_numpy, pictures(12))
    source = from_images(pixels, NORMALIZATION, None, parse_augmentations("flip:1,noise"))
    (plain,) = Feed(labels, [12], (0, "x"), source).plain(12)
    assert torch.equal(plain, NORMALIZATION(pixels))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each step was taken on."""
    taken: list[int] = []
    entropy = torch.nn.functional.cross_entropy

    def noting(scores: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        if scores.requires_grad:
            taken.append(len(scores))
        return entropy(scores, *rest, **options)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", noting)
    return taken


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize(
    "plan",
    [{}, {"augment": "flip", "views": 2}, {"unfreeze": "all"}, {"preset": "course"}],
    ids=["stored", "views", "live", "course"],
)
def test_a_run_steps_on_even_batches_and_the_courses_on_its_own(
    tmp_path: Path, small: Callable[..., FinetuneConfig], plan: dict[str, Any], steps: list[int]
) -> None:
    course = "preset" in plan
    result = finetune(small(epochs=1, batch_size=22, **plan), tmp_path / "run")
    images = len(result.dataset.splits["train"])
    assert images % 22
    assert steps == batch_sizes(images, 22, even=not course)
    assert (len(set(steps[1:])) > 1) == course
    assert json.loads((tmp_path / "run" / "config.json").read_bytes())["options"]["even_batches"] is not course


@pytest.mark.usefixtures("small_network")
def test_pretraining_steps_on_even_batches(tmp_path: Path, steps: list[int]) -> None:
    result = pretrain(small_dataset(50), PretrainConfig(epochs=1, batch_size=12), tmp_path / "w.safetensors")
    assert steps == batch_sizes(result.train_images, 12)
    assert max(steps) - min(steps) <= 1


@given(images=st.integers(8, 500), batch=st.integers(8, 64), world=st.integers(2, 4))
def test_the_parts_of_several_processes_make_up_the_even_batches(images: int, batch: int, world: int) -> None:
    feed = numbered(images, batch)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parallel.HERE, "world", world)
        parts: list[list[torch.Tensor]] = []
        for rank in range(world):
            patched.setattr(parallel.HERE, "rank", rank)
            counted = [parallel.part_of(size)[0] for size in feed.sizes]
            assert max(counted) - min(counted) <= 2
            parts.append([labels[:n] for (_, labels), n in zip(feed.batches(1), counted, strict=True)])
    whole = [labels for _, labels in feed.batches(1)]
    assert all(torch.equal(torch.cat(mine), batch) for *mine, batch in zip(*parts, whole, strict=True))
