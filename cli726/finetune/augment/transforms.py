"""What the augmentations do: NAME(images, parameters), and draw_NAME(images, generator, strength) for the parameters.

Images are uint8 tensors of shape (B, H, W, 3), whatever their device; parameters are drawn on the CPU.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from cli726.finetune.chance import generator
from cli726.finetune.data.vision import import_torchvision
from cli726.finetune.recipe import KNOWN

# What torchvision's RandomErasing covers: shares of the image's area, and height over width.
AREAS = (0.02, 0.33)
ASPECTS = (0.3, 3.3)
# Of red, green and blue in grey (ITU-R BT.601), as torchvision has them.
GREY = (0.2989, 0.587, 0.114)
# How far hue turns for a given change of brightness, contrast and saturation, in turns (Chen et al. 2020, SimCLR).
HUE_SHARE = 0.25
# Kernels are as wide as the strongest of all needs, whatever is drawn.
WIDEST_BLUR, WIDEST_MOTION = int(KNOWN["blur"].high), int(KNOWN["motionblur"].high)
# A kernel's points along a motion: more than two a pixel.
MOTION_POINTS = 40
# Noise is read from a table at a random place for each image: an eighth of the time that drawing it takes.
TABLE = 1 << 20


def to_bytes(values: Tensor) -> Tensor:
    """Return float values rounded and clipped to 0..255; they are overwritten.

    Halves, which averages of whole numbers often hit, go up by more than the rounding of float32, so that sums taken in
    another order, as in a batch of another size, give the same byte.
    """
    return values.add_(0.501).clamp_(0, 255).to(torch.uint8)


def draw_flip(images: int, chance: torch.Generator, probability: float) -> Tensor:
    return torch.rand(images, generator=chance) < probability


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror left and right where `flips`."""
    return torch.where(flips[:, None, None, None].to(images.device), images.flip(2), images)


# In two epochs an image is seen either way once, where chance shows it twice the same way half the time.
# Source: Jordan (2024), "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.6.
draw_altflip, altflip = draw_flip, flip


def draw_crop(images: int, chance: torch.Generator, pixels: float) -> Tensor:
    reach = int(pixels)
    return torch.randint(-reach, reach + 1, (images, 2), generator=chance)


def reflect(positions: Tensor, size: int) -> Tensor:
    """Return positions outside 0..size-1 mirrored at the edge pixel, as `mode="reflect"` does."""
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


def draw_rotate(images: int, chance: torch.Generator, degrees: float) -> Tensor:
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


def draw_erase(images: int, chance: torch.Generator, probability: float) -> Tensor:
    """Draw (top, left, height, width) as shares of the sides; of no size where nothing is to be covered."""
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


def uniform(images: int, chance: torch.Generator, low: float, high: float, numbers: int = 1) -> Tensor:
    return low + (high - low) * torch.rand(images, numbers, generator=chance)


def draw_color(images: int, chance: torch.Generator, strength: float) -> Tensor:
    """Draw factors of brightness, contrast and saturation, about 1, and a turn of the hue, about 0."""
    factors = uniform(images, chance, 1 - strength, 1 + strength, 3)
    return torch.cat([factors, uniform(images, chance, -HUE_SHARE * strength, HUE_SHARE * strength)], 1)


def turn_hue(planes: Tensor, turns: Tensor) -> Tensor:
    """Return red, green and blue planes (3, ...) with the hue of the HSV model moved by `turns` (..., from 0 to 1)."""
    red, green, blue = planes
    value, lowest = planes.amax(0), planes.amin(0)
    chroma = value - lowest
    safe = chroma.clamp_min(1e-6)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turns
    # https://en.wikipedia.org/wiki/HSL_and_HSV, "HSV to RGB alternative"
    positions = (torch.remainder(hue + n, 6) for n in (5, 3, 1))
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in positions])


def color(images: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast, saturation, hue, in this order, each clipped as torchvision's ColorJitter does."""
    brightness, contrast, saturation, turns = factors.to(images.device).T[:, :, None, None]  # (B, 1, 1) each
    grey = torch.tensor(GREY, device=images.device)
    planes = images.permute(3, 0, 1, 2).contiguous().float()  # (3, B, H, W)
    planes.mul_(brightness).clamp_(0, 255)
    mean = torch.tensordot(grey, planes, 1).mean((1, 2), keepdim=True)
    planes.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 255)
    shades = torch.tensordot(grey, planes, 1)
    planes.sub_(shades).mul_(saturation).add_(shades).clamp_(0, 255)
    return to_bytes(turn_hue(planes, turns)).permute(1, 2, 3, 0).contiguous()


def draw_blur(images: int, chance: torch.Generator, widest: float) -> Tensor:
    return uniform(images, chance, 0, widest)


@cache
def reflected_shifts(size: int, reach: int, device: torch.device) -> Tensor:
    """Return for each shift from -reach to reach the matrix that reads a line of pixels there: (2 reach + 1, S, S)."""
    shifts = torch.arange(-reach, reach + 1)[:, None]
    sources = reflect(torch.arange(size) + shifts, size)
    return torch.nn.functional.one_hot(sources, size).float().to(device)


