"""Memory to spend: what the system says is free, within a container's limit. And what the system is asked else."""

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
        (None, 4 * GIGA),
    ],
    ids=["no container", "limit", "cached files", "beyond it", "no limit", "version 1", "nothing known"],
)
def test_available_memory_is_what_the_system_and_a_container_leave(tmp_path: Path, monkeypatch, files, expected):
    monkeypatch.setattr(system, "CONTAINER", tmp_path)
    monkeypatch.setattr(system, "SYSTEM_MEMORY", tmp_path / "meminfo")
    if files is None:
        monkeypatch.delattr(os, "sysconf")
    else:
        (tmp_path / "memory").mkdir()
        known = {"meminfo": f"MemTotal: 1 kB\nMemAvailable:   {5 * 2**20} kB\nMemFree: 2 kB\n"}
        for name, content in (known | files).items():
            (tmp_path / name).write_text(content)
        monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 100}[name])
        assert system.available_memory() == min(expected, 409_600)
        monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**30}[name])
    assert system.available_memory() == expected


def test_each_error_has_its_exit_status():
    kinds = (errors.Cmpt726Error, errors.RequestError, errors.UntrustedDataError, errors.EnvironmentFailure)
    assert [kind.status for kind in kinds] == [1, 2, 3, 4]


def test_a_process_is_alive_or_not_and_windows_is_never_asked(tmp_path: Path, monkeypatch):
    nobody = 2**22 + 1  # above any process number of Linux
    assert [system.is_alive(pid) for pid in (os.getpid(), 1, 10**30, nobody)] == [True, True, True, False]
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    system.sync_folder(tmp_path)
    monkeypatch.setattr(os, "name", "nt")
    system.sync_folder(tmp_path)
    alive = system.is_alive(nobody)
    monkeypatch.undo()
    assert (alive, len(synced)) == (True, 1)


def test_new_files_are_for_reading_and_writing_as_far_as_the_user_lets_others(store, wanted):
    before = os.umask(0o022)
    try:
        build(store.folder, wanted)
        (store.path(wanted.key) / "usage.json").unlink()
        build(store.folder, wanted)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in store.path(wanted.key).iterdir()} == {0o644}
