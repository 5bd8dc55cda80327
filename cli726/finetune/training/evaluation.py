"""Scores of images that are not trained on, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cli726.document import Table
from cli726.finetune.features.extractor import Extractor, Stored
from cli726.finetune.network.resnet import Network, Normalization, divide

# How --tta scores.
AVERAGED = "averaged over each image and its mirror image"

# The 97.5 % quantile of the standard normal distribution.
Z95 = 1.959963984540054


def wilson_interval(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, which stays within 0 and 1 and is right for few images.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if not images:
        return 0.0, 1.0
    share = correct / images
    spread = Z95**2 / images
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(share * (1 - share) / images + spread / (4 * images))
    # Rounding must not push the ends past the share that they enclose.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact p-value, two-sided: had either been equally likely, as uneven a split or a more uneven one.

    Source: McNemar (1947), "Note on the sampling error of the difference between correlated proportions"; by the
    binomial distribution, not its approximation.
    """
    images, term, total = only_a + only_b, 1, 0
    for fewer in range(min(only_a, only_b) + 1):
        total += term
        term = term * (images - fewer) // (fewer + 1)
    return min(1.0, 2 * total / (1 << images))


def percentages(correct: int, images: int) -> str:
    """Return "76 % (95 % interval 61 to 86 %)", with as many digits as so many images bear."""
    digits = 0 if images < 1000 else 1 if images < 10_000 else 2
    shares = (correct / images, *wilson_interval(correct, images))
    return "{} % (95 % interval {} to {} %)".format(*(f"{100 * share:.{digits}f}" for share in shares))


@dataclass(frozen=True)
class Evaluation:
    """How well some images were classified.

    Attributes:
        loss: Mean negative log-likelihood, unsmoothed, in nats.
        correct, images: Counts.
        confusion: confusion[i][j] images of class i were taken for class j.
        bins: For each of fifteen equal ranges of the likeliest class's probability, the images in it, the sum of their
            probabilities, and how many of them are right.
    """

    loss: float
    correct: int
    images: int
    confusion: tuple[tuple[int, ...], ...]
    bins: tuple[tuple[int, float, int], ...]

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    @property
    def error(self) -> float:
        return 1 - self.accuracy

    @property
    def balanced_accuracy(self) -> float:
        """Return the mean share recognised of the classes that have images."""
        shares = [share for share in self.class_accuracy if share is not None]
        return sum(shares) / len(shares)

    @property
    def balanced_error(self) -> float:
        return 1 - self.balanced_accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.images)

    @property
    def text(self) -> str:
        """Return "34 of 45 right: 76 % (95 % interval 61 to 86 %)"."""
        return f"{self.correct:,} of {self.images:,} right: {percentages(self.correct, self.images)}"

    @property
    def class_accuracy(self) -> tuple[float | None, ...]:
        """Return the share of each class that was recognised; None for a class without images."""
        return tuple(row[i] / sum(row) if sum(row) else None for i, row in enumerate(self.confusion))

    def imbalance(self, names: Sequence[str]) -> str:
        """Return balanced accuracy in words, and how often the largest class is right; "" unless it is twice another.

        Args:
            names: The classes.
        """
        sizes = [sum(row) for row in self.confusion]
        largest = max(sizes)
        if largest < 2 * min(filter(None, sizes)):
            return ""
        always = f"always {names[sizes.index(largest)]} has {100 * largest / self.images:.1f} % right"
        return f"{100 * self.balanced_accuracy:.1f} %, the mean of the classes' recalls; {always}"

    def by_class(self, names: Sequence[str]) -> Table:
        """Return images and recall of each class, as a table."""
        rows = [
            (name, f"{sum(row):,}", f"{row[k]:,}", "-" if share is None else f"{share:.1%}")
            for k, (name, row, share) in enumerate(zip(names, self.confusion, self.class_accuracy, strict=True))
        ]
        return Table("Classes", ("class", "images", "right", "recall"), rows)

    def most_confused(self, most: int = 5) -> tuple[tuple[int, int, int], ...]:
        """Return (true class, predicted class, images) of the commonest mistakes, most first."""
        pairs = [
            (true, predicted, count)
            for true, row in enumerate(self.confusion)
            for predicted, count in enumerate(row)
            if true != predicted and count
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair[2], pair))[:most])

    @property
    def calibration_error(self) -> float:
        """Return the mean over images of the gap between confidence and accuracy of their bin.

        Source: Guo et al. (2017), "On calibration of modern neural networks", eq. 3.
        """
        return sum(abs(confidence - right) for _, confidence, right in self.bins) / self.images

    @property
    def calibration(self) -> str:
        """Return the calibration error in words."""
        return f"expected calibration error: {100 * self.calibration_error:.2f} points"

    def to_json(self) -> dict[str, Any]:
        names = ("accuracy", "error", "loss", "images", "interval")
        return {name: getattr(self, name) for name in names}

    def details(self) -> dict[str, Any]:
        """Return the same, class by class."""
        names = ("balanced_accuracy", "calibration_error", "confusion", "class_accuracy")
        return {**self.to_json(), **{name: getattr(self, name) for name in names}}


def evaluate(scores: Tensor, labels: Tensor) -> Evaluation:
    """Compare scores (N, K) with labels (N,).

    The likeliest class wins; among equals the first. Sums are taken in float64.
    """
    classes = scores.shape[1]
    predicted = scores.argmax(1)
    loss = nn.functional.cross_entropy(scores.double(), labels).item()
    right = predicted == labels
    confidence = scores.double().softmax(1).amax(1)
    confusion = torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    counts = tuple(map(tuple, confusion.tolist()))
    return Evaluation(loss, int(right.sum()), len(labels), counts, binned(confidence, right))


def binned(confidence: Tensor, right: Tensor, bins: int = 15) -> tuple[tuple[int, float, int], ...]:
    """Return images, sum of confidences and right ones in each of equal ranges, which hold their upper ends."""
    which = (confidence * bins).ceil().long().sub_(1).clamp_(0, bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64).index_add_(0, which, confidence)
    counts = (torch.bincount(chosen, minlength=bins).tolist() for chosen in (which, which[right]))
    images, hits = counts
    return tuple(zip(images, sums.tolist(), hits, strict=True))


def head_features(
    network: Network, cut: int, stored: Stored, precision: torch.dtype, normalization: Normalization
) -> Tensor:
    """Return what the head gets, (N, D), from features as stored at a cut; at cut 0 these are uint8 images."""
    if cut == len(network.backbone):
        return stored[:]
    _, suffix = divide(network.backbone, cut)
    return Extractor(suffix, precision, normalization if cut == 0 else None).together(stored)


def network_scores(
    network: Network, cut: int, stored: Stored, precision: torch.dtype, normalization: Normalization
) -> Tensor:
    """Return the scores (N, K) of the network in eval mode, from features as stored at a cut; its mode stays.

    The convolutions are divided among the processes; the head, which is small, is run by each process over all images.
    """
    return head_scores(network.head, head_features(network, cut, stored, precision, normalization))


@torch.no_grad()
def head_scores(head: nn.Module, features: Tensor) -> Tensor:
    """Return the scores (N, K) that a head in eval mode gives features (N, D); its mode stays."""
    training = head.training
    head.eval()
    try:
        scores: Tensor = torch.cat([head(block) for block in features.split(8192)])
    finally:
        head.train(training)
    return scores
