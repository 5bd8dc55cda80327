"""Problem 6 from end to end: a run is set up, trained, tested once, and saved."""

from __future__ import annotations

import copy
import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from cache.store import Store
from cache.system import default_cache_dir
from cli726 import launch
from cli726.finetune import parallel
from cli726.finetune.chance import generator
from cli726.finetune.compare import FILE as PREDICTIONS
from cli726.finetune.compare import predictions_csv
from cli726.finetune.config import FinetuneConfig, Phase, plan_phases
from cli726.finetune.data.datasets import open_dataset
from cli726.finetune.data.images import SplitName, duplicates_across, lists_of
from cli726.finetune.data.twins import SIDE, find_twins
from cli726.finetune.features.bank import MIRROR, PLAIN, Bank, Variant
from cli726.finetune.features.feed import Feed, feed_for
from cli726.finetune.folder import RunFolder
from cli726.finetune.network.heads import Standardize, build_head, build_own_head, parse_head, penalty
from cli726.finetune.network.resnet import Network, channels_last, width_of
from cli726.finetune.network.weights import COURSE_NORMALIZATION, Weights, load_weights
from cli726.finetune.result import Finetuned, Trial, summarise
from cli726.finetune.training import PROBE, Best, EpochMetrics, Progress, Trainer
from cli726.finetune.training.evaluation import Evaluation, evaluate, head_features, network_scores
from cli726.finetune.training.exact_head import solve_head
from cli726.finetune.training.folds import SHARES, CrossValidation, Fold, cross_validate, draw_folds, learning_curve
from cli726.finetune.trust import calibrate_folds, judge, measure_trust
from cli726.finetune.user_code import is_code
from cli726.reporting import Reporter
from cli726.text import typed_path

# The penalty of the linear head that large networks are measured against: that of the advice for few photographs.
PROBE_L2 = 0.1


def write_artifacts(result: Finetuned, reporter: Reporter) -> Sequence[Path]:
    """Draw a run's figures and its gallery; matplotlib, half a second, is imported when all has been trained."""
    drawing = importlib.import_module("cli726.finetune.output.figures")
    written: Sequence[Path] = drawing.write_artifacts(result, reporter)
    return written


