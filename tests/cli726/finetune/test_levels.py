"""Images of other levels than eight bits: one range for a data set, whatever wrote them; none is clipped unsaid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from cli726.errors import RequestError
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.decoding import Deep, decode, flatten, levels_of
from cli726.finetune.data.images import Pile, settle
from cli726.finetune.data.sources import Reading
from cli726.finetune.evaluate import score_dataset
from cli726.finetune.predict import load_model, predict
from cli726.finetune.run import finetune
from cli726.reporting import Silent
from tests.cli726.finetune.synthetic import Listener, pictures, small_run

GREY = pictures(12)[0].mean(3)  # (N, 32, 32), from 0 to 255
WRITTEN: dict[str, tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float]]] = {
    "0..1": (lambda g: (g / 255).astype(np.float32), (0, 1)),
    "float 255": (lambda g: g.astype(np.float32), (0, 255)),
    "12 bits": (lambda g: (g * 16).astype(np.uint16), (0, 4095)),
    "16 bits": (lambda g: (g * 257).astype(np.uint16), (0, 65535)),
    "32 bits": (lambda g: (g * 257).astype(np.int32), (0, 65535)),
}


def write(root: Path, form: Callable[[np.ndarray], np.ndarray], ending: str = "tif") -> Path:
    for number, grey in enumerate(GREY):
        folder = root / ("even", "odd")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(form(grey)).save(folder / f"{number:02}.{ending}")
    return root


@pytest.mark.parametrize(
    ("kind", "ending"), [*((kind, "tif") for kind in WRITTEN), ("12 bits", "png"), ("16 bits", "png")]
)
def test_grey_files_of_any_depth_are_read_as_those_of_eight_bits(tmp_path: Path, kind: str, ending: str) -> None:
    form, levels = WRITTEN[kind]
    listener = Listener()
    dataset = load_dataset(f"folder:{write(tmp_path / 'deep', form, ending)}", Reading(reporter=listener))
    plain = load_dataset(f"folder:{write(tmp_path / 'plain', lambda g: g.astype(np.uint8))}")
    assert_allclose(dataset.pools["train"].pixels.astype(int), plain.pools["train"].pixels, atol=1)
    assert dataset.levels == levels
    assert plain.levels is None
    assert dataset.treatment != plain.treatment
    assert [line for line in listener.lines if f"read as {levels[0]:g} (black) to {levels[1]:g} (white)" in line]


def test_signed_files_span_from_the_least_to_the_largest_of_the_set(tmp_path: Path) -> None:
    dataset = load_dataset(f"folder:{write(tmp_path, lambda g: (g / 128 - 1).astype(np.float32))}")
    span = GREY.max() - GREY.min()
    expected = (np.concatenate([GREY[::2], GREY[1::2]]) - GREY.min()) * 255 / span
    assert_allclose(dataset.pools["train"].pixels[..., 1], expected, atol=1)


@given(st.lists(st.tuples(st.floats(-2e5, 2e5), st.floats(0, 1e5)), min_size=1, max_size=5))
def test_one_range_is_monotonic_over_the_whole_set(ranges: list[tuple[float, float]]) -> None:
    """A larger value is nowhere darker, in whichever image it stands, and none is cut off by more than overshoot."""
    pile, values = Pile(len(ranges)), []
    for low, span in ranges:
        plane = np.linspace(low, low + span, 1024, dtype=np.float32).reshape(32, 32)
        values.append(plane)
        pile.add(Deep(plane, float(plane.min()), float(plane.max())), 0, "x")
    pools, levels = settle({"train": pile}, Silent())
    assert levels is not None
    flat, shown = np.stack(values).ravel(), pools["train"].pixels[..., 0].ravel().astype(int)
    order = np.argsort(flat, kind="stable")
    assert np.diff(shown[order]).min() >= -1  # which range an image had at first may round once more
    assert levels[1] * 1.06 >= flat.max() or flat.max() <= 0
    direct = flatten(Deep(flat.reshape(-1, 32), 0, 0), levels)[..., 0].ravel().astype(int)
    assert np.abs(direct - shown).max() <= 1


@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [(0, 1, (0, 1)), (-0.03, 1.04, (0, 1)), (0, 2, (0, 255)), (3, 400, (0, 4095)), (0, 4096, (0, 4095)),
     (0, 7e4, (0, 7e4)), (-1, 1, (-1, 1)), (-0.01, 0.01, (-0.01, 0.01)), (0, 0, (0, 1)), (-5, -2, (-5, -2))],
)  # fmt: skip
def test_the_range_follows_the_largest_value_and_signs(low: float, high: float, levels: tuple[float, float]) -> None:
    assert levels_of(low, high) == pytest.approx(levels, rel=0.07)


OWN = """
import numpy as np, torch
from tests.cli726.finetune.synthetic import pictures
PIXELS, LABELS = pictures(30)
def give(make):
    return lambda split: [(make(x), int(y)) for x, y in zip(PIXELS, LABELS)] if split == "train" else None
