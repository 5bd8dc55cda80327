"""Problem 5: a student's losses or weights by epoch, beside the right procedure and its faulty variants, each run here.

What the student's program printed is read; the program is never run.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cli726.check.answers import Parameters, Verdict, decided
from cli726.check.slips import Slip
from cli726.errors import RequestError
from cli726.logistic import RATES, load_points
from cli726.logistic.descent import check_rates, choose_start
from cli726.logistic.model import descend, gradients, losses
from cli726.logistic.points import Array, Points

__all__ = [
    "OTHER_RATES",
    "Column",
    "Variant",
    "agreement",
    "columns",
    "gradient",
    "head",
    "read",
    "run",
    "said_digits",
    "verdict",
]

NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])|(?<!\w)(?:nan|[-+]?inf)(?!\w)", re.ASCII
)
MOST_BYTES, FEWEST = 20_000_000, 3
# Two float64 programs that sum in another order differ by less, two float32 ones by more. A fault is named from so
# many digits on: where a program takes log(1 - y) of y near 1, more don't agree.
SAME, SINGLE, NAMED, OPENING = 1e-8, 1e-3, 3.5, 6
OTHER_RATES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.001)


@dataclass(frozen=True)
class Column:
    """Numbers by epoch, shape (E,) or (E, D), and how far each may be off for its digits."""

    values: Array
    reach: Array

    def digits(self, truth: Array) -> float:
        """Return to how many digits all agree; 0 if there are fewer to compare with."""
        count = len(self.values)
        if len(truth) < count:
            return 0
        with np.errstate(all="ignore"):
            off = np.abs(self.values - truth[:count])
            size = np.maximum(np.abs(truth[:count]), 1e-3)
            relative = np.where((off <= self.reach) | ~np.isfinite(self.values), 0.0, off / size)
        if np.isfinite(self.values).sum() < FEWEST:
            return 0
        worst = float(np.nan_to_num(relative, nan=1.0, posinf=1.0).max())
        return 16.0 if worst == 0 else max(0.0, -math.log10(worst))

    def printed(self) -> int:
        """Return how many digits were given, at most."""
        known = self.reach > 0
        size = np.abs(self.values[known]).max(initial=1e-3)
        return 15 if not known.any() else min(15, max(1, round(math.log10(size / self.reach[known].min()))))


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
    rows, reaches = [], []
    for line in text.splitlines():
        found = NUMBER.findall(re.sub(r",\s*(?=,|$)", ",nan", line.strip()))
        if found:
            rows.append([float(part) for part in found])
            decimals = [re.fullmatch(r"[-+]?\d*\.?(\d*)(?:[eE]([-+]?\d{1,3}))?", part) for part in found]
            reaches.append([0.51 * 10.0 ** (int(d[2] or 0) - len(d[1])) if d and "." in part else 0.0
                            for d, part in zip(decimals, found, strict=True)])  # fmt: skip
    if len(rows) < FEWEST:
        raise RequestError(
            f"a file of at least {FEWEST} epochs is needed, a line for each; got {len(rows)} with numbers"
        )
    width = Counter(map(len, rows)).most_common(1)[0][0]
    kept = [k for k, row in enumerate(rows) if len(row) == width]
    if len(kept) < 0.8 * len(rows):
        raise RequestError(
            f"lines must have equally many numbers; most have {width}, {len(rows) - len(kept)} others don't"
        )
    values, reach = np.array([rows[k] for k in kept]), np.array([reaches[k] for k in kept])
    if width > 1 and np.array_equal(values[:, 0], values[0, 0] + np.arange(len(values))):
        return Column(values[:, 1:], reach[:, 1:])
    return Column(values, reach)


def columns(text: str, width: int, rates: int) -> tuple[list[Column], Column | None]:
    """Return losses (of one descent, or one for each rate) and weights, as far as a file has them."""
    whole = table(text)
    count = whole.values.shape[1]

    def column(k: int) -> Column:
        # Beside longer descents a shorter one ends in empty cells.
        ended = np.cumsum(np.isfinite(whole.values[::-1, k]))[::-1] == 0
        known = ~ended | (count == 1)
        return Column(whole.values[known, k], whole.reach[known, k])

    if count in (width, width + 1) and count != rates:
        first = count - width
        weights = Column(whole.values[:, first:], whole.reach[:, first:])
        return [column(0)] * first, weights
    if count in (1, rates):
        return [column(k) for k in range(count)], None
    raise RequestError(
        f"a line has an epoch (or not) and then a loss, {width} weights, both, or {rates} losses, one for each rate; "
        f"got {count} columns"
    )


@dataclass(frozen=True)
class Variant:
    """A procedure: its slip ("" for the right one), what to say, and losses (E + 1,) and weights (E + 1, D)."""

    slip: str
    told: str
    losses: Array
    w: Array


def run(
    points: Points, eta: float, start: Array, epochs: int, *, scale: float = 1, mask: Any = 1,
    single: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Return losses and weights of gradient descent whose steps are scaled, or masked, or computed in float32."""
    kind: Any = np.float32 if single else np.float64
    used = Points(points.name, points.X.astype(kind), points.t.astype(kind), points.features, points.bias)
    w: Any = start.astype(kind)
    path = [w]
    with np.errstate(all="ignore"):
        for _ in range(epochs):
            w = (w - kind(eta * scale) * mask * gradients(used, w)).astype(kind)
            path.append(w)
        return losses(used, np.array(path)).astype(float), np.array(path, dtype=float)


