"""One look for every figure, Okabe and Ito's colours, which colour-blind readers can tell apart; and saving them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

# Okabe and Ito (2008), "Color Universal Design", in an order that keeps neighbours distinct.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
# The assignment asks for these two by name.
BOUNDARY = "#D00000"
MEETING_POINT = "#00A000"

# Typed loosely: matplotlib's own type lists every key that exists in one version.
STYLE: Any = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "figure.dpi": 150,
    "font.size": 11,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "mathtext.fontset": "cm",
    "savefig.bbox": "tight",
    # The same result gives the same bytes.
    "svg.hashsalt": "cmpt726",
    "pdf.fonttype": 42,
}


@contextmanager
def styled() -> Iterator[None]:
    """Set the house style for the figures made inside, without touching anybody's global settings or heeding them."""
    with mpl.rc_context():
        mpl.rcdefaults()  # a matplotlibrc, which may lie in the current folder, could ask for LaTeX or a lesser font
        mpl.rcParams.update(STYLE)
        yield


def new_figure(width: float = 7.0, height: float = 4.5) -> Figure:
    """Return an empty figure, in inches, laid out so that nothing overlaps; call inside `styled()`.

    Not made through pyplot: nothing is registered globally, and no display is needed.
    """
    return Figure(figsize=(width, height), layout="constrained")


def shown(names: Sequence[str], limit: int) -> list[str]:
    """Return foreign names in at most `limit` characters that stay on their line and that the font has."""
    font = get_font(findfont("DejaVu Sans"))

    def drawable(character: str) -> bool:
        return character.isprintable() and font.get_char_index(ord(character)) > 0

    kept = ["".join(c if drawable(c) else "\N{REPLACEMENT CHARACTER}" for c in name) for name in names]
    return [name if len(name) <= limit else name[: limit - 1] + "…" for name in kept]


# Without these a file would carry the time at which it was drawn.
UNDATED = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "ModDate": None},
}


def save(figure: Figure, path: Path) -> None:
    """Write `figure` beside `path` and rename: a reader sees the old file or the new one, never half of one."""
    kind = path.suffix.removeprefix(".")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with styled():
            figure.savefig(part, format=kind, metadata=UNDATED[kind])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def draw_all(
    figures: Mapping[str, Callable[[], Figure]], folder: Path, kind: str = "png", *, prefix: str = "",
    drawn: Callable[[], None] = lambda: None,
) -> list[Path]:  # fmt: skip
    """Draw figures, each named by its stem, in the house style into a folder, call `drawn` after each; return paths."""
    paths = [folder / f"{prefix}{stem}.{kind}" for stem in figures]
    for make, path in zip(figures.values(), paths, strict=True):
        with styled():
            figure = make()
        save(figure, path)
        drawn()
    return paths
