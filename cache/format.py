"""What lies in an entry's folder, byte for byte: the HDF5 structure of its data file, and its manifest.

HDF5 itself never touches a disk here. It describes an empty file in memory, the same bytes for the same sizes (h5py
3.11 to 3.16 agree), which the writer copies and the reader demands: what differs in one byte is refused before any
library has parsed it, and a write that fails for lack of space fails in a plain system call.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import h5py
import numpy as np

from cache.errors import UntrustedDataError
from cache.keys import SCHEMA, Dtype, Request, digest, short_key
from cache.system import read_small

DATA = "features.h5"
MANIFEST, LARGEST_MANIFEST = "manifest.json", 2**20
PARTS = ("fields", "rows", "shape", "dtype", "provenance")
# bfloat16 has no type of its own in HDF5 or NumPy: its bits are kept.
STORED: Mapping[Dtype, np.dtype[Any]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}
# What tells an image apart: the 32 bytes of a SHA-256.
IMAGE = 32
# Data begin at a cache line, whatever their size, so that mapped features are as quick to use as loaded ones.
LINE = 64
State: TypeAlias = Literal["ok", "damaged", "superseded", "foreign", "partial"]


class Distrusted(UntrustedDataError):  # noqa: N818 - what the entry is
    """An entry is not what this version wrote, but damaged, superseded or foreign; the message is the reason alone."""

    def __init__(self, reason: str, state: State = "damaged") -> None:
        super().__init__(reason)
        self.state = state


@contextmanager
def honest(name: str) -> Iterator[None]:
    """Distrust an entry whose file `name` isn't there, or is no ordinary one."""
    try:
        yield
    except FileNotFoundError:
        raise Distrusted(f"it has no {name}") from None
    except ValueError as error:
        raise Distrusted(str(error)) from None


class Sketch(io.RawIOBase):
    """A file of any size of which only what was written takes memory."""

    def __init__(self) -> None:
        self.written: dict[int, bytes] = {}
        self.position = self.size = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = (0, self.position, self.size)[whence] + offset
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
        """Return what lies in [start, stop): zeros but for what was written."""
        found = bytearray(stop - start)
        for offset, content in self.written.items():
            if start <= offset < stop:
                found[offset - start : offset - start + len(content)] = content
        return bytes(found)


def dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Describe a contiguous, unfiltered dataset with its place in the file assigned; return the place."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    kind, space = h5py.h5t.py_create(dtype), h5py.h5s.create_simple(shape)
    return int(h5py.h5d.create(file.id, name.encode(), kind, space, creation).get_offset())


@dataclass(frozen=True)
class Layout:
    """Where everything lies, without gaps: head, features, middle, images, tail; the features' shape, rows first."""

    head: bytes
    middle: bytes
    tail: bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def feature_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Return the bytes of the whole file."""
        return len(self.head) + self.feature_bytes + len(self.middle) + self.shape[0] * IMAGE + len(self.tail)


def layout_of(request: Request) -> Layout:
    """Return the layout of the file that holds what is requested."""
    sketch, stored, shape = Sketch(), STORED[request.dtype], (request.rows, *request.shape)
    with h5py.File(sketch, "w", libver="earliest", alignment_threshold=1, alignment_interval=LINE) as file:
        features = dataset(file, "features", shape, stored)
        images = dataset(file, "images", (request.rows, IMAGE), np.dtype(np.uint8))
        file["features"].attrs.create("dtype", np.bytes_(request.dtype))
    middle = sketch.span(features + math.prod(shape) * stored.itemsize, images)
    tail = sketch.span(images + request.rows * IMAGE, sketch.size)
    return Layout(sketch.span(0, features), middle, tail, shape, stored)


@dataclass(frozen=True)
class Manifest:
    """What an entry says of itself: what it holds, and size and SHA-256 of its data file, as `sha256sum` prints it."""

    request: Request
    size: int
    sha256: str

    def render(self) -> bytes:
        """Return the file's content; `digest` covers everything else in it."""
        document = {name: getattr(self.request, name) for name in ("key", *PARTS)}
        document |= {"schema": SCHEMA, "bytes": self.size, "sha256": self.sha256}
        document["digest"] = digest(document)
        return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def read_manifest(entry: Path) -> Manifest:
    """Return the manifest of the entry in folder `entry`; Distrusted unless it is, byte for byte, what we write."""
    if entry.is_symlink() or not entry.is_dir():
        raise Distrusted("it is not a folder")
    with honest(MANIFEST):
        raw = read_small(entry / MANIFEST, LARGEST_MANIFEST)
    try:
        document = json.loads(raw)
        if not isinstance(document, dict):
            raise TypeError("no mapping")
        schema = document["schema"]
        if type(schema) is int and schema != SCHEMA and document.pop("digest") == digest(document):
            state: State = "superseded" if schema < SCHEMA else "foreign"
            raise Distrusted(f"it is of format {schema}; this version's is {SCHEMA}", state)
        request = Request(**{name: document[name] for name in PARTS} | {"shape": tuple(document["shape"])})
        manifest = Manifest(request, document["bytes"], document["sha256"])
        whole = manifest.render() == raw
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Distrusted(f"{MANIFEST} breaks the rules of its format") from None
    if not whole:
        raise Distrusted(f"{MANIFEST} was changed after it was written")
    if request.key != entry.name:
        raise Distrusted(f"{MANIFEST} belongs to another key, {short_key(request.key)}")
    return manifest
