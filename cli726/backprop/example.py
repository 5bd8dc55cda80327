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
MOST_WEIGHTS = 1_000_000
# Independent streams of one seed: giving --x leaves the weights drawn as they are.
WEIGHT_STREAM, INPUT_STREAM, TARGET_STREAM = 12, 13, 14


def require(condition: bool, message: str) -> None:
    if not condition:
        raise RequestError(message)


def check_sizes(sizes: Sequence[int]) -> None:
    """Refuse layer sizes that make no network, or one too large to print."""
    got, total = ",".join(map(str, sizes)), sum(a * b for a, b in pairwise(sizes))
    require(len(sizes) > 1, f"a network has at least two layers, inputs and outputs; got --layers {got}; try 3,3,3,1")
    require(min(sizes) > 0, f"every layer has at least 1 unit; got --layers {got}; try 3,3,3,1")
    require(
        total <= MOST_WEIGHTS, f"at most {MOST_WEIGHTS:,} weights; --layers {got} has {total:,}; use smaller layers"
    )


def draw(shape: Sequence[int], generator: np.random.Generator, scale: float = 1.0) -> Array:
    """Return normal numbers, rounded to two decimals so that a page can hold them exactly."""
    return np.round(generator.normal(0, scale, shape), 2) + 0.0


def read_json(path: Path) -> Any:
    """Return the JSON document in a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise RequestError(f"a weights file must exist; there is no file {path}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"a weights file must be JSON, as --json prints it; {path} is not: {error}") from None


def shown(value: Any) -> str:
    """Return a value of a file, short enough for a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def matrix_of(rows: Any, where: str) -> Array:
    """Return a JSON list of rows as ndarray of shape (rows, columns)."""
    right = is_list(rows) and all(map(is_list, rows))
    require(right, f"{where} must be a list of rows of numbers; got {shown(rows)}; write it as --json prints it")
    strange = [v for row in rows for v in row if type(v) not in (int, float) or not abs(v) <= 1e30] or [0]
    what = f"{where} holds finite numbers up to 1e30 in size; got {shown(strange[0])}; correct the file"
    require(strange == [0], what)
    lengths = [len(row) for row in rows]
    got = ", ".join(map(str, lengths))
    require(len({*lengths}) == 1, f"{where} must have rows of one length; got lengths {got}; correct the file")
    return np.array(rows, dtype=np.float64)


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

    Returns:
        The network, the inputs (ndarray of shape (inputs,)), the targets (ndarray of shape (outputs,)).

    Raises:
        RequestError: for anything that doesn't fit together.
    """
    sizes = tuple(integers("3,3,3,1" if layers is None else layers, "--layers", "3,3,3,1"))
    check_sizes(sizes)
    stated = {} if weights is None else read_json(weights)
    fields: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {"weights": stated}
    if weights is None:
        generator = np.random.default_rng([seed, WEIGHT_STREAM])
        # N(0, 1 / inputs of the unit).
        matrices = [draw((above, below), generator, below**-0.5) for below, above in pairwise(sizes)]
    else:
        listed = fields.get("weights")
        what = f"a weights file holds a list with a matrix for each layer, alone or under `weights`; {weights} holds "
        require(is_list(listed), f"{what}{shown(listed)}; write it as --json prints it")
        matrices = [matrix_of(rows, f"{weights}: matrix {layer}") for layer, rows in enumerate(listed or (), start=1)]
    kind = fields.get("hidden", "logistic")
    require(kind in list(Hidden), f"{weights}: hidden must be logistic or relu; got {shown(kind)}; correct the file")
    network = LayeredNetwork(tuple(matrices), hidden or Hidden(kind))
    what = f"the weights must be those of --layers {layers}; {weights} has layers {','.join(map(str, network.sizes))}"
    require(layers is None or network.sizes == sizes, f"{what}; leave out --layers or change the file")
    check_sizes(network.sizes)

    def point(name: str, option: str | None, count: int, stream: int) -> Array:
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
