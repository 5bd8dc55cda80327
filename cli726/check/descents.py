"""Problem 5: a student's losses or weights by epoch, beside the right procedure and its faulty variants, each run here.

What the student's program printed is read; the program is never run. Of stochastic descent only random orders that can
be known are decided.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cli726.check.answers import Parameters, Slip
from cli726.errors import RequestError
from cli726.logistic import RATES, load_points
from cli726.logistic.descent import check_rates, choose_start
from cli726.logistic.model import descend, gradients, losses, orders
from cli726.logistic.points import Array, Points

NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])|(?<!\w)(?:nan|[-+]?inf)(?!\w)", re.ASCII
)
DECIMALS = re.compile(r"[-+]?\d*\.(\d*)(?:[eE]([-+]?\d{1,3}))?")
MOST_BYTES, FEWEST = 20_000_000, 3
# Two float64 programs that sum in another order agree to so many digits, two float32 ones to fewer. A fault is named
# from NAMED digits on: where a program takes log(1 - y) of y near 1, more don't agree.
SAME, NAMED, SINGLE, OPENING = 8, 3.5, 1e-3, 6
OTHER_RATES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.001)
SEEDS = (0, 1, 2, 42, 123, 726, 1234)
# Random orders are told apart in the first epochs; no two give the same digits.
TRIED, LONGEST, TOLD_APART, SURE = 3, 500, 5, 7
# As little as rounding: what it grows to shows whether a descent's later epochs can be compared.
NUDGE = 1e-15
Order = NDArray[np.intp]


class Column(NamedTuple):
    """Numbers by epoch, shape (E,) or (E, D), and how far each may be off for its digits."""

    values: Array
    reach: Array

    def first(self, epochs: int) -> Column:
        """Return the first epochs."""
        return Column(self.values[:epochs], self.reach[:epochs])

    def digits(self, truth: Array) -> float:
        """Return to how many digits all agree; 0 if there are fewer to compare with."""
        truth = truth[: len(self.values)]
        if len(truth) < len(self.values) or np.isfinite(self.values).sum() < FEWEST:
            return 0
        with np.errstate(all="ignore"):
            off = np.abs(self.values - truth)
            relative = off / np.maximum(np.abs(truth), 1e-3)
        relative[(off <= self.reach) | ~np.isfinite(self.values)] = 0
        worst = float(np.nan_to_num(relative, nan=1.0, posinf=1.0).max())
        return 16.0 if worst == 0 else max(0.0, -math.log10(worst))

    def printed(self) -> int:
        """Return how many digits were given, at most."""
        known = self.reach > 0
        size = np.abs(self.values[known]).max(initial=1e-3)
        return 15 if not known.any() else min(15, max(1, round(math.log10(size / self.reach[known].min()))))


class Given(NamedTuple):
    """What a file has of a descent: losses, weights or both."""

    losses: Column | None
    w: Column | None

    @property
    def epochs(self) -> int:
        """Return how many there are."""
        return min(len(one.values) for one in self if one)

    def first(self, epochs: int) -> Given:
        """Return the first epochs."""
        return Given(*(one and one.first(epochs) for one in self))

    def agreement(self, losses: Array, w: Array, shift: int = 0) -> float:
        """Return to how many digits the file agrees with losses (E,) and weights (E, D), losses some epochs later."""
        found = [self.losses.digits(losses[shift:])] if self.losses else []
        return min([*found, *([max(self.w.digits(w[k:]) for k in (0, 1))] if self.w else [])])

    def said(self, digits: float) -> str:
        """Return to how many digits something agrees, no more than were given."""
        return f"{min([digits, *(one.printed() for one in self if one)]):.0f} digits"


def read(path: Path) -> str:
    """Return a text file; refuse what is none."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RequestError(f"an answer's file has at most {MOST_BYTES:,} bytes; {path} has more; shorten it")
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(f"there is no file {str(path)!r}; name one with your losses or weights by epoch") from None
    except IsADirectoryError:
        raise RequestError(f"{str(path)!r} is a folder; name a file") from None
    except UnicodeDecodeError:
        raise RequestError(f"{str(path)!r} is no text file; write numbers, a line for each epoch") from None


