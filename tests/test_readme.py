"""README's table of questions: every question of the assignment, with answers that the commands print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.harness import REPOSITORY as ROOT

Run = Callable[..., Any]
README = (ROOT / "README.md").read_text()
# What the assignment asks; of problem 6 the eight extensions; what is handed in.
PARTS = {1: 3, 2: 3, 3: 6, 4: 4, 5: 3, 6: 8}
ASKED = [*(f"{problem}.{part}" for problem, count in PARTS.items() for part in range(1, count + 1)), "the", "the"]


class Row(NamedTuple):
    question: str
    command: str
    answer: str
    module: str
    oracle: str


def rows() -> list[Row]:
    table = README.partition("| question | command |")[2].partition("\n\n")[0].splitlines()[2:]
    return [Row(*(cell.strip(" `") for cell in line.strip("| ").split(" | "))) for line in table]


def words(text: str) -> str:
    return " ".join(text.replace("•", " ").split())


def test_every_question_has_its_row_in_order() -> None:
    assert [row.question.partition(" ")[0] for row in rows()] == ASKED


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.question)
def test_modules_and_oracles_are_there(row: Row) -> None:
    text = (ROOT / row.oracle).read_text()
    place = ROOT / row.module
    assert place.exists()
    package = (place if place.is_dir() else place.parent).relative_to(ROOT)
    assert re.search(r"^ *def test_", text, re.MULTILINE)
    assert ".".join(package.parts) in text


FAST = [row for row in rows() if row.question < "6"]


@pytest.mark.parametrize("command", sorted({row.command for row in FAST}))
def test_the_commands_print_these_answers(cmpt726: Run, command: str) -> None:
    done = cmpt726(*shlex.split(command)[1:], "--no-figures")
    assert done.status == 0
    said = words(done.stdout)
    for row in FAST:
        if row.command == command:
            # The dots stand for what a line has no room for.
            pattern = ".*?".join(re.escape(words(part)) for part in row.answer.split("..."))
            assert re.search(pattern, said), row.answer


def test_the_first_lines_say_what_it_is_for_whom() -> None:
    lead = words(README.partition("\n\n")[2].partition("\n\n")[0])
    assert lead.index("assignment 2 of CMPT 726, Simon Fraser University") < lead.index("your own photos")
