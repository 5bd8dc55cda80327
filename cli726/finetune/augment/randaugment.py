"""RandAugment with torchvision's operations, a batch at a time.

torchvision draws once for a batch and else works image by image. Here each image has its own draw, and the images
that drew the same operation go through it together.

Source: Cubuk et al. (2020), RandAugment; the table is that of `torchvision.transforms.v2.RandAugment`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from cli726.finetune.data.vision import import_torchvision

STRONGEST = 30
OPERATIONS_AN_IMAGE = 2
# (images (B, 3, H, W), level from -1 to 1, torchvision's functions) -> images
Operation = Callable[[Tensor, float, Any], Tensor]


def affine(
    images: Tensor, functions: Any, *, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0, 0)
) -> Any:
    """Shift or shear images; a shear is given by its tangent, about the upper left corner."""
    degrees = [math.degrees(math.atan(tangent)) for tangent in shear]
    center = [0, 0] if any(shear) else None
    return functions.affine(images, angle=0.0, translate=list(shift), scale=1.0, shear=degrees, center=center)


def shift_of(level: float, side: int) -> int:
    return int(150 / 331 * side * level)


# level is the magnitude over its most, with a random sign where it may have two.
OPERATIONS: dict[str, Operation] = {
    "identity": lambda x, _level, _f: x,
    "shear-x": lambda x, level, f: affine(x, f, shear=(0.3 * level, 0)),
    "shear-y": lambda x, level, f: affine(x, f, shear=(0, 0.3 * level)),
    "translate-x": lambda x, level, f: affine(x, f, shift=(shift_of(level, x.shape[3]), 0)),
    "translate-y": lambda x, level, f: affine(x, f, shift=(0, shift_of(level, x.shape[2]))),
    "rotate": lambda x, level, f: f.rotate(x, angle=30 * level),
    "brightness": lambda x, level, f: f.adjust_brightness(x, 1 + 0.9 * level),
    "color": lambda x, level, f: f.adjust_saturation(x, 1 + 0.9 * level),
    "contrast": lambda x, level, f: f.adjust_contrast(x, 1 + 0.9 * level),
    "sharpness": lambda x, level, f: f.adjust_sharpness(x, 1 + 0.9 * level),
    "posterize": lambda x, level, f: f.posterize(x, bits=round(8 - 4 * abs(level))),
    "solarize": lambda x, level, f: f.solarize(x, threshold=255 * (1 - abs(level))),
    "autocontrast": lambda x, _level, f: f.autocontrast(x),
    "equalize": lambda x, _level, f: f.equalize(x),
}


@cache
def torchvision_functions() -> Any:
    import_torchvision()
    return importlib.import_module("torchvision.transforms.v2.functional")


def draw_randaugment(images: int, chance: torch.Generator, magnitude: float) -> Tensor:
    """Draw (number of an operation, its level) for each of two operations: Tensor of shape (images, 2, 2)."""
    size = (images, OPERATIONS_AN_IMAGE)
    which = torch.randint(len(OPERATIONS), size, generator=chance)
    signs = 2 * torch.randint(2, size, generator=chance) - 1
    return torch.stack([which, signs * magnitude / STRONGEST], 2)


def randaugment(images: Tensor, drawn: Tensor) -> Tensor:
    """Apply two operations one after the other on each uint8 image of (B, H, W, 3)."""
    operations = list(OPERATIONS.values())
    planes = images.permute(0, 3, 1, 2).contiguous()
    for choice in drawn.unbind(1):  # (B, 2)
        for number, level in choice.unique(dim=0).tolist():
            where = (choice == torch.tensor([number, level])).all(1).to(images.device)
            planes[where] = operations[int(number)](planes[where], level, torchvision_functions())
    return planes.permute(0, 2, 3, 1).contiguous()
