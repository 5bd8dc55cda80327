"""`cmpt726 vanishing` as a user sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KEYS = {
    "formula", "layers", "zero_gradients", "total_weights", "first_layer_bound", "underflow_layer", "findings",
}  # fmt: skip


def test_the_default_answers_in_about_one_screen_and_draws(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    done = cmpt726("vanishing")
    assert done.status == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 52
    assert max(map(len, lines)) <= 100
    assert "h′(a) = h(a) (1 − h(a))" in done.stdout
    for stem in ("gradients", "saturation"):
        assert (tmp_path / f"results/vanishing/{stem}.png").stat().st_size > 10_000


def test_json_of_four_networks_and_of_one(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    networks = cmpt726("vanishing", "--json").json["networks"]
    assert [(item["hidden"], item["connect"]) for item in networks] == [
        ("logistic", "chain"), ("logistic", "bipartite"), ("relu", "chain"), ("relu", "bipartite"),
    ]  # fmt: skip
    assert all(item.keys() >= KEYS for item in networks)
    one = cmpt726("vanishing", "--hidden", "logistic", "--connect", "chain", "--json").json
    assert {key: one[key] for key in KEYS} == {key: networks[0][key] for key in KEYS}
    assert not (tmp_path / "results").exists()
    first = one["layers"][0]
    assert first["layer"] == 1
    assert math.log10(abs(first["gradient"])) == pytest.approx(first["log10"], abs=1e-9)
    assert one["underflow_layer"].keys() == {"float32", "float64"}


def test_zero_gradients_have_no_logarithm(cmpt726: Callable[..., Any]) -> None:
    arguments = ("--hidden", "relu", "--connect", "chain", "--weight", "-1", "--depth", 5, "--json")
    one = cmpt726("vanishing", *arguments).json
    assert one["zero_gradients"] == one["total_weights"] == 10
    assert all(layer["gradient"] == 0 and layer["log10"] is None for layer in one["layers"])


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
        ("--depth", "0"), ("--depth", "1000000000"), ("--depth", "two"), ("--weight", "normal:0"), ("--weight", "much"),
        ("--bias", "nan"), ("--x", "1"), ("--t", "1,2"), ("--dtype", "float16"), ("--hidden", "tanh"),
    ],
)  # fmt: skip
def test_bad_input_exits_2_with_one_line(cmpt726: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    done = cmpt726("vanishing", *arguments)
    assert done.status == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("depth", "choice"), [(1, ()), (2, ("--hidden", "relu")), (3, ("--connect", "bipartite"))])
def test_shallow_networks_are_answered_and_drawn(
    cmpt726: Callable[..., Any], depth: int, choice: tuple[str, ...]
) -> None:
    done = cmpt726("vanishing", "--depth", depth, "--weight", "normal:2", "--bias", "-0.3", *choice, "--format", "svg")
    assert done.status == 0
    assert "wrote results/vanishing/gradients.svg" in done.stdout
