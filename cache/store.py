"""The feature store: entries that are built once, found again, checked every time, and thrown away at will."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from cache import writing
from cache.errors import RequestError, UntrustedDataError
from cache.format import IMAGE, Distrusted, Manifest, layout_of, read_manifest
from cache.keys import IMAGES, Request, differences, nearest, short_key
from cache.reading import EntryInfo, describe, files_size, load, touch_usage, usage_of, verdict, write_usage
from cache.system import as_option

VERSION, PARTS, LOCKS, FAMILIES = "v1", "parts", "locks", "families"
KEY = re.compile("[0-9a-f]{64}")
PREFIX = re.compile("[0-9a-f]{2}")
LEFT = "left over; the next build or prune removes it"
CANDIDATES = 5
# Of the other versions of a thing, so many are compared with what is asked for: those built last.
RECENT = 8
Produce = Callable[[NDArray[np.intp]], Iterable[NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Entry:
    """Features, checked, and where they come from."""

    key: str
    state: Literal["hit", "built"]
    bytes: int  # of the data file
    seconds: float | None  # that building took, now or then; None if nobody knows any more
    features: NDArray[Any]  # as `reading.load` gives them
    rebuilt_because: tuple[str, ...] = ()  # the fields that differ from the nearest other version; empty on a hit
    computed: int = 0  # rows that were not taken over from another version
    superseded: str | None = None  # the version that most of them came from, which is removed


def digest_of(images: NDArray[np.uint8]) -> str:
    """Return what stands for the rows in a request's field `images`; of a uint8 array (rows, 32)."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def children(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, hidden files left out; nothing if it can't be listed."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []


