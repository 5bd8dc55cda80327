"""What an entry is asked for by: everything that decides its content, as canonical JSON, and that text's SHA-256."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

__all__ = ["SCHEMA", "Dtype", "Request", "canonical", "differences", "nearest", "normalized"]

# Raised whenever the same fields would be stored as other bytes: old entries then count as foreign, never as hits.
SCHEMA = 1
Dtype: TypeAlias = Literal["float32", "bfloat16"]
ITEM_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2}
# Far above any real entry and far below what overflows; a hostile manifest can't ask for more.
MOST_BYTES = 2**42
MOST_DIMENSIONS = 8
# Entries that differ in more fields than this have nothing to say about each other.
NEAR = 3
# Entries that differ in one of these, or in something nested in it, as a field or in their provenance, are two things
# and not versions of one.
PLACES = {"pool", "cut", "variant"}


def normalized(value: Any) -> Any:
    """A copy of `value` in plain JSON types; lone surrogates (undecodable file names) become visible escapes.

    Raises:
        ValueError: for NaN and infinities.
        TypeError: for anything that JSON has no form for.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a cache key takes finite numbers only; got {value}")
        return value
    if isinstance(value, list | tuple):
        return [normalized(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("a cache key takes mappings with text for names only")
        return {normalized(name): normalized(item) for name, item in value.items()}
    raise TypeError(f"a cache key takes JSON values only; got {type(value).__name__}")


def canonical(value: Any) -> str:
    """One text for one value: names sorted, no spaces, ASCII, floats as the shortest that reads back."""
    return json.dumps(normalized(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Request:
    """One entry: what decides its content, and what it measures.

    Attributes:
        fields: Everything that the features depend on, JSON values, possibly nested. Never a path or a time.
        rows: Number of images, at least 1.
        shape: Shape of one image's features, for instance (64,) or (16, 16, 32).
        dtype: "float32", or "bfloat16" kept as its bits in uint16.
        provenance: For people to read; not part of the key. `model`, `data`, `pool` and `cut` are shown in lists.
    """

    fields: Mapping[str, Any]
    rows: int
    shape: tuple[int, ...]
    dtype: Dtype
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy the mappings, so that nobody changes a key afterwards.

        Raises:
            ValueError, TypeError: for sizes out of range and for what JSON has no form for.
        """
        for name in ("fields", "provenance"):
            if not isinstance(getattr(self, name), Mapping):
                raise TypeError(f"{name} must be a mapping; got {type(getattr(self, name)).__name__}")
            object.__setattr__(self, name, normalized(getattr(self, name)))
        sizes = (self.rows, *self.shape)
        if not all(type(size) is int and size >= 1 for size in sizes) or not 1 <= len(self.shape) <= MOST_DIMENSIONS:
            raise ValueError(f"rows and shape must be whole numbers from 1, at most {MOST_DIMENSIONS}; got {sizes}")
        if self.dtype not in ITEM_BYTES:
            raise ValueError(f"dtype must be one of {', '.join(ITEM_BYTES)}; got {self.dtype!r}")
        if max(*sizes, self.feature_bytes + 8 * self.rows) > MOST_BYTES:
            raise ValueError(f"an entry holds at most {MOST_BYTES} bytes; got rows and shape {sizes}")

    @property
    def feature_bytes(self) -> int:
        """Size of the features alone."""
        return self.rows * math.prod(self.shape) * ITEM_BYTES[self.dtype]

    @cached_property
    def key(self) -> str:
        """SHA-256 of schema, fields, rows, shape and dtype; 64 hexadecimal digits."""
        return digest(
            {"schema": SCHEMA, "fields": self.fields, "rows": self.rows, "shape": self.shape, "dtype": self.dtype}
        )


def leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted name and canonical value of everything in nested `fields`; a list counts as one value."""
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, canonical(value)


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted names, sorted, of what only one of the two has or has otherwise: ("images.treatment", "weights")."""
    ours, theirs = dict(leaves(left)), dict(leaves(right))
    return tuple(sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name)))


def nearest(request: Request, others: Iterable[Request]) -> tuple[str, ...]:
    """Which fields differ from the closest other version of the same thing; empty if there is none near."""

    def thing(which: Request) -> list[str]:
        return [canonical(which.provenance.get(name)) for name in ("data", *sorted(PLACES))]

    found = [differences(request.fields, other.fields) for other in others if thing(other) == thing(request)]
    near = [
        names
        for names in found
        if 1 <= len(names) <= NEAR and not any(PLACES.intersection(name.split(".")) for name in names)
    ]
    return min(near, key=lambda names: (len(names), names), default=())
