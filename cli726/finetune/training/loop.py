"""The one training loop: it runs every phase, whatever is frozen, cached or augmented."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cli726.errors import ComputationError
from cli726.finetune import parallel
from cli726.finetune.config import HEAD_ONLY, Phase, TrainingConfig
from cli726.finetune.features.feed import Feed
from cli726.finetune.network.heads import coefficients
from cli726.finetune.network.resnet import Network, convolution_weights, divide
from cli726.finetune.training.chance import generator
from cli726.finetune.training.evaluation import Evaluation
from cli726.finetune.training.optimizers import plain
from cli726.reporting import Reporter, Silent

__all__ = ["Best", "EpochMetrics", "Keeper", "Progress", "train"]

# BatchNorm's running averages (momentum 0.1) need so many steps to forget where they started.
SETTLING_STEPS = 200
STATISTICS_IMAGES = 2048


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


@dataclass(frozen=True)
class Best:
    """The best model so far: lowest validation error, then lowest validation loss, then the earliest."""

    phase: str
    epoch: int
    val_error: float
    val_loss: float


@dataclass(frozen=True)
class Progress:
    """Where a run stands at the end of an epoch: all that resuming needs besides the tensors.

    Attributes:
        epoch: Epochs done, over all phases.
        waited: Validations of this phase since its best.
        phase_best: This phase's lowest (error, loss).
        ended: The phase was ended by --patience; the next one begins at its own first epoch.
    """

    epoch: int = 0
    best: Best | None = None
    waited: int = 0
    phase_best: tuple[float, float] | None = None
    ended: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Progress:
        """The inverse of `to_json`; KeyError, TypeError or ValueError for anything else."""
        best, phase_best = stored["best"], stored["phase_best"]
        return cls(
            int(stored["epoch"]),
            best and Best(str(best["phase"]), int(best["epoch"]), float(best["val_error"]), float(best["val_loss"])),
            int(stored["waited"]),
            phase_best and (float(phase_best[0]), float(phase_best[1])),
            bool(stored["ended"]),
        )


class Keeper(Protocol):
    """Who writes things down, at each epoch's end."""

    def keep_best(self, network: Network, best: Best) -> None:
        """This network is the best so far."""

    def keep_epoch(
        self, network: Network, optimizer: torch.optim.Optimizer | None, progress: Progress, metrics: EpochMetrics
    ) -> None:
        """An epoch is over; without an optimiser where a solver took its place."""

    def restore(self, network: Network, optimizer: torch.optim.Optimizer | None) -> None:
        """Load what `keep_epoch` kept last into the network, and into the optimiser if the same phase goes on."""


Validate = Callable[[Network, Phase], Evaluation | None]
Solve = Callable[[Network, Phase], EpochMetrics]
MakeFeed = Callable[[Phase], Feed]


