"""Fixtures for the store's tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from cache.store import Store
from tests.cache.building import WANTED, build
from tests.harness import environment

SCRIPT = Path(__file__).with_name("building.py")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def wanted():
    return WANTED


@pytest.fixture
def entry(store, wanted):
    """The folder of an entry just built."""
    build(store.folder, wanted)
    return store.path(wanted.key)


@pytest.fixture
def start():
    """Starts building.py with the given arguments; whatever still runs at the end is killed."""
    running, pipes = [], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}

    def run(*arguments):
        running.append(subprocess.Popen([sys.executable, str(SCRIPT), *map(str, arguments)], **pipes))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()
