"""Train a CIFAR ResNet from scratch: how the bundled weights were made.

A run with random weights, nothing frozen, and nothing held out but the test images, which are used once, at the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import kl_div

from cli726.document import Document, Table
from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.chance import generator
from cli726.finetune.config import Phase, PretrainConfig
from cli726.finetune.data.images import Dataset, Images
from cli726.finetune.features.extractor import Extractor, as_stored
from cli726.finetune.features.feed import Feed, batch_sizes, from_images
from cli726.finetune.folder import read_checkpoint, restore_checkpoint, write_checkpoint
from cli726.finetune.network.heads import build_head
from cli726.finetune.network.resnet import Network, Normalization, build_resnet, channels_last, width_of
from cli726.finetune.network.weights import load_weights, save_weights
from cli726.finetune.storage import check_output, read_tensors
from cli726.finetune.training import EpochMetrics, Trainer
from cli726.finetune.training.evaluation import Evaluation, evaluate, head_scores, network_scores
from cli726.reporting import Reporter, Silent

# Of a loss with a teacher: the share that is learned from its scores, and the temperature that softens them. As
# Tian et al. (2020), "Contrastive representation distillation", have them for these networks on CIFAR-100.
TAUGHT_SHARE, TEMPERATURE = 0.9, 4.0


@dataclass(frozen=True)
class Pretrained:
    """The weights that came of it, and how good they are."""

    output: Path
    depth: int
    parameters: int
    train_images: int
    test: Evaluation
    train_accuracy: float
    seconds: float
    facts: dict[str, Any]

    def document(self) -> Document:
        """Return what a person reads."""
        rows = [
            ("network", f"ResNet{self.depth}, {self.parameters:,} parameters"),
            *([("teacher", f"ResNet{taught['depth']}")] if (taught := self.facts["teacher"]) else []),
            ("training images", f"{self.train_images:,}"),
            ("training accuracy", f"{self.train_accuracy:.2%} (augmented, running average over the last epoch)"),
            ("test images", self.test.text),
            ("time", f"{self.seconds / 60:.1f} minutes"),
            ("weights", str(self.output)),
        ]
        return Document([], {}, [], [Table("Pre-training", ("what", "value"), rows)])


def channel_statistics(images: Images) -> Normalization:
    """Return mean and deviation of each colour over all training pixels, to four digits."""
    shares = images.pixels.reshape(-1, 3) / 255.0
    mean, deviation = np.round(shares.mean(0), 4), np.round(shares.std(0), 4)
    # A colour that never varies carries nothing, and must not be divided by zero.
    return Normalization(tuple(map(float, mean)), tuple(float(v) or 1.0 for v in deviation))


def training_images(dataset: Dataset) -> Images:
    """Return the training and validation images of the training pool, in its order."""
    pool = dataset.pools[dataset.splits["train"].pool]
    parts = [split.indices for name, split in dataset.splits.items() if name != "test" and split.pool == "train"]
    keep = np.sort(np.concatenate(parts))
    return Images.of(pool.pixels[keep], pool.labels[keep], [pool.names[i] for i in keep])


def distillation(scores: Tensor, taught: Tensor) -> Tensor:
    """Return how far scores (B, K) are from a teacher's, both softened: a mean over the batch, in nats.

    Source: Hinton, Vinyals and Dean (2015), section 2: T^2 KL(softmax(taught / T) || softmax(scores / T)).
    """
    softened, wanted = ((each / TEMPERATURE).log_softmax(1) for each in (scores, taught))
    return TEMPERATURE**2 * kl_div(softened, wanted, reduction="batchmean", log_target=True)


class Teacher:
    """A network that was trained on the same images; its scores are learned from."""

    def __init__(self, path: Path, dataset: Dataset, precision: torch.dtype, device: torch.device) -> None:
        """Read a weights file.

        Raises:
            RequestError: if `pretrain` did not write it, or on other images.
            UntrustedDataError: if it is damaged, or its classifier is missing.
        """
        tensors, facts = read_tensors(path)
        data = facts.get("data")
        if not isinstance(data, dict) or data.get("digest") != dataset.digest:
            raise RequestError(
                f"--teacher must be a file that `cmpt726 pretrain` wrote on the same images, those of {dataset.name}; "
                f"got {path}; write it with `cmpt726 pretrain --depth 56 --dataset ... --output FILE`"
            )
        weights = load_weights(str(path))
        backbone = weights.build().to(device)
        self.head = build_head(width_of(backbone), len(dataset.class_names), generator("head"), standardize=False)
        own = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
        try:
            self.head.load_state_dict(own)
        except RuntimeError as error:
            raise UntrustedDataError(f"{path} holds no classifier of its own classes; write it anew") from error
        self.head.to(device)
        self.prefix = Extractor(backbone, precision)
        self.facts = {"depth": weights.kind.depth, "digest": weights.digest, "test": facts.get("test")}

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return scores (B, K) of normalised images (B, 3, H, W)."""
        return head_scores(self.head, self.prefix(as_stored(inputs)))


