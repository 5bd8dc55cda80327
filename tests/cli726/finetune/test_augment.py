"""Augmentation: a draw for each image, which neither its batch nor its place in it can change."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cli726.errors import RequestError
from cli726.finetune.augment.table import parse_augmentations
from cli726.finetune.augment.transforms import crop, flip
from cli726.finetune.chance import generator
from cli726.finetune.features.feed import Feed, batch_sizes, from_images
from cli726.finetune.network.resnet import Normalization
from tests.cli726.finetune.synthetic import pictures

PLAIN = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def images(count: int) -> Tensor:
    return torch.from_numpy(pictures(count)[0])


@given(shifts=st.lists(st.tuples(st.integers(-31, 31), st.integers(-31, 31)), min_size=1, max_size=6))
def test_crop_is_a_slice_of_torchs_reflected_padding(shifts: Sequence[tuple[int, int]]) -> None:
    pixels = images(len(shifts))
    padded = nn.functional.pad(pixels.permute(0, 3, 1, 2).float(), (31, 31, 31, 31), mode="reflect")
    cropped = crop(pixels, torch.tensor(shifts))
    for number, (down, right) in enumerate(shifts):
        expected = padded[number, :, 31 + down : 63 + down, 31 + right : 63 + right].permute(1, 2, 0)
        assert torch.equal(cropped[number].float(), expected)


def test_flip_mirrors_those_images_and_no_others() -> None:
    pixels = images(4)
    flipped = flip(pixels, torch.tensor([True, False, False, True]))
    assert torch.equal(flipped[1:3], pixels[1:3])
    assert torch.equal(flipped[0], pixels[0].flip(1))
    assert not torch.equal(flipped[0], pixels[0])
    assert torch.equal(flip(flipped, torch.tensor([True, False, False, True])), pixels)


def test_each_image_gets_its_own_draw() -> None:
    for name, distinct in (("flip", 2), ("crop", 81)):
        augmentation = parse_augmentations(name)[0]
        drawn = augmentation.draw(4000, generator(0, name), augmentation.strength)
        kinds, counts = drawn.unique(dim=0, return_counts=True)
        assert len(kinds) == distinct
        assert counts.min() > 0.4 * 4000 / distinct


@pytest.mark.parametrize(("text", "share"), [("flip:0", 0.0), ("flip:1", 1.0), ("flip:0.25", 0.25)])
def test_the_strength_of_a_flip_is_its_probability(text: str, share: float) -> None:
    (augmentation,) = parse_augmentations(text)
    drawn = augmentation.draw(4000, generator(0), augmentation.strength)
    assert drawn.float().mean() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("pixels", [0, 2, 31])
def test_the_strength_of_a_crop_is_how_far_it_reaches(pixels: int) -> None:
    (augmentation,) = parse_augmentations(f"crop:{pixels}")
    drawn = augmentation.draw(4000, generator(0), augmentation.strength)
    assert (int(drawn.min()), int(drawn.max())) == (-pixels, pixels)


def feed(batch_size: int, text: str = "flip,crop", seed: int = 0, count: int = 40) -> Feed:
    labels = torch.arange(count)  # so that a label tells which image it is
    source = from_images(images(count), PLAIN, None, parse_augmentations(text))
    return Feed(labels, batch_sizes(count, batch_size), (seed, "all"), source)


def by_image(feed: Feed, epoch: int) -> Tensor:
    """The epoch's inputs in the images' own order."""
    inputs, labels = map(torch.cat, zip(*feed.batches(epoch), strict=True))
    return inputs[labels.argsort()]


@pytest.mark.parametrize("batch_size", [2, 7, 16, 40])
def test_parameters_belong_to_the_image_whatever_its_batch(batch_size: int) -> None:
    assert torch.equal(by_image(feed(batch_size), 3), by_image(feed(13), 3))


def test_every_epoch_and_seed_draws_afresh_and_again_the_same() -> None:
    first = by_image(feed(16), 1)
    assert torch.equal(by_image(feed(16), 1), first)
    assert not torch.equal(by_image(feed(16), 2), first)
    assert not torch.equal(by_image(feed(16, seed=1), 1), first)
    assert not torch.equal(by_image(feed(16, "none"), 1), first)


def test_the_draws_of_two_transformations_are_independent() -> None:
    """Adding one in front of another leaves the parameters of neither equal to those of the other."""
    twice = by_image(feed(16, "flip:0.5,flip:0.5"), 1)
    plain = by_image(feed(16, "none"), 1)
    unchanged = sum(torch.equal(a, b) for a, b in zip(twice, plain, strict=True))
    assert 5 < unchanged < 35


@pytest.mark.parametrize("text", ["", "none"])
def test_none_is_none(text: str) -> None:
    assert parse_augmentations(text) == ()


def test_a_list_is_kept_in_order_with_its_strengths() -> None:
    chosen = parse_augmentations("crop:2, flip,crop")
    assert [(a.name, a.strength) for a in chosen] == [("crop", 2), ("flip", 0.5), ("crop", 4)]


@pytest.mark.parametrize(
    "text", ["mirror", "flip:2", "flip:x", "flip:", "crop:-1", "crop:32", "flip:nan", "flip,,crop", ","]
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--augment"):
        parse_augmentations(text)
