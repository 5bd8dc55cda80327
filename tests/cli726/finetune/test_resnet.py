"""The network: counted by hand, cut anywhere, fused without changing what it says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cli726.errors import RequestError
from cli726.finetune.backbones import DEPTHS
from cli726.finetune.network.resnet import (
    Network,
    build_resnet,
    channels_last,
    convolution_weights,
    divide,
    fuse,
    measure,
)
from tests.cli726.finetune.synthetic import STAGES, lively_backbone, same_bits


def parameters_by_hand(depth: int, classes: int) -> int:
    """He et al. (2015), section 4.2, with projection shortcuts: 9 in out a convolution, 2 out a BatchNorm."""
    blocks = (depth - 2) // 6
    total = 9 * 3 * 16 + 2 * 16
    inputs = 16
    for channels in (16, 32, 64):
        for block in range(blocks):
            before = inputs if block == 0 else channels
            total += 9 * before * channels + 9 * channels * channels + 2 * 2 * channels
            if before != channels:
                total += before * channels + 2 * channels
        inputs = channels
    return total + 64 * classes + classes


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameters_are_those_of_the_paper(depth: int) -> None:
    network = Network(build_resnet(depth), nn.Linear(64, 10))
    assert sum(p.numel() for p in network.parameters()) == parameters_by_hand(depth, 10)


def test_resnet20_has_0_27_million() -> None:
    # 269,722 of the layers themselves, 2,752 of the two projections and their BatchNorm.
    assert parameters_by_hand(20, 10) == 269_722 + (16 * 32 + 64) + (32 * 64 + 128) == 272_474


def test_it_has_depth_layers_with_weights_besides_the_projections() -> None:
    backbone = build_resnet(20)
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert len([c for c in convolutions if c.kernel_size == (3, 3)]) == 20 - 1
    assert len(convolution_weights(backbone)) == len(convolutions) == 21
    assert {id(w) for w in convolution_weights(backbone)} == {id(c.weight) for c in convolutions}


def test_another_depth_is_refused() -> None:
    with pytest.raises(RequestError, match="20, 32, 44, 56; got 18"):
        build_resnet(18)


@pytest.mark.parametrize("cut", range(len(STAGES) + 1))
def test_one_side_after_the_other_is_the_whole(cut: int) -> None:
    backbone = lively_backbone()
    x = torch.randn(5, 3, 32, 32)
    prefix, suffix = divide(backbone, cut)
    with torch.no_grad():
        between = prefix(x)
        assert between.shape[1:] == measure(backbone)[0][cut]
        assert torch.equal(suffix(between), backbone(x))
    assert [name for name, _ in prefix.named_children()] == list(STAGES[:cut])
    shared = {id(p) for p in backbone.parameters()}
    assert {id(p) for p in (*prefix.parameters(), *suffix.parameters())} == shared
    assert same_bits({**prefix.state_dict(), **suffix.state_dict()}, backbone.state_dict())


@pytest.mark.parametrize("cut", [-1, 6])
def test_a_cut_outside_the_network_is_a_mistake(cut: int) -> None:
    with pytest.raises(ValueError, match="within 0 and 5"):
        divide(build_resnet(), cut)


def test_fused_equals_unfused_and_leaves_the_original_alone() -> None:
    backbone = lively_backbone().double().train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    fused = fuse(backbone)
    assert backbone.training
    assert same_bits(before, dict(backbone.state_dict()))
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    x = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), backbone.eval()(x), rtol=1e-9, atol=1e-9)


def test_channels_last_changes_nothing_but_the_layout() -> None:
    backbone = lively_backbone()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    laid_out = channels_last(backbone)
    assert laid_out is backbone
    assert same_bits(before, dict(laid_out.state_dict()))
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in convolution_weights(laid_out))


def test_the_start_has_the_deviation_of_he_et_al() -> None:
    weight = build_resnet().get_submodule("layer3.2.conv2").weight
    assert isinstance(weight, nn.Parameter)
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
