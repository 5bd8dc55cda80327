"""Folders and tables of images: layouts, spellings, what is wrong with them; nothing there vanishes unsaid."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, PngImagePlugin

from cli726.errors import RequestError
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.images import Dataset, duplicates_across, lists_of
from cli726.finetune.data.names import split_of
from cli726.finetune.data.sources import Reading, load_csv, load_folder
from tests.cli726.finetune.synthetic import CLASSES, Listener, pictures, write_pictures

CLASS_OF = [CLASSES[number % 3] for number in range(12)]
ROWS = "".join(f"pictures/{name}/{number:03}.png,{name}\n" for number, name in enumerate(CLASS_OF))
TABLE = "path,label\n" + ROWS


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Twelve pictures, `pictures/CLASS/NUMBER.png`."""
    return write_pictures(tmp_path / "pictures", 12)


@pytest.fixture
def table(flat: Path) -> Callable[[str | bytes], Path]:
    """Writes `data.csv` beside them."""

    def write(content: str | bytes) -> Path:
        path = flat.parent / "data.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def folder(path: Path, *, strict: bool = False) -> Dataset:
    return load_folder(path, Reading(strict=strict))


def rows(path: Path) -> Dataset:
    return load_csv(path, Reading())


def told(name: str) -> tuple[Dataset, list[str]]:
    listener = Listener()
    return load_dataset(name, Reading(reporter=listener)), listener.lines


def sizes(dataset: Dataset) -> tuple[int, ...]:
    return tuple(len(dataset.splits[name]) for name in ("train", "validation", "test"))


def test_one_folder_a_class_whatever_folders_lie_in_it(flat: Path) -> None:
    (flat / "rows" / "deep" / "deeper").mkdir(parents=True)
    (flat / "rows" / "001.png").rename(flat / "rows" / "deep" / "deeper" / "001.png")
    dataset, lines = told(f"folder:{flat}")
    assert (dataset.name, dataset.class_names, dataset.left_out) == ("pictures", tuple(sorted(CLASSES)), ())
    assert lines == ["read 12 images of 3 classes"]
    pool = dataset.pools["train"]
    pixels, labels = pictures(12)
    for image, label, name in zip(pool.pixels, pool.labels, pool.names, strict=True):
        number = int(Path(name).stem)
        assert_array_equal(image, pixels[number])
        assert dataset.class_names[label] == CLASSES[labels[number]]
    assert sorted(Path(name).stem for name in pool.names) == [f"{number:03}" for number in range(12)]


@pytest.mark.parametrize(
    ("split", "spellings"),
    [
        ("train", "train Training TRAIN train_set training-images trainset train-data"),
        ("validation", "val valid Validation VALIDATE dev eval development evaluation validation_set val-images"),
        ("test", "test TESTING test_set test.images testset"),
        (None, "contest trains x images train-bus 1 testimony"),
    ],
)
def test_splits_in_any_usual_spelling(split: str | None, spellings: str) -> None:
    assert [split_of(f" {one} ") for one in spellings.split()] == [split] * len(spellings.split())


def test_splits_of_their_own_are_said_where_they_have_no_usual_name(tmp_path: Path) -> None:
    for name, count in (("Training", 12), ("val", 3), ("valid", 6), ("TESTING", 9)):
        write_pictures(tmp_path / name, count, seed=count)
    dataset, lines = told(f"folder:{tmp_path}")
    assert sizes(dataset) == (12, 9, 9)
    assert "splits: TESTING for test, Training for train, val for validation and valid for validation" in lines
    shutil.rmtree(tmp_path / "val")
    shutil.rmtree(tmp_path / "valid")
    assert sizes(load_dataset(f"folder:{tmp_path}", val_fraction=0.25)) == (9, 3, 9), "a missing one is drawn"