def table(text: str) -> Column:
    """Return the numbers of a text, shape (E, columns), without a column that counts the epochs."""
    lines = [re.sub(r",\s*(?=,|$)", ",nan", line.strip()) for line in text.splitlines()]
    # A line's numbers, and the words between them: a heading has others.
    found = [(NUMBER.findall(line), re.findall("[A-Za-z]+", NUMBER.sub("", line))) for line in lines]
    rows = [(parts, words) for parts, words in found if parts]
    if len(rows) < FEWEST:
        told = f"a file of at least {FEWEST} epochs is needed, a line for each; got {len(rows)} with numbers"
        raise RequestError(told)
    ((usual, _),) = Counter((len(parts), *words) for parts, words in rows).most_common(1)
    width = usual[0]
    kept = [parts for parts, words in rows if (len(parts), *words) == usual]
    if len(kept) < 0.8 * len(rows):
        others = len(rows) - len(kept)
        raise RequestError(f"lines must have equally many numbers; most have {width}, {others} others don't")
    literals = [[DECIMALS.fullmatch(part) for part in parts] for parts in kept]
    values = np.array([[float(part) for part in parts] for parts in kept])
    reach = np.array([[0.51 * 10.0 ** (int(d[2] or 0) - len(d[1])) if d else 0.0 for d in row] for row in literals])
    counted = width > 1 and np.array_equal(values[:, 0], values[0, 0] + np.arange(len(values)))
    return Column(values[:, counted:], reach[:, counted:])


def columns(text: str, width: int, rates: int) -> tuple[list[Column], Column | None]:
    """Return losses (of one descent, or one for each rate) and weights, as far as a file has them."""
    values, reach = table(text)
    count = values.shape[1]

    def column(k: int) -> Column:
        # Beside longer descents a shorter one ends in empty cells.
        ended = np.cumsum(np.isfinite(values[::-1, k]))[::-1] == 0
        return Column(values[:, k], reach[:, k]) if count == 1 else Column(values[~ended, k], reach[~ended, k])

    if count in (width, width + 1) and count != rates:
        weights = Column(values[:, count - width :], reach[:, count - width :])
        return [column(0)] * (count - width), weights
    if count in (1, rates):
        return [column(k) for k in range(count)], None
    raise RequestError(
        f"a line has an epoch (or not) and then a loss, {width} weights, both, or {rates} losses, one for each rate; "
        f"got {count} columns"
    )


@dataclass(frozen=True)
class Trial:
    """A procedure: its slip ("" for the right one), what to say, signed rates by weight, start; its order of points."""

    slip: str
    told: str
    steps: Array
    start: Array
    order: str = ""

    def orders(self, known: Mapping[str, list[Order]], count: int, epochs: int) -> list[Order]:
        """Return the order of each epoch."""
        if not self.order:
            return [np.arange(count)] * epochs
        return [known[self.order][0]] * epochs if self.slip == "shuffled once" else known[self.order]


def in_batches(points: Points, trials: Sequence[Trial], epochs: int, kind: Any = np.float64) -> tuple[Array, Array]:
    """Return losses (epochs + 1, K) and weights (epochs + 1, K, D) of K gradient descents in lockstep."""
    used = replace(points, X=points.X.astype(kind), t=points.t.astype(kind))
    with np.errstate(all="ignore"):
        W, steps = (np.array(values, dtype=kind) for values in ([o.start for o in trials], [o.steps for o in trials]))
        path = [W]
        for _ in range(epochs):
            W = W - steps * gradients(used, W)
            path.append(W)
        return losses(used, np.array(path)).astype(float), np.array(path, dtype=float)


