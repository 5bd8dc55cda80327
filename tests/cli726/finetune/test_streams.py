"""Blocks in streams: in order, one thread each, a failure passed on, nothing left running."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from cli726.finetune.features.extractor import in_streams


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> int:
    torch.set_num_threads(request.param)
    return int(request.param)


def test_results_come_in_order_whatever_takes_longest(threads: int) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert list(in_streams(slow_first, range(20))) == [number * number for number in range(20)]


def test_each_item_has_one_thread_and_the_caller_keeps_its_own(threads: int) -> None:
    seen = set(in_streams(lambda _: torch.get_num_threads(), range(10)))
    assert seen == {1}
    assert torch.get_num_threads() == threads
    inside: list[int] = []
    later = threading.Thread(target=lambda: inside.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert inside == [threads]  # of threads that others start, too


def test_a_failure_is_passed_on_and_what_waits_is_not_begun(threads: int) -> None:
    begun: list[int] = []

    def fail_at_two(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("two")
        return number

    results = in_streams(fail_at_two, range(1000))
    with pytest.raises(ValueError, match="two"):
        list(results)
    assert len(begun) < 20


def test_items_are_taken_only_as_they_are_needed(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_streams(lambda number: number, items())
    assert next(results) == 0
    assert len(taken) <= 3 * threads


INTERRUPTED = """
import subprocess
import sys
import threading
from cli726.finetune.features import extractor as streams

class Interrupting(threading.Barrier):
    def wait(self, timeout=None):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return super().wait(timeout)

streams.Barrier = Interrupting
try:
    streams.single_threads(3)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_while_the_threads_begin_does_not_keep_the_process_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
