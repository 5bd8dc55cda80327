"""Data that isn't torchvision's: `csv:` and `python:`, what they may hold, and what is wrong with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from cli726.errors import RequestError
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.images import Skipped
from cli726.finetune.data.sources import Reading, load_csv, load_folder
from cli726.finetune.data.vision import read_parts
from cli726.finetune.run import finetune
from tests.cli726.finetune.own import DATA, write_code, write_table
from tests.cli726.finetune.synthetic import Listener, pictures, small_run, write_pictures


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes `data.csv` beside twelve pictures, `shapes/CLASS/NUMBER.png`."""
    write_pictures(tmp_path / "shapes", 12)

    def write(content: str | bytes) -> Path:
        path = tmp_path / "data.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


CLASS_OF = [("cross", "rows", "columns")[number % 3] for number in range(12)]
ROWS = "".join(f"shapes/{name}/{number:03}.png,{name}\n" for number, name in enumerate(CLASS_OF))


def test_a_table_gives_the_images_that_it_names_with_their_labels(table: Callable[[str], Path]) -> None:
    found = load_csv(table("path,label\n" + ROWS), Reading())
    pools, classes = found.pools, found.class_names
    pixels, labels = pictures(12)
    assert (classes, found.left_out) == (("columns", "cross", "rows"), ())
    assert_array_equal(pools["train"].pixels, pixels)
    assert [classes[label] for label in pools["train"].labels] == [("cross", "rows", "columns")[k] for k in labels]


def test_other_columns_orders_and_spellings_change_nothing(tmp_path: Path, table: Callable[..., Path]) -> None:
    expected = load_csv(table("path,label\n" + ROWS), Reading())
    lines = [line.split(",") for line in ROWS.splitlines()]
    spellings = {
        "byte order mark": b"\xef\xbb\xbfpath,label\n" + ROWS.encode(),
        "Windows": ("path,label\n" + ROWS).replace("\n", "\r\n").encode(),
        "blank lines": ("path,label\n\n" + ROWS.replace("\n", "\n\n")).encode(),
        "no last line end": ("path,label\n" + ROWS).rstrip().encode(),
        "quoted": ("path,label\n" + "".join(f'"{p}"," {c} "\n' for p, c in lines)).encode(),
        "other columns": ("label,notes,path\n" + "".join(f'{c},"a, b",{p}\n' for p, c in lines)).encode(),
        "absolute": ("path,label\n" + "".join(f"{tmp_path / p},{c}\n" for p, c in lines)).encode(),
        "empty split": ("path,label,split\n" + "".join(f"{p},{c},\n" for p, c in lines)).encode(),
    }
    for name, content in spellings.items():
        found = load_csv(table(content), Reading())
        assert (found.pools["train"].digest, name) == (expected.pools["train"].digest, name)
        assert found.class_names == expected.class_names


