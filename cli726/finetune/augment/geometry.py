"""Transformations that move pixels or cover them.

Images are uint8 tensors of shape (B, H, W, 3), whatever their device; parameters are drawn on the CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "crop",
    "draw_angles",
    "draw_flips",
    "draw_rectangles",
    "draw_shifts",
    "erase",
    "flip",
    "rotate",
    "to_bytes",
]

# What torchvision's RandomErasing covers: shares of the image's area, and height over width.
AREAS = (0.02, 0.33)
ASPECTS = (0.3, 3.3)


def to_bytes(values: Tensor) -> Tensor:
    """Float values rounded and clipped to 0..255; they are overwritten.

    Halves, which averages of whole numbers often hit, go up by more than the rounding of float32, so that sums taken in
    another order, as in a batch of another size, give the same byte.
    """
    return values.add_(0.501).clamp_(0, 255).to(torch.uint8)


def draw_flips(images: int, chance: torch.Generator, probability: float) -> Tensor:
    return torch.rand(images, generator=chance) < probability


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror left and right where `flips`."""
    return torch.where(flips[:, None, None, None].to(images.device), images.flip(2), images)


def draw_shifts(images: int, chance: torch.Generator, pixels: float) -> Tensor:
    reach = int(pixels)
    return torch.randint(-reach, reach + 1, (images, 2), generator=chance)


def reflect(positions: Tensor, size: int) -> Tensor:
    """Positions outside 0..size-1 mirrored at the edge pixel, as `mode="reflect"` does."""
    inside = positions.abs()
    return torch.where(inside >= size, 2 * (size - 1) - inside, inside)


def crop(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift each image by whole pixels, edges filled by reflection: a crop out of the padded image."""
    batch, height, width, _ = images.shape
    shifts = shifts.to(images.device)
    rows = reflect(torch.arange(height, device=images.device) + shifts[:, :1], height)  # (B, H)
    columns = reflect(torch.arange(width, device=images.device) + shifts[:, 1:], width)  # (B, W)
    which = torch.arange(batch, device=images.device)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]]


def draw_angles(images: int, chance: torch.Generator, degrees: float) -> Tensor:
    return (2 * torch.rand(images, generator=chance) - 1) * math.radians(degrees)


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Turn each image anticlockwise about its centre (radians), bilinearly; corners filled by reflection."""
    batch, height, width, _ = images.shape
    cosine, sine = angles.cos(), angles.sin()
    zero = torch.zeros_like(cosine)
    # From a place in the result to one in the image, in units of half a side: hence the ratio of the sides.
    rows = (cosine, -sine * height / width, zero, sine * width / height, cosine, zero)
    places = torch.stack(rows, 1).view(batch, 2, 3).to(images.device)
    grid = torch.nn.functional.affine_grid(places, [batch, 3, height, width], align_corners=False)
    planes = images.permute(0, 3, 1, 2).contiguous().float()
    turned = torch.nn.functional.grid_sample(planes, grid, "bilinear", "reflection", align_corners=False)
    return to_bytes(turned).permute(0, 2, 3, 1).contiguous()


def draw_rectangles(images: int, chance: torch.Generator, probability: float) -> Tensor:
    """(top, left, height, width) as shares of the sides; of no size where nothing is to be covered."""
    u = torch.rand(images, 5, generator=chance)
    area = AREAS[0] + (AREAS[1] - AREAS[0]) * u[:, 0]
    aspect = ASPECTS[0] * (ASPECTS[1] / ASPECTS[0]) ** u[:, 1]
    covered = (u[:, 4] < probability).float()
    height, width = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    return torch.stack([u[:, 2] * (1 - height), u[:, 3] * (1 - width), height * covered, width * covered], 1)


def erase(images: Tensor, rectangles: Tensor) -> Tensor:
    """Cover a rectangle of each image with the image's mean colour, which carries nothing.

    Source: Zhong et al. (2020), Random erasing data augmentation.
    """
    height, width = images.shape[1:3]
    top, left, high, wide = rectangles.to(images.device)[:, :, None].unbind(1)  # (B, 1) each
    y = (torch.arange(height, device=images.device) + 0.5) / height
    x = (torch.arange(width, device=images.device) + 0.5) / width
    rows = (y >= top) & (y < top + high)  # (B, H)
    columns = (x >= left) & (x < left + wide)  # (B, W)
    inside = rows[:, :, None, None] & columns[:, None, :, None]
    # Whole numbers, so that no order of summation can matter.
    pixels = height * width
    mean = (images.sum((1, 2), keepdim=True, dtype=torch.int32) + pixels // 2) // pixels
    return torch.where(inside, mean.to(torch.uint8), images)
