"""The code of each problem is all that its scripts reach, as it is installed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cli726
from cli726.report.builder import listings
from cli726.report.sources import GIVEN, PROBLEMS, library, scripts

ROOT = Path(cli726.__file__).parent.parent


@pytest.mark.parametrize("problem", PROBLEMS)
def test_modules_are_those_installed_and_closed_under_imports(problem: int) -> None:
    found = {source.path: source.text for source in library(problem)}
    assert all((ROOT / path).read_text(encoding="utf-8") == text for path, text in found.items())
    for path, text in found.items():
        if not path.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("cli726.", "cache.")):
                place = node.module.replace(".", "/")
                assert {f"{place}.py", f"{place}/__init__.py"} & found.keys() or (ROOT / place).is_dir(), node.module


def test_every_problem_has_its_scripts_and_a_readme() -> None:
    names = {problem: [source.path for source in scripts(problem)] for problem in PROBLEMS}
    assert names[5] == [
        "README.md",
        "logistic_regression.py",
        "logistic_regression_mod.py",
        "logistic_regression_sgd.py",
    ]
    for problem in PROBLEMS:
        readme = next(source for source in scripts(problem) if source.path == "README.md")
        assert all(f"python {name}" in readme.text for name in names[problem] if name.endswith(".py"))


def test_the_given_network_is_not_listed_and_nothing_twice() -> None:
    paths = [source["path"] for part in listings(PROBLEMS) for source in part["sources"]]
    assert len(set(paths)) == len(paths)
    assert GIVEN not in paths
    assert (ROOT / GIVEN).is_file()
    assert {
        "cli726/softmax.py",
        "cli726/finetune/training/loop.py",
        "cache/store.py",
        "P5/logistic_regression.py",
    } <= set(paths)


def test_what_was_listed_before_is_named() -> None:
    _, second = listings([1, 2])
    assert "style.py" in second["note"]
    assert "problem 1" in second["note"]
    assert all(part["note"] == "" for part in listings([2]))