def test_a_class_may_be_called_as_a_split_is(flat: Path) -> None:
    for name in ("train", "test", "val"):
        (flat / min(CLASSES)).rename(flat / name) if name == "train" else shutil.copytree(flat / "rows", flat / name)
    assert set(folder(flat).class_names) == {"train", "test", "val", "cross", "rows"}


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("Ausbildung/a Ausbildung/b Probe/a Probe/b", r"hold the same folders \(a and b\); if they are splits"),
        ("train/a train/b bus", "train .* holds folders of images, as a split does, but bus"),
        ("a b test/a test/b", "test .* holds folders of images, as a split does, but no train"),
        ("train/a train/b test/a test/c", "training lacks: c"),
        ("train/a", "at least two classes.*found 1"),
        ("a", "at least two classes.*found 1"),
    ],
)
def test_folders_that_may_be_anything_or_are_too_few_are_refused(flat: Path, layout: str, message: str) -> None:
    for place in layout.split():
        shutil.copytree(flat / "rows", flat.parent / "data" / place)
    with pytest.raises(RequestError, match=message):
        folder(flat.parent / "data")
    with pytest.raises(RequestError, match="folder that exists"):
        folder(flat / "nowhere")


def test_everything_that_is_not_read_is_counted_under_a_reason(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 6)):
        write_pictures(tmp_path / split, count, seed=count)
    picture = (tmp_path / "train" / "rows" / "001.png").read_bytes()
    things = {
        "train/rows/IMG_1.HEIC": "pillow-heif", "train/rows/movie.mov": ".mov (can't", "train/rows/notes.txt": ".txt",
        "train/rows/.DS_Store": "hidden", "train/cross/noise": "without an ending", "train/loose.png": "beside the",
        "loose.png": "beside the", "extra/a.png": "in extra, which is no split", "labels.csv": ".csv",
        "test/rows/x.svg": ".svg (can't", ".git/HEAD": "hidden",
    }  # fmt: skip
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    for place in things:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        content = heic if place.endswith("HEIC") else picture if place.endswith("png") else b"nothing of the kind"
        (tmp_path / place).write_bytes(content)
    dataset, lines = told(f"folder:{tmp_path}")
    assert sum(len(pool) for pool in dataset.pools.values()) == 18
    reasons = {Path(one.name).name: one.reason for one in dataset.left_out}
    assert len(dataset.left_out) == len(things)
    for place, reason in things.items():
        assert reason in reasons[".git" if "git" in place else Path(place).name], place
    (line,) = [line for line in lines if "not read" in line]
    assert line.startswith("11 files were not read: 2 ")
    assert line.count("beside the folders of classes") == 1
    listed = lists_of(dataset)["skipped.txt"].splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == sorted(one.name for one in dataset.left_out)
    for wanted in ("movie.mov", "noise", "loose.png", "a.png", "x.svg"):
        with pytest.raises(RequestError, match="--strict"):
            folder(tmp_path, strict=True)
        for path in tmp_path.rglob(wanted):
            path.unlink()
    with pytest.raises(RequestError, match=r"broken image rows/IMG_1\.HEIC: \.heic \(install pillow-heif"):
        folder(tmp_path, strict=True)
    (tmp_path / "train" / "rows" / "IMG_1.HEIC").unlink()
    folder(tmp_path, strict=True)


def test_classes_that_vanish_are_named(flat: Path) -> None:
    for path in (flat / "rows").iterdir():
        path.write_bytes(b"\0\0\0\x18ftypmif1" + bytes(40))
        path.rename(path.with_suffix(".heic"))
    (flat / "none").mkdir()
    dataset, lines = told(f"folder:{flat}")
    assert dataset.class_names == ("columns", "cross")
    assert "4 files were not read: 4 .heic (install pillow-heif, or convert to .jpg)" in lines
    assert "classes without an image that was read: none, rows" in lines
    shutil.rmtree(flat / "columns")
    with pytest.raises(RequestError, match=r"at least two classes.*found 1; 4 files were not read: 4 \.heic"):
        folder(flat)


