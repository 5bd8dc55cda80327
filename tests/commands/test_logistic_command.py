"""`cmpt726 lr` as people use it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose

FINDINGS = {
    "gd": "oscillates because",
    "compare": "Prefer rate",
    "sgd": "at equal cost",
    "newton": "The minimum loss is",
}
QUESTIONS = {"gd": "5.1  ", "compare": "5.2  ", "sgd": "5.3  ", "newton": ""}
QUICK = {"gd": [], "compare": [], "sgd": ["--epochs", "12", "--shuffles", "3"], "newton": []}
FIGURES = {
    "gd": ["separator-path", "error", "curvature", "data"],
    "compare": ["error", "distance"],
    "sgd": ["error", "equal-cost"],
    "newton": ["steps", "data"],
}


@pytest.mark.parametrize("name", FINDINGS)
def test_text_names_the_points_first_then_numbers_then_findings_then_figures(cmpt726, tmp_path, name):
    done = cmpt726("lr", name, *QUICK[name])
    lines = done.stdout.splitlines()
    assert (done.status, done.stderr) == (0, "")
    assert lines[0].startswith("Data: bundled points: 100 of class 0, 100 of class 1; features x1, x2")
    assert FINDINGS[name] in done.stdout
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 40
    assert any(line.startswith(QUESTIONS[name]) for line in lines[1:])
    paths = [f"results/lr-{name}/{stem}.png" for stem in FIGURES[name]]
    assert lines[-len(paths) :] == [f"wrote {path}" for path in paths]
    assert all((tmp_path / path).stat().st_size > 5000 for path in paths)


def test_tables_fit_with_thirty_features_and_no_word_is_broken(cmpt726, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 30))
    names = ",".join(f"feature_{i}" for i in range(30))
    for file, t in (("wide.csv", X[:, 0] + rng.normal(size=60) > 0), ("apart.csv", X[:, 0] > 0)):
        rows = "\n".join(",".join([*(f"{v:.4f}" for v in x), str(int(label))]) for x, label in zip(X, t, strict=True))
        (tmp_path / file).write_text(f"{names},t\n{rows}\n")
        for name in FINDINGS:
            lines = cmpt726("lr", name, *QUICK[name], "--data", file, "--no-figures").stdout.splitlines()
            assert max(len(line.rstrip()) for line in lines) <= 100
            if name in ("gd", "newton"):
                assert sum(bool(re.match(r" (feature_\d+|bias) ", line)) for line in lines) == 31
    for options in (["--center"], ["--eta", "1e-12", "--eta", "1e-10"], ["--eta", "0.01", "--max-epochs", "20000"]):
        done = cmpt726("lr", "compare", "--no-figures", *options).stdout
        rates = options.count("--eta") or 5
        table = done[re.search("^ rate +epochs ", done, re.MULTILINE).start() :].rstrip().splitlines()
        assert len(table) == 2 + rates  # a line for the names, a rule, a line for each rate
        assert re.search(" end .* eta q .* to 0.01", table[0])


@pytest.mark.parametrize("name", FINDINGS)
def test_json_is_strict_and_draws_only_where_it_is_told_to(cmpt726, tmp_path, name):
    file = tmp_path / "mine[x].csv"
    file.write_text("height,weight,label\n1,2,0\n2,1.5,1\n3,3,0\n4,2,1\n2,5,0\n")
    done = cmpt726("lr", name, *QUICK[name], "--json", "--data", file.name)
    assert (done.status, done.stderr) == (0, "")
    assert (done.json["data"], done.json["figures"]) == ("mine[x].csv", [])
    assert done.json["points"]["features"] == ["height", "weight"]
    assert done.json["points"]["bias"] == "added"
    assert list(tmp_path.iterdir()) == [file]
    if name == "newton":
        done = cmpt726("lr", "newton", "--json", "--out", "here", "--format", "svg")
        assert done.json["figures"] == ["here/steps.svg", "here/data.svg"]
        assert all((tmp_path / path).exists() for path in done.json["figures"])


def test_json_holds_to_the_contract(cmpt726):
    result = cmpt726("lr", "gd", "--json").json
    epochs, rates = result["epochs"], [0.5, 0.3, 0.1, 0.05, 0.01]
    assert result["eta"] == 0.5
    assert len(result["nll"]) == len(result["eta_q"]) == epochs
    assert len(result["w"]) == len(result["slope_intercept"]) == epochs + 1
    assert result["w"][0] == [0.1, 0, 0]
    assert result["slope_intercept"][0] == [None, None]
    assert_allclose(result["slope_intercept"][-1][0], -result["w"][-1][0] / result["w"][-1][1])
    assert result["rises"] == [k for k in range(1, epochs) if result["nll"][k] > result["nll"][k - 1]]
    assert set(result["lambda_max"]) == {"start", "end", "optimum", "bound"}
    assert {"w", "nll"} <= set(result["optimum"])
    assert result["converged"] is False
    assert "500 epochs" in result["stop"]
    assert all(finding["text"] for finding in result["findings"])
    compared = cmpt726("lr", "compare", "--json").json
    assert [run["eta"] for run in compared["runs"]] == rates
    assert {"nll", "w", "slope_intercept", "converged", "stop", "rises", "findings"} <= set(compared["runs"][0])
    result = cmpt726("lr", "sgd", "--epochs", 5, "--shuffles", 2, "--json").json
    assert [run["eta"] for run in result["runs"]] == rates
    for run in result["runs"]:
        assert run["evaluations"] == [0, 200, 400, 600, 800, 1000]
        assert len(run["nll_median"]) == len(run["nll_low"]) == len(run["nll_high"]) == 6
    result = cmpt726("lr", "newton", "--json").json
    assert (result["iterations"], len(result["w"])) == (8, 3)
    assert result["gradient_norm"] < 1e-12


def test_options_reach_the_descents(cmpt726):
    result = cmpt726(
        "lr", "gd", "--eta", "0.2", "--max-epochs", "7", "--tol", "0", "--start", "-1,2,0.5", "--center", "--json"
    ).json
    assert result["w"][0] == [-1, 2, 0.5]
    assert (result["epochs"], result["eta"], result["tol"]) == (7, 0.2, 0)
    assert result["points"]["means"] is not None

    def last(*options):
        done = cmpt726("lr", "sgd", "--eta", "0.1", "--epochs", 3, "--shuffles", 2, "--json", *options)
        return done.json["runs"][0]["nll_median"][-1]

    assert last() == last("--seed", 0)
    assert len({last(), last("--seed", 1), last("--batch-size", 7), last("--center"), last("--start", "1,2,3")}) == 5


def test_one_feature_has_no_figure_of_slopes_and_no_figures_none_at_all(cmpt726, tmp_path):
    (tmp_path / "one.txt").write_text("1 0\n2 1\n3 0\n4 1\n")
    assert "wrote" not in cmpt726("lr", "gd", "--data", "one.txt", "--no-figures").stdout
    assert [path.name for path in tmp_path.iterdir()] == ["one.txt"]
    done = cmpt726("lr", "gd", "--data", "one.txt")
    assert [line.rpartition("/")[2] for line in done.stdout.splitlines()[-2:]] == ["error.png", "curvature.png"]


BAD = """gd --eta 0|gd --eta x|gd --tol nan|gd --max-epochs 0|gd --start 1,2|gd --start 1,b,3|gd --data none.txt
gd --format bmp|compare --eta 0.1 --eta nan|sgd --batch-size 201|sgd --batch-size 0|sgd --shuffles 0|sgd --epochs 0
sgd --seed -1|newton --data none.txt|huh"""


@pytest.mark.parametrize("typed", re.split(r"[|\n]", BAD))
def test_bad_requests_exit_2(cmpt726, tmp_path, typed):
    done = cmpt726("lr", *typed.split())
    assert (done.status, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert re.search("error", done.stderr, re.IGNORECASE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gd", "compare", "sgd"])
def test_divergence_exits_5_and_keeps_its_json_strict(cmpt726, name):
    done = cmpt726("lr", name, "--eta", "1e308", *QUICK[name], "--json")
    assert done.status == 5
    assert done.stderr.startswith("error: the descent diverged at --eta 1e+308")
    result = done.json if name == "gd" else done.json["runs"][0]
    assert result["diverged"]
    assert None in result["nll_median" if name == "sgd" else "nll"]
