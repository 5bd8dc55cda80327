"""The runs that are there: how they stand, and how one is named."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cache.system import read_small
from cli726.errors import RequestError, UntrustedDataError, did_you_mean
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.folder import LARGEST_TEXT, RUNS, RunFolder, holder, read_json
from cli726.finetune.training import Best, EpochMetrics
from cli726.text import typed_path

State = Literal["finished", "interrupted"]
# To be found, a run must have this file; the newest one is that whose file is newest.
NEEDED = {"finished": "best.safetensors", "interrupted": "config.json"}


@dataclass(frozen=True)
class RunInfo:
    """One run, as far as its files tell.

    Attributes:
        state: "finished", "running", "interrupted" (it can be resumed), "failed" or "damaged".
        date: When it was begun, local time.
        reason: Why it failed.
        options: As `config.json` states them.
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
    reason: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def find_run(name: str | Path, state: State = "finished") -> Path:
    """Return the folder of a run: a path, a name in `runs/`, or "latest", the newest one in that state.

    Raises:
        RequestError: if there is no such run.
    """
    needed, runs = NEEDED[state], list_runs() if str(name) == "latest" else []
    found = [run for run in runs if run.state == state]
    if found:
        return found[-1].path
    for path in (typed_path(str(name)), RUNS / name):
        if (path / needed).is_file():
            return path
    if str(name) == "latest":
        remedy = "make one with `cmpt726 finetune`" if state == "finished" else "see `cmpt726 runs ls`"
        raise RequestError(f"latest needs a run in runs/ that is {state}; there is none; {remedy}")
    near = did_you_mean(str(name), ("latest", *(path.parent.name for path in RUNS.glob(f"*/{needed}"))))
    raise RequestError(
        f"RUN must be a folder with a {needed}, a name in runs/, or latest; got {name}"
        f"{near or '; see `cmpt726 runs ls`'}"
    )


def list_runs(folder: Path = RUNS) -> list[RunInfo]:
    """Return every run in a folder, the newest last; a run whose files make no sense is listed as damaged."""
    paths = [path.parent for path in folder.glob("*/config.json")]
    return [describe(path) for path in sorted(paths, key=lambda p: ((p / "config.json").stat().st_mtime_ns, p.name))]


def describe(path: Path) -> RunInfo:
    """Return one run; damaged where its files make no sense."""
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime((path / "config.json").stat().st_mtime))
    damaged = RunInfo(path.name, path, "damaged", date)
    try:
        options = dict(read_json(path / "config.json").get("options", {}))
        if (path / "summary.json").exists():
            summary = read_json(path / "summary.json")
            data, error = str(summary["dataset"]["name"]), float(summary["best"]["val_error"])
            run = replace(damaged, state="finished", dataset=data, best_val_error=error, options=options)
            if summary["test"] is None:
                return run
            accuracy, images, (low, high) = (summary["test"][name] for name in ("accuracy", "images", "interval"))
            ends = (float(low), float(high))
            return replace(run, test_accuracy=float(accuracy), test_images=int(images), test_interval=ends)
        run = replace(damaged, state="interrupted", dataset=str(options["dataset"]), options=options)
        if holder(path) is not None:
            return replace(run, state="running")
        if (path / "failed.txt").exists():
            reason = " ".join(read_small(path / "failed.txt", LARGEST_TEXT).decode().split())
            return replace(run, state="failed", reason=reason)
        return run
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return damaged


@dataclass(frozen=True)
class FinishedRun:
    """What the files of a finished run say.

    Attributes:
        facts: What `config.json` says besides the options.
        summary: `summary.json`.
    """

    path: Path
    config: FinetuneConfig
    facts: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: tuple[EpochMetrics, ...]
    best: Best


def finished_run(name: str) -> Path:
    """Return the folder of a finished run: a path, a name in `runs/`, or "latest".

    Raises:
        RequestError: if there is no such run, or it isn't finished.
    """
    path = find_run(name)
    if not (path / "summary.json").is_file():
        raise RequestError(
            f"RUN must be a finished run; {path} has no summary.json; go on with it by "
            f"`cmpt726 finetune --resume {path}`"
        )
    return path


def read_run(path: Path) -> FinishedRun:
    """Read a finished run.

    Raises:
        UntrustedDataError: if its files are not those of a run of ours.
    """
    folder, config, facts = RunFolder.open(path)
    try:
        summary = read_json(path / "summary.json")
        best = Best(**summary["best"])
        if not folder.history or not all(name in summary for name in ("dataset", "weights", "phases", "test")):
            raise ValueError("it lacks its history or a part of its summary")
        if summary["test"] is None:
            raise RequestError(f"--run must name a run with test images; {path} has none, but --folds; name another")
    except (ValueError, KeyError, TypeError) as error:
        raise UntrustedDataError(f"{path} is not a finished run of ours ({error}); start a new one") from None
    return FinishedRun(path, config, facts, summary, tuple(folder.history), best)
