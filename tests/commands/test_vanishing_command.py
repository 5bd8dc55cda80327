"""`cmpt726 vanishing` as a user sees it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

KEYS = {
    "hidden", "connect", "depth", "weight", "bias", "dtype", "seed", "output", "residual", "formula", "derivative",
    "layers", "zero_gradients", "total_weights", "zeros", "first_layer_bound", "first_layer_bound_log10",
    "underflow_layer", "overflow_layer", "saturation", "findings",
}  # fmt: skip
NETWORKS = list(itertools.product(("logistic", "relu"), ("chain", "bipartite")))


@pytest.mark.parametrize(("hidden", "connect"), [(None, None), *NETWORKS])
def test_answers_by_question_in_fifty_lines(cmpt726: Callable[..., Any], hidden: str, connect: str) -> None:
    done = cmpt726("vanishing", "--no-figures", *(("--hidden", hidden, "--connect", connect) if hidden else ()))
    lines = done.stdout.splitlines()
    assert (len(lines) <= 50, max(map(len, lines)) <= 100) == (True, True)
    asked = {"logistic": "4.2", "relu": "4.3" if connect == "chain" else "4.4"}
    numbers = ["4.1", asked[hidden]] if hidden else ["4.1", "4.2", "4.3", "4.4"]
    assert [line[:3] for line in lines if line[:2] == "4."] == numbers


def test_json_of_four_networks_and_of_one_heeds_format_and_seed(cmpt726: Callable[..., Any]) -> None:
    done = cmpt726("vanishing", "--json").json
    assert [(item["hidden"], item["connect"]) for item in done["networks"]] == NETWORKS
    assert all(item.keys() == KEYS for item in done["networks"])
    assert {finding["question"] for finding in done["findings"]} == {"4.1", "4.2", "4.3", "4.4"}
    arguments = ("vanishing", "--hidden", "logistic", "--connect", "chain", "--json")
    one, single = (cmpt726(*arguments, "--dtype", dtype).json for dtype in ("float64", "float32"))
    assert one == {**done["networks"][0], "figures": []}
    assert math.log10(abs(one["layers"][0]["gradient"])) == pytest.approx(one["layers"][0]["log10"], abs=1e-9)
    assert one["underflow_layer"].keys() == one["overflow_layer"].keys() == {"float32", "float64"}
    assert (single["layers"][0]["gradient"], single["layers"][0]["log10"]) == (0, one["layers"][0]["log10"])
    drawn = [cmpt726(*arguments, "--weight", "normal:0.5", "--depth", 9, "--seed", seed).stdout for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("arguments", ["--depth 0", "--depth two", "--weight much", "--x 1", "--dtype float16"])
def test_bad_input_exits_2_with_one_line(cmpt726: Callable[..., Any], arguments: str) -> None:
    done = cmpt726("vanishing", *arguments.split())
    assert (done.status, done.stdout, "Traceback" in done.stderr) == (2, "", False)


ONCE_AN_ERROR = ["--weight 0", "--x 0,0", "--bias 20", "--weight 20", "--weight=-30", "--weight normal:50", ""]


@pytest.mark.parametrize("arguments", ONCE_AN_ERROR)
def test_zero_and_saturated_networks_are_told_and_drawn(
    cmpt726: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.setattr("cli726.drawing.save", lambda figure, _: figure.draw_without_rendering())
    options = ("--depth", 9 if arguments else 1, "--json", "--out", "figures")
    done = cmpt726("vanishing", *arguments.split(), *options).json
    # Without hidden layer nothing can be saturated.
    assert len(done["figures"]) == (2 if arguments else 1)
    layers = [layer for item in done["networks"] for layer in item["layers"]]
    assert all(layer["gradient"] == 0 for layer in layers if layer["log10"] is None)
