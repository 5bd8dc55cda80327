"""Somebody's own images: folders of classes and tables. Every file, folder and column is used, or counted."""

from __future__ import annotations

import csv
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast

from cli726.errors import RequestError
from cli726.finetune.data.decoding import (
    HEIC,
    PLAIN,
    Deep,
    Levels,
    Pixels,
    Treatment,
    is_picture,
    open_picture,
    side_of,
)
from cli726.finetune.data.images import Dataset, Pile, Skipped, SplitName, settle
from cli726.finetune.data.names import data_dirs, split_of
from cli726.reporting import Reporter, Silent
from cli726.text import counted, listed

ENDINGS = {
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".heic", ".heif",
}  # fmt: skip
DOCUMENTS = {
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".html", ".pdf",
    ".log", ".py", ".ipynb", ".db", ".mat", ".npy", ".pt", ".pth", ".safetensors",
}  # fmt: skip
# Names of splits that need no word.
USUAL = {"train", "val", "valid", "validation", "test"}
# So often are names given before the rest is counted.
MOST_NAMED = 5
# Files of which decoded images of 32 x 32 may wait at once; fewer of larger ones.
CHUNK = 4096
# Files whose headers tell how large the images are.
PROBED = 25

# Image files with the names of their classes, by split.
Files = dict[SplitName, list[tuple[Path, str]]]


@dataclass(frozen=True)
class Reading:
    """A way to read images."""

    strict: bool = False  # raise at the first image that can't be used instead of leaving it out
    workers: int | None = None  # threads that decode; None: Python's choice
    reporter: Reporter = field(default_factory=Silent)
    folders: Sequence[Path] = field(default_factory=data_dirs)  # where data sets with a name lie
    levels: Levels | None = None  # black and white of a model's training images, for pictures beyond eight bits
    # How images are brought to one size; or what chooses that, by their size.
    treat: Treatment | Callable[[int], Treatment] = PLAIN

    def treatment(self, sides: Callable[[], Iterable[int]]) -> Treatment:
        """Return the treatment of images whose longer sides are some of these."""
        return self.treat if isinstance(self.treat, Treatment) else self.treat(int(median(sides())))

    def leave_out(self, name: str, reason: str) -> Skipped:
        """Return the note on a broken image; RequestError if reading is strict."""
        if self.strict:
            raise RequestError(f"broken image {name}: {reason}; repair or remove it, or leave --strict out")
        return Skipped(name, reason)


def text_of(name: str | Path) -> str:
    """Return a file's name as text for any stream: bytes that aren't UTF-8 as \\xNN, so that two stay two."""
    return os.fsencode(name).decode(errors="backslashreplace")


