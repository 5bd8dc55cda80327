"""Problem 6 from end to end: data, weights, features, phases, the test, the run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cache.paths import default_cache_dir
from cache.store import Store
from cli726.errors import EnvironmentFailure, RequestError, UntrustedDataError
from cli726.finetune.augment import parse_augmentations
from cli726.finetune.bank import Bank
from cli726.finetune.chance import generator
from cli726.finetune.config import FinetuneConfig, Phase, plan_phases
from cli726.finetune.datasets import load_dataset
from cli726.finetune.evaluation import Evaluation, evaluate, head_features, network_scores
from cli726.finetune.features import resolve_precision
from cli726.finetune.feed import Feed, ImageFeed, StoredFeed
from cli726.finetune.heads import Standardize, build_head, coefficients
from cli726.finetune.images import Dataset, duplicates_across
from cli726.finetune.resnet import FEATURES, Network, channels_last
from cli726.finetune.run import RunFolder, new_run_dir
from cli726.finetune.training import Best, EpochMetrics, train
from cli726.finetune.weights import COURSE_NORMALIZATION, Weights, load_weights
from cli726.reporting import Reporter, Silent

__all__ = ["Finetuned", "finetune", "resume"]


@dataclass(frozen=True)
class PhaseResult:
    """One phase, as it went.

    Attributes:
        seconds: Training and validating.
        images_per_second: Training images over training time.
        best: Its best validation result: (epoch, error, loss).
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
    """A finished run."""

    dataset: Dataset
    duplicates: int
    weights: Weights
    cache: Mapping[str, Any]
    phases: tuple[PhaseResult, ...]
    history: tuple[EpochMetrics, ...]
    best: Best
    test: Evaluation
    validation_images: int
    l2: Mapping[str, float]
    seconds: float
    run_dir: Path

    def to_json(self) -> dict[str, Any]:
        """CLI.md's keys; the same document as `summary.json`."""
        data = self.dataset
        return {
            "dataset": {
                "name": data.name,
                "digest": data.digest,
                "classes": len(data.class_names),
                "class_names": list(data.class_names),
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
            "best": asdict(self.best),
            "test": {**self.test.to_json(), "confusion": [list(row) for row in self.test.confusion]},
            "l2": dict(self.l2),
            "seconds": self.seconds,
            "run_dir": str(self.run_dir),
        }


def choose_device(name: str) -> torch.device:
    """`--device`: auto takes a GPU where there is one.

    Raises:
        EnvironmentFailure: if the named device is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # torch raises a different type for each kind of device that isn't there.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EnvironmentFailure(
            f"--device {name} is not usable here ({str(error).splitlines()[0]}); try cpu"
        ) from None
    return device


def finetune(config: FinetuneConfig, run_dir: Path | None = None, *, reporter: Reporter | None = None) -> Finetuned:
    """Run a configuration in a new run folder.

    Raises:
        RequestError, UntrustedDataError, EnvironmentFailure, ComputationError: see `cli726.errors`.
    """
    reporter = reporter or Silent()
    session = Session.open(config, reporter)
    path = new_run_dir(session.dataset.name) if run_dir is None else run_dir
    folder = RunFolder.create(path, config, session.facts(), reporter)
    return session.run(folder)


def resume(path: Path, *, reporter: Reporter | None = None) -> Finetuned:
    """Go on with an interrupted run; the result is that of an uninterrupted one.

    Raises:
        RequestError: if there is nothing to resume, or data or weights have changed since.
    """
    reporter = reporter or Silent()
    folder, config, facts = RunFolder.open(path, reporter)
    if folder.finished:
        raise RequestError(f"--resume must name an interrupted run; {path} is finished; see {path / 'summary.json'}")
    session = Session.open(config, reporter)
    for name, now in session.facts().items():
        if name.endswith("digest") and facts.get(name) != now:
            raise UntrustedDataError(
                f"{path} was started with other {name.split('_')[0]}; restore them or start a new run"
            )
    reporter.say(f"resuming {path}")
    return session.run(folder)


@dataclass
class Session:
    """What a configuration means on this machine: data, weights, features, device."""

    config: FinetuneConfig
    dataset: Dataset
    weights: Weights
    bank: Bank
    network: Network
    precision: torch.dtype
    device: torch.device
    reporter: Reporter
    began: float

    @classmethod
    def open(cls, config: FinetuneConfig, reporter: Reporter) -> Session:
        """Load everything that a run needs; nothing is computed yet."""
        began = time.perf_counter()
        if config.threads:
            torch.set_num_threads(config.threads)
        device = choose_device(config.device)
        precision = resolve_precision(config.precision, device)
        dataset = load_dataset(
            config.dataset,
            data_folder=config.data_dir,
            test_fraction=config.test_fraction,
            val_fraction=config.val_fraction,
            strict=config.strict,
            reporter=reporter,
        )
        if dataset.skipped:
            reporter.say(f"skipped {len(dataset.skipped)} broken images, such as {dataset.skipped[0]}")
        weights = load_weights(config.weights, seed=config.seed, reporter=reporter)
        if weights.trained_on == dataset.name:
            reporter.say(f"note: the {weights.name} weights were trained on {dataset.name} itself")
        normalization = COURSE_NORMALIZATION if config.normalization == "course" else weights.normalization
        head = build_head(
            FEATURES,
            len(dataset.class_names),
            generator(config.seed, "head"),
            standardize=config.standardize,
        )
        network = channels_last(Network(weights.build(), head).to(device))
        store = None
        if config.cache:
            store = Store(Path(config.cache_dir).expanduser() if config.cache_dir else default_cache_dir())
        # A copy: what is trained must never reach a frozen prefix.
        bank = Bank(
            dataset,
            weights.build(),
            normalization,
            precision,
            device,
            reporter,
            store=store,
            recompute=config.recompute,
        )
        return cls(config, dataset, weights, bank, network, precision, device, reporter, began)

    def facts(self) -> dict[str, Any]:
        """What `config.json` says besides the options."""
        return {
            "dataset_digest": self.dataset.digest,
            "weights_digest": self.weights.digest,
            "versions": {"torch": torch.__version__},
            "precision": str(self.precision).removeprefix("torch."),
            "device": self.device.type,
        }

    def model_facts(self) -> dict[str, Any]:
        """What `predict` must know."""
        return {
            "architecture": {"family": "CIFAR ResNet", "depth": self.weights.depth},
            "head": {"kind": "linear"},
            "classes": list(self.dataset.class_names),
            "normalization": asdict(self.bank.normalization),
            "weights_digest": self.weights.digest,
            "dataset_digest": self.dataset.digest,
        }

    def run(self, folder: RunFolder) -> Finetuned:
        """Train, test the best model once, write everything down."""
        phases = plan_phases(self.config)
        folder.model = self.model_facts()
        progress = folder.progress()
        self.standardize(phases[0].cut)
        try:
            progress = train(
                self.network,
                phases,
                self.config,
                make_feed=self.feed,
                validate=self.validate,
                keeper=folder,
                precision=self.precision,
                l2=self.config.l2,
                progress=progress,
                reporter=self.reporter,
            )
        except BaseException:
            if folder.checkpoint.exists():
                self.reporter.say(f"go on with: cmpt726 finetune --resume {folder.path}")
            raise
        best = progress.best
        if best is None:  # the last epoch of a phase is always validated
            raise AssertionError("training ended without a validation")
        folder.load_best(self.network)
        cut = next(phase.cut for phase in phases if phase.name == best.phase)
        result = Finetuned(
            self.dataset,
            duplicates_across(self.dataset),
            self.weights,
            self.cache_facts(),
            tuple(summarise(phase, folder.history, len(self.dataset.splits["train"])) for phase in phases),
            tuple(folder.history),
            best,
            self.test(cut),
            len(self.dataset.splits["validation"]),
            self.penalty(),
            time.perf_counter() - self.began,
            folder.path,
        )
        folder.write_summary(result.to_json())
        return result

    def standardize(self, cut: int) -> None:
        """Fit the head's standardisation to the training features of the untrained network."""
        layer = next((m for m in self.network.head.modules() if isinstance(m, Standardize)), None)
        if layer is not None and self.config.standardize:
            stored = self.bank.features("train", cut)
            layer.fit(head_features(self.network, cut, stored, self.precision, self.bank.normalization))

    def feed(self, phase: Phase) -> Feed:
        """A phase's training inputs; says what --cache, --augment and --recompute mean for it."""
        labels = self.bank.labels("train")
        batch = self.config.batch_for(len(labels))
        augmentations = parse_augmentations(self.config.augment)
        for cut in {place[1] for place in self.bank.memory} - {phase.cut}:
            self.bank.forget(cut)
        stored = self.bank.stores(phase.cut)
        if stored and augmentations and self.config.cache:
            self.reporter.say(
                f"phase {phase.name}: trains on the cached features of plain images; --augment takes effect "
                "where training starts from images"
            )
        elif stored and augmentations:
            self.reporter.say(f"phase {phase.name}: augments afresh and computes the frozen part in every epoch")
            stored = False
        elif phase.cut == 1:
            self.reporter.say(f"phase {phase.name}: the stem is run live; its output is too large to be worth keeping")
        elif self.config.cache and not phase.cut:
            self.reporter.say(f"phase {phase.name}: trains from images; there is nothing frozen to cache")
        if stored:
            return StoredFeed(self.bank.features("train", phase.cut), labels, batch, self.config.seed, phase.name)
        return ImageFeed(
            self.bank.pixels("train"),
            labels,
            batch,
            self.config.seed,
            phase.name,
            prefix=self.bank.prefix(phase.cut) if phase.cut else None,
            normalization=self.bank.normalization,
            augmentations=augmentations,
        )

    def score(self, network: Network, split: Any, cut: int, *, mirror: bool = False) -> torch.Tensor:
        """Scores of a split's images, on the CPU."""
        stored = self.bank.features(split, cut, mirror=mirror)
        return network_scores(network, cut, stored, self.precision, self.bank.normalization).cpu()

    def validate(self, network: Network, phase: Phase) -> Evaluation:
        labels = self.bank.labels("validation").cpu()
        return evaluate(self.score(network, "validation", phase.cut), labels)

    def test(self, cut: int) -> Evaluation:
        """The best model on the test images; with --tta on them and their mirror images."""
        scores = self.score(self.network, "test", cut)
        if self.config.tta:
            scores = (scores + self.score(self.network, "test", cut, mirror=True)) / 2
        return evaluate(scores, self.bank.labels("test").cpu())

    def penalty(self) -> dict[str, float]:
        """The L2 penalty of the best model's head, and the norm of its coefficients."""
        squares = sum(float(weight.detach().double().square().sum()) for weight in coefficients(self.network.head))
        return {"l2": self.config.l2, "penalty": self.config.l2 / 2 * squares, "norm": squares**0.5}

    def cache_facts(self) -> dict[str, Any]:
        used = self.bank.used
        if not used:
            return {"state": "off", "key": None, "bytes": 0, "seconds": self.bank.seconds, "entries": []}
        return {
            "state": "built" if any(entry.state == "built" for entry in used) else "hit",
            "key": used[0].key,
            "bytes": sum(entry.bytes for entry in used),
            "seconds": self.bank.seconds,
            "entries": [asdict(entry) for entry in used],
        }


def summarise(phase: Phase, history: list[EpochMetrics], images: int) -> PhaseResult:
    """One phase's part of the history."""
    lines = [line for line in history if line.phase == phase.name]
    seconds = sum(line.seconds for line in lines)
    validated = [(line.val_error, line.val_loss, line.epoch) for line in lines if line.val_error is not None]
    error, loss, epoch = min(validated)
    return PhaseResult(phase, len(lines), seconds, images * len(lines) / seconds, epoch, float(error), float(loss or 0))
