"""The store: built once, found again, listed, pruned, cleared."""

import hashlib
import json
import os
import time

import numpy as np
import pytest
from building import a_request, assert_right, build, features_of, files_of, labels_of

from cache import locks, parts, reading, writing
from cache import store as store_module
from cache.errors import EnvironmentFailure, RequestError, UntrustedDataError
from cache.store import Store


def never():
    raise AssertionError("a hit must not compute")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(64,), (4, 4, 8)])
def test_what_is_built_is_found_again_bit_for_bit(store, dtype, shape):
    wanted = a_request(shape=shape, dtype=dtype)
    built = build(store.folder, wanted)
    hit = store.get_or_build(wanted, labels_of(wanted), never)
    assert (built.state, hit.state) == ("built", "hit")
    assert built.seconds == hit.seconds > 0
    assert built.bytes == hit.bytes == (store.path(wanted.key) / "features.h5").stat().st_size
    for entry in (built, hit):
        assert_right(entry, wanted)
        assert entry.features.flags.writeable
        assert entry.rebuilt_because == ()


def test_large_features_are_mapped_read_only_and_outlive_their_entry(store, monkeypatch):
    monkeypatch.setattr(reading, "available_memory", lambda: 4 * 600 * 64 * 4 - 1)
    wanted = a_request()
    built = build(store.folder, wanted)
    hit = store.get_or_build(wanted, labels_of(wanted), never)
    assert isinstance(built.features, np.memmap)
    assert isinstance(hit.features, np.memmap)
    assert not hit.features.flags.writeable
    store.clear()
    assert store.entries() == []
    assert_right(built, wanted)
    assert_right(hit, wanted)


def test_a_quarter_of_the_memory_still_fits(store, monkeypatch):
    monkeypatch.setattr(reading, "available_memory", lambda: 4 * 600 * 64 * 4)
    assert not isinstance(build(store.folder, a_request()).features, np.memmap)


def test_a_rebuilt_entry_names_the_fields_that_changed(store):
    build(store.folder, a_request())
    assert build(store.folder, a_request(weights="w2")).rebuilt_because == ("weights",)
    changed = a_request(images={"data": "d2", "treatment": "t1"})
    assert build(store.folder, changed).rebuilt_because == ("images.data",)
    assert build(store.folder, changed).rebuilt_because == ()


def test_losing_the_sidecar_loses_only_the_times(store, entry, wanted):
    (entry / "usage.json").unlink()
    hit = build(store.folder, wanted)
    assert (hit.state, hit.seconds) == ("hit", None)
    (entry / "usage.json").write_text('{"built": "yesterday", "seconds": ' + "9" * 400 + "}")
    assert build(store.folder, wanted).seconds is None
    assert store.entries()[0].state == "ok"


def test_a_hit_is_noted_as_a_use(store, entry, wanted):
    os.utime(entry / "usage.json", (0, 0))
    assert store.entries()[0].used == 0
    build(store.folder, wanted)
    assert time.time() - store.entries()[0].used < 60


@pytest.mark.parametrize("rows", [0, 599, 601])
def test_a_wrong_number_of_rows_is_refused_and_leaves_nothing(store, wanted, rows):
    features = np.zeros((rows, 64), np.float32)
    with pytest.raises(ValueError, match="600 rows"):
        store.get_or_build(wanted, labels_of(wanted), lambda: [features])
    assert files_of(store.folder) == {}


@pytest.mark.parametrize("block", [np.zeros((600, 63), np.float32), np.zeros((600, 64)), np.zeros((600, 64), "uint16")])
def test_blocks_of_another_kind_are_refused(store, wanted, block):
    with pytest.raises(ValueError, match="600 rows"):
        store.get_or_build(wanted, labels_of(wanted), lambda: [block])


@pytest.mark.parametrize("labels", [np.zeros(599, np.int64), np.zeros(600, np.int32), np.zeros((600, 1), np.int64)])
def test_labels_of_another_kind_are_refused(store, wanted, labels):
    with pytest.raises(ValueError, match="int64 labels"):
        store.get_or_build(wanted, labels, never)