def test_paths_are_relative_to_the_table_not_to_where_it_is_read(
    tmp_path: Path, table: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table("path,label\n" + ROWS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(load_csv(path, Reading()).pools["train"]) == 12


def test_a_quoted_label_may_hold_commas_quotes_and_line_ends(table: Callable[[str], Path]) -> None:
    strange = 'a, "b"\nc'
    rows = ROWS.replace(",cross\n", ',"a, ""b""\nc"\n')
    assert set(load_csv(table("path,label\n" + rows), Reading()).class_names) == {strange, "rows", "columns"}


@pytest.mark.parametrize("spelling", ["val", "valid", "validation"])
def test_a_split_column_divides(table: Callable[[str], Path], spelling: str) -> None:
    splits = ["train"] * 6 + [spelling] * 3 + ["test"] * 3
    lines = "".join(f"{line},{split}\n" for line, split in zip(ROWS.splitlines(), splits, strict=True))
    dataset = load_dataset(f"csv:{table('path,label,split' + chr(10) + lines)}")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 6, "validation": 3, "test": 3}
    assert_array_equal(dataset.images("test").pixels, pictures(12)[0][9:])
    assert dataset.name == "data"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\nshapes/cross/000.png,cross\nshapes/rows/001.png,\n", r"label.*line 3"),
        ("path,label\nshapes/cross/000.png,cross\nshapes/rows/001.png,  \n", r"label.*line 3"),
        ("path,label\nshapes/cross/000.png,cross\nshapes/rows/001.png\n", r"label.*line 3"),
        ("path,label\n\n\nnowhere.png,cross\n", r"line 4: .*nowhere\.png"),
        ('path,label\nshapes/cross/000.png,"a\nb"\nnowhere.png,c\n', r"line 4: .*nowhere\.png"),
        ("path,label\nshapes,cross\n", r"image that exists.*line 2"),
        ("path,label\n,cross\n", r"image that exists.*line 2"),
        ("path,label\n\0,cross\n", r"line 2"),
        ("path,label,split\nshapes/cross/000.png,cross,third\n", r"train, val and test.*line 2: third"),
        ("path,Label,label\nshapes/cross/000.png,cross,Train\n", r"one column of each name.*label"),
        ("path;label\nshapes/cross/000.png;cross\n", r"header with path and label.*path;label"),
        ("a,b\n1,2,3\n", r"header with path and label.*a,b"),
        ("shapes/cross/000.png,cross\n", r"header with path and label"),
        ("path,label\n", r"0 rows"),
        ("", r"nothing"),
        (b"path,label\n\xe9.png,x\n", r"UTF-8"),
        ("path,label\n".encode("utf-16"), r"UTF-8"),
        ("path,label\n" + "x" * 200_000 + ",a\n", r"comma-separated values.*field"),
        ("path,label\nshapes/cross/000.png,cross\n", r"at least two classes"),
        ("path,label,split\nshapes/cross/000.png,a,train\nshapes/rows/001.png,b,train\nshapes/rows/004.png,c,test\n",
         r"training lacks: c"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_with_the_line(
    table: Callable[[str | bytes], Path], content: str | bytes, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        load_csv(table(content), Reading())


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_a_table_must_be_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"file that exists.*path,label"):
        load_csv(tmp_path / name, Reading())


def test_broken_images_of_a_table_are_skipped_and_counted_or_an_error(table: Callable[[str], Path]) -> None:
    path = table("path,label,split\n" + ROWS.replace("\n", ",train\n") + "bad.png,rows,train\nworse.png,rows,test\n")
    (path.parent / "bad.png").write_bytes(b"x")
    (path.parent / "worse.png").write_bytes(b"y")
    with pytest.raises(RequestError, match=r"split test, must hold images.*1 broken"):
        load_csv(path, Reading())
    path.write_text(path.read_text().replace(",test", ",train"))
    found = load_csv(path, Reading())
    assert len(found.pools["train"]) == 12
    assert [Path(one.name).name for one in found.left_out] == ["bad.png", "worse.png"]
    with pytest.raises(RequestError, match=r"bad\.png"):
        load_csv(path, Reading(strict=True))


@pytest.mark.parametrize("header", ["path,label,Split", " PATH , Label ,SPLIT ", "path,label,split"])
def test_columns_and_splits_are_known_in_any_spelling(table: Callable[[str], Path], header: str) -> None:
    splits = [
        "Train",
        "training",
        "train ",
        "TRAIN",
        "",
        "train",
        "Dev",
        "val",
        "validation_set",
        "Test",
        "testing",
        "test",
    ]
    lines = "".join(f"{line},{split}\n" for line, split in zip(ROWS.splitlines(), splits, strict=True))
    dataset = load_dataset(f"csv:{table(header + chr(10) + lines)}")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 6, "validation": 3, "test": 3}


def test_columns_that_are_not_used_are_named(table: Callable[[str], Path]) -> None:
    listener = Listener()
    rows = ROWS.replace("\n", ",test,7\n")
    load_dataset(f"csv:{table('path,label,set' + chr(10) + rows)}", Reading(reporter=listener))
    assert "columns not used: set, cells beyond the header (path, label and split are)" in listener.lines


@pytest.mark.parametrize("own", [True, False])
def test_items_that_cannot_be_read_are_skipped_with_their_reason(own: bool) -> None:
    """Somebody's own data set, and one of torchvision's that opens files."""

    class Files(list[tuple[np.ndarray, int]]):
        def __getitem__(self, index: Any) -> Any:
            if index in (3, 7):
                raise PermissionError(13, "Permission denied")
            return super().__getitem__(index)

    parts = {"train": Files((image, int(label)) for image, label in zip(*pictures(12), strict=True))}
    listener = Listener()
    found = read_parts("mine", parts, Reading(reporter=listener), own=own)
    assert_array_equal(found.pools["train"].labels, np.delete(pictures(12)[1], [3, 7]))
    assert found.left_out == tuple(Skipped(f"train item {index}", "Permission denied") for index in (3, 7))
    assert "skipped 2 broken images, such as train item 3 (Permission denied)" in listener.lines
    with pytest.raises(RequestError, match="train item 3: Permission denied"):
        read_parts("mine", parts, Reading(strict=True), own=own)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere names are text")
def test_names_that_are_no_text_are_written_as_their_bytes(tmp_path: Path, weights_file: Path) -> None:
    folder = write_pictures(tmp_path / "data", 30)
    strange = (folder / "rows").rename(folder / os.fsdecode(b"caf\xe9"))
    other = (folder / "columns").rename(folder / os.fsdecode(b"caf\xe8"))
    (strange / "001.png").rename(strange / os.fsdecode(b"\xff.png"))
    (folder / "cross" / os.fsdecode(b"\xfe.png")).write_bytes(b"broken")
    found = load_folder(folder, Reading())
    assert other.is_dir()
    assert found.class_names == ("caf\\xe8", "caf\\xe9", "cross"), "two names stay two classes"
    assert "caf\\xe9/\\xff.png" in found.pools["train"].names
    assert [one.name for one in found.left_out] == ["cross/\\xfe.png"]
    result = finetune(small_run(folder, weights_file, epochs=1), tmp_path / "run")
    assert result.to_json()["dataset"]["class_names"][1] == "caf\\xe9"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    return write_code(tmp_path_factory.mktemp("own") / "shapes_of_mine.py", DATA)


COLOURED = ["pil", "rgb", "floats", "levels", "tensor_labels", "numpy_labels", "named", "turned", "strange_names"]


@pytest.mark.parametrize("function", COLOURED)
def test_images_and_labels_of_every_usual_type(own: Callable[[str], str], function: str) -> None:
    dataset = load_dataset(own(function))
    pixels, labels = pictures(60)
    assert_array_equal(dataset.pools["train"].pixels, pixels)
    assert_array_equal(dataset.pools["train"].labels, labels)
    assert dataset.name == "shapes_of_mine"
    assert dataset.class_names == (("crosses", "rows", "columns") if function == "named" else ("0", "1", "2"))
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 42, "validation": 9, "test": 9}


