"""The CIFAR family of residual networks, as a line of stages that can be cut in two.

He, Zhang, Ren and Sun (2015), "Deep Residual Learning for Image Recognition", section 4.2: a 3 x 3
convolution, three stages of n blocks with 16, 32 and 64 channels, global average pooling; depth 6n + 2.
Shortcuts that change shape are 1 x 1 convolutions with BatchNorm, as in the public CIFAR-100 weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from cli726.errors import RequestError
from cli726.finetune.config import DEPTHS, STAGES

CHANNELS = (16, 32, 64)
FEATURES = CHANNELS[-1]


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


def build_backbone(depth: int = 20) -> nn.Sequential:
    """The network up to its average pooling, freshly initialised.

    Args:
        depth: 6n + 2; one of 20, 32, 44, 56.

    Returns:
        A Sequential of the stages in `config.STAGES`; slices of it are the two sides of a cut.
        Maps images of shape (N, 3, 32, 32) to features of shape (N, 64).

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


def depth_of(backbone: nn.Sequential) -> int:
    """The depth, 6n + 2, read off the number of blocks in the first stage."""
    return 6 * len(backbone[1]) + 2  # type: ignore[arg-type]


def divide(backbone: nn.Sequential, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The frozen prefix and the trained suffix at a cut.

    Args:
        cut: how many stages, from the input, are frozen; 0 (none) to 5 (all: head only).

    Returns:
        (prefix, suffix): Sequentials that share the backbone's modules; running one after the other
        is running the backbone.
    """
    if not 0 <= cut <= len(STAGES):
        raise ValueError(f"cut must lie within 0 and {len(STAGES)}; got {cut}")
    return backbone[:cut], backbone[cut:]


def feature_shape(cut: int) -> tuple[int, ...]:
    """Shape of one image's features after `cut` stages: channels first, or (64,) after pooling."""
    shapes = ((3, 32, 32), (16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8), (FEATURES,))
    return shapes[cut]


def convolution_weights(module: nn.Module) -> list[nn.Parameter]:
    """The convolutions' weights: what weight decay acts on (BatchNorm's scales and shifts are left alone)."""
    return [m.weight for m in module.modules() if isinstance(m, nn.Conv2d)]


def has_batchnorm(module: nn.Module) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())


@torch.no_grad()
def fuse(module: nn.Module) -> nn.Module:
    """A copy in eval mode with each BatchNorm folded into the convolution before it: equal up to rounding.

    Source: y = gamma (W x - mu) / sqrt(var + eps) + beta is itself affine in x; `torch.nn.utils.fusion`.
    """
    import copy

    from torch.nn.utils.fusion import fuse_conv_bn_eval

    fused = copy.deepcopy(module).eval()
    for parent in list(fused.modules()):
        if isinstance(parent, BasicBlock):
            parent.conv1, parent.bn1 = fuse_conv_bn_eval(parent.conv1, parent.bn1), nn.Identity()  # type: ignore[assignment]
            parent.conv2, parent.bn2 = fuse_conv_bn_eval(parent.conv2, parent.bn2), nn.Identity()  # type: ignore[assignment]
            if isinstance(parent.downsample, nn.Sequential):
                parent.downsample = fuse_conv_bn_eval(parent.downsample[0], parent.downsample[1])  # type: ignore[arg-type]
        elif isinstance(parent, nn.Sequential) and hasattr(parent, "conv1"):
            parent.conv1, parent.bn1 = fuse_conv_bn_eval(parent.conv1, parent.bn1), nn.Identity()  # type: ignore[arg-type]
    return fused
