"""How far a model's answers can be trusted: a temperature, a threshold, and a distance from the training images.

All three are measured on images that the model was not fitted to, and stored with it under names of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cli726.errors import RequestError
from cli726.finetune import parallel
from cli726.finetune.features.bank import MIRROR, Bank
from cli726.finetune.features.extractor import Rows, Stored
from cli726.finetune.network.resnet import Network
from cli726.finetune.training.evaluation import evaluate, head_features, head_scores, percentages, wilson_interval
from cli726.finetune.training.folds import CrossValidation

# The temperature is sought from 1/HOTTEST to HOTTEST.
HOTTEST = 100.0
# How the tensors' names begin, in the model's file.
PREFIX = "trust."
# The share of wrong answers at which a run says how much it would answer.
EXAMPLE = 0.05
# Unlike the training images is what lies further off than this share of the validation images.
FAMILIAR = 0.99
# So many training images, and so many directions of the feature space, tell where training images lie.
MOST_IMAGES, MOST_AXES = 5000, 256


def fit_temperature(scores: Tensor, labels: Tensor) -> tuple[float, str | None]:
    """Return the T > 0 at which scores / T have the least mean negative log-likelihood; and a caution, if there is one.

    The loss is convex in 1/T: its slope is bisected, in float64. Where every image is right there is no minimum, the
    loss falls down to T = 0; then T gives the mean confidence that so many right images bear out by Laplace's rule of
    succession.

    Args:
        scores: (N, K).
        labels: int64, (N,).

    Source: Guo et al. (2017), "On calibration of modern neural networks", section 4.2.
    """
    scores = scores.double()
    own, images = scores.gather(1, labels[:, None])[:, 0], len(labels)
    if not bool((scores != scores[:, :1]).any()):
        return 1.0, "the scores don't tell any class from another: they are left as they are"
    separable, borne_out = bool((own == scores.amax(1)).all()), (images + 1) / (images + 2)

    def too_hot(temperature: float) -> bool:
        shares = (scores / temperature).softmax(1)
        if separable:
            return float(shares.amax(1).mean()) < borne_out
        return float(((shares * scores).sum(1) - own).mean()) < 0

    low, high = -math.log(HOTTEST), math.log(HOTTEST)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if too_hot(math.exp(middle)) else (middle, high)
    temperature = math.exp((low + high) / 2)
    caution = None
    if separable:
        caution = f"all {images:,} images that it is fitted to are right: mean confidence set to {borne_out:.2%}"
    if abs(low + high) > 2 * math.log(0.999 * HOTTEST):
        temperature = HOTTEST if low > 0 else 1 / HOTTEST
        caution = f"the best temperature lies beyond {temperature:g}, which is taken: look at the scores with care"
    return temperature, caution


def calibrate_folds(crossed: CrossValidation, labels: Tensor) -> CrossValidation:
    """Return a cross-validation with each fold's scores divided by the temperature of the other folds' scores."""
    scores, folds, parts = crossed.scores.double(), torch.from_numpy(crossed.folds), []
    for fold in range(len(crossed.parts)):
        own = folds == fold
        scores[own] /= fit_temperature(crossed.scores[~own], labels[~own])[0]
        parts.append(evaluate(scores[own], labels[own]))
    return replace(crossed, scores=scores, result=evaluate(scores, labels), parts=tuple(parts))


def judge(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of each image's likeliest class, (N,) in float64, and whether it is the true one."""
    return scores.double().softmax(1).amax(1), scores.argmax(1) == labels


def least_confidence(confidence: Tensor, right: Tensor, most: float) -> float:
    """Return the smallest threshold at and above which at most a share `most` of the images is wrong.

    Args:
        confidence: (N,).
        right: bool, (N,).

    Returns:
        One of the confidences; 0 where all images may be answered, infinity where none may.
    """
    ordered, order = confidence.sort(descending=True)
    shares = (~right[order]).double().cumsum(0) / torch.arange(1, len(order) + 1)
    apart = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])  # equal ones go together
    fits = ((shares <= most) & apart).nonzero()[:, 0]
    if not len(fits):
        return math.inf
    last = int(fits[-1])
    return 0.0 if last == len(order) - 1 else float(ordered[last])


