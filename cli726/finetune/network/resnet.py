"""The CIFAR family of residual networks, as a line of stages that can be cut in two.

He, Zhang, Ren and Sun (2015), "Deep Residual Learning for Image Recognition", section 4.2: a 3 x 3
convolution, three stages of n blocks with 16, 32 and 64 channels, global average pooling; depth 6n + 2.
Shortcuts that change shape are 1 x 1 convolutions with BatchNorm, as in the public CIFAR-100 weights.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from cli726.errors import RequestError
from cli726.finetune.backbones import DEPTHS

CHANNELS = (16, 32, 64)
M = TypeVar("M", bound=nn.Module)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: h(F(x) + x)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.relu(self.bn2(self.conv2(y)) + shortcut)
        return result


def build_resnet(depth: int = 20) -> nn.Sequential:
    """Return a CIFAR ResNet up to its average pooling, freshly initialised.

    Args:
        depth: 6n + 2; one of 20, 32, 44, 56.

    Returns:
        A Sequential of its stages. Maps images of shape (N, 3, 32, 32) to features of shape (N, 64).

    Raises:
        RequestError: for another depth.

    Source: He et al. (2015), section 4.2; initialisation of He et al. (2015), "Delving Deep", eq. 10, fan-out.
    """
    if depth not in DEPTHS:
        raise RequestError(f"depth must be one of {', '.join(map(str, DEPTHS))}; got {depth}")
    blocks = (depth - 2) // 6
    stem = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, CHANNELS[0], 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(CHANNELS[0]),
            relu=nn.ReLU(inplace=True),
        )
    )
    stages: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    inputs = CHANNELS[0]
    for number, outputs in enumerate(CHANNELS, 1):
        layers = [BasicBlock(inputs, outputs, stride=1 if number == 1 else 2)]
        layers += [BasicBlock(outputs, outputs, stride=1) for _ in range(blocks - 1)]
        stages[f"layer{number}"] = nn.Sequential(*layers)
        inputs = outputs
    stages["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = nn.Sequential(stages)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone


class Network(nn.Module):
    """The backbone's stages and the head."""

    def __init__(self, backbone: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(x))
        return scores


def divide(backbone: nn.Sequential, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the frozen prefix and the trained suffix at a cut.

    Args:
        cut: how many stages, from the input, are frozen; 0: none; as many as there are: head only.

    Returns:
        (prefix, suffix): Sequentials that share the backbone's modules; running one after the other
        is running the backbone.
    """
    stages = list(backbone.named_children())
    if not 0 <= cut <= len(stages):
        raise ValueError(f"cut must lie within 0 and {len(stages)}; got {cut}")
    return nn.Sequential(OrderedDict(stages[:cut])), nn.Sequential(OrderedDict(stages[cut:]))


@torch.no_grad()
def measure(backbone: nn.Sequential, size: int = 32) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return an image's shape at each cut, and the multiply-adds of convolutions that lead to it.

    Args:
        backbone: In eval mode.
        size: Side of the image in pixels.

    Returns:
        Shapes (3, S, S), channels first, to (D,) after pooling; multiply-adds from 0 at the image.
    """
    work = [0]

    def count(layer: nn.Module, _: Any, result: Tensor) -> None:
        weight = cast(nn.Conv2d, layer).weight
        work[-1] += result[0, 0].numel() * weight.numel()

    hooks = [layer.register_forward_hook(count) for layer in backbone.modules() if isinstance(layer, nn.Conv2d)]
    x = torch.zeros(1, 3, size, size, device=next(backbone.parameters()).device)
    shapes = [tuple(x.shape[1:])]
    for stage in backbone:
        work.append(work[-1])
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    for hook in hooks:
        hook.remove()
    return shapes, work


def width_of(backbone: nn.Module) -> int:
    """Return the length of a feature vector, after pooling: the channels of the last normalisation."""
    return [module.num_features for module in backbone.modules() if isinstance(module, _BatchNorm)][-1]


def convolution_weights(module: nn.Module) -> list[nn.Parameter]:
    """Return the convolutions' weights: what weight decay acts on (BatchNorm's scales and shifts are left alone)."""
    return [cast(nn.Parameter, m.weight) for m in module.modules() if isinstance(m, nn.Conv2d)]


def channels_last(module: M, precision: torch.dtype | None = None) -> M:
    """Return `module`, in place, with weights laid out for convolutions over channels-last maps."""
    return module.to(dtype=precision, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def fuse(stages: nn.Sequential) -> nn.Sequential:
    """Return a copy in eval mode, each BatchNorm folded into the convolution before it: equal up to rounding.

    In every network here the layer that follows a convolution in the order of definition is what takes its output.

    Source: y = gamma (W x - mu) / sqrt(var + eps) + beta is itself affine in x; `torch.nn.utils.fusion`.
    """
    fused = copy.deepcopy(stages).eval()
    for parent in list(fused.modules()):
        for (_, convolution), (after, norm) in pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, _BatchNorm):
                mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
                )
                setattr(parent, after, nn.Identity())
    return fused


def as_maps(stored: Tensor) -> Tensor:
    """Return (B, H, W, C) as it lies in memory as (B, C, H, W), which convolutions take; vectors as they are."""
    return stored.permute(0, 3, 1, 2) if stored.ndim == 4 else stored


@dataclass(frozen=True)
class Normalization:
    """What the network's weights expect of its input: (x / 255 - mean) / std, for each of red, green and blue."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return uint8 images of shape (B, H, W, 3) as float32 of shape (B, 3, H, W), channels last in memory."""
        mean = torch.tensor(self.mean, device=pixels.device)
        std = torch.tensor(self.std, device=pixels.device)
        # A row at a time: three numbers at once leave a vector unit idle.
        scale, shift = (values.repeat(pixels.shape[2]) for values in (1 / (255 * std), mean / std))
        return as_maps(pixels.float().flatten(2).mul_(scale).sub_(shift).view(pixels.shape))
