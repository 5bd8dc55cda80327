"""What the tests of faults share: how often, small disks, faults in the system's calls, the command line as a process.

`make test-faults` sets CMPT726_FAULTS=full; without it the long tests run in reduced numbers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FULL = os.environ.get("CMPT726_FAULTS") == "full"
ONLY_FULL = "takes long: `make test-faults` runs it"
# What our code asks of the system while it writes; removals are left out, since they clean up after a fault.
CALLS = ("mkdir", "open", "posix_fallocate", "lseek", "write", "fsync", "rename", "replace", "utime")


def load_script(path: Path) -> Any:
    """A Python file that belongs to no package, as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unless_given(usual: Sequence[object], arguments: Sequence[object]) -> list[object]:
    """Options of a fixture, in pairs, without those that a test gives itself: each may stand once."""
    pairs = zip(usual[::2], usual[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in arguments for word in pair]


def leaves(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*words, name))
        else:
            yield (*words, name), command


def times(few: int, full: int) -> int:
    """How often: `few` in CI, `full` under `make test-faults`."""
    return full if FULL else few


def cases(*values: Any) -> list[Any]:
    """The first of `values` in CI, all of them under `make test-faults`."""
    return list(values if FULL else values[:1])


def environment() -> dict[str, str]:
    """This one, with the repository on the path and one thread."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def start_command(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`cmpt726 ARGUMENTS` as a process of its own, its streams in pipes unless told otherwise."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    return subprocess.Popen([sys.executable, "-m", "cli726", *map(str, arguments)], **pipes | options)


def in_shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `cmpt726` is ours; its status is the first failing part's of a pipe."""
    function = f'cmpt726() {{ exec "{sys.executable}" -m cli726 "$@"; }}; '
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{function}{script}"],
        cwd=folder, env=environment() | variables, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@contextmanager
def small_disk(megabytes: float) -> Iterator[Path]:
    """A file system in memory, where this user may mount one."""
    folder = tempfile.mkdtemp()
    size = f"size={int(megabytes * 1024)}k"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        Path(folder).rmdir()
        pytest.skip("needs the right to mount")
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        Path(folder).rmdir()


def peak_memory() -> int:
    """The most memory that this process has had at once, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder where syncing takes no time, if there is such a place: what is tested is the order of calls."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def await_(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def sabotage(at: int, number: int | None, told: int) -> None:
    """Make the system call number `at` the last of this process, or (with an errno) fail; its name goes to `told`."""
    count = 0

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                os.pwrite(told, name.ljust(20).encode(), 0)
                if number is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        return call

    for name in CALLS:
        if hasattr(os, name):
            setattr(os, name, wrap(name))


def child(work: Callable[[], Any]) -> int:
    """Run `work` in a fork; its exit status, negative for a signal."""
    from commands.app import status_of

    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            work()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 98
        except BaseException as error:  # noqa: BLE001
            status = status_of(error)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def at_each_call(folder: Path, number: int | None, prepare: Callable[[Path], Callable[[], Any]]) -> None:
    """Run what `prepare(place)` gives again and again, each time with a fault at the next system call.

    Prints a line of JSON for each: place, call, status.
    """
    for at in range(1, 200):
        place = folder / str(at)
        work = prepare(place)
        note = folder / f"{at}.call"
        told = os.open(note, os.O_RDWR | os.O_CREAT)

        def faulty(at: int = at, work: Callable[[], Any] = work, told: int = told) -> None:
            sabotage(at, number, told)
            work()

        status = child(faulty)
        name = os.pread(told, 20, 0).decode().strip()
        os.close(told)
        note.unlink()
        print(json.dumps({"place": str(place), "call": name, "status": status}), flush=True)
        if not name:  # every call was reached
            return
