"""Files of problem 5: whichever procedure made the numbers, it is named."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cli726.check import Parameters, check
from cli726.errors import RequestError
from cli726.logistic import RATES, gradient_descent, load_points

POINTS = load_points()
START = np.array([0.1, 0.0, 0.0])
NO_BIAS = np.array([1.0, 1.0, 0.0])
MOST = 80
EPOCHS = {eta: gradient_descent(POINTS, eta, max_epochs=MOST).epochs for eta in RATES}


def loss(w, kind=np.float64):
    X, t = POINTS.X.astype(kind), POINTS.t.astype(kind)
    a = X @ w
    return np.mean(np.logaddexp(kind(0), a) - t * a)


def descend(eta, epochs, *, start=START, scale=1.0, mask=1.0, kind=np.float64, after=False, factor=1.0):
    """A student's program, written without ours."""
    X, t, w, lost, weights = POINTS.X.astype(kind), POINTS.t.astype(kind), np.array(start, kind), [], []
    for _ in range(epochs):
        weights.append(w)
        before = loss(w, kind)
        with np.errstate(over="ignore"):
            gradient = ((1 / (1 + np.exp(-(X @ w))) - t)[:, None] * X).mean(axis=0)
        w = (w - kind(eta * scale) * mask * gradient).astype(kind)
        lost.append(factor * (loss(w, kind) if after else before))
    return np.array(lost), np.array(weights)


FAULTS = {
    "sum for mean": {"scale": 200.0},
    "wrong sign": {"scale": -1.0},
    "bias not updated": {"mask": NO_BIAS},
    "other start": {"start": (0.0, 0.0, 0.0)},
    "float32": {"kind": np.float32},
}
FORMS = {"six decimals": "{:.6f}".format, "in full": repr}


def text(columns, form):
    return "\n".join(",".join(form(float(value)) for value in np.atleast_1d(row)) for row in columns)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("eta", RATES)
def test_gradient_descent_and_its_faults_are_told_apart(eta, form):
    given = Parameters(etas=[eta], max_epochs=MOST)
    count = EPOCHS[eta]
    lost, weights = descend(eta, count)
    for columns in (lost, weights, np.column_stack([np.arange(count), lost, weights])):
        assert check("5.1", text(columns, form), given).right
    for slip, fault in FAULTS.items():
        if slip == "float32" and form is not repr:  # right to the digits that are given
            continue
        lost, weights = descend(eta, count, **fault)
        assert check("5.1", text(weights, form), given).slip == slip
        assert check("5.1", text(lost, form), given).slip == slip
    late, _ = descend(eta, count, after=True)
    assert check("5.1", text(late, form), given).slip == "error after the update"
    early = text(descend(eta, count // 2)[0], form)
    assert check("5.1", early, given).slip == "stopped early"
    other = check("5.1", text(descend(0.2, count)[0], form), given)
    assert (other.slip, "0.2" in other.message) == ("other rate", True)


def test_every_rate_has_its_column():
    lost = {eta: descend(eta, EPOCHS[eta])[0] for eta in RATES}
    longest = max(EPOCHS.values())
    lines = [",".join(f"{lost[e][k]:.5f}" if k < len(lost[e]) else "" for e in RATES) for k in range(longest)]
    given = Parameters(max_epochs=MOST)
    assert check("5.2", "\n".join(lines), given).right
    swapped = "\n".join(",".join(line.split(",")[::-1]) for line in lines)
    assert check("5.2", swapped, given).slip == "other rate"


def stochastic(eta, orders, epochs=5, scale=1.0, mask=1.0):
    w, lost = START.copy(), []
    for order in orders[:epochs]:
        lost.append(loss(w))
        for n in order:
            a = np.clip(POINTS.X[n] @ w, -700, 700)
            w = w - eta * scale * mask * (1 / (1 + np.exp(-a)) - POINTS.t[n]) * POINTS.X[n]
    return text(lost, repr)


def python_orders(seed):
    source, order, result = random.Random(seed), list(range(200)), []
    for _ in range(5):
        source.shuffle(order)
        result.append(list(order))
    return result


@pytest.mark.parametrize("eta", RATES)
def test_stochastic_descent_is_told_from_its_faults_where_its_order_can_be_known(eta):
    old, new, ours = np.random.RandomState(42), np.random.default_rng(0), np.random.default_rng([0, 3])
    fresh = [old.permutation(200) for _ in range(5)]
    given = Parameters(etas=[eta])
    for orders in (fresh, [new.permutation(200) for _ in range(5)], [ours.permutation(200) for _ in range(5)]):
        assert check("5.3", stochastic(eta, orders), given).right
    assert check("5.3", stochastic(eta, python_orders(1)), given).right
    assert check("5.3", stochastic(eta, [fresh[0]] * 5), given).slip == "shuffled once"
    assert check("5.3", stochastic(eta, [range(200)] * 5), given).slip == "no shuffling"
    assert check("5.3", stochastic(eta, fresh, scale=-1.0), given).slip == "wrong sign"
    assert check("5.3", stochastic(eta, fresh, mask=NO_BIAS), given).slip == "bias not updated"
    assert check("5.3", text(descend(eta, 20)[0], repr), given).slip == "not stochastic"
    unknown = np.random.RandomState(990)
    with pytest.raises(RequestError, match="can't be decided"):
        check("5.3", stochastic(eta, [unknown.permutation(200) for _ in range(5)]), given)


@pytest.mark.parametrize("content", ["", "no numbers", "1\n2", "1,2\n3,4,5\n6\n7,8\n9,1,2,3", "1 2 3 4 5 6 7\n" * 5])
def test_what_is_no_file_of_a_descent_is_refused(content):
    with pytest.raises(RequestError):
        check("5.1", content)
