"""The result of a fine-tuning run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

from torch import Tensor

from cli726.document import Document, Finding, Table
from cli726.finetune.config import FinetuneConfig, Phase
from cli726.finetune.data.images import Dataset, SplitName
from cli726.finetune.network.weights import Weights
from cli726.finetune.predict import Picture, Prediction, load_model, predict
from cli726.finetune.training import Best, EpochMetrics
from cli726.finetune.training.evaluation import AVERAGED, Evaluation
from cli726.finetune.training.folds import CrossValidation
from cli726.finetune.trust import Answered, Trust
from cli726.finetune.user_code import is_code
from cli726.text import counted

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Trial:
    """One value of --l2 in the head phase.

    Attributes:
        penalty: l2/2 sum w^2 of the coefficients, at the end of the phase.
        norm: sqrt(sum w^2).
    """

    l2: float
    best: Best
    penalty: float
    norm: float

    @property
    def row(self) -> tuple[str, ...]:
        best = self.best
        judged = (best.accuracy, f"{best.val_loss:.4f}", f"{best.epoch}")
        return (f"{self.l2:g}", *judged, f"{self.penalty:.4g}", f"{self.norm:.4g}")


@dataclass(frozen=True)
class PhaseResult:
    """One phase, as it went.

    Attributes:
        seconds: Training time, without validation.
        images_per_second: Training images over that time.
        best: Its best validation.
    """

    phase: Phase
    epochs: int
    seconds: float
    images_per_second: float
    best: Best

    @property
    def row(self) -> tuple[str, ...]:
        best = (self.best.accuracy, f"{self.best.epoch}")
        speed = (f"{self.images_per_second:,.0f}", f"{self.seconds:.1f} s")
        return (self.phase.name, " ".join(self.phase.trains), f"{self.epochs}", *best, *speed)

    def to_json(self) -> dict[str, Any]:
        stated = {name: value for name, value in vars(self).items() if name not in {"phase", "best"}}
        best = {f"best_{name}": value for name, value in asdict(self.best).items() if name != "phase"}
        return {"name": self.phase.name, "trains": list(self.phase.trains), **stated, **best}


@dataclass(frozen=True)
class Finetuned:
    """A finished run.

    Attributes:
        duplicates: Validation and test images that are identical to one of another split.
        trials: The heads of a repeated --l2; empty where there is one value.
        test: Of the test images; None where --folds has all of them.
        test_scores: Of the best model as `predict` gives them, Tensor of shape (test images, classes).
        probe: Accuracy on validation images, and seconds, of a linear head on the frozen features; None without one.
        crossed, calibrated: What --folds found; the same with the scores of each fold calibrated by the others.
        trust: What is stored with the model: its temperature, how sure it was of validation images, ...
        before: Of the judged images, without the temperature.
        answered: How much of the judged images would be answered with at most 5 % wrong.
        test_plain: Without averaging over mirror images; None where --tta wasn't asked for.
        solver: How near --solver exact came to the optimum; None where it wasn't asked for, or solved before resuming.
        figures: What was drawn, and the gallery.
        l2: The chosen value with the best model's penalty and norm of coefficients.
    """

    config: FinetuneConfig
    dataset: Dataset
    duplicates: int
    weights: Weights
    cache: Mapping[str, Any]
    phases: tuple[PhaseResult, ...]
    history: tuple[EpochMetrics, ...]
    trials: tuple[Trial, ...]
    best: Best
    test: Evaluation | None
    test_scores: Tensor | None
    l2: Mapping[str, float]
    seconds: float
    run_dir: Path
    trust: Trust
    before: Evaluation
    answered: Answered
    test_plain: Evaluation | None = None
    crossed: CrossValidation | None = None
    probe: Mapping[str, float] | None = None
    calibrated: CrossValidation | None = None
    figures: tuple[Path, ...] = ()
    solver: Mapping[str, Any] | None = None

    @property
    def judged(self) -> tuple[SplitName, Evaluation, Tensor]:
        """Return the images that the model, or heads like its own, had not seen: split, result, scores."""
        if self.test is not None and self.test_scores is not None:
            return "test", self.test, self.test_scores
        if self.calibrated is None:
            raise AssertionError("a run has test images, or folds")
        return "train", self.calibrated.result, self.calibrated.scores

    @property
    def gain(self) -> float | None:
        """Return the best later phase's validation accuracy, or the balanced one, minus the first's; None with one."""
        if len(self.phases) < 2:
            return None
        first, *later = (result.best.rank[0] for result in self.phases)
        return first - min(later)

    @overload
    def predict(self, images: Picture) -> Prediction: ...  # type: ignore[overload-overlap] # a str is a sequence, too
    @overload
    def predict(self, images: Sequence[Picture]) -> list[Prediction]: ...
    def predict(self, images: Picture | Sequence[Picture]) -> Prediction | list[Prediction]:
        """Return class and scores of one image or several, by the best model; see `predict.predict`."""
        head = self.config.head if is_code(self.config.head) else None
        return predict(load_model(self.run_dir, head), images)

    def to_json(self) -> dict[str, Any]:
        """Return CLI.md's keys; the same document as `summary.json`."""
        data = self.dataset
        names, curve = data.class_names, None if self.crossed is None else self.crossed.curve
        mistakes = self.test.most_confused() if self.test else ()
        confused = [{"true": names[true], "predicted": names[guess], "images": n} for true, guess, n in mistakes]
        return {
            "dataset": {
                "name": data.name,
                "digest": data.digest,
                "classes": len(names),
                "class_names": list(names),
                **{name: len(data.splits[name]) for name in SPLITS},
                "duplicates": self.duplicates,
                "skipped": list(data.skipped),
            },
            "backbone": self.weights.kind.name,
            "image_size": data.treated.size,
            "fit": data.treated.fit,
            "weights": {"name": self.weights.name, "digest": self.weights.digest, "depth": self.weights.kind.depth},
            "cache": dict(self.cache),
            "phases": [result.to_json() for result in self.phases],
            "gain": self.gain,
            "probe": self.probe,
            "trials": [asdict(trial) for trial in self.trials],
            "best": asdict(self.best),
            "test": self.test and {**self.test.details(), "most_confused": confused},
            **({} if self.crossed is None else {"folds": self.crossed.to_json()}),
            **({} if curve is None else {"learning_curve": curve.to_json(), "learning": curve.finding().to_json()}),
            "calibration": {
                "temperature": self.trust.temperature,
                "before": self.before.calibration_error,
                "after": self.judged[1].calibration_error,
                "split": self.judged[0],
                "caution": self.trust.caution,
            },
            "answered": self.answered.to_json(),
            **({} if self.test_plain is None else {"test_plain": dict(self.test_plain.to_json())}),
            "l2": dict(self.l2),
            "seconds": self.seconds,
            "run_dir": str(self.run_dir),
            "solver": self.solver,
            "figures": [str(path) for path in self.figures],
        }

    def document(self) -> Document:
        """Return what a person reads: what was done, phase by phase, and how good the best model is."""
        images = f"(accuracy on {len(self.dataset.splits['validation']):,} validation images)"
        if self.crossed is not None:
            images = f"(accuracy on {self.crossed.result.images:,} images, each by a head that had not seen it)"
        stages = ("phase", "trains", "epochs", "best accuracy", "at epoch", "images/s", "time")
        penalties = ("l2", "best accuracy", "loss", "at epoch", "penalty", "norm of coefficients")
        tables = [Table(f"Phases {images}", stages, [part.row for part in self.phases], numeric=2)]
        if self.trials:
            tables.append(Table(f"L2 in the head phase {images}", penalties, [trial.row for trial in self.trials]))
        tables.append(Table("Result", ("what", "value"), self.lines(), numeric=2))
        (_, judged, _), names = self.judged, self.dataset.class_names
        if judged.imbalance(names):
            tables.append(judged.by_class(names))
        findings = [self.crossed.curve.finding()] if self.crossed and self.crossed.curve else []
        findings += [Finding("", f"Calibration: {self.trust.caution}.")] if self.trust.caution else []
        return Document([], {}, findings, tables)

    def lines(self) -> list[tuple[str, str]]:
        """Return what the run ended with: what, and how much."""
        data, best, l2, copies, probe = self.dataset, self.best, self.l2, self.duplicates, self.probe
        (_, judged, _), names, crossed = self.judged, data.class_names, self.crossed
        kind = "validation" if crossed is None else "cross-validation"
        sizes = ", ".join(f"{len(data.splits[name]):,} {name}" for name in SPLITS)
        confused = [f"{names[true]} as {names[guess]} ({count})" for true, guess, count in judged.most_confused(3)]
        gain = "" if self.gain is None else f"{100 * self.gain:+.2f} points"
        balanced = "balanced " if self.config.balance else ""
        lines = {
            "data": f"{data.name}: {len(names)} classes; {sizes}",
            "weights": f"{self.weights.name} ({self.weights.kind.label})",
            "cache": cache_line(self.cache),
            "unfreezing": gain and f"{gain} of {balanced}validation accuracy over the first phase",
            "linear probe": probe and f"{probe['val_accuracy']:.2%} of the validation images, {probe['seconds']:.0f} s",
            "best model": f"epoch {best.epoch} (phase {best.phase}), {kind} accuracy {best.accuracy}",
            counted(len(crossed.parts) if crossed else 0, "fold"): crossed and crossed.result.text,
            "test images": self.test and self.test.text,
            "scores": self.test_plain and f"{AVERAGED}; without: {self.test_plain.accuracy:.2%}",
            "balanced accuracy": judged.imbalance(names),
            "most confused": ", ".join(confused),
            "calibration": f"{judged.calibration} at temperature {self.trust.temperature:.3g}, "
            f"{100 * self.before.calibration_error:.2f} before",
            f"at most {self.answered.max_error:.0%} wrong": self.answered.text,
            "exact head": self.solver and f"gradient norm {self.solver['gradient_norm']:.1e} at the end",
            "L2": l2["l2"] and f"penalty {l2['penalty']:.4g}, norm of the coefficients {l2['norm']:.4g}",
            "duplicates": copies and f"{copies:,} validation or test images are identical to one of another split",
            "time": f"{self.seconds:.1f} s",
            "run": str(self.run_dir),
            **{path.stem: str(path) for path in self.figures},
        }
        return [(what, str(value)) for what, value in lines.items() if value]


def cache_line(cache: Mapping[str, Any]) -> str:
    """Return what was read from the cache or written to it, and what that saved."""
    if cache["state"] == "off":
        return "off"
    saved = sum(entry["seconds"] or 0 for entry in cache["entries"] if entry["state"] == "hit")
    gained = f", {saved:.1f} s of computing saved" if saved else ""
    entries = counted(len(cache["entries"]), "entry", "entries")
    return f"{cache['state']}: {entries}, {cache['bytes'] / 1e6:.1f} MB{gained}"


def summarise(phase: Phase, history: list[EpochMetrics], images: int) -> PhaseResult:
    """Return one phase's part of the history."""
    lines = [line for line in history if line.phase == phase.name]
    seconds = sum(line.seconds for line in lines)
    best = min(filter(None, (line.judged for line in lines)), key=lambda judged: (*judged.rank, judged.epoch))
    return PhaseResult(phase, len(lines), seconds, images * len(lines) / seconds, best)
