"""docs/reliability.md can't rot: its tests exist, no test of faults is missing, and its numbers are the code's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def rows() -> list[tuple[str, list[str]]]:
    """The promises: test and the cells after it, CI and full."""
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0] != "promise" and set(cells[0]) != {"-"}:
            found.append((cells[1], cells[2:]))
    return found


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """The tests in a file."""
    body = ast.parse(path.read_text("utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def counts(test: ast.FunctionDef) -> list[tuple[int, int]]:
    """Every `times(few, full)` in it."""
    calls = [node for node in ast.walk(test) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [ast.literal_eval(ast.Tuple(call.args)) for call in calls if call.func.id == "times"]


def numbers(cell: str) -> set[int]:
    return {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", cell)}


@pytest.mark.parametrize(("test", "cells"), rows(), ids=[row[0].strip("`") for row in rows()])
def test_a_promise_is_held_by_a_test_in_those_numbers(test: str, cells: list[str]) -> None:
    named = NAMED.fullmatch(test)
    assert named is not None, f"{test} names no test"
    found = functions(TESTS / named[1]).get(named[2])
    assert found is not None, f"{named[1]} has no {named[2]}"
    assert cells[0], "how often in CI"
    for few, full in counts(found):
        assert few in numbers(cells[0]), f"{named[2]}: {few} in CI"
        assert full in numbers(cells[1]), f"{named[2]}: {full} in full"


def test_every_test_of_faults_holds_a_promise() -> None:
    named = {(path, name) for path, name in NAMED.findall(PAGE.read_text("utf-8"))}
    assert len(rows()) > 80
    for path in TESTS.rglob("test_*.py"):
        if re.search(r"^pytestmark = .*mark\.faults", path.read_text("utf-8"), re.MULTILINE):
            missing = {(str(path.relative_to(TESTS)), name) for name in functions(path)} - named
            assert not missing, f"no promise in docs/reliability.md: {sorted(missing)}"
    for file, name in named:
        assert name in functions(TESTS / file), f"{file} has no {name}"