def one_by_one(points: Points, trials: Sequence[Trial], chosen: Sequence[list[Order]]) -> tuple[Array, Array]:
    """Return the same of K stochastic descents, each with its order for every epoch."""
    W, steps = (np.array(values) for values in ([one.start for one in trials], [one.steps for one in trials]))
    path = [W.copy()]
    with np.errstate(all="ignore"):
        for epoch in range(len(chosen[0])):
            for index in np.stack([order[epoch] for order in chosen], axis=1):
                x = points.signed[index]  # (K, D)
                W += steps * (x / (1 + np.exp((W * x).sum(axis=1)))[:, None])
            path.append(W.copy())
        return losses(points, np.array(path)), np.array(path)


def faults(points: Points, eta: float, start: Array, first: Array | None) -> Iterator[Trial]:
    """Yield the faulty variants of gradient descent; `first` are the weights with which a file begins."""
    size = len(start)
    full, bias = np.full(size, eta), np.eye(size)[-1]
    yield Trial("sum for mean", "the gradient is summed over the points, not averaged", full * len(points.X), start)
    yield Trial("wrong sign", "the step goes up the gradient: the sign is wrong", -full, start)
    yield Trial("bias not updated", "the bias isn't updated", full * (1 - bias), start)
    yield Trial("features not updated", "only the bias is updated", full * bias, start)
    for rate in dict.fromkeys([*OTHER_RATES, 2 * eta, eta / 2, 10 * eta, eta / 10]):
        if rate != eta:
            yield Trial("other rate", f"that is the rate {rate:g}, not {eta:g}", np.full(size, rate), start)
    usual = [np.zeros(size), np.full(size, 0.1), bias * 0.1, np.ones(size), np.eye(size)[0], -start]
    for other in usual if first is None else [first, *usual]:
        if not np.allclose(other, start, rtol=1e-6, atol=1e-6):
            said = ",".join(f"{value:g}" for value in other)
            yield Trial("other start", f"that starts from ({said})", full, other)


def gradient_descent(
    points: Points, etas: Sequence[float], start: Array, given: Given, parameters: Parameters
) -> Slip | str:
    """Judge a gradient descent, at any of some rates."""
    found = []
    for eta in etas:
        said = at_rate(points, eta, start, given, parameters)
        if not isinstance(said, Slip):
            return f"right: eta {eta:g} {said}"
        found.append(said)
    return min(found, key=lambda slip: slip.name in (None, "other rate"))


def at_rate(points: Points, eta: float, start: Array, given: Given, parameters: Parameters) -> Slip | str:
    """Judge a gradient descent at one rate."""
    count, right = given.epochs, Trial("", "", np.full(len(start), eta), start)
    (path,) = descend(points, [eta], start, parameters.max_epochs, parameters.tol)
    ends = len(path.losses)
    endless, w = in_batches(points, [right], max(count + 1, ends))
    digits = given.agreement(endless[:, 0], w[:, 0])
    if digits >= SAME:
        told, most = f"agrees to {given.said(digits)} in {count} epochs", f"the stopping rule ends it after {ends - 1}"
        if ends - 1 <= count <= ends:
            return told
        return Slip("stopped early" if count < ends else "not stopped", f"{told}, but {most} epochs")
    if given.losses:
        if given.agreement(endless[:, 0], w[:, 0], 1) >= SAME:
            return Slip("error after the update", "the loss is computed after the update, not before it")
        scales = (("loss summed", len(points.X)), ("log to base 2", 1 / math.log(2)), ("sign of the loss", -1))
        for name, factor in scales:
            if given.agreement(endless[:, 0] * factor, w[:, 0]) >= SAME:
                return Slip(name, f"the loss is {factor:.4g} times the mean negative log-likelihood")
    first = given.w.values[0] if given.w and np.isfinite(given.w.values[0]).all() else None
    trials = [
        *faults(points, eta, start, first),
        replace(right, slip="float32", told="right but for rounding, as float32 does it"),
    ]
    lost, paths = in_batches(points, trials, count + 1)
    runs = [(one, lost[:, k], paths[:, k]) for k, one in enumerate(trials)]
    lost, paths = in_batches(points, trials[-1:], count + 1, np.float32)
    runs.append((trials[-1], lost[:, 0], paths[:, 0]))
    blown = not np.allclose(runs[-1][1], runs[-2][1], rtol=SINGLE, equal_nan=True)
    for few in (count, OPENING):  # large steps blow rounding up: then the first epochs tell
        part, shifts = given.first(few), (0, 1) if given.losses else (0,)
        tried = runs if few == count or blown else runs[:-2]
        agreed = [max(part.agreement(lost, path, shift) for shift in shifts) for _, lost, path in tried]
        if max(agreed) >= NAMED:
            best = runs[agreed.index(max(agreed))][0]
            return Slip(best.slip, f"{best.told} ({given.said(max(agreed))} agree in {min(few, count)} epochs)")
    column, truth = (given.losses, endless[:, 0]) if given.losses else (given.w, w[:, 0])
    return Slip(None, first_difference(column, truth))