def load_file(path: Path, treatment: Treatment) -> tuple[Pixels | Deep, Pixels | Deep | None] | str:
    """Return one file's picture, and what ResNet20 would see if that differs; or the reason why there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return "no ordinary file"
        content = path.read_bytes()
        plain = treatment.words == PLAIN.words
        return open_picture(content, treatment), None if plain else open_picture(content)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError as error:
        return str(error)


def read_files(files: Sequence[tuple[Path, str]], reading: Reading, treatment: Treatment) -> tuple[Pile, list[Skipped]]:
    """Return the images of files with their classes, decoded several at a time, in order, and what couldn't be read."""
    pile, broken = Pile(len(files), treatment), []
    load = partial(load_file, treatment=treatment)
    with warnings.catch_warnings(), ThreadPoolExecutor(reading.workers) as pool:
        warnings.simplefilter("ignore")  # what is wrong with an image decides whether it is kept, not what is odd
        chunk = max(CHUNK * PLAIN.size**2 // treatment.size**2, 64)
        for start in range(0, len(files), chunk):
            part = files[start : start + chunk]
            for (path, label), picture in zip(part, pool.map(load, [path for path, _ in part]), strict=True):
                reading.reporter.advance(1)
                name = text_of(f"{path.parent.name}/{path.name}")
                if isinstance(picture, str):
                    broken.append(reading.leave_out(name, picture))
                else:
                    pile.add(picture[0], label, name, picture[1])
                    pile.files.append(path)
    return pile, broken


def summary_of(left_out: Iterable[Skipped]) -> list[str]:
    """Return lines that count what was not read, each reason once."""
    broken, unread = [], Counter[str]()
    for one in left_out:
        if one.kind == "broken" and one.reason != HEIC:
            broken.append(f"{one.name} ({one.reason:.80})")
        else:
            unread[one.reason] += 1
    lines = [f"skipped {counted(len(broken), 'broken image')}, such as {broken[0]}"] if broken else []
    if unread:
        those = listed(f"{count} {reason}" for reason, count in unread.most_common())
        lines.append(f"{counted(unread.total(), 'file was', 'files were')} not read: {those}")
    return lines


def visible_folders(root: Path) -> list[Path]:
    """Return the folders in a folder, in the order of their names; of one that can't be read, none."""
    with suppress(OSError), os.scandir(root) as entries:
        return sorted(Path(one.path) for one in entries if one.is_dir() and not one.name.startswith("."))
    return []


def judge(path: Path) -> Skipped | None:
    """Return why a file is not read as an image; None if it is one by its ending, or else by its first bytes."""
    ending, name = path.suffix.lower(), text_of(f"{path.parent.name}/{path.name}")
    if path.name.startswith(".") or path.name.lower() in {"thumbs.db", "desktop.ini"}:
        return Skipped(name, "hidden", "other")
    if ending in ENDINGS:
        return None
    if ending in DOCUMENTS:
        return Skipped(name, ending, "other")
    try:
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as file:
                if is_picture(file.read(12)):
                    return None
    except OSError as error:
        return Skipped(name, error.strerror or type(error).__name__, "unused")
    why = f"{ending} (can't be read here; convert images to .jpg)"
    return Skipped(name, why if ending else "without an ending, by their first bytes no images", "unused")


def survey(folder: Path, *, deep: bool = True) -> tuple[list[Path], list[Skipped]]:
    """Return the images in a folder, in the order of their names, and everything else that lies there.

    If `deep`, those in the folders in it, too, linked ones as well.
    """
    images: list[Path] = []
    left: list[Skipped] = []

    def fail(error: OSError) -> None:
        left.append(Skipped(text_of(error.filename), f"folder: {error.strerror}", "unused"))

    # A link that leads back up would never end.
    seen = {str(above) for above in Path(os.path.realpath(folder)).parents}
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            left.append(Skipped(text_of(Path(place).name), "in a linked folder that is read already", "unused"))
            folders.clear()
            continue
        seen.add(real)
        left += [Skipped(text_of(name), "hidden", "other") for name in folders if name.startswith(".")]
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        judged = {path: judge(path) for path in (Path(place, name) for name in files)}
        images += [path for path, reason in judged.items() if reason is None]
        left += [reason for reason in judged.values() if reason is not None]
    return sorted(images, key=lambda p: p.relative_to(folder).as_posix()), left


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder and in the folders in it, in the order of their names."""
    return survey(folder)[0]


def find_splits(root: Path) -> dict[SplitName, list[Path]]:
    """Return the folders of each split; the root itself for training, where its folders are classes.

    A folder is a split by its name, if it holds folders of images; alone, only if it holds no images of its own.

    Raises:
        RequestError: where folders may be splits or classes.
    """
    tops = visible_folders(root)
    inside = {top: [one.name for one in visible_folders(top) if image_files(one)] for top in tops}
    alone = {top for top in tops if not survey(top, deep=False)[0]}
    named = {top: cast(SplitName, split) for top in tops if inside[top] and (split := split_of(top.name))}
    if not {"train"} < set(named.values()):  # nobody's classes are called train and test, with folders in both
        named = {top: split for top, split in named.items() if top in alone}
    others = [top.name for top in tops if not split_of(top.name) and (inside[top] or top not in alone)]
    if named and ("train" not in named.values() or (set(named.values()) == {"train"} and others)):
        held = listed(text_of(top.name) for top in named)
        lacks = "no train lies beside it" if "train" not in named.values() else f"{listed(others[:3])} beside it do not"
        raise RequestError(
            f"folder: {held} in {root} holds folders of images, as a split does, but {lacks}; name the splits train, "
            "val and test, or put the images of a class directly into its folder"
        )
    if named:
        return {split: [top for top in named if named[top] == split] for split in named.values()}
    alike = {tuple(inside[top]) for top in tops}
    if len(tops) > 1 and len(alike) == 1 and len(inside[tops[0]]) > 1 and alone == set(tops):
        raise RequestError(
            f"folder: {listed(text_of(top.name) for top in tops[:MOST_NAMED])} hold the same folders "
            f"({listed(inside[tops[0]][:MOST_NAMED])}); if they are splits, name them train, val and test; if they are "
            "classes, put their images directly into them"
        )
    return {"train": [root]}


def load_folder(root: Path, reading: Reading) -> Dataset:
    """Return the images of `folder:PATH`: PATH/CLASS/* images, or PATH/train/CLASS/* with `val` and `test` beside it.

    Raises:
        RequestError: if there is no such folder, fewer than two classes, or a split has a class that training lacks.
    """
    if not root.is_dir():
        raise RequestError(f"folder: needs a folder that exists; got {root}; it should hold one folder for each class")
    splits = find_splits(root)
    left: list[Skipped] = [] if splits["train"] == [root] else list(beside(root, splits))
    files: Files = {split: [] for split in splits}
    empty: list[str] = []
    for split, folders in splits.items():
        for folder in folders:
            left += loose(folder, f"{folder.name}/")
            for place in visible_folders(folder):
                images, others = survey(place)
                left += others
                files[split] += [(path, text_of(place.name)) for path in images]
                empty += [] if images or split != "train" else [text_of(place.name)]
    unusual = {f: s for s, folders in splits.items() for f in folders if len(folders) > 1 or f.name not in USUAL}
    if unusual and splits["train"] != [root]:
        said = listed(f"{text_of(folder.name)} for {usual}" for folder, usual in unusual.items())
        reading.reporter.say(f"splits: {said}")
    shown = listed(str(folder) for folder in splits["train"])
    return read_splits(root.resolve().name, f"folder: {shown}", files, left, reading, empty)


def loose(folder: Path, prefix: str = "") -> list[Skipped]:
    """Return what lies in a folder of folders and in none of them."""
    images, others = survey(folder, deep=False)
    where = "beside the folders of classes, in none of them"
    return [Skipped(text_of(f"{prefix}{path.name}"), where, "unused") for path in images] + others


def beside(root: Path, splits: dict[SplitName, list[Path]]) -> Iterator[Skipped]:
    """Yield everything that lies beside the folders of splits."""
    used = [folder for folders in splits.values() for folder in folders]
    for top in (top for top in visible_folders(root) if top not in used):
        images, others = survey(top)
        lacks = "has no folders of classes" if split_of(top.name) else "is no split (train, val and test are)"
        where = f"in {text_of(top.name)}, which {lacks}"
        yield from (Skipped(text_of(f"{top.name}/{path.name}"), where, "unused") for path in images)
        yield from others
    yield from loose(root)


def read_rows(file: Path, reading: Reading) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a file with a header, each with the number of its last line; say which columns aren't used."""
    if not file.is_file():
        raise RequestError(f"csv: needs a file that exists; got {file}; its columns are path,label[,split]")
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            header = [name.strip() for name in next(reader, [])]
            cells = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"csv: needs a UTF-8 file of comma-separated values; {file}: {error}") from None
    columns = [name.lower() for name in header]
    if not cells or not {"path", "label"} <= set(columns):
        found = f"the header {','.join(header)} and {len(cells)} rows" if header else "nothing"
        raise RequestError(f"csv: needs a header with path and label and rows below it; {file} has {found}")
    used = {"path", "label", "split"}
    twice = [name for name, count in Counter(columns).items() if count > 1 and name in used]
    if twice:
        raise RequestError(f"csv: needs one column of each name; {file} has two called {twice[0]}; rename one")
    unused = [name for name in header if name.lower() not in used]
    unused += ["cells beyond the header"] if any(len(row) > len(header) for _, row in cells) else []
    if unused:
        reading.reporter.say(f"columns not used: {', '.join(unused)} (path, label and split are)")
    return [(number, dict(zip(columns, row, strict=False))) for number, row in cells]


def load_csv(file: Path, reading: Reading) -> Dataset:
    """Return the images of `csv:FILE`: a header with path and label, and perhaps split; paths relative to FILE.

    Raises:
        RequestError: with the line, for a file that isn't there, a missing column, an unknown split or missing image.
    """
    files: Files = {"train": []}
    for number, row in read_rows(file, reading):
        cell, label = row.get("split", "").strip(), row.get("label", "").strip()
        split = split_of(cell or "train")
        path = file.parent / row.get("path", "").strip()
        if split is None:
            raise RequestError(f"csv: knows the splits train, val and test; {file}, line {number}: {cell}")
        if not label or not path.is_file():
            raise RequestError(
                f"csv: needs a label and an image that exists in each row; {file}, line {number}: {path}"
            )
        files.setdefault(cast(SplitName, split), []).append((path, label))
    return read_splits(file.stem, f"csv: {file}", files, [], reading)


def read_splits(
    name: str, origin: str, files: Files, left: list[Skipped], reading: Reading, empty: Sequence[str] = ()
) -> Dataset:
    """Return the images of listed files with the names of their classes; what was not read is said.

    Args:
        name, origin: The data set's name; where its files were listed, for messages.
        files, left, empty: "train" among the splits; what lay there besides; classes without a file.
        reading: How to read; if strictly, whatever may be an image must be used.

    Raises:
        RequestError: if a split has a class that training lacks, or no image can be read.
    """
    unused = [one for one in left if one.kind == "unused"]
    if reading.strict and unused:
        raise RequestError(f"--strict: {summary_of(unused)[0]}, such as {unused[0].name}; move it away or convert it")
    names = {label for _, label in files["train"]}
    some = files["train"][:: -(-len(files["train"]) // PROBED) or 1]
    treatment = reading.treatment(lambda: [side for path, _ in some if (side := side_of(path))] or [PLAIN.size])
    piles: dict[str, Pile] = {}
    for split, part in files.items() if len(names) > 1 else ():
        piles[split], broken = read_files(part, reading, treatment)
        left += broken
        if not piles[split].labels:
            raise RequestError(
                f"{origin}, split {split}, must hold images that can be read; it has {len(broken)} broken, no other; "
                "add some, or remove it to have the split drawn from the training images"
            )
    classes = sorted(set(piles["train"].labels)) if piles else []
    lines = summary_of(left)
    gone = sorted({*empty, *(names - set(classes) if piles else ())})
    lines += [f"classes without an image that was read: {', '.join(gone)}"] if gone else []
    if len(classes) < 2:
        problem = [f"{origin} needs at least two classes with images; found {len(classes or names)}", *lines]
        raise RequestError(
            f"{'; '.join(problem)}; lay a folder out as PATH/CLASS/photo.jpg, or give a table rows of two labels"
        )
    for line in lines:
        reading.reporter.say(line)
    strange = sorted({label for pile in piles.values() for label in pile.labels} - set(classes))
    if strange:
        raise RequestError(
            f"{origin} has classes that training lacks: {', '.join(strange[:MOST_NAMED])}; give each of them images "
            "that can be read"
        )
    number = {label: k for k, label in enumerate(classes)}
    for pile in piles.values():
        pile.labels = [number[label] for label in pile.labels]
    pools, levels = settle(piles, reading.reporter, reading.levels)
    return Dataset(name, tuple(classes), pools, {}, tuple(left), levels, treatment)
