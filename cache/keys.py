"""What an entry is asked for by: everything that decides its content, as canonical JSON, and that text's SHA-256."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

# Raised whenever the same fields would be stored as other bytes: entries of before then count as superseded, never as
# hits. 1 had labels in the key and beside the features.
SCHEMA = 2
# The field that stands for the rows: SHA-256 of what tells each image apart, in the rows' order.
IMAGES = "images"
Dtype: TypeAlias = Literal["float32", "bfloat16"]
ITEM_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2}
# Far above any real entry and far below what overflows; a hostile manifest can't ask for more.
MOST_BYTES, MOST_DIMENSIONS = 2**42, 8
# Entries that differ in more fields than this have nothing to say about each other.
NEAR = 3


def canonical(value: Any) -> str:
    """Return one text for one value; ValueError or TypeError for NaN and whatever else JSON has no form for."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Request:
    """One entry: what decides its content, and what it measures."""

    # JSON, possibly nested; `images` stands for the rows. Never a path, a time or a label.
    fields: Mapping[str, Any]
    rows: int
    shape: tuple[int, ...]  # of one image's features: (64,) or (16, 16, 32)
    dtype: Dtype  # bfloat16 is kept as its bits in uint16
    # For people to read: not in the key. Entries of one provenance are versions of one thing.
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy the mappings, so that nobody changes a key later; ValueError or TypeError for what is no request."""
        for name in ("fields", "provenance"):
            if not isinstance(getattr(self, name), Mapping):
                raise TypeError(f"{name} must be a mapping; got {type(getattr(self, name)).__name__}")
            object.__setattr__(self, name, json.loads(canonical(getattr(self, name))))
        sizes = (self.rows, *self.shape)
        if not all(type(size) is int and size >= 1 for size in sizes) or not 1 <= len(self.shape) <= MOST_DIMENSIONS:
            raise ValueError(f"rows and shape must be whole numbers from 1, at most {MOST_DIMENSIONS}; got {sizes}")
        if self.dtype not in ITEM_BYTES:
            raise ValueError(f"dtype must be one of {', '.join(ITEM_BYTES)}; got {self.dtype!r}")
        if max(*sizes, self.rows * (math.prod(self.shape) * ITEM_BYTES[self.dtype] + 32)) > MOST_BYTES:
            raise ValueError(f"an entry holds at most {MOST_BYTES} bytes; got rows and shape {sizes}")

    @cached_property
    def key(self) -> str:
        """Return SHA-256 of schema, fields, rows, shape and dtype; 64 hexadecimal digits."""
        decisive = {name: getattr(self, name) for name in ("fields", "rows", "shape", "dtype")}
        return digest({"schema": SCHEMA, **decisive})

    @property
    def family(self) -> str:
        """Return a name that all versions of the same thing share: 16 hexadecimal digits."""
        return digest(self.provenance)[:16]


def leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted name and canonical value of everything in nested `fields`; a list counts as one value."""
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, canonical(value)


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the dotted names, sorted, of what only one of the two has or has otherwise: ("images", "variant.seed")."""
    ours, theirs = dict(leaves(left)), dict(leaves(right))
    return tuple(sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name)))


def nearest(request: Request, others: Iterable[Request]) -> tuple[str, ...]:
    """Return which fields differ from the closest of the other versions; nothing if none is near."""
    found = [differences(request.fields, other.fields) for other in others]
    return min((names for names in found if 1 <= len(names) <= NEAR), key=lambda n: (len(n), n), default=())


def short_key(key: str) -> str:
    """Return the first twelve digits: enough to tell entries apart, and the commands take any number that does."""
    return key[:12]


def as_size(number: int) -> str:
    """Return `number` bytes with a decimal unit: 12800000 is "12.8 MB"."""
    if number < 1000:
        return f"{number} B"
    power = next((power for power in (1, 2, 3) if number < 999.95 * 1000**power), 4)
    return f"{number / 1000**power:.1f} {'kMGT'[power - 1]}B"