@dataclass(frozen=True)
class Answered:
    """How much of some images would be answered, and how much of that is right.

    Attributes:
        max_error: The share of the answers that may be wrong.
        threshold: Least probability of an answer, chosen on other images.
        images, answered, right: Counts, each among those before it.
    """

    max_error: float
    threshold: float
    images: int
    answered: int
    right: int

    @property
    def text(self) -> str:
        if not self.answered:
            return f"none of {self.images:,} images is answered: no threshold keeps so few wrong"
        pairs = ((self.answered, self.images), (self.right, self.answered))
        share, accuracy = (percentages(*pair).replace("95 % interval ", "") for pair in pairs)  # in one line
        return f"{self.answered:,} of {self.images:,} answered: {share}, {self.right:,} right: {accuracy}"

    def to_json(self) -> Mapping[str, Any]:
        """Return counts and shares with their 95 % intervals; null where there are none."""
        return {
            **vars(self),
            "threshold": self.threshold if math.isfinite(self.threshold) else None,
            "share": self.answered / self.images,
            "interval": wilson_interval(self.answered, self.images),
            "accuracy": self.right / self.answered if self.answered else None,
            "accuracy_interval": wilson_interval(self.right, self.answered) if self.answered else None,
        }


def roots(features: Tensor) -> Tensor:
    """Return square roots in float64, with the features' signs."""
    return features.double().abs().sqrt() * features.sign()


@dataclass(frozen=True)
class Familiar:
    """Where training images lie in feature space: normal about each class's mean, with one covariance for all.

    Features are what the head gets, their roots taken: averages of rectified outputs are far from normal, their roots
    less so. (Noise is told from CIFAR-10 in 100 of 100 cases instead of 77, digits in 72 instead of 9.)

    Attributes:
        means: float32, (K, D).
        axes: Orthonormal directions, float32, (D, R).
        variances: Along each of them and, last, along every other, float32, (R + 1,).
        limit: A larger distance is unlike the training images.
    """

    means: Tensor
    axes: Tensor
    variances: Tensor
    limit: float = math.inf

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor) -> Familiar:
        """Take means and covariance from features (N, D) of classes (N,), in float64.

        The covariance is shrunk towards a sphere; beyond the first directions it is one.

        Source: Lee et al. (2018), "A simple unified framework for detecting out-of-distribution samples"; Chen et al.
        (2010), "Shrinkage algorithms for MMSE covariance estimation", eq. 23; Bishop (2006), section 12.2.
        """
        x, (_, place) = roots(features), labels.unique(return_inverse=True)
        images, width = x.shape
        sums = x.new_zeros(int(place.max()) + 1, width).index_add_(0, place, x)
        means = sums / place.bincount()[:, None]
        residuals = x - means[place]
        scatter = residuals.T @ residuals / images
        size, mean = scatter.square().mean(), scatter.diagonal().mean()
        gap = (images + 1) * (size - mean**2 / width)
        shrinkage = float(((size + mean**2) / gap).clamp(max=1)) if gap > 0 else 1.0
        shrunk = (1 - shrinkage) * scatter + shrinkage * mean * torch.eye(width, dtype=x.dtype)
        values, vectors = torch.linalg.eigh(shrunk)
        kept = min(width, MOST_AXES)
        rest = values[:-kept].mean() if kept < width else values[0]
        variances = torch.cat([values[-kept:], rest[None]]).clamp_min(1e-9)
        return cls(means.float(), vectors[:, -kept:].float(), variances.float())

    def distances(self, features: Tensor) -> Tensor:
        """Return the Mahalanobis distance, (N,) in float64, of features (N, D) to the nearest class's mean."""
        x, means, axes = roots(features), self.means.double(), self.axes.double()
        along, (*_, rest) = self.variances[:-1].double().sqrt(), self.variances.double()
        x_along, means_along = x @ axes, means @ axes
        squares = torch.cdist(x_along / along, means_along / along).square()
        if axes.shape[1] < axes.shape[0]:
            beside = torch.cdist(x, means).square() - torch.cdist(x_along, means_along).square()
            squares = squares + beside.clamp_min(0) / rest
        return squares.amin(1).sqrt()

    def within(self, distances: Tensor) -> Familiar:
        """Return the same with the limit that leaves out one in a hundred images at these distances or beyond."""
        ordered = distances.sort().values
        place = min(math.ceil(FAMILIAR * (len(ordered) + 1)), len(ordered))
        return replace(self, limit=float(ordered[place - 1]))


