"""Folders of images: their layouts, and what is wrong with them."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, PngImagePlugin

from cli726.errors import RequestError
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.images import lists_of
from cli726.finetune.data.sources import Reading, load_folder
from tests.cli726.finetune.synthetic import CLASSES, Listener, pictures, write_pictures


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", 12)


def test_one_folder_a_class(flat: Path) -> None:
    found = load_folder(flat, Reading())
    pools, classes = found.pools, found.class_names
    assert classes == tuple(sorted(CLASSES))
    assert found.left_out == ()
    assert list(pools) == ["train"]
    pool = pools["train"]
    pixels, labels = pictures(12)
    for image, label, name in zip(pool.pixels, pool.labels, pool.names, strict=True):
        number = int(Path(name).stem)
        assert_array_equal(image, pixels[number])
        assert classes[label] == CLASSES[labels[number]] == Path(name).parent.name


SPELLINGS = ["val", "valid", "Validation", "VALIDATE", "dev", "eval", "validation_set", "val-images"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_splits_of_their_own_in_any_usual_spelling(tmp_path: Path, spelling: str) -> None:
    names = ("train", spelling, "test") if spelling == "val" else ("Training", spelling, "TESTING")
    for split, count in zip(names, (12, 6, 9), strict=True):
        write_pictures(tmp_path / split, count, seed=count)
    listener = Listener()
    dataset = load_dataset(f"folder:{tmp_path}", Reading(reporter=listener))
    assert len(dataset.class_names) == 3
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 12, "validation": 6, "test": 9}
    assert any(f"{spelling} for validation" in line for line in listener.lines) == (spelling not in ("val", "valid"))


def test_two_folders_of_one_split_are_read_together(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("val", 6), ("valid", 9), ("test", 3)):
        write_pictures(tmp_path / split, count, seed=count)
    assert len(load_folder(tmp_path, Reading()).pools["validation"]) == 15


def test_a_class_may_be_called_as_a_split_is(tmp_path: Path, flat: Path) -> None:
    for name in ("train", "test", "val"):
        (flat / min(CLASSES)).rename(flat / name) if name == "train" else shutil.copytree(flat / "rows", flat / name)
    assert set(load_folder(flat, Reading()).class_names) == {"train", "test", "val", "cross", "rows"}


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            {"Ausbildung/a", "Ausbildung/b", "Probe/a", "Probe/b"},
            "hold the same folders \\(a and b\\); if they are splits",
        ),
        ({"train/a", "train/b", "bus"}, "train .* holds folders of images, as a split does, but bus"),
        ({"a", "b", "test/a", "test/b"}, "test .* holds folders of images, as a split does, but no train"),
    ],
)
def test_folders_that_may_be_splits_or_classes_are_refused(tmp_path: Path, layout: set[str], message: str) -> None:
    for place in layout:
        write_pictures(tmp_path / "made", 9)
        shutil.copytree(tmp_path / "made" / "rows", tmp_path / "data" / place)
    with pytest.raises(RequestError, match=message):
        load_folder(tmp_path / "data", Reading())


def scatter(root: Path) -> dict[str, str]:
    """Things that are no images in their place: name -> the end of its reason."""
    picture = next((root / "train" / "rows").glob("*.png")).read_bytes()
    things = {
        "train/rows/IMG_1.HEIC": "pillow-heif", "train/rows/movie.mov": ".mov (can't", "train/rows/notes.txt": ".txt",
        "train/rows/.DS_Store": "hidden", "train/cross/noise": "without an ending", "train/loose.png": "beside the",
        "loose.png": "beside the", "extra/a.png": "in extra, which is no split", "labels.csv": ".csv",
        "test/rows/x.svg": ".svg (can't",
    }  # fmt: skip
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    for place in things:
        (root / place).parent.mkdir(exist_ok=True)
        content = heic if place.endswith("HEIC") else picture if place.endswith("png") else b"nothing of the kind"
        (root / place).write_bytes(content)
    return things


def test_everything_that_is_not_read_is_counted_under_a_reason(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 6)):
        write_pictures(tmp_path / split, count, seed=count)
    things = scatter(tmp_path)
    listener = Listener()
    dataset = load_dataset(f"folder:{tmp_path}", Reading(reporter=listener))
    assert sum(len(pool) for pool in dataset.pools.values()) == 18
    reasons = {Path(one.name).name: one.reason for one in dataset.left_out}
    assert len(dataset.left_out) == len(things)
    for place, reason in things.items():
        assert reason in reasons[Path(place).name], place
    (line,) = [line for line in listener.lines if "not read" in line]
    assert line.startswith("10 files were not read: ")
    assert line.count("beside the folders of classes") == 1
    listed = lists_of(dataset)["skipped.txt"].splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == sorted(one.name for one in dataset.left_out)
    for harmless in ("movie.mov", "noise", "loose.png", "a.png", "x.svg"):
        with pytest.raises(RequestError, match=r"--strict|broken image"):
            load_dataset(f"folder:{tmp_path}", Reading(strict=True))
        for path in tmp_path.rglob(harmless):
            path.unlink()
    with pytest.raises(RequestError, match=r"broken image rows/IMG_1\.HEIC: \.heic \(install pillow-heif"):
        load_dataset(f"folder:{tmp_path}", Reading(strict=True))
    (tmp_path / "train" / "rows" / "IMG_1.HEIC").unlink()
    load_dataset(f"folder:{tmp_path}", Reading(strict=True))


def test_classes_that_vanish_are_named(flat: Path) -> None:
    for path in (flat / "rows").iterdir():
        path.write_bytes(b"\0\0\0\x18ftypmif1" + bytes(40))
        path.rename(path.with_suffix(".heic"))
    (flat / "none").mkdir()
    listener = Listener()
    assert load_dataset(f"folder:{flat}", Reading(reporter=listener)).class_names == ("columns", "cross")
    assert "4 files were not read: 4 .heic (install pillow-heif, or convert to .jpg)" in listener.lines
    assert "classes without an image that was read: none, rows" in listener.lines
    shutil.rmtree(flat / "columns")
    with pytest.raises(RequestError, match=r"at least two classes.*found 1; 4 files were not read: 4 \.heic"):
        load_folder(flat, Reading())


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
    before = load_folder(flat, Reading()).pools["train"]
    for path in (flat / "rows").iterdir():
        path.with_suffix(".HEIC").write_bytes(b"\0\0\0\x18ftypheic".ljust(32, b"\0") + path.read_bytes())
        path.unlink()
    found = load_folder(flat, Reading())
    assert found.left_out == ()
    assert found.pools["train"].digest == before.digest


@pytest.mark.parametrize("name", ["001", "photo.jfif", "photo.JPG_large", "photo.heic"])
def test_a_file_is_judged_by_its_first_bytes_where_its_ending_says_nothing(flat: Path, name: str) -> None:
    next((flat / "rows").glob("*.png")).rename(flat / "rows" / name)
    assert len(load_folder(flat, Reading(strict=True)).pools["train"]) == 12


def test_linked_folders_are_read_once_and_never_for_ever(flat: Path) -> None:
    more = write_pictures(flat.parent / "elsewhere", 9, seed=9)
    (flat / "rows" / "more").symlink_to(more / "rows")
    (flat / "rows" / "again").symlink_to(more / "rows")
    (flat / "rows" / "up").symlink_to(flat)
    found = load_folder(flat, Reading())
    assert len(found.pools["train"]) == 15
    assert sorted(one.reason for one in found.left_out) == ["in a linked folder that is read already"] * 2


@pytest.mark.parametrize("failure", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_cannot_be_read_is_skipped_with_its_reason(
    flat: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    victim = min((flat / "rows").glob("*.png"))
    (flat / "rows" / "gone.png").symlink_to(flat / "nowhere.png")
    really = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == victim:
            raise failure
        return really(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    listener = Listener()
    dataset = load_dataset(f"folder:{flat}", Reading(reporter=listener))
    assert dataset.skipped == (f"rows/{victim.name}", "rows/gone.png")
    assert [one.reason for one in dataset.left_out] == [failure.strerror, "No such file or directory"]
    assert f"skipped 2 broken images, such as rows/{victim.name} ({failure.strerror})" in listener.lines
    with pytest.raises(RequestError, match=f"{victim.name}: {failure.strerror}"):
        load_folder(flat, Reading(strict=True))


def test_a_pipe_is_not_waited_for(flat: Path) -> None:
    os.mkfifo(flat / "rows" / "pipe.png")
    os.mkfifo(flat / "rows" / "pipe")
    assert {one.name for one in load_folder(flat, Reading()).left_out} == {"rows/pipe.png", "rows/pipe"}


def test_the_same_picture_under_two_labels_is_named(flat: Path) -> None:
    shutil.copy(flat / "rows" / "001.png", flat / "cross" / "same.png")
    listener = Listener()
    dataset = load_dataset(f"folder:{flat}", Reading(reporter=listener))
    (line,) = [line for line in listener.lines if "two labels" in line]
    assert "cross/same.png (cross) and rows/001.png (rows)" in line
    listed = lists_of(dataset)["duplicates.txt"].split()
    assert listed[1:3] == ["cross", "cross/same.png"]
    assert listed[4:] == ["rows", "rows/001.png"]
    assert listed[0] == listed[3], "copies go to one split"


def test_a_folder_that_is_named_without_its_prefix_is_suggested(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flat.parent)
    for name, near in (("pictures", "folder:pictures"), ("fashionmnis", "FashionMNIST"), ("digit", "digits")):
        with pytest.raises(RequestError, match=rf"did you mean {near}\?"):
            load_dataset(name)


def test_a_missing_split_is_drawn_from_training(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", 60)
    write_pictures(tmp_path / "test", 9, seed=1)
    dataset = load_dataset(f"folder:{tmp_path}", val_fraction=0.2)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 48, "validation": 12, "test": 9}


def test_folders_within_a_class_belong_to_it(flat: Path) -> None:
    before = load_folder(flat, Reading()).pools["train"]
    (flat / "rows" / "deep" / "deeper").mkdir(parents=True)
    moved = next((flat / "rows").glob("*.png"))
    moved.rename(flat / "rows" / "deep" / "deeper" / moved.name)
    after = load_folder(flat, Reading()).pools["train"]
    assert len(after) == 12
    assert_array_equal(np.bincount(after.labels), np.bincount(before.labels))


def test_the_digest_is_that_of_the_files(flat: Path) -> None:
    before = load_folder(flat, Reading()).pools["train"].digest
    assert load_folder(flat, Reading()).pools["train"].digest == before
    elsewhere = shutil.copytree(flat, flat.parent / "moved elsewhere")
    assert load_folder(elsewhere, Reading()).pools["train"].digest == before
    victim = min((flat / "rows").glob("*.png"))
    pixels = np.array(Image.open(victim))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(victim)
    changed = load_folder(flat, Reading()).pools["train"].digest
    assert changed != before
    victim.rename(flat / "columns" / "zzz.png")
    assert load_folder(flat, Reading()).pools["train"].digest not in {before, changed}


def test_a_broken_image_is_skipped_and_named_or_with_strict_an_error(flat: Path) -> None:
    whole = load_folder(flat, Reading()).pools["train"]
    (flat / "rows" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a JPEG")
    assert load_folder(flat, Reading()).pools["train"].digest == whole.digest
    assert load_dataset(f"folder:{flat}").skipped == ("rows/broken.jpg",)
    with pytest.raises(RequestError, match=r"rows/broken\.jpg"):
        load_folder(flat, Reading(strict=True))


def test_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", 12)
    write_pictures(tmp_path / "test", 6)
    (tmp_path / "test" / "rows").rename(tmp_path / "test" / "spirals")
    with pytest.raises(RequestError, match="training lacks: spirals"):
        load_folder(tmp_path, Reading())


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_split_without_a_readable_image_is_refused(tmp_path: Path, split: str) -> None:
    write_pictures(tmp_path / "train", 12)
    write_pictures(tmp_path / "test", 6)
    shutil.rmtree(tmp_path / split, ignore_errors=True)
    (tmp_path / split / "rows").mkdir(parents=True)
    (tmp_path / split / "rows" / "broken.png").write_bytes(b"x")
    with pytest.raises(RequestError, match=r"images"):
        load_dataset(f"folder:{tmp_path}")


def test_too_few_classes_or_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="folder that exists"):
        load_folder(tmp_path / "nowhere", Reading())
    write_pictures(tmp_path / "one", 3)
    shutil.rmtree(tmp_path / "one" / "rows")
    shutil.rmtree(tmp_path / "one" / "columns")
    with pytest.raises(RequestError, match=r"at least two classes.*found 1"):
        load_folder(tmp_path / "one", Reading())


def test_the_data_set_is_called_as_its_folder_and_told_in_one_line(flat: Path) -> None:
    listener = Listener()
    assert load_dataset(f"folder:{flat}", Reading(reporter=listener)).name == "pictures"
    assert listener.lines == ["read 12 images of 3 classes"]


def test_digits_are_all_there_and_need_nothing() -> None:
    dataset = load_dataset("digits")
    assert dataset.class_names == tuple("0123456789")
    assert sum(map(len, dataset.splits.values())) == 1797
    assert all(abs(len(dataset.splits[name]) - 0.15 * 1797) < 5 for name in ("validation", "test"))
    pixels = dataset.pools["train"].pixels
    assert pixels.shape == (1797, 32, 32, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    assert_array_equal(dataset.pools["train"].labels, sklearn.target)
    small = pixels[..., 0].reshape(-1, 8, 4, 8, 4).mean((2, 4)) / 255 * 16  # (N, 8, 8)
    close = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(small, sklearn.images, strict=True)]
    assert min(close) > 0.97


@pytest.mark.parametrize("name", ["imagenet", "folder", "folders:x", ""])
def test_an_unknown_data_set_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(RequestError, match=r"folder:PATH.*digits, cifar10.*got"):
        load_dataset(name)


def test_auto_takes_the_digits_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    listener = Listener()
    assert load_dataset("auto", Reading(reporter=listener)).name == "digits"
    assert listener.lines[0].startswith("data: digits (CIFAR-10 is not on this machine")
