"""Where images come from: a folder, the bundled digits, torchvision's data sets."""

from __future__ import annotations

import csv
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.writing import reserve
from cli726.errors import RequestError
from cli726.finetune.data.images import SIZE, Images, Pixels, decode
from cli726.finetune.places import memory_limit

__all__ = ["Pools", "Reading", "image_files", "load_csv", "load_folder", "readable"]

# (pools by name, class names, names of broken files)
Pools = tuple[dict[str, Images], tuple[str, ...], tuple[str, ...]]

# Files whose decoded images may wait at once.
CHUNK = 4096
ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
OTHER_NAMES = {"validation": ("validation", "val", "valid"), "test": ("test",)}
SPLIT_OF = {"train": "train", **{spelling: split for split, names in OTHER_NAMES.items() for spelling in names}}


def readable(name: str) -> str:
    """A file's name as text that can be written anywhere: bytes that aren't UTF-8 as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def class_folders(root: Path) -> list[Path]:
    return sorted((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: p.name)


def image_files(folder: Path) -> list[Path]:
    found = (p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    shown = (p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    return sorted(shown, key=lambda p: p.relative_to(folder).as_posix())


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        strict: Raise at the first broken image instead of leaving it out.
        workers: Threads that decode; None: Python's choice.
        advance: Called with 1 for each file read.
    """

    strict: bool = False
    workers: int | None = None
    advance: Callable[[int], None] = lambda _: None


AS_USUAL = Reading()


def allocate(images: int) -> Pixels:
    """Room for so many images: in memory, or beyond a quarter of it in a nameless file on disk."""
    shape = (images, SIZE, SIZE, 3)
    if images * SIZE * SIZE * 3 <= memory_limit():
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        reserve(file.fileno(), images * SIZE * SIZE * 3)  # a disk that fills up under a map kills the process
        return np.memmap(file, np.uint8, "r+", shape=shape)


def load_file(item: tuple[Path, int]) -> Pixels | str:
    """Return the pixels of one file, or why there are none."""
    content = item[0].read_bytes()
    try:
        return decode(content)
    except ValueError as error:
        return str(error)


def read_files(files: Sequence[tuple[Path, int]], reading: Reading) -> tuple[Images, list[str]]:
    """Decode files with their labels, several at a time, in order.

    Returns:
        (images, names of the broken files).

    Raises:
        RequestError: at a broken image, if reading is strict.
    """
    pixels = allocate(len(files))
    labels: list[int] = []
    names: list[str] = []
    broken: list[str] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(reading.workers) as pool:
        warnings.simplefilter("ignore")  # what is wrong with an image decides whether it is kept, not what is odd
        for start in range(0, len(files), CHUNK):
            part = files[start : start + CHUNK]
            for (path, label), image in zip(part, pool.map(load_file, part), strict=True):
                reading.advance(1)
                name = readable(f"{path.parent.name}/{path.name}")
                if isinstance(image, str):
                    if reading.strict:
                        raise RequestError(f"broken image {name}: {image}; mend or remove it, or leave --strict out")
                    broken.append(name)
                    continue
                pixels[len(labels)] = image
                labels.append(label)
                names.append(name)
    kept = pixels[: len(labels)]
    return Images(kept, np.array(labels, dtype=np.int64), tuple(names)), broken


def require_images(images: Images, origin: str, failures: Sequence[str]) -> None:
    """Raise where all images of a split are broken."""
    if not len(images):
        raise RequestError(
            f"{origin} must hold images that can be read; {len(failures)} broken ones are all it has; "
            "put images there, or remove it to have the split drawn from the training images"
        )


def load_folder(root: Path, reading: Reading = AS_USUAL) -> Pools:
    """`folder:PATH`: PATH/CLASS/* images, or PATH/train/CLASS/* with `val` and `test` beside it.

    Raises:
        RequestError: if there is no such folder, fewer than two classes, or a split has a class that training lacks.
    """
    if not root.is_dir():
        raise RequestError(f"folder: needs a folder that exists; got {root}; it should hold one folder for each class")
    divided = (root / "train").is_dir()
    folders = {"train": root / "train" if divided else root}
    if divided:
        for split, spellings in OTHER_NAMES.items():
            for spelling in spellings:
                if (root / spelling).is_dir():
                    folders.setdefault(split, root / spelling)
    classes = [folder.name for folder in class_folders(folders["train"]) if image_files(folder)]
    if len(classes) < 2:
        raise RequestError(
            f"folder: needs at least two classes, each a folder of images; found {len(classes)} in {folders['train']}; "
            "lay it out as PATH/CLASS/photo.jpg"
        )
    pools, broken = {}, []
    for split, folder in folders.items():
        strange = {f.name for f in class_folders(folder) if image_files(f)} - set(classes)
        if strange:
            raise RequestError(f"folder: {folder} has classes that training lacks: {', '.join(sorted(strange)[:5])}")
        files = [(path, label) for label, name in enumerate(classes) for path in image_files(folder / name)]
        pools[split], failures = read_files(files, reading)
        broken += failures
        require_images(pools[split], f"folder: {folder}", failures)
    return pools, tuple(map(readable, classes)), tuple(broken)


def read_rows(file: Path) -> list[tuple[int, dict[str, str | None]]]:
    """The rows of a file with a header, each with the number of the line that it ends in.

    Raises:
        RequestError: for a file that isn't there or isn't one of comma-separated values, or a missing column.
    """
    if not file.is_file():
        raise RequestError(f"csv: needs a file that exists; got {file}; its columns are path,label[,split]")
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            header = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"csv: needs a UTF-8 file of comma-separated values; {file}: {error}") from None
    if not rows or not {"path", "label"} <= set(header):
        found = f"the header {','.join(header)} and {len(rows)} rows" if header else "nothing"
        raise RequestError(f"csv: needs a header with path and label and rows below it; {file} has {found}")
    return rows


def load_csv(file: Path, reading: Reading = AS_USUAL) -> Pools:
    """`csv:FILE`: a header with path and label, and perhaps split (train, val or test); paths relative to FILE.

    Raises:
        RequestError: with the line, for a file that isn't there, a missing column, an unknown split or missing image.
    """
    rows = read_rows(file)
    files: dict[str, list[tuple[Path, str]]] = {}
    for number, row in rows:
        split = SPLIT_OF.get((row.get("split") or "").strip() or "train")
        path, label = file.parent / (row["path"] or ""), (row["label"] or "").strip()
        if split is None:
            raise RequestError(f"csv: knows the splits train, val and test; {file}, line {number}: {row['split']}")
        if not label or not path.is_file():
            raise RequestError(
                f"csv: needs a label and an image that exists in each row; {file}, line {number}: {path}"
            )
        files.setdefault(split, []).append((path, label))
    classes = sorted({label for _, label in files.get("train", [])})
    strange = sorted({label for part in files.values() for _, label in part} - set(classes))
    if len(classes) < 2 or strange:
        problem = (
            f"has classes that training lacks: {', '.join(strange[:5])}" if strange else "has fewer than two classes"
        )
        raise RequestError(f"csv: {file} {problem}; give every class training images")
    pools, broken = {}, []
    for split, part in files.items():
        numbered = [(path, classes.index(label)) for path, label in part]
        pools[split], failures = read_files(numbered, reading)
        broken += failures
        require_images(pools[split], f"csv: {file}, split {split},", failures)
    return pools, tuple(classes), tuple(broken)
