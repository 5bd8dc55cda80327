"""Convolution, bias, shortcut and activation in one oneDNN kernel: frozen stages on a CPU.

Between separate operations a block's maps go through memory once for each activation and each sum; here they are still
in registers. The operators are torch's own, those that its compiler emits; where a build of torch lacks them, the
stages run as they are.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from cli726.finetune.network.build import SameConv2d

KERNELS = ("_convolution_pointwise", "_convolution_pointwise_", "_reorder_convolution_weight")
# What kernels are chosen for; they take any number of images.
TYPICAL_IMAGES = 16
# What may follow a convolution, in oneDNN's words.
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0]), nn.Hardswish: ("hardswish", []),
}  # fmt: skip
# glibc's numbers for the size from which memory is taken from the system and given back at once, and for how much may
# lie unused before it is given back; ours, in bytes.
MMAP_THRESHOLD, TRIM_THRESHOLD = (-3, 64 << 20), (-1, 512 << 20)


@cache
def keep_memory() -> None:
    """Let glibc keep what a layer frees for the next one: the system's clean pages take a quarter of the time."""
    with suppress(OSError, TypeError, AttributeError):  # another C library
        adjust = ctypes.CDLL(None).mallopt
        adjust(*MMAP_THRESHOLD), adjust(*TRIM_THRESHOLD)


def has_bf16() -> bool:
    """Return whether this processor multiplies bfloat16 matrices in hardware."""
    # torch has no public name for these questions; where it loses the private ones, float32 is always right.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, question, bool)()) for question in questions)


@cache
def kernels() -> tuple[Any, Any, Any] | None:
    """Return convolution, convolution added in place, packing of weights; None where torch has them not."""
    known: Any = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not all(hasattr(known, name) for name in KERNELS):
        return None
    convolve, convolve_onto, pack = (getattr(known, name) for name in KERNELS)
    return convolve, convolve_onto.binary, pack


def fuses(precision: torch.dtype, device: torch.device) -> bool:
    """Return whether frozen stages run in these kernels. They round otherwise than the stages: a cache's key has it."""
    able = precision == torch.float32 or has_bf16()
    return able and device.type == "cpu" and kernels() is not None


class Convolution(nn.Module):
    """A convolution with what follows it, its weights packed for the first images that come."""

    def __init__(self, plain: nn.Conv2d, after: nn.Module | None = None) -> None:
        super().__init__()
        found = kernels()
        if found is None:
            raise RuntimeError("this build of torch has no fused convolutions; ask `fuses` first")
        self.convolve, self.convolve_onto, self.pack = found
        padding = cast("tuple[int, int]", plain.padding)
        self.pads = plain.pads if isinstance(plain, SameConv2d) and plain.stride[0] > 1 else None
        if isinstance(plain, SameConv2d) and self.pads is None:
            padding = (plain.kernel_size[0] // 2,) * 2
        self.place: tuple[Any, ...] = (list(padding), list(plain.stride), list(plain.dilation), plain.groups)
        self.weight = plain.weight.detach()
        self.bias = None if plain.bias is None else plain.bias.detach()
        self.after, self.numbers = ("none", []) if after is None else ACTIVATIONS[type(after)]
        self.packed: Tensor | None = None

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights as the kernel wants them for images like x."""
        if self.packed is None:  # threads that come at once pack the same
            self.packed = self.pack(self.weight, *self.place, [TYPICAL_IMAGES, *x.shape[1:]])
        return self.packed

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x (B, C, H, W) and what follows it."""
        if self.pads is not None:
            x = nn.functional.pad(x, self.pads(x))
        result: Tensor = self.convolve(x, self.weights(x), self.bias, *self.place, self.after, self.numbers, "")
        return result

    def add_to(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """Return the rectified sum of `shortcut` and the convolution of x, in place of `shortcut`."""
        result: Tensor = self.convolve_onto(
            shortcut, x, self.weights(x), self.bias, *self.place, "add", 1.0, "relu", [], ""
        )
        return result


class Block(nn.Module):
    """A fused block of a residual network, ours or torchvision's; an identity shortcut is overwritten."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        *inner, last = (child for name, child in plain.named_children() if name.startswith("conv"))
        self.inner = nn.Sequential(*(Convolution(cast(nn.Conv2d, one), nn.ReLU()) for one in inner))
        self.last = Convolution(cast(nn.Conv2d, last))
        shortcut = cast("nn.Sequential | None", plain.downsample)
        self.downsample = None if shortcut is None else Convolution(cast(nn.Conv2d, shortcut[0]))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.last.add_to(shortcut, self.inner(x))


def fuse_operations(stages: nn.Module) -> nn.Module:
    """Return the stages of `resnet.fuse` but the pool, each convolution with what follows it as a call of one kernel.

    The stages are taken apart; the input may be overwritten. The results are those of the stages up to rounding, and
    the same bits for any number of images.
    """
    for name, child in list(stages.named_children()):
        setattr(stages, name, Block(child) if hasattr(child, "downsample") else fuse_operations(child))
    if isinstance(stages, nn.Sequential):
        line = [(name, child) for name, child in stages.named_children() if not isinstance(child, nn.Identity)]
        for (name, child), (after, activation) in zip(line, [*line[1:], ("", None)], strict=False):
            if isinstance(child, nn.Conv2d):
                follows = activation if type(activation) in ACTIVATIONS else None
                setattr(stages, name, Convolution(child, follows))
                if follows is not None:
                    setattr(stages, after, nn.Identity())
    return stages
