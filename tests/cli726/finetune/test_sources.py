"""Folders of images: their layouts, and what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from cli726.errors import RequestError
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.sources import Reading, load_folder
from tests.cli726.finetune.synthetic import CLASSES, Listener, pictures, write_pictures


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", 12)


def test_one_folder_a_class(flat: Path) -> None:
    pools, classes, broken = load_folder(flat)
    assert classes == tuple(sorted(CLASSES))
    assert broken == ()
    assert list(pools) == ["train"]
    pool = pools["train"]
    pixels, labels = pictures(12)
    for image, label, name in zip(pool.pixels, pool.labels, pool.names, strict=True):
        number = int(Path(name).stem)
        assert_array_equal(image, pixels[number])
        assert classes[label] == CLASSES[labels[number]] == Path(name).parent.name


@pytest.mark.parametrize("spelling", ["val", "valid", "validation"])
def test_splits_of_their_own(tmp_path: Path, spelling: str) -> None:
    for split, count in (("train", 12), (spelling, 6), ("test", 9)):
        write_pictures(tmp_path / split, count, seed=count)
    pools, classes, _ = load_folder(tmp_path)
    assert {name: len(pool) for name, pool in pools.items()} == {"train": 12, "validation": 6, "test": 9}
    assert len(classes) == 3
    dataset = load_dataset(f"folder:{tmp_path}")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 12, "validation": 6, "test": 9}


def test_a_missing_split_is_drawn_from_training(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", 60)
    write_pictures(tmp_path / "test", 9, seed=1)
    dataset = load_dataset(f"folder:{tmp_path}", val_fraction=0.2)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 48, "validation": 12, "test": 9}


def test_folders_within_a_class_belong_to_it(flat: Path) -> None:
    before = load_folder(flat)[0]["train"]
    (flat / "rows" / "deep" / "deeper").mkdir(parents=True)
    moved = next((flat / "rows").glob("*.png"))
    moved.rename(flat / "rows" / "deep" / "deeper" / moved.name)
    after = load_folder(flat)[0]["train"]
    assert len(after) == 12
    assert_array_equal(np.bincount(after.labels), np.bincount(before.labels))


def test_other_files_and_hidden_ones_are_left_alone(flat: Path) -> None:
    before = load_folder(flat)[0]["train"]
    (flat / "rows" / "Thumbs.db").write_bytes(b"x")
    (flat / "rows" / ".hidden.png").write_bytes(b"x")
    (flat / "README.md").write_text("x")
    (flat / ".git").mkdir()
    (flat / ".git" / "x.png").write_bytes(b"x")
    (flat / "empty").mkdir()
    pools, classes, broken = load_folder(flat)
    assert (pools["train"].digest, classes, broken) == (before.digest, tuple(sorted(CLASSES)), ())


def test_the_digest_is_that_of_the_files(flat: Path) -> None:
    before = load_folder(flat)[0]["train"].digest
    assert load_folder(flat)[0]["train"].digest == before
    elsewhere = shutil.copytree(flat, flat.parent / "moved elsewhere")
    assert load_folder(elsewhere)[0]["train"].digest == before
    victim = min((flat / "rows").glob("*.png"))
    pixels = np.array(Image.open(victim))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(victim)
    changed = load_folder(flat)[0]["train"].digest
    assert changed != before
    victim.rename(flat / "columns" / "zzz.png")
    assert load_folder(flat)[0]["train"].digest not in {before, changed}


def test_a_broken_image_is_skipped_and_named_or_with_strict_an_error(flat: Path) -> None:
    whole = load_folder(flat)[0]["train"]
    (flat / "rows" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a JPEG")
    pools, _, broken = load_folder(flat)
    assert broken == ("rows/broken.jpg",)
    assert pools["train"].digest == whole.digest
    assert load_dataset(f"folder:{flat}").skipped == ("rows/broken.jpg",)
    with pytest.raises(RequestError, match=r"rows/broken\.jpg"):
        load_folder(flat, Reading(strict=True))


def test_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", 12)
    write_pictures(tmp_path / "test", 6)
    (tmp_path / "test" / "rows").rename(tmp_path / "test" / "spirals")
    with pytest.raises(RequestError, match="training lacks: spirals"):
        load_folder(tmp_path)


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
        load_folder(tmp_path / "nowhere")
    write_pictures(tmp_path / "one", 3)
    shutil.rmtree(tmp_path / "one" / "rows")
    shutil.rmtree(tmp_path / "one" / "columns")
    with pytest.raises(RequestError, match=r"at least two classes.*found 1"):
        load_folder(tmp_path / "one")


def test_the_data_set_is_called_as_its_folder_and_told_in_one_line(flat: Path) -> None:
    listener = Listener()
    assert load_dataset(f"folder:{flat}", reporter=listener).name == "pictures"
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
    with pytest.raises(RequestError, match=r"digits.*folder:PATH.*CIFAR10.*got"):
        load_dataset(name)


def test_auto_takes_the_digits_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    listener = Listener()
    assert load_dataset("auto", reporter=listener).name == "digits"
    assert listener.lines[0].startswith("data: digits (CIFAR-10 is not on this machine")


def test_what_is_hidden_is_no_image(flat: Path) -> None:
    before = load_folder(flat)[0]["train"]
    hidden = flat / "rows" / ".ipynb_checkpoints"
    hidden.mkdir()
    copied = next((flat / "rows").glob("*.png"))
    (hidden / copied.name).write_bytes(copied.read_bytes())
    (flat / "rows" / ".thumb.png").write_bytes(copied.read_bytes())
    assert load_folder(flat)[0]["train"].digest == before.digest
