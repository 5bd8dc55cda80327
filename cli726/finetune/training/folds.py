"""Cross-validation of a head on stored features: every image is scored by a head that has not seen it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cli726.document import Finding
from cli726.errors import RequestError
from cli726.finetune.chance import generator
from cli726.finetune.config import FinetuneConfig, Phase
from cli726.finetune.data.images import Images
from cli726.finetune.features.feed import Feed, batch_sizes, from_stored
from cli726.finetune.network.heads import Standardize
from cli726.finetune.network.resnet import Network
from cli726.finetune.training import EpochMetrics, Trainer
from cli726.finetune.training.evaluation import Evaluation, evaluate, mcnemar
from cli726.finetune.training.exact_head import solve_head
from cli726.reporting import Silent
from cli726.text import spreadsheet_text

# Of each fold's training images, for a learning curve; a doubling is judged, at this level.
SHARES = (0.1, 0.2, 0.4, 0.8, 1.0)
HALF, DOUBLE, LEVEL = 2, 3, 0.05
Fit = Callable[[Tensor, Tensor, float, str], nn.Module]
"""Fits a new head to features (N, D) and labels (N,) with a penalty; the text is its purpose, for chance."""


@dataclass(frozen=True)
class LearningCurve:
    """How good heads of shares of the training images are, on images that they have not seen.

    Attributes:
        images: Training images of a head, the mean over the folds, for each of SHARES.
        results: Over all images.
        right: bool, (N,) each: which images they were right about.
    """

    images: tuple[int, ...]
    results: tuple[Evaluation, ...]
    right: tuple[NDArray[np.bool_], ...]

    def to_json(self) -> list[dict[str, Any]]:
        """Return a row for each share."""
        return [
            {"share": share, "images": images, "accuracy": result.accuracy, "interval": result.interval}
            for share, images, result in zip(SHARES, self.images, self.results, strict=True)
        ]

    def finding(self) -> Finding:
        """Say whether twice as many images were better, by more than chance among the images judged."""
        few, many = self.right[HALF], self.right[DOUBLE]
        gained, lost = int((many & ~few).sum()), int((few & ~many).sum())
        p = mcnemar(gained, lost)
        before, after = self.results[HALF].accuracy, self.results[DOUBLE].accuracy
        change = f"from {self.images[HALF]:,} to {self.images[DOUBLE]:,} training images"
        numbers = f"{before:.1%} to {after:.1%} right, exact McNemar test p = {p:.2g}"
        if p >= LEVEL:
            text = f"Whether more images would help can't be told: {change} the accuracy changed by chance ({numbers})."
        elif gained > lost:
            text = f"More images are likely to help: {change} the accuracy rose by more than chance ({numbers})."
        else:
            text = f"More images like these did not help: {change} the accuracy fell by more than chance ({numbers})."
        evidence = {"gained": gained, "lost": lost, "p_value": p, "accuracy": [before, after]}
        return Finding("", text, evidence)


@dataclass(frozen=True)
class CrossValidation:
    """The images' scores, each from the head of the other folds.

    Attributes:
        folds: int ndarray of shape (N,): each image's fold, from 0.
        scores: float32 Tensor of shape (N, K).
        result: Over all images.
        parts: Over the images of each fold.
        l2: The penalty chosen for each fold, within the others.
        best_l2: The penalty that is best over all folds.
        curve: The same on shares of the training images, if --learning-curve asked for it.
    """

    folds: NDArray[np.intp]
    scores: Tensor
    result: Evaluation
    parts: tuple[Evaluation, ...]
    l2: tuple[float, ...]
    best_l2: float
    curve: LearningCurve | None = None

    def to_json(self) -> Mapping[str, Any]:
        """Return counts, accuracy over all images with its interval, and each fold's part."""
        parts = [
            {"images": part.images, "correct": part.correct, "l2": l2}
            for part, l2 in zip(self.parts, self.l2, strict=True)
        ]
        return {"count": len(self.parts), **self.result.details(), "l2": self.best_l2, "parts": parts}

    def to_csv(self, images: Images, classes: Sequence[str]) -> str:
        """Return a row for each image: name, class, fold, and the probabilities of the head that had not seen it."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        classes = [spreadsheet_text(name) for name in classes]
        writer.writerow(["image", "class", "fold", "predicted", *classes])
        shares = self.scores.double().softmax(1)
        rows = zip(images.names, images.labels, self.folds, shares.argmax(1), shares.tolist(), strict=True)
        for name, label, fold, best, row in rows:
            writer.writerow([spreadsheet_text(name), classes[label], fold + 1, classes[best], *row])
        return out.getvalue()


class Fold(Trainer):
    """The fit of one fold's head to stored features; by epochs nothing is validated, and the last one stays."""

    config: FinetuneConfig

    def __init__(
        self, config: FinetuneConfig, network: Network, features: Tensor, labels: Tensor, l2: float, purpose: str
    ) -> None:
        super().__init__(config, Silent())
        self.network, self.features, self.labels, self.l2, self.purpose = network, features, labels, l2, purpose
        self.balance = config.balance
        if config.standardize:
            next(module for module in network.head.modules() if isinstance(module, Standardize)).fit(features)

    def solve(self, phase: Phase) -> EpochMetrics | None:
        if self.config.solver != "exact":
            return None
        fit = solve_head(self.network.head, self.features, self.labels.cpu(), self.l2, balance=self.balance)
        return EpochMetrics(phase.name, phase.last, fit.objective, 0, None, None, 0, 0, 0)

    def feed(self, phase: Phase) -> Feed:
        config, images = self.config, len(self.labels)
        sizes = batch_sizes(images, config.batch_for(images), even=config.even_batches)
        return Feed(self.labels, sizes, (config.seed, phase.name, self.purpose), from_stored(self.features))