def test_blocks_need_not_be_contiguous(store, wanted):
    strided = np.repeat(features_of(wanted), 2, axis=1)[:, ::2]
    assert_right(store.get_or_build(wanted, labels_of(wanted), lambda: [strided]), wanted)


def test_labels_that_the_key_does_not_cover_are_noticed(store, entry, wanted):
    with pytest.raises(UntrustedDataError, match="labels"):
        store.get_or_build(wanted, labels_of(wanted) + 1, never)


@pytest.mark.parametrize("error", [KeyError("ours"), OSError(5, "theirs"), KeyboardInterrupt()])
def test_what_the_producer_raises_passes_and_leaves_nothing(store, wanted, error):
    def produce():
        yield features_of(wanted)[:100]
        raise error

    with pytest.raises(type(error)) as caught:
        store.get_or_build(wanted, labels_of(wanted), produce)
    assert caught.value is error
    assert files_of(store.folder) == {}


def test_two_stores_race_and_the_second_takes_the_first_ones_entry(store, wanted):
    def produce():
        yield features_of(wanted)[:300]
        # Meanwhile another process, which our lock doesn't reach, builds the same.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(locks.FileLock, "acquire", lambda self, timeout=None: None)
            assert build(store.folder, wanted).state == "built"
        yield features_of(wanted)[300:]

    entry = store.get_or_build(wanted, labels_of(wanted), produce)
    assert_right(entry, wanted)
    assert entry.state == "built"
    assert [info.state for info in store.entries()] == ["ok"]


def test_too_little_space_is_told_before_the_work(store, wanted, monkeypatch):
    monkeypatch.setattr(writing, "free_space", lambda folder: 123_456)
    with pytest.raises(EnvironmentFailure, match=r"needs 160.3 kB, free in .*: 123.5 kB") as failure:
        store.get_or_build(wanted, labels_of(wanted), never)
    assert failure.value.status == 4


