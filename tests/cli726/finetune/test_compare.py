"""Two runs on the same images, against SciPy's binomial test and counts by hand."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.api import finetune
from cli726.finetune.compare import COLUMNS, FILE, compare, mcnemar
from cli726.finetune.result import Finetuned
from tests.cli726.finetune.synthetic import small_run

pytestmark = pytest.mark.usefixtures("small_network")
Run = Callable[..., Finetuned]


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_p_value_is_scipys(only_a: int, only_b: int) -> None:
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a) == pytest.approx(expected, rel=1e-9)


def test_ten_thousand_images_are_no_trouble() -> None:
    assert mcnemar(4900, 5100) == pytest.approx(binomtest(4900, 10_000).pvalue, rel=1e-9)
    assert mcnemar(0, 10_000) == 0


@pytest.mark.parametrize("options", [{}, {"folds": 3}], ids=["test images", "folds"])
def test_a_run_keeps_what_it_said_of_each_image_it_was_judged_on(finished: Run, options: dict[str, Any]) -> None:
    result = finished(epochs=1, **options)
    split, judged, scores = result.judged
    header, *rows = csv.reader((result.run_dir / FILE).read_text().splitlines())
    names, labels = result.dataset.class_names, result.dataset.labels(split)
    assert header == COLUMNS
    assert [row[0] for row in rows] == list(result.dataset.images(split).names)
    assert [bytes.fromhex(row[1]) for row in rows] == [d.tobytes() for d in result.dataset.image_digests(split)]
    assert [row[2] for row in rows] == [names[label] for label in labels]
    assert [row[3] for row in rows] == [names[guess] for guess in scores.argmax(1)]
    assert [float(row[4]) for row in rows] == scores.double().softmax(1).amax(1).tolist()
    assert sum(row[2] == row[3] for row in rows) == judged.correct


def saying(run: Path, target: Path, predicted: dict[str, str]) -> Path:
    """A copy of a run that takes some images for other classes, its rows in another order."""
    shutil.copytree(run, target)
    header, *rows = csv.reader((run / FILE).read_text().splitlines())
    changed = [[*row[:3], predicted.get(row[0], row[2]), "1"] for row in reversed(rows)]
    with (target / FILE).open("w", newline="") as file:
        csv.writer(file).writerows([header, *changed])
    return target


@pytest.fixture
def pair(finished: Run, tmp_path: Path) -> tuple[Path, Path, list[str]]:
    """Two runs on fifteen images: A has the first three wrong, B the third to the fifth; and the names."""
    run = finished().run_dir
    names = [row[0] for row in csv.reader((run / FILE).read_text().splitlines())][1:]
    wrong = {"cross": "rows", "rows": "columns", "columns": "cross"}
    others = {name: wrong[name.split("/")[-2]] for name in names}
    a = saying(run, tmp_path / "a", {name: others[name] for name in names[:3]})
    b = saying(run, tmp_path / "b", {name: others[name] for name in names[2:5]})
    return a, b, names


def test_images_are_paired_by_their_content(pair: tuple[Path, Path, list[str]]) -> None:
    a, b, names = pair
    found = compare(str(a), str(b))
    assert found.counts == {"both_right": len(names) - 5, "only_a": 2, "only_b": 2, "both_wrong": 1}
    assert [row["path"] for row in found.flipped] == [*names[3:5], *names[:2]]
    for row in found.flipped:
        assert row["true"] in {row["a"], row["b"]}
        assert row["a"] != row["b"]
    assert found.p_value == binomtest(2, 4).pvalue
    sums = {key: sum(row[key] for row in found.classes) for key in ("images", "right_a", "right_b", "only_a")}
    assert sums == {"images": len(names), "right_a": len(names) - 3, "right_b": len(names) - 3, "only_a": 2}
    same = compare(str(a), str(a))
    assert (same.p_value, same.flipped) == (1.0, [])


def test_other_images_are_an_error_that_says_in_what_they_differ(
    finished: Run, tmp_path: Path, shapes_folder: Path, small_weights: Path
) -> None:
    first, folds = finished(), finished(epochs=1, folds=3)
    fewer = finetune(small_run(shapes_folder, small_weights, epochs=1, test_fraction=0.3), tmp_path / "fewer")
    images, others = (len(run.dataset.splits["test"]) for run in (first, fewer))
    with pytest.raises(
        RequestError, match=rf"0 of {images} are only in .*, {others - images} of {others} only in"
    ) as told:
        compare(str(first.run_dir), str(fewer.run_dir))
    assert "of shapes for testing and 0.292 of shapes for testing" in str(told.value)
    with pytest.raises(RequestError, match="for testing and 3 folds of shapes"):
        compare(str(first.run_dir), str(folds.run_dir))
    moved = shutil.copytree(shapes_folder, tmp_path / "shapes")
    test = first.dataset.images("test").names
    Image.new("RGB", (32, 32), "red").save(next(moved.rglob(Path(test[0]).name)))
    changed = finetune(small_run(moved, small_weights, epochs=1), tmp_path / "changed")
    with pytest.raises(RequestError, match=r"\(the images were changed or read otherwise\)"):
        compare(str(first.run_dir), str(changed.run_dir))
    shutil.copytree(first.run_dir, tmp_path / "relabelled")
    text = (tmp_path / "relabelled" / FILE).read_text()
    (tmp_path / "relabelled" / FILE).write_text(re.sub(r"(?<=[0-9a-f]{64}),cross,", ",rows,", text, count=1))
    with pytest.raises(RequestError, match=r"1 image changed class, such as .*: cross in .*, rows in"):
        compare(str(first.run_dir), str(tmp_path / "relabelled"))


def test_another_backbones_pictures_are_the_same_images(tmp_path: Path, small_weights: Path, photographs: Path) -> None:
    runs = [
        finetune(small_run(photographs, small_weights, epochs=1, image_size=size), tmp_path / str(size)).run_dir
        for size in (32, 48)
    ]
    assert sum(compare(*map(str, runs)).counts.values()) == 6


@pytest.mark.parametrize(
    "content",
    ["", "a,b\n", ",".join(COLUMNS), "{0}\nx,y,z,a,1\n", "{0}\nx,{1},z,a,2\n", "{0}\nx,{1},z\n", '{0}\n"x', "\xff"],
)
def test_lists_that_make_no_sense_are_not_trusted(pair: tuple[Path, Path, list[str]], content: str) -> None:
    a, b, _ = pair
    (b / FILE).write_bytes(content.format(",".join(COLUMNS), "0" * 64).encode("latin-1"))
    with pytest.raises(UntrustedDataError, match="not a finished run of ours"):
        compare(str(a), str(b))


def test_a_run_without_the_list_must_be_trained_again(pair: tuple[Path, Path, list[str]]) -> None:
    a, b, _ = pair
    (a / FILE).unlink()
    with pytest.raises(RequestError, match=rf"runs to compare must have a {FILE}; .*train it again"):
        compare(str(a), str(b))