def make_optimizer(
    network: Network, phase: Phase, config: TrainingConfig, batch: int, l2: float
) -> torch.optim.Optimizer:
    """A fresh optimiser of what the phase trains: coefficients and biases of the head, convolutions and the rest.

    The L2 penalties l2/2 sum w^2 (coefficients) and weight_decay/2 sum w^2 (convolutions) enter as their gradients;
    AdamW takes them as decoupled decay instead (Loshchilov and Hutter, 2019).
    """
    head_rate, backbone_rate = config.rates_for(phase, batch)
    _, suffix = divide(network.backbone, phase.cut)
    decayed = convolution_weights(suffix)
    penalised = coefficients(network.head)

    def others(module: nn.Module, apart: Sequence[nn.Parameter]) -> list[nn.Parameter]:
        known = {id(p) for p in apart}
        return [p for p in module.parameters() if id(p) not in known]

    groups = [
        {"params": penalised, "lr": head_rate, "weight_decay": l2},
        {"params": others(network.head, penalised), "lr": head_rate, "weight_decay": 0.0},
        {"params": decayed, "lr": backbone_rate, "weight_decay": config.weight_decay},
        {"params": others(suffix, decayed), "lr": backbone_rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    for group in groups:
        group["peak"] = group["lr"]
    if config.optimizer == "adamw":
        return plain(torch.optim.AdamW)(groups, betas=(config.momentum, 0.999))
    return plain(torch.optim.SGD)(
        groups, lr=head_rate, momentum=config.momentum, nesterov=config.nesterov and config.momentum > 0
    )


def rate_factor(config: TrainingConfig, phase: Phase, step: int, steps: int) -> float:
    """What the peak rate is multiplied with in step 0..steps-1 of a phase."""
    warmup = 0 if phase.cut == HEAD_ONLY or config.schedule == "constant" else int(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(steps - warmup, 1)
    return 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2


@contextmanager
def only_suffix_trains(network: Network, cut: int) -> Iterator[nn.Sequential]:
    """Freeze the prefix, statistics and all, and turn training on for the rest."""
    prefix, suffix = divide(network.backbone, cut)
    network.train()
    prefix.eval()
    network.requires_grad_(True)
    prefix.requires_grad_(False)
    try:
        yield suffix
    finally:
        network.eval()


class Trained(nn.Module):
    """What a phase trains: the stages behind the cut and the head, as one module."""

    def __init__(self, suffix: nn.Module, head: nn.Module, device: torch.device, precision: torch.dtype | None) -> None:
        """Share the modules given; `precision` for mixed precision in the stages."""
        super().__init__()
        self.suffix = suffix
        self.head = head
        self.device = device
        self.precision = precision

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            features = self.suffix(inputs)
        scores: Tensor = self.head(features if self.precision is None else features.float())
        return scores


@torch.no_grad()
def settle_statistics(suffix: nn.Module, feed: Feed, forward: Callable[[Tensor], Tensor]) -> None:
    """Estimate BatchNorm's averages anew, over training images, as plain means over batches."""
    norms = [m for m in suffix.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way of saying: cumulative average
    for inputs in feed.plain(STATISTICS_IMAGES):
        if len(inputs) > 1:
            forward(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextmanager
def drawing_from(device: torch.device, *purpose: int | str) -> Iterator[None]:
    """Let layers that draw for themselves, such as dropout, draw from this purpose's numbers."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator(*purpose, "layers").initial_seed())
        yield


def train(
    network: Network,
    phases: Sequence[Phase],
    config: TrainingConfig,
    *,
    make_feed: MakeFeed,
    validate: Validate,
    keeper: Keeper,
    precision: torch.dtype,
    l2: float = 0.0,
    solve: Solve | None = None,
    progress: Progress | None = None,
    reporter: Reporter | None = None,
) -> Progress:
    """Run the phases, from where `progress` says.

    Args:
        network: Trained in place; at the end it holds the last epoch's weights, the keeper the best ones.
        phases: Of `plan_phases`, in order.
        make_feed: Gives a phase its inputs; called once a phase, before it starts.
        validate: Scores the network on validation images; None where there are none.
        precision: bfloat16 for mixed precision in the unfrozen stages.
        l2: Penalty on the head's coefficients.
        solve: Takes the place of the epochs of a head phase: sets the head, and says how good it is.

    Returns:
        The progress at the end.

    Raises:
        ComputationError: when the loss stops being a number.
    """
    reporter = reporter or Silent()
    resumed = progress is not None and progress.epoch > 0
    progress = progress or Progress()
    for phase in phases:
        over = progress.epoch >= phase.last or (progress.ended and progress.epoch >= phase.first)
        if over:
            continue
        if progress.epoch < phase.first:
            progress = Progress(phase.first - 1, progress.best)
        if solve is not None and phase.cut == HEAD_ONLY:
            progress = record(network, phase, config, keeper, progress, solve(network, phase))
            continue
        feed = make_feed(phase)
        optimizer = make_optimizer(network, phase, config, config.batch_for(len(feed.labels)), l2)
        if resumed:
            keeper.restore(network, optimizer if progress.epoch >= phase.first else None)
            resumed = False
        reporter.start(f"training {phase.label}", (phase.last - progress.epoch) * len(feed.sizes))
        progress = run_phase(network, phase, feed, optimizer, config, validate, keeper, precision, progress, reporter)
    return progress


def run_phase(
    network: Network,
    phase: Phase,
    feed: Feed,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    validate: Validate,
    keeper: Keeper,
    precision: torch.dtype,
    progress: Progress,
    reporter: Reporter,
) -> Progress:
    """One phase, from the epoch after `progress.epoch` to its last, or until patience runs out."""
    smoothing = config.smoothing_for(phase)
    device = feed.labels.device
    # The head alone is a small float32 matrix product; there is nothing to gain from mixing precisions.
    mixed = precision != torch.float32 and phase.cut != HEAD_ONLY
    steps = len(feed.sizes) * phase.epochs
    with only_suffix_trains(network, phase.cut) as suffix:
        trained = Trained(suffix, network.head, device, precision if mixed else None)
        forward = parallel.share_gradients(trained, partly_used=bool(config.code))
    for epoch in range(progress.epoch + 1, phase.last + 1):
        began = time.perf_counter()
        step = (epoch - phase.first) * len(feed.sizes)
        total = torch.zeros((), dtype=torch.float64, device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        purpose = (config.seed, phase.name, epoch, *parallel.own_purpose())
        with only_suffix_trains(network, phase.cut), drawing_from(device, *purpose):
            for (inputs, labels), size in zip(feed.batches(epoch), feed.sizes, strict=True):
                counted, weight = parallel.part_of(size)
                for options in optimizer.param_groups:
                    options["lr"] = options["peak"] * rate_factor(config, phase, step, steps)
                scores = forward(inputs)
                loss = nn.functional.cross_entropy(scores, labels, label_smoothing=smoothing)
                optimizer.zero_grad()
                (loss * weight).backward()
                optimizer.step()
                with torch.no_grad():
                    total += loss.detach() * counted
                    correct += (scores.argmax(1) == labels)[:counted].sum()
                step += 1
                reporter.advance(1)
        parallel.sum_all(total, correct)
        parallel.follow_first(network)
        seconds = time.perf_counter() - began
        train_loss = total.item() / len(feed.labels)
        rate = optimizer.param_groups[0]["lr"]
        require_finite(train_loss, epoch, phase, optimizer)
        result = None
        if epoch == phase.last or (epoch - phase.first + 1) % config.validate_every == 0:
            if phase.cut != HEAD_ONLY and step < SETTLING_STEPS:
                with only_suffix_trains(network, phase.cut):
                    settle_statistics(suffix, feed, trained)
                parallel.follow_first(network)
            result = validate(network, phase)
        if result is not None:
            require_finite(result.loss, epoch, phase, optimizer)
        metrics = EpochMetrics(
            phase.name,
            epoch,
            train_loss,
            correct.item() / len(feed.labels),
            result.loss if result else None,
            result.error if result else None,
            rate,
            len(feed.labels) / seconds,
            seconds,
        )
        progress = record(network, phase, config, keeper, progress, metrics, optimizer)
        reporter.note(standing(metrics, phase, progress.best))
        if progress.ended:
            break
    reporter.finish(f"phase {phase.name}: epochs {phase.first} to {progress.epoch}")
    return progress


def standing(metrics: EpochMetrics, phase: Phase, best: Best | None) -> str:
    """Return the epoch, its validation accuracy and the best so far, for a bar of progress."""
    text = f"epoch {metrics.epoch} of {phase.last}"
    if metrics.val_error is not None:
        text += f", accuracy {1 - metrics.val_error:.2%}"
    return text + (f", best {1 - best.val_error:.2%}" if best is not None else "")


def require_finite(loss: float, epoch: int, phase: Phase, optimizer: torch.optim.Optimizer) -> None:
    """Raise where the loss, in training or after an epoch's last step on validation, has stopped being a number."""
    if not math.isfinite(loss):
        group = optimizer.param_groups[0]
        raise ComputationError(
            f"training diverged in epoch {epoch} (phase {phase.name}): loss {loss} at rate {group['lr']:.3g}; "
            f"try --lr {group['peak'] / 10:.2g}"
        )


def record(
    network: Network,
    phase: Phase,
    config: TrainingConfig,
    keeper: Keeper,
    progress: Progress,
    metrics: EpochMetrics,
    optimizer: torch.optim.Optimizer | None = None,
) -> Progress:
    """Judge an epoch and have it written down; the progress after it."""
    progress = judge(progress, metrics, phase, config)
    if progress.best is not None and progress.best.epoch == metrics.epoch:
        keeper.keep_best(network, progress.best)
    keeper.keep_epoch(network, optimizer, progress, metrics)
    return progress


def judge(progress: Progress, metrics: EpochMetrics, phase: Phase, config: TrainingConfig) -> Progress:
    """The progress after an epoch: is this the best model, and is patience at its end?"""
    epoch, best = metrics.epoch, progress.best
    if metrics.val_error is None or metrics.val_loss is None:
        return Progress(epoch, best, progress.waited, progress.phase_best)
    result = (metrics.val_error, metrics.val_loss)
    if best is None or result < (best.val_error, best.val_loss):
        best = Best(phase.name, epoch, *result)
    if progress.phase_best is None or result < progress.phase_best:
        return Progress(epoch, best, 0, result)
    waited = progress.waited + 1
    ended = config.patience is not None and waited >= config.patience and epoch < phase.last
    return Progress(epoch, best, waited, progress.phase_best, ended)