def variants(points: Points, eta: float, start: Array, epochs: int, first: Array | None) -> Iterator[Variant]:
    """Yield the faulty procedures, each run."""
    mask = np.append(np.ones(len(start) - 1), 0.0)
    faults: Sequence[tuple[str, str, dict[str, Any]]] = (
        ("sum for mean", "the gradient is summed over the points, not averaged", {"scale": len(points.X)}),
        ("wrong sign", "the step goes up the gradient: the sign is wrong", {"scale": -1}),
        ("bias not updated", "the bias isn't updated", {"mask": mask}),
        ("features not updated", "only the bias is updated", {"mask": 1 - mask}),
    )
    for name, told, options in faults:
        yield Variant(name, told, *run(points, eta, start, epochs, **options))
    for rate in dict.fromkeys([*OTHER_RATES, 2 * eta, eta / 2, 10 * eta, eta / 10]):
        if rate != eta:
            yield Variant("other rate", f"that is the rate {rate:g}, not {eta:g}", *run(points, rate, start, epochs))
    size = len(start)
    starts = [np.zeros(size), np.full(size, 0.1), np.eye(size)[-1] * 0.1, np.ones(size), np.eye(size)[0], -start]
    for other in ([] if first is None else [first]) + starts:
        if not np.allclose(other, start, rtol=1e-6, atol=1e-6):
            said = ",".join(f"{value:g}" for value in other)
            yield Variant("other start", f"that starts from ({said})", *run(points, eta, other, epochs))


def agreement(given: Sequence[Column | None], one: Variant, shift: int = 0) -> float:
    """Return to how many digits a file's losses and weights agree with a procedure."""
    lost, weights = given
    found = [lost.digits(one.losses[shift:])] if lost else []
    if weights:
        found.append(max(weights.digits(one.w[k:]) for k in (0, 1)))
    return min(found)


def said_digits(found: float, given: Sequence[Column | None]) -> str:
    digits = min([found, *(one.printed() for one in given if one)])
    return f"{digits:.0f} digits"