def first_difference(given: Column | None, truth: Array) -> str:
    """Return where a file leaves the right numbers."""
    assert given is not None
    truth = truth[: len(given.values)]
    off = np.abs(given.values - truth) > np.maximum(given.reach, SINGLE * np.abs(truth))
    at = int(off.reshape(len(off), -1).any(axis=1).argmax())
    return f"not the right procedure, and no known fault alone; it first differs in epoch {at}, counted from 0"


def known_orders(seed: int, count: int, epochs: int) -> dict[str, list[Order]]:
    """Return the orders that can be known: those of `cmpt726 lr sgd`, and of NumPy's and Python's usual seeds."""
    shuffles = list(islice(orders(seed, 20, count), epochs))
    found = {f"cmpt726's shuffle {k} of seed {seed}": [order[:, k] for order in shuffles] for k in range(20)}
    for usual in SEEDS:
        makers: Sequence[Any] = (np.random.RandomState(usual), np.random.default_rng(usual))
        for maker, name in zip(makers, ("RandomState", "default_rng"), strict=True):
            fresh = [np.asarray(maker.permutation(count)) for _ in range(epochs)]
            kept, again = np.arange(count), []
            for order in fresh:
                kept = kept[order]
                again.append(kept)
            found |= {f"{name}({usual}).permutation": fresh, f"{name}({usual}).shuffle": again}
        source, listed, python = random.Random(usual), list(range(count)), []  # noqa: S311 - what students use
        for _ in range(epochs):
            source.shuffle(listed)
            python.append(np.array(listed))
        found[f"random.shuffle with seed {usual}"] = python
    return found


def orderly(names: Sequence[str], rates: Sequence[float], start: Array) -> Iterator[Trial]:
    """Yield stochastic descent at the right rates and its faults, with each known order."""
    bias = np.eye(len(start))[-1]
    for eta in rates:
        full = np.full(len(start), eta)
        yield Trial("no shuffling", f"the points aren't shuffled: all of a class come first (eta {eta:g})", full, start)
        for name in names:
            yield Trial("", f"eta {eta:g}, order {name}", full, start, name)
            yield Trial("shuffled once", f"shuffled once, not in every epoch ({name})", full, start, name)
            yield Trial("wrong sign", f"the step goes up the gradient ({name})", -full, start, name)
            yield Trial("bias not updated", f"the bias isn't updated ({name})", full * (1 - bias), start, name)


