"""What a configuration means on this machine: data, weights, features, device; and how each phase is fed and judged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cache.store import Store
from cache.system import default_cache_dir
from cli726.errors import EnvironmentFailure
from cli726.finetune import parallel
from cli726.finetune.augment.table import parse_augmentations
from cli726.finetune.config import HEAD_ONLY, FinetuneConfig, Phase
from cli726.finetune.data.datasets import load_dataset, shared_dataset
from cli726.finetune.data.images import Dataset, SplitName
from cli726.finetune.features.bank import MIRROR, PLAIN, Bank, Variant
from cli726.finetune.features.extractor import resolve_precision, say_if_emulated
from cli726.finetune.features.feed import Feed, batch_sizes, from_images, from_stored, from_views
from cli726.finetune.network.heads import Standardize, build_head, build_own_head, coefficients, parse_head
from cli726.finetune.network.resnet import FEATURES, Network, channels_last
from cli726.finetune.network.weights import COURSE_NORMALIZATION, Weights, load_weights
from cli726.finetune.training.chance import generator
from cli726.finetune.training.evaluation import Evaluation, evaluate, head_features, network_scores
from cli726.finetune.training.exact_head import fit_exact
from cli726.finetune.training.loop import Best, EpochMetrics, Progress, train
from cli726.finetune.user_code import is_code
from cli726.reporting import Reporter

__all__ = ["Session", "Trial", "open_dataset", "open_session"]


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


class Memory:
    """A keeper that writes nothing: for heads that are only compared."""

    def keep_best(self, network: Network, best: Best) -> None:
        pass

    def keep_epoch(
        self, network: Network, optimizer: torch.optim.Optimizer | None, progress: Progress, metrics: EpochMetrics
    ) -> None:
        pass

    def restore(self, network: Network, optimizer: torch.optim.Optimizer | None) -> None:
        pass


def choose_device(name: str) -> torch.device:
    """`--device`: auto takes a GPU where there is one.

    Raises:
        EnvironmentFailure: if the named device is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    # torch raises a different type for each kind of device that isn't there.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EnvironmentFailure(
            f"--device {name} is not usable here ({str(error).splitlines()[0]}); try cpu"
        ) from None
    return device


def open_dataset(config: FinetuneConfig, reporter: Reporter) -> Dataset:
    """Return the data set that a configuration names."""
    return shared_dataset(
        lambda: load_dataset(
            config.dataset,
            data_folder=config.data_dir,
            test_fraction=config.test_fraction,
            val_fraction=config.val_fraction,
            strict=config.strict,
            workers=config.workers,
            reporter=reporter,
        )
    )


def open_session(config: FinetuneConfig, reporter: Reporter) -> Session:
    """Load everything that a run needs; nothing is computed yet.

    Of a group of processes the first one reads and downloads, and decides what depends on the machine.
    """
    began = time.perf_counter()
    if config.threads:
        torch.set_num_threads(config.threads)
    device = parallel.own_device(choose_device(config.device))
    precision = parallel.tell(lambda: resolve_precision(config.precision, device))
    say_if_emulated(precision, device, reporter)
    parse_augmentations(config.augment)
    parse_head(config.head)
    if parallel.world() > 1:
        reporter.say(f"{parallel.described()}, {torch.get_num_threads()} threads each")
    dataset = open_dataset(config, reporter)
    parallel.require_batch(config.batch_for(len(dataset.splits["train"])))
    weights = parallel.tell(lambda: load_weights(config.weights, seed=config.seed, reporter=reporter))
    if weights.trained_on == dataset.name:
        reporter.say(f"note: the {weights.name} weights were trained on {dataset.name} itself")
    store = None
    if config.cache:
        store = Store(Path(config.cache_dir).expanduser() if config.cache_dir else default_cache_dir())
    normalization = COURSE_NORMALIZATION if config.normalization == "course" else weights.normalization
    # The bank's copy of the network is never trained.
    bank = Bank(
        dataset, weights.build(), normalization, precision, device, reporter, store=store, recompute=config.recompute,
        views=config.views or 0,
    )  # fmt: skip
    session = Session(config, dataset, weights, bank, precision, device, reporter, began)
    session.new_head()  # what is wrong with a head of the user's own is said before anything is written
    return session


