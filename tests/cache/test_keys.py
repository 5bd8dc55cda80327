"""Keys: canonical, complete, stable; and what changed since."""

import hashlib
import json

import pytest
from building import a_request
from hypothesis import given
from hypothesis import strategies as st

from cache.keys import Request, canonical, differences, nearest, normalized

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))
flat = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2), max_size=6)


@given(json_values)
def test_canonical_json_reads_back_and_is_a_fixed_point(value):
    text = canonical(value)
    assert json.loads(text) == normalized(value)
    assert canonical(json.loads(text)) == text
    assert text.isascii()


@given(st.dictionaries(st.text(), json_values, max_size=5), st.randoms())
def test_the_order_of_names_does_not_matter(fields, chance):
    names = list(fields)
    chance.shuffle(names)
    assert canonical({name: fields[name] for name in names}) == canonical(fields)


def test_the_key_is_the_hash_that_the_documentation_gives():
    text = '{"dtype":"float32","fields":{"b":[1,2.5],"\\u00e9":null},"rows":3,"schema":1,"shape":[64]}'
    request = Request({"é": None, "b": (1, 2.5)}, 3, (64,), "float32", {"data": "not in the key"})
    assert request.key == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        a_request(rows=601),
        a_request(shape=(8, 8)),
        a_request(weights="w2"),
        a_request(images={"data": "d1", "treatment": "t2"}),
        a_request(precision="other"),
        a_request(seed=None),
        a_request(weights=["w1"]),
    ],
)
def test_whatever_decides_the_content_decides_the_key(other):
    assert other.key != a_request().key


def test_numbers_that_python_calls_equal_have_keys_of_their_own():
    assert len({a_request(seed=value).key for value in (1, 1.0, True, "1")}) == 4


def test_provenance_is_not_in_the_key_and_later_changes_of_fields_do_not_reach_it():
    fields = {"images": {"data": "d1"}}
    request = Request(fields, 2, (1,), "float32", {"model": "a"})
    assert Request(fields, 2, (1,), "float32", {"model": "b"}).key == request.key
    fields["images"]["data"] = "d2"
    assert request.fields == {"images": {"data": "d1"}}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_a_json_form_are_refused(value):
    with pytest.raises(ValueError, match="finite"):
        a_request(weights=value)


@pytest.mark.parametrize("value", [b"bytes", {1: "a"}, {"set"}, object()])
def test_types_without_a_json_form_are_refused(value):
    with pytest.raises(TypeError, match="takes"):
        a_request(weights=value)


@pytest.mark.parametrize(
    "sizes",
    [
        {"rows": 0},
        {"rows": -1},
        {"rows": True},
        {"rows": 2.0},
        {"shape": ()},
        {"shape": (0,)},
        {"shape": (2,) * 9},
        {"rows": 2**40},
        {"shape": (2**62,)},
        {"dtype": "float64"},
    ],
)
def test_absurd_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="got"):
        a_request(**sizes)


def test_undecodable_names_become_visible_and_stay_distinct():
    assert normalized("caf\udce9") == "caf\\udce9"
    assert a_request(weights="\udce9").key != a_request(weights="\udcea").key


@given(flat, flat)
def test_differences_are_symmetric_and_name_exactly_what_differs(left, right):
    names = differences(left, right)
    assert names == differences(right, left)
    assert set(names) == {n for n in "abcdef" if left.get(n, "absent") != right.get(n, "absent")}


def test_nested_fields_have_dotted_names():
    left = {"images": {"data": "d1", "n": [1, 2]}, "weights": "w"}
    assert differences(left, {"images": {"data": "d2", "n": [1, 2]}, "weights": "w"}) == ("images.data",)
    assert differences(left, {"images": {"data": "d1", "n": [2, 1]}}) == ("images.n", "weights")


def test_the_nearest_version_decides_what_is_named():
    one, two = a_request(weights="w2"), a_request(weights="w2", images={"data": "d2", "treatment": "t1"})
    assert nearest(a_request(), [two, one]) == ("weights",)
    assert nearest(a_request(), [two]) == ("images.data", "weights")
    assert nearest(a_request(), []) == ()


def test_another_pool_cut_variant_or_data_set_is_no_version_of_the_same_thing():
    others = [
        a_request(provenance={"data": "digits", "pool": "test"}, images={"data": "d2", "treatment": "t1"}),
        a_request(provenance={"data": "cifar10", "pool": "train"}, images={"data": "d2", "treatment": "t1"}),
        a_request(cut="layer2"),
        a_request(variant={"name": "mirror"}),
        a_request(a=1, b=2, c=3, d=4),
    ]
    assert nearest(a_request(), others) == ()
