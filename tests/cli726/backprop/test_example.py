"""Where the numbers of problem 3 come from, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli726.backprop import LayeredNetwork, solve
from cli726.backprop.example import example
from cli726.choices import Hidden
from cli726.errors import RequestError


def written(folder: Path, document: Any) -> Path:
    path = folder / "weights.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_typed_numbers_leave_drawn_ones_as_they_are_which_have_two_decimals_and_the_right_size() -> None:
    drawn, x, t = example(seed=4, layers="400,9,2")
    other, typed, same = example(seed=4, layers="400,9,2", x=",".join(["-3"] * 400))
    assert (typed.tolist(), t.tolist()) == ([-3] * 400, same.tolist())
    assert x.tolist() != example(seed=5, layers="400,9,2")[1].tolist()
    for values, again in zip((*drawn.weights, x, t), (*other.weights, x, t), strict=True):
        assert values.tolist() == again.tolist() == np.round(values, 2).tolist()
    assert [float(np.std(values)) for values in (drawn.weights[0], x)] == pytest.approx([0.05, 1], rel=0.1)


def test_what_was_typed_wins_over_the_file_and_the_file_over_the_seed(tmp_path: Path) -> None:
    path = written(tmp_path, {"weights": [[[1, 2]], [[1e30]]], "x": [4, 5], "t": 6, "hidden": "relu"})
    for typed, expected in (
        ({}, (Hidden.relu, [4, 5], [6])),
        ({"x": "7,8", "t": "9", "hidden": Hidden.logistic}, (Hidden.logistic, [7, 8], [9])),
    ):
        network, x, t = example(weights=path, **typed)
        assert (network.sizes, network.hidden, x.tolist(), t.tolist()) == ((2, 1, 1), *expected)
    network, _, _ = example(weights=written(tmp_path, [[[1, 2], [3, 4]]]), layers="2,2")
    assert (network.weights[0].tolist(), network.hidden) == ([[1, 2], [3, 4]], Hidden.logistic)
    assert example(layers="1000,1000")[0].sizes == (1000, 1000)


FORM, LIST = "rows of one length, of finite numbers up to 1e30 in size; got ", "a matrix for each layer"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        *((text, "must be JSON") for text in ("nonsense", "[" * 100_000)),
        *((listed, LIST) for listed in ([], {"x": [1]})),
        *(([rows], FORM) for rows in (1, [1, 2], [[]], [[1, 2], [3]], [[True]], [[-(10**400)]])),
        ("[[[NaN]]]", FORM),
        ([[["a" * 50]]], FORM + r'\[\["a{37}\.\.\.; write it'),
        ([[[1, 2]], [[1, 2]]], "matrix 1 feeds 1 units, but matrix 2 has 2 columns; give matrix 2 1 columns"),
        ({"weights": [[[1]]], "x": [1, 2]}, "x must have 1 numbers; got 2"),
        ({"weights": [[[1]]], "t": "1"}, FORM),
        ({"weights": [[[1]]], "hidden": "tanh"}, "logistic or relu"),
    ],
)
def test_a_weights_file_of_another_form_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        example(weights=written(tmp_path, document))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers", "3", "at least two layers"),
        ("layers", "3,0,1", "at least 1 unit; got --layers 3,0,1"),
        ("layers", "3,2.5,1", "whole numbers"),
        ("layers", "1000,1001", "at most 1,000,000 weights; got --layers 1000,1001: 1,001,000"),
        ("x", "1,nan,2", "--x: a number must be finite"),
        ("t", "1,2", "--t takes 1 number"),
        ("weights", Path("missing.json"), "no file missing.json"),
    ],
)
def test_bad_values_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        example(**{name: value})


def test_what_does_not_fit_or_overflows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has layers 1,1"):
        example(weights=written(tmp_path, [[[1]]]), layers="2,1")
    with pytest.raises(RequestError, match="finite"):
        solve(LayeredNetwork((np.array([[1e200]]),)), np.ones(1), np.zeros(1))
    # Here the error is finite, and only a derivative overflows.
    steep = tuple(1e30 * np.array([[1.0, -1.0], [-1.0, 1.0]]) for _ in range(12))
    with pytest.raises(RequestError, match=r"the error is 0\.5, and one"):
        solve(LayeredNetwork(steep), np.ones(2), np.array([1.0, 0.0]))