@contextmanager
def turn(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, so that one process builds while the others wait: a courtesy, nothing depends on it.

    `on_wait` is called once if somebody else has it. Where files can't be locked (a read-only folder, some network
    file systems), go on without.
    """
    lock = FileLock(path)
    with suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait:
                on_wait()
            lock.acquire()
    try:
        yield
    finally:
        if lock.is_locked:
            # Unlinked while held: whoever waits for it finds the entry built, and no lock file is left behind.
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):
                lock.release()


class Store:
    """The entries in one folder, which is made when something is first built; any number of processes may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / VERSION
        self.parts = self.root / PARTS

    def path(self, key: str) -> Path:
        """Return the folder of the entry called `key`."""
        return self.root / key[:2] / key

    def get_or_build(
        self, request: Request, images: NDArray[np.uint8], produce: Produce, on_wait: Callable[[], None] | None = None
    ) -> Entry:
        """Return the entry, from the store or built into it; rows that another version has are taken over.

        Args:
            request: Which; its field `images` is `digest_of(images)`.
            images: uint8 ndarray of shape (rows, 32): what tells each image apart, such as its SHA-256.
            produce: Called on a miss with the rows that are needed, increasing; yields consecutive blocks of them:
                little-endian float32 ndarrays of shape (n, *shape), or uint16 ones with the bits of bfloat16.
            on_wait: Called once if another process is building it.

        Raises:
            UntrustedDataError: if the entry is there and is not what it was when it was built.
            EnvironmentFailure: if there is too little space, or the folder can't be written to.
            ValueError: if images or blocks are not what `request` says.
        """
        if images.dtype != np.uint8 or images.shape != (request.rows, IMAGE):
            raise ValueError(f"expected uint8 images ({request.rows}, {IMAGE}); got {images.dtype} {images.shape}")
        if digest_of(images) != request.fields.get(IMAGES):
            raise ValueError(f"the field {IMAGES!r} must be the digest of the images")
        found = self.hit(request)
        if found:
            return found
        with turn(self.root / LOCKS / f"{request.key}.lock", on_wait):
            return self.hit(request) or self.build(request, np.ascontiguousarray(images), produce)

    def hit(self, request: Request) -> Entry | None:
        """Return the entry if it is there, checked from first to last byte."""
        path = self.path(request.key)
        with writing.refusals(self.folder):
            try:
                if not os.path.lexists(path):
                    return None
                manifest = read_manifest(path)
                features, _ = load(path, manifest)
            except Distrusted as error:
                if not os.path.lexists(path):  # removed by another process while we read
                    return None
                raise self.distrust(request.key, error) from None
        seconds = usage_of(path).get("seconds")
        touch_usage(path)
        return Entry(request.key, "hit", manifest.size, seconds, features)

    def distrust(self, key: str, reason: object) -> UntrustedDataError:
        short = short_key(key)
        remedy = f"remove it with `cmpt726 cache clear {short}{as_option(self.folder)}` and run again to rebuild it"
        return UntrustedDataError(f"cache entry {short} can't be trusted: {reason}; {remedy}")

    def build(self, request: Request, images: NDArray[np.uint8], produce: Produce) -> Entry:
        """Build the entry, or take it from whoever was faster."""
        began = time.monotonic()
        layout = layout_of(request)
        for part in writing.left_over(self.parts):
            writing.remove(part)
        versions = self.versions(request)
        why = nearest(request, [version.request for version in versions])
        old, sources, superseded = self.taken_over(request, images, versions)
        needed = np.flatnonzero(sources < 0)
        room = writing.room_for(self.folder, layout.size)
        with writing.part_folder(self.parts, request.key) as part:
            with room():
                part.mkdir(parents=True)
            blocks = writing.checked(produce(needed) if len(needed) else (), layout, len(needed))
            if old is not None:
                blocks = writing.interleaved(old, sources, blocks)
            sha256 = writing.write_data(part, layout, images, blocks, room)
            del old, blocks
            with room():
                features = writing.vouch(part, Manifest(request, layout.size, sha256))
                seconds = time.monotonic() - began
                write_usage(part, seconds)
                self.mark(request)
                first = writing.commit(part, self.path(request.key))
        if superseded is not None:
            with suppress(OSError):
                writing.discard(self.path(superseded), self.parts)
        if first:
            computed = len(needed)
            return Entry(request.key, "built", layout.size, seconds, features, why, computed, superseded)
        found = self.hit(request)
        if found is None:
            raise self.distrust(request.key, "it vanished while it was built")
        return replace(found, state="built", seconds=seconds, rebuilt_because=why, computed=request.rows)

    def mark(self, request: Request) -> None:
        """Note in an empty file, FAMILY/KEY, which thing it is a version of; its loss doesn't matter."""
        with suppress(OSError):
            marker = self.root / FAMILIES / request.family / request.key
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()

    def versions(self, request: Request) -> list[Manifest]:
        """Return the manifests of other versions of the same thing, those built last first, and not more than a few."""
        found = []
        with suppress(OSError):
            markers = sorted((self.root / FAMILIES / request.family).iterdir(), key=lambda path: -path.stat().st_mtime)
            for key in [path.name for path in markers if path.name != request.key][:RECENT]:
                # Cleared by another process, damaged, not an entry at all: then it is no version to compare with.
                with suppress(Distrusted, OSError):
                    found.append(read_manifest(self.path(key)))
        return found

    def taken_over(
        self, request: Request, images: NDArray[np.uint8], versions: Iterable[Manifest]
    ) -> tuple[NDArray[Any] | None, NDArray[np.intp], str | None]:
        """Look for a version that differs in its images only and has some of these; None, all -1, None without any.

        Return its features, checked; where each wanted row is in it, or -1; and its key, if most of it serves again.
        """
        for version in versions:
            other = version.request
            alike = (request.shape, request.dtype) == (other.shape, other.dtype)
            if alike and differences(request.fields, other.fields) == (IMAGES,):
                with suppress(Distrusted, OSError):
                    features, known = load(self.path(other.key), version)
                    places = {image.tobytes(): place for place, image in enumerate(known)}
                    sources = np.array([places.get(image.tobytes(), -1) for image in images], np.intp)
                    serving = len(np.unique(sources[sources >= 0]))
                    if serving:
                        return features, sources, other.key if 2 * serving > other.rows else None
        return None, np.full(request.rows, -1, np.intp), None

    def entries(self) -> list[EntryInfo]:
        """List what is in the store, last used first, then parts; manifests and sizes are looked at, contents not."""
        found = []
        for prefix in children(self.root):
            proper = PREFIX.fullmatch(prefix.name) and prefix.is_dir()
            for entry in children(prefix) if proper else [prefix]:
                if proper and KEY.fullmatch(entry.name) and entry.name.startswith(prefix.name):
                    found.append(describe(entry))
                elif entry.name not in (PARTS, LOCKS, FAMILIES):
                    found.append(EntryInfo(entry.name, entry, "foreign", "not ours", files_size(entry)))
        found.sort(key=lambda info: (-(info.used or 0), info.key))
        left = set(writing.left_over(self.parts))
        for part in children(self.parts):
            reason = LEFT if part in left else "being built or removed"
            found.append(EntryInfo(part.name.partition(".")[0], part, "partial", reason, files_size(part)))
        return found

    def info(self, prefix: str) -> EntryInfo:
        """Return the one entry whose key begins with `prefix`; RequestError, with candidates, for none or several."""
        if not re.fullmatch("[0-9a-f]{1,64}", prefix):
            raise RequestError(f"a key is 1 to 64 of the digits 0-9a-f; got {prefix!r}; `cmpt726 cache ls` lists them")
        folders = [path for path in children(self.root) if PREFIX.fullmatch(path.name)]
        keys = [entry.name for folder in folders for entry in children(folder) if KEY.fullmatch(entry.name)]
        found = [key for key in keys if key.startswith(prefix)]
        if len(found) == 1:
            return describe(self.path(found[0]))
        if found:
            named = ", ".join(found[:CANDIDATES]) + (", ..." if len(found) > CANDIDATES else "")
            raise RequestError(f"key {prefix!r} must name one entry; {len(found)} begin so: {named}")
        lists = f"`cmpt726 cache ls{as_option(self.folder)}` lists all {len(keys)}"
        raise RequestError(f"key {prefix!r} must name an entry; none begins so; {lists}")

    def verify(self, prefix: str | None = None) -> list[EntryInfo]:
        """Read every byte of one entry, or of all, and compare structure, sizes and SHA-256; RequestError as `info`."""
        found = []
        for info in self.entries() if prefix is None else [self.info(prefix)]:
            began = time.monotonic()
            try:
                if info.state == "ok":
                    load(info.path, read_manifest(info.path), keep=False)
            except (Distrusted, OSError) as error:
                state, reason = verdict(error)
                info = replace(info, state=state, reason=reason)
            if info.state != "partial":
                found.append(replace(info, seconds=time.monotonic() - began))
        return found

    def prunable(self, max_bytes: int | None = None, older_than: float | None = None) -> list[EntryInfo]:
        """Return what killed processes and earlier versions left, entries not used for `older_than` seconds, then the
        least recently used until at most `max_bytes` are left; each with the reason.
        """
        infos = self.entries()
        doomed = [replace(info, reason="left over") for info in infos if info.reason == LEFT]
        doomed += [replace(info, reason="superseded") for info in infos if info.state == "superseded"]
        entries = [info for info in infos if info.state in ("ok", "damaged")]
        total = sum(info.bytes for info in entries)
        for info in reversed(entries):
            if older_than is not None and time.time() - (info.used or 0) > older_than:
                doomed.append(replace(info, reason="not used for that long"))
            elif max_bytes is not None and total > max_bytes:
                doomed.append(replace(info, reason="over the size"))
            else:
                continue
            total -= info.bytes
        return doomed

    def clearable(self, prefix: str | None = None) -> list[EntryInfo]:
        """Return one entry (RequestError as `info`), or all and what killed processes left; what is not ours stays."""
        if prefix is not None:
            return [replace(self.info(prefix), reason="named")]
        ours = [i for i in self.entries() if i.reason == LEFT or (i.state != "partial" and i.path == self.path(i.key))]
        return [replace(info, reason="cleared") for info in ours]

    def remove(self, doomed: Iterable[EntryInfo]) -> None:
        """Remove entries and parts, and the traces of what is no longer there; EnvironmentFailure if it can't be."""
        with writing.refusals(self.folder):
            for info in doomed:
                if info.state == "partial":
                    writing.remove(info.path)
                elif os.path.lexists(info.path):
                    writing.discard(info.path, self.parts)
        for marker in self.root.glob(f"{FAMILIES}/*/*"):
            with suppress(OSError):
                if not os.path.lexists(self.path(marker.name)):
                    marker.unlink()
        for path in self.root.glob(f"{LOCKS}/*.lock"):
            # Timeout, an OSError too, says that somebody holds it.
            with suppress(OSError, NotImplementedError), FileLock(path).acquire(timeout=0):
                path.unlink()
