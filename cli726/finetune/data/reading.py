"""Images while they are read: decoded several at a time, brought to one range, what can't be read counted."""

from __future__ import annotations

import math
import os
import stat
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache.writing import reserve
from cli726.errors import RequestError
from cli726.finetune.data.decoding import HEIC, SIZE, WHITES, Deep, Levels, flatten, levels_of, open_picture
from cli726.finetune.data.images import Found, Images, Pixels, Skipped, SplitName
from cli726.finetune.places import memory_limit
from cli726.reporting import Reporter, Silent
from cli726.text import counted, listed

__all__ = ["MOST_NAMED", "Pile", "Reading", "read_files", "read_splits", "settle", "summary_of", "text_of"]

# Files whose decoded images may wait at once.
CHUNK = 4096
# So often are names given before the rest is counted.
MOST_NAMED = 5


@dataclass(frozen=True)
class Reading:
    """A way to read images.

    Attributes:
        strict: Raise at the first image that can't be used instead of leaving it out.
        workers: Threads that decode; None: Python's choice.
        reporter: Is told how far we are.
        folders: Where data sets with a name lie.
    """

    strict: bool = False
    workers: int | None = None
    reporter: Reporter = field(default_factory=Silent)
    folders: tuple[Path, ...] = ()

    def leave_out(self, name: str, reason: str) -> Skipped:
        """Return the note on a broken image.

        Raises:
            RequestError: if reading is strict.
        """
        if self.strict:
            raise RequestError(f"broken image {name}: {reason}; repair or remove it, or leave --strict out")
        return Skipped(name, reason)


def text_of(name: str | Path) -> str:
    """Return a file's name as text for any stream: bytes that aren't UTF-8 as \\xNN, so that two stay two."""
    return os.fsencode(name).decode(errors="backslashreplace")


class Pile:
    """Images of one split while they are read: in memory, or beyond a quarter of it in a nameless file on disk."""

    def __init__(self, most: int) -> None:
        shape = (most, SIZE, SIZE, 3)
        if most * SIZE * SIZE * 3 <= memory_limit():
            self.pixels: Pixels = np.empty(shape, np.uint8)
        else:
            with tempfile.TemporaryFile() as file:
                reserve(file.fileno(), most * SIZE * SIZE * 3)  # a disk that fills up under a map kills the process
                self.pixels = np.memmap(file, np.uint8, "r+", shape=shape)
        self.labels: list[int] = []
        self.names: list[str] = []
        # Pictures of other levels than eight bits: as they are, or their white where eight bits hold enough of them.
        self.deep: dict[int, Deep] = {}
        self.whites: dict[int, float] = {}
        self.low, self.high = math.inf, -math.inf

    def add(self, picture: Pixels | Deep, label: int, name: str) -> None:
        """Append an image."""
        index = len(self.labels)
        if isinstance(picture, Deep):
            self.low, self.high = min(self.low, picture.low), max(self.high, picture.high)
            _, white = levels_of(picture.low, picture.high)
            if white in WHITES and picture.low >= 0 and picture.high <= white:
                self.pixels[index], self.whites[index] = flatten(picture, (0, white)), white
            else:
                self.deep[index] = picture
        else:
            self.pixels[index] = picture
        self.labels.append(label)
        self.names.append(name)

    def flatten(self, levels: Levels) -> None:
        """Bring all images to one range."""
        for index, picture in self.deep.items():
            self.pixels[index] = flatten(picture, levels)
        for index, white in self.whites.items():
            if levels != (0, white):
                values = self.pixels[index].astype(np.float32) * (white / 255)
                self.pixels[index] = flatten(Deep(values, 0, white), levels)


def settle(piles: Mapping[Any, Pile], reporter: Reporter) -> tuple[dict[str, Images], Levels | None]:
    """Return the images of each split, other levels than eight bits brought to one range, and that range.

    Says the range, and names images that show nothing.
    """
    deep = sum(len(pile.deep) + len(pile.whites) for pile in piles.values())
    levels = None
    if deep:
        low, high = min(pile.low for pile in piles.values()), max(pile.high for pile in piles.values())
        levels = levels_of(low, high)
        reporter.say(
            f"levels: {counted(deep, 'image')} with values from {low:g} to {high:g}, read as {levels[0]:g} (black) "
            f"to {levels[1]:g} (white)"
        )
    pools: dict[str, Images] = {}
    empty: list[str] = []
    for split, pile in piles.items():
        if levels:
            pile.flatten(levels)
        kept = pile.pixels[: len(pile.labels)]
        flat = (kept == kept[:, :1, :1]).all((1, 2, 3)) if len(kept) else []
        empty += [pile.names[index] for index in np.flatnonzero(flat)]
        pools[split] = Images(kept, np.array(pile.labels, dtype=np.int64), tuple(pile.names))
    if empty:
        reporter.say(
            f"note: {counted(len(empty), 'image')} of one colour alone, such as {empty[0]}: nothing to see there"
        )
    return pools, levels


