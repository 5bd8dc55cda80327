"""`cmpt726 vanishing` as a user sees it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KEYS = {
    "hidden", "connect", "depth", "weight", "bias", "dtype", "seed", "output", "residual", "formula", "derivative",
    "layers", "zero_gradients", "total_weights", "zeros", "first_layer_bound", "first_layer_bound_log10",
    "underflow_layer", "overflow_layer", "saturation", "findings",
}  # fmt: skip
NETWORKS = list(itertools.product(("logistic", "relu"), ("chain", "bipartite")))


def test_the_default_answers_in_fifty_lines_and_draws(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    done = cmpt726("vanishing")
    assert done.status == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 52  # two of them say what was drawn
    assert max(map(len, lines)) <= 100
    for said in (
        "4.1",
        "4.2",
        "4.3",
        "4.4",
        "z² (1/z − 1) = z (1 − z)",
        "exactly when y = t",
        "no path of active units",
    ):
        assert said in " ".join(done.stdout.split())
    for stem in ("gradients", "saturation"):
        assert (tmp_path / f"results/vanishing/{stem}.png").stat().st_size > 10_000


@pytest.mark.parametrize(("hidden", "connect"), NETWORKS)
def test_one_network_answers_its_questions(cmpt726: Callable[..., Any], hidden: str, connect: str) -> None:
    done = cmpt726("vanishing", "--hidden", hidden, "--connect", connect, "--no-figures")
    lines = done.stdout.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100
    asked = "4.2" if hidden == "logistic" else "4.3" if connect == "chain" else "4.4"
    assert [line[:3] for line in lines if line[:2] == "4."] == ["4.1", asked]


def test_json_of_four_networks_and_of_one(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    done = cmpt726("vanishing", "--json").json
    networks = done["networks"]
    assert [(item["hidden"], item["connect"]) for item in networks] == NETWORKS
    assert all(item.keys() == KEYS for item in networks)
    assert {finding["question"] for finding in done["findings"]} == {"4.1", "4.2", "4.3", "4.4"}
    one = cmpt726("vanishing", "--hidden", "logistic", "--connect", "chain", "--json").json
    assert {key: one[key] for key in KEYS} == networks[0]
    assert not (tmp_path / "results").exists()
    first = one["layers"][0]
    assert first["layer"] == 1
    assert math.log10(abs(first["gradient"])) == pytest.approx(first["log10"], abs=1e-9)
    assert one["underflow_layer"].keys() == one["overflow_layer"].keys() == {"float32", "float64"}


def test_the_format_chosen_is_the_one_that_underflows(cmpt726: Callable[..., Any]) -> None:
    arguments = ("vanishing", "--hidden", "logistic", "--connect", "chain", "--json", "--dtype")
    single, double = (cmpt726(*arguments, dtype).json for dtype in ("float32", "float64"))
    assert single["layers"][0]["gradient"] == 0 != double["layers"][0]["gradient"]
    assert single["layers"][0]["log10"] == double["layers"][0]["log10"]


def test_a_seed_gives_the_same_numbers(cmpt726: Callable[..., Any]) -> None:
    arguments = ("vanishing", "--weight", "normal:0.5", "--depth", 9, "--json", "--seed")
    assert cmpt726(*arguments, 3).stdout == cmpt726(*arguments, 3).stdout != cmpt726(*arguments, 4).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--depth", "0"), ("--depth", "two"), ("--weight", "much"), ("--bias", "nan"), ("--x", "1"), ("--t", "1,2"),
        ("--dtype", "float16"), ("--hidden", "tanh"),
    ],
)  # fmt: skip
def test_bad_input_exits_2_with_one_line(cmpt726: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    done = cmpt726("vanishing", *arguments)
    assert done.status == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


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
