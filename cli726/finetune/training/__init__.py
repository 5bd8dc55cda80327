"""The one training loop: it runs every phase, whatever is frozen, cached or augmented."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cli726.errors import ComputationError
from cli726.finetune import parallel
from cli726.finetune.augment.table import parse_augmentations
from cli726.finetune.chance import drawing_from
from cli726.finetune.config import Phase, TrainingConfig
from cli726.finetune.features.extractor import resolve_precision, say_if_emulated
from cli726.finetune.features.feed import Feed
from cli726.finetune.network.resnet import Network, divide
from cli726.finetune.training.evaluation import Evaluation
from cli726.finetune.training.exact_head import class_weights
from cli726.finetune.training.optimizer import make_optimizer, rate_factor
from cli726.reporting import Reporter

__all__ = ["Best", "EpochMetrics", "Progress", "Trainer"]

# BatchNorm's running averages (momentum 0.1) need so many steps to forget where they started.
SETTLING_STEPS = 200
STATISTICS_IMAGES = 2048
# The "phase" of the best model where that is the linear head on the frozen features; its epoch is 0.
PROBE = "probe"


@dataclass(frozen=True)
class EpochMetrics:
    """One line of `metrics.jsonl`."""

    phase: str
    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_error: float | None
    lr: float
    images_per_second: float
    seconds: float
    val_balanced_error: float | None = None  # with --balance

    @property
    def judged(self) -> Best | None:
        """Return the epoch as a candidate for the best model; None where it wasn't validated."""
        if self.val_error is None or self.val_loss is None:
            return None
        return Best(self.phase, self.epoch, self.val_error, self.val_loss, self.val_balanced_error)

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if (name, value) != ("val_balanced_error", None)}


@dataclass(frozen=True)
class Best:
    """The best model so far: of the lowest rank, then the earliest."""

    phase: str
    epoch: int
    val_error: float
    val_loss: float
    val_balanced_error: float | None = None  # with --balance

    @property
    def rank(self) -> tuple[float, float]:
        """Return what decides: the validation error, with --balance the balanced one; then the validation loss."""
        return self.val_error if self.val_balanced_error is None else self.val_balanced_error, self.val_loss

    @property
    def accuracy(self) -> str:
        """Return the validation accuracy in words, with the balanced one where that decides."""
        balanced = "" if self.val_balanced_error is None else f" (balanced {1 - self.val_balanced_error:.2%})"
        return f"{1 - self.val_error:.2%}{balanced}"


@dataclass(frozen=True)
class Progress:
    """The point where a run stands at the end of an epoch: all that resuming needs besides the tensors.

    Attributes:
        epoch: Epochs done, over all phases.
        waited: Validations of this phase since its best.
        phase_best: This phase's lowest rank.
        ended: The phase was ended by --patience; the next one begins at its own first epoch.
        probe: CLI.md's `probe`, of runs that begin with one.
    """

    epoch: int = 0
    best: Best | None = None
    waited: int = 0
    phase_best: tuple[float, float] | None = None
    ended: bool = False
    probe: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Progress:
        """Return what `to_json` was called on; KeyError, TypeError or ValueError for anything else."""
        best, phase_best, probe = stored["best"], stored["phase_best"], stored.get("probe")
        if best:
            balanced = best.get("val_balanced_error")
            errors = float(best["val_error"]), float(best["val_loss"]), None if balanced is None else float(balanced)
            best = Best(str(best["phase"]), int(best["epoch"]), *errors)
        return cls(
            int(stored["epoch"]),
            best,
            int(stored["waited"]),
            phase_best and (float(phase_best[0]), float(phase_best[1])),
            bool(stored["ended"]),
            probe and {name: float(probe[name]) for name in ("val_accuracy", "seconds")},
        )


@contextmanager
def only_suffix_trains(network: Network, cut: int, *, gentle: bool = False) -> Iterator[nn.Sequential]:
    """Freeze the prefix, statistics and all, and turn training on for the rest; if `gentle`, not for statistics."""
    prefix, suffix = divide(network.backbone, cut)
    network.train()
    prefix.eval()
    for module in suffix.modules() if gentle else ():
        if isinstance(module, _BatchNorm):
            module.eval()
    network.requires_grad_(True)
    prefix.requires_grad_(False)
    try:
        yield suffix
    finally:
        network.eval()


class Trained(nn.Module):
    """What a phase trains: the stages behind the cut and the head, as one module."""

    def __init__(self, suffix: nn.Module, head: nn.Module, precision: torch.dtype | None) -> None:
        """Share the modules given; `precision` for mixed precision in the stages."""
        super().__init__()
        self.suffix, self.head, self.precision = suffix, head, precision

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, self.precision, enabled=self.precision is not None):
            features = self.suffix(inputs)
        scores: Tensor = self.head(features if self.precision is None else features.float())
        return scores