def load_file(path: Path) -> Pixels | Deep | str:
    """Return one file's picture, or the reason why there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return "no ordinary file"
        return open_picture(path.read_bytes())
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError as error:
        return str(error)


def read_files(files: Sequence[tuple[Path, int]], reading: Reading) -> tuple[Pile, list[Skipped]]:
    """Return the images of files with their labels, decoded several at a time, in order, and what couldn't be read.

    Raises:
        RequestError: at a broken image, if reading is strict.
    """
    pile, broken = Pile(len(files)), []
    with warnings.catch_warnings(), ThreadPoolExecutor(reading.workers) as pool:
        warnings.simplefilter("ignore")  # what is wrong with an image decides whether it is kept, not what is odd
        for start in range(0, len(files), CHUNK):
            part = files[start : start + CHUNK]
            for (path, label), picture in zip(part, pool.map(load_file, [path for path, _ in part]), strict=True):
                reading.reporter.advance(1)
                name = text_of(f"{path.parent.name}/{path.name}")
                if isinstance(picture, str):
                    broken.append(reading.leave_out(name, picture))
                else:
                    pile.add(picture, label, name)
    return pile, broken


def summary_of(left_out: Iterable[Skipped]) -> list[str]:
    """Return lines that count what was not read, each reason once."""
    lines = []
    left_out = list(left_out)
    broken = [one for one in left_out if one.kind == "broken" and one.reason != HEIC]
    if broken:
        lines.append(
            f"skipped {counted(len(broken), 'broken image')}, such as {broken[0].name} ({broken[0].reason:.80})"
        )
    reasons = Counter(one.reason for one in left_out if one.kind != "broken" or one.reason == HEIC)
    if reasons:
        those = listed(f"{count} {reason}" for reason, count in reasons.most_common())
        total = reasons.total()
        lines.append(f"{counted(total, 'file')} {'was' if total == 1 else 'were'} not read: {those}")
    return lines


def read_splits(
    name: str, origin: str, files: Mapping[SplitName, list[tuple[Path, str]]], left: list[Skipped], reading: Reading,
    empty: Sequence[str] = (),
) -> Found:  # fmt: skip
    """Return the images of listed files with the names of their classes; what was not read is said.

    Args:
        name: The data set's.
        origin: Where the files were listed, for messages.
        files: (file, class) of each split; "train" among them.
        left: What lay there besides.
        reading: How to read.
        empty: Classes without a file.

    Raises:
        RequestError: if a split has a class that training lacks, no image can be read, or anything is left out of what
            may be an image, if reading is strict.
    """
    unused = [one for one in left if one.kind == "unused"]
    if reading.strict and unused:
        raise RequestError(f"--strict: {summary_of(unused)[0]}, such as {unused[0].name}; move it away or convert it")
    names = sorted({label for _, label in files["train"]})
    strange = sorted({label for part in files.values() for _, label in part} - set(names))
    if len(names) > 1 and strange:
        raise RequestError(
            f"{origin} has classes that training lacks: {', '.join(strange[:MOST_NAMED])}; give each of them images"
        )
    piles: dict[SplitName, Pile] = {}
    for split, part in files.items() if len(names) > 1 else ():
        piles[split], broken = read_files([(path, names.index(label)) for path, label in part], reading)
        left += broken
        if not piles[split].labels:
            raise RequestError(
                f"{origin}, split {split}, must hold images that can be read; it has {len(broken)} broken, no other; "
                "add some, or remove it to have the split drawn from the training images"
            )
    kept = sorted(set(piles["train"].labels)) if piles else []
    lines = summary_of(left)
    gone = sorted({*empty, *(label for number, label in enumerate(names) if piles and number not in kept)})
    lines += [f"classes without an image that was read: {', '.join(gone)}"] if gone else []
    if len(kept) < 2:
        problem = [f"{origin} needs at least two classes with images; found {len(kept or names)}", *lines]
        raise RequestError(
            f"{'; '.join(problem)}; lay a folder out as PATH/CLASS/photo.jpg, or give a table rows of two labels"
        )
    for line in lines:
        reading.reporter.say(line)
    for split, pile in piles.items():
        lost = [names[label] for label in sorted(set(pile.labels) - set(kept))]
        if lost:
            raise RequestError(f"{origin}: no training image of {lost[0]} can be read, which {split} has; repair them")
        pile.labels = [kept.index(label) for label in pile.labels]
    pools, levels = settle(piles, reading.reporter)
    return Found(name, pools, tuple(names[label] for label in kept), tuple(left), levels)
