"""The runs that are there."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.system import read_small
from cli726.finetune.folder.run_folder import LARGEST_TEXT, RUNS

__all__ = ["RunInfo", "list_runs"]


@dataclass(frozen=True)
class RunInfo:
    """One run, as far as its files tell.

    Attributes:
        state: "finished", "interrupted" (it can be resumed) or "damaged".
        date: When it was begun, local time.
        test_accuracy, test_images, test_interval, best_val_error: None unless finished.
    """

    name: str
    path: Path
    state: str
    date: str
    dataset: str | None = None
    best_val_error: float | None = None
    test_accuracy: float | None = None
    test_images: int | None = None
    test_interval: tuple[float, float] | None = None


def list_runs(folder: Path = RUNS) -> list[RunInfo]:
    """Every run in a folder, the newest last; a run whose files make no sense is listed as damaged."""
    paths = [path.parent for path in folder.glob("*/config.json")]
    return [describe(path) for path in sorted(paths, key=lambda p: ((p / "config.json").stat().st_mtime_ns, p.name))]


def describe(path: Path) -> RunInfo:
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime((path / "config.json").stat().st_mtime))
    try:
        config: dict[str, Any] = json.loads(read_small(path / "config.json", LARGEST_TEXT))
        if not (path / "summary.json").exists():
            return RunInfo(path.name, path, "interrupted", date, str(config["options"]["dataset"]))
        summary = json.loads(read_small(path / "summary.json", LARGEST_TEXT))
        test = summary["test"]
        low, high = test["interval"]
        return RunInfo(
            path.name,
            path,
            "finished",
            date,
            str(summary["dataset"]["name"]),
            float(summary["best"]["val_error"]),
            float(test["accuracy"]),
            int(test["images"]),
            (float(low), float(high)),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return RunInfo(path.name, path, "damaged", date)
