"""The backbones, built as lines of stages: the CIFAR ResNets, torchvision's networks, EfficientNet-Lite."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cli726.finetune.backbones import BACKBONES, Backbone
from cli726.finetune.data.vision import import_torchvision
from cli726.finetune.network.resnet import build_resnet

# EfficientNet-Lite0's blocks: kernel, stride, expansion, output channels, how many (Tan and Le, 2019, table 1; without
# squeeze and excitation, as Google's "lite" variants have it).
LITE0 = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)  # fmt: skip


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow does: output ceil(input / stride), the odd pixel at the far side."""

    def pads(self, x: Tensor) -> list[int]:
        """Return the pixels to add to x (B, C, H, W): left, right, above, below."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        across, down = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (x.shape[3], x.shape[2]))
        return [across // 2, across - across // 2, down // 2, down - down // 2]

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self._conv_forward(nn.functional.pad(x, self.pads(x)), self.weight, self.bias)
        return result


def conv_bn(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> tuple[nn.Module, ...]:
    kind = nn.Conv2d if kernel == 1 else SameConv2d
    return kind(inputs, outputs, kernel, stride, groups=groups, bias=False), nn.BatchNorm2d(outputs, 1e-3, 0.01)


class LiteBlock(nn.Sequential):
    """An inverted residual (Sandler et al. 2018): expand, filter each channel, project; plus the input if shapes allow.

    Its layers have the names that timm gives them.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        inner = inputs * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            layers["conv_pw"], layers["bn1"] = conv_bn(inputs, inner)
            layers["act1"] = nn.ReLU6(inplace=True)
        layers["conv_dw"], layers["bn2"] = conv_bn(inner, inner, kernel, stride, groups=inner)
        layers["act2"] = nn.ReLU6(inplace=True)
        layers["conv_pwl"], layers["bn3"] = conv_bn(inner, outputs)
        super().__init__(layers)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return result + x if self.adds else result


def efficientnet_lite() -> nn.Sequential:
    """Return EfficientNet-Lite0's parts: a convolution, 16 blocks, a convolution to 1,280 channels."""
    parts: list[nn.Module] = [nn.Sequential(*conv_bn(3, 32, 3, 2), nn.ReLU6(inplace=True))]
    inputs = 32
    for kernel, stride, expansion, outputs, count in LITE0:
        for number in range(count):
            parts.append(LiteBlock(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
            inputs = outputs
    parts.append(nn.Sequential(*conv_bn(inputs, 1280), nn.ReLU6(inplace=True)))
    for module in (m for part in parts for m in part.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return nn.Sequential(*parts)


def parts_of(backbone: Backbone, count: int) -> list[tuple[str, range]]:
    """Return each stage but the pool, with the numbers of its parts, of a line of `count` parts."""
    bounds = (0, *backbone.starts, count)
    return list(zip(backbone.stages, (range(*pair) for pair in pairwise(bounds)), strict=False))


def build_backbone(backbone: Backbone | str = "resnet20") -> nn.Sequential:
    """Return a network up to its average pooling, freshly initialised.

    Returns:
        A Sequential of `backbone.stages`; slices of it are the two sides of a cut. It maps images (N, 3, S, S) to
        features (N, D), which are those of torchvision's own model before its classifier.
    """
    if isinstance(backbone, str):
        backbone = BACKBONES[backbone]
    if backbone.depth is not None:
        return build_resnet(backbone.depth)
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    if backbone.family == "torchvision":
        whole: nn.Module = getattr(import_torchvision().models, backbone.name)(weights=None)
        line = getattr(whole, "features", None)
    else:
        line = efficientnet_lite()
    if line is None:
        children = OrderedDict(whole.named_children())
        stem = ("conv1", "bn1", "relu", "maxpool")
        stages["stem"] = nn.Sequential(OrderedDict((name, children[name]) for name in stem))
        stages.update((name, children[name]) for name in backbone.stages[1:-1])
    else:
        for name, numbers in parts_of(backbone, len(line)):
            stages[name] = nn.Sequential(OrderedDict((str(number), line[number]) for number in numbers))
    stages["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(stages)


class Unfilled(TorchFunctionMode):
    """Tensors without memory are not filled: torch's way of doing nothing there imports its compiler, for a second."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return arguments[0] if function == Tensor.normal_ else function(*arguments, **(named or {}))


@cache
def expected_tensors(backbone: Backbone) -> Mapping[str, Tensor]:
    """Return a network's state dict as names and shapes alone."""
    with torch.device("meta"), Unfilled():
        return dict(build_backbone(backbone).state_dict())
