"""Sizes, ages and keys as people write and read them: 5GB, 30d, 091d46076bfa."""

from __future__ import annotations

import re

from cache.errors import RequestError

__all__ = ["as_size", "parse_age", "parse_size", "short_key"]

UNITS = ("B", "kB", "MB", "GB", "TB")
SIZES = {"": 1, "b": 1} | {
    letter + suffix: base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
NUMBER = r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*"


def as_size(number: int) -> str:
    """`number` bytes with a decimal unit: 12800000 is "12.8 MB"."""
    value = float(number)
    for unit in UNITS:
        if value < 999.95 or unit == UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == UNITS[0] else f"{value:.1f} {unit}"


def parse_size(text: str) -> int:
    """Bytes in "5GB", "500 MB", "1.5GiB" or "1024".

    Raises:
        RequestError: for anything else.
    """
    found = re.fullmatch(NUMBER + r"([a-z]*)\s*", text.lower(), re.ASCII)
    if not found or found[2] not in SIZES:
        raise RequestError(f"a size is a number and a unit, as in 5GB, 500MB or 1GiB; got {text!r}")
    return int(float(found[1]) * SIZES[found[2]])


def parse_age(text: str) -> float:
    """Seconds in "30d", "12h", "2w", "90m" or "45s".

    Raises:
        RequestError: for anything else.
    """
    found = re.fullmatch(NUMBER + r"([smhdw])\s*", text.lower(), re.ASCII)
    if not found:
        raise RequestError(f"an age is a number and one of s, m, h, d, w, as in 30d or 12h; got {text!r}")
    return float(found[1]) * SECONDS[found[2]]


def short_key(key: str) -> str:
    """The first twelve digits: enough to tell entries apart, and the commands take any number that does."""
    return key[:12]
