"""Reading points: the bundled file, every format, and where an error is."""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cli726.errors import RequestError
from cli726.logistic import center, load_points
from cli726.logistic.points import BUNDLED

NUMBERS = st.floats(-1e6, 1e6).filter(lambda value: value != 1)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5)


def written(tmp_path, text):
    file = tmp_path / "points.txt"
    file.write_text(text, encoding="utf-8")
    return load_points(file)


def test_the_provenance_note_regenerates_the_bundled_points_byte_for_byte():
    program = re.search(r"```python\n(.*?)```", BUNDLED.with_suffix(".md").read_text(encoding="utf-8"), re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program[1], {})
    assert printed.getvalue() == BUNDLED.read_text(encoding="utf-8")


def test_bundled_points_are_a_hundred_of_each_class_sorted():
    points = load_points()
    assert points.X.shape == (200, 3)
    assert_array_equal(points.t, np.repeat([0, 1], 100))
    assert_array_equal(points.X[:, 2], 1)
    assert points.name == "bundled points"
    assert points.features == ("x1", "x2")


@settings(max_examples=30)
@given(
    zeros=ROWS,
    ones=ROWS,
    layout=st.sampled_from(["last", "first", "none"]),
    mark=st.sampled_from([" ", "\t", ",", "; "]),
)
def test_every_layout_gives_the_same_points(tmp_path_factory, zeros, ones, layout, mark):
    rows = [(*x, 0) for x in zeros] + [(*x, 1) for x in ones]
    lines = []
    for x1, x2, t in rows:
        cells = {"last": (x1, x2, 1, t), "first": (1.0, x1, x2, t), "none": (x1, x2, float(t))}[layout]
        lines.append(mark.join(repr(cell) for cell in cells))
    points = written(tmp_path_factory.mktemp("layout"), "\n".join(lines) + "\n")
    assert_array_equal(points.X, [(x1, x2, 1) for x1, x2, _ in rows])
    assert_array_equal(points.t, [t for *_, t in rows])
    assert points.bias == ("added" if layout == "none" else "read from the file")


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("height,weight,label", ["height", "weight"]), ('"height","weight","label"', ["height", "weight"]),
        ("\ufeffa;b;c", ["a", "b"]), ("# a comment\n\nu v w", ["u", "v"]),
    ],
)  # fmt: skip
def test_a_header_names_the_features(tmp_path, head, names):
    mark = "," if "," in head else ";" if ";" in head else " "
    points = written(tmp_path, f"{head}\n3{mark}4{mark}0\r\n5{mark}6{mark}1\n")
    assert [*points.features] == names
    assert_array_equal(points.X, [(3, 4, 1), (5, 6, 1)])
    assert written(tmp_path, "x1 x2 1 t\n3 4 1 0\n5 6 1 1\n").features == ("x1", "x2")


def test_any_number_of_features(tmp_path):
    assert written(tmp_path, "2 0\n3 1\n").X.shape == (2, 2)
    assert written(tmp_path, "2 3 4 5 6 0\n3 4 5 6 7 1\n").X.shape == (2, 6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 1 0\n3 4 1 1\n5 6 1\n", r"line 3: .* \(4\), got 3"),
        ("1 2 1 0\n\n3 4 1 2\n", r"line 3: the label .* got 2"),
        ("1 2 1 0\n3 nan 1 1\n", "line 2, column 2: .* finite .* got nan"),
        ("1 2 1 0\n-inf 3 1 1\n", "line 2, column 1: .* finite .* got -inf"),
        ("1 2 1 0\n3 1e300 1 1\n", "line 2, column 2: .* got 1e300; .*rescale"),
        ("1 2 1 0\n3 4_0 1 1\n", "line 2, column 2: .* number, got '4_0'"),
        ("1 2 1 yes\n3 4 1 1\n", "line 1, column 4: .* number, got 'yes'"),
        ("1,2,0\n3,,1\n", "line 2, column 2: .* number, got ''"),
        ("1 2 1 0\n3 4 1 0\n", "both classes, got 2 of class 0 alone"),
        ("\n# nothing\n", "holds no points"),
        ("x1 x2 t\n", "holds no points"),
        ("0\n1\n", "line 1: .* at least one feature"),
        ("1 0\n1 1\n", "only a column of ones"),
        ('"1,2,0\n3,4,1\n', "unbalanced quotes"),
    ],
)
def test_errors_say_where_and_what(tmp_path, text, said):
    with pytest.raises(RequestError, match=f"^points.txt.*{said}"):
        written(tmp_path, text)


def test_a_missing_file_a_folder_and_a_picture_are_refused(tmp_path):
    with pytest.raises(RequestError, match="there is no file"):
        load_points(tmp_path / "none.txt")
    with pytest.raises(RequestError, match="is a folder"):
        load_points(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(RequestError, match="not a text file"):
        load_points(tmp_path / "picture.png")


def test_centring_takes_the_means_and_leaves_the_bias():
    points = load_points()
    centred = center(points)
    assert_allclose(centred.X[:, :2].mean(axis=0), 0, atol=1e-14)
    assert_array_equal(centred.X[:, 2], 1)
    assert_allclose(centred.X[:, :2] + centred.means, points.X[:, :2], rtol=1e-14)