class Pretraining(Trainer):
    """A training from scratch.

    Attributes:
        teacher: Whose scores are learned from, too.
        spent, train_accuracy: Seconds of training so far; of the last epoch.
    """

    config: PretrainConfig
    spent = 0.0
    train_accuracy = 0.0

    def __init__(
        self, dataset: Dataset, config: PretrainConfig, output: Path, reporter: Reporter, teacher: Path | None = None
    ) -> None:
        super().__init__(config, reporter)
        self.dataset, self.output = dataset, output
        self.checkpoint = output.with_name(output.name + ".last")
        self.teacher = None if teacher is None else Teacher(teacher, dataset, self.precision, self.device)
        self.recipe = {
            "recipe": config.to_json(),
            "data": {"name": dataset.name, "digest": dataset.digest},
            "teacher": self.teacher and self.teacher.facts,
        }
        self.images = training_images(dataset)
        self.normalization = channel_statistics(self.images)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            backbone = build_resnet(config.depth)
        classes, chance = len(dataset.class_names), generator(config.seed, "head")
        head = build_head(width_of(backbone), classes, chance, standardize=False)
        self.network = channels_last(Network(backbone, head).to(self.device))
        self.l2 = config.weight_decay

    def feed(self, phase: Phase) -> Feed:
        """Return all that is trained on, from images."""
        pixels, labels = (torch.from_numpy(part).to(self.device) for part in (self.images.pixels, self.images.labels))
        sizes = batch_sizes(len(labels), self.config.batch_for(len(labels)), even=self.config.even_batches)
        source = from_images(pixels, self.normalization, None, self.augmentations)
        return Feed(labels, sizes, (self.config.seed, phase.name), source)

    def loss(self, inputs: Tensor, scores: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Return the cross-entropy, or, with a teacher, mostly the distance to its scores of the same crops."""
        loss = super().loss(inputs, scores, labels, smoothing, weights)
        if self.teacher is None:
            return loss
        return (1 - TAUGHT_SHARE) * loss + TAUGHT_SHARE * distillation(scores, self.teacher(inputs))

    def keep(self, metrics: EpochMetrics) -> None:
        """Keep one checkpoint beside the output, so that `--resume` can go on."""
        self.spent += metrics.seconds
        self.train_accuracy = metrics.train_accuracy
        facts = {**self.recipe, "seconds": self.spent, "train_accuracy": self.train_accuracy}
        write_checkpoint(self.checkpoint, self.network, self.optimizer, self.progress, facts)
        self.reporter.say(
            f"epoch {metrics.epoch}: training loss {metrics.train_loss:.4f}, accuracy {metrics.train_accuracy:.2%}, "
            f"{metrics.images_per_second:.0f} images/s"
        )

    def resume(self) -> None:
        """Go on from the checkpoint; RequestError if it is of another recipe."""
        self.progress, facts = read_checkpoint(self.checkpoint)
        differing = [key for key in self.recipe if facts.get(key) != self.recipe[key]]
        if differing:
            raise RequestError(
                f"--resume must continue the same recipe; {', '.join(differing)} of {self.checkpoint} differs; "
                "type the options that it was started with, or start anew without --resume"
            )
        self.spent = float(facts["seconds"])

    def restore(self) -> None:
        """Load what was kept last."""
        restore_checkpoint(self.checkpoint, self.network, self.optimizer)

    def test(self) -> Evaluation:
        """Score the test images."""
        test = self.dataset.images("test")
        pixels = torch.from_numpy(test.pixels).to(self.device)
        scores = network_scores(self.network, 0, pixels, self.precision, self.normalization).cpu()
        return evaluate(scores, torch.from_numpy(test.labels))


def pretrain(
    dataset: Dataset,
    config: PretrainConfig,
    output: Path,
    *,
    teacher: Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Pretrained:
    """Train from scratch on a data set's training and validation images together, and write a weights file.

    Args:
        dataset: Its test split is scored once, at the end.
        teacher: A weights file that this function wrote, of the same images: its scores are learned beside the labels.
        output: A `.safetensors` file; the checkpoint is kept beside it until the end, as `OUTPUT.last`.
        resume: Go on from that checkpoint.

    Raises:
        RequestError: if there is no checkpoint to resume from, or it is of another recipe.
        ComputationError: if training diverges.
    """
    reporter, began = reporter or Silent(), time.time()
    check_output(output, ".safetensors")
    run = Pretraining(dataset, config, output, reporter, teacher)
    if resume:
        run.resume()
    reporter.say(
        f"each epoch is kept in {run.checkpoint}: interrupted, the same command with --resume goes on from there"
    )
    run.run_phases([Phase(0, "all", 0, 1, config.epochs)])
    result = run.test()
    facts = {
        **run.recipe,
        "architecture": {"family": "CIFAR ResNet", "depth": config.depth},
        "classes": list(dataset.class_names),
        "test": result.to_json(),
        "train_accuracy": run.train_accuracy,
        "seconds": run.spent,
        "date": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "torch": torch.__version__,
    }
    save_weights(output, run.network, run.normalization, facts)
    run.checkpoint.unlink(missing_ok=True)
    parameters = sum(p.numel() for p in run.network.parameters())
    return Pretrained(output, config.depth, parameters, len(run.images), result, run.train_accuracy, run.spent, facts)
