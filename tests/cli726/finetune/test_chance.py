"""Chance is a function of its purpose: nothing that was drawn before, or by whom, can change it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from cli726.finetune.chance import generator

Purpose = tuple[int | str, ...]
purposes = st.lists(st.one_of(st.integers(), st.text(max_size=8)), min_size=1, max_size=4).map(tuple)


def draw(*purpose: int | str) -> list[int]:
    return torch.randint(2**62, (4,), generator=generator(*purpose)).tolist()


@given(one=purposes, other=purposes)
def test_draws_depend_on_the_purpose_alone_and_touch_nobody_elses_numbers(one: Purpose, other: Purpose) -> None:
    first, before = draw(*one), torch.random.get_rng_state()
    between = draw(*other)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert draw(*one) == first
    assert (between == first) == (one == other)


def test_numbers_and_texts_are_different_purposes_and_all_stay_so_that_old_runs_can_be_resumed() -> None:
    assert draw(1, "head", 2) != draw("1", "head", 2)
    assert draw(0, "a", "b") != draw(0, "ab")
    assert torch.randperm(8, generator=generator(0, "head", 1, "order")).tolist() == [2, 3, 1, 4, 0, 5, 6, 7]
