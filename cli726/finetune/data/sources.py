"""Somebody's own images: folders of classes and tables. Every file, folder and column is used, or counted."""

from __future__ import annotations

import csv
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

from cli726.errors import RequestError
from cli726.finetune.data.decoding import is_picture
from cli726.finetune.data.images import Found, Skipped, SplitName
from cli726.finetune.data.names import split_of
from cli726.finetune.data.reading import MOST_NAMED, Reading, read_splits, text_of
from cli726.text import listed

__all__ = ["image_files", "load_csv", "load_folder"]

ENDINGS = {
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".heic", ".heif",
}  # fmt: skip
DOCUMENTS = {
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".html", ".pdf",
    ".log", ".py", ".ipynb", ".db", ".mat", ".npy", ".pt", ".pth", ".safetensors",
}  # fmt: skip
# Names of splits that need no word.
USUAL = {"train", "val", "valid", "validation", "test"}
LOOSE = "beside the folders of classes, in none of them"


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
    if not ending:
        return Skipped(name, "without an ending, by their first bytes no images", "unused")
    return Skipped(name, f"{ending} (can't be read here; convert images to .jpg)", "unused")


def survey(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """Return the images in a folder and in the folders in it, linked ones too, and everything else that lies there."""
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
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in files):
            reason = judge(path)
            if reason is None:
                images.append(path)
            else:
                left.append(reason)
    return sorted(images, key=lambda p: p.relative_to(folder).as_posix()), left


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder and in the folders in it, in the order of their names."""
    return survey(folder)[0]


def own_files(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """Return the images that lie in a folder itself, and what else lies there, hidden folders too."""
    files: list[Path] = []
    with suppress(OSError), os.scandir(folder) as entries:
        files = sorted(Path(one.path) for one in entries if not one.is_dir() or one.name.startswith("."))
    judged = {path: judge(path) for path in files}
    images = [path for path, reason in judged.items() if reason is None]
    return images, [reason for reason in judged.values() if reason is not None]


def find_splits(root: Path) -> dict[SplitName, list[Path]]:
    """Return the folders of each split; the root itself for training, where its folders are classes.

    A folder is a split by its name, if it holds folders of images; alone, only if it holds no images of its own.

    Raises:
        RequestError: where folders may be splits or classes.
    """
    tops = visible_folders(root)
    inside = {top: [one.name for one in visible_folders(top) if image_files(one)] for top in tops}
    alone = {top for top in tops if not own_files(top)[0]}
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
        splits: dict[SplitName, list[Path]] = {}
        for top, split in named.items():
            splits.setdefault(split, []).append(top)
        return splits
    alike = {tuple(inside[top]) for top in tops}
    if len(tops) > 1 and len(alike) == 1 and len(inside[tops[0]]) > 1 and alone == set(tops):
        raise RequestError(
            f"folder: {listed(text_of(top.name) for top in tops[:MOST_NAMED])} hold the same folders "
            f"({listed(inside[tops[0]][:MOST_NAMED])}); if they are splits, name them train, val and test; if they are "
            "classes, put their images directly into them"
        )
    return {"train": [root]}


def load_folder(root: Path, reading: Reading | None = None) -> Found:
    """Return the images of `folder:PATH`: PATH/CLASS/* images, or PATH/train/CLASS/* with `val` and `test` beside it.

    Raises:
        RequestError: if there is no such folder, fewer than two classes, or a split has a class that training lacks.
    """
    reading = reading or Reading()
    if not root.is_dir():
        raise RequestError(f"folder: needs a folder that exists; got {root}; it should hold one folder for each class")
    splits = find_splits(root)
    left: list[Skipped] = [] if splits["train"] == [root] else list(beside(root, splits))
    files: dict[SplitName, list[tuple[Path, str]]] = {}
    empty: list[str] = []
    for split, folders in splits.items():
        files[split] = []
        for folder in folders:
            loose, others = own_files(folder)
            left += [Skipped(text_of(f"{folder.name}/{path.name}"), LOOSE, "unused") for path in loose] + others
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


def beside(root: Path, splits: dict[SplitName, list[Path]]) -> Iterator[Skipped]:
    """Yield everything that lies beside the folders of splits."""
    used = [folder for folders in splits.values() for folder in folders]
    for top in (top for top in visible_folders(root) if top not in used):
        images, others = survey(top)
        lacks = "has no folders of classes" if split_of(top.name) else "is no split (train, val and test are)"
        where = f"in {text_of(top.name)}, which {lacks}"
        yield from (Skipped(text_of(f"{top.name}/{path.name}"), where, "unused") for path in images)
        yield from others
    loose, others = own_files(root)
    yield from (Skipped(text_of(path.name), LOOSE, "unused") for path in loose)
    yield from others


def read_rows(file: Path, reading: Reading) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a file with a header, each with the number of the line that it ends in; says unused columns.

    Raises:
        RequestError: for a file that isn't there or isn't one of comma-separated values, or a missing column.
    """
    if not file.is_file():
        raise RequestError(f"csv: needs a file that exists; got {file}; its columns are path,label[,split]")
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            header = [name.strip() for name in next(reader, [])]
            columns = [name.lower() for name in header]
            cells = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"csv: needs a UTF-8 file of comma-separated values; {file}: {error}") from None
    rows = [(number, dict(zip(columns, row, strict=False))) for number, row in cells]
    if not rows or not {"path", "label"} <= set(columns):
        found = f"the header {','.join(header)} and {len(rows)} rows" if header else "nothing"
        raise RequestError(f"csv: needs a header with path and label and rows below it; {file} has {found}")
    twice = [name for name, count in Counter(columns).items() if count > 1 and name in {"path", "label", "split"}]
    if twice:
        raise RequestError(f"csv: needs one column of each name; {file} has two called {twice[0]}; rename one")
    unused = [name for name, column in zip(header, columns, strict=True) if column not in {"path", "label", "split"}]
    unused += ["cells beyond the header"] if any(len(row) > len(header) for _, row in cells) else []
    if unused:
        reading.reporter.say(f"columns not used: {', '.join(unused)} (path, label and split are)")
    return rows


def load_csv(file: Path, reading: Reading | None = None) -> Found:
    """Return the images of `csv:FILE`: a header with path and label, and perhaps split; paths relative to FILE.

    Raises:
        RequestError: with the line, for a file that isn't there, a missing column, an unknown split or missing image.
    """
    reading = reading or Reading()
    files: dict[SplitName, list[tuple[Path, str]]] = {"train": []}
    for number, row in read_rows(file, reading):
        cell = row.get("split", "").strip()
        split = split_of(cell or "train")
        path, label = file.parent / row.get("path", "").strip(), row.get("label", "").strip()
        if split is None:
            raise RequestError(f"csv: knows the splits train, val and test; {file}, line {number}: {cell}")
        if not label or not path.is_file():
            raise RequestError(
                f"csv: needs a label and an image that exists in each row; {file}, line {number}: {path}"
            )
        files.setdefault(cast(SplitName, split), []).append((path, label))
    return read_splits(file.stem, f"csv: {file}", files, [], reading)
