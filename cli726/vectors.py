"""Lists of numbers as people type them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cli726.errors import RequestError
from cli726.exact import number

Array = NDArray[np.float64]


def vector(text: str, count: int, option: str) -> Array:
    """Return the `count` numbers of a comma-separated list, an ndarray of shape (count,).

    Raises:
        RequestError: another count, or a part that is no finite number.
    """
    parts = text.split(",")
    if len(parts) != count:
        example = ",".join(["1", "0.5", "-2"][:count] if count <= 3 else ["1", "0.5", "..."])
        raise RequestError(
            f"{option} takes {count} number{'s' * (count != 1)} separated by commas; "
            f'got {len(parts)} in "{text[:60]}"; write it like {option} {example}'
        )
    try:
        return np.array([float(number(part)) for part in parts])
    except RequestError as error:
        raise RequestError(f"{option}: {error}") from None


def integers(text: str, option: str, example: str) -> list[int]:
    """Return the whole numbers of a comma-separated list.

    Raises:
        RequestError: a part that is no whole number of at most 9 digits.
    """
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not (part.removeprefix("-").isdecimal() and part.isascii() and len(part) <= 9):
            raise RequestError(
                f'{option} takes whole numbers separated by commas; got "{part[:40]}"; write it like {option} {example}'
            )
    return [int(part) for part in parts]
