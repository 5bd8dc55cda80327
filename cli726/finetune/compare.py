"""Two finished runs on the same images: which of them each has right, and whether chance explains the difference."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from cache.system import read_small
from cli726.document import Document, Table
from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.folder import LARGEST_TEXT, RunFolder, read_json
from cli726.finetune.folder.runs import finished_run
from cli726.finetune.result import Finetuned
from cli726.finetune.training.evaluation import mcnemar, wilson_interval
from cli726.text import counted, listed, spreadsheet_text

FILE = "predictions.csv"
COLUMNS = ["image", "digest", "class", "predicted", "probability"]
SHOWN = 20  # images on a terminal; JSON has all


class Judged(NamedTuple):
    """An image that a run was judged on: SHA-256 of its pixels, its class, and what the run took it for."""

    image: str
    digest: str
    true: str
    predicted: str

    @property
    def right(self) -> bool:
        return self.true == self.predicted


def predictions_csv(result: Finetuned) -> str:
    """Return a row for each image that a run was judged on: of its test images, or with --folds of all."""
    (split, _, scores), out = result.judged, io.StringIO()
    writer, names = (
        csv.writer(out, lineterminator="\n"),
        [spreadsheet_text(name) for name in result.dataset.class_names],
    )
    writer.writerow(COLUMNS)
    probabilities, predicted = scores.double().softmax(1).max(1)
    pool, indices = result.dataset.chosen(split)
    digests = result.dataset.identities(split)
    for index, digest, guess, share in zip(indices, digests, predicted.tolist(), probabilities.tolist(), strict=True):
        image, label = spreadsheet_text(pool.names[index]), names[pool.labels[index]]
        writer.writerow([image, digest.tobytes().hex(), label, names[guess], share])
    return out.getvalue()


def read_predictions(path: Path) -> list[Judged]:
    """Return the rows of such a file; ValueError where it is none."""
    header, *rows = csv.reader(io.StringIO(read_small(path, LARGEST_TEXT).decode(), newline=""), strict=True)
    if header != COLUMNS or not rows:
        raise ValueError("it must have a header and a row for each image")
    found = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(COLUMNS) or not re.fullmatch("[0-9a-f]{64}", row[1]) or not 0 <= float(row[4]) <= 1:
            raise ValueError(f"line {number}")
        # The apostrophe is for spreadsheets.
        image, true, predicted = (re.sub("^'(?=[-=+@])", "", row[place]) for place in (0, 2, 3))
        found.append(Judged(image, row[1], true, predicted))
    return found


@dataclass(frozen=True)
class Side:
    """One of two runs.

    Attributes:
        judged: By digest and, of identical images, number.
        bytes: Of the model's file.
        made: What decides which images it is judged on, in words.
    """

    run: Path
    dataset: str
    backbone: str
    seconds: float
    bytes: int
    judged: Mapping[tuple[str, int], Judged]
    made: Mapping[str, str]

    @property
    def right(self) -> int:
        return sum(one.right for one in self.judged.values())

    def to_json(self) -> dict[str, Any]:
        names, images = ("dataset", "backbone", "seconds", "bytes"), len(self.judged)
        counts = {"accuracy": self.right / images, "interval": wilson_interval(self.right, images)}
        return {"run": str(self.run), **{name: getattr(self, name) for name in names}, **counts}


def numbered(rows: Iterable[Judged]) -> dict[tuple[str, int], Judged]:
    """Return images by digest, identical ones numbered."""
    seen: Counter[str] = Counter()
    found = {}
    for row in sorted(rows, key=lambda row: (row.digest, row.true, row.image)):
        found[row.digest, seen[row.digest]] = row
        seen[row.digest] += 1
    return found


def read_side(name: str) -> Side:
    """Return a finished run, named as everywhere.

    Raises:
        RequestError: if there is none, or it has no list of its predictions.
        UntrustedDataError: if its files are not those of a run of ours.
    """
    path = finished_run(name)
    if not (path / FILE).is_file():
        raise RequestError(f"runs to compare must have a {FILE}; {path} was made before there was one; train it again")
    _, config, facts = RunFolder.open(path)
    try:
        summary, judged = read_json(path / "summary.json"), numbered(read_predictions(path / FILE))
        data, share = str(summary["dataset"]["name"]), facts["resolved"]["test_fraction"]
        split = f"{float(share):.3g} of {data} for testing"
        if summary["test"] is None:
            split = f"{config.folds} folds of {data}"
        made = {"drawn": split, "digest": str(summary["dataset"]["digest"])}
        size = (path / "best.safetensors").stat().st_size
        return Side(path, data, str(summary["backbone"]), float(summary["seconds"]), size, judged, made)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise UntrustedDataError(f"{path} is not a finished run of ours ({error}); train it again") from None


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images."""

    a: Side
    b: Side

    @cached_property
    def pairs(self) -> list[tuple[Judged, Judged]]:
        """Return what both runs said of each image: first those that A alone has right, then B, both, none."""
        pairs = [(one, self.b.judged[key]) for key, one in self.a.judged.items()]
        return sorted(pairs, key=lambda pair: (pair[0].right == pair[1].right, pair[1].right, pair[0].image))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return how many images both have right, only one of them, none."""
        found = Counter((one.right, other.right) for one, other in self.pairs)
        names = {"both_right": (True, True), "only_a": (True, False), "only_b": (False, True)}
        return {**{name: found[pair] for name, pair in names.items()}, "both_wrong": found[False, False]}

    @property
    def p_value(self) -> float:
        return mcnemar(self.counts["only_a"], self.counts["only_b"])

    @property
    def flipped(self) -> list[dict[str, str]]:
        """Return the images that the runs take for different classes; first those that one of them has right."""
        return [
            {"path": one.image, "a": one.predicted, "b": other.predicted, "true": one.true}
            for one, other in self.pairs
            if one.predicted != other.predicted
        ]

    @property
    def classes(self) -> list[dict[str, Any]]:
        """Return, for each class, images and how many each run has right, and alone."""
        found: dict[str, Counter[str]] = {}
        for one, other in sorted(self.pairs, key=lambda pair: pair[0].true):
            alone = {(True, False): ["only_a"], (False, True): ["only_b"]}.get((one.right, other.right), [])
            right = [name for name, judged in (("right_a", one), ("right_b", other)) if judged.right]
            found.setdefault(one.true, Counter()).update(["images", *right, *alone])
        names = ("images", "right_a", "right_b", "only_a", "only_b")
        return [{"class": name, **{key: count[key] for key in names}} for name, count in found.items()]

    def to_json(self) -> dict[str, Any]:
        """Return CLI.md's keys, and what is known of the runs and classes."""
        return {
            "a": str(self.a.run),
            "b": str(self.b.run),
            "images": len(self.pairs),
            **self.counts,
            "p_value": self.p_value,
            "flipped": self.flipped,
            "classes": self.classes,
            "runs": {"a": self.a.to_json(), "b": self.b.to_json()},
        }

    def document(self) -> Document:
        """Return what a person reads."""
        counts, images, flipped, p = self.counts, len(self.pairs), self.flipped, self.p_value
        apart = counts["only_a"] + counts["only_b"]
        gain = 100 * (self.b.right - self.a.right) / images
        verdict = f"{'' if p < 0.05 else 'not '}significant at the 5 % level"
        lead = (
            f"B has {self.b.right:,}, A {self.a.right:,} of the same {counted(images, 'image')} right: {gain:+.2f} "
            f"points. Only one of them has {counted(apart, 'image')} right, A {counts['only_a']:,} and B "
            f"{counts['only_b']:,}: p = {p:.3g} (exact McNemar test), {verdict}."
        )
        rows = [(what, form(self.a), form(self.b)) for what, form in SIDES.items()]
        paired = [
            ("A right", f"{counts['both_right']:,}", f"{counts['only_a']:,}"),
            ("A wrong", f"{counts['only_b']:,}", f"{counts['both_wrong']:,}"),
        ]
        classes = [tuple(str(value) for value in row.values()) for row in self.classes]
        tables = [
            Table("Runs", ("what", "A", "B"), rows),
            Table("Paired", ("", "B right", "B wrong"), paired),
            Table("By class", ("class", "images", "A right", "B right", "only A", "only B"), classes),
        ]
        if flipped:
            more = f", {SHOWN} of {len(flipped):,} (--json has all)" if len(flipped) > SHOWN else ""
            changed = [tuple(row[name] for name in ("path", "true", "a", "b")) for row in flipped[:SHOWN]]
            tables.append(Table(f"Classified differently{more}", ("image", "class", "A", "B"), changed, numeric=4))
        return Document([lead], {}, [], tables)


