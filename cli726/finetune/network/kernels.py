"""Convolution, bias, shortcut and rectifier in one oneDNN kernel: frozen stages in float32 on a CPU.

Between separate operations a block's maps go through memory once for each rectifier and each sum; here they are still
in registers. The operators are torch's own, those that its compiler emits; where a build of torch lacks them, the
stages run as they are.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from cli726.finetune.network.resnet import BasicBlock

__all__ = ["fuse_operations", "fuses"]

KERNELS = ("_convolution_pointwise", "_convolution_pointwise_", "_reorder_convolution_weight")
# What kernels are chosen for; they take any number of images.
TYPICAL_IMAGES = 16


@cache
def kernels() -> tuple[Any, Any, Any] | None:
    """Convolution, convolution added in place, packing of weights; None where torch has them not."""
    known: Any = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not all(hasattr(known, name) for name in KERNELS):
        return None
    convolve, convolve_onto, pack = (getattr(known, name) for name in KERNELS)
    return convolve, convolve_onto.binary, pack


def fuses(precision: torch.dtype, device: torch.device) -> bool:
    """Whether frozen stages are run in these kernels. They round otherwise than the stages do: a cache's key has it."""
    return precision == torch.float32 and device.type == "cpu" and kernels() is not None


class Convolution(nn.Module):
    """A convolution with what follows it, its weights packed once."""

    def __init__(self, plain: nn.Conv2d, size: int) -> None:
        """Take a convolution whose input is `size` pixels wide and high."""
        super().__init__()
        found = kernels()
        if found is None:
            raise RuntimeError("this build of torch has no fused convolutions; ask `fuses` first")
        self.convolve, self.convolve_onto, pack = found
        place = (plain.padding, plain.stride, plain.dilation, plain.groups)
        expected = [TYPICAL_IMAGES, plain.in_channels, size, size]
        self.packed = pack(plain.weight.detach(), *place, expected)
        self.bias = None if plain.bias is None else plain.bias.detach()
        self.place = [list(part) if isinstance(part, tuple) else part for part in place]

    def forward(self, x: Tensor, after: str = "relu") -> Tensor:
        """The convolution of x (B, C, H, W), then the rectifier, or "none"."""
        result: Tensor = self.convolve(x, self.packed, self.bias, *self.place, after, [], "")
        return result

    def add_to(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """The rectified sum of `shortcut` and the convolution of x, in place of `shortcut`."""
        result: Tensor = self.convolve_onto(
            shortcut, x, self.packed, self.bias, *self.place, "add", 1.0, "relu", [], ""
        )
        return result


class Block(nn.Module):
    """A fused `BasicBlock`; an identity shortcut is overwritten."""

    def __init__(self, plain: BasicBlock, size: int) -> None:
        super().__init__()
        stride = plain.conv1.stride[0]
        self.conv1 = Convolution(plain.conv1, size)
        self.conv2 = Convolution(plain.conv2, size // stride)
        shortcut = cast("nn.Sequential | None", plain.downsample)
        self.downsample = None if shortcut is None else Convolution(cast(nn.Conv2d, shortcut[0]), size)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x, "none")
        return self.conv2.add_to(shortcut, self.conv1(x))


def fuse_operations(stages: nn.Sequential) -> nn.Sequential:
    """Stages of `resnet.fuse`, stem to layer3, as calls of one kernel each; the input may be overwritten.

    The results are those of the stages up to rounding, and the same bits for any number of images.
    """
    fused = nn.Sequential()
    size = {"stem": 32, "layer1": 32, "layer2": 32, "layer3": 16}
    for name, stage in stages.named_children():
        if name == "stem":
            fused.append(Convolution(cast(nn.Conv2d, stage.conv1), size[name]))
            continue
        width = size[name]
        for block in cast(nn.Sequential, stage):
            if not isinstance(block, BasicBlock):
                raise TypeError(f"a stage is made of basic blocks; got {type(block).__name__}")
            fused.append(Block(block, width))
            width //= block.conv1.stride[0]
    return fused
