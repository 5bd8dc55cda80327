"""`cmpt726 backprop` as a user sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

KEYS = {"name", "formula", "value", "central_difference", "complex_step", "relative_error"}


def test_the_default_answers_in_one_screen_and_draws(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    done = cmpt726("backprop")
    assert done.status == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert "Σₖ ∂Eₙ/∂aₖ⁽³⁾ · ∂aₖ⁽³⁾/∂z₁⁽²⁾ · ∂z₁⁽²⁾/∂a₁⁽²⁾ = h′(a₁⁽²⁾) Σₖ wₖ₁⁽²⁾ δₖ⁽³⁾ = 0.00970201" in done.stdout
    assert (tmp_path / "results/backprop/network.png").stat().st_size > 10_000


def test_json_has_the_contract_and_its_numbers_agree(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    document = cmpt726("backprop", "--json").json
    assert all(item.keys() >= KEYS for item in document["derivatives"])
    assert [item["name"] for item in document["derivatives"]] == [
        "dE_n/da_1^(4)", "dE_n/dw_12^(3)", "dE_n/da_1^(3)", "dE_n/dw_11^(2)", "dE_n/da_1^(2)", "dE_n/dw_11^(1)",
    ]  # fmt: skip
    assert all(item["relative_error"] <= 1e-7 for item in document["derivatives"])
    z = np.array(document["x"])
    *hidden, last = (np.array(matrix) for matrix in document["weights"])
    for matrix in hidden:
        z = 1 / (1 + np.exp(-matrix @ z))
    y = float((last @ z)[0])
    assert_allclose(document["output"], y, rtol=1e-14)
    assert_allclose(document["error"], 0.5 * (y - document["t"]) ** 2, rtol=1e-14)
    assert_allclose(document["gradients"][2], [(y - document["t"]) * z], rtol=1e-14)
    assert not (tmp_path / "results").exists()


def test_what_json_prints_can_be_read_back(cmpt726: Callable[..., Any], tmp_path: Path) -> None:
    first = cmpt726("backprop", "--seed", 7, "--layers", "2,3,2", "--hidden", "relu", "--json")
    (tmp_path / "all.json").write_text(first.stdout)
    assert cmpt726("backprop", "--weights", "all.json", "--json").stdout == first.stdout
    (tmp_path / "weights.json").write_text(json.dumps(first.json["weights"]))
    x, t = (",".join(map(repr, first.json[name])) for name in ("x", "t"))
    again = cmpt726("backprop", "--weights", "weights.json", "--x", x, "--t", t, "--hidden", "relu", "--json")
    assert again.stdout == first.stdout


@pytest.mark.parametrize("arguments", ["--layers 3,0,1", "--x 1,2,inf", "--weights no.json", "--hidden tanh"])
def test_bad_input_exits_2_with_one_line(cmpt726: Callable[..., Any], arguments: str) -> None:
    done = cmpt726("backprop", *arguments.split())
    assert (done.status, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("layers", ["1,1", "2,1,1,1,1,1,2", "30,80,2"])
def test_any_layer_sizes_are_answered_and_drawn(cmpt726: Callable[..., Any], tmp_path: Path, layers: str) -> None:
    done = cmpt726("backprop", "--layers", layers, "--out", tmp_path / "figures", "--format", "svg")
    assert done.status == 0
    assert (tmp_path / "figures/network.svg").exists()
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert len(done.stdout.splitlines()) <= 60
    # Too many to check each.
    assert ("confirmed" in done.stdout) == (layers != "30,80,2")
