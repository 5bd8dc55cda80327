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
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_points(file)


def test_the_bundled_points_are_a_hundred_of_each_class_and_their_note_makes_them_again():
    points = load_points()
    assert (points.name, points.features, points.X.shape) == ("bundled points", ("x1", "x2"), (200, 3))
    assert_array_equal(points.t, np.repeat([0, 1], 100))
    assert_array_equal(points.X[:, 2], 1)
    program = re.search(r"```python\n(.*?)```", BUNDLED.with_suffix(".md").read_text(encoding="utf-8"), re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program[1], {})
    assert printed.getvalue() == BUNDLED.read_text(encoding="utf-8")


@settings(max_examples=30)
@given(
    zeros=ROWS, ones=ROWS, layout=st.sampled_from(["last", "first", "none"]),
    mark=st.sampled_from([" ", "\t", ",", "; "]),
)  # fmt: skip
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
    ("text", "names"),
    [
        ("height,weight,label\n3,4,0\r\n5,6,1\n", ("height", "weight")),
        ("x1 x2 1 t\n3 4 1 0\n5 6 1 1\n", ("x1", "x2")),
        ('"height","weight","label"\n3,4,0\n5,6,1\n', ("height", "weight")), ("\ufeffa;b;c\n3;4;0\n5;6;1", ("a", "b")),
        ("# a comment\n\nu v w\n3 4 0\n5 6 1\n", ("u", "v")),
    ],
)  # fmt: skip
def test_a_header_names_the_features(tmp_path, text, names):
    points = written(tmp_path, text)
    assert points.features == names
    assert_array_equal(points.X, [(3, 4, 1), (5, 6, 1)])


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
        ("1 2 1 0\n3 4 1 0\n", "both classes, got 2 of class 0 alone; add points of class 1"),
        ("\n# nothing\n", "holds no points"),
        ("x1 x2 t\n", "holds no points"),
        ("0\n1\n", "line 1: .* at least one feature"),
        ("1 0\n1 1\n", "only a column of ones"),
        ('"1,2,0\n3,4,1\n', "unbalanced quotes"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not a text file"),
    ],
)
def test_errors_say_where_and_what(tmp_path, text, said):
    with pytest.raises(RequestError, match=f"^points.txt.*{said}"):
        written(tmp_path, text)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path, said in ((tmp_path / "none.txt", "there is no file"), (tmp_path, "is a folder")):
        with pytest.raises(RequestError, match=said):
            load_points(path)


def test_centring_takes_the_means_and_leaves_the_bias():
    points, centred = load_points(), center(load_points())
    assert_allclose(centred.X[:, :2].mean(axis=0), 0, atol=1e-14)
    assert_allclose(points.X - centred.X, np.tile([*centred.means, 0], (200, 1)), rtol=1e-13)
