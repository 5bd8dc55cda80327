"""Sizes and ages as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import RequestError
from cache.quantities import as_size, parse_age, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("500 mb", 500 * 10**6), ("1.5GiB", 3 * 2**29), ("1024", 1024), ("7b", 7), ("2k", 2000)],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "age"), [("30d", 30 * 86400), ("12H", 43200), ("2w", 14 * 86400), ("0.5m", 30)])
def test_ages_are_read_as_people_write_them(text, age):
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5XB", "nan", "inf", "1e3", "5 G B", "٣GB", "1" * 5000])
def test_nonsense_is_refused_with_the_value_and_an_example(text):
    for parse, example in ((parse_size, "5GB"), (parse_age, "30d")):
        with pytest.raises(RequestError, match=example):
            parse(text)


@given(st.integers(0, 10**16))
def test_a_size_reads_back_within_its_rounding(number):
    shown = as_size(number)
    assert len(shown) <= 11
    assert abs(parse_size(shown) - number) <= max(0.5, 0.051 * number)
