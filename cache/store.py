"""The feature store: entries that are built once, found again, checked every time, and thrown away at will.

>>> store = Store(default_cache_dir())
>>> entry = store.get_or_build(request, labels, produce)
>>> entry.features, entry.labels, entry.state
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache import inventory, parts, writing
from cache.errors import UntrustedDataError
from cache.inventory import EntryInfo
from cache.keys import Request, nearest
from cache.layout import LABEL, layout_of
from cache.locks import forget, turn
from cache.manifest import Distrusted, Manifest, read_manifest
from cache.paths import as_option
from cache.quantities import short_key
from cache.reading import Content, examine, load
from cache.usage import read_usage, touch_usage, write_usage

__all__ = ["Entry", "EntryInfo", "Removal", "Removed", "Store", "Verdict"]

VERSION = "v1"
PARTS = "parts"
LOCKS = "locks"


@dataclass(frozen=True, eq=False)
class Entry:
    """Features and labels, checked, and where they come from.

    Attributes:
        key: SHA-256 of the request, 64 hexadecimal digits.
        state: "hit", or "built" just now.
        bytes: Size of the data file.
        seconds: How long building took, now or then; None if nobody knows any more.
        rebuilt_because: Names of the fields that differ from the nearest other version; empty on a hit.
        features: ndarray of shape (rows, *shape), float32, or uint16 with the bits of bfloat16; a read-only memory map
            if it takes over a quarter of the available memory, else writable and the caller's own.
        labels: int64 ndarray of shape (rows,).
    """

    key: str
    state: Literal["hit", "built"]
    bytes: int
    seconds: float | None
    rebuilt_because: tuple[str, ...]
    features: NDArray[Any]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Verdict:
    """What reading all of an entry showed.

    Attributes:
        key, state, reason, bytes: As in EntryInfo, but for the data itself.
        seconds: How long reading it took.
    """

    key: str
    state: inventory.State
    reason: str | None
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Removal:
    """One entry, or left-over part, that was removed or would be."""

    key: str
    bytes: int
    reason: str


@dataclass(frozen=True)
class Removed:
    """What `prune` or `clear` did.

    Attributes:
        removed: In the order of removal.
        bytes: Freed by it.
        left_bytes: Still in the store.
        dry_run: True if nothing was really removed.
    """

    removed: tuple[Removal, ...]
    bytes: int
    left_bytes: int
    dry_run: bool


def checked_labels(request: Request, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.dtype != LABEL or labels.shape != (request.rows,):
        raise ValueError(f"expected int64 labels of shape ({request.rows},); got {labels.dtype} {labels.shape}")
    return np.ascontiguousarray(labels)


def distrust(folder: Path, key: str, reason: object) -> UntrustedDataError:
    return UntrustedDataError(
        f"cache entry {short_key(key)} can't be trusted: {reason}; "
        f"remove it with `cmpt726 cache clear {short_key(key)}{as_option(folder)}` and run again to rebuild it"
    )


class Store:
    """The entries in one folder; any number of processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when something is first built."""
        self.folder = folder
        self.root = folder / VERSION
        self.parts = self.root / PARTS

    def path(self, key: str) -> Path:
        """The folder of the entry called `key`."""
        return self.root / key[:2] / key

    def get_or_build(
        self,
        request: Request,
        labels: NDArray[np.int64],
        produce: Callable[[], Iterable[NDArray[Any]]],
        on_wait: Callable[[], None] | None = None,
    ) -> Entry:
        """The entry, from the store or built into it.

        Args:
            request: Which.
            labels: int64 ndarray of shape (rows,).
            produce: Called on a miss; yields consecutive blocks of rows, in order: little-endian float32 ndarrays of
                shape (n, *shape), or uint16 ones with the bits of bfloat16.
            on_wait: Called once if another process is building it.

        Raises:
            UntrustedDataError: if the entry is there and is not what it was when it was built.
            EnvironmentFailure: if there is too little space, or the folder can't be written to.
            ValueError: if labels or blocks are not what `request` says.
        """
        labels = checked_labels(request, labels)
        found = self.hit(request, labels)
        if found:
            return found
        with turn(self.root / LOCKS / f"{request.key}.lock", on_wait):
            return self.hit(request, labels) or self.build(request, labels, produce)

    def hit(self, request: Request, labels: NDArray[np.int64]) -> Entry | None:
        """The entry if it is there, checked from first to last byte."""
        path = self.path(request.key)
        size = layout_of(request).size
        with writing.Room(self.folder, size, None).refusals():
            try:
                if not os.path.lexists(path):
                    return None
                if path.is_symlink() or not path.is_dir():
                    raise Distrusted("it is not a folder")
                content = load(path, read_manifest(path))
                if not np.array_equal(content.labels, labels):
                    raise Distrusted("its labels are not those of the data, though their key is the same")
            except Distrusted as error:
                if not os.path.lexists(path):  # removed by another process while we read
                    return None
                raise distrust(self.folder, request.key, error) from None
        seconds = read_usage(path).seconds
        touch_usage(path)
        return Entry(request.key, "hit", size, seconds, (), content.features, content.labels)

    def build(
        self, request: Request, labels: NDArray[np.int64], produce: Callable[[], Iterable[NDArray[Any]]]
    ) -> Entry:
        """Build the entry, or take it from whoever was faster."""
        began = time.monotonic()
        layout = layout_of(request)
        why = nearest(request, self.requests())
        path = self.path(request.key)
        self.sweep()
        room = writing.Room.measured(self.folder, layout.size)
        room.require()
        with parts.part_folder(self.parts, request.key) as part:
            with room.refusals():
                part.mkdir(parents=True)
            sha256 = writing.write_data(part, layout, labels, produce(), room)
            with room.refusals():
                content: Content | None = writing.vouch(part, Manifest(request, layout.size, sha256))
                seconds = time.monotonic() - began
                write_usage(part, seconds)
                if content and isinstance(content.features, np.memmap):
                    content = None  # Windows renames no folder with an open file in it
                first = writing.commit(part, path)
        if content is None or not first:
            found = self.hit(request, labels)
            if found is None:
                raise distrust(self.folder, request.key, "it vanished while it was built")
            return replace(found, state="built", seconds=seconds, rebuilt_because=why)
        return Entry(request.key, "built", layout.size, seconds, why, content.features, content.labels)

    def requests(self) -> list[Request]:
        """What the entries that look whole were built for."""
        infos = (info for info in self.entries() if info.state == "ok")
        return [read_manifest(info.path).request for info in infos]

    def sweep(self) -> None:
        """Remove what killed processes left."""
        for part in parts.left_over(self.parts):
            parts.remove(part)

    def entries(self) -> list[EntryInfo]:
        """Everything in the store, last used first, then parts; manifests and sizes are looked at, contents not."""
        found = list(inventory.survey(self.root, frozenset({PARTS, LOCKS})))
        found.sort(key=lambda info: (-(info.used or 0), info.key))
        left = set(parts.left_over(self.parts))
        for part in inventory.children(self.parts):
            reason = "left over; the next build or prune removes it" if part in left else "being built or removed"
            size = inventory.files_size(part)
            found.append(EntryInfo(part.name.partition(".")[0], part, "partial", reason, size))
        return found

    def info(self, prefix: str) -> EntryInfo:
        """The one entry whose key begins with `prefix`.

        Raises:
            RequestError: if there is none or more than one.
        """
        return inventory.describe(inventory.resolve(prefix, self.root))

    def verify(self, prefix: str | None = None) -> list[Verdict]:
        """Read every byte of one entry, or of all, and compare structure, sizes and SHA-256.

        Raises:
            RequestError: if `prefix` names no single entry.
        """
        infos = [self.info(prefix)] if prefix is not None else [i for i in self.entries() if i.state != "partial"]
        return [self.judge(info) for info in infos]

    def judge(self, info: EntryInfo) -> Verdict:
        """The verdict on one entry."""
        began = time.monotonic()
        state, reason = info.state, info.reason
        if state == "ok":
            try:
                examine(info.path, read_manifest(info.path))
            except Distrusted as error:
                state, reason = error.state, str(error)
            except OSError as error:
                state, reason = "damaged", error.strerror or str(error)
        return Verdict(info.key, state, reason, info.bytes, time.monotonic() - began)

    def prune(self, max_bytes: int | None = None, older_than: float | None = None, dry_run: bool = False) -> Removed:
        """Remove what killed processes left, entries not used for `older_than` seconds, then the least recently used
        until at most `max_bytes` are left.

        Raises:
            EnvironmentFailure: if an entry can't be removed.
        """
        infos = self.entries()
        left = set(parts.left_over(self.parts))
        doomed = [(info, "left over") for info in infos if info.path in left]
        entries = [info for info in infos if info.state in ("ok", "damaged")]
        now = time.time()
        total = sum(info.bytes for info in entries)
        for info in reversed(entries):
            if older_than is not None and now - (info.used or 0) > older_than:
                doomed.append((info, "not used for that long"))
            elif max_bytes is not None and total > max_bytes:
                doomed.append((info, "over the size"))
            else:
                continue
            total -= info.bytes
        return self.remove(doomed, infos, dry_run)

    def clear(self, prefix: str | None = None) -> Removed:
        """Remove one entry, or all and what killed processes left; what is not ours stays.

        Raises:
            RequestError: if `prefix` names no single entry.
            EnvironmentFailure: if an entry can't be removed.
        """
        infos = self.entries()
        if prefix is not None:
            one = self.info(prefix)
            return self.remove([(one, "named")], infos, dry_run=False)
        left = set(parts.left_over(self.parts))
        doomed = [i for i in infos if i.path in left or (i.state != "partial" and i.path == self.path(i.key))]
        return self.remove([(info, "cleared") for info in doomed], infos, dry_run=False)

    def remove(self, doomed: list[tuple[EntryInfo, str]], infos: list[EntryInfo], dry_run: bool) -> Removed:
        """Remove entries and parts, unless `dry_run`."""
        if not dry_run:
            with writing.Room.measured(self.folder, 0).refusals():
                for info, _ in doomed:
                    if info.state == "partial":
                        parts.remove(info.path)
                    elif os.path.lexists(info.path):
                        parts.discard(info.path, self.parts)
            forget(self.root / LOCKS)
        freed = sum(info.bytes for info, _ in doomed)
        removals = tuple(Removal(info.key, info.bytes, reason) for info, reason in doomed)
        return Removed(removals, freed, sum(info.bytes for info in infos) - freed, dry_run)
