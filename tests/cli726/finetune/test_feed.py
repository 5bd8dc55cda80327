"""The two sources of a phase's inputs behave as one."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from cli726.finetune.features.extractor import Extractor, Normalization
from cli726.finetune.features.feed import ImageFeed, StoredFeed
from cli726.finetune.network.resnet import divide
from tests.cli726.finetune.synthetic import lively_backbone, pictures

NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@given(images=st.integers(1, 200), batch=st.integers(2, 64))
def test_an_epoch_shows_each_image_once_and_never_one_alone(images: int, batch: int) -> None:
    feed = StoredFeed(torch.arange(images)[:, None].float(), torch.arange(images), batch, 0, "head")
    seen = [labels for _, labels in feed.batches(1)]
    assert len(seen) == feed.steps
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(images))
    assert all(len(labels) > 1 for labels in seen) or images == 1
    assert all(len(labels) <= batch + 1 for labels in seen)


def test_inputs_stay_with_their_labels_and_the_order_changes_with_everything_it_should() -> None:
    def order(seed: int, phase: str, epoch: int) -> list[int]:
        feed = StoredFeed(torch.arange(50)[:, None].float(), torch.arange(50), 16, seed, phase)
        batches = list(feed.batches(epoch))
        assert all(torch.equal(inputs[:, 0].long(), labels) for inputs, labels in batches)
        return torch.cat([labels for _, labels in batches]).tolist()

    first = order(0, "head", 1)
    assert order(0, "head", 1) == first
    assert len({tuple(first), *map(tuple, (order(1, "head", 1), order(0, "all", 1), order(0, "head", 2)))}) == 4


def test_both_sources_give_the_same_batches_bit_for_bit() -> None:
    backbone = lively_backbone()
    pixels, labels = map(torch.from_numpy, pictures(37))
    for cut in (2, 3, 5):
        prefix = Extractor(divide(backbone, cut)[0], normalization=NORMALIZATION)
        stored = StoredFeed(prefix(pixels), labels, 9, 0, "x")
        live = ImageFeed(pixels, labels, 9, 0, "x", prefix=prefix, normalization=NORMALIZATION)
        assert stored.steps == live.steps
        for (a, a_labels), (b, b_labels) in zip(stored.batches(1), live.batches(1), strict=True):
            assert torch.equal(a, b)
            assert a.stride() == b.stride()
            assert torch.equal(a_labels, b_labels)
        plain = [torch.cat(list(feed.plain(20))) for feed in (stored, live)]
        assert len(plain[0]) == 20
        assert torch.equal(*plain)
