"""Where problem 3's network and data point come from: what was typed, then a file, then the seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.backprop.network import LayeredNetwork
from cli726.choices import Hidden
from cli726.errors import RequestError
from cli726.vectors import integers, vector

__all__ = ["example"]

Array = NDArray[np.float64]
ASSIGNED_SIZES = (3, 3, 3, 1)
MOST_WEIGHTS = 1_000_000
# Independent streams of one seed: giving --x leaves the weights drawn as they are.
WEIGHT_STREAM, INPUT_STREAM, TARGET_STREAM = 12, 13, 14


def check_sizes(sizes: Sequence[int]) -> None:
    """Refuse layer sizes that make no network, or one too large to print.

    Raises:
        RequestError: with the value received.
    """
    shown = ",".join(map(str, sizes))
    if len(sizes) < 2:
        raise RequestError(f"a network has at least two layers, inputs and outputs; got --layers {shown}; try 3,3,3,1")
    if min(sizes) < 1:
        raise RequestError(f"every layer has at least 1 unit; got --layers {shown}; try 3,3,3,1")
    total = sum(a * b for a, b in pairwise(sizes))
    if total > MOST_WEIGHTS:
        raise RequestError(f"at most {MOST_WEIGHTS:,} weights; --layers {shown} has {total:,}; use smaller layers")


def draw(shape: Sequence[int], generator: np.random.Generator, scale: float = 1.0) -> Array:
    """Return normal numbers, rounded to two decimals so that a page can hold them exactly."""
    return np.round(generator.normal(0, scale, shape), 2) + 0.0


def read_json(path: Path) -> Any:
    """Return the JSON document in a file.

    Raises:
        RequestError: if there is no such file, or it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise RequestError(f"a weights file must exist; there is no file {path}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"a weights file must be JSON; {path} is not ({error}); write it as --json prints it"
        ) from None


def shown(value: Any) -> str:
    """Return a value of a file, short enough for a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def row_of(values: Any, where: str) -> list[float]:
    """Return a JSON list of finite numbers."""
    if not isinstance(values, list) or not values:
        raise RequestError(f"{where} must be a list of numbers with at least one; got {shown(values)}; see --json")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e30:
            raise RequestError(
                f"{where} must hold finite numbers up to 1e30 in size; got {shown(value)}; correct the file"
            )
    return [float(value) for value in values]


def matrix_of(rows: Any, where: str) -> Array:
    """Return a JSON list of rows as ndarray of shape (rows, columns)."""
    if not isinstance(rows, list) or not rows:
        raise RequestError(f"{where} must be a list of rows, a row for each unit; got {shown(rows)}; see --json")
    numbers = [row_of(row, f"{where}, row {index}") for index, row in enumerate(rows, start=1)]
    if len({len(row) for row in numbers}) > 1:
        lengths = ", ".join(str(len(row)) for row in numbers)
        raise RequestError(f"{where} must have rows of one length; got lengths {lengths}; correct the file")
    return np.array(numbers)


def matrices(listed: Any, path: Path) -> tuple[Array, ...]:
    """Return the matrices of a weights file.

    Raises:
        RequestError: if the content is no list of matrices.
    """
    if not isinstance(listed, list) or not listed:
        raise RequestError(
            f"a weights file holds a list with a matrix for each layer, alone or under `weights`; {path} holds "
            f"{shown(listed)}; write it as --json prints it"
        )
    return tuple(matrix_of(rows, f"{path}: matrix {layer}") for layer, rows in enumerate(listed, start=1))


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
        layers: Units in each layer, inputs first, such as "3,3,3,1".
        x: Inputs, separated by commas.
        t: Targets, one for each output, separated by commas.
        weights: JSON file with a matrix for each layer, or a whole document of `cmpt726 backprop --json`.
        hidden: What hidden units do; logistic if nobody says.
        seed: From which missing numbers are drawn.

    Returns:
        The network, the inputs (ndarray of shape (inputs,)), the targets (ndarray of shape (outputs,)).

    Raises:
        RequestError: for anything that doesn't fit together.
    """
    sizes = ASSIGNED_SIZES if layers is None else tuple(integers(layers, "--layers", "3,3,3,1"))
    check_sizes(sizes)
    path, stated = weights or Path(), {} if weights is None else read_json(weights)
    fields: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {"weights": stated}
    if weights is None:
        generator = np.random.default_rng([seed, WEIGHT_STREAM])
        # N(0, 1 / inputs of the unit).
        matrix = tuple(draw((above, below), generator, below**-0.5) for below, above in pairwise(sizes))
    else:
        matrix = matrices(fields.get("weights"), path)
    kind = fields.get("hidden")
    if kind is not None and kind not in list(Hidden):
        raise RequestError(f"{path}: hidden must be logistic or relu; got {shown(kind)}; correct the file")
    network = LayeredNetwork(matrix, hidden or Hidden(kind or Hidden.logistic))
    if layers is not None and network.sizes != sizes:
        raise RequestError(
            f"the weights must be those of --layers {layers}; {path} has layers {','.join(map(str, network.sizes))}; "
            "leave out --layers or change the file"
        )
    check_sizes(network.sizes)

    def point(name: str, option: str | None, count: int, stream: int) -> Array:
        if option is not None:
            return vector(option, count, f"--{name}")
        value = fields.get(name)
        if value is None:
            return draw((count,), np.random.default_rng([seed, stream]))
        row = row_of(value if isinstance(value, list) else [value], f"{path}: {name}")
        if len(row) != count:
            raise RequestError(
                f"{path}: {name} must have {count} numbers; got {len(row)}; correct the file or give --{name}"
            )
        return np.array(row)

    inputs, outputs = network.sizes[0], network.sizes[-1]
    return network, point("x", x, inputs, INPUT_STREAM), point("t", t, outputs, TARGET_STREAM)