def blur(images: Tensor, widths: Tensor) -> Tensor:
    """Blur each image by a Gaussian with a standard deviation of its own (pixels), cut at three of them.

    A blur of lines is a matrix, so that a batch of different blurs is a batch of matrix products.
    """
    batch, height, width, _ = images.shape
    reach = min(3 * WIDEST_BLUR, min(height, width) - 1)
    distances = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (distances / widths.clamp_min(1e-3)) ** 2)  # (B, 2 reach + 1)
    weights = weights * (distances.abs() <= (3 * widths).ceil())
    weights = (weights / weights.sum(1, keepdim=True)).to(images.device)

    def matrices(size: int) -> Tensor:
        shifts = reflected_shifts(size, reach, images.device)
        return (weights @ shifts.flatten(1)).view(batch, 1, size, size)

    planes = images.permute(0, 3, 1, 2).contiguous().float()  # (B, 3, H, W)
    blurred = matrices(height) @ planes @ matrices(width).mT
    return to_bytes(blurred).permute(0, 2, 3, 1).contiguous()


def draw_motionblur(images: int, chance: torch.Generator, longest: float) -> Tensor:
    """Draw (down, right) from the beginning of a motion to its end, in pixels: any direction, any length."""
    length, angle = uniform(images, chance, 0, 1, 2).unbind(1)
    direction = torch.stack([(math.pi * angle).sin(), (math.pi * angle).cos()], 1)
    return longest * length[:, None] * direction


def motionblur(images: Tensor, motions: Tensor) -> Tensor:
    """Return each image as a camera sees it that moves on a straight line with its shutter open; edges reflected."""
    batch, height, width, _ = images.shape
    reach = min(math.ceil(WIDEST_MOTION / 2) + 1, min(height, width) - 1)
    along = (torch.arange(MOTION_POINTS) + 0.5) / MOTION_POINTS - 0.5
    points = motions[:, :, None] * along  # (B, 2, P)
    # Each point shares itself out to the pixels about it, as in bilinear interpolation.
    offsets = torch.arange(-reach, reach + 1)[:, None]
    shares = (1 - (points[:, :, None] - offsets).abs()).clamp_min(0)  # (B, 2, 2 reach + 1, P)
    kernels = (shares[:, 0] @ shares[:, 1].mT / MOTION_POINTS).to(images.device)  # (B, 2 reach + 1, 2 reach + 1)
    planes = images.permute(3, 0, 1, 2).contiguous().float()  # (3, B, H, W): an image's kernel is that of its "channel"
    padded = torch.nn.functional.pad(planes, (reach, reach, reach, reach), mode="reflect")
    blurred = torch.nn.functional.conv2d(padded, kernels[:, None], groups=batch)
    return to_bytes(blurred).permute(1, 2, 3, 0).contiguous()


def draw_noise(images: int, chance: torch.Generator, strongest: float) -> Tensor:
    """Draw (how much, where in the table) for each image."""
    # A double holds every place exactly.
    places = torch.randint(TABLE, (images, 1), generator=chance).double()
    return torch.cat([uniform(images, chance, 0, strongest).double(), places], 1)


draw_saltpepper = draw_noise


@cache
def noise_table(kind: str, device: torch.device) -> Tensor:
    """Return normal or uniform random numbers, always the same."""
    draw = {"normal": torch.randn, "uniform": torch.rand}[kind]
    return draw(TABLE, generator=generator("noise table", kind)).to(device)


def read_noise(kind: str, places: Tensor, numbers: int, device: torch.device) -> Tensor:
    """Return `numbers` successive values of a table from each place on: (B, numbers)."""
    windows = noise_table(kind, device).unfold(0, numbers, 1)
    return windows[(places.long() % len(windows)).to(device)]


def noise(images: Tensor, drawn: Tensor) -> Tensor:
    """Add normal noise to every value, of a standard deviation that is a share of the range."""
    amounts, places = drawn.unbind(1)
    values = read_noise("normal", places, images[0].numel(), images.device).view(images.shape)
    scale = (255 * amounts).float().to(images.device)[:, None, None, None]
    return to_bytes(values.mul_(scale).add_(images))


def saltpepper(images: Tensor, drawn: Tensor) -> Tensor:
    """Make a share of the pixels white or black, as often the one as the other."""
    shares, places = drawn.unbind(1)
    batch, height, width, _ = images.shape
    values = read_noise("uniform", places, height * width, images.device).view(batch, height, width, 1)
    half = (shares / 2).float().to(images.device)[:, None, None, None]
    return images.masked_fill(values < half, 0).masked_fill(values >= 1 - half, 255)


# RandAugment (Cubuk et al., 2020) with torchvision's operations and its table, `torchvision.transforms.v2.RandAugment`.
# torchvision draws once for a batch and else works image by image. Here each image has its own draw, and the images
# that drew the same operation go through it together.
STRONGEST, OPERATIONS_AN_IMAGE = 30, 2
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
