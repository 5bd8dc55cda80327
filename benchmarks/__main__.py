"""Measures everything, writes RESULTS.md and growth.png: python -m benchmarks [--rounds 5] [--only extraction,runs]."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import bench_backbones, bench_extraction, bench_growth, bench_parts, bench_runs
from benchmarks.data import kind
from benchmarks.measure import Row, machine

HERE = Path(__file__).resolve().parent
PLOT = HERE / "growth.png"
SECTIONS: dict[str, tuple[str, Callable[[int], list[Row]]]] = {
    "extraction": ("The frozen part", bench_extraction.rows),
    "backbones": ("The larger backbones, 224 x 224", bench_backbones.rows),
    "runs": ("Whole runs", bench_runs.rows),
    "parts": ("Start-up, solvers, cache, augmentation", bench_parts.rows),
    "growth": ("Memory and growth", lambda rounds: bench_growth.rows(rounds, PLOT)),
}
COLUMNS = ("what", "ours", "against", "theirs", "ratio (least to largest)", "goal", "")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|"
ABOUT = """
Made by `make bench`. Contestants take turns in one run; a ratio is the median over the rounds, with the least and the
largest; above 1: ours is that many times better. {rounds} rounds (whole runs: half as many); {kind}. What misses
its goal, and why, is in [README.md](README.md).
"""


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def line(row: Row) -> str:
    goal = "" if row.goal is None else number(row.goal)
    note = f"; {row.note}" if row.note else ""
    return (
        f"| {row.what} | {row.ours} | {row.against} | {row.theirs} | **{number(row.ratio)}** "
        f"({number(row.low)} to {number(row.high)}) | {goal} | {row.verdict}{note} |"
    )


def table(rows: list[Row]) -> str:
    return "\n".join([HEAD, *map(line, rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(SECTIONS), help="comma list of " + ", ".join(SECTIONS))
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    torch.manual_seed(0)
    measured = {name: SECTIONS[name][1](options.rounds) for name in options.only.split(",")}
    parts = [
        "# Measured",
        ABOUT.format(rounds=options.rounds, kind=kind()),
        *(f"- {fact}" for fact in machine()),
        *(f"\n## {SECTIONS[name][0]}\n\n{table(rows)}" for name, rows in measured.items()),
    ]
    if "growth" in measured:
        parts.append(f"\n![Time of extraction against images and depth]({PLOT.name})")
    text = "\n".join(parts) + "\n"
    options.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
