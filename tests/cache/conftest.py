"""Fixtures for the store's tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cache.store import Store
from tests.cache.building import a_request, build

SCRIPT = Path(__file__).with_name("building.py")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def wanted():
    return a_request()


@pytest.fixture
def entry(store, wanted):
    """The folder of an entry just built."""
    build(store.folder, wanted)
    return store.path(wanted.key)


@pytest.fixture
def start():
    """Starts building.py with the given arguments; whatever still runs at the end is killed."""
    running = []
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

    def run(*arguments, script=SCRIPT):
        command, pipe = [sys.executable, str(script), *map(str, arguments)], subprocess.PIPE
        running.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()
