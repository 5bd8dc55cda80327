"""What this machine offers, what is wrong with it, and what to do about each problem.

Nothing heavy is imported but to ask it a question; a package that can't be imported is a finding, not a failure.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from cache.system import default_cache_dir
from cli726.errors import Cmpt726Error, EnvironmentFailure
from cli726.finetune.data.names import data_dir

PACKAGES = ("cmpt726", "torch", "torchvision", "numpy", "h5py", "matplotlib", "pillow", "safetensors", "typer", "rich")
ROOM = 2_000_000_000


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What.
        value: What was found.
        ok: False where something should be done.
        remedy: What to do; empty where all is well.
    """

    name: str
    value: str
    ok: bool = True
    remedy: str = ""


def examine() -> Iterator[Check]:
    """Look at versions, devices, folders and space."""
    yield Check("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in PACKAGES:
        try:
            yield Check(package, version(package))
        except PackageNotFoundError:
            yield Check(package, "missing", ok=False, remedy=f"install it: pip install {package}")
    yield from match_vision()
    yield from devices()
    for name, find in (("cache", default_cache_dir), ("data", data_dir), ("runs", lambda: Path("runs"))):
        try:
            yield place(name, find())
        except EnvironmentFailure as error:
            yield Check(f"{name} folder", "unknown", ok=False, remedy=str(error))


def match_vision() -> Iterator[Check]:
    """Ask torchvision's own metadata which torch it was built for, and whether it can be imported."""
    try:
        stated, here = requires("torchvision") or (), version("torch").partition("+")[0]
    except PackageNotFoundError:
        return
    pins = [found[1] for found in (re.match(r"torch *\(?==([\w.]+)", text) for text in stated) if found]
    if pins and here == pins[0]:
        yield Check("torch and torchvision", "match")
    elif pins:
        found = f"don't match: this torchvision was built for torch {pins[0]}"
        remedy = f"pip install 'torch=={pins[0]}', or install both anew: pip install --upgrade torch torchvision"
        yield Check("torch and torchvision", found, ok=False, remedy=remedy)
    from cli726.finetune.data.vision import import_torchvision

    try:
        import_torchvision()
    except Cmpt726Error as error:
        yield Check("torchvision import", "fails", ok=False, remedy=str(error))


def devices() -> Iterator[Check]:
    """Look at processors, threads, bfloat16 and GPUs."""
    import torch

    from cli726.finetune.network.kernels import has_bf16

    yield Check("processors", f"{os.cpu_count()}; torch uses {torch.get_num_threads()} threads")
    fast = "in hardware: --precision auto uses it" if has_bf16() else "not in hardware: float32 is used"
    yield Check("bfloat16", fast)
    names = map(torch.cuda.get_device_name, range(torch.cuda.device_count() if torch.cuda.is_available() else 0))
    yield Check("GPU", ", ".join(names) or "none: --device auto takes the processor")


def place(name: str, folder: Path) -> Check:
    """Look at a folder that is or could be made: whether we may write there, and how much is free."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        return Check(f"{name} folder", str(there), ok=False, remedy=f"it is a file; choose a folder: {variable(name)}")
    free = shutil.disk_usage(there).free
    remedy = "less than 2 GB is free: `cmpt726 cache prune`, or another disk" if free < ROOM else ""
    if not os.access(there, os.W_OK):
        remedy = f"it can't be written to; choose another: {variable(name)}"
    return Check(f"{name} folder", f"{folder.absolute()}: {free / 1e9:.1f} GB free", not remedy, remedy)


def variable(name: str) -> str:
    """Return how to choose another folder."""
    return {"cache": "CMPT726_CACHE_DIR", "data": "CMPT726_DATA_DIR"}.get(name, "--run-dir")