def network_part(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those tensors of a model's file that are the network's."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}


def some_of(images: int) -> Tensor:
    """Return the places of the images from which `Familiar` is fitted: evenly spread, as data come sorted by class."""
    return torch.linspace(0, images - 1, min(images, MOST_IMAGES), dtype=torch.float64).round().long()


def familiar_by_folds(features: Tensor, labels: Tensor, folds: Tensor) -> Familiar:
    """Return where training images lie, the limit from each fold's distances to the others."""
    parts = [folds == fold for fold in folds.unique()]
    found = [Familiar.fit(features[~own], labels[~own]).distances(features[own]) for own in parts]
    return Familiar.fit(features, labels).within(torch.cat(found))


@dataclass(frozen=True)
class Trust:
    """What is stored with a model; what older models lack is left at its default.

    Attributes:
        temperature: Scores are divided by it.
        confidence, right: Of validation images, as `judge` gives them; none: no threshold can be chosen.
        familiar: Where training images lie; None: nothing is marked.
        caution: What is to be said of the temperature.
    """

    temperature: float = 1.0
    confidence: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    right: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    familiar: Familiar | None = None
    caution: str | None = None

    @classmethod
    def measure(cls, scores: Tensor, labels: Tensor, familiar: Familiar, crossed: CrossValidation | None) -> Trust:
        """Fit the temperature to scores of images that the model isn't fitted to, and keep how sure it is of each.

        Args:
            scores: (N, K), as the network gives them.
            labels: (N,).
            familiar: Where the training images lie.
            crossed: The same scores, calibrated fold by fold, where they are those of --folds.
        """
        temperature, caution = fit_temperature(scores, labels)
        calibrated = scores.double() / temperature if crossed is None else crossed.scores
        return cls(temperature, *judge(calibrated, labels), familiar, caution)

    def threshold(self, max_error: float | None, min_confidence: float | None = None) -> float | None:
        """Return the least probability of an answer; infinity where no answer is sure enough, None if none is asked.

        Args:
            max_error: The share of the answers that may be wrong, from 0 to 1.
            min_confidence: The threshold itself.

        Raises:
            RequestError: for both, for shares that are none, or where the model has no validation images stored.
        """
        if max_error is not None and min_confidence is not None:
            raise RequestError("--max-error and --min-confidence exclude each other; got both; leave one out")
        for name, share in (("--max-error", max_error), ("--min-confidence", min_confidence)):
            if share is not None and not 0 <= share <= 1:
                raise RequestError(f"{name} must be a share from 0 to 1; got {share:g}; try 0.05 for 5 %")
        if max_error is None:
            return min_confidence
        if not len(self.confidence):
            raise RequestError(
                "--max-error needs a run that kept how sure it was of its validation images; this one is older, or "
                "isn't finished; train it again, or type --min-confidence"
            )
        return least_confidence(self.confidence, self.right, max_error)

    def answered(self, confidence: Tensor, right: Tensor) -> Answered:
        """Return how much of other images would be answered."""
        threshold = least_confidence(self.confidence, self.right, EXAMPLE)
        chosen = confidence >= threshold
        return Answered(EXAMPLE, threshold, len(right), int(chosen.sum()), int(right[chosen].sum()))

    def answered_by_folds(self, folds: Tensor) -> Answered:
        """Return how much of each fold would be answered, by a threshold from the others; that stated is from all."""
        total = self.answered(self.confidence, self.right)
        parts = []
        for own in (folds == fold for fold in folds.unique()):
            others = replace(self, confidence=self.confidence[~own], right=self.right[~own])
            parts.append(others.answered(self.confidence[own], self.right[own]))
        return replace(total, answered=sum(one.answered for one in parts), right=sum(one.right for one in parts))

    def tensors(self) -> dict[str, Tensor]:
        """Return what is stored beside the network's tensors."""
        if self.familiar is None:
            raise AssertionError("only what has been measured is stored")
        named = {"confidence": self.confidence, "right": self.right, **vars(self.familiar)}
        return {PREFIX + name: value for name, value in named.items() if isinstance(value, Tensor)}

    def facts(self) -> dict[str, Any]:
        """Return what is stored in the header."""
        return {"temperature": self.temperature, "limit": self.familiar and self.familiar.limit}

    @classmethod
    def read(cls, stated: Any, tensors: Mapping[str, Tensor], width: int) -> Trust:
        """Return what a file of unknown origin holds; ValueError, KeyError or TypeError where it makes no sense.

        Args:
            stated: The fact `trust`; None in older models.
            tensors: All of the file.
            width: Of the features.
        """
        if stated is None:
            return cls()
        temperature, limit = stated["temperature"], stated["limit"]
        if not all(
            type(value) in (int, float) and math.isfinite(value) and value >= 0 for value in (temperature, limit)
        ):
            raise ValueError("temperature or limit")
        if not 1 / HOTTEST <= temperature <= HOTTEST:
            raise ValueError("temperature")
        names = ("confidence", "right", "means", "axes", "variances")
        confidence, right, means, axes, variances = found = [tensors[PREFIX + name] for name in names]
        kinds = (torch.float64, torch.bool, torch.float32, torch.float32, torch.float32)
        shapes = [tuple(tensor.shape) for tensor in found]
        images, classes, kept = len(confidence), len(means), len(variances) - 1
        fitting = [(images,), (images,), (classes, width), (width, kept), (kept + 1,)]
        if tuple(tensor.dtype for tensor in found) != kinds or shapes != fitting or not images or not classes:
            raise ValueError("what says how far to trust it has other shapes")
        if not all(bool(tensor.isfinite().all()) for tensor in found) or float(variances.min()) <= 0:
            raise ValueError("what says how far to trust it isn't finite")
        if float(confidence.min()) < 0 or float(confidence.max()) > 1 + 1e-9:
            raise ValueError("confidence")
        return cls(float(temperature), confidence, right, Familiar(means, axes, variances, float(limit)))


def measure_trust(
    bank: Bank,
    network: Network,
    cut: int,
    crossed: CrossValidation | None,
    calibrated: CrossValidation | None,
    *,
    tta: bool,
) -> Trust:
    """Return how far to trust a run's best model, by images that it wasn't fitted to, scored as by `predict`.

    Args:
        bank: The run's data, and its features.
        network: The best model.
        cut: Of the features that it was validated on.
        crossed, calibrated: What --folds found, and what `calibrate_folds` makes of it.
        tta: Scores are averaged over each image and its mirror image.
    """

    def seen(cut: int, stored: Stored) -> Tensor:
        return head_features(network, cut, stored, bank.precision, bank.normalization)

    labels = bank.labels("train").cpu()
    some = some_of(len(labels))
    trained = seen(cut, Rows(bank.features("train", cut), some)).cpu()
    if crossed is not None:
        near = familiar_by_folds(trained, labels[some], torch.from_numpy(crossed.folds)[some])
        return Trust.measure(crossed.scores, labels, near, calibrated)
    held = seen(cut, bank.features("validation", cut))
    scores = head_scores(network.head, held).cpu()
    if tta:
        pools = {bank.dataset.splits[split].pool for split in ("validation", "test")}
        if len(pools) == 1:  # whose mirror images the test has asked for, or will
            mirrored = seen(cut, bank.features("validation", cut, MIRROR))
        else:  # the bank would compute the mirror images of all training images with them
            mirrored = seen(0, bank.pixels("validation", mirrored=True))
        scores = (scores + head_scores(network.head, mirrored).cpu()) / 2

    def measure() -> Trust:
        near = Familiar.fit(trained, labels[some])
        near = near.within(near.distances(held.cpu()))
        return Trust.measure(scores, bank.labels("validation").cpu(), near, None)

    return parallel.tell(measure)  # decided alike on machines that round differently
