"""Keys: canonical, complete, stable; and what changed since."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.keys import Request, as_size, canonical, differences, nearest
from tests.cache.building import a_request

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))
flat = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2), max_size=6)


@given(st.dictionaries(st.text(), json_values, max_size=5), st.randoms())
def test_canonical_json_reads_back_and_knows_no_order(fields, chance):
    text = canonical(fields)
    assert json.loads(text) == fields
    assert canonical(json.loads(text)) == text
    assert text.isascii()
    names = list(fields)
    chance.shuffle(names)
    assert canonical({name: fields[name] for name in names}) == text


def test_the_key_is_the_hash_that_the_documentation_gives_and_holds_no_provenance():
    text = '{"dtype":"float32","fields":{"b":[1,2.5],"\\u00e9":null},"rows":3,"schema":2,"shape":[64]}'
    request = Request({"é": None, "b": (1, 2.5)}, 3, (64,), "float32", {"data": "not in the key"})
    assert request.key == hashlib.sha256(text.encode()).hexdigest()
    other = Request(request.fields, 3, (64,), "float32", {"data": "another"})
    assert (other.key, other.family != request.family, len(other.family)) == (request.key, True, 16)


def test_whatever_decides_the_content_decides_the_key():
    changes = [
        {},
        {"rows": 601},
        {"shape": (8, 8)},
        {"weights": "w2"},
        {"treatment": {"size": 64}},
        {"weights": ["w1"]},
    ]
    changes += [{"names": [*range(599), 1000]}, {"names": [1, 0, *range(2, 600)]}]
    # Numbers that Python calls equal, and names of files that are no text.
    changes += [{"seed": value} for value in (None, 1, 1.0, True, "1", "\udce9", "\udcea")]
    assert len({a_request(**change).key for change in changes}) == len(changes)


def test_later_changes_of_fields_do_not_reach_a_request():
    fields = {"images": {"data": "d1"}}
    request = Request(fields, 2, (1,), "float32")
    fields["images"]["data"] = "d2"
    assert request.fields == {"images": {"data": "d1"}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {"set"}, object()], ids=type)
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises((ValueError, TypeError), match="JSON"):
        a_request(weights=value)


@pytest.mark.parametrize(
    "sizes",
    [
        {"rows": 0}, {"rows": -1}, {"rows": True}, {"rows": 2.0}, {"shape": ()}, {"shape": (0,)}, {"shape": (2,) * 9},
        {"rows": 2**40}, {"rows": 2**42 // 34 + 1, "shape": (1,), "dtype": "bfloat16"}, {"shape": (2**62,)},
        {"dtype": "float64"},
    ],
)  # fmt: skip
def test_absurd_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="got"):
        Request({}, **{"rows": 600, "shape": (64,), "dtype": "float32", **sizes})
    for rows, shape, dtype in ((1, (1,), "float32"), (2**36, (8, 2), "bfloat16")):
        assert Request({}, rows, shape, dtype).rows == rows


@given(flat, flat)
def test_differences_are_symmetric_and_name_exactly_what_differs(left, right):
    names = differences(left, right)
    assert names == differences(right, left)
    assert set(names) == {n for n in "abcdef" if left.get(n, "absent") != right.get(n, "absent")}


def test_nested_fields_have_dotted_names():
    left = {"images": {"data": "d1", "n": [1, 2], "more": {}}, "weights": "w"}
    assert differences(left, {"images": {"data": "d2", "n": [1, 2], "more": {}}, "weights": "w"}) == ("images.data",)
    assert differences(left, {"images": {"data": "d1", "n": [2, 1]}}) == ("images.more", "images.n", "weights")


def test_the_nearest_version_decides_what_is_named():
    a, ab, abc, abcd = (a_request(**dict.fromkeys("abcd"[:count], 1)) for count in (1, 2, 3, 4))
    assert nearest(a_request(), [abc, ab, a]) == ("a",)
    assert nearest(a_request(), [abc, ab]) == ("a", "b")
    assert nearest(a_request(), [abc]) == ("a", "b", "c")
    assert nearest(a_request(), [abcd, a_request()]) == ()


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (12_800_000, "12.8 MB"),
     (5 * 10**9, "5.0 GB"), (2 * 10**15, "2000.0 TB")],
)  # fmt: skip
def test_sizes_have_a_unit_and_four_digits(number, shown):
    assert as_size(number) == shown