@pytest.mark.parametrize("function", ["grey", "one_channel", "grey_floats"])
def test_grey_images_become_coloured_ones(own: Callable[[str], str], function: str) -> None:
    pixels = load_dataset(own(function)).pools["train"].pixels
    assert_array_equal(pixels[..., 0], pixels[..., 2])
    expected = pictures(60)[0].mean(3)
    assert np.abs(pixels[..., 0] - expected).max() <= 1


def test_images_of_other_sizes_are_treated_as_files_are(tmp_path: Path) -> None:
    source = tmp_path / "wide.py"
    source.write_text(
        "import numpy as np\nfrom PIL import Image\n"
        "rng = np.random.default_rng(0)\n"
        "IMAGES = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(12)]\n"
        "def data(split):\n"
        "    return [(x, i % 2) for i, x in enumerate(IMAGES)] if split == 'train' else None\n"
        "def saved(split):\n"
        "    return [(Image.fromarray(x), i % 2) for i, x in enumerate(IMAGES)] if split == 'train' else None\n"
    )
    arrays, pictures_ = (load_dataset(f"python:{source}:{name}") for name in ("data", "saved"))
    assert_array_equal(arrays.pools["train"].pixels, pictures_.pools["train"].pixels)
    assert arrays.pools["train"].pixels.shape == (12, 32, 32, 3)