@dataclass
class Session:
    """A run's means; `finetuning` is its plot."""

    config: FinetuneConfig
    dataset: Dataset
    weights: Weights
    bank: Bank
    precision: torch.dtype
    device: torch.device
    reporter: Reporter
    began: float
    solved: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """What `config.json` says besides the options."""
        return {
            "dataset_digest": self.dataset.digest,
            "weights_digest": self.weights.digest,
            "versions": {"torch": torch.__version__},
            "precision": str(self.precision).removeprefix("torch."),
            "device": self.device.type,
            "processes": parallel.world(),
        }

    def model_facts(self) -> dict[str, Any]:
        """What `predict` must know."""
        levels = self.dataset.levels
        return {
            **({} if levels is None else {"levels": list(levels)}),
            "architecture": {"family": "CIFAR ResNet", "depth": self.weights.depth},
            "head": {
                "kind": self.config.head,
                "dropout": self.config.dropout,
                "batch_norm": self.config.batch_norm,
            },
            "classes": list(self.dataset.class_names),
            "dataset": self.dataset.name,
            "normalization": asdict(self.bank.normalization),
            "precision": str(self.precision).removeprefix("torch."),
            "weights_digest": self.weights.digest,
            "dataset_digest": self.dataset.digest,
        }

    def new_head(self) -> nn.Sequential:
        """The new layers, untrained."""
        config, classes = self.config, len(self.dataset.class_names)
        chance = generator(config.seed, "head")
        if is_code(config.head):
            return build_own_head(FEATURES, classes, chance, config.head)
        return build_head(
            FEATURES,
            classes,
            chance,
            hidden=parse_head(config.head),
            dropout=config.dropout,
            batch_norm=config.batch_norm,
            standardize=config.standardize,
        )

    def new_network(self, cut: int) -> Network:
        """The pre-trained network with a new head, its standardisation fitted to the training images.

        Args:
            cut: Where the first phase has its features.
        """
        head = self.new_head()
        network = parallel.share_statistics(channels_last(Network(self.weights.build(), head).to(self.device)))
        if self.config.standardize:
            layer = next(module for module in head.modules() if isinstance(module, Standardize))
            stored = self.bank.features("train", cut)
            layer.fit(head_features(network, cut, stored, self.precision, self.bank.normalization))
        return network

    def choose_l2(self, head_phase: Phase) -> tuple[float, tuple[Trial, ...]]:
        """Train a head for each --l2, if there are several, and choose the best by validation."""
        if len(self.config.l2) == 1:
            return self.config.l2[0], ()
        trials = []
        for l2 in self.config.l2:
            network = self.new_network(HEAD_ONLY)
            progress = self.train(network, (head_phase,), Memory(), l2, Progress())
            if progress.best is None:
                raise AssertionError("a phase's last epoch is always validated")
            trials.append(Trial(l2, progress.best, *penalty(network, l2)))
        # The sort is stable: among equals the one typed first.
        best = min(trials, key=lambda trial: (trial.best.val_error, trial.best.val_loss))
        self.reporter.say(f"L2: {best.l2:g} is the best of {len(trials)} by validation")
        return best.l2, tuple(trials)

    def train(
        self, network: Network, phases: tuple[Phase, ...], keeper: Any, l2: float, progress: Progress
    ) -> Progress:
        """The training loop, with this session's inputs."""
        exact = self.config.solver == "exact"
        return train(
            network,
            phases,
            self.config,
            make_feed=self.feed,
            validate=self.validate,
            keeper=keeper,
            precision=self.precision,
            l2=l2,
            solve=(lambda trained, phase: self.solve(trained, phase, l2)) if exact else None,
            progress=progress,
            reporter=self.reporter,
        )

    def feed(self, phase: Phase) -> Feed:
        """A phase's training inputs; says what --cache, --augment and --views mean for it."""
        config, bank, cut = self.config, self.bank, phase.cut
        labels = bank.labels("train")
        sizes = batch_sizes(len(labels), config.batch_for(len(labels)), even=config.even_batches)
        purpose = (config.seed, phase.name)
        augmentations = parse_augmentations(config.augment)
        bank.forget_all_but(cut)
        say = self.reporter.say
        stored = bank.stores(cut)
        if stored and config.views is not None:
            variants = [Variant("view", number, config.augment, config.seed) for number in range(config.views)]
            say(f"phase {phase.name}: {config.views} augmented views of each image, one drawn in each epoch")
            views = [bank.features("train", cut, variant) for variant in variants]
            return Feed(labels, sizes, purpose, from_views(views))
        if stored and augmentations and config.cache:
            say(
                f"phase {phase.name}: trains on the cached features of plain images; --augment takes effect where "
                "training starts from images, or with --views"
            )
        elif stored and augmentations:
            say(f"phase {phase.name}: augments afresh and computes the frozen part in every epoch")
            stored = False
        elif cut == 1:
            say(f"phase {phase.name}: the stem is run live; its output is too large to be worth keeping")
        elif cut == 0 and config.cache:
            say(f"phase {phase.name}: trains from images; there is nothing frozen to cache")
        elif cut > 1 and not stored and not config.recompute:
            say(f"phase {phase.name}: features exceed a quarter of memory and are computed in every epoch; try --cache")
        if stored:
            return Feed(labels, sizes, purpose, from_stored(bank.features("train", cut)))
        prefix = bank.prefix(cut) if cut else None
        images = from_images(bank.pixels("train"), bank.normalization, prefix, augmentations)
        return Feed(labels, sizes, purpose, images)

    def score(self, network: Network, split: SplitName, cut: int, variant: Variant = PLAIN) -> Tensor:
        """Scores of a split's images, on the CPU."""
        stored = self.bank.features(split, cut, variant)
        return network_scores(network, cut, stored, self.precision, self.bank.normalization).cpu()

    def validate(self, network: Network, phase: Phase) -> Evaluation:
        """The network on the validation images, from the phase's cut on."""
        scores = self.score(network, "validation", phase.cut)
        # What is decided by it must be decided alike, on machines that round differently too.
        return parallel.tell(lambda: evaluate(scores, self.bank.labels("validation").cpu()))

    def solve(self, network: Network, phase: Phase, l2: float) -> EpochMetrics:
        """Take the linear head to its optimum on the training features; stands for the phase's last epoch."""
        began = time.perf_counter()
        if parse_augmentations(self.config.augment):
            self.reporter.say(
                f"phase {phase.name}: the exact solver takes the features of plain images; --augment takes effect in "
                "phases that train by epochs"
            )
        labels = self.bank.labels("train").cpu()
        features = self.bank.features("train", phase.cut)
        standardize, linear = network.head.children()
        if not isinstance(linear, nn.Linear):
            raise AssertionError("the configuration admits only a linear head here")
        with torch.no_grad():
            inputs, classes = standardize(features).cpu(), len(self.dataset.class_names)
            fit = parallel.tell(lambda: fit_exact(inputs, labels, classes, l2))
            linear.weight.copy_(fit.weights)
            linear.bias.copy_(fit.bias)
        seconds = time.perf_counter() - began
        if fit.separable and l2 == 0:
            self.reporter.say("exact head: the training features are separable; with --l2 0 there is no optimum")
        reached = "" if fit.converged else ", not at the optimum"
        self.reporter.say(
            f"exact head: objective {fit.objective:.8f}, gradient norm {fit.gradient_norm:.1e} after "
            f"{fit.iterations} iterations{reached}, {seconds:.1f} s"
        )
        self.solved = {
            "objective": fit.objective,
            "gradient_norm": fit.gradient_norm,
            "iterations": fit.iterations,
            "converged": fit.converged,
            "separable": fit.separable,
        }
        scores = network_scores(network, phase.cut, features, self.precision, self.bank.normalization).cpu()
        trained, judged = evaluate(scores, labels), self.validate(network, phase)
        return EpochMetrics(
            phase.name,
            phase.last,
            trained.loss,
            trained.accuracy,
            judged.loss,
            judged.error,
            0.0,
            len(labels) / seconds,
            seconds,
        )

    def test_scores(self, network: Network, cut: int) -> Tensor:
        """Scores of the test images; with --tta averaged with those of their mirror images."""
        scores = self.score(network, "test", cut)
        if self.config.tta:
            scores = (scores + self.score(network, "test", cut, MIRROR)) / 2
        return scores

    def cache_facts(self) -> Mapping[str, Any]:
        """CLI.md's `cache`."""
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


def penalty(network: Network, l2: float) -> tuple[float, float]:
    """(l2/2 sum w^2, sqrt(sum w^2)) over the head's coefficients."""
    squares = sum(float(weight.detach().double().square().sum()) for weight in coefficients(network.head))
    return l2 / 2 * squares, squares**0.5
