"""What this machine offers, what is wrong with it, and what to do about each problem.

Nothing heavy is imported but to ask it a question; a package that can't be imported is a finding, not a failure.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cache.system import default_cache_dir
from cli726.errors import Cmpt726Error, EnvironmentFailure
from cli726.finetune.places import data_dir

__all__ = ["Check", "examine"]

PACKAGES = ("cmpt726", "torch", "torchvision", "numpy", "h5py", "matplotlib", "pillow", "safetensors", "typer", "rich")
# torch 2.N goes with torchvision 0.(N + 15), since 2.0 with 0.15.
VISION_AHEAD = 15
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
    """Whether torch and torchvision are releases that belong together, and whether torchvision can be imported."""
    try:
        torch_minor, vision_minor = (int(version(name).split(".")[1]) for name in ("torch", "torchvision"))
    except (PackageNotFoundError, ValueError, IndexError):
        return
    if torch_minor + VISION_AHEAD == vision_minor:
        yield Check("torch and torchvision", "match")
    else:
        fitting = f"0.{torch_minor + VISION_AHEAD}"
        yield Check(
            "torch and torchvision",
            "don't match",
            ok=False,
            remedy=f"pip install 'torchvision=={fitting}.*' beside torch",
        )
    from cli726.finetune.data.vision import import_torchvision

    try:
        import_torchvision()
    except Cmpt726Error as error:
        yield Check("torchvision import", "fails", ok=False, remedy=str(error))


def devices() -> Iterator[Check]:
    """Processor, threads, bfloat16, GPU."""
    import torch

    from cli726.finetune.features.extractor import has_bf16

    yield Check("processors", f"{os.cpu_count()}; torch uses {torch.get_num_threads()} threads")
    yield Check(
        "bfloat16", "in hardware: --precision auto uses it" if has_bf16() else "not in hardware: float32 is used"
    )
    names = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    yield Check("GPU", ", ".join(names) or "none: --device auto takes the processor")


def place(name: str, folder: Path) -> Check:
    """A folder that is or could be made: may we write there, and how much is free?"""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        return Check(f"{name} folder", str(there), ok=False, remedy=f"it is a file; choose a folder: {variable(name)}")
    free = shutil.disk_usage(there).free
    value = f"{folder.absolute()}: {free / 1e9:.1f} GB free"
    if not os.access(there, os.W_OK):
        return Check(
            f"{name} folder", value, ok=False, remedy=f"it can't be written to; choose another: {variable(name)}"
        )
    if free < ROOM:
        return Check(
            f"{name} folder", value, ok=False, remedy="less than 2 GB is free: `cmpt726 cache prune`, or another disk"
        )
    return Check(f"{name} folder", value)


def variable(name: str) -> str:
    """How to choose another folder."""
    return {"cache": "CMPT726_CACHE_DIR", "data": "CMPT726_DATA_DIR"}.get(name, "--run-dir")
