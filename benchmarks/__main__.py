"""Measures all into this machine's part of RESULTS.md: python -m benchmarks [--rounds 5] [--only extraction,runs].

What is not measured, and the other kind of machine's part, stay as they are.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks import bench_backbones, bench_extraction, bench_fastai, bench_growth, bench_parts, bench_runs
from benchmarks.data import kind
from benchmarks.measure import Row, SkippedError, processor, setting
from cli726.finetune.network.kernels import has_bf16

HERE = Path(__file__).resolve().parent
KIND = "bfloat16" if has_bf16() else "float32"
TITLES = {"bfloat16": "With bfloat16 in hardware", "float32": "Without bfloat16: float32"}
PLOT = HERE / f"growth-{KIND}.png"
SECTIONS: dict[str, tuple[str, Callable[[int], list[Row]]]] = {
    "extraction": ("The frozen part", bench_extraction.rows),
    "backbones": ("The larger backbones, 224 x 224", bench_backbones.rows),
    "runs": ("Whole runs", bench_runs.rows),
    "parts": ("Start-up, solvers, cache, augmentation", bench_parts.rows),
    "fastai": ("A peer on the same work", lambda rounds: bench_fastai.rows(max(rounds // 2, 1))),
    "growth": ("Memory and growth", lambda rounds: bench_growth.rows(rounds, PLOT)),
}
COLUMNS = ("what", "ours", "against", "theirs", "ratio (least to largest)", "goal", "")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|"
ABOUT = """# Measured

Made by `make bench`, on each kind of machine for itself. Contestants take turns in one run; a ratio is the median over
the rounds, with the least and the largest; above 1: ours is that many times better. What misses its goal, and why, is
in [README.md](README.md).
"""
# A machine's part is a heading of the second level, a section of one of the third; the text before the first is ABOUT.
PART, SECTION = re.compile(r"^## ", re.MULTILINE), re.compile(r"^### ", re.MULTILINE)


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


def section(work: Callable[[], list[Row]], about: str) -> str:
    """The text below a section's heading: where and when, and the table, or why there is none."""
    try:
        return f"{about}\n\n{table(work())}"
    except SkippedError as reason:
        return f"Skipped: {reason}"


def texts(heading: re.Pattern[str], text: str) -> dict[str, str]:
    """The text below each heading; below "": what stands before the first."""
    before, *parts = heading.split(text)
    pairs = (part.partition("\n") for part in parts)
    return {"": before.strip(), **{title: below.strip() for title, _, below in pairs}}


def updated(results: str, title: str, lead: str, measured: Mapping[str, str]) -> str:
    """RESULTS.md with what was measured in a machine's part; a section that was skipped leaves an earlier table."""
    parts = texts(PART, results)
    sections = texts(SECTION, parts.get(title, ""))
    known = {name: text for name, text in sections.items() if name}
    known |= {name: text for name, text in measured.items() if not (text.startswith("Skipped") and name in known)}
    order = [name for name, _ in SECTIONS.values()]
    below = [f"### {name}\n\n{known[name]}" for name in sorted(known, key=order.index)]
    parts |= {"": ABOUT.strip(), title: "\n\n".join([lead, *below])}
    order = list(TITLES.values())
    rest = [f"## {name}\n\n{parts[name]}" for name in sorted(parts.keys() - {""}, key=order.index)]
    return "\n\n".join([parts[""], *rest]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(SECTIONS), help="comma list of " + ", ".join(SECTIONS))
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    about = f"{setting()}; {options.rounds} rounds (whole runs: half as many), {kind()}."
    for name in options.only.split(","):
        torch.manual_seed(0)
        title, rows = SECTIONS[name]
        text = section(lambda rows=rows: rows(options.rounds), about)
        if name == "growth":
            text += f"\n\n![Time of extraction against images and depth]({PLOT.name})"
        print(f"{title}\n\n{text}\n", flush=True)
        results = options.output.read_text() if options.output.exists() else ""
        options.output.write_text(updated(results, TITLES[KIND], f"{processor()}.", {title: text}))


if __name__ == "__main__":
    main()
