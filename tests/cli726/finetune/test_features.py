"""The extractor: the same bits for an image whatever it is batched with, and what the plain network says."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cli726.finetune.features.extractor import (
    Extractor,
    Normalization,
    as_maps,
    resolve_precision,
    say_if_emulated,
)
from cli726.finetune.network.kernels import has_bf16
from cli726.finetune.network.resnet import divide, measure
from tests.cli726.finetune.synthetic import HEAD_ONLY, Listener, lively_backbone, pictures

NORMALIZATION = Normalization((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
COUNT = 150  # more than one block in either precision
PIXELS = torch.from_numpy(pictures(COUNT)[0])
PRECISIONS = [torch.float32, torch.bfloat16]


def extractor(cut: int, precision: torch.dtype) -> Extractor:
    return Extractor(divide(lively_backbone(), cut)[0], precision, NORMALIZATION)


@cache
def whole(cut: int, precision: torch.dtype) -> tuple[Extractor, torch.Tensor]:
    """An extractor, and what it says of all images."""
    prefix = extractor(cut, precision)
    return prefix, prefix(PIXELS)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("cut", [2, 3, HEAD_ONLY])
@settings(max_examples=12, deadline=None)
@given(chosen=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=40))
def test_the_same_bits_in_any_company(cut: int, precision: torch.dtype, chosen: list[int]) -> None:
    prefix, features = whole(cut, precision)
    assert torch.equal(prefix(PIXELS[chosen]), features[chosen])


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("cut", [2, 3, HEAD_ONLY])
def test_the_same_bits_whether_whole_or_in_batches_of_any_size(cut: int, precision: torch.dtype) -> None:
    prefix, features = whole(cut, precision)
    for size in (1, 2, 3, 4, 5, 31, 64, 129, COUNT):
        assert torch.equal(torch.cat([prefix(part) for part in PIXELS.split(size)]), features), size


@pytest.mark.parametrize("cut", [1, 2, 3, 4, HEAD_ONLY])
def test_in_fp32_it_is_the_plain_network_up_to_rounding(cut: int) -> None:
    prefix = divide(lively_backbone(), cut)[0]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (NORMALIZATION.mean, NORMALIZATION.std))
    with torch.no_grad():
        expected = prefix((PIXELS[:20].permute(0, 3, 1, 2).float() / 255 - mean) / std)
    seen = extractor(cut, torch.float32)(PIXELS[:20])
    assert seen.is_contiguous()
    assert as_maps(seen).shape == (20, *measure(lively_backbone())[0][cut])
    torch.testing.assert_close(as_maps(seen), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cut", [3, HEAD_ONLY])
def test_in_bf16_it_is_close_and_pooled_features_are_float32(cut: int) -> None:
    exact, rough = (whole(cut, p)[1] for p in PRECISIONS)
    assert exact.dtype == torch.float32
    assert rough.dtype == (torch.float32 if cut == HEAD_ONLY else torch.bfloat16)
    error = (rough.float() - exact).norm() / exact.norm()
    assert 0 < error < 0.05


def test_a_suffix_takes_up_where_the_prefix_left() -> None:
    backbone = lively_backbone()
    expected = extractor(HEAD_ONLY, torch.float32)(PIXELS[:20])
    for cut in (2, 3, 4):
        suffix = Extractor(divide(backbone, cut)[1])
        assert torch.equal(suffix(extractor(cut, torch.float32)(PIXELS[:20])), expected)


def test_the_network_it_came_from_may_change_without_it() -> None:
    backbone = lively_backbone()
    frozen = Extractor(backbone, normalization=NORMALIZATION)
    before = frozen(PIXELS[:8])
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    assert torch.equal(frozen(PIXELS[:8]), before)
    assert not before.requires_grad


def test_normalisation_is_the_textbooks() -> None:
    x = NORMALIZATION(PIXELS[:4])
    assert x.is_contiguous(memory_format=torch.channels_last)
    for channel in range(3):
        expected = (PIXELS[:4, :, :, channel] / 255 - NORMALIZATION.mean[channel]) / NORMALIZATION.std[channel]
        torch.testing.assert_close(x[:, channel], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("cut", [2, HEAD_ONLY])
def test_the_same_bits_on_any_number_of_threads(cut: int, precision: torch.dtype) -> None:
    prefix, features = whole(cut, precision)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert torch.equal(prefix(PIXELS[:41]), features[:41])
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_suffix_leaves_what_it_is_given_as_it_was(cut: int) -> None:
    stored = extractor(cut, torch.float32)(PIXELS[:20])
    before = stored.clone()
    Extractor(divide(lively_backbone(), cut)[1])(stored)
    assert torch.equal(stored, before)


@pytest.mark.parametrize("depth", [20, 32])
def test_without_the_kernels_the_stages_run_as_they_are(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = lively_backbone(depth)
    fused = Extractor(backbone, normalization=NORMALIZATION)(PIXELS[:20])
    monkeypatch.setattr("cli726.finetune.features.extractor.fuses", lambda *_: False)
    plain = Extractor(backbone, normalization=NORMALIZATION)(PIXELS[:20])
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)


def test_large_images_go_through_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    extractor = Extractor(lively_backbone(), torch.bfloat16)
    monkeypatch.setattr(extractor, "forward", lambda block: sizes.append(len(block)) or block[:, 0, 0])
    for side in (32, 224):
        assert len(extractor.run(torch.zeros(40, side, side, 3, dtype=torch.uint8))) == 40
    assert sizes == [40, 16, 16, 8]


def test_no_images_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no images"):
        extractor(2, torch.float32)(PIXELS[:0])


def test_precisions() -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("fp32", cpu) == torch.float32
    assert resolve_precision("bf16", cpu) == torch.bfloat16
    assert resolve_precision("auto", cpu) == (torch.bfloat16 if has_bf16() else torch.float32)


@pytest.mark.parametrize("able", [True, False])
def test_a_precision_that_is_emulated_is_said(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli726.finetune.features.extractor.has_bf16", lambda: able)
    listener, cpu = Listener(), torch.device("cpu")
    say_if_emulated(torch.float32, cpu, listener)
    say_if_emulated(torch.bfloat16, torch.device("cuda"), listener)
    assert listener.lines == []
    say_if_emulated(torch.bfloat16, cpu, listener)
    assert len(listener.lines) == (not able)
