"""`cmpt726 backprop` as a user sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KEYS = {"name", "formula", "value", "central_difference", "complex_step", "relative_error"}


def test_the_default_answers_in_one_screen_and_draws(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    done = cmpt726("backprop")
    lines = done.stdout.splitlines()
    assert (done.status, len(lines) <= 40, max(map(len, lines)) <= 100) == (0, True, True)
    assert "Σₖ ∂Eₙ/∂aₖ⁽³⁾ · ∂aₖ⁽³⁾/∂z₁⁽²⁾ · ∂z₁⁽²⁾/∂a₁⁽²⁾ = h′(a₁⁽²⁾) Σₖ wₖ₁⁽²⁾ δₖ⁽³⁾ = 0.00970201" in done.stdout
    assert (tmp_path / "results/backprop/network.png").stat().st_size > 10_000


def test_json_has_the_contract_and_can_be_read_back(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    first = cmpt726("backprop", "--json")
    assert all(item.keys() >= KEYS and item["relative_error"] <= 1e-7 for item in first.json["derivatives"])
    assert [item["name"] for item in first.json["derivatives"]] == [
        "dE_n/da_1^(4)", "dE_n/dw_12^(3)", "dE_n/da_1^(3)", "dE_n/dw_11^(2)", "dE_n/da_1^(2)", "dE_n/dw_11^(1)",
    ]  # fmt: skip
    assert first.json["derivatives"][2]["formula"] == "∂Eₙ/∂a₁⁽³⁾ = δ₁⁽³⁾ = h′(a₁⁽³⁾) w₁₁⁽³⁾ δ₁⁽⁴⁾"
    assert first.json["derivatives"][5]["formula"] == "∂Eₙ/∂w₁₁⁽¹⁾ = δ₁⁽²⁾ x₁"
    assert first.json["derivatives"][5]["value"] == first.json["gradients"][0][0][0]
    assert first.json["error"] == (first.json["output"] - first.json["t"]) ** 2 / 2
    assert not (tmp_path / "results").exists()
    (tmp_path / "all.json").write_text(first.stdout)
    assert cmpt726("backprop", "--weights", "all.json", "--json").stdout == first.stdout
    several = cmpt726("backprop", "--seed", 7, "--layers", "2,3,2", "--hidden", "relu", "--json")
    (tmp_path / "weights.json").write_text(json.dumps(several.json["weights"]))
    x, t = (",".join(map(repr, several.json[name])) for name in ("x", "t"))
    again = cmpt726("backprop", "--weights", "weights.json", "--x", x, "--t", t, "--hidden", "relu", "--json")
    assert again.stdout == several.stdout


@pytest.mark.parametrize("layers", ["1,1", "2,1,1,1,1,1,2", "30,80,2"])
def test_any_layer_sizes_are_answered_and_drawn(cmpt726: Callable[..., Any], tmp_path: Path, layers: str) -> None:
    done = cmpt726("backprop", "--layers", layers, "--out", tmp_path / "figures", "--format", "svg")
    assert (done.status, (tmp_path / "figures/network.svg").exists()) == (0, True)
    lines = done.stdout.splitlines()
    assert (max(map(len, lines)) <= 100, len(lines) <= 60) == (True, True)
    # Too many to check each.
    assert ("confirmed" in done.stdout) == (layers != "30,80,2")


@pytest.mark.parametrize("arguments", ["--layers 3,0,1", "--x 1,2,inf", "--weights no.json", "--hidden tanh"])
def test_bad_input_exits_2(cmpt726: Callable[..., Any], arguments: str) -> None:
    done = cmpt726("backprop", *arguments.split())
    assert (done.status, done.stdout, "Traceback" in done.stderr) == (2, "", False)
