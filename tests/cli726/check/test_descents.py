"""Files of problem 5: whichever procedure made the numbers, it is named."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cli726.check import Parameters, check
from cli726.check.descents import OTHER_RATES
from cli726.errors import RequestError
from cli726.logistic import RATES, gradient_descent, load_points

POINTS = load_points()
START = np.array([0.1, 0.0, 0.0])
NO_BIAS = np.array([1.0, 1.0, 0.0])
MOST = 60
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


# What was done wrong, what it is called, and a word of the message.
FAULTS = [
    ({"scale": 200.0}, "sum for mean", "summed"),
    ({"scale": -1.0}, "wrong sign", "up the gradient"),
    ({"mask": NO_BIAS}, "bias not updated", "bias"),
    ({"mask": 1 - NO_BIAS}, "features not updated", "only the bias"),
    ({"start": (0.0, 0.0, 0.0)}, "other start", "(0,0,0)"),
    ({"kind": np.float32}, "float32", "float32"),
]
LOSS_FAULTS = [
    ({"after": True}, "error after the update", "after the update"),
    ({"factor": 200}, "loss summed", "200 times"),
    ({"factor": 1 / np.log(2)}, "log to base 2", "1.443 times"),
    ({"factor": -1}, "sign of the loss", "-1 times"),
]
FORMS = {"six decimals": "{:.6f}".format, "in full": repr, "exponents": "{:.9e}".format}
SEPARATORS = (",", " ", ";\t")


def text(columns, form=repr, separator=","):
    return "\n".join(separator.join(form(float(value)) for value in np.atleast_1d(row)) for row in columns)


def layouts(lost, weights):
    """The columns that a program may print."""
    number = np.arange(len(lost))
    yield from (lost, weights, np.column_stack([lost, weights]), np.column_stack([number + 1, lost]))
    yield from (np.column_stack([number, weights]), np.column_stack([number, lost, weights]))


@pytest.mark.parametrize("eta", RATES)
def test_gradient_descent_is_right_however_it_is_printed(eta):
    given = Parameters(etas=[eta], max_epochs=MOST)
    lost, weights = descend(eta, EPOCHS[eta])
    styles = list(zip(FORMS.values(), SEPARATORS, strict=True))
    texts = [text(columns, *style) for columns in layouts(lost, weights) for style in styles]
    said = "\n".join(f"Epoch {k}: nll = {v:.7f}, w = {w}" for k, (v, w) in enumerate(zip(lost, weights, strict=True)))
    texts += ["epoch,loss\n" + texts[9], "# eta of this run\n" + texts[0] + "\nthat's all", said]
    assert len(set(texts)) >= 20
    for content in texts:
        assert check("5.1", content, given).right, content[:200]


@pytest.mark.parametrize("eta", RATES)
def test_faults_of_gradient_descent_are_told_apart(eta):
    given, count = Parameters(etas=[eta], max_epochs=MOST), EPOCHS[eta]
    wrong = [
        (text(columns, form), slip, word)
        for fault, slip, word in FAULTS
        for columns in list(layouts(*descend(eta, count, **fault)))[:3]
        for form in list(FORMS.values())[:2]
        if slip != "float32" or form is repr  # else right to the digits that are given
    ]
    wrong += [(text(descend(eta, count, **fault)[0]), slip, word) for fault, slip, word in LOSS_FAULTS]
    wrong += [
        (text(descend(eta, count // 2)[0]), "stopped early", f"after {count}"),
        (text(descend(eta, count + 2)[0]), "not stopped", f"after {count}"),
        (text(descend(0.2, count)[0]), "other rate", "the rate 0.2,"),
        (text(descend(eta, count)[0] ** 2 + 0.1), None, "first differs in epoch 0"),
    ]
    assert len(wrong) * len(RATES) >= 40
    for content, slip, word in wrong:
        said = check("5.1", content, given)
        assert (said.right, said.slip) == (False, slip), content[:200]
        assert word in said.message


def test_usual_rates_and_starts_are_named():
    given = Parameters(etas=[0.07])
    for rate in (*OTHER_RATES, 0.14, 0.035, 0.7, 0.007):
        said = check("5.1", text(descend(rate, 20)[0]), given)
        assert said.slip == "other rate"
        assert f"the rate {rate:g}, not 0.07" in said.message
    for start in ((0, 0, 0), (0.1, 0.1, 0.1), (0, 0, 0.1), (1, 1, 1), (1, 0, 0), (-0.1, 0, 0)):
        said = check("5.1", text(descend(0.07, 20, start=start)[0]), given)
        assert said.slip == "other start"
        assert f"({','.join(map(str, start))})" in said.message.replace("-0)", "0)").replace("-0,", "0,")
    lost, weights = descend(0.07, 20, start=(0.3, -0.2, 0.5))
    assert "(0.3,-0.2,0.5)" in check("5.1", text(weights), given).message
    assert check("5.1", text(lost), given).slip is None


def test_where_a_descent_ends_and_where_it_first_differs():
    given, eta = Parameters(etas=[0.1], max_epochs=40), 0.1
    lost, _ = descend(eta, 60)
    slips = {n: check("5.1", text(lost[:n]), given).slip for n in (39, 40, 41, 42)}
    assert slips == {39: "stopped early", 40: None, 41: None, 42: "not stopped"}
    told = check("5.1", text(lost[:40], "{:.4f}".format), given)
    assert told.right
    assert "eta 0.1 agrees to 4 digits in 40 epochs" in told.message
    for epoch in (0, 7, 39):
        wrong = lost[:40].copy()
        wrong[epoch] += 0.05
        assert f"first differs in epoch {epoch}," in check("5.1", text(wrong), given).message


def test_a_few_other_lines_and_empty_cells_do_no_harm():
    lost, weights = descend(0.1, 40)
    given = Parameters(etas=[0.1], max_epochs=40)
    junk = "step 1 of 3\n"
    assert check("5.1", junk * 10 + text(lost), given).right  # a fifth
    with pytest.raises(RequestError, match="most have 1, 11 others don't"):
        check("5.1", junk * 11 + text(lost), given)
    with pytest.raises(RequestError, match="got 2 with numbers"):
        check("5.1", text(weights[:2]), given)
    assert check("5.1", text(weights[:3]), Parameters(etas=[0.1], max_epochs=3)).right


def beside(lost):
    """Losses of every rate, a column each; shorter descents end in empty cells."""
    longest = max(map(len, lost.values()))
    return "\n".join(",".join(repr(float(v[k])) if k < len(v) else "" for v in lost.values()) for k in range(longest))


def test_every_rate_has_its_column():
    given = Parameters(max_epochs=MOST)
    right = {eta: descend(eta, EPOCHS[eta])[0] for eta in RATES}
    spellings = [beside(right), "epoch," + ",".join(f"eta={eta:g}" for eta in RATES) + "\n" + beside(right)]
    spellings += [text(columns) for eta in RATES for columns in layouts(*descend(eta, EPOCHS[eta]))]
    assert len({*spellings}) >= 20
    for content in spellings:
        assert check("5.2", content, given).right
    faults = [*FAULTS, *LOSS_FAULTS]
    for eta in RATES:
        for fault, slip, word in faults:
            said = check("5.2", beside(right | {eta: descend(eta, EPOCHS[eta], **fault)[0]}), given)
            assert said.slip == slip
            assert said.message.startswith(f"eta {eta:g}: ")
            assert word in said.message
    swapped = "\n".join(",".join(line.split(",")[::-1]) for line in beside(right).splitlines())
    assert check("5.2", swapped, given).slip == "other rate"
    assert len(faults) * len(RATES) >= 40


def stochastic(eta, orders, epochs=4, scale=1.0, mask=1.0, after=False):
    w, lost = START.copy(), []
    for order in list(orders)[:epochs]:
        lost.append(loss(w))
        for n in order:
            a = np.clip(POINTS.X[n] @ w, -700, 700)
            w = w - eta * scale * mask * (1 / (1 + np.exp(-a)) - POINTS.t[n]) * POINTS.X[n]
    return text([*lost[1:], loss(w)] if after else lost)


def shuffled(shuffle, epochs=4):
    """The orders of a list that is shuffled in place, epoch after epoch."""
    order, result = list(range(200)), []
    for _ in range(epochs):
        shuffle(order)
        result.append(list(order))
    return result


def known_orders():
    old, new, ours = np.random.RandomState(42), np.random.default_rng(42), np.random.default_rng([0, 3])
    return {
        "RandomState(42).permutation": [old.permutation(200) for _ in range(4)],
        "default_rng(42).permutation": [new.permutation(200) for _ in range(4)],
        "cmpt726's shuffle 3": [ours.permutation(200) for _ in range(4)],
        "RandomState(123).shuffle": shuffled(np.random.RandomState(123).shuffle),
        "random.shuffle with seed 1": shuffled(random.Random(1).shuffle),
    }


@pytest.mark.parametrize("eta", RATES)
def test_stochastic_descent_is_told_from_its_faults_where_its_order_can_be_known(eta):
    given, known = Parameters(etas=[eta]), known_orders()
    for name, orders in known.items():
        for content in (stochastic(eta, orders), stochastic(eta, orders, after=True)):
            said = check("5.3", content, given)
            assert said.right
            assert name in said.message
            assert "in 4 epochs" in said.message
    wrong = [(stochastic(eta, [range(200)] * 4), "no shuffling"), (text(descend(eta, 20)[0]), "not stochastic")]
    for orders in list(known.values())[:2]:
        wrong += [
            (stochastic(eta, [orders[0]] * 4), "shuffled once"),
            (stochastic(eta, orders, scale=-1.0), "wrong sign"),
            (stochastic(eta, orders, mask=NO_BIAS), "bias not updated"),
        ]
    wrong.append((stochastic(0.2, orders), "other rate"))
    assert len(wrong) * len(RATES) >= 40
    for content, slip in wrong:
        assert check("5.3", content, given).slip == slip
    lines = stochastic(eta, orders).splitlines()
    said = check("5.3", "\n".join([*lines[:-1], repr(float(lines[-1]) + 0.05)]), given)
    assert said.slip is None
    assert "first differs in epoch 3," in said.message
    unknown = np.random.RandomState(990)
    with pytest.raises(RequestError, match="can't be decided"):
        check("5.3", stochastic(eta, [unknown.permutation(200) for _ in range(4)]), given)


@pytest.mark.parametrize("content", ["", "no numbers", "1\n2", "1,2\n3,4,5\n6\n7,8\n9,1,2,3", "1 2 3 4 5 6 7\n" * 5])
def test_what_is_no_file_of_a_descent_is_refused(content):
    with pytest.raises(RequestError):
        check("5.1", content)