def stochastic_descent(
    points: Points, etas: Sequence[float], start: Array, given: Given, parameters: Parameters
) -> Slip | str:
    """Judge a stochastic gradient descent, at any of some rates, as far as its order of the points can be known.

    Raises:
        RequestError: where it can't be known: then neither right nor wrong can be said.
    """
    count, epochs = len(points.X), min(LONGEST, given.epochs)
    few = min(epochs, TRIED)
    known = known_orders(parameters.seed, count, few)
    right = list(orderly(list(known), etas, start))
    others = [
        Trial("other rate", f"eta {eta:g}, order {name}", np.full(len(start), eta), start, name)
        for eta in OTHER_RATES if eta not in etas
        for name in known
    ]  # fmt: skip
    usual: list[Array] = []
    for tried in (right, others):
        lost, paths = one_by_one(points, tried, [one.orders(known, count, few) for one in tried])
        usual.append(lost[:, [not one.slip for one in tried]])
        likely = [
            (given.first(few).agreement(lost[shift:, k], paths[shift:, k]), shift, one)
            for k, one in enumerate(tried)
            for shift in (0, 1)
        ]
        opening, shift, one = max(likely, key=lambda item: item[0])
        if opening < TOLD_APART:
            continue
        full = one.orders(known_orders(parameters.seed, count, epochs + 1), count, epochs + 1)
        lost, paths = one_by_one(points, [one, replace(one, start=start + NUDGE)], [full, full])
        digits = given.first(epochs).agreement(lost[shift:, 0], paths[shift:, 0])
        blown = not np.allclose(lost[:, 0], lost[:, 1], rtol=SINGLE, equal_nan=True)
        if opening >= SURE > digits and blown:  # large steps have blown rounding up: then the first epochs tell
            digits, epochs = opening, few
        if digits >= TOLD_APART:
            note = f"{one.told} ({given.said(digits)} agree in {epochs} epochs)"
            return Slip(one.slip, note) if one.slip else f"right: {note}"
        if opening >= SURE:
            column, truth = (given.losses, lost[shift:, 0]) if given.losses else (given.w, paths[shift:, 0])
            return Slip(None, first_difference(column, truth))
    for eta in etas:
        lost, paths = in_batches(points, [Trial("", "", np.full(len(start), eta), start)], epochs + 1)
        if max(given.first(epochs).agreement(lost[:, 0], paths[:, 0], k) for k in (0, 1)) >= TOLD_APART:
            return Slip("not stochastic", f"that is gradient descent at eta {eta:g}, all points at once")
    values = given.losses.values[:few] if given.losses else np.array([])
    inside = all(usual[0][k : k + 2].min() <= value <= usual[0][k : k + 2].max() for k, value in enumerate(values))
    raise RequestError(
        "this can't be decided: the numbers depend on your own random order, which can't be known; they lie "
        f"{'inside' if given.losses and inside else 'outside'} the range of shuffled descents; shuffle with "
        "np.random.default_rng(0).permutation(N) in every epoch"
    )


def verdict(question: str, text: str, parameters: Parameters) -> Slip | str:
    """Judge gradient descent at one rate (5.1) or several (5.2), or stochastic gradient descent (5.3)."""
    points = load_points(parameters.data)
    start = choose_start(points, parameters.start)
    etas = list(parameters.etas or RATES[: 1 if question == "5.1" else None])
    check_rates(etas)
    if not 0 <= parameters.tol < math.inf:
        raise RequestError(f"--tol must be a finite number, 0 or more, got {parameters.tol:g}; 0 never stops early")
    judge = stochastic_descent if question == "5.3" else gradient_descent
    lost, weights = columns(text, len(start), len(etas))
    if len(lost) <= 1:
        return judge(points, etas, start, Given(lost[0] if lost else None, weights), parameters)
    for eta, column in zip(etas, lost, strict=True):
        said = judge(points, [eta], start, Given(column, None), parameters)
        if isinstance(said, Slip):
            return replace(said, message=f"eta {eta:g}: {said.message}")
    return f"right: all {len(etas)} rates agree"
