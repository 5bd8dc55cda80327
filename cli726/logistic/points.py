"""Labelled points: the bundled ones, or the user's file, read line by line so that an error can say where it is."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cli726.errors import RequestError

Array: TypeAlias = npt.NDArray[np.float64]

BUNDLED = Path(__file__).parent.parent / "assets" / "points.txt"
# Of features and weights alike: products and squares, summed over any number of points, stay finite (below 1.8e308).
LARGEST = 1e100
# Narrower than `float`, which also takes "1_000" and the digits of every script.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Points:
    """N labelled points with D - 1 named `features`: whose, "bundled points" or the file's name; `X` (N, D), its last
    column the bias, 1 in every row; labels `t` (N,), 0 and 1; how the bias came, "read from the file" or
    "added"; the `means` (D - 1,) that centring took away, None for points as they were read.
    """

    name: str
    X: Array
    t: Array
    features: tuple[str, ...]
    bias: str
    means: Array | None = None

    @cached_property
    def signed(self) -> Array:
        """Return the rows of X times +1 for class 1, -1 for class 0, (N, D): correct where `signed @ w` is positive."""
        return self.X * (2 * self.t - 1)[:, None]

    @property
    def classes(self) -> tuple[int, int]:
        """Return the points of class 0 and of class 1."""
        return int((self.t == 0).sum()), int((self.t == 1).sum())

    def to_json(self) -> dict[str, Any]:
        """Return what JSON says of them: not the points themselves."""
        named = {"features": self.features, "bias": self.bias, "means": self.means}
        return {"count": len(self.t), "classes": self.classes, **named}


def center(points: Points) -> Points:
    """Return the same points with each feature's mean taken away; the bias column stays 1."""
    means = points.X[:, :-1].mean(axis=0)
    return replace(points, X=np.column_stack([points.X[:, :-1] - means, points.X[:, -1]]), means=means)


def load_points(path: Path | None = None) -> Points:
    """Read and check labelled points; the bundled ones without `path`.

    A line holds the features and, last, the label 0 or 1, separated by white space, or by commas or semicolons, with
    or without a line of names. The last column of features that is 1 in every row is the bias, wherever it stands;
    where there is none it is added. Blank lines and lines that start with # are skipped.

    Raises:
        RequestError: for a file that is missing, is not text or breaks these rules; says the line.
    """
    file, name = (BUNDLED, "bundled points") if path is None else (path, path.name)
    records = split_records(read_text(file, name), name)
    names = header(records)
    rows = records[1:] if names else records
    if not rows:
        raise RequestError(f"{name} holds no points: each line must hold features and a label, such as '4.9 0.8 1 0'")
    width = len(names or rows[0][1])
    if width < 2:
        rule = "a line must hold at least one feature and a label, got 1 column"
        raise RequestError(f"{name}, line {rows[0][0]}: {rule}")
    table = np.array([parse(fields, width, f"{name}, line {line}") for line, fields in rows])  # (N, columns)
    X, t = table[:, :-1], table[:, -1]
    if len(set(t)) == 1:
        other = f"add points of class {1 - t[0]:g}"
        raise RequestError(f"{name} must hold points of both classes, got {len(t)} of class {t[0]:g} alone; {other}")
    ones = np.flatnonzero((X == 1).all(axis=0))
    kept = np.delete(np.arange(X.shape[1]), ones[-1:])
    if not kept.size:
        raise RequestError(f"{name} must have a feature beside the bias, got only a column of ones; add a column")
    labels = tuple(names[column] for column in kept) if names else tuple(f"x{i}" for i in range(1, len(kept) + 1))
    X = np.column_stack([X[:, kept], np.ones(len(X))])
    return Points(name, X, t, labels, "read from the file" if ones.size else "added")


def read_text(file: Path, name: str) -> str:
    """Return the file as text."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        rule = f"there is no file {str(file)!r}: give an existing file of points to --data"
    except IsADirectoryError:
        rule = f"{str(file)!r} is a folder: give a file of points to --data"
    except UnicodeDecodeError:
        rule = f"{name} is not a text file: give lines of features and a label, such as '4.9 0.8 1 0'"
    raise RequestError(rule)


def split_records(text: str, name: str) -> list[tuple[int, list[str]]]:
    """Return (line number, fields) of each line neither blank nor a comment; one separator for the whole file."""
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    separator = next((mark for mark in ",;" if lines and mark in lines[0][1]), None)
    if separator is None:
        return [(n, line.split()) for n, line in lines]
    try:
        fields = csv.reader((line for _, line in lines), delimiter=separator, skipinitialspace=True, strict=True)
        return [(n, [field.strip() for field in record]) for (n, _), record in zip(lines, fields, strict=True)]
    except (csv.Error, ValueError):
        raise RequestError(f"{name} has unbalanced quotes: write plain numbers separated by {separator!r}") from None


def header(records: Sequence[tuple[int, list[str]]]) -> list[str] | None:
    """Return the names of the columns, where the first line has some: for the label and for a feature ("x1 x2 1 t")."""
    if not records:
        return None
    *features, label = (NUMBER.fullmatch(field) is None for field in records[0][1])
    return records[0][1] if label and (any(features) or not features) else None


def parse(fields: list[str], width: int, where: str) -> list[float]:
    """Return a line's finite numbers, the last of them a label."""
    if len(fields) != width:
        rule = f"every line must have as many columns as the first ({width}), got {len(fields)}"
        raise RequestError(f"{where}: {rule}; complete or remove that line")
    for column, field in enumerate(fields, 1):
        if not NUMBER.fullmatch(field):
            rule = f"a value must be a number, got {field[:40]!r}"
            raise RequestError(f"{where}, column {column}: {rule}; correct or remove that line")
        if not abs(float(field)) <= LARGEST:
            rule = f"a value must be finite and within ±{LARGEST:g}, got {field[:40]}"
            raise RequestError(f"{where}, column {column}: {rule}; correct that line or rescale the column")
    *_, label = values = [float(field) for field in fields]
    if label not in (0, 1):
        raise RequestError(f"{where}: the label (last column) must be 0 or 1, got {label:g}; recode the labels")
    return values
