"""Problem 6 from end to end: a session, its phases, the test, the run folder."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cli726.errors import ComputationError, RequestError, UntrustedDataError
from cli726.finetune import parallel
from cli726.finetune.config import FinetuneConfig, plan_phases
from cli726.finetune.data.images import duplicates_across, lists_of
from cli726.finetune.finetuned import Finetuned, summarise
from cli726.finetune.folder.checkpoint import read_checkpoint
from cli726.finetune.folder.run_folder import RunFolder, create_run, open_run
from cli726.finetune.output.artifacts import write_artifacts
from cli726.finetune.session import Session, open_session, penalty
from cli726.finetune.training.evaluation import evaluate
from cli726.reporting import Reporter, Silent

__all__ = ["finetune", "resume"]


def finetune(config: FinetuneConfig, run_dir: Path | None = None, *, reporter: Reporter | None = None) -> Finetuned:
    """Run a configuration in a new run folder; started by torchrun, together with the other processes.

    Raises:
        RequestError, UntrustedDataError, EnvironmentFailure, ComputationError: see `cli726.errors`.
        ToldElsewhere: if another process says what is wrong.
    """
    with parallel.join():
        reporter = reporter if reporter and parallel.first() else Silent()
        session = open_session(config, reporter)
        folder = create_run(run_dir, session.dataset.name, config, session.facts(), reporter)
        reporter.say(f"run: {folder.path}")
        return carry_out(session, folder)


def resume(path: Path, code: Collection[str] = (), *, reporter: Reporter | None = None) -> Finetuned:
    """Go on with an interrupted run; the result is that of an uninterrupted one.

    Args:
        code: What was typed now of the form python:FILE.py:FUNCTION; nothing else that the run's file names is run.

    Raises:
        RequestError: if there is nothing to resume, or the run names code that wasn't typed again.
        UntrustedDataError: if data or weights have changed since.
    """
    with parallel.join():
        reporter = reporter if reporter and parallel.first() else Silent()
        folder, finished, config, facts = open_run(path, reporter)
        if finished:
            raise RequestError(
                f"--resume must name an interrupted run; {path} is finished; see {path / 'summary.json'}"
            )
        untyped = [name for name in config.code if name not in code]
        if untyped:
            raise RequestError(
                f"{path} names code of its author's own, {untyped[0]}; code named in a file is never run: if you trust "
                "it, type that option again beside --resume"
            )
        session = open_session(config, reporter)
        for name, now in session.facts().items():
            if name.endswith("digest") and facts.get(name) != now:
                what = name.removesuffix("_digest")
                raise UntrustedDataError(f"{path} was started with another {what}; restore it or start a new run")
        reporter.say(f"resuming {path}")
        return carry_out(session, folder)


def carry_out(session: Session, folder: RunFolder) -> Finetuned:
    """Train, test the best model once, write everything down; where that stops, say how to go on."""
    try:
        return train_and_test(session, folder)
    except BaseException as error:
        parallel.expect_the_end()
        with suppress(UntrustedDataError, OSError):  # what went wrong comes first
            say_how_to_go_on(session, folder, error)
        raise


def say_how_to_go_on(session: Session, folder: RunFolder, error: BaseException) -> None:
    if not parallel.first() or not folder.checkpoint.exists():
        return
    # Read by this process alone: the others may be gone.
    best = read_checkpoint(folder.checkpoint)[0].best
    kept = f"its best model so far, of epoch {best.epoch}, is kept in {folder.path}" if best else ""
    on = f"go on with: cmpt726 finetune --resume {shlex.quote(str(folder.path))}"
    # What diverged once diverges again from the same numbers.
    lines = [kept] if isinstance(error, ComputationError) else [on, kept]
    if any(lines):
        session.reporter.say("; ".join(filter(None, lines)))


def train_and_test(session: Session, folder: RunFolder) -> Finetuned:
    phases = plan_phases(session.config)
    folder.model = session.model_facts()
    folder.write_lists(parallel.tell(lambda: lists_of(session.dataset)))
    progress = folder.progress(phases)
    l2, trials = session.choose_l2(phases[0])
    network = session.new_network(phases[0].cut)
    progress = session.train(network, phases, folder, l2, progress)
    best = progress.best
    if best is None:
        raise AssertionError("a phase's last epoch is always validated")
    folder.load_best(network)
    # The phase decides from which features the best model is scored: those that it was validated on.
    cut = next(phase.cut for phase in phases if phase.name == best.phase)
    scores = session.test_scores(network, cut)
    cost, norm = penalty(network, l2)
    result = Finetuned(
        config=session.config,
        dataset=session.dataset,
        duplicates=parallel.tell(lambda: duplicates_across(session.dataset)),
        weights=session.weights,
        cache=session.cache_facts(),
        phases=tuple(summarise(phase, folder.history, len(session.dataset.splits["train"])) for phase in phases),
        history=tuple(folder.history),
        trials=trials,
        best=best,
        test=evaluate(scores, session.bank.labels("test").cpu()),
        test_scores=scores,
        l2={"l2": l2, "penalty": cost, "norm": norm},
        seconds=time.perf_counter() - session.began,
        run_dir=folder.path,
        solver=session.solved,
    )
    if parallel.first():
        result = replace(result, figures=tuple(write_artifacts(result, session.reporter)))
    # Last: it says that the run is finished.
    folder.write_summary(result.to_json())
    return result