planes = lambda x: torch.tensor(x).permute(2, 0, 1)
bytes_ = give(lambda x: x)
unit = give(lambda x: planes(x) / 255)
floats = give(lambda x: x.astype(np.float64))
long = give(lambda x: planes(x).long())
words = give(lambda x: (x.astype(np.uint16) * 257))
normalised = give(lambda x: (planes(x) / 255 - .5) / .25)
slightly = give(lambda x: planes(x) / 255 - .4)
signed = give(lambda x: x.astype(np.int16) - 128)
endless = give(lambda x: x / np.array(0.0, np.float32) if x[0, 0, 0] > 200 else x)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(OWN)
    return lambda function: f"python:{path}:{function}"


@pytest.mark.parametrize("function", ["unit", "floats", "long", "words"])
def test_own_images_of_any_numbers_are_read_as_bytes(own: Callable[[str], str], function: str) -> None:
    assert_array_equal(load_dataset(own(function)).pools["train"].pixels, pictures(30)[0])


@pytest.mark.parametrize("function", ["normalised", "slightly", "signed"])
def test_normalised_images_are_refused_with_item_range_and_remedy(own: Callable[[str], str], function: str) -> None:
    with pytest.raises(RequestError, match=r"train item 0 has values from -\S+ to .*leave Normalize out") as caught:
        load_dataset(own(function))
    assert caught.value.status == 2


def test_images_without_content_are_named(tmp_path: Path) -> None:
    listener = Listener()
    load_dataset(f"folder:{write(tmp_path, lambda g: np.zeros_like(g, np.uint8))}", Reading(reporter=listener))
    assert "note: 12 images of one colour alone, such as even/00.tif: nothing to see there" in listener.lines


def test_predict_reads_a_picture_as_the_training_images_were(tmp_path: Path, weights_file: Path) -> None:
    """A dark picture of a 12-bit set: by itself it would be read as one of 8 bits."""
    folder = write(tmp_path / "data", WRITTEN["12 bits"][0])
    run = finetune(small_run(folder, weights_file, epochs=1), tmp_path / "run").run_dir
    assert json.loads((run / "model.json").read_text())["levels"] == [0, 4095]
    model = load_model(run)
    dark = np.full((32, 32), 200, np.uint16)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    Image.fromarray((dark * 255 // 4095).astype(np.uint8)).save(tmp_path / "same.png")
    one, other = predict(model, [tmp_path / "dark.png", tmp_path / "same.png"])
    assert one.probabilities == pytest.approx(other.probabilities, rel=1e-5)
    content = (tmp_path / "dark.png").read_bytes()
    assert (decode(content).max(), decode(content, model.levels).max()) == (200, 12)
    dark_set = write(tmp_path / "set", lambda g: (g / 2).astype(np.uint16))
    scored = score_dataset(model, f"folder:{dark_set}", None, Silent())
    seen = [decode(path.read_bytes(), model.levels) for path in sorted(dark_set.rglob("*.tif"))]
    assert_array_equal(scored.images.pixels, seen)
    assert scored.images.pixels.max() == 8
    assert score_dataset(model, f"folder:{folder}", None, Silent()).split == "test", "the run's own images"


@pytest.mark.parametrize("stated", [[0], [1, 0], ["a", 1], [0, float("inf")], 7])
def test_levels_that_make_no_sense_are_not_trusted(stated: Any) -> None:
    from cli726.finetune.predict import stated_levels

    with pytest.raises((ValueError, TypeError)):
        stated_levels(stated)
    assert torch.tensor(stated_levels([0, 255])).tolist() == [0, 255]
