"""The benchmarks' arithmetic: what a ratio is, when a goal is met, what a row says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import data
from benchmarks.__main__ import SECTIONS, TITLES, line, section, updated
from benchmarks.bench_growth import straightness
from benchmarks.measure import ROOT, Row, SkippedError, compare, in_turn, per_second


def test_a_ratio_is_taken_round_by_round_and_above_1_where_ours_is_faster() -> None:
    row = compare("ours", "theirs", [1.0, 2.0, 4.0], [4.0, 4.0, 4.0], per_second("images"), goal=2)
    assert (row.ratio, row.low, row.high) == (2.0, 1.0, 4.0)
    assert row.verdict == "met"
    assert compare("a", "b", [1.0], [1.9], per_second("images"), goal=2).verdict == "missed"


def test_different_amounts_of_work_are_compared_per_unit() -> None:
    row = compare("a", "b", [1.0], [1.0], per_second("images"), scale=(1000, 100))
    assert row.ratio == pytest.approx(10)
    assert (row.ours, row.theirs) == ("1,000 images/s", "100 images/s")


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    seconds = in_turn({name: (lambda name=name: order.append(name)) for name in "ab"}, 2)
    assert order == list("ababab")
    assert [len(times) for times in seconds.values()] == [2, 2]


def test_a_row_names_its_spread_its_goal_and_its_note() -> None:
    row = Row("what", "against", "2 s", "3 s", 1.5, 1.25, 2.0, 2.0, "because")
    assert line(row) == "| what | 2 s | against | 3 s | **1.50** (1.25 to 2.00) | 2.00 | missed; because |"
    assert line(Row("w", "a", "1", "1", 150, 1, 1)).endswith("**150** (1.00 to 1.00) |  | reported |")


def test_a_line_is_straight_and_a_square_is_not() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    assert straightness(x, 3 * x + 1) == pytest.approx(0, abs=1e-12)
    assert straightness(x, x**2) > 0.15


def test_where_there_are_no_real_images_random_ones_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "REAL", tmp_path)
    pixels, labels = data.images.__wrapped__(64)
    assert pixels.shape == (64, 32, 32, 3)
    assert pixels.dtype == "uint8"
    assert 0 <= labels.min() <= labels.max() < 10


def test_a_part_that_was_measured_anew_leaves_the_others_and_the_other_machine_as_they_were() -> None:
    frozen, runs = (SECTIONS[name][0] for name in ("extraction", "runs"))
    ours, theirs = TITLES.values()
    results = updated("", theirs, "AMD.", {frozen: "old", runs: "slow"})
    results = updated(results, ours, "Intel.", {runs: "first"})
    results = updated(results, theirs, "EPYC.", {frozen: "new"})
    assert f"## {theirs}\n\nEPYC.\n\n### {frozen}\n\nnew\n\n### {runs}\n\nslow\n" in results
    assert f"## {ours}\n\nIntel.\n\n### {runs}\n\nfirst\n" in results
    assert updated(results, ours, "Intel.", {runs: "first"}) == results
    assert updated(results, ours, "Intel.", {runs: section(skip, "")}) == results
    assert f"### {frozen}\n\nSkipped: absent" in updated(results, ours, "Intel.", {frozen: section(skip, "")})


def skip() -> list[Row]:
    raise SkippedError("absent")


def test_the_measured_file_is_as_it_would_be_written() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    lead = results.partition(f"## {TITLES['float32']}\n\n")[2].partition("\n")[0]
    assert updated(results, TITLES["float32"], lead, {}) == results
