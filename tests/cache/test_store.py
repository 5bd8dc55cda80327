"""The store: built once, found again, carried over, listed, pruned, cleared."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from cache import reading, writing
from cache import store as store_module
from cache.errors import EnvironmentFailure, RequestError, UntrustedDataError
from tests.cache.building import a_request, assert_right, build, clear, features_of, files_of, images_of, prune

ONE_CHANGED = [*range(599), 1000]


def never(rows):
    raise AssertionError("a hit must not compute")


@pytest.mark.parametrize(("dtype", "shape"), [("float32", (64,)), ("bfloat16", (4, 4, 8)), ("float32", (1024,))])
def test_what_is_built_is_found_again_bit_for_bit(store, dtype, shape):
    wanted = a_request(shape=shape, dtype=dtype)
    began = time.monotonic()
    built = build(store.folder, wanted)
    assert built.seconds <= time.monotonic() - began
    hit = store.get_or_build(wanted, images_of(wanted), never)
    assert (built.state, hit.state) == ("built", "hit")
    assert built.seconds == hit.seconds > 0
    assert built.bytes == hit.bytes == (store.path(wanted.key) / "features.h5").stat().st_size
    for entry in (built, hit):
        assert_right(entry, wanted)
        assert entry.features.flags.writeable
        assert entry.rebuilt_because == ()


def test_large_features_are_mapped_read_only_and_outlive_their_entry(store, wanted, monkeypatch):
    monkeypatch.setattr(reading, "available_memory", lambda: 4 * 600 * 64 * 4)
    assert not isinstance(build(store.folder, wanted).features, np.memmap)  # a quarter still fits
    monkeypatch.setattr(reading, "available_memory", lambda: 4 * 600 * 64 * 4 - 1)
    clear(store)
    built = build(store.folder, wanted)
    hit = store.get_or_build(wanted, images_of(wanted), never)
    clear(store)
    assert store.entries() == []
    assert build(store.folder, wanted).state == "built"
    for entry in (built, hit):
        assert isinstance(entry.features, np.memmap)
        assert not entry.features.flags.writeable
        assert_right(entry, wanted)


def test_a_rebuilt_entry_names_the_fields_that_changed(store):
    build(store.folder, a_request())
    assert build(store.folder, a_request(weights="w2")).rebuilt_because == ("weights",)
    changed = a_request(treatment={"size": 64})
    assert build(store.folder, changed).rebuilt_because == ("treatment.size",)
    assert build(store.folder, changed).rebuilt_because == ()
    other = {"data": "digits", "pool": "test"}
    assert build(store.folder, a_request(weights="w3", provenance=other)).rebuilt_because == ()


# Rows of the wanted pool, of an older one, how many must be computed, and whether the older one is superseded.
POOLS = {
    "one changed": ([*range(5), 1000, *range(6, 600)], range(600), [5], True),
    "one added": ([*range(300), 1000, *range(300, 600)], range(600), [300], True),
    "one removed": ([*range(300), *range(301, 600)], range(600), [], True),
    "another order": (range(599, -1, -1), range(600), [], True),
    "copies": ([0, 0, 1, 1, 2000], range(3), [4], True),
    "half": (range(10), [*range(5), *range(1000, 1005)], range(5, 10), False),
    "a part of more": (range(10), range(300), [], False),
    "nothing in common": (range(10), range(1000, 1010), range(10), False),
}


@pytest.mark.parametrize("mapped", [False, True], ids=["loaded", "mapped"])
@pytest.mark.parametrize(("names", "older", "needed", "superseded"), POOLS.values(), ids=POOLS)
def test_rows_of_images_that_are_still_there_are_taken_over(
    store, tmp_path, monkeypatch, names, older, needed, superseded, mapped
):
    if mapped:
        monkeypatch.setattr(reading, "available_memory", lambda: 0)
    wanted, older, computed = a_request(names=names), a_request(names=older), []
    build(store.folder, older)
    entry = build(store.folder, wanted, computed=computed)
    assert computed == list(needed)
    assert (entry.state, entry.computed) == ("built", len(computed))
    assert entry.superseded == (older.key if superseded else None)
    assert {info.key for info in store.entries()} == {wanted.key} | ({older.key} if not superseded else set())
    assert_right(entry, wanted)
    build(tmp_path / "fresh", wanted)
    assert files_of(store.folder).items() >= files_of(tmp_path / "fresh").items()
    assert_right(store.get_or_build(wanted, images_of(wanted), never), wanted)


def test_only_what_differs_in_nothing_else_gives_rows_and_the_newest_first(store):
    wanted = a_request(names=ONE_CHANGED)
    for other in ({"weights": "w2"}, {"shape": (32,)}, {"dtype": "bfloat16"}, {"provenance": {"data": "others"}}):
        build(store.folder, a_request(**other))
        assert build(store.folder, wanted).computed == 600
        clear(store)
    build(store.folder, a_request(names=range(300)))
    build(store.folder, a_request(names=range(250, 600)))
    computed = []
    assert build(store.folder, wanted, computed=computed).superseded is not None
    assert computed == [*range(250), 599]


def test_a_damaged_or_vanishing_version_gives_no_rows_and_ends_nothing(store, entry, monkeypatch):
    data = (entry / "features.h5").read_bytes()
    (entry / "features.h5").write_bytes(data[:-5000] + b"\1" + data[-4999:])
    assert build(store.folder, a_request(names=ONE_CHANGED)).computed == 600
    assert store.verify(entry.name)[0].state == "damaged"
    real = store_module.read_manifest
    monkeypatch.setattr(store_module, "read_manifest", lambda path: clear(store) or real(path))
    wanted = a_request(names=[*ONE_CHANGED, 2000])
    built = build(store.folder, wanted)
    assert (built.state, built.rebuilt_because) == ("built", ())
    assert_right(built, wanted)


def test_a_build_reads_few_other_manifests_however_many_entries_there_are(store, monkeypatch):
    for number in range(12):
        build(store.folder, a_request(4, weights=f"w{number}"))
        build(store.folder, a_request(5, weights=f"w{number}", provenance={"data": f"d{number}"}))
    read, real = [], store_module.read_manifest
    monkeypatch.setattr(store_module, "read_manifest", lambda path: read.append(path) or real(path))
    monkeypatch.setattr(store_module, "describe", never)
    build(store.folder, a_request(4, weights="new", provenance={"data": "new"}))
    assert read == []
    assert build(store.folder, a_request(4, weights="newer")).rebuilt_because == ("weights",)
    assert len(read) == 8
    shutil.rmtree(store.root / "families")  # its loss doesn't matter
    assert build(store.folder, a_request(4, weights="newest")).rebuilt_because == ()


def test_losing_the_sidecar_loses_only_the_times_and_a_hit_is_a_use(store, entry, wanted):
    # No date, an infinite time, a hundred years, a time before it began, no mapping, a byte too long.
    for built, seconds in (("yesterday", 1), ("2026-01-01", "9" * 400), ("2026-01-01", 3.2e9), ("2026-01-01", -1)):
        (entry / "usage.json").write_text(f'{{"built": "{built}", "seconds": {seconds}}}')
        assert build(store.folder, wanted).seconds is None
    for text, times in {
        "[]": (None, None),
        '{"built": "2026-01-01", "seconds": 0}'.ljust(4096): ("2026-01-01T00:00:00", 0),
        '{"built": "2026-01-01", "seconds": 0}'.ljust(4097): (None, None),
        '{"built": "2026-01-01", "seconds": 3199999999.5}': ("2026-01-01T00:00:00", 3199999999.5),
    }.items():
        (entry / "usage.json").write_text(text)
        assert (store.entries()[0].built, store.entries()[0].seconds) == times
    os.utime(entry / "usage.json", (0, 0))
    assert store.entries()[0].used == 0
    build(store.folder, wanted)
    assert time.time() - store.entries()[0].used < 60
    (entry / "usage.json").unlink()
    hit = build(store.folder, wanted)
    assert (hit.state, hit.seconds, store.entries()[0].state) == ("hit", None, "ok")


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("rows", "width", "dtype", "times"),
    [
        (0, 64, "f4", 1),
        (599, 64, "f4", 1),
        (600, 64, "f4", 2),
        (600, 63, "f4", 1),
        (600, 64, "f8", 1),
        (600, 64, "u2", 1),
    ],
)
def test_blocks_that_are_not_what_was_promised_are_refused_and_leave_nothing(
    store, wanted, rows, width, dtype, times, older
):
    if older:
        build(store.folder, a_request(names=[0, *range(1000, 1600)]))
    before = files_of(store.folder)
    blocks = [np.zeros((max(rows - older, 0), width), dtype)] * times
    with pytest.raises(ValueError, match=r"expected (599|600) rows"):
        store.get_or_build(wanted, images_of(wanted), lambda _: blocks)
    assert files_of(store.folder) == before


def test_images_that_are_not_the_requests_are_refused_and_blocks_need_not_be_contiguous(store, wanted):
    images = images_of(wanted)
    same_bytes = (images.view(np.int8), images.reshape(-1, 16))
    for wrong in (images[:-1], images.astype(np.int64), images[:, :31], images[::-1], *same_bytes):
        with pytest.raises(ValueError, match="images"):
            store.get_or_build(wanted, wrong, never)
    strided = np.repeat(features_of(wanted), 2, axis=1)[:, ::2]
    assert_right(store.get_or_build(wanted, images, lambda _: [strided]), wanted)


@pytest.mark.parametrize("error", [KeyError("ours"), OSError(5, "theirs"), KeyboardInterrupt()], ids=repr)
def test_what_the_producer_raises_passes_and_leaves_nothing(store, wanted, error):
    def produce(rows):
        yield features_of(wanted)[:100]
        raise error

    with pytest.raises(type(error)) as caught:
        store.get_or_build(wanted, images_of(wanted), produce)
    assert caught.value is error
    assert files_of(store.folder) == {}


def test_two_stores_race_and_the_second_takes_the_first_ones_entry(store, wanted, monkeypatch):
    def produce(rows):
        yield features_of(wanted)[:300]
        # Meanwhile another process, which our lock doesn't reach, builds the same.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_module.FileLock, "acquire", lambda self, timeout=None: None)
            assert build(store.folder, wanted).state == "built"
        yield features_of(wanted)[300:]

    entry = store.get_or_build(wanted, images_of(wanted), produce)
    assert_right(entry, wanted)
    assert entry.state == "built"
    assert [info.state for info in store.entries()] == ["ok"]
    clear(store)
    monkeypatch.setattr(writing, "commit", lambda part, path: False)
    with pytest.raises(UntrustedDataError, match="vanished"):
        build(store.folder, wanted)


def test_too_little_space_is_told_before_the_work(store, wanted, monkeypatch):
    size = build(store.folder, wanted).bytes
    clear(store)
    monkeypatch.setattr(writing, "free_space", lambda folder: size + 65535)
    with pytest.raises(EnvironmentFailure, match=r"needs 174.7 kB, free in .*: 240.3 kB; .*--cache-dir"):
        store.get_or_build(wanted, images_of(wanted), never)
    monkeypatch.setattr(writing, "free_space", lambda folder: size + 65536)
    assert build(store.folder, wanted).state == "built"


def test_space_is_reserved_by_zeros_where_the_system_has_no_call_for_it(store, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    wanted = a_request(shape=(1024,))  # more than a block
    open_files = len([*Path("/dev/fd").iterdir()])
    assert_right(build(store.folder, wanted), wanted)
    assert len([*Path("/dev/fd").iterdir()]) == open_files
    assert_right(store.get_or_build(wanted, images_of(wanted), never), wanted)


def test_data_that_do_not_read_back_are_never_vouched_for(store, wanted, monkeypatch):
    monkeypatch.setattr(writing, "drop_from_memory", lambda descriptor: os.pwrite(descriptor, b"\xff", 5000))
    with pytest.raises(EnvironmentFailure, match="read back"):
        build(store.folder, wanted)
    assert files_of(store.folder) == {}


def test_a_listing_shows_what_the_manifest_says(store, entry, wanted):
    (info,) = store.entries()
    assert (info.key, info.state, info.path) == (wanted.key, "ok", entry)
    assert (info.request.rows, info.request.shape, info.request.dtype) == (600, (64,), "float32")
    assert (info.request.fields, info.request.provenance) == (wanted.fields, wanted.provenance)
    assert info.bytes == sum(path.stat().st_size for path in entry.iterdir())
    assert store.info(wanted.key[:8]) == info
    manifest = json.loads((entry / "manifest.json").read_text())
    assert (entry / "manifest.json").read_text() == json.dumps(manifest, sort_keys=True, indent=1) + "\n"
    assert manifest["sha256"] == hashlib.sha256((entry / "features.h5").read_bytes()).hexdigest()
    assert manifest["key"] == wanted.key == entry.name


def test_an_empty_store_is_listed_without_being_made(store):
    assert store.entries() == store.verify() == store.prunable(0) == store.clearable() == []
    clear(store)
    assert not store.folder.exists()


def test_a_shortened_key_must_name_one_entry(store, monkeypatch):
    requests = [a_request(weights=f"w{number}") for number in range(17)]  # so that two share a first digit
    for wanted in requests:
        build(store.folder, wanted)
    firsts = [wanted.key[0] for wanted in requests]
    shared = next(digit for digit in firsts if firsts.count(digit) > 1)
    for most, end in ((firsts.count(shared), ""), (firsts.count(shared) - 1, ", ...")):
        monkeypatch.setattr(store_module, "CANDIDATES", most)
        with pytest.raises(RequestError, match=rf"must name one entry; .* {shared}[0-9a-f]{{63}}{end}$"):
            store.info(shared)
    with pytest.raises(RequestError, match=r"must name an entry; none begins so; .*cache ls --cache-dir .* all 17"):
        store.clearable("0" * 64)
    for wrong in ("", "xyz", "../..", "*", requests[0].key + "0", requests[0].key.upper() + "A"):
        with pytest.raises(RequestError, match="64 of the digits"):
            store.clearable(wrong)
    (doomed,) = store.clearable(requests[3].key)
    assert (doomed.key, doomed.reason) == (requests[3].key, "named")
    store.remove([doomed])
    assert {info.key for info in store.entries()} == {wanted.key for wanted in requests} - {doomed.key}


def test_pruning_by_age_and_size_removes_the_least_recently_used_first(store):
    newest_first = []
    for days in range(5):
        wanted = a_request(weights=f"w{days}")
        build(store.folder, wanted)
        then = time.time() - days * 86400
        os.utime(store.path(wanted.key) / "usage.json", (then, then))
        newest_first.append(wanted.key)
    three = sum(info.bytes for info in store.entries()[:3])
    assert [info.key for info in store.entries()] == newest_first
    plan = store.prunable(max_bytes=three, older_than=3.5 * 86400)
    assert [removal.key for removal in plan] == [newest_first[4], newest_first[3]]
    assert [removal.reason for removal in plan] == ["not used for that long", "over the size"]
    assert len(store.entries()) == 5
    store.remove(plan)
    assert [info.key for info in store.entries()] == newest_first[:3]
    prune(store, max_bytes=0)
    assert store.entries() == [*(store.root / "families").glob("*/*")] == []


def left_part(store, key, pid, host=None):
    part = store.parts / f"{key}.{host or writing.host()}.{pid}.0123abcd"
    part.mkdir(parents=True)
    (part / "features.h5").write_bytes(b"half")
    return part


def test_parts_of_the_dead_are_removed_and_parts_of_the_living_are_not(store, wanted):
    dead = 2**22 + 1  # above any process number of Linux
    ours, theirs = left_part(store, wanted.key, os.getpid()), left_part(store, wanted.key, dead, "0" * 8)
    lock = store.root / "locks" / f"{wanted.key}.lock"
    for action in (lambda: build(store.folder, wanted), lambda: prune(store), lambda: clear(store)):
        gone = left_part(store, wanted.key, dead)
        partial = {info.path: info.reason for info in store.entries() if info.state == "partial"}
        assert partial.keys() == {ours, theirs, gone}
        assert [path for path, reason in partial.items() if "left over" in reason] == [gone]
        lock.parent.mkdir(exist_ok=True)
        lock.touch()
        action()
        assert [path.exists() for path in (gone, lock, ours, theirs)] == [False, False, True, True]
    for seconds, reasons in ((24 * 3600 - 15, []), (24 * 3600 + 15, ["left over"])):
        old = time.time() - seconds
        for path in (theirs / "features.h5", theirs):
            os.utime(path, (old, old))
        assert [removal.reason for removal in store.prunable()] == reasons
    prune(store)
    assert not theirs.exists()


def test_clearing_leaves_what_is_not_ours(store, entry):
    foreign = [
        store.root / "README",
        store.root / "ab" / "notes",
        entry.parent / "0123",
        store.root / "ff" / entry.name,
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    foreign.append(store.root / "away")
    foreign[-1].symlink_to(foreign[0])
    sizes = {info.path: info.bytes for info in store.entries() if info.state == "foreign"}
    assert sizes == dict.fromkeys(foreign, 4) | {foreign[-1]: len(str(foreign[0]))}
    assert [info.state for info in store.verify()].count("foreign") == 5
    clear(store)
    prune(store, max_bytes=0)
    assert [path.read_text() for path in foreign] == ["mine"] * 5
    assert not entry.exists()


def test_an_entry_cleared_while_it_is_read_is_a_miss_and_not_damage(store, entry, wanted, monkeypatch):
    real = store_module.read_manifest
    monkeypatch.setattr(store_module, "read_manifest", lambda path: clear(store) or real(path))
    rebuilt = build(store.folder, wanted)
    assert rebuilt.state == "built"
    assert_right(rebuilt, wanted)
