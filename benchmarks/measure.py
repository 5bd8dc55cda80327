"""How everything here is measured: contestants in turn in one run, medians of several rounds, ratios round by round.

A machine's speed drifts, with its temperature and with what else it does; a ratio of two measurements taken one after
the other drifts far less than either.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

from cli726.finetune.network.kernels import has_bf16

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """One line of RESULTS.md.

    Attributes:
        what, against: What was measured, beside what.
        ours, theirs: Figures with their units.
        ratio: How many times better ours is; below 1: worse.
        low, high: Least and largest ratio of a round.
        goal: The least ratio that was asked for; None: reported only.
        note: What a reader must know.
    """

    what: str
    against: str
    ours: str
    theirs: str
    ratio: float
    low: float
    high: float
    goal: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return "reported"
        return "met" if self.ratio >= self.goal else "missed"


class SkippedError(Exception):
    """Something that can't be measured here, and why."""


def in_turn(contestants: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; every round runs each once, after a round that doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + warm):
        for name, work in contestants.items():
            began = time.perf_counter()
            work()
            if number >= warm:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def compare(
    what: str, against: str, ours: list[float], theirs: list[float], show: Callable[[float], str], *,
    goal: float | None = None, note: str = "", scale: tuple[float, float] = (1, 1),
) -> Row:  # fmt: skip
    """A row from seconds measured in the same rounds; `scale`: work units of ours and theirs, if they differ."""
    ratios = [(b / scale[1]) / (a / scale[0]) for a, b in zip(ours, theirs, strict=True)]
    return Row(
        what, against, show(median(ours) / scale[0]), show(median(theirs) / scale[1]),
        median(ratios), min(ratios), max(ratios), goal, note,
    )  # fmt: skip


def per_second(unit: str) -> Callable[[float], str]:
    """Seconds for one, shown as how many a second."""
    return lambda seconds: f"{1 / seconds:,.0f} {unit}/s"


def in_seconds(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds < 10 else f"{seconds:,.0f} s"


def command_seconds(words: list[str], environment: Mapping[str, str] | None = None) -> float:
    """Wall-clock seconds of a whole process.

    Raises:
        RuntimeError: if it fails, with what it said.
    """
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr[-2000:]}")
    return seconds


def processor() -> str:
    """Model, cores and what counts for convolutions."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def setting() -> str:
    """Versions, threads and date."""
    packages = ("torch", "torchvision", "numpy", "h5py", "scikit-learn", "typer", "rich")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    day, threads = time.strftime("%Y-%m-%d"), torch.get_num_threads()
    return f"{day}, threads: {threads}; {platform.system()}, Python {platform.python_version()}, {versions}"


def machine() -> list[str]:
    """What a reader must know of machine and versions."""
    bf16 = "in hardware" if has_bf16() else "not in hardware: emulated, ten times slower than float32"
    return [f"processor: {processor()}; bfloat16 {bf16}", setting()]


PYTHON = sys.executable
