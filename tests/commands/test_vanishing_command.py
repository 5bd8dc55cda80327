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
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100
    asked = {"logistic": "4.2", "relu": "4.3" if connect == "chain" else "4.4"}
    numbers = ["4.1", asked[hidden]] if hidden else ["4.1", "4.2", "4.3", "4.4"]
    assert [line[:3] for line in lines if line[:2] == "4."] == numbers


def test_json_of_four_networks_and_of_one(cmpt726: Callable[..., Any]) -> None:
    done = cmpt726("vanishing", "--json").json
    assert [(item["hidden"], item["connect"]) for item in done["networks"]] == NETWORKS
    assert all(item.keys() == KEYS for item in done["networks"])
    assert {finding["question"] for finding in done["findings"]} == {"4.1", "4.2", "4.3", "4.4"}
    one = cmpt726("vanishing", "--hidden", "logistic", "--connect", "chain", "--json").json
    assert one == {**done["networks"][0], "figures": []}
    assert math.log10(abs(one["layers"][0]["gradient"])) == pytest.approx(one["layers"][0]["log10"], abs=1e-9)
    assert one["underflow_layer"].keys() == one["overflow_layer"].keys() == {"float32", "float64"}


def test_the_format_and_the_seed_chosen_are_heeded(cmpt726: Callable[..., Any]) -> None:
    arguments = ("vanishing", "--hidden", "logistic", "--connect", "chain", "--json")
    single, double = (cmpt726(*arguments, "--dtype", dtype).json["layers"][0] for dtype in ("float32", "float64"))
    assert single["gradient"] == 0 != double["gradient"]
    assert single["log10"] == double["log10"]
    drawn = [cmpt726(*arguments, "--weight", "normal:0.5", "--depth", 9, "--seed", seed).stdout for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("arguments", ["--depth 0", "--depth two", "--weight much", "--x 1", "--dtype float16"])
def test_bad_input_exits_2_with_one_line(cmpt726: Callable[..., Any], arguments: str) -> None:
    done = cmpt726("vanishing", *arguments.split())
    assert (done.status, done.stdout, "Traceback" in done.stderr) == (2, "", False)


ONCE_AN_ERROR = ["--weight 0", "--x 0,0", "--bias 20", "--weight 20", "--weight=-30", "--weight normal:50"]
WEIGHTS = ["", "--weight 0", "--weight 20", "--weight=-30", "--weight normal:50", "--weight=-1", "--weight 1/3"]
OTHERS = ["", "--x 0,0", "--x 0,1", "--bias 20", "--bias=-30", "--bias 20 --x 0,0 --dtype float32", "--t 0 --x=-1,1"]


@pytest.mark.parametrize("arguments", ONCE_AN_ERROR)
def test_zero_and_saturated_networks_are_drawn(cmpt726: Callable[..., Any], arguments: str) -> None:
    done = cmpt726("vanishing", *arguments.split(), "--hidden", "logistic", "--depth", 9, "--format", "svg")
    assert done.status == 0
    assert done.stdout.count("wrote results/vanishing/") == 2


def test_no_network_is_too_degenerate(cmpt726: Callable[..., Any]) -> None:
    grid = itertools.product(WEIGHTS, OTHERS, (1, 3))
    for (weight, other, depth), (hidden, connect) in zip(grid, itertools.cycle(NETWORKS[:3] + NETWORKS)):
        options = f"{weight} {other} --depth {depth} --hidden {hidden} --connect {connect} --no-figures"
        done = cmpt726("vanishing", *options.split())
        assert done.status == 0, options
        assert done.stdout.count("\n4.") == 2
