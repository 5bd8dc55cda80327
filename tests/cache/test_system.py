"""Memory to spend: what the system says is free, within a container's limit."""

import os
from pathlib import Path

import pytest

from cache import errors, system
from tests.cache.building import build

GIGA = 2**30
LIMIT_2 = {"memory.max": f"{3 * GIGA}\n", "memory.current": f"{2 * GIGA}\n"}
LIMIT_1 = {"memory/memory.limit_in_bytes": f"{3 * GIGA}\n", "memory/memory.usage_in_bytes": f"{2 * GIGA}\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 5 * GIGA),
        (LIMIT_2 | {"memory.stat": "anon 7\ninactive_file 0\n"}, GIGA),
        # Files that the system keeps in memory for as long as nobody asks for it.
        (LIMIT_2 | {"memory.stat": f"anon 7\ninactive_file {GIGA}\n"}, 2 * GIGA),
        (LIMIT_2 | {"memory.stat": "", "memory.current": f"{4 * GIGA}\n"}, 0),
        ({"memory.max": "max\n", "memory.current": "7\n", "memory.stat": ""}, 5 * GIGA),
        (LIMIT_1 | {"memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIGA // 2}\n"}, 3 * GIGA // 2),
    ],
    ids=["no container", "limit", "cached files", "beyond it", "no limit", "version 1"],
)
def test_available_memory_is_what_the_system_and_a_container_leave(tmp_path: Path, monkeypatch, files, expected):
    (tmp_path / "memory").mkdir()
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {5 * 2**20} kB\nMemFree: 2 kB\n")
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(system, "CONTAINER", tmp_path)
    monkeypatch.setattr(system, "SYSTEM_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**30}[name])
    assert system.available_memory() == expected
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 100}[name])
    assert system.available_memory() == min(expected, 409_600)


def test_where_nothing_is_known_a_small_machine_is_assumed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(system, "CONTAINER", tmp_path)
    monkeypatch.setattr(system, "SYSTEM_MEMORY", tmp_path / "meminfo")
    monkeypatch.delattr(os, "sysconf")
    assert system.available_memory() == 4 * GIGA


def test_each_error_has_its_exit_status():
    kinds = (errors.Cmpt726Error, errors.RequestError, errors.UntrustedDataError, errors.EnvironmentFailure)
    assert [kind.status for kind in kinds] == [1, 2, 3, 4]


def test_a_process_is_alive_or_not():
    assert system.is_alive(os.getpid())
    assert system.is_alive(1)
    assert system.is_alive(10**30)
    assert not system.is_alive(2**22 + 1)  # above any process number of Linux


def test_new_files_are_for_reading_and_writing_as_far_as_the_user_lets_others(store, wanted):
    before = os.umask(0o022)
    try:
        build(store.folder, wanted)
        (store.path(wanted.key) / "usage.json").unlink()
        build(store.folder, wanted)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in store.path(wanted.key).iterdir()} == {0o644}


def test_windows_syncs_no_folders_and_sends_no_signals(tmp_path: Path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    system.sync_folder(tmp_path)
    assert len(synced) == 1
    nowhere = tmp_path / "nowhere"
    monkeypatch.setattr(os, "name", "nt")
    alive = system.is_alive(2**22 + 1)
    system.sync_folder(nowhere)
    monkeypatch.undo()
    assert alive
