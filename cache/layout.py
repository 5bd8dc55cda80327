"""The HDF5 structure of an entry's file: every byte of it that is neither a feature nor a label.

HDF5 itself never touches a disk here. It describes an empty file in memory, the same bytes for the same sizes (h5py
3.11 to 3.16 agree on them), which the writer copies and the reader demands: a file whose structure differs in one
byte is refused before any library has parsed it, so links, external storage, filters and lies have no one to act on
them, and a write that fails for lack of space fails in a plain system call.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import h5py
import numpy as np

from cache.keys import Dtype, Request

__all__ = ["LABEL", "Layout", "layout_of"]

# bfloat16 has no type of its own in HDF5 or NumPy: its bits are kept.
STORED: Mapping[Dtype, np.dtype[Any]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}
LABEL = np.dtype("<i8")
# Data begin at a cache line, whatever their size, so that mapped features are as quick to use as loaded ones.
LINE = 64


class Sketch(io.RawIOBase):
    """A file of any size of which only what was written takes memory."""

    def __init__(self) -> None:
        self.written: dict[int, bytes] = {}
        self.position = 0
        self.size = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = (0, self.position, self.size)[whence] + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def truncate(self, size: int | None = None) -> int:
        self.size = self.position if size is None else size
        return self.size

    def write(self, content: bytes) -> int:  # type: ignore[override]
        self.written[self.position] = bytes(content)
        self.position += len(content)
        self.size = max(self.size, self.position)
        return len(content)

    def span(self, start: int, stop: int) -> bytes:
        """What lies in [start, stop): zeros but for what was written."""
        found = bytearray(stop - start)
        for offset, content in self.written.items():
            if start <= offset < stop:
                found[offset - start : offset - start + len(content)] = content
        return bytes(found)


def dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Describe a contiguous, unfiltered dataset with its place in the file assigned; the place."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, creation)
    return int(made.get_offset())


@dataclass(frozen=True)
class Layout:
    """Where everything lies: head, features, middle, labels, tail, without gaps.

    Attributes:
        head, middle, tail: Bytes of the structure before, between and after the data.
        shape, dtype: Of the features, rows first, as stored.
    """

    head: bytes
    middle: bytes
    tail: bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def feature_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def label_bytes(self) -> int:
        return self.rows * LABEL.itemsize

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.head) + self.feature_bytes + len(self.middle) + self.label_bytes + len(self.tail)


def layout_of(request: Request) -> Layout:
    """The layout of the file that holds what is requested."""
    return describe(request.rows, request.shape, request.dtype)


@lru_cache(maxsize=16)
def describe(rows: int, shape: tuple[int, ...], dtype: Dtype) -> Layout:
    sketch = Sketch()
    stored = STORED[dtype]
    with h5py.File(sketch, "w", libver="earliest", alignment_threshold=1, alignment_interval=LINE) as file:
        features = dataset(file, "features", (rows, *shape), stored)
        labels = dataset(file, "labels", (rows,), LABEL)
        file["features"].attrs.create("dtype", np.bytes_(dtype))
    features_end = features + rows * math.prod(shape) * stored.itemsize
    labels_end = labels + rows * LABEL.itemsize
    return Layout(
        head=sketch.span(0, features),
        middle=sketch.span(features_end, labels),
        tail=sketch.span(labels_end, sketch.size),
        shape=(rows, *shape),
        dtype=stored,
    )