def descent(
    points: Points, eta: float, start: Array, lost: Column | None, weights: Column | None, parameters: Parameters
) -> tuple[Slip | None, str]:
    """Return the slip of one gradient descent, None if it is right, and what to say of that."""
    count = len((lost or weights).values)  # type: ignore[union-attr]
    (path,) = descend(points, [eta], start, parameters.max_epochs, parameters.tol)
    endless = Variant("", "", *run(points, eta, start, max(count + 1, len(path.losses))))
    given, enough = (lost, weights), -math.log10(SAME)
    found = agreement((lost, weights), endless)
    if found >= enough:
        ends, told = len(path.losses), f"agrees to {said_digits(found, given)} in {count} epochs"
        if count < ends - 1:
            return Slip("stopped early", f"{told}, but the stopping rule ends it after {ends - 1}", None), ""
        if count > ends:
            return Slip("not stopped", f"{told}, but the stopping rule ends it after {ends - 1} epochs", None), ""
        return None, told
    if lost and not weights and agreement((lost, None), endless, 1) >= enough:
        return Slip("error after the update", "the loss is computed after the update, not before it", None), ""
    if lost:
        for factor, name in (
            (len(points.X), "loss summed"),
            (1 / math.log(2), "log to base 2"),
            (-1, "sign of the loss"),
        ):
            if agreement((lost, weights), Variant("", "", endless.losses * factor, endless.w)) >= enough:
                return Slip(name, f"the loss is {factor:.4g} times the mean negative log-likelihood", None), ""
    first = None if weights is None or not np.isfinite(weights.values[0]).all() else weights.values[0]
    single = run(points, eta, start, count + 1, single=True)
    tried = [
        *variants(points, eta, start, count + 1, first),
        Variant("float32", "right but for rounding, as float32 does it", *single),
        replace(endless, slip="float32", told="right but for rounding, as float32 does it"),
    ]
    shifts = (0, 1) if lost else (0,)
    for few in (count, OPENING):  # large steps blow rounding up: then the first epochs tell
        part = head(given, few)
        digits = [max(agreement(part, one, shift) for shift in shifts) for one in tried]
        best = max(range(len(tried)), key=digits.__getitem__)
        if digits[best] >= NAMED:
            said = f"{tried[best].told} ({said_digits(digits[best], given)} agree in {min(few, count)} epochs)"
            return Slip(tried[best].slip, said, None), ""
    return Slip("", first_difference(lost or weights, endless.losses if lost else endless.w), None), ""


def first_difference(given: Column | None, truth: Array) -> str:
    """Return where a file leaves the right numbers."""
    assert given is not None
    count = min(len(given.values), len(truth))
    off = np.abs(given.values[:count] - truth[:count]) > np.maximum(given.reach[:count], SINGLE * np.abs(truth[:count]))
    at = int(np.flatnonzero(off.reshape(count, -1).any(axis=1))[0]) if off.any() else 0
    return f"not the right procedure, and no known fault alone; it first differs in epoch {at}, counted from 0"


def verdict(question: str, slip: Slip | None, note: str) -> Verdict:
    """Return the verdict of a file; a slip without a name isn't one that is known."""
    if slip and not slip.name:
        return Verdict(question, False, None, None, slip.message)
    return decided(question, slip, slip is None, f"right: {note}")


def gradient(question: str, text: str, parameters: Parameters) -> Verdict:
    """Judge gradient descent at one rate (5.1) or several (5.2)."""
    points = load_points(parameters.data)
    start = choose_start(points, parameters.start)
    etas = list(parameters.etas or (RATES if question == "5.2" else RATES[:1]))
    check_rates(etas)
    lost, weights = columns(text, len(start), len(etas))
    if len(lost) > 1:
        for eta, one in zip(etas, lost, strict=True):
            slip, note = descent(points, eta, start, one, None, parameters)
            if slip:
                return verdict(question, Slip(slip.name, f"eta {eta:g}: {slip.message}", None), note)
        return verdict(question, None, f"all {len(etas)} rates agree")
    found = []
    for eta in etas:
        slip, note = descent(points, eta, start, lost[0] if lost else None, weights, parameters)
        found.append((slip, f"eta {eta:g} {note}"))
        if slip is None:
            break
    slip, note = min(found, key=lambda item: 0 if item[0] is None else 1 + (item[0].name in ("", "other rate")))
    return verdict(question, slip, note)


def head(given: Sequence[Column | None], epochs: int) -> list[Column | None]:
    """Return the first epochs of losses and weights."""
    return [Column(one.values[:epochs], one.reach[:epochs]) if one else None for one in given]