SIDES: dict[str, Any] = {
    "run": lambda side: str(side.run),
    "data": lambda side: side.dataset,
    "backbone": lambda side: side.backbone,
    "accuracy": lambda side: f"{side.right / len(side.judged):.2%}",
    "95 % interval": lambda side: "{:.2%} to {:.2%}".format(*wilson_interval(side.right, len(side.judged))),
    "time": lambda side: f"{side.seconds:.1f} s",
    "model": lambda side: f"{side.bytes / 1e6:.2f} MB",
}


def compare(a: str, b: str) -> Comparison:
    """Compare two finished runs, each named by its folder, its name in `runs/`, or latest.

    Raises:
        RequestError: if one is missing or unfinished, or they were not judged on the same images, with what differs.
    """
    one, other = read_side(a), read_side(b)
    extra = [len(mine.judged.keys() - theirs.judged.keys()) for mine, theirs in ((one, other), (other, one))]
    labels = [key for key in one.judged.keys() & other.judged.keys() if one.judged[key].true != other.judged[key].true]
    if any(extra):
        drawn = {one.made["drawn"]: None, other.made["drawn"]: None}
        changed = "" if one.made["digest"] == other.made["digest"] else "the images were changed or read otherwise"
        how = listed(drawn) if len(drawn) > 1 else changed
        raise RequestError(
            f"runs must have been judged on the same images to be compared; {extra[0]:,} of {len(one.judged):,} are "
            f"only in {one.run}, {extra[1]:,} of {len(other.judged):,} only in {other.run}{how and f' ({how})'}; train "
            "one of them again with the other's data and fractions"
        )
    if labels:
        first, second = one.judged[labels[0]], other.judged[labels[0]]
        raise RequestError(
            f"runs must have been judged by the same labels to be compared; {counted(len(labels), 'image')} changed "
            f"class, such as {first.image}: {first.true} in {one.run}, {second.true} in {other.run}; train the older "
            "one again"
        )
    return Comparison(one, other)