def test_heic_is_read_where_its_decoder_is_installed(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in registers what it reads as pillow-heif does: here a PNG behind HEIC's first bytes."""

    class StandIn(PngImagePlugin.PngImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self.fp = io.BytesIO(self.fp.read()[32:])
            super()._open()

    module = ModuleType("pillow_heif")
    module.register_heif_opener = lambda: Image.register_open("HEIF", StandIn, lambda start: start[4:8] == b"ftyp")
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    before = folder(flat).pools["train"]
    for path in (flat / "rows").iterdir():
        path.with_suffix(".HEIC").write_bytes(b"\0\0\0\x18ftypheic".ljust(32, b"\0") + path.read_bytes())
        path.unlink()
    assert folder(flat, strict=True).pools["train"].digest == before.digest


@pytest.mark.parametrize("name", ["001", "photo.jfif", "photo.JPG_large", "photo.heic"])
def test_a_file_is_judged_by_its_first_bytes_where_its_ending_says_nothing(flat: Path, name: str) -> None:
    next((flat / "rows").glob("*.png")).rename(flat / "rows" / name)
    assert len(folder(flat, strict=True).pools["train"]) == 12


def test_linked_folders_are_read_once_and_pipes_not_waited_for(flat: Path) -> None:
    more = write_pictures(flat.parent / "elsewhere", 9, seed=9)
    (flat / "rows" / "more").symlink_to(more / "rows")
    (flat / "rows" / "again").symlink_to(more / "rows")
    (flat / "rows" / "up").symlink_to(flat)
    os.mkfifo(flat / "rows" / "pipe")
    found = folder(flat)
    assert len(found.pools["train"]) == 15
    reasons = sorted(one.reason for one in found.left_out)
    assert reasons[:2] == ["in a linked folder that is read already"] * 2
    assert reasons[2:] == ["without an ending, by their first bytes no images"]


@pytest.mark.parametrize("failure", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_cannot_be_read_is_skipped_with_its_reason_or_with_strict_an_error(
    flat: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    victim = flat / "rows" / "001.png"
    (flat / "rows" / "gone.png").symlink_to(flat / "nowhere.png")
    (flat / "rows" / "torn.png").write_bytes(b"x")
    os.mkfifo(flat / "rows" / "pipe.png")
    really = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == victim:
            raise failure
        return really(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    dataset, lines = told(f"folder:{flat}")
    assert dataset.skipped == ("rows/001.png", "rows/gone.png", "rows/pipe.png", "rows/torn.png")
    reasons = [one.reason for one in dataset.left_out]
    assert reasons[:3] == [failure.strerror, "No such file or directory", "no ordinary file"]
    assert f"skipped 4 broken images, such as rows/001.png ({failure.strerror})" in lines
    with pytest.raises(RequestError, match=f"rows/001.png: {failure.strerror}"):
        folder(flat, strict=True)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("train", "split train, must hold images that can be read; it has 12 broken"),
        ("test", "split test, must hold images that can be read; it has 6 broken"),
        ("train/rows", "training lacks: rows"),
    ],
)
def test_a_split_or_a_class_without_a_readable_image_is_refused(tmp_path: Path, broken: str, message: str) -> None:
    write_pictures(tmp_path / "train", 12)
    write_pictures(tmp_path / "test", 6)
    for path in (tmp_path / broken).rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(RequestError, match=message):
        folder(tmp_path)


def test_the_same_picture_under_two_labels_is_named(flat: Path) -> None:
    shutil.copy(flat / "rows" / "001.png", flat / "cross" / "same.png")
    dataset, lines = told(f"folder:{flat}")
    (line,) = [line for line in lines if "two labels" in line]
    assert line.startswith("note: 1 picture under two labels, such as cross/same.png (cross) and rows/001.png (rows)")
    listed = lists_of(dataset)["duplicates.txt"].split()
    assert listed[1:3] == ["cross", "cross/same.png"]
    assert listed[4:] == ["rows", "rows/001.png"]
    assert listed[0] == listed[3], "copies go to one split"


def test_the_digest_is_that_of_the_files(flat: Path) -> None:
    before = folder(flat).pools["train"].digest
    assert folder(shutil.copytree(flat, flat.parent / "moved elsewhere")).pools["train"].digest == before
    victim = min((flat / "rows").glob("*.png"))
    pixels = np.array(Image.open(victim))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(victim)
    changed = folder(flat).pools["train"].digest
    victim.rename(flat / "columns" / "zzz.png")
    assert len({before, changed, folder(flat).pools["train"].digest}) == 3


def test_a_place_that_is_named_without_its_prefix_is_suggested(
    flat: Path, table: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(flat.parent)
    table(TABLE)
    (flat.parent / "mine.py").write_text("")
    suggestions = {"pictures": "folder:pictures", "data.csv": "csv:data.csv", "mine.py": "python:mine.py:FUNCTION"}
    for name, near in {**suggestions, "fashionmnis": "FashionMNIST", "digit": "digits"}.items():
        with pytest.raises(RequestError, match=rf"did you mean {near}\?"):
            load_dataset(name)
    for name in ("imagenet", "folder", "folders:x", "", "chenyaofo"):
        with pytest.raises(RequestError, match=r"folder:PATH.*digits, cifar10.*got"):
            load_dataset(name)


def test_auto_takes_the_digits_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    dataset, lines = told("auto")
    assert lines[0].startswith("data: digits (CIFAR-10 is not on this machine")
    assert dataset.class_names == tuple("0123456789")
    assert np.ptp([*sizes(dataset)[1:], round(0.15 * 1797)]) < 5
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    assert_array_equal(dataset.pools["train"].labels, sklearn.target)
    pixels = dataset.pools["train"].pixels
    assert (pixels[..., 0] == pixels[..., 2]).all()
    small = pixels[..., 0].reshape(-1, 8, 4, 8, 4).mean((2, 4)) / 255 * 16  # (N, 8, 8)
    assert min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(small, sklearn.images, strict=True)) > 0.97


def test_images_that_lie_in_two_splits_are_counted(tmp_path: Path) -> None:
    """Identical pixels, not identical files; a copy within a split is none across splits."""
    for split, count in (("train", 30), ("val", 6), ("test", 9)):
        write_pictures(tmp_path / split, count, seed=count)
    for split in ("val", "test"):
        for number in ("001", "004"):
            Image.open(tmp_path / "train" / "rows" / f"{number}.png").save(tmp_path / split / "rows" / f"{number}.bmp")
    shutil.copy(tmp_path / "test" / "cross" / "000.png", tmp_path / "test" / "cross" / "again.png")
    assert duplicates_across(load_dataset(f"folder:{tmp_path}")) == 4


def test_a_table_gives_the_images_that_it_names_however_it_is_written(
    flat: Path, table: Callable[[str | bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are relative to the table, not to where it is read."""
    monkeypatch.chdir(flat)
    lines = [line.split(",") for line in ROWS.splitlines()]
    spellings = {
        "plain": TABLE,
        "byte order mark": b"\xef\xbb\xbf" + TABLE.encode(),
        "Windows": TABLE.replace("\n", "\r\n").encode(),
        "blank lines": TABLE.replace("\n", "\n\n").encode(),
        "no last line end": TABLE.rstrip().encode(),
        "quoted": "path,label\n" + "".join(f'"{p}"," {c} "\n' for p, c in lines),
        "other columns": " Label ,notes,PATH\n" + "".join(f'{c},"a, b",{p}\n' for p, c in lines),
        "absolute": "path,label\n" + "".join(f"{flat.parent / p},{c}\n" for p, c in lines),
        "empty split": "path,label,split\n" + "".join(f"{p},{c},\n" for p, c in lines),
    }
    pixels, labels = pictures(12)
    for name, content in spellings.items():
        found = rows(table(content))
        assert (found.class_names, found.left_out) == (("columns", "cross", "rows"), ()), name
        assert_array_equal(found.pools["train"].pixels, pixels)
        assert [found.class_names[label] for label in found.pools["train"].labels] == [CLASSES[k] for k in labels]
    strange = 'a, "b"\nc'
    quoted = ROWS.replace(",cross\n", ',"a, ""b""\nc"\n')
    assert set(rows(table("path,label\n" + quoted)).class_names) == {strange, "rows", "columns"}


@pytest.mark.parametrize("header", ["path,label,Split", " PATH , Label ,SPLIT ", "path,label,split"])
def test_a_split_column_divides_in_any_spelling(table: Callable[[str], Path], header: str) -> None:
    splits = ["Train", "training", "train ", "TRAIN", "", "train", "Dev", "val", "dev_set", "Test", "testing", "test"]
    lines = "".join(f"{line},{split}\n" for line, split in zip(ROWS.splitlines(), splits, strict=True))
    dataset = load_dataset(f"csv:{table(header + chr(10) + lines)}")
    assert (sizes(dataset), dataset.name) == ((6, 3, 3), "data")
    assert_array_equal(dataset.images("test").pixels, pictures(12)[0][9:])


def test_columns_that_are_not_used_are_named(table: Callable[[str], Path]) -> None:
    _, lines = told(f"csv:{table('path,label,set' + chr(10) + ROWS.replace(chr(10), ',test,7' + chr(10)))}")
    assert "columns not used: set, cells beyond the header (path, label and split are)" in lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\npictures/cross/000.png,cross\npictures/rows/001.png,  \n", r"label.*line 3"),
        ("path,label\npictures/cross/000.png,cross\npictures/rows/001.png\n", r"label.*line 3"),
        ("path,label\n\n\nnowhere.png,cross\n", r"line 4: .*nowhere\.png"),
        ('path,label\npictures/cross/000.png,"a\nb"\nnowhere.png,c\n', r"line 4: .*nowhere\.png"),
        ("path,label\n,cross\n", r"image that exists.*line 2"),
        ("path,label\n\0,cross\n", r"line 2"),
        ("path,label,split\npictures/cross/000.png,cross,third\n", r"train, val and test.*line 2: third"),
        ("path,Label,label\npictures/cross/000.png,cross,Train\n", r"one column of each name.*label"),
        ("path;label\npictures/cross/000.png;cross\n", r"header with path and label.*path;label"),
        ("path,label\n", r"0 rows"),
        ("", r"nothing"),
        (b"path,label\n\xe9.png,x\n", r"UTF-8"),
        ("path,label\n" + "x" * 200_000 + ",a\n", r"comma-separated values.*field"),
        ("path,label\npictures/cross/000.png,cross\n", r"at least two classes"),
        (TABLE.replace(",", ",train,").replace("path,train,label", "path,split,label")
         + "pictures/rows/001.png,test,c\n", r"training lacks: c"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_with_the_line(
    table: Callable[[str | bytes], Path], content: str | bytes, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        rows(table(content))
    for nothing in ("nowhere.csv", "."):
        with pytest.raises(RequestError, match=r"file that exists.*path,label"):
            rows(table(content).parent / nothing)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere names are text")
def test_names_that_are_no_text_are_written_as_their_bytes(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", 30)
    strange = (root / "rows").rename(root / os.fsdecode(b"caf\xe9"))
    (root / "columns").rename(root / os.fsdecode(b"caf\xe8"))
    (strange / "001.png").rename(strange / os.fsdecode(b"\xff.png"))
    (root / "cross" / os.fsdecode(b"\xfe.png")).write_bytes(b"broken")
    found = folder(root)
    assert found.class_names == ("caf\\xe8", "caf\\xe9", "cross"), "two names stay two classes"
    assert "caf\\xe9/\\xff.png" in found.pools["train"].names
    assert [one.name for one in found.left_out] == ["cross/\\xfe.png"]
