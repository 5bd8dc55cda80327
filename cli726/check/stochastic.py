"""Problem 5.3: stochastic descents, beside those whose random orders can be known, and their faulty variants."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.check.answers import Parameters, Verdict
from cli726.check.descents import OTHER_RATES, Column, Variant, agreement, columns, head, run, said_digits, verdict
from cli726.check.slips import Slip
from cli726.errors import RequestError
from cli726.logistic import RATES, load_points
from cli726.logistic.descent import check_rates, choose_start
from cli726.logistic.model import losses, orders
from cli726.logistic.points import Array, Points

__all__ = ["stochastic"]

SEEDS = (0, 1, 2, 42, 123, 726, 1234)
# Orders are told apart in the first epochs; no two give the same digits.
TRIED, LONGEST, TOLD_APART, SURE = 3, 500, 5, 7
Order = NDArray[np.intp]


def known_orders(parameters: Parameters, count: int, epochs: int) -> Iterator[tuple[str, list[Order]]]:
    """Yield the orders that can be known: those of `cmpt726 lr sgd`, and of NumPy's and Python's usual seeds."""
    shuffles = list(islice(orders(parameters.seed, 20, count), epochs))
    for k in range(20):
        yield f"cmpt726's shuffle {k} of seed {parameters.seed}", [order[:, k] for order in shuffles]
    for seed in SEEDS:
        makers: Sequence[Any] = (np.random.RandomState(seed), np.random.default_rng(seed))
        for maker, name in zip(makers, ("RandomState", "default_rng"), strict=True):
            fresh = [np.asarray(maker.permutation(count)) for _ in range(epochs)]
            yield f"{name}({seed}).permutation", fresh
            kept, again = np.arange(count), []
            for order in fresh:
                kept = kept[order]
                again.append(kept)
            yield f"{name}({seed}).shuffle", again
        source, listed, python = random.Random(seed), list(range(count)), []  # noqa: S311 - what students use
        for _ in range(epochs):
            source.shuffle(listed)
            python.append(np.array(listed))
        yield f"random.shuffle with seed {seed}", python


def sweep(points: Points, orders_of: Sequence[list[Order]], steps: Array, start: Array) -> Array:
    """Return the weights at the start and after every epoch, shape (epochs + 1, K, D), of K descents in lockstep.

    Args:
        orders_of: The order of each epoch, for each descent.
        steps: Rates, signed, 0 for a weight that isn't updated: shape (K, D).
    """
    W = np.repeat(start[None], len(steps), axis=0)
    found, signed = [W.copy()], points.signed
    with np.errstate(all="ignore"):
        for epoch in range(len(orders_of[0])):
            for index in np.stack([order[epoch] for order in orders_of], axis=1):
                x = signed[index]  # (K, D)
                W += steps * (x / (1 + np.exp((W * x).sum(axis=1)))[:, None])
            found.append(W.copy())
    return np.array(found)


def stochastic(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge stochastic gradient descent, as far as its order of the points can be known.

    Raises:
        RequestError: where it can't be known: then neither right nor wrong can be said.
    """
    points = load_points(parameters.data)
    start = choose_start(points, parameters.start)
    rates = list(parameters.etas or RATES)
    check_rates(rates)
    lost, weights = columns(text, len(start), len(rates))
    if len(lost) > 1:
        found = [
            one_stochastic(question, points, start, [e], (c, None), parameters)
            for e, c in zip(rates, lost, strict=True)
        ]
        return next((one for one in found if not one.right), found[0])
    return one_stochastic(question, points, start, rates, (lost[0] if lost else None, weights), parameters)


@dataclass(frozen=True)
class Trial:
    """A stochastic procedure: its slip, what to say, its order's name ("" for none), and signed rates by weight."""

    slip: str
    told: str
    order: str
    steps: Array

    def orders(self, known: Mapping[str, list[Order]], count: int, epochs: int) -> list[Order]:
        """Return the order of each epoch."""
        if not self.order:
            return [np.arange(count)] * epochs
        return [known[self.order][0]] * epochs if self.slip == "shuffled once" else known[self.order]


def trials(names: Iterable[str], rates: Sequence[float], size: int) -> Iterator[Trial]:
    """Yield the right procedure and its faults, with each known order."""
    mask = np.append(np.ones(size - 1), 0.0)
    for eta in dict.fromkeys([*rates, *OTHER_RATES]):
        full, known = np.full(size, eta), eta in rates
        if known:
            yield Trial(
                "no shuffling", f"the points aren't shuffled: all of a class come first (eta {eta:g})", "", full
            )
        for name in names:
            yield Trial("" if known else "other rate", f"eta {eta:g}, order {name}", name, full)
            if known:
                yield Trial("shuffled once", f"shuffled once, not in every epoch ({name})", name, full)
                yield Trial("wrong sign", f"the step goes up the gradient ({name})", name, -full)
                yield Trial("bias not updated", f"the bias isn't updated ({name})", name, full * mask)


def one_stochastic(
    question: str, points: Points, start: Array, rates: Sequence[float], given: Sequence[Column | None],
    parameters: Parameters,
) -> Verdict:  # fmt: skip
    """Judge one descent, at any of some rates."""
    count, epochs = len(points.X), min(LONGEST, *(len(one.values) for one in given if one))
    few = min(epochs, TRIED)
    known = dict(known_orders(parameters, count, few))
    tried = list(trials(known, rates, len(start)))
    paths = sweep(points, [one.orders(known, count, few) for one in tried], np.array([t.steps for t in tried]), start)
    found = losses(points, paths)
    likely = [
        (agreement(head(given, few), Variant("", "", found[shift:, k], paths[shift:, k])), shift, one)
        for k, one in enumerate(tried)
        for shift in (0, 1)
    ]
    opening, shift, one = max(likely, key=lambda item: item[0])
    full = one.orders(dict(known_orders(parameters, count, epochs + 1)), count, epochs + 1)
    whole = sweep(points, [full], one.steps[None], start)[shift:, 0]
    digits = agreement(head(given, epochs), Variant("", "", losses(points, whole), whole))
    if opening >= SURE > digits:  # later, large steps may have blown rounding up
        digits, epochs = opening, few
    if digits >= TOLD_APART:
        note = f"{one.told} ({said_digits(digits, given)} agree in {epochs} epochs)"
        return verdict(question, Slip(one.slip, note, None) if one.slip else None, note)
    for eta in rates:
        path = Variant("", "", *run(points, eta, start, epochs + 1))
        if max(agreement(head(given, epochs), path, k) for k in (0, 1)) >= TOLD_APART:
            told = f"that is gradient descent at eta {eta:g}, all points at once"
            return verdict(question, Slip("not stochastic", told, None), "")
    usual, first = found[:, [k for k, one in enumerate(tried) if not one.slip]], given[0]
    inside = first and all(
        usual[k : k + 2].min() <= v <= usual[k : k + 2].max() for k, v in enumerate(first.values[:few])
    )
    seen = "inside" if inside else "outside"
    raise RequestError(
        "this can't be decided: the numbers depend on your own random order, which can't be known; they lie "
        f"{seen} the range of shuffled descents; shuffle with np.random.default_rng(0).permutation(N) in every epoch"
    )
