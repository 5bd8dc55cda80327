"""Problem 6 from end to end: a session, its phases, the test, the run folder."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.config import FinetuneConfig, Phase, plan_phases
from cli726.finetune.evaluation import Evaluation, evaluate
from cli726.finetune.images import Dataset, duplicates_across
from cli726.finetune.run import RunFolder, new_run_dir
from cli726.finetune.session import Session, Trial, open_session, penalty
from cli726.finetune.training import Best, EpochMetrics
from cli726.finetune.weights import Weights
from cli726.reporting import Reporter, Silent

__all__ = ["Finetuned", "PhaseResult", "finetune", "resume"]


@dataclass(frozen=True)
class PhaseResult:
    """One phase, as it went.

    Attributes:
        seconds: Training time, without validation.
        images_per_second: Training images over that time.
        best_epoch, best_val_error, best_val_loss: Its best validation.
    """

    phase: Phase
    epochs: int
    seconds: float
    images_per_second: float
    best_epoch: int
    best_val_error: float
    best_val_loss: float


@dataclass(frozen=True)
class Finetuned:
    """A finished run.

    Attributes:
        duplicates: Validation and test images that are identical to one of another split.
        trials: The heads of a repeated --l2; empty where there is one value.
        test_scores: Of the best model, Tensor of shape (test images, classes).
        l2: The chosen value with the best model's penalty and norm of coefficients.
    """

    dataset: Dataset
    duplicates: int
    weights: Weights
    cache: Mapping[str, Any]
    phases: tuple[PhaseResult, ...]
    history: tuple[EpochMetrics, ...]
    trials: tuple[Trial, ...]
    best: Best
    test: Evaluation
    test_scores: Tensor
    l2: Mapping[str, float]
    seconds: float
    run_dir: Path

    @property
    def gain(self) -> float | None:
        """Validation accuracy of the best later phase minus that of the first; None with one phase."""
        if len(self.phases) < 2:
            return None
        return self.phases[0].best_val_error - min(result.best_val_error for result in self.phases[1:])

    def to_json(self) -> dict[str, Any]:
        """CLI.md's keys; the same document as `summary.json`."""
        data = self.dataset
        names = data.class_names
        return {
            "dataset": {
                "name": data.name,
                "digest": data.digest,
                "classes": len(names),
                "class_names": list(names),
                **{name: len(data.splits[name]) for name in ("train", "validation", "test")},
                "duplicates": self.duplicates,
                "skipped": list(data.skipped),
            },
            "weights": {"name": self.weights.name, "digest": self.weights.digest, "depth": self.weights.depth},
            "cache": dict(self.cache),
            "phases": [
                {
                    "name": result.phase.name,
                    "trains": list(result.phase.trains),
                    "epochs": result.epochs,
                    "seconds": result.seconds,
                    "images_per_second": result.images_per_second,
                    "best_epoch": result.best_epoch,
                    "best_val_error": result.best_val_error,
                    "best_val_loss": result.best_val_loss,
                }
                for result in self.phases
            ],
            "gain": self.gain,
            "trials": [asdict(trial) for trial in self.trials],
            "best": asdict(self.best),
            "test": {
                **self.test.to_json(),
                "calibration_error": self.test.calibration_error,
                "confusion": [list(row) for row in self.test.confusion],
                "class_accuracy": list(self.test.class_accuracy),
                "most_confused": [
                    {"true": names[true], "predicted": names[predicted], "images": count}
                    for true, predicted, count in self.test.most_confused()
                ],
            },
            "l2": dict(self.l2),
            "seconds": self.seconds,
            "run_dir": str(self.run_dir),
        }


def finetune(config: FinetuneConfig, run_dir: Path | None = None, *, reporter: Reporter | None = None) -> Finetuned:
    """Run a configuration in a new run folder.

    Raises:
        RequestError, UntrustedDataError, EnvironmentFailure, ComputationError: see `cli726.errors`.
    """
    reporter = reporter or Silent()
    session = open_session(config, reporter)
    path = new_run_dir(session.dataset.name) if run_dir is None else run_dir
    return carry_out(session, RunFolder.create(path, config, session.facts(), reporter))


def resume(path: Path, code: Collection[str] = (), *, reporter: Reporter | None = None) -> Finetuned:
    """Go on with an interrupted run; the result is that of an uninterrupted one.

    Args:
        code: What was typed now of the form python:FILE.py:FUNCTION; nothing else that the run's file names is run.

    Raises:
        RequestError: if there is nothing to resume, or the run names code that wasn't typed again.
        UntrustedDataError: if data or weights have changed since.
    """
    reporter = reporter or Silent()
    folder, config, facts = RunFolder.open(path, reporter)
    if folder.finished:
        raise RequestError(f"--resume must name an interrupted run; {path} is finished; see {path / 'summary.json'}")
    untyped = [name for name in config.code if name not in code]
    if untyped:
        raise RequestError(
            f"{path} names code of its author's own, {untyped[0]}; code named in a file is never run: if you trust it, "
            "type that option again beside --resume"
        )
    session = open_session(config, reporter)
    for name, now in session.facts().items():
        if name.endswith("digest") and facts.get(name) != now:
            what = name.removesuffix("_digest")
            raise UntrustedDataError(f"{path} was started with another {what}; restore it or start a new run")
    reporter.say(f"resuming {path}")
    return carry_out(session, folder)


def carry_out(session: Session, folder: RunFolder) -> Finetuned:
    """Train, test the best model once, write everything down."""
    phases = plan_phases(session.config)
    folder.model = session.model_facts()
    progress = folder.progress()
    l2, trials = session.choose_l2(phases[0])
    network = session.new_network(phases[0].cut)
    try:
        progress = session.train(network, phases, folder, l2, progress)
    except BaseException:
        if folder.checkpoint.exists():
            best = folder.progress().best
            kept = f"; its best model so far, of epoch {best.epoch}, is kept" if best else ""
            session.reporter.say(f"go on with: cmpt726 finetune --resume {folder.path}{kept}")
        raise
    best = progress.best
    if best is None:
        raise AssertionError("a phase's last epoch is always validated")
    folder.load_best(network)
    # The phase decides from which features the best model is scored: those that it was validated on.
    cut = next(phase.cut for phase in phases if phase.name == best.phase)
    scores = session.test_scores(network, cut)
    cost, norm = penalty(network, l2)
    result = Finetuned(
        dataset=session.dataset,
        duplicates=duplicates_across(session.dataset),
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
    )
    folder.write_summary(result.to_json())
    return result


def summarise(phase: Phase, history: list[EpochMetrics], images: int) -> PhaseResult:
    """One phase's part of the history."""
    lines = [line for line in history if line.phase == phase.name]
    seconds = sum(line.seconds for line in lines)
    validated = [
        (line.val_error, line.val_loss, line.epoch)
        for line in lines
        if line.val_error is not None and line.val_loss is not None
    ]
    error, loss, epoch = min(validated)
    return PhaseResult(phase, len(lines), seconds, images * len(lines) / seconds, epoch, error, loss)