def draw_folds(
    labels: NDArray[np.int64], groups: NDArray[Any], names: Sequence[str], count: int, seed: int
) -> NDArray[np.intp]:
    """Return the fold of each image: stratified, images of one group in one.

    Args:
        labels: Shape (N,).
        groups: Shape (N,) or (N, D); equal for images that belong together, such as identical ones.
        names: The classes.
        count: How many folds.
        seed: Another one deals the images anew.

    Raises:
        RequestError: if a class has fewer than two different images: a head must know it from another fold.
    """
    _, first, group = np.unique(groups, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)  # NumPy 2.0 gives it another shape
    sizes, classes = np.bincount(group), labels[first]
    order = torch.randperm(len(first), generator=generator(seed, "folds")).numpy()
    fold_of = np.empty(len(first), np.intp)
    totals = np.zeros(count, np.intp)
    for number, name in enumerate(names):
        members = order[classes[order] == number]
        if len(members) < 2:
            raise RequestError(
                f"--folds needs two different images of each class or more; got {len(members)} of {name}; add some, or "
                "leave the class out"
            )
        held = np.zeros(count, np.intp)
        for member in members:
            chosen = min(range(count), key=lambda fold: (held[fold], totals[fold]))
            fold_of[member] = chosen
            held[chosen] += sizes[member]
            totals[chosen] += sizes[member]
    return fold_of[group]


def cross_validate(
    features: Tensor, labels: Tensor, folds: NDArray[np.intp], penalties: Sequence[float], fit: Fit, *,
    balance: bool = False,
) -> CrossValidation:  # fmt: skip
    """Score each fold with a head that was fitted to the others.

    Of several penalties the one is taken for a fold that is best in a cross-validation of the other folds alone, so
    that its own images have no part in the choice.

    Args:
        features: float32, (N, D).
        labels: int64, (N,).
        folds: (N,), from `draw_folds`.
        penalties: --l2.
        balance: Whether a penalty is chosen by the balanced error.

    Source: Varma and Simon (2006), "Bias in error estimation when using cross-validation for model selection".
    """
    numbers = torch.from_numpy(folds)
    everything = sorted(set(folds.tolist()))

    @cache
    def head_of(rest: tuple[int, ...], l2: float) -> nn.Module:
        """Return the head of some folds; leaving out one fold and then another gives the same one either way round."""
        rows = torch.isin(numbers, torch.tensor(rest))
        return fit(features[rows], labels[rows], l2, f"folds {','.join(map(str, rest))}")

    def held_out(fold: int, within: Sequence[int], l2: float) -> Tensor:
        """Return the scores of a fold, from the head of the others among `within`."""
        head = head_of(tuple(other for other in within if other != fold), l2)
        with torch.inference_mode():
            scores: Tensor = head(features[numbers == fold])
        return scores

    def over(within: Sequence[int], l2: float) -> tuple[float, float]:
        """Return error and loss over some folds."""
        scores = torch.cat([held_out(fold, within, l2) for fold in within])
        result = evaluate(scores, torch.cat([labels[numbers == fold] for fold in within]))
        return result.balanced_error if balance else result.error, result.loss

    def best(within: Sequence[int]) -> float:
        return penalties[0] if len(penalties) == 1 else min(penalties, key=lambda l2: over(within, l2))

    chosen = tuple(best([other for other in everything if other != fold]) for fold in everything)
    parts = [held_out(fold, everything, l2) for fold, l2 in zip(everything, chosen, strict=True)]
    scores = torch.empty(len(labels), parts[0].shape[1])
    for fold, part in zip(everything, parts, strict=True):
        scores[numbers == fold] = part
    results = [evaluate(part, labels[numbers == fold]) for fold, part in zip(everything, parts, strict=True)]
    return CrossValidation(folds, scores, evaluate(scores, labels), tuple(results), chosen, best(everything))


def learning_curve(features: Tensor, labels: Tensor, crossed: CrossValidation, fit: Fit, seed: int) -> LearningCurve:
    """Cross-validate in the same folds, with the same penalties, on shares of each fold's training images.

    The images of a smaller share are among those of a larger one; each class gives its share, one image or more.
    """
    numbers, own = torch.from_numpy(crossed.folds), labels.cpu()
    order = torch.randperm(len(own), generator=generator(seed, "learning"))
    images, results, right = [], [], []
    for share in SHARES:
        scores, used = crossed.scores.clone(), []
        for fold, l2 in zip(sorted(set(crossed.folds.tolist())), crossed.l2, strict=True):
            rest = order[numbers[order] != fold]
            classes = [rest[own[rest] == label] for label in own.unique()]
            rows = torch.cat([members[: math.ceil(share * len(members))] for members in classes]).sort().values
            used.append(len(rows))
            if share < 1:
                head = fit(features[rows], labels[rows], l2, f"{share} without fold {fold}")
                with torch.inference_mode():
                    scores[numbers == fold] = head(features[numbers == fold]).cpu()
        images.append(round(sum(used) / len(used)))
        results.append(evaluate(scores, own))
        right.append((scores.argmax(1) == own).numpy())
    return LearningCurve(tuple(images), tuple(results), tuple(right))