def test_splits_of_its_own_are_used_and_none_means_drawn(own: Callable[[str], str]) -> None:
    pixels, _ = pictures(60)
    whole = load_dataset(own("all_splits"))
    for name, start, end in (("train", 0, 36), ("validation", 36, 48), ("test", 48, 60)):
        assert_array_equal(whole.images(name).pixels, pixels[start:end])
    drawn = load_dataset(own("validation_drawn"), val_fraction=0.25)
    assert {name: len(part) for name, part in drawn.splits.items()} == {"train": 27, "validation": 9, "test": 12}
    assert_array_equal(drawn.images("test").pixels, pixels[48:])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("negative", r"from 0.*got -1 to 1"),
        ("enormous", r"number the classes"),
        ("fractions", r"whole number; item 0"),
        ("one_hot", r"whole number; item 0"),
        ("words", r"whole number; item 0"),
        ("one_class", r"at least two classes"),
        ("no_images", r"train part has none"),
        ("no_training", r"must return a torch Dataset"),
        ("no_length", r"must return a torch Dataset"),
        ("raises", r"failed in line \d+: KeyError: 'my own mistake'"),
        ("fails_late", r"failed in line \d+: KeyError: 'my own mistake'"),
        ("wrong_type", r"item 0"),
        ("wrong_image", r"PIL image, an array.*got str"),
        ("negative_floats_of_two_channels", r"\(32, 32, 2\)"),
        ("nowhere", r"must define a function nowhere"),
    ],
)
def test_what_is_wrong_with_own_data_is_said_in_one_line(
    own: Callable[[str], str], function: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        load_dataset(own(function))


def test_too_few_class_names_are_numbers(own: Callable[[str], str]) -> None:
    assert load_dataset(own("too_few_names")).class_names == ("0", "1", "2")


def test_what_own_code_prints_is_no_result(own: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    load_dataset(own("talkative"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "from my own code" in err


def test_own_data_and_a_table_train_the_same_model_as_the_folder(
    tmp_path: Path, own: Callable[[str], str], weights_file: Path
) -> None:
    """The same pictures in the same order, whoever gives them; only the order of the classes is a folder's own."""
    names = ["cross", "rows", "columns"]
    table = write_table(tmp_path / "table", names, each=20)
    listener = Listener()
    config = small_run(tmp_path, weights_file, epochs=2)
    results = [
        finetune(type(config)(**{**config.to_json(), "dataset": name}), tmp_path / key, reporter=listener)
        for key, name in (("own", own("rgb")), ("table", f"csv:{table}"))
    ]
    assert [len(result.dataset.splits["train"]) for result in results] == [42, 42]
    assert results[0].dataset.digest != results[1].dataset.digest
    ours, theirs = (result.dataset.pools["train"] for result in results)
    assert_array_equal(ours.pixels, theirs.pixels)
    assert [names[k] for k in ours.labels] == [results[1].dataset.class_names[k] for k in theirs.labels]
    assert "read 60 images of 3 classes" in " ".join(listener.lines)


def test_images_that_lie_in_two_splits_are_counted(tmp_path: Path, weights_file: Path) -> None:
    for split, count in (("train", 30), ("val", 6), ("test", 9)):
        write_pictures(tmp_path / "data" / split, count, seed=count)
    for split in ("val", "test"):
        for number in ("001", "004"):
            shutil.copy(tmp_path / "data" / "train" / "rows" / f"{number}.png", tmp_path / "data" / split / "rows")
    shutil.copy(tmp_path / "data" / "test" / "cross" / "000.png", tmp_path / "data" / "test" / "cross" / "again.png")
    result = finetune(small_run(tmp_path / "data", weights_file, epochs=1), tmp_path / "run")
    # 001 and 004 replaced pictures of the same name or came beside them; a copy within a split is none across splits.
    assert result.duplicates == 4
    assert result.to_json()["dataset"]["duplicates"] == 4


def test_an_image_saved_twice_in_two_formats_is_a_duplicate(tmp_path: Path) -> None:
    """Identical pixels, not identical files."""
    from cli726.finetune.data.images import duplicates_across

    for split, ending in (("train", "png"), ("test", "bmp")):
        for number, image in enumerate(pictures(6)[0]):
            folder = tmp_path / split / ("even" if number % 2 else "odd")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.{ending}")
    assert duplicates_across(load_dataset(f"folder:{tmp_path}", val_fraction=0.4)) == 6