def test_space_is_reserved_by_zeros_where_the_system_has_no_call_for_it(store, wanted, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert_right(build(store.folder, wanted), wanted)
    assert_right(store.get_or_build(wanted, labels_of(wanted), never), wanted)


def test_data_that_do_not_read_back_are_never_vouched_for(store, wanted, monkeypatch):
    real = writing.drop_from_memory

    def corrupt(descriptor):
        os.pwrite(descriptor, b"\xff", 5000)
        real(descriptor)

    monkeypatch.setattr(writing, "drop_from_memory", corrupt)
    with pytest.raises(EnvironmentFailure, match="read back"):
        build(store.folder, wanted)
    assert files_of(store.folder) == {}


def test_a_listing_shows_what_the_manifest_says(store, entry, wanted):
    (info,) = store.entries()
    assert (info.key, info.state, info.path) == (wanted.key, "ok", entry)
    assert (info.rows, info.shape, info.dtype) == (600, (64,), "float32")
    assert (info.fields, info.provenance) == (wanted.fields, wanted.provenance)
    assert info.bytes == sum(path.stat().st_size for path in entry.iterdir())
    assert store.info(wanted.key[:8]) == info


def test_an_empty_store_is_listed_without_being_made(store):
    assert store.entries() == []
    assert store.verify() == []
    assert store.prune(0).removed == ()
    assert not store.folder.exists()


def keys_of(count):
    return [a_request(weights=f"w{number}") for number in range(count)]


def test_a_shortened_key_must_name_one_entry(store):
    requests = keys_of(17)  # more than there are first digits, so that two share one
    for wanted in requests:
        build(store.folder, wanted)
    firsts = [wanted.key[0] for wanted in requests]
    shared = next(digit for digit in firsts if firsts.count(digit) > 1)
    with pytest.raises(RequestError, match="must name one entry") as refusal:
        store.info(shared)
    assert any(wanted.key in str(refusal.value) for wanted in requests if wanted.key[0] == shared)
    with pytest.raises(RequestError, match=r"must name an entry; none begins so; .*cache ls"):
        store.clear("0" * 64)
    for wrong in ("", "xyz", "../..", "*", requests[0].key + "0", requests[0].key.upper() + "A"):
        with pytest.raises(RequestError, match="64 of the digits"):
            store.clear(wrong)
    assert len(store.entries()) == 17
    store.clear(requests[3].key)
    assert requests[3].key not in [info.key for info in store.entries()]


def used(store, wanted, days_ago):
    then = time.time() - days_ago * 86400
    os.utime(store.path(wanted.key) / "usage.json", (then, then))


def test_pruning_by_age_and_size_removes_the_least_recently_used_first(store):
    requests = keys_of(5)
    for days, wanted in enumerate(requests):
        build(store.folder, wanted)
        used(store, wanted, days)
    three = 3 * store.entries()[0].bytes + 100  # sidecars differ by a few digits
    newest_first = [wanted.key for wanted in requests]
    assert [info.key for info in store.entries()] == newest_first

    plan = store.prune(max_bytes=three, older_than=3.5 * 86400, dry_run=True)
    assert [removal.key for removal in plan.removed] == [newest_first[4], newest_first[3]]
    assert [removal.reason for removal in plan.removed] == ["not used for that long", "over the size"]
    assert len(store.entries()) == 5
    done = store.prune(max_bytes=three, older_than=3.5 * 86400)
    assert done.removed == plan.removed
    assert done.left_bytes == plan.left_bytes == sum(info.bytes for info in store.entries())
    assert [info.key for info in store.entries()] == newest_first[:3]
    assert store.prune(max_bytes=0).left_bytes == 0
    assert store.entries() == []


def left_part(store, key, pid, host=None):
    part = store.parts / f"{key}.{host or parts.host()}.{pid}.0123abcd"
    part.mkdir(parents=True)
    (part / "features.h5").write_bytes(b"half")
    return part


def test_parts_of_the_dead_are_removed_and_parts_of_the_living_are_not(store, wanted):
    dead = 2**22 + 1  # above any process number of Linux
    ours, theirs = left_part(store, wanted.key, os.getpid()), left_part(store, wanted.key, dead, "0" * 8)
    for action in (lambda: build(store.folder, wanted), store.prune, store.clear):
        gone = left_part(store, wanted.key, dead)
        assert "partial" in [info.state for info in store.entries()]
        action()
        assert not gone.exists()
        assert ours.exists()
        assert theirs.exists()
    old = time.time() - 2 * 86400
    for path in (theirs / "features.h5", theirs):
        os.utime(path, (old, old))
    assert store.prune(dry_run=True).removed[0].reason == "left over"
    store.prune()
    assert not theirs.exists()


def test_clearing_leaves_what_is_not_ours(store, entry):
    foreign = [store.root / "README", store.root / "ab" / "notes", entry.parent / "0123"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert [info.state for info in store.entries()].count("foreign") == 3
    store.clear()
    store.prune(max_bytes=0)
    assert [path.read_text() for path in foreign] == ["mine"] * 3
    assert not entry.exists()


def test_an_entry_cleared_while_it_is_read_is_a_miss_and_not_damage(store, entry, wanted, monkeypatch):
    real = store_module.read_manifest

    def clear_first(path):
        monkeypatch.setattr(store_module, "read_manifest", real)
        Store(store.folder).clear()
        return real(path)

    monkeypatch.setattr(store_module, "read_manifest", clear_first)
    rebuilt = build(store.folder, wanted)
    assert rebuilt.state == "built"
    assert_right(rebuilt, wanted)


def test_the_manifest_says_what_sha256sum_says(entry, wanted):
    manifest = json.loads((entry / "manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((entry / "features.h5").read_bytes()).hexdigest()
    assert manifest["key"] == wanted.key == entry.name
