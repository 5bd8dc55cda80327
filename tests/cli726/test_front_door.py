"""What `import cli726` offers: names loaded when they are asked for, and predictions of anything that is an image."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cli726
from cli726 import RequestError, load_model, predict
from cli726.finetune.predict import Prediction
from tests.harness import REPOSITORY

RUN = REPOSITORY / "tests" / "data" / "run-0.1.0"
PROBLEMS = ("softmax", "glm", "backprop", "vanishing", "logistic", "finetune", "report")


def test_every_export_is_there_and_documented() -> None:
    assert cli726.__version__ == version("cmpt726")
    for name in cli726.EXPORTS:
        assert getattr(cli726, name).__doc__, name
        assert name in dir(cli726)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        cli726.nonsense  # noqa: B018


def test_modules_stay_modules_and_the_front_door_loads_nothing_heavy() -> None:
    code = (
        "import cli726, sys; cli726.FinetuneConfig; print([m for m in ('numpy', 'torch', 'h5py') if m in sys.modules]);"
        f"from cli726 import {', '.join(PROBLEMS)}; print({{type(one).__name__ for one in ({', '.join(PROBLEMS)})}})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n{'module'}\n"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[np.ndarray], list[Path]]:
    """Three coloured pictures, as arrays and as files."""
    chance, folder = np.random.default_rng(5), tmp_path_factory.mktemp("images")
    arrays = [chance.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(3)]
    paths = [folder / f"{number}.png" for number in range(3)]
    for array, path in zip(arrays, paths, strict=True):
        Image.fromarray(array).save(path)
    return arrays, paths


def test_whatever_is_an_image_is_predicted_alike(images: tuple[list[np.ndarray], list[Path]]) -> None:
    arrays, paths = images
    expected = [one.probabilities for one in predict(RUN, paths)]
    assert len({tuple(row) for row in expected}) == 3
    forms: list[list[Any]] = [
        [str(path) for path in paths],
        [Image.open(path) for path in paths],
        arrays,
        [array / 255 for array in arrays],
    ]
    model = load_model(RUN)
    for form in forms:
        assert [one.probabilities for one in predict(model, form)] == expected
        one = predict(model, form[1])
        assert isinstance(one, Prediction)
        assert one.probabilities == pytest.approx(expected[1], abs=1e-5), "alone or among others"


def test_a_grey_array_is_an_image_of_three_equal_colours() -> None:
    grey = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)
    colours = np.repeat(grey[:, :, None], 3, 2)
    assert predict(RUN, grey).probabilities == predict(RUN, colours).probabilities


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3), np.int64), np.full((8, 8, 3), 2.0), np.full((8, 8), -0.1),
        np.full((8, 8), np.nan), np.zeros((0,)), np.zeros((2, 8, 8, 3), np.uint8),
    ],
)  # fmt: skip
def test_arrays_that_are_no_image_are_refused(array: np.ndarray) -> None:
    with pytest.raises(RequestError, match=r"uint8 array of shape \(H, W, 3\)"):
        predict(RUN, array)


def test_a_broken_image_has_its_problem_in_its_place(images: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    good, broken, gone = predict(RUN, [images[1][0], tmp_path / "broken.png", tmp_path / "gone.png"])
    assert good.label is not None
    assert (broken.label, gone.label) == (None, None)
    assert broken.problem
    assert gone.problem


def test_a_run_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("latest", "nowhere", tmp_path):
        with pytest.raises(RequestError):
            predict(name, ["x.png"])


def test_a_run_from_python_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Any) -> None:
    from tests.cli726.finetune.synthetic import write_pictures

    monkeypatch.chdir(tmp_path)
    folder = write_pictures(tmp_path / "shapes", 30)
    result = cli726.run_finetune(
        dataset=f"folder:{folder}", weights="random", epochs=1, threads=1, precision="fp32", gallery=False
    )
    assert result.test.images > 0
    one = result.predict(str(images[1][0]))
    assert one.label in result.dataset.class_names
    assert predict("latest", [images[1][0]])[0].probabilities == one.probabilities