class Run(Trainer):
    """A fine-tuning run.

    Attributes:
        bank: The data set and its features, normalisation and device; its copy of the network is never trained.
        folder: Where it is written down; None for a head that is only compared.
        solved: How near --solver exact came to the optimum.
        crossed: What --folds found.
    """

    config: FinetuneConfig
    bank: Bank
    weights: Weights
    phases: tuple[Phase, ...]
    began: float
    folder: RunFolder | None = None
    trials: tuple[Trial, ...] = ()
    solved: Mapping[str, Any] | None = None
    crossed: CrossValidation | None = None

    @classmethod
    def setup(cls, config: FinetuneConfig, reporter: Reporter) -> Run:
        """Load everything that a run needs; nothing is computed or written yet.

        Of several processes the first one reads and downloads, and decides what depends on the machine.
        """
        run = cls(config, reporter)
        run.began, run.balance = time.perf_counter(), config.balance
        parse_head(config.head)
        if config.folds is not None:
            launch.require_one("--folds")
        parallel.announce(reporter)
        load = partial(load_weights, config.weights, seed=config.seed, reporter=reporter)
        # Weights that were named tell the backbone; else the backbone, which may depend on the images, the weights.
        named = None if config.weights == "auto" else parallel.tell(partial(load, config.kind))
        dataset = open_dataset(config, reporter, named.kind if named else None)
        parallel.require_batch(config.batch_for(len(dataset.splits["train"])))
        run.weights = named or parallel.tell(partial(load, dataset.treated.kind))
        run.phases = plan_phases(config, run.weights.kind, len(dataset.splits["train"]), run.weights.pretrained)
        if run.weights.trained_on == dataset.name:
            reporter.say(f"note: the {run.weights.name} weights were trained on {dataset.name} itself")
        place = typed_path(config.cache_dir) if config.cache_dir else default_cache_dir()
        run.bank = Bank(
            dataset, run.weights.build(), COURSE_NORMALIZATION if config.normalization == "course" else
            run.weights.normalization, run.precision, run.device, reporter, kind=run.weights.kind,
            store=Store(place) if config.cache else None, recompute=config.recompute, views=config.views or 0,
        )  # fmt: skip
        run.new_head()  # says what is wrong with one of the user's own before anything is written
        return run

    def digests(self) -> dict[str, Any]:
        """Return what the run is made of, how its images are treated, and in which precision."""
        return {
            "image_size": self.bank.dataset.treated.size,
            "fit": self.bank.dataset.treated.fit,
            "dataset_digest": self.bank.dataset.digest,
            "weights_digest": self.weights.digest,
            "precision": str(self.precision).removeprefix("torch."),
        }

    def facts(self) -> dict[str, Any]:
        """Return what `config.json` says besides the options: every default and auto resolved, and versions."""
        config, data = self.config, self.bank.dataset
        batch, images = config.batch_for(len(data.splits["train"])), sum(map(len, data.splits.values()))
        phases = []
        for phase in self.phases:
            head, backbone = config.rates_for(phase, batch)
            stated = {"lr": head, "backbone_lr": backbone, "label_smoothing": config.smoothing_for(phase)}
            phases.append({"name": phase.name, "epochs": [phase.first, phase.last], **stated})
        return {
            **self.digests(),
            "version": version("cmpt726"),
            "versions": {"torch": torch.__version__},
            "device": self.device.type,
            "processes": parallel.world(),
            "resolved": {
                "dataset": data.name,
                "backbone": self.weights.kind.name,
                "batch_size": batch,
                "test_fraction": len(data.splits["test"]) / images,
                "val_fraction": len(data.splits["validation"]) / images,
                "threads": torch.get_num_threads(),
                "normalization": asdict(self.bank.normalization),
                "phases": phases,
            },
        }

    def model_facts(self) -> dict[str, Any]:
        """Return what `predict` must know."""
        config, data = self.config, self.bank.dataset
        return {
            **self.digests(),
            **({} if data.levels is None else {"levels": list(data.levels)}),
            "architecture": self.weights.kind.architecture,
            "head": {"kind": config.head, "dropout": config.dropout, "batch_norm": config.batch_norm},
            "classes": list(data.class_names),
            "dataset": data.name,
            "normalization": asdict(self.bank.normalization),
            "tta": config.tta,
        }

    def new_head(self) -> nn.Sequential:
        """Return the new layers, untrained."""
        config, classes, width = self.config, len(self.bank.dataset.class_names), width_of(self.bank.backbone)
        chance = generator(config.seed, "head")
        if is_code(config.head):
            return build_own_head(width, classes, chance, config.head)
        return build_head(
            width, classes, chance, hidden=parse_head(config.head), dropout=config.dropout,
            batch_norm=config.batch_norm, standardize=config.standardize,
        )  # fmt: skip

    def new_network(self) -> Network:
        """Return the pre-trained network with a new head, its standardisation fitted to the training images."""
        head, cut = self.new_head(), self.phases[0].cut
        network = parallel.share_statistics(channels_last(Network(self.weights.build(), head).to(self.device)))
        if self.config.standardize:
            layer = next(module for module in head.modules() if isinstance(module, Standardize))
            stored = self.bank.features("train", cut)
            layer.fit(head_features(network, cut, stored, self.precision, self.bank.normalization))
        return network

    def train(self) -> None:
        """Choose a penalty, and run the phases from where the folder's checkpoint says."""
        if self.folder is not None:
            self.folder.model = self.model_facts()
            self.folder.write_lists(parallel.tell(lambda: lists_of(self.bank.dataset)))
            self.progress = self.folder.read_progress(self.phases)
        if self.config.folds is not None:
            self.crossed = self.cross_validate(self.config.folds)
            self.l2 = self.crossed.best_l2
        else:
            self.l2 = self.config.l2[0] if len(self.config.l2) == 1 else self.choose_l2()
        fresh = self.folder is not None and self.progress == Progress() and self.crossed is None
        if fresh and self.weights.kind.depth is None and self.config.solver != "exact":
            self.probe()
        self.network = self.new_network()
        self.run_phases(self.phases)

    def linear_head(self) -> nn.Sequential:
        """Return the probe's head, untrained."""
        width, classes = width_of(self.bank.backbone), len(self.bank.dataset.class_names)
        return build_head(width, classes, generator(self.config.seed, "probe")).to(self.device)

    def probe(self) -> None:
        """Say how far a linear head on the frozen features comes, the first candidate for the best model.

        With few images training more of a large network may gain nothing: no run ends below it on validation images.
        """
        began, folder, cut = time.perf_counter(), cast(RunFolder, self.folder), len(self.phases[0].stages)
        head = self.linear_head()
        self.network = Network(self.weights.build().to(self.device), head)
        features, labels = self.bank.features("train", cut)[:], self.bank.labels("train").cpu()
        cast(Standardize, head[0]).fit(features)
        parallel.tell(lambda: solve_head(self.network.head, features, labels, PROBE_L2, balance=self.balance))
        parallel.follow_first(self.network)
        scores = self.score("validation", cut)
        found = parallel.tell(lambda: evaluate(scores, self.bank.labels("validation").cpu()))
        balanced = found.balanced_error if self.balance else None
        facts = folder.model
        folder.model = {**facts, "head": {"kind": "linear", "dropout": 0.0, "batch_norm": False}}
        seconds = parallel.tell(lambda: time.perf_counter() - began)
        probed = {"val_accuracy": found.accuracy, "seconds": seconds}
        best = Best(PROBE, 0, found.error, found.loss, balanced)
        self.progress = Progress(best=best, probe=probed)
        folder.keep_best(self.network, self.best)
        folder.model = facts
        self.reporter.say(f"probe: {found.correct} of {found.images} validation images right after {seconds:.0f} s")

    def cross_validate(self, count: int) -> CrossValidation:
        """Score every training image by a head that was fitted without it and its copies."""
        config, data, cut = self.config, self.bank.dataset, self.phases[0].cut
        features, labels = self.bank.features("train", cut)[:], self.bank.labels("train")
        tried, digests = len(config.l2), data.image_digests("train")
        heads = count if tried == 1 else count * (count + 1) // 2 * tried
        if config.learning_curve:
            heads += (len(SHARES) - 1) * count
            digests = digests[find_twins(features.cpu(), data.thumbnails("train", SIDE).pixels, digests).groups()]
        folds = draw_folds(data.labels("train"), digests, data.class_names, count, config.seed)
        self.reporter.start("cross-validation", heads)
        backbone = copy.deepcopy(self.bank.backbone)  # no fold trains or runs it: all may have the same one

        def fit(features: Tensor, labels: Tensor, l2: float, purpose: str) -> nn.Module:
            network = Network(backbone, self.new_head().to(self.device))
            Fold(config, network, features, labels, l2, purpose).run_phases(self.phases)
            self.reporter.advance(1)
            return network.head.eval()

        crossed = cross_validate(features, labels, folds, config.l2, fit, balance=self.balance)
        if config.learning_curve:
            crossed = replace(crossed, curve=learning_curve(features, labels, crossed, fit, config.seed))
        self.reporter.finish(f"{count} folds: {crossed.result.text}")
        cast(RunFolder, self.folder).write_lists({"folds.csv": crossed.to_csv(data.images("train"), data.class_names)})
        return crossed

    def choose_l2(self) -> float:
        """Train a head for each --l2, and return the best by validation."""
        trials = []
        for l2 in self.config.l2:
            trial = copy.copy(self)
            trial.folder, trial.progress, trial.l2, trial.network = None, Progress(), l2, self.new_network()
            trial.run_phases(self.phases[:1])
            trials.append(Trial(l2, trial.best, *penalty(trial.network.head, l2)))
        best = min(trials, key=lambda trial: trial.best.rank)
        self.reporter.say(f"L2: {best.l2:g} is the best of {len(trials)} by validation")
        self.trials = tuple(trials)
        return best.l2

    def feed(self, phase: Phase) -> Feed:
        """Return a phase's training inputs; say what --cache, --augment and --views mean for it."""
        return feed_for(self.bank, phase, self.config, self.augmentations)

    def score(self, split: SplitName, cut: int, variant: Variant = PLAIN) -> Tensor:
        """Return scores of a split's images, on the CPU."""
        stored = self.bank.features(split, cut, variant)
        return network_scores(self.network, cut, stored, self.precision, self.bank.normalization).cpu()

    def validate(self, phase: Phase) -> Evaluation | None:
        """Return how good the network is on the validation images; with --folds, how good heads like this one are."""
        if self.crossed is not None:  # of the last epoch, which is what each fold's head was fitted by
            last = self.config.solver == "exact" or self.progress.epoch + 1 == phase.last
            return self.crossed.result if last else None
        scores = self.score("validation", phase.cut)
        # Decided alike on machines that round differently.
        return parallel.tell(lambda: evaluate(scores, self.bank.labels("validation").cpu()))

    def solve(self, phase: Phase) -> EpochMetrics | None:
        """Take the linear head of a head phase to its optimum on the training features, if that was asked for."""
        if self.config.solver != "exact" or not phase.head_only:
            return None
        began = time.perf_counter()
        if self.augmentations:
            text = "takes the features of plain images; --augment takes effect in phases that train by epochs"
            self.reporter.say(f"phase {phase.name}: the exact solver {text}")
        labels = self.bank.labels("train").cpu()
        features = self.bank.features("train", phase.cut)
        fit = parallel.tell(lambda: solve_head(self.network.head, features[:], labels, self.l2, balance=self.balance))
        parallel.follow_first(self.network)
        seconds = time.perf_counter() - began
        if fit.separable and self.l2 == 0:
            self.reporter.say("exact head: the training features are separable; with --l2 0 there is no optimum")
        self.reporter.say(
            f"exact head: objective {fit.objective:.8f}, gradient norm {fit.gradient_norm:.1e} after {fit.iterations} "
            f"iterations{'' if fit.converged else ', not at the optimum'}, {seconds:.1f} s"
        )
        self.solved = fit.to_json()
        trained = evaluate(self.score("train", phase.cut), labels)
        judged = cast(Evaluation, self.validate(phase))
        return EpochMetrics(
            phase.name, phase.last, trained.loss, trained.accuracy, judged.loss, judged.error, 0.0,
            len(labels) / seconds, seconds, judged.balanced_error if self.balance else None,
        )  # fmt: skip

    def keep(self, metrics: EpochMetrics) -> None:
        """Write an epoch down, and the network where it is the best so far."""
        if self.folder is None:
            return
        best = self.progress.best
        is_best = best is not None and best.epoch == metrics.epoch
        if is_best:
            self.folder.keep_best(self.network, self.best)
        self.folder.keep_epoch(self.network, self.optimizer, self.progress, metrics)
        kind = "validation" if self.crossed is None else "cross-validation"
        validated = "" if metrics.judged is None else f", {kind} accuracy {metrics.judged.accuracy}"
        self.reporter.say(
            f"epoch {metrics.epoch:>3} {metrics.phase:<7} loss {metrics.train_loss:.4f}{validated}, "
            f"{metrics.images_per_second:,.0f} images/s{' (best so far)' if is_best else ''}"
        )

    def restore(self) -> None:
        """Load what was kept last."""
        if self.folder is not None:
            self.folder.restore(self.network, self.optimizer)

    def test(self) -> Finetuned:
        """Score the best model on the test images, which nothing has seen before."""
        folder, best, data = cast(RunFolder, self.folder), self.best, self.bank.dataset
        if best.phase == PROBE:
            self.network.head, self.l2 = self.linear_head(), PROBE_L2
        folder.load_best(self.network)
        # The phase decides from which features the best model is scored: those that it was validated on.
        cuts = {phase.name: phase.cut for phase in self.phases}
        cut = cuts.get(best.phase, len(self.phases[0].stages))
        calibrated = self.crossed and calibrate_folds(self.crossed, self.bank.labels("train").cpu())
        trust = measure_trust(self.bank, self.network, cut, self.crossed, calibrated, tta=self.config.tta)
        labels, images = self.bank.labels("test").cpu(), len(data.splits["train"])
        folder.keep_trust(trust)
        plain = scores = None
        if len(data.splits["test"]):
            plain = scores = self.score("test", cut).double()
            if self.config.tta:
                scores = (plain + self.score("test", cut, MIRROR)) / 2
            before = evaluate(scores, labels)
            plain, scores = plain / trust.temperature, scores / trust.temperature
            answered = trust.answered(*judge(scores, labels))
        else:
            crossed = cast(CrossValidation, self.crossed)
            before, answered = crossed.result, trust.answered_by_folds(torch.from_numpy(crossed.folds))
        (cost, norm), history = penalty(self.network.head, self.l2), folder.history
        return Finetuned(
            config=self.config,
            dataset=data,
            duplicates=parallel.tell(lambda: duplicates_across(data)),
            weights=self.weights,
            cache=self.bank.facts(),
            phases=tuple(summarise(phase, history, images) for phase in self.phases),
            history=tuple(history),
            trials=self.trials,
            best=best,
            test=None if scores is None else evaluate(scores, labels),
            test_scores=scores,
            test_plain=None if plain is None or not self.config.tta else evaluate(plain, labels),
            crossed=self.crossed,
            probe=self.progress.probe,
            calibrated=calibrated,
            trust=trust,
            before=before,
            answered=answered,
            l2={"l2": self.l2, "penalty": cost, "norm": norm},
            seconds=time.perf_counter() - self.began,
            run_dir=folder.path,
            solver=self.solved,
        )

    def save(self, result: Finetuned) -> Finetuned:
        """Draw figures and gallery, and write the summary, which says that the run is finished."""
        folder = cast(RunFolder, self.folder)
        if parallel.first():
            result = replace(result, figures=tuple(write_artifacts(result, self.reporter)))
            folder.write_lists({PREDICTIONS: predictions_csv(result)})
        folder.write_summary(result.to_json())
        return result
