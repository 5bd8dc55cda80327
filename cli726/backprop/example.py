"""Problem 3's network and data point: what was typed, then what a file holds, then what the seed gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cli726.backprop import Array, LayeredNetwork
from cli726.choices import Hidden
from cli726.errors import RequestError
from cli726.vectors import integers, vector

MOST_WEIGHTS = 1_000_000
# Independent streams of one seed: giving --x leaves the weights drawn as they are.
WEIGHT_STREAM, INPUT_STREAM, TARGET_STREAM = 12, 13, 14


def require(condition: bool, message: str) -> None:
    """Raise a RequestError unless a condition holds."""
    if not condition:
        raise RequestError(message)


def check_sizes(sizes: Sequence[int]) -> None:
    """Refuse layer sizes that make no network, or one too large to print."""
    got, total = f"got --layers {','.join(map(str, sizes))}", sum(a * b for a, b in pairwise(sizes))
    require(len(sizes) > 1, f"a network has at least two layers, inputs and outputs; {got}; try 3,3,3,1")
    require(min(sizes) > 0, f"every layer has at least 1 unit; {got}; try 3,3,3,1")
    require(total <= MOST_WEIGHTS, f"at most {MOST_WEIGHTS:,} weights; {got}: {total:,}; use smaller layers")


def draw(shape: Sequence[int], generator: np.random.Generator, scale: float = 1.0) -> Array:
    """Return normal numbers, rounded to two decimals so that a page can hold them exactly."""
    return np.round(generator.normal(0, scale, shape), 2) + 0.0


def read(path: Path) -> Mapping[str, Any]:
    """Return the fields of a weights file; those of a bare list of matrices are `weights`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise RequestError(f"a weights file must exist; there is no file {path}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"a weights file must be JSON, as --json prints it; {path} is not: {error}") from None
    return document if isinstance(document, Mapping) else {"weights": document}


def shown(value: Any) -> str:
    """Return a value of a file, short enough for a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def matrix_of(rows: Any, where: str) -> Array:
    """Return a JSON list of rows as ndarray of shape (rows, columns)."""
    try:
        matrix = np.array(rows)
    except ValueError:  # rows of different lengths
        matrix = np.empty(0)
    right = matrix.ndim == 2 and matrix.size and matrix.dtype.kind in "iuf" and np.all(np.abs(matrix) <= 1e30)
    what = f"{where} must be a list of rows of one length, of finite numbers up to 1e30 in size; got {shown(rows)}"
    require(bool(right), f"{what}; write it as --json prints it")
    return matrix.astype(np.float64)


def example(
    *,
    layers: str | None = None,
    x: str | None = None,
    t: str | None = None,
    weights: Path | None = None,
    hidden: Hidden | None = None,
    seed: int = 0,
) -> tuple[LayeredNetwork, Array, Array]:
    """Return a network and a data point; what was not typed comes from the file, and what that lacks from the seed.

    Args:
        layers, x, t: Units of each layer (3,3,3,1 if nobody says), inputs and targets, separated by commas.
        weights: JSON file with a matrix for each layer, or a whole document of `cmpt726 backprop --json`.
        hidden, seed: What hidden units do (logistic if nobody says); from which missing numbers are drawn.

    Raises:
        RequestError: for anything that doesn't fit together.
    """
    fields = {} if weights is None else read(weights)
    sizes = tuple(integers("3,3,3,1" if layers is None else layers, "--layers", "3,3,3,1"))
    check_sizes(sizes)
    if weights is None:
        generator = np.random.default_rng([seed, WEIGHT_STREAM])
        matrices = [draw((above, below), generator, below**-0.5) for below, above in pairwise(sizes)]
    else:
        listed = fields.get("weights")
        what = f"a weights file holds a list with a matrix for each layer, alone or under `weights`; {weights} holds "
        require(isinstance(listed, list) and bool(listed), f"{what}{shown(listed)}; write it as --json prints it")
        matrices = [matrix_of(rows, f"{weights}: matrix {layer}") for layer, rows in enumerate(listed or (), start=1)]
    kind = fields.get("hidden", "logistic")
    require(kind in list(Hidden), f"{weights}: hidden must be logistic or relu; got {shown(kind)}; correct the file")
    network = LayeredNetwork(tuple(matrices), hidden or Hidden(kind))
    what = f"the weights must be those of --layers {layers}; {weights} has layers {','.join(map(str, network.sizes))}"
    require(layers is None or network.sizes == sizes, f"{what}; leave out --layers or change the file")
    check_sizes(network.sizes)

    def point(name: str, option: str | None, count: int, stream: int) -> Array:
        """Return inputs or targets."""
        if option is not None:
            return vector(option, count, f"--{name}")
        value = fields.get(name)
        if value is None:
            return draw((count,), np.random.default_rng([seed, stream]))
        row: Array = matrix_of([value if isinstance(value, list) else [value]], f"{weights}: {name}")[0]
        what = f"{weights}: {name} must have {count} numbers; got {len(row)}; correct the file or give --{name}"
        require(len(row) == count, what)
        return row

    return network, point("x", x, network.sizes[0], INPUT_STREAM), point("t", t, network.sizes[-1], TARGET_STREAM)
