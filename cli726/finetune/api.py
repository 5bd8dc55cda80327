"""A run from its beginning to its end, or from where it was interrupted: from the command line, torchrun or Python."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from cli726.errors import ComputationError, RequestError, UntrustedDataError
from cli726.finetune import parallel
from cli726.finetune.config import FinetuneConfig, settled
from cli726.finetune.folder import RunFolder, new_run_dir, read_checkpoint
from cli726.finetune.folder.runs import find_run
from cli726.finetune.result import Finetuned
from cli726.finetune.run import Run
from cli726.reporting import Reporter, Silent


def finetune(config: FinetuneConfig, run_dir: Path | None = None, *, reporter: Reporter | None = None) -> Finetuned:
    """Run a configuration in a new run folder; started by torchrun, together with the other processes.

    Raises:
        RequestError, UntrustedDataError, EnvironmentFailure, ComputationError: see `cli726.errors`.
        ToldElsewhere: if another process says what is wrong.
    """
    with parallel.join(reporter or Silent()) as reporter:
        run = Run.setup(config, reporter)
        facts, name = run.facts(), run.bank.dataset.name
        folder = parallel.tell(lambda: RunFolder.create(run_dir or new_run_dir(name), config, facts))
        reporter.say(f"run: {folder.path}")
        return carry_out(run, folder)


def run_finetune(*, run_dir: str | Path | None = None, reporter: Reporter | None = None, **options: Any) -> Finetuned:
    """Run `cmpt726 finetune` from Python.

    Args:
        run_dir: Where the run is written; by default runs/DATASET-TIMESTAMP.
        options: Those of the command line by their names, as `FinetuneConfig` takes them: dataset="folder:PHOTOS",
            epochs=20, unfreeze_after="5", cache=True.
    """
    return finetune(FinetuneConfig(**options), None if run_dir is None else Path(run_dir), reporter=reporter)


def resume(name: str | Path, code: Collection[str] = (), *, reporter: Reporter | None = None) -> Finetuned:
    """Go on with an interrupted run; the result is that of an uninterrupted one.

    Args:
        name: Its folder, its name in `runs/`, or latest.
        code: What was typed now of the form python:FILE.py:FUNCTION; nothing else that the run's file names is run.

    Raises:
        RequestError: if there is nothing to resume, or the run names code that wasn't typed again.
        UntrustedDataError: if data or weights have changed since.
    """
    with parallel.join(reporter or Silent()) as reporter:
        path = parallel.tell(lambda: find_run(name, "interrupted"))
        folder, config, facts = parallel.tell(lambda: RunFolder.open_again(path, code))
        run = Run.setup(settled(config, facts), reporter)
        for name, now in run.digests().items():
            if name.endswith("_digest") and facts.get(name) != now:
                what = name.removesuffix("_digest")
                raise UntrustedDataError(f"{path} was started with another {what}; restore it or start a new run")
        reporter.say(f"resuming {path}")
        return carry_out(run, folder)


def carry_out(run: Run, folder: RunFolder) -> Finetuned:
    """Train, test and save in a folder; where that stops, say how to go on."""
    run.folder = folder
    try:
        with folder.locked():
            run.train()
            return run.save(run.test())
    except BaseException as error:
        parallel.expect_the_end()
        with suppress(RequestError, UntrustedDataError, OSError):  # what went wrong comes first
            say_how_to_go_on(folder, error, run.reporter)
        raise


def say_how_to_go_on(folder: RunFolder, error: BaseException, reporter: Reporter) -> None:
    best = read_checkpoint(folder.checkpoint)[0].best
    # What diverged once diverges again from the same numbers.
    on = f"go on with: cmpt726 finetune --resume {shlex.quote(str(folder.path))}"
    lines = [] if isinstance(error, ComputationError) else [on]
    lines += [f"its best model so far, of epoch {best.epoch}, is kept in {folder.path}"] if best else []
    if lines:
        reporter.say("; ".join(lines))
