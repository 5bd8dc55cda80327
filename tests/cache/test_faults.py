"""Kills, full disks, failing calls, races: afterwards there is no entry or a right one, and older ones are whole."""

import errno
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from cache import writing
from cache.errors import EnvironmentFailure
from cache.store import Store
from tests.cache.building import OLDER, WANTED, a_request, assert_right, build, clear, files_of, prune
from tests.harness import await_, cases, small_disk, times

pytestmark = pytest.mark.faults


def finished(process, status=0):
    """Output and errors of a process that ends so."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    return out, err


def assert_recover(runs, older, peaceful):
    """No entry or a right one now; after another build, byte for byte what an undisturbed run leaves and no more."""
    build(peaceful, OLDER[older])
    build(peaceful, WANTED)
    expected, other = files_of(peaceful), OLDER[older].key
    for done in runs:
        store = Store(Path(done["place"]))
        states = {info.key: info.state for info in store.verify()}
        kept = states.pop(other, None)
        assert states in ({}, {WANTED.key: "ok"})
        # Removed only once there is another.
        assert kept == "ok" or (older == "relative" and states and kept is None)
        assert_right(build(store.folder, WANTED), WANTED)
        prune(store)
        found = files_of(store.folder)
        assert found.items() >= expected.items()
        # A kill between the new entry and the old one's removal leaves both.
        assert {name.split("/")[2] for name in found.keys() - expected.keys()} <= {OLDER["relative"].key}
        assert list(store.parts.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("older", OLDER)
def test_sigkill_at_every_system_call_leaves_no_entry_or_a_right_one(tmp_path, start, older):
    out, _ = finished(start(tmp_path / "runs", "--each-call", 0, "--older", older))
    runs = [json.loads(line) for line in out.splitlines()]
    assert [run["status"] for run in runs] == [-signal.SIGKILL] * (len(runs) - 1) + [0]
    # Between reservation and data, between data and manifest, between manifest and rename, and after it.
    assert {"lseek", "write", "fsync", "rename"} <= {run["call"] for run in runs}
    assert len(runs) > 20
    assert_recover(runs, older, tmp_path / "peace")


def test_sigkill_at_random_moments_leaves_no_entry_or_a_right_one(tmp_path, start):
    out, _ = finished(start(tmp_path / "runs", "--moments", times(6, 50), "--older", "other"))
    runs = [json.loads(line) for line in out.splitlines()]
    assert {done["status"] for done in runs} <= {-signal.SIGKILL, 0}
    assert sum(done["status"] < 0 for done in runs) > len(runs) / 2
    assert_recover(runs, "other", tmp_path / "peace")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "older"), cases((errno.ENOSPC, "relative"), (errno.EIO, "relative"), (errno.ENOSPC, "other"))
)
def test_a_failure_of_every_system_call_is_status_4_or_harmless(tmp_path, start, older, number):
    out, _ = finished(start(tmp_path / "runs", "--each-call", number, "--older", older))
    runs = [json.loads(line) for line in out.splitlines()]
    assert {done["status"] for done in runs} == {0, 4}
    assert all(done["status"] == 4 for done in runs if done["call"] in ("posix_fallocate", "fsync"))
    assert 4 in {done["status"] for done in runs if done["call"] == "rename"}
    for done in runs:
        parts = Store(Path(done["place"])).parts
        # Where removing the old entry failed, what is left of it goes with the next build.
        assert done["status"] == 0 or not parts.exists() or list(parts.iterdir()) == []
    assert_recover(runs, older, tmp_path / "peace")


@pytest.mark.parametrize("limit", cases(100_000, 2000))
def test_a_limit_on_file_sizes_is_status_4_with_the_figures(tmp_path, start, limit):
    build(tmp_path / "store", OLDER["other"])
    before = files_of(tmp_path / "store")
    _, err = finished(start(tmp_path / "store", "--file-limit", limit), 4)
    assert err.startswith("error: File too large: the cache entry needs 174.7 kB, free in ")
    assert err.count("\n") == 1
    assert files_of(tmp_path / "store") == before


@pytest.mark.parametrize(("foreseen", "reserving"), cases((False, True), (False, False), (True, True), (True, False)))
def test_a_full_disk_leaves_no_entry_and_the_older_ones(monkeypatch, foreseen, reserving):
    with small_disk(1) as folder:
        build(folder, WANTED)
        before = files_of(folder)
        if not foreseen:
            monkeypatch.setattr(writing, "BESIDES", -(10**9))
        if not reserving:
            monkeypatch.delattr(os, "posix_fallocate", raising=False)
        with pytest.raises(EnvironmentFailure, match=r"needs 1\.2 MB, free in .*: 8\d\d\.\d kB") as failure:
            build(folder, a_request(rows=4000, weights="other"))
        assert failure.value.status == 4
        assert files_of(folder) == before
        assert_right(build(folder, WANTED), WANTED)


@pytest.mark.parametrize("signal_", cases(signal.SIGINT, signal.SIGTERM))
def test_an_interrupt_leaves_no_lock_and_no_part(tmp_path, start, signal_):
    store = Store(tmp_path)
    process = start(tmp_path, "--pause", 0.5)
    await_(lambda: list(store.parts.glob("*/features.h5")))
    process.send_signal(signal_)
    assert finished(process, 128 + signal_)[1] == "error: interrupted\n"
    assert files_of(tmp_path) == {}
    assert list(store.parts.iterdir()) == []


@pytest.mark.parametrize("count", cases(2, 8))
def test_processes_that_want_one_entry_compute_it_once(tmp_path, start, count):
    log = tmp_path / "log"
    processes = [start(tmp_path / "store", "--pause", 0.1, "--log", log) for _ in range(count)]
    assert sorted(finished(process)[0].strip() for process in processes) == ["built"] + ["hit"] * (count - 1)
    words = log.read_text().split()
    assert words.count("producing") == 1
    assert 1 <= words.count("waiting") <= count - 1
    assert len(files_of(tmp_path / "store")) == 2


def test_locks_that_do_not_lock_cost_time_and_nothing_else(tmp_path, start):
    log = tmp_path / "log"
    processes = [start(tmp_path / "store", "--pause", 0.05, "--no-locks", "--log", log) for _ in range(times(4, 8))]
    for process in processes:
        finished(process)
    assert log.read_text().split().count("producing") > 1
    store = Store(tmp_path / "store")
    assert [info.state for info in store.entries()] == [info.state for info in store.verify()] == ["ok"]


def test_a_killed_lock_holder_is_replaced_by_the_one_that_waits(tmp_path, start):
    log = tmp_path / "log"
    first = start(tmp_path / "store", "--pause", 1, "--log", log)
    await_(log.exists)
    second = start(tmp_path / "store", "--log", log)
    await_(lambda: "waiting" in log.read_text())
    first.kill()
    first.communicate()  # a process that nobody has waited for still counts as alive
    assert finished(second)[0].strip() == "built"
    assert [info.state for info in Store(tmp_path / "store").entries()] == ["ok"]


@pytest.fixture
def others_folder():
    """A folder that another user owns and this one may only read, and that user's number if we must become it."""
    folder = Path(tempfile.mkdtemp())
    build(folder, WANTED)
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder, (["--user", 65534] if os.geteuid() == 0 else [])
    for path in everything:
        path.chmod(0o755)
    subprocess.run(["rm", "-r", str(folder)], check=True)


def test_a_read_only_folder_serves_hits_and_refuses_builds_with_status_4(start, others_folder):
    folder, user = others_folder
    before = files_of(folder)
    assert finished(start(folder, *user))[0].strip() == "hit"
    _, err = finished(start(folder, "--rows", 100, *user), 4)
    assert "must be a folder that can be read and written; got Permission denied" in err
    assert "--cache-dir" in err
    assert files_of(folder) == before


def test_clearing_while_another_builds_does_not_harm_it(tmp_path, start):
    process = start(tmp_path, "--pause", 0.1)
    store = Store(tmp_path)
    await_(lambda: list(store.parts.glob("*/features.h5")))
    clear(store)
    prune(store, max_bytes=0)
    assert finished(process)[0].strip() == "built"
    assert store.verify()[0].state == "ok"
