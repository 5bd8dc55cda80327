"""The augmentations that `--augment` knows. Standard library only: the command line says and completes them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KNOWN", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A transformation; the functions NAME and draw_NAME of `transforms`, or of `randaugment`, do it.

    Attributes:
        meaning: What its strength is, in words.
        default, low, high: The strength if none is given, and its range.
        whole: The strength is a whole number.
        torchvision: What it does may change with torchvision's version.
    """

    meaning: str
    default: float
    low: float
    high: float
    whole: bool = False
    torchvision: bool = False


KNOWN: dict[str, Kind] = {
    "flip": Kind("probability", 0.5, 0, 1),
    "crop": Kind("pixels, at most", 4, 0, 31, whole=True),
    "color": Kind("change, at most", 0.4, 0, 1),
    "rotate": Kind("degrees, at most", 15, 0, 180),
    "randaugment": Kind("magnitude, of 30", 9, 0, 30, whole=True, torchvision=True),
    "erase": Kind("probability", 0.5, 0, 1),
    "blur": Kind("sigma in pixels, at most", 1, 0, 5),
    "noise": Kind("sigma, at most", 0.1, 0, 1),
    "motionblur": Kind("pixels, at most", 6, 0, 15),
    "saltpepper": Kind("share of pixels, at most", 0.1, 0, 1),
}