@torch.no_grad()
def settle_statistics(suffix: nn.Module, feed: Feed, forward: Callable[[Tensor], Tensor]) -> None:
    """Estimate BatchNorm's averages anew, over training images, as plain means over even batches."""
    # With torchrun on GPUs they are SyncBatchNorm, which is no BatchNorm2d.
    norms = [module for module in suffix.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way of saying: cumulative average
    for inputs in feed.plain(STATISTICS_IMAGES):
        if len(inputs) > 1:
            forward(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class Trainer:
    """A network, a recipe, and where its training stands; `run_phases` goes on from there.

    What is fed, validated and kept is for others to say: they override `feed`, `validate`, `solve`,
    `loss`, `keep`, `restore`.

    Attributes:
        network: Trained in place; at the end it holds the last epoch's weights.
        device, precision: bfloat16 for mixed precision in the unfrozen stages.
        augmentations: What --augment says.
        l2: Penalty on the head's coefficients.
        balance: Every class counts alike, whatever number of training images it has.
        optimizer: That of the phase; None where a solver takes its place.
    """

    network: Network
    optimizer: torch.optim.Optimizer | None = None
    l2: float = 0.0
    balance: bool = False

    def __init__(self, config: TrainingConfig, reporter: Reporter) -> None:
        """Choose the device and what is computed on it.

        Raises:
            EnvironmentFailure, RequestError: if there is no such device, or no such augmentation.
        """
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config, self.reporter, self.progress = config, reporter, Progress()
        self.device = parallel.own_device(config.device)
        self.precision = parallel.tell(lambda: resolve_precision(config.precision, self.device))
        say_if_emulated(self.precision, self.device, reporter)
        self.augmentations = parse_augmentations(config.augment)

    @property
    def best(self) -> Best:
        """Return the best model so far; there is one once a phase is over, as its last epoch is always validated."""
        if self.progress.best is None:
            raise AssertionError("nothing has been validated")
        return self.progress.best

    def feed(self, phase: Phase) -> Feed:
        """Return a phase's inputs; called once a phase, before it starts."""
        raise NotImplementedError

    def validate(self, phase: Phase) -> Evaluation | None:  # noqa: ARG002 - for others to look at
        """Return how good the network is on validation images; None where there are none."""
        return None

    def solve(self, phase: Phase) -> EpochMetrics | None:  # noqa: ARG002
        """Take the place of a phase's epochs: set the head, and return how good it is; None to train by epochs."""
        return None

    def loss(
        self,
        inputs: Tensor,  # noqa: ARG002
        scores: Tensor,
        labels: Tensor,
        smoothing: float,
        weights: Tensor | None,
    ) -> Tensor:
        """Return what a step descends, from the trained suffix's inputs and its scores."""
        return cross_entropy(scores, labels, smoothing, weights)

    def keep(self, metrics: EpochMetrics) -> None:
        """Write down an epoch, and the network where it is the best so far."""

    def restore(self) -> None:
        """Load what was kept last into the network, and into the optimiser where the same phase goes on."""

    def run_phases(self, phases: Sequence[Phase]) -> None:
        """Run the phases that `progress` says aren't over.

        Raises:
            ComputationError: when the loss stops being a number.
        """
        resumed = self.progress.epoch > 0
        for phase in phases:
            progress = self.progress
            if progress.epoch >= phase.last or (progress.ended and progress.epoch >= phase.first):
                continue
            begun = progress.epoch >= phase.first
            if progress.epoch < phase.first:
                self.progress = Progress(phase.first - 1, progress.best, probe=progress.probe)
            self.optimizer = None
            solved = self.solve(phase)
            if solved is not None:
                self.record(phase, solved)
                continue
            feed = self.feed(phase)
            batch = self.config.batch_for(len(feed.labels))
            optimizer = make_optimizer(self.network, phase, self.config, batch, self.l2)
            if resumed:
                self.optimizer = optimizer if begun else None
                self.restore()
                resumed = False
            self.optimizer = optimizer
            self.reporter.start(f"training {phase.label}", (phase.last - self.progress.epoch) * len(feed.sizes))
            self.run_phase(phase, feed, optimizer)

    def run_phase(self, phase: Phase, feed: Feed, optimizer: torch.optim.Optimizer) -> None:
        """Run one phase, from the epoch after `progress.epoch` to its last, or until patience runs out."""
        # The head alone is a small float32 matrix product; there is nothing to gain from mixing precisions.
        mixed = self.precision != torch.float32 and not phase.head_only
        with only_suffix_trains(self.network, phase.cut) as suffix:
            trained = Trained(suffix, self.network.head, self.precision if mixed else None)
            forward = parallel.share_gradients(trained, partly_used=bool(self.config.code))
        for epoch in range(self.progress.epoch + 1, phase.last + 1):
            metrics = self.train_epoch(phase, epoch, feed, forward, optimizer)
            done = epoch - phase.first + 1
            if epoch == phase.last or done % self.config.validate_every == 0:
                if not (phase.head_only or phase.gentle) and done * len(feed.sizes) < SETTLING_STEPS:
                    with only_suffix_trains(self.network, phase.cut):
                        settle_statistics(suffix, feed, trained)
                    parallel.follow_first(self.network)
                result = self.validate(phase)
                if result is not None:
                    require_finite(result.loss, epoch, phase, optimizer)
                    balanced = result.balanced_error if self.balance else None
                    metrics = replace(
                        metrics, val_loss=result.loss, val_error=result.error, val_balanced_error=balanced
                    )
            self.record(phase, metrics)
            self.reporter.note(standing(metrics, phase, self.progress.best))
            if self.progress.ended:
                break
        self.reporter.finish(f"phase {phase.name}: epochs {phase.first} to {self.progress.epoch}")

    def train_epoch(
        self, phase: Phase, epoch: int, feed: Feed, forward: nn.Module, optimizer: torch.optim.Optimizer
    ) -> EpochMetrics:
        """Take one epoch's steps, and return what is measured in it."""
        began = time.perf_counter()
        config, images, steps = self.config, len(feed.labels), len(feed.sizes)
        smoothing, taken = config.smoothing_for(phase), (epoch - phase.first) * steps
        weights = class_weights(feed.labels).float().to(self.device) if self.balance else None
        losses, hits = [], []
        purpose = (config.seed, phase.name, epoch, *parallel.own_purpose())
        trains = only_suffix_trains(self.network, phase.cut, gentle=phase.gentle)
        with trains, drawing_from(self.device, *purpose):
            for step, (inputs, labels) in enumerate(feed.batches(epoch)):
                counted, weight = parallel.part_of(feed.sizes[step])
                factor = rate_factor(config, phase, taken + step, steps * phase.epochs)
                for options in optimizer.param_groups:
                    options["lr"] = options["peak"] * factor
                scores = forward(inputs)
                loss = self.loss(inputs, scores, labels, smoothing, weights)
                optimizer.zero_grad()
                (loss * weight).backward()
                optimizer.step()
                losses.append(loss.detach() * counted)
                hits.append((scores.detach().argmax(1) == labels)[:counted].sum())
                self.reporter.advance(1)
        # Summed in float64, which not every device has.
        total, correct = torch.stack(losses).cpu().double().sum(), torch.stack(hits).cpu().sum()
        parallel.sum_all(total, correct)
        parallel.follow_first(self.network)
        seconds = time.perf_counter() - began
        mean, accuracy, rate = total.item() / images, correct.item() / images, optimizer.param_groups[0]["lr"]
        require_finite(mean, epoch, phase, optimizer)
        return EpochMetrics(phase.name, epoch, mean, accuracy, None, None, rate, images / seconds, seconds)

    def record(self, phase: Phase, metrics: EpochMetrics) -> None:
        """Judge an epoch and have it written down."""
        self.progress = judge(self.progress, metrics, phase, self.config)
        self.keep(metrics)


def cross_entropy(scores: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the mean over a batch; with weights (K,) each image counts as its class's, over an epoch 1 in the mean."""
    if weights is None:
        return nn.functional.cross_entropy(scores, labels, label_smoothing=smoothing)
    each = nn.functional.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="none")
    return (weights[labels] * each).mean()


def standing(metrics: EpochMetrics, phase: Phase, best: Best | None) -> str:
    """Return the epoch, its validation accuracy and the best so far, for a bar of progress."""
    text = f"epoch {metrics.epoch} of {phase.last}"
    if metrics.judged is not None:
        text += f", accuracy {metrics.judged.accuracy}"
    return text + (f", best {best.accuracy}" if best is not None else "")


def require_finite(loss: float, epoch: int, phase: Phase, optimizer: torch.optim.Optimizer) -> None:
    """Raise where the loss, in training or after an epoch's last step on validation, has stopped being a number."""
    if not math.isfinite(loss):
        group = optimizer.param_groups[0]
        raise ComputationError(
            f"training diverged in epoch {epoch} (phase {phase.name}): loss {loss} at rate {group['lr']:.3g}; "
            f"try --lr {group['peak'] / 10:.2g}"
        )


def judge(progress: Progress, metrics: EpochMetrics, phase: Phase, config: TrainingConfig) -> Progress:
    """Return the progress after an epoch: is this the best model, and is patience at its end?"""
    epoch, best, judged = metrics.epoch, progress.best, metrics.judged
    if judged is None:
        return replace(progress, epoch=epoch, ended=False)
    if best is None or judged.rank < best.rank:
        best = judged
    if progress.phase_best is None or judged.rank < progress.phase_best:
        return replace(progress, epoch=epoch, best=best, waited=0, phase_best=judged.rank, ended=False)
    waited = progress.waited + 1
    patience = config.patience_for(phase)
    ended = patience is not None and waited >= patience and epoch < phase.last
    return replace(progress, epoch=epoch, best=best, waited=waited, ended=ended)
