"""Where problem 3's network and data point come from: what was typed, then a file, then the seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Hidden
from cli726.errors import RequestError
from cli726.layered_network import LayeredNetwork
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


def draw_weights(sizes: Sequence[int], seed: int) -> tuple[Array, ...]:
    """Weights from N(0, 1 / inputs of the unit), rounded to two decimals so that a page can hold them exactly.

    Raises:
        RequestError: for sizes that make no network.
    """
    check_sizes(sizes)
    generator = np.random.default_rng([seed, WEIGHT_STREAM])
    return tuple(
        np.round(generator.normal(0, below**-0.5, (above, below)), 2) + 0.0 for below, above in pairwise(sizes)
    )


def draw_vector(length: int, seed: int, stream: int) -> Array:
    """Standard normal numbers, rounded to two decimals; each `stream` of a seed is independent of the others."""
    return np.round(np.random.default_rng([seed, stream]).normal(size=length), 2) + 0.0


def read_json(path: Path) -> Any:
    """The JSON document in a file.

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


def row_of(values: Any, where: str) -> list[float]:
    """A JSON list of finite numbers."""
    if not isinstance(values, list) or not values:
        raise RequestError(f"{where} must be a list of numbers with at least one; got {shown(values)}; see --json")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e30:
            raise RequestError(
                f"{where} must hold finite numbers up to 1e30 in size; got {shown(value)}; correct the file"
            )
    return [float(value) for value in values]


def shown(value: Any) -> str:
    """A value that somebody typed, short enough for a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def matrices(document: Any, path: Path) -> tuple[Array, ...]:
    """The matrices of a weights file: a list of them, or a document that has one under `weights`.

    Returns:
        One ndarray of shape (rows, columns) for each.

    Raises:
        RequestError: if the content is no list of matrices.
    """
    listed = document.get("weights") if isinstance(document, Mapping) else document
    if not isinstance(listed, list) or not listed:
        raise RequestError(
            f"a weights file holds a list with a matrix for each layer, alone or under `weights`; {path} holds "
            f"{shown(document)}; write it as --json prints it"
        )
    result = []
    for layer, matrix in enumerate(listed, start=1):
        where = f"{path}: matrix {layer}"
        if not isinstance(matrix, list) or not matrix:
            raise RequestError(f"{where} must be a list of rows, a row for each unit; got {shown(matrix)}; see --json")
        rows = [row_of(row, f"{where}, row {index}") for index, row in enumerate(matrix, start=1)]
        if len({len(row) for row in rows}) > 1:
            raise RequestError(
                f"{where} must have rows of one length; got lengths {', '.join(str(len(row)) for row in rows)}; "
                "give each unit one number for every unit below it"
            )
        result.append(np.array(rows))
    return tuple(result)


def field(document: Any, name: str, count: int, path: Path) -> Array | None:
    """The number or list of `count` numbers that a document has under `name`; None if it has none.

    Raises:
        RequestError: if it is something else.
    """
    value = document.get(name) if isinstance(document, Mapping) else None
    if value is None:
        return None
    row = row_of(value if isinstance(value, list) else [value], f"{path}: {name}")
    if len(row) != count:
        raise RequestError(
            f"{path}: {name} must have {count} numbers; got {len(row)}; correct the file or give --{name}"
        )
    return np.array(row)


def hidden_of(document: Any, path: Path) -> Hidden | None:
    """What hidden units do, if a document says it."""
    value = document.get("hidden") if isinstance(document, Mapping) else None
    if value is not None and value not in list(Hidden):
        raise RequestError(f"{path}: hidden must be logistic or relu; got {shown(value)}; correct the file")
    return None if value is None else Hidden(value)


def example(
    *,
    layers: str | None = None,
    x: str | None = None,
    t: str | None = None,
    weights: Path | None = None,
    hidden: Hidden | None = None,
    seed: int = 0,
) -> tuple[LayeredNetwork, Array, Array]:
    """A network and a data point; what was not typed comes from the file, and what that lacks from the seed.

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
    path = Path() if weights is None else weights
    document = None if weights is None else read_json(weights)
    drawn = draw_weights(sizes, seed) if weights is None else matrices(document, path)
    network = LayeredNetwork(drawn, hidden or hidden_of(document, path) or Hidden.logistic)
    if layers is not None and network.sizes != sizes:
        raise RequestError(
            f"the weights must be those of --layers {layers}; {path} has layers {','.join(map(str, network.sizes))}; "
            "leave out --layers or change the file"
        )
    check_sizes(network.sizes)
    inputs, outputs = network.sizes[0], network.sizes[-1]
    point = vector(x, inputs, "--x") if x is not None else field(document, "x", inputs, path)
    target = vector(t, outputs, "--t") if t is not None else field(document, "t", outputs, path)
    return (
        network,
        draw_vector(inputs, seed, INPUT_STREAM) if point is None else point,
        draw_vector(outputs, seed, TARGET_STREAM) if target is None else target,
    )
