"""Image transformations a batch at a time, with a draw for each image.

Parameters are drawn for all images of an epoch at once and then looked up by image, so that neither the order
of the images nor the batch they fall into can change them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cli726.errors import RequestError

__all__ = ["Augmentation", "parse_augmentations"]

Draw = Callable[[int, torch.Generator, float], Tensor]
Apply = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """One transformation.

    Attributes:
        name: As typed after `--augment`.
        strength: Its one number; what it means depends on the transformation.
        draw: (images, generator, strength) -> parameters, Tensor of shape (images, ...).
        apply: (uint8 images of shape (B, H, W, 3), their parameters) -> images of the same shape.
    """

    name: str
    strength: float
    draw: Draw
    apply: Apply


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
    """Shift each image by up to four pixels, edges filled by reflection: a crop out of the padded image."""
    batch, height, width, _ = images.shape
    shifts = shifts.to(images.device)
    rows = reflect(torch.arange(height, device=images.device) + shifts[:, :1], height)  # (B, H)
    columns = reflect(torch.arange(width, device=images.device) + shifts[:, 1:], width)  # (B, W)
    which = torch.arange(batch, device=images.device)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]]


# name -> (default strength, smallest, largest, draw, apply)
KNOWN: dict[str, tuple[float, float, float, Draw, Apply]] = {
    "flip": (0.5, 0, 1, draw_flips, flip),
    "crop": (4, 0, 31, draw_shifts, crop),
}


def parse_augmentations(text: str) -> tuple[Augmentation, ...]:
    """`--augment`: a comma list such as "flip,crop" or "flip:0.5,crop:2", in order; "none" for none.

    Raises:
        RequestError: for an unknown name or a strength out of its range.
    """
    if text in {"", "none"}:
        return ()
    chosen = []
    for part in text.split(","):
        name, colon, number = part.strip().partition(":")
        if name not in KNOWN:
            raise RequestError(f"--augment knows {', '.join(KNOWN)}; got {name}")
        default, low, high, draw, apply = KNOWN[name]
        try:
            strength = float(number) if colon else default
        except ValueError:
            strength = float("nan")
        if not low <= strength <= high:
            raise RequestError(f"--augment {name} takes a strength from {low} to {high}; got {number}")
        chosen.append(Augmentation(name, strength, draw, apply))
    return tuple(chosen)
