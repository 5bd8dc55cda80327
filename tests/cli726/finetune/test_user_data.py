"""Code named on the command line, and `python:` data: found, run under a private name, blamed for what is wrong."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cli726.errors import ComputationError, RequestError
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.images import Skipped
from cli726.finetune.data.sources import Reading
from cli726.finetune.data.vision import read_parts
from cli726.finetune.user_code import is_code, load_function, own_code, source_digest
from tests.cli726.finetune.own import DATA, write_code
from tests.cli726.finetune.synthetic import Listener, pictures

Own = Callable[[str], str]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    return write_code(tmp_path_factory.mktemp("own") / "shapes_of_mine.py", DATA)


COLOURED = ["pil", "rgb", "floats", "long", "words", "levels", "tensor_labels", "numpy_labels", "named", "turned",
            "strange_names", "too_few_names"]  # fmt: skip


@pytest.mark.parametrize("function", COLOURED)
def test_images_and_labels_of_every_usual_type(own: Own, function: str) -> None:
    dataset = load_dataset(own(function))
    pixels, labels = pictures(60)
    assert_array_equal(dataset.pools["train"].pixels, pixels)
    assert_array_equal(dataset.pools["train"].labels, labels)
    assert dataset.name == "shapes_of_mine"
    assert dataset.class_names == (("crosses", "rows", "columns") if function == "named" else ("0", "1", "2"))
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 42, "validation": 9, "test": 9}


@pytest.mark.parametrize("function", ["grey", "one_channel", "grey_floats"])
def test_grey_images_become_coloured_ones(own: Own, function: str) -> None:
    pixels = load_dataset(own(function)).pools["train"].pixels
    assert_array_equal(pixels[..., 0], pixels[..., 2])
    assert np.abs(pixels[..., 0] - pictures(60)[0].mean(3)).max() <= 1


def test_images_of_other_sizes_are_treated_as_files_are(own: Own) -> None:
    arrays, saved = (load_dataset(own(name)).pools["train"].pixels for name in ("wide", "wide_pil"))
    assert_array_equal(arrays, saved)
    assert arrays.shape == (12, 32, 32, 3)


def test_splits_of_its_own_are_used_and_none_means_drawn(own: Own) -> None:
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
        ("words_for_labels", r"whole number; item 0"),
        ("one_class", r"at least two classes"),
        ("no_images", r"train part has none"),
        ("no_training", r"must return a torch Dataset"),
        ("no_length", r"must return a torch Dataset"),
        ("raises", r"failed in line \d+: KeyError: 'my own mistake'"),
        ("fails_late", r"failed in line \d+: KeyError: 'my own mistake'"),
        ("wrong_type", r"item 0"),
        ("wrong_image", r"PIL image, an array.*got str"),
        ("two_channels", r"\(32, 32, 2\)"),
        ("endless", r"item 0: .*finite"),
        ("nowhere", r"must define a function nowhere"),
        *((name, r"train item 0 has values from -\S+ to .*leave Normalize out") for name in
          ("normalised", "slightly", "signed")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_own_data_is_said_in_one_line(own: Own, function: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        load_dataset(own(function))
    assert caught.value.status == 2


@pytest.mark.parametrize("somebodys", [True, False])
def test_items_that_cannot_be_read_are_skipped_with_their_reason(somebodys: bool) -> None:
    """Somebody's own data set, and one of torchvision's that opens files."""

    class Files(list[tuple[np.ndarray, int]]):
        broken: Any = (3, 7)

        def __getitem__(self, index: Any) -> Any:
            if index in self.broken:
                raise PermissionError(13, "Permission denied")
            return super().__getitem__(index)

    parts = {"train": Files((image, int(label)) for image, label in zip(*pictures(12), strict=True))}
    listener = Listener()
    found = read_parts("mine", parts, Reading(reporter=listener), own=somebodys)
    assert_array_equal(found.pools["train"].labels, np.delete(pictures(12)[1], [3, 7]))
    assert found.left_out == tuple(Skipped(f"train item {index}", "Permission denied") for index in (3, 7))
    assert listener.lines == [
        "read 10 train images",
        "skipped 2 broken images, such as train item 3 (Permission denied)",
    ]
    with pytest.raises(RequestError, match="train item 3: Permission denied"):
        read_parts("mine", parts, Reading(strict=True), own=somebodys)
    Files.broken = range(12)
    with pytest.raises(RequestError, match=r"images that can be read; train, train item 0: Permission denied"):
        read_parts("mine", parts, Reading(), own=somebodys)


def written(folder: Path, text: str, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return f"python:{folder / name}"


def test_a_function_is_found_at_a_relative_path_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a:b").mkdir()
    written(tmp_path / "a:b", "def double(x):\n    return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    assert load_function("python:a:b/mine.py:double")(21) == 42
    assert is_code("python:a.py:f")
    assert not is_code("flip")


def test_the_module_is_private_and_leaves_nothing_behind(tmp_path: Path) -> None:
    spec = written(tmp_path, "import neighbour\ndef two():\n    return neighbour.TWO\n", "json.py")
    written(tmp_path, "TWO = 2\n", "neighbour.py")
    path, standard = list(sys.path), sys.modules.get("json")
    assert load_function(f"{spec}:two")() == 2
    assert sys.path == path
    assert sys.modules.get("json") is standard
    assert sorted(p.name for p in tmp_path.iterdir()) == ["json.py", "neighbour.py"]
    del sys.modules["neighbour"]


def test_a_neighbour_cannot_stand_in_for_one_of_our_modules(tmp_path: Path) -> None:
    spec = written(tmp_path, "import cache\ndef where():\n    return cache.__file__\n")
    written(tmp_path, "", "cache.py")
    assert not load_function(f"{spec}:where")().startswith(str(tmp_path))


def test_a_file_runs_once_until_it_changes(tmp_path: Path) -> None:
    spec = written(tmp_path, "values = []\ndef f():\n    values.append(1)\n    return values\n") + ":f"
    before = source_digest(spec)
    load_function(spec)()
    assert load_function(spec)() == [1, 1]
    written(tmp_path, "values = []\ndef f():\n    values.append(2)\n    return values\n")
    assert load_function(spec)() == [2]
    assert source_digest(spec) != before


def test_its_classes_can_be_pickled_and_be_dataclasses(tmp_path: Path) -> None:
    spec = written(
        tmp_path,
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: int\ndef make():\n    return Point(3)\n",
    )
    assert pickle.loads(pickle.dumps(load_function(f"{spec}:make")())).x == 3


def test_what_it_prints_does_not_reach_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = written(tmp_path, "print('loading')\ndef f():\n    print('working')\n") + ":f"
    function = load_function(spec)
    with own_code(spec):
        function()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split() == ["loading", "working"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:mine.py", "FILE.py:FUNCTION; got python:mine.py"),
        ("python:mine.py:", "FILE.py:FUNCTION"),
        ("python::f", "FILE.py:FUNCTION"),
        ("python:mine.py:f()", "FILE.py:FUNCTION"),
        ("mine.py:f", "FILE.py:FUNCTION"),
        ("python:mine.txt:f", "FILE.py:FUNCTION"),
        ("python:missing.py:f", "the file must exist"),
        ("python:mine.py:g", "must define a function g"),
        ("python:mine.py:number", "must define a function number"),
        ("python:raises.py:f", r"raises.py:f failed in line 2: ZeroDivisionError"),
        ("python:wrong.py:f", r"wrong.py:f failed: SyntaxError: .*line 1"),
        ("python:leaves.py:f", r"leaves.py:f failed in line 1: SystemExit"),
        ("python:needs.py:f", r"needs.py:f failed in line 1: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_refusals(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "number = 3\ndef f():\n    pass\n")
    written(tmp_path, "def f(): pass\n1 / 0\n", "raises.py")
    written(tmp_path, "def f(:\n", "wrong.py")
    written(tmp_path, "raise SystemExit(0)\n", "leaves.py")
    written(tmp_path, "import nowhere\n", "needs.py")
    loaded = set(sys.modules)
    with pytest.raises(RequestError, match=message):
        load_function(name)
    if "failed" in message:
        assert not [module for module in set(sys.modules) - loaded if module.startswith("_cmpt726")]


@pytest.mark.parametrize("error", [ComputationError("diverged"), KeyboardInterrupt()])
def test_our_own_errors_and_interruptions_pass_through_it_unchanged(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, own_code("python:mine.py:f"):
        raise error
    assert caught.value is error
