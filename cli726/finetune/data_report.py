"""A data set looked over before it is trained on: probable label errors, near duplicates, leaks, outliers, odd images.

Nothing is changed. All rests on the features of a pre-trained network, which --cache keeps: correcting a label and
looking again computes none.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.store import Store
from cache.system import default_cache_dir
from cli726.document import Document, Table
from cli726.errors import RequestError
from cli726.finetune.chance import generator
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.datasets import load_dataset, reading_for
from cli726.finetune.data.decoding import Pixels
from cli726.finetune.data.images import SPLITS, Dataset, Labels, SplitName, make_splits
from cli726.finetune.data.odd import FAR, odd_files, odd_pixels, robust_scores
from cli726.finetune.data.sources import text_of
from cli726.finetune.data.twins import SIDE, Twins, find_twins
from cli726.finetune.features.bank import Bank
from cli726.finetune.network.heads import Standardize, build_head
from cli726.finetune.network.weights import Weights, load_weights
from cli726.finetune.training import Trainer
from cli726.finetune.training.evaluation import Evaluation
from cli726.finetune.training.exact_head import solve_head
from cli726.finetune.training.folds import CrossValidation, cross_validate, draw_folds
from cli726.reporting import Reporter
from cli726.text import counted, listed, spreadsheet_text, typed_path

FOLDS = 5
# Of the head; the one with the least loss on images that it has not seen is taken.
PENALTIES = (1e-3, 1e-2, 1e-1)
# Rows of a table on the screen.
SHOWN = 10


class LabelError(NamedTuple):
    """An image whose label is less probable than another; images by their positions."""

    image: int
    given: str
    suggested: str
    score: float  # 1 minus the probability of the label given
    probability: float  # of the label suggested


class Alike(NamedTuple):
    """Images of one picture: identical ones, or two near duplicates."""

    images: tuple[int, ...]
    similarity: float
    splits: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def identical(self) -> bool:
        return self.similarity == 1

    @property
    def leaks(self) -> bool:
        """Return whether one picture is in several splits: a model is tested on what it has seen."""
        return len(set(self.splits)) > 1


@dataclass(frozen=True)
class DataReport:
    """What was found; images are positions among those of train, validation and test, one after another.

    Attributes:
        paths: Of the images: files, or split and number.
        thumbnails: (N, 32, 32, 3).
        counts: Images of each class, and of each split.
        judged: How often the heads were right on images that they had not seen; None without two classes to tell apart.
        label_errors: The least probable label first.
        near_duplicates: Identical ones, then the most alike.
        outliers: (position, distance), the farthest first.
        odd: (position, reason).
        notes: What could not be judged.
    """

    data: Dataset
    backbone: str
    paths: tuple[str, ...]
    thumbnails: Pixels
    counts: dict[str, int]
    splits: dict[str, int]
    judged: Evaluation | None
    label_errors: tuple[LabelError, ...]
    near_duplicates: tuple[Alike, ...]
    outliers: tuple[tuple[int, float], ...]
    odd: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Return what was not read, and why."""
        return [(one.name, one.reason) for one in self.data.left_out]

    def to_json(self) -> dict[str, Any]:
        """Return CLI.md's keys."""
        path = self.paths.__getitem__
        return {
            "dataset": {"name": self.data.name, "digest": self.data.digest, "images": len(self.paths)},
            "backbone": self.backbone,
            "counts": self.counts,
            "splits": self.splits,
            "accuracy": self.judged and self.judged.to_json(),
            "label_errors": [{"path": path(one.image), **{k: v for k, v in one._asdict().items() if k != "image"}}
                             for one in self.label_errors],
            "near_duplicates": [
                {
                    "paths": [path(image) for image in one.images], "similarity": one.similarity,
                    "splits": list(one.splits), "labels": list(one.labels), "identical": one.identical,
                }
                for one in self.near_duplicates
            ],
            "outliers": [{"path": path(image), "distance": distance} for image, distance in self.outliers],
            "odd": [{"path": path(image), "reason": reason} for image, reason in self.odd],
            "skipped": [{"path": name, "reason": reason} for name, reason in self.skipped],
            "notes": list(self.notes),
        }  # fmt: skip

    def to_csv(self) -> str:
        """Return a row for each finding; further images of the same picture stand in rows of their own."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["finding", "number", "path", "split", "label", "suggested", "score", "reason"])

        def write(finding: str, number: int, path: str, *rest: object) -> None:
            writer.writerow(
                [finding, number, *(spreadsheet_text(p) if isinstance(p, str) else p for p in (path, *rest))]
            )

        for number, error in enumerate(self.label_errors, 1):
            write("label error", number, self.paths[error.image], "", *error[1:4], "")
        for number, alike in enumerate(self.near_duplicates, 1):
            kind = "identical" if alike.identical else "near duplicate"
            for image, split, label in zip(alike.images, alike.splits, alike.labels, strict=True):
                write(kind, number, self.paths[image], split, label, "", alike.similarity, "leak" * alike.leaks)
        for number, (image, distance) in enumerate(self.outliers, 1):
            write("outlier", number, self.paths[image], "", "", "", distance, "")
        for number, (image, reason) in enumerate(self.odd, 1):
            write("odd", number, self.paths[image], "", "", "", "", reason)
        for number, (name, reason) in enumerate(self.skipped, 1):
            write("skipped", number, name, "", "", "", "", reason)
        return out.getvalue()

    def lead(self) -> list[str]:
        """Return the findings counted, in sentences."""
        identical = sum(one.identical for one in self.near_duplicates)
        leaks = sum(one.leaks for one in self.near_duplicates)
        twins = counted(len(self.near_duplicates) - identical, "pair")
        sizes = ", ".join(f"{count:,} {split}" for split, count in self.splits.items())
        errors, seen = counted(len(self.label_errors), "image"), self.judged and self.judged.text
        across = f"{leaks:,} of them across splits"
        duplicates = f"{counted(identical, 'group')} of identical images, {twins} of near duplicates"
        others = (len(self.outliers), "outlier"), (len(self.odd), "odd image"), (len(self.skipped), "file")
        lines = [
            f"{self.data.name}: {counted(len(self.paths), 'image')} of {len(self.counts)} classes ({sizes})",
            f"labels: for {errors} another label is more probable; heads that had not seen the images: {seen}",
            f"duplicates: {duplicates}; {across}",
            f"others: {', '.join(counted(*other) for other in others)} not read",
        ]
        return [line for line in lines if seen or not line.startswith("labels")] + list(self.notes)

    def document(self) -> Document:
        """Return what a person reads: counts, and the first of each kind of finding."""
        errors = [(self.paths[one.image], one.given, one.suggested, f"{one.score:.3f}") for one in self.label_errors]
        alike = []
        for one in self.near_duplicates:
            first, second, *more = (self.paths[image] for image in one.images)
            others = f"{second} and {len(more)} more" if more else second
            kind = "identical" if one.identical else f"{one.similarity:.3f}"
            alike.append((first, others, ", ".join(dict.fromkeys(one.splits)), kind))
        far = [(self.paths[image], f"{distance:.3f}") for image, distance in self.outliers]
        odd = [(self.paths[image], reason) for image, reason in self.odd]
        kinds: list[tuple[str, tuple[str, ...], list[Any], int]] = [
            ("Classes", ("class", "images"), [(name, f"{count:,}") for name, count in self.counts.items()], 1),
            ("Probable label errors", ("image", "given", "more probable", "score"), errors, 3),
            ("Duplicates", ("image", "other", "splits", "similarity"), alike, 3),
            ("Outliers", ("image", "distance"), far, 1),
            ("Odd images", ("image", "why"), odd, 2),
            ("Not read", ("file", "why"), self.skipped, 2),
        ]
        tables = []
        for title, columns, rows, numeric in kinds:
            most = len(rows) if title == "Classes" else SHOWN
            cut = f" (the first {most} of {len(rows):,})" if len(rows) > most else ""
            tables += [Table(title + cut, columns, rows[:most], numeric=numeric)] if rows else []
        return Document(self.lead(), {}, [], tables)


def report_data(config: FinetuneConfig, reporter: Reporter) -> DataReport:
    """Look a data set over.

    Args:
        config: What `finetune` would be asked: data set, backbone, cache, machine.

    Raises:
        RequestError, UntrustedDataError, EnvironmentFailure: as in a run.
    """
    bank, weights = open_bank(config, reporter)
    data = bank.dataset
    every = [split for split in SPLITS if len(data.splits[split])]
    features = torch.cat([bank.features(split, bank.last)[:].cpu() for split in every])
    labels = np.concatenate([data.labels(split) for split in every])
    thumbnails = np.concatenate([data.thumbnails(split, SIDE).pixels for split in every])
    digests = np.concatenate([data.image_digests(split) for split in every])
    of_split = [split for split in every for _ in range(len(data.splits[split]))]
    reporter.start("near duplicates", 0)
    twins = find_twins(features, thumbnails, digests)
    reporter.finish(f"near duplicates: {counted(len(twins.pairs), 'pair')}")
    judged, errors, notes = label_errors(features, labels, twins, data.class_names, config.seed, reporter)
    names = np.array(data.class_names, object)[labels]
    far = robust_scores(twins.distance.astype(np.float64)) > FAR
    outliers = sorted(np.flatnonzero(far).tolist(), key=lambda image: -twins.distance[image])
    return DataReport(
        data=data,
        backbone=weights.kind.name,
        paths=tuple(path for split in every for path in paths_of(data, split)),
        thumbnails=thumbnails,
        counts={name: int((labels == number).sum()) for number, name in enumerate(data.class_names)},
        splits={split: len(data.splits[split]) for split in every},
        judged=judged,
        label_errors=errors,
        near_duplicates=tuple(all_alike(twins, of_split, names.tolist())),
        outliers=tuple((image, float(twins.distance[image])) for image in outliers),
        odd=tuple(all_odd(data, every)),
        notes=notes,
    )


def open_bank(config: FinetuneConfig, reporter: Reporter) -> tuple[Bank, Weights]:
    """Return the data set, in the splits that a run would draw, and a network for its features."""
    machine = Trainer(config, reporter)
    load = partial(load_weights, config.weights, seed=config.seed, reporter=reporter)
    named = None if config.weights == "auto" else load(config.kind)
    data = load_dataset(config.dataset, reading_for(config, reporter, named.kind if named else None), divide=False)
    try:
        splits = make_splits(data.pools, None, None, data.class_names)
    except RequestError:  # a class has too few images to be divided: all may be looked at none the less
        splits = make_splits(data.pools, 0, 0, data.class_names)
    weights = named or load(data.treated.kind)
    place = typed_path(config.cache_dir) if config.cache_dir else default_cache_dir()
    bank = Bank(
        replace(data, splits=splits), weights.build(), weights.normalization, machine.precision, machine.device,
        reporter, kind=weights.kind, store=Store(place) if config.cache else None,
    )  # fmt: skip
    return bank, weights


def paths_of(data: Dataset, split: SplitName) -> Iterator[str]:
    """Yield where each image of a split comes from: its file, or its number, with its pool where there are several."""
    pool, indices = data.chosen(split)
    prefix = f"{data.splits[split].pool}/" if len(data.pools) > 1 else ""
    for index in indices:
        yield text_of(pool.files[index]) if pool.files else f"{prefix}{pool.names[index]}"


def score_unseen(
    features: Tensor, labels: Tensor, folds: NDArray[np.intp], seed: int, reporter: Reporter
) -> CrossValidation:
    """Score every image by an exact linear head fitted to the other folds, with the penalty of the least loss."""
    classes = int(labels.max()) + 1
    reporter.start("labels", FOLDS * len(PENALTIES))

    def fit(features: Tensor, labels: Tensor, l2: float, _: str) -> nn.Module:
        head = build_head(features.shape[1], classes, generator(seed, "labels"))
        cast(Standardize, head[0]).fit(features)
        solve_head(head, features, labels, l2, balance=False)
        reporter.advance(1)
        return head.eval()

    tried = [cross_validate(features, labels, folds, (l2,), fit) for l2 in PENALTIES]
    crossed = min(tried, key=lambda one: one.result.loss)
    reporter.finish(f"labels: {crossed.result.text}")
    return crossed


def label_errors(
    features: Tensor, labels: Labels, twins: Twins, names: tuple[str, ...], seed: int, reporter: Reporter
) -> tuple[Evaluation | None, tuple[LabelError, ...], tuple[str, ...]]:
    """Return how often heads are right on images that they have not seen, and which ones they would label otherwise.

    An image is scored by an exact linear head that was fitted to the other folds; near duplicates are in one fold, so
    that no copy vouches for a label. The third part names classes with too few images to be judged.
    """
    groups = twins.groups()
    different = np.array([len(np.unique(groups[labels == number])) for number in range(len(names))])
    few = [name for name, count in zip(names, different, strict=True) if count < 2]
    notes = (f"labels not judged, for want of two different images: {listed(few)}",) if few else ()
    known = np.flatnonzero(different >= 2)
    if len(known) < 2:
        return None, (), notes
    rows = np.flatnonzero(np.isin(labels, known))
    own = torch.from_numpy(np.searchsorted(known, labels[rows]))
    inputs = features[torch.from_numpy(rows)]
    folds = draw_folds(own.numpy(), groups[rows], [names[k] for k in known], FOLDS, seed)
    crossed = score_unseen(inputs, own, folds, seed, reporter)
    shares = crossed.scores.double().softmax(1)
    given = shares.gather(1, own[:, None])[:, 0]
    other, likeliest = shares.scatter(1, own[:, None], -1).max(1)
    found = []
    for place in given.argsort(stable=True).tolist():
        if other[place] > given[place]:
            image, suggested = int(rows[place]), names[known[likeliest[place]]]
            score, probability = 1 - float(given[place]), float(other[place])
            found.append(LabelError(image, names[labels[image]], suggested, score, probability))
    return crossed.result, tuple(found), notes


def all_alike(twins: Twins, of_split: Sequence[str], labels: Sequence[str]) -> Iterator[Alike]:
    """Yield groups of identical images, then pairs of near duplicates."""
    copies: dict[int, list[int]] = defaultdict(list)
    for image, first in enumerate(twins.original.tolist()):
        copies[first].append(image)
    found = [(images, 1.0) for images in copies.values() if len(images) > 1]
    # A product of equal details may round to 1, or above.
    pairs = zip(twins.pairs.tolist(), twins.similarity.clip(max=1 - 1e-6).tolist(), strict=True)
    for images, similarity in (*found, *pairs):
        splits, given = ([names[image] for image in images] for names in (of_split, labels))
        yield Alike(tuple(images), similarity, tuple(splits), tuple(given))


def all_odd(data: Dataset, every: Sequence[SplitName]) -> Iterator[tuple[int, str]]:
    """Yield odd images by position, with all the reasons."""
    reasons: dict[int, list[str]] = defaultdict(list)
    start = 0
    for split in every:
        pool, indices = data.chosen(split)
        found = [*odd_pixels(pool.pixels[indices])]
        found += odd_files([pool.files[index] for index in indices], data.treated.size) if pool.files else []
        for position, reason in found:
            reasons[start + position].append(reason)
        start += len(indices)
    for position in sorted(reasons):
        yield position, "; ".join(reasons[position])
