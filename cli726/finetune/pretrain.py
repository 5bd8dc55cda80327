"""Train a CIFAR ResNet from scratch: how the bundled weights were made.

One phase of the one training loop, with nothing frozen and nothing held out but the test images, which are
used once, at the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cli726.errors import RequestError
from cli726.finetune.augment.table import parse_augmentations
from cli726.finetune.config import Phase, PretrainConfig
from cli726.finetune.data.images import Dataset, Images
from cli726.finetune.features.extractor import Normalization, resolve_precision, say_if_emulated
from cli726.finetune.features.feed import Feed, batch_sizes, from_images
from cli726.finetune.folder.checkpoint import read_checkpoint, restore_checkpoint, write_checkpoint
from cli726.finetune.network.heads import build_head
from cli726.finetune.network.resnet import FEATURES, Network, build_backbone, channels_last
from cli726.finetune.network.weights import save_weights
from cli726.finetune.training.chance import generator
from cli726.finetune.training.evaluation import Evaluation, evaluate, network_scores
from cli726.finetune.training.loop import Best, EpochMetrics, Progress, train
from cli726.reporting import Reporter, Silent

__all__ = ["PretrainConfig", "Pretrained", "pretrain"]


@dataclass(frozen=True)
class Pretrained:
    """What came of it."""

    output: Path
    depth: int
    parameters: int
    train_images: int
    test: Evaluation
    train_accuracy: float
    seconds: float
    facts: dict[str, Any]


class CheckpointKeeper:
    """Keeps one checkpoint beside the output, so that `--resume` can go on."""

    def __init__(self, path: Path, facts: dict[str, Any], spent: float, reporter: Reporter) -> None:
        self.path = path
        self.facts = facts
        self.spent = spent
        self.train_accuracy = 0.0
        self.reporter = reporter

    def keep_best(self, network: Network, best: Best) -> None:
        """Never called: nothing is validated while pre-training."""
        raise AssertionError(f"{type(network).__name__} was validated: {best}")

    def keep_epoch(
        self, network: Network, optimizer: torch.optim.Optimizer | None, progress: Progress, metrics: EpochMetrics
    ) -> None:
        self.spent += metrics.seconds
        self.train_accuracy = metrics.train_accuracy
        facts = {**self.facts, "seconds": self.spent, "train_accuracy": self.train_accuracy}
        write_checkpoint(self.path, network, optimizer, progress, facts)
        self.reporter.say(
            f"epoch {metrics.epoch}: training loss {metrics.train_loss:.4f}, accuracy {metrics.train_accuracy:.2%}, "
            f"{metrics.images_per_second:.0f} images/s"
        )

    def restore(self, network: Network, optimizer: torch.optim.Optimizer | None) -> None:
        restore_checkpoint(self.path, network, optimizer)


def channel_statistics(images: Images) -> Normalization:
    """Mean and deviation of each colour over all training pixels, to four digits."""
    shares = images.pixels.reshape(-1, 3) / 255.0
    mean, deviation = np.round(shares.mean(0), 4), np.round(shares.std(0), 4)
    # A colour that never varies carries nothing, and must not be divided by zero.
    return Normalization(tuple(map(float, mean)), tuple(float(v) or 1.0 for v in deviation))


def resume_from(checkpoint: Path, recipe: dict[str, Any]) -> tuple[Progress, float]:
    """Where a checkpoint stands, and the seconds spent until there; RequestError if it is of another recipe."""
    progress, facts = read_checkpoint(checkpoint)
    differing = [key for key in recipe if facts.get(key) != recipe[key]]
    if differing:
        raise RequestError(
            f"--resume must continue the same recipe; {', '.join(differing)} of {checkpoint} differs; "
            "type the options that it was started with, or start anew without --resume"
        )
    return progress, float(facts["seconds"])


def new_network(config: PretrainConfig, classes: int) -> Network:
    """Backbone and linear head, drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = build_backbone(config.depth)
    head = build_head(FEATURES, classes, generator(config.seed, "head"), standardize=False)
    return channels_last(Network(backbone, head))


def pretrain(
    dataset: Dataset,
    config: PretrainConfig,
    output: Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Pretrained:
    """Train from scratch on a data set's training and validation images together, and write a weights file.

    Args:
        dataset: Its test split is scored once, at the end.
        output: A `.safetensors` file; the checkpoint is kept beside it until the end, as `OUTPUT.last`.
        resume: Go on from that checkpoint.

    Raises:
        RequestError: if there is no checkpoint to resume from, or it is of another recipe.
        ComputationError: if training diverges.
    """
    reporter = reporter or Silent()
    if output.suffix != ".safetensors":
        raise RequestError(f"--output must end in .safetensors, as weights files do; got {output}")
    checkpoint = output.with_name(output.name + ".last")
    recipe = {"recipe": config.to_json(), "data": {"name": dataset.name, "digest": dataset.digest}}
    progress, spent = resume_from(checkpoint, recipe) if resume else (None, 0.0)
    training, test = training_images(dataset), dataset.images("test")
    normalization = channel_statistics(training)
    network = new_network(config, len(dataset.class_names))
    precision = resolve_precision(config.precision, torch.device("cpu"))
    say_if_emulated(precision, torch.device("cpu"), reporter)
    keeper = CheckpointKeeper(checkpoint, recipe, spent, reporter)
    reporter.say(f"each epoch is kept in {checkpoint}: interrupted, the same command with --resume goes on from there")

    def feed(phase: Phase) -> Feed:
        pixels, labels = torch.from_numpy(training.pixels), torch.from_numpy(training.labels)
        sizes = batch_sizes(len(labels), config.batch_for(len(labels)), even=config.even_batches)
        source = from_images(pixels, normalization, None, parse_augmentations(config.augment))
        return Feed(labels, sizes, (config.seed, phase.name), source)

    began = time.time()
    train(
        network,
        [Phase(0, "all", 0, 1, config.epochs)],
        config,
        make_feed=feed,
        validate=lambda *_: None,
        keeper=keeper,
        precision=precision,
        l2=config.weight_decay,
        progress=progress,
        reporter=reporter,
    )
    scores = network_scores(network, 0, torch.from_numpy(test.pixels), precision, normalization)
    result = evaluate(scores, torch.from_numpy(test.labels))
    facts = {
        **recipe,
        "architecture": {"family": "CIFAR ResNet", "depth": config.depth},
        "classes": list(dataset.class_names),
        "test": dict(result.to_json()),
        "train_accuracy": keeper.train_accuracy,
        "seconds": keeper.spent,
        "date": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "torch": torch.__version__,
    }
    save_weights(output, network, normalization, facts)
    checkpoint.unlink(missing_ok=True)
    parameters = sum(p.numel() for p in network.parameters())
    return Pretrained(
        output, config.depth, parameters, len(training), result, keeper.train_accuracy, keeper.spent, facts
    )


def training_images(dataset: Dataset) -> Images:
    """Everything that is not tested on: training and validation images of the training pool, in its order."""
    pool = dataset.pools[dataset.splits["train"].pool]
    parts = [split.indices for name, split in dataset.splits.items() if name != "test" and split.pool == "train"]
    keep = np.sort(np.concatenate(parts))
    return Images.of(pool.pixels[keep], pool.labels[keep], [pool.names[i] for i in keep])
