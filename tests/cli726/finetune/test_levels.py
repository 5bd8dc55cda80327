"""Images of other levels than eight bits: one range for a data set, whatever wrote them; none is clipped unsaid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from cli726.finetune.api import finetune
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.data.decoding import Deep, decode, flatten, levels_of
from cli726.finetune.data.images import Pile, settle
from cli726.finetune.data.sources import Reading
from cli726.finetune.evaluate import score_dataset
from cli726.finetune.predict import load_model, predict, stated_levels
from cli726.reporting import Silent
from tests.cli726.finetune.synthetic import Listener, pictures, small_run

GREY = pictures(12)[0].mean(3)  # (N, 32, 32), from 0 to 255
SPAN = GREY.max() - GREY.min()
# kind -> (form of the files, range, the same in eight bits)
Form = Callable[[np.ndarray], np.ndarray]
BYTES: Form = lambda g: g.astype(np.uint8)  # noqa: E731
WRITTEN: dict[str, tuple[Form, tuple[float, float], Form]] = {
    "0..1": (lambda g: (g / 255).astype(np.float32), (0, 1), BYTES),
    "float 255": (lambda g: g.astype(np.float32), (0, 255), BYTES),
    "12 bits": (lambda g: (g * 16).astype(np.uint16), (0, 4095), BYTES),
    "16 bits": (lambda g: (g * 257).astype(np.uint16), (0, 65535), BYTES),
    "32 bits": (lambda g: (g * 257).astype(np.int32), (0, 65535), BYTES),
    "signed": (lambda g: (g / 128 - 1).astype(np.float32), (GREY.min() / 128 - 1, GREY.max() / 128 - 1),
               lambda g: (g - GREY.min()) * 255 / SPAN),
}  # fmt: skip


def write(root: Path, form: Form, ending: str = "tif") -> Path:
    for number, grey in enumerate(GREY):
        folder = root / ("even", "odd")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(form(grey)).save(folder / f"{number:02}.{ending}")
    return root


@pytest.mark.parametrize(
    ("kind", "ending"), [*((kind, "tif") for kind in WRITTEN), ("12 bits", "png"), ("16 bits", "png")]
)
def test_grey_files_of_any_depth_are_read_as_those_of_eight_bits(tmp_path: Path, kind: str, ending: str) -> None:
    """Signed ones from the least to the largest of the set."""
    form, levels, seen = WRITTEN[kind]
    listener = Listener()
    dataset = load_dataset(f"folder:{write(tmp_path / 'deep', form, ending)}", Reading(reporter=listener))
    expected = np.concatenate([seen(GREY[::2]), seen(GREY[1::2])])[..., None].astype(float)
    assert_allclose(dataset.pools["train"].pixels, np.broadcast_to(expected, (12, 32, 32, 3)), atol=1)
    assert dataset.levels == pytest.approx(levels)
    assert [line for line in listener.lines if f"read as {levels[0]:g} (black) to {levels[1]:g} (white)" in line]
    plain = load_dataset(f"folder:{write(tmp_path / 'plain', BYTES)}")
    assert plain.levels is None
    assert dataset.treatment != plain.treatment


@example([(0, 2), (-1, 2)])
@example([(0, 2), (-1, 0)])
@given(st.lists(st.tuples(st.floats(-2e5, 2e5), st.floats(0, 1e5)), min_size=1, max_size=5))
def test_one_range_is_monotonic_over_the_whole_set(ranges: list[tuple[float, float]]) -> None:
    """A larger value is nowhere darker, in whichever image it stands, and none is cut off by more than overshoot."""
    pile, values = Pile(len(ranges)), []
    for low, span in ranges:
        plane = np.linspace(low, low + span, 1024, dtype=np.float32).reshape(32, 32, 1)
        values.append(plane)
        pile.add(Deep(plane, float(plane.min()), float(plane.max())), 0, "x")
    pools, levels = settle({"train": pile}, Silent())
    assert levels is not None
    flat, shown = np.stack(values).ravel(), pools["train"].pixels[..., 0].ravel().astype(int)
    order = np.argsort(flat, kind="stable")
    assert np.diff(shown[order]).min() >= -2  # each of two images may have been rounded to a first range
    assert levels[1] * 1.06 >= flat.max() or flat.max() <= 0
    direct = flatten(Deep(flat.reshape(-1, 32, 1), 0, 0), levels)[..., 0].ravel().astype(int)
    assert np.abs(direct - shown).max() <= 1


@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [(0, 1, (0, 1)), (-0.03, 1.04, (0, 1)), (0, 2, (0, 255)), (3, 400, (0, 4095)), (0, 4096, (0, 4095)),
     (0, 7e4, (0, 7e4)), (-1, 1, (-1, 1)), (-0.01, 0.01, (-0.01, 0.01)), (0, 0, (0, 1)), (-5, -2, (-5, -2))],
)  # fmt: skip
def test_the_range_follows_the_largest_value_and_signs(low: float, high: float, levels: tuple[float, float]) -> None:
    assert levels_of(low, high) == pytest.approx(levels, rel=0.07)


@pytest.mark.parametrize("stated", [(0.0, 4095.0), (-4095.0, 100.0)])
def test_a_stated_range_holds_unless_it_is_exceeded_by_far(stated: tuple[float, float]) -> None:
    assert levels_of(-3, 8190, stated) == levels_of(0, 1, stated) == stated
    assert levels_of(0, 8191, stated) == (0, 65535)


def test_images_without_content_are_named(tmp_path: Path) -> None:
    listener = Listener()
    load_dataset(f"folder:{write(tmp_path, lambda g: np.zeros_like(g, np.uint8))}", Reading(reporter=listener))
    assert "note: 12 images of one colour alone, such as even/00.tif: nothing to see there" in listener.lines


@pytest.mark.usefixtures("small_network")
def test_predict_and_evaluate_read_pictures_as_the_training_images_were(tmp_path: Path, small_weights: Path) -> None:
    """Dark pictures of a 12-bit set: by themselves they would be read as of 8 bits."""
    folder = write(tmp_path / "data", WRITTEN["12 bits"][0])
    run = finetune(small_run(folder, small_weights, epochs=1), tmp_path / "run").run_dir
    assert json.loads((run / "model.json").read_text())["levels"] == [0, 4095]
    model = load_model(run)
    dark = write(tmp_path / "dark", lambda g: (g / 2).astype(np.uint16))
    files = sorted(dark.rglob("*.tif"))
    seen = [decode(path.read_bytes(), model.levels) for path in files]
    assert (np.max(seen), max(decode(path.read_bytes()).max() for path in files)) == (8, 127)
    scored = score_dataset(model, f"folder:{dark}", None, Silent())
    assert_array_equal(scored.images.pixels, seen)
    shares = [one.probabilities for one in predict(model, files)]
    assert_allclose(scored.scores.double().softmax(1), shares, rtol=1e-5)
    Image.fromarray(seen[0]).save(tmp_path / "same.png")
    assert predict(model, tmp_path / "same.png").probabilities == pytest.approx(shares[0], rel=1e-5)
    assert score_dataset(model, f"folder:{folder}", None, Silent()).split == "test", "the run's own images"


@pytest.mark.parametrize("stated", [[0], [1, 0], ["a", 1], [0, float("inf")], 7])
def test_levels_that_make_no_sense_are_not_trusted(stated: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        stated_levels(stated)
    assert stated_levels([0, 255]) == (0, 255)
