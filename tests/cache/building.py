"""Entries to test with; run as a script, processes that build one while the test kills, starves or races them."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

# The last two here, not half-way: another user (--user) may not read the interpreter's files.
import numpy as np
import numpy.random
import numpy.testing

from cache import store as store_module
from cache.keys import Request, canonical
from cache.store import Entry, Store, digest_of

BLOCK = 50


@dataclass(frozen=True)
class Wanted(Request):
    """A request that knows its images, by number."""

    names: tuple[int, ...] = ()


def images_of(wanted: Wanted) -> np.ndarray:
    hashed = b"".join(hashlib.sha256(str(name).encode()).digest() for name in wanted.names)
    return np.frombuffer(hashed, np.uint8).reshape(-1, 32)


def a_request(rows=600, shape=(64,), dtype="float32", provenance=None, names=None, **changed) -> Wanted:
    fields = {"weights": "w1", "cut": "pool", "treatment": {"size": 32}, "precision": dtype} | changed
    names = tuple(range(rows)) if names is None else tuple(names)
    provenance = {"data": "digits", "pool": "train"} if provenance is None else provenance
    draft = Wanted(fields, len(names) or rows, shape, dtype, provenance, names)
    fields.setdefault("images", digest_of(images_of(draft)))
    return Wanted(fields, draft.rows, shape, dtype, provenance, names)


WANTED = a_request()
# What is there before: another network's entry, and one whose rows are taken over, but for one, and that is removed.
OLDER = {"other": a_request(weights="older"), "relative": a_request(names=[*range(599), 1000])}


def features_of(wanted: Wanted) -> np.ndarray:
    """The features that an image has by these fields, whichever other images there are."""
    decisive = canonical({name: value for name, value in wanted.fields.items() if name != "images"})
    chance = np.random.default_rng(list(decisive.encode()))
    size = (max(wanted.names) + 1, *wanted.shape)
    if wanted.dtype == "float32":
        return chance.standard_normal(size, np.float32)[list(wanted.names)]
    return chance.integers(0, 2**16, size, np.uint16)[list(wanted.names)]


def build(folder: Path, wanted: Wanted, pause: float = 0.0, log=None, computed: list | None = None) -> Entry:
    """Have the entry; the rows that had to be computed are added to `computed`."""

    def say(word: str) -> None:
        if log:
            with Path(log).open("a") as file:
                file.write(word + "\n")

    def produce(rows: np.ndarray) -> Iterator[np.ndarray]:
        say("producing")
        if computed is not None:
            computed.extend(rows.tolist())
        features = features_of(wanted)[rows]
        for start in range(0, len(rows), BLOCK):
            yield features[start : start + BLOCK]
            time.sleep(pause)

    return Store(folder).get_or_build(wanted, images_of(wanted), produce, lambda: say("waiting"))


def clear(store: Store, prefix: str | None = None) -> None:
    store.remove(store.clearable(prefix))


def prune(store: Store, **limits) -> None:
    store.remove(store.prunable(**limits))


def assert_right(entry: Entry, wanted: Wanted) -> None:
    assert entry.key == wanted.key
    np.testing.assert_array_equal(entry.features, features_of(wanted))


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything in a store that matters, by relative path: no sidecar, no list of versions."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "usage.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if "families" not in path.parts}


def at_moments(folder: Path, older: Wanted, moments: int) -> None:
    """Kill a build at so many random moments; print a line of JSON for each, as `at_each_call` does."""
    chance = random.Random(726)
    for at in range(moments):
        place = folder / str(at)
        build(place, older)
        pid = os.fork()
        if pid == 0:
            build(place, WANTED, pause=0.005)
            os._exit(0)
        time.sleep(chance.uniform(0, 0.12))
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"place": str(place), "call": "", "status": status}), flush=True)


def main() -> None:
    from commands.app import status_of
    from commands.process import await_interrupts
    from tests.harness import at_each_call

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name, kind in {"rows": int, "pause": float, "log": str, "file-limit": int, "user": int}.items():
        parser.add_argument(f"--{name}", type=kind, default=600 if name == "rows" else 0)
    parser.add_argument("--no-locks", action="store_true")
    # Builds again and again: killed at, or (with an errno) failing at its first, second, ... call; killed at moments.
    parser.add_argument("--each-call", type=int)
    parser.add_argument("--moments", type=int)
    parser.add_argument("--older", choices=OLDER)
    options = parser.parse_args()

    def prepare(place: Path):
        build(place, OLDER[options.older])
        return lambda: assert_right(build(place, WANTED), WANTED)

    if options.each_call is not None:
        return at_each_call(options.folder, options.each_call or None, prepare)
    if options.moments:
        return at_moments(options.folder, OLDER[options.older], options.moments)
    await_interrupts()
    if options.no_locks:
        store_module.turn = lambda path, on_wait: nullcontext()
    if options.file_limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (options.file_limit, options.file_limit))
    if options.user:
        os.setuid(options.user)
    wanted = a_request(options.rows)
    try:
        entry = build(options.folder, wanted, options.pause, options.log)
        assert_right(entry, wanted)
        print(entry.state)
    except BaseException as error:  # noqa: BLE001
        sys.exit(status_of(error))


if __name__ == "__main__":
    main()
