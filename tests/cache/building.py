"""Entries to test with; run as a script, a process that builds one while the test kills, starves or races it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

# The last two here, not half-way: another user (--user) may not read the interpreter's files.
import numpy as np
import numpy.random
import numpy.testing

from cache import store as store_module
from cache.keys import Request
from cache.store import Entry, Store

BLOCK = 50


def a_request(rows: int = 600, shape=(64,), dtype="float32", provenance=None, **changed) -> Request:
    fields = {"weights": "w1", "cut": "pool", "images": {"data": "d1", "treatment": "t1"}, "precision": dtype} | changed
    return Request(
        fields, rows, shape, dtype, {"data": "digits", "pool": "train"} if provenance is None else provenance
    )


def features_of(request: Request) -> np.ndarray:
    chance = np.random.default_rng(int(request.key[:8], 16))
    size = (request.rows, *request.shape)
    if request.dtype == "float32":
        return chance.standard_normal(size, np.float32)
    return chance.integers(0, 2**16, size, np.uint16)


def labels_of(request: Request) -> np.ndarray:
    return np.arange(request.rows, dtype=np.int64) % 10


def blocks_of(request: Request, pause: float = 0.0) -> Iterator[np.ndarray]:
    features = features_of(request)
    for start in range(0, request.rows, BLOCK):
        yield features[start : start + BLOCK]
        time.sleep(pause)


def build(folder: Path, request: Request, pause: float = 0.0, log=None) -> Entry:
    def say(word: str) -> None:
        if log:
            with Path(log).open("a") as file:
                file.write(word + "\n")

    def produce() -> Iterator[np.ndarray]:
        say("producing")
        return blocks_of(request, pause)

    return Store(folder).get_or_build(request, labels_of(request), produce, lambda: say("waiting"))


def assert_right(entry: Entry, request: Request) -> None:
    assert entry.key == request.key
    np.testing.assert_array_equal(entry.features, features_of(request))
    np.testing.assert_array_equal(entry.labels, labels_of(request))
    assert entry.labels.dtype == np.int64


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything in a store but the sidecars, by relative path."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "usage.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def main() -> None:
    from commands.app import status_of
    from commands.interrupts import await_interrupts

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--log")
    parser.add_argument("--no-locks", action="store_true")
    parser.add_argument("--file-limit", type=int)
    parser.add_argument("--user", type=int)
    options = parser.parse_args()
    await_interrupts()
    if options.no_locks:
        store_module.turn = lambda path, on_wait: nullcontext()
    if options.file_limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (options.file_limit, options.file_limit))
    if options.user is not None:
        os.setuid(options.user)
    request = a_request(options.rows)
    try:
        entry = build(options.folder, request, options.pause, options.log)
        assert_right(entry, request)
        print(entry.state)
    except BaseException as error:  # noqa: BLE001
        sys.exit(status_of(error))


if __name__ == "__main__":
    main()
