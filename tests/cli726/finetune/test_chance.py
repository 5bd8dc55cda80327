"""Chance is a function of its purpose: nothing that was drawn before, or by whom, can change it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from cli726.finetune.chance import generator

Purpose = tuple[int | str, ...]
purposes = st.lists(st.one_of(st.integers(), st.text(max_size=8)), min_size=1, max_size=4).map(tuple)


def draw(purpose: Purpose) -> list[int]:
    return torch.randint(2**62, (4,), generator=generator(*purpose)).tolist()


@given(one=purposes, other=purposes)
def test_draws_depend_on_the_purpose_alone(one: Purpose, other: Purpose) -> None:
    first = draw(one)
    torch.rand(3)
    between = draw(other)
    assert draw(one) == first
    assert (between == first) == (one == other)


def test_the_number_one_and_the_text_one_are_two_purposes() -> None:
    assert draw((1, "head", 2)) != draw(("1", "head", 2))
    assert draw((0, "a", "b")) != draw((0, "ab"))


def test_nobody_elses_numbers_are_touched() -> None:
    before = torch.random.get_rng_state()
    draw((0, "order"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_numbers_stay_the_same_so_that_old_runs_can_be_resumed() -> None:
    assert torch.randperm(8, generator=generator(0, "head", 1, "order")).tolist() == [2, 3, 1, 4, 0, 5, 6, 7]
