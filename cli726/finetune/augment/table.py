"""`--augment`: image transformations a batch at a time, with a draw for each image.

Parameters are drawn for all images of an epoch at once and then looked up by image, so that neither the order
of the images nor the batch they fall into can change them. (Of the user's own functions the batch decides.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cli726.errors import RequestError, did_you_mean
from cli726.finetune.augment import transforms
from cli726.finetune.chance import generator
from cli726.finetune.recipe import KNOWN
from cli726.finetune.user_code import is_code, load_function, own_code, source_digest

Draw = Callable[[int, torch.Generator, float], Tensor]
Apply = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """One transformation.

    Attributes:
        name: As typed after `--augment`; for the user's own python:FUNCTION:DIGEST, the same wherever its file lies and
            another once the file has changed, so that stored views of the old one aren't taken for the new one's.
        strength: Its one number; what it means depends on the transformation.
        draw: (images, generator, strength) -> parameters, Tensor of shape (images, ...).
        apply: (uint8 images of shape (B, H, W, 3), their parameters) -> images of the same shape.
        meaning: What its strength is, in words.
        torchvision: What it does may change with torchvision's version.
        alternates: Its parameters, booleans, are drawn once and turned over from epoch to epoch.
    """

    name: str
    strength: float
    draw: Draw
    apply: Apply
    meaning: str = ""
    torchvision: bool = False
    alternates: bool = False

    @property
    def label(self) -> str:
        """Return it as typed, in short."""
        return f"{self.name}:{self.strength:g}" if self.meaning else self.name.rpartition(":")[0]


def parse_augmentations(text: str) -> tuple[Augmentation, ...]:
    """Return what `--augment` names, in order: a comma list as "flip,crop:2,python:mine.py:darken", or "none".

    Raises:
        RequestError: for an unknown name, a strength out of its range, or code that can't be loaded.
    """
    if text in {"", "none"}:
        return ()
    return tuple(parse_one(part.strip()) for part in text.split(","))


def parse_one(part: str) -> Augmentation:
    if is_code(part):
        function = load_function(part)
        name = f"python:{part.rpartition(':')[2]}:{source_digest(part)[:16]}"
        return Augmentation(name, 1, draw_seeds, partial(apply_own, part, function), torchvision=True)
    name, colon, number = part.partition(":")
    if name not in KNOWN:
        raise RequestError(
            f"--augment knows {', '.join(KNOWN)} and python:FILE.py:FUNCTION; got {name or 'nothing'}"
            f"{did_you_mean(name, KNOWN)}"
        )
    kind = KNOWN[name]
    try:
        strength = float(number) if colon else kind.default
    except ValueError:
        strength = float("nan")
    if not kind.low <= strength <= kind.high or (kind.whole and strength != int(strength)):
        numbers = "a whole number" if kind.whole else "a strength"
        raise RequestError(
            f"--augment {name} takes {numbers} ({kind.meaning}) from {kind.low} to {kind.high}; got "
            f"{number or 'nothing'}; for example {name}:{kind.default:g}"
        )
    draw, apply = getattr(transforms, f"draw_{name}"), getattr(transforms, name)
    return Augmentation(name, strength, draw, apply, kind.meaning, kind.torchvision, kind.alternates)


def draw_all(augmentations: Sequence[Augmentation], images: int, *purpose: int | str) -> list[Tensor]:
    """Return the parameters of each augmentation for all images, drawn for `purpose`, such as (seed, phase, epoch)."""
    drawn = []
    for position, one in enumerate(augmentations):
        whole = purpose[:-1] if one.alternates else purpose
        parameters = one.draw(images, generator(*whole, position, one.name), one.strength)
        drawn.append(parameters ^ (int(purpose[-1]) % 2 == 1) if one.alternates else parameters)
    return drawn


def apply_all(augmentations: Sequence[Augmentation], batch: Tensor, drawn: Sequence[Tensor]) -> Tensor:
    """Apply one augmentation after the other to uint8 images (B, H, W, 3), with the parameters drawn for them."""
    for augmentation, parameters in zip(augmentations, drawn, strict=True):
        batch = augmentation.apply(batch, parameters)
    return batch


def draw_seeds(images: int, chance: torch.Generator, _strength: float) -> Tensor:
    return torch.randint(1 << 62, (images,), generator=chance)


def apply_own(name: str, function: Callable[..., Tensor], images: Tensor, seeds: Tensor) -> Tensor:
    """Apply FUNCTION(images, generator) to uint8 (B, 3, H, W), as torchvision has them; its chance is this batch's.

    Raises:
        RequestError: if it raises, or returns anything but uint8 images of the same shape.
    """
    planes = images.permute(0, 3, 1, 2).contiguous()
    with own_code(name):
        result = function(planes.clone(), generator("own", *seeds.tolist()))
    if not isinstance(result, Tensor) or result.dtype != torch.uint8 or result.shape != planes.shape:
        got = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise RequestError(f"{name} must return torch.uint8 {tuple(planes.shape)}, as it was given; got {got}")
    return result.to(images.device).permute(0, 2, 3, 1).contiguous()
