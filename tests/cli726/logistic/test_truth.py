"""Every kind of sentence, over generated settings, against oracles: exact separation, exact losses, longer runs."""

from __future__ import annotations

import re
import timeit
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from cli726.logistic import center, compare, document, gradient_descent, load_points, solve, stochastic_descent
from cli726.logistic.model import gradients
from tests.cli726.logistic.cases import blur, dot, drawn, gradient, infimum, loss, options, rate, separation, several
from tests.harness import times

N = r"(-?[\d,.]+(?:e[+-]?\d+)?|inf)"
R = r"rates? ((?:[\d.e+-]+(?:, | and )?)+)"
AIM = "(minimum|infimum)"
ABOVE = rf"(?:{N} above the {AIM}|at the (?:minimum|infimum), to rounding)"
PARTS = {
    "<N>": N, "<R>": R, "<AIM>": AIM, "<ABOVE>": ABOVE,
    "<LAW>": r"(?: \(at most ([\d.e+-]+)\))?; q is the curvature along the gradient g, averaged over the step; it "
    r"changes the loss by -eta \|g\|² \(1 - eta q / 2\) \(figure: curvature\)",
    "<SWINGS>": r"(?:\. The separator swings: its slope turned back (\d+) times \(figure: separator-path\))?\.",
    "<BUY>": f"an epoch's {N} gradient evaluations buy {N} noisy updates instead of one",
    "<BOUND>": f"below 2 / λₘₐₓ = {N}, by the bound on the curvature,",
}  # fmt: skip


def kinds(text):
    """Patterns of sentences by name, a line each; a line that is indented goes on with the one above."""
    lines = (line.split(": ", 1) for line in re.sub(r"\n +", " ", text).strip().splitlines())
    return {name: re.sub("<[A-Z]+>", lambda part: PARTS[part[0]], line) for name, line in lines}


def value(text):
    return float(text.replace(",", ""))


def rates(text):
    return [float(part) for part in re.split(", | and ", text)]


def near(text, true, digits=3, slack=0.0):
    """Whether a printed number is the true one, to its digits and rounding."""
    return abs(value(text) - true) <= 0.51 * 10.0 ** (1 - digits) * abs(true) + slack + 1e-300


def at(true, text, slack):
    """Whether a distance is the true one, which where rounding hides it has no number."""
    return near(text, true, 3, 2 * slack) if text else abs(true) <= 2 * slack


def largest(points):
    """The bound on the curvature."""
    return np.linalg.svd(points.X, compute_uv=False)[0] ** 2 / len(points.X) / 4


def spread(points):
    """Condition number at the minimum, from the singular values of the weighted points."""
    y = 1 / (1 + np.exp(-(points.X @ solve(points).w)))
    sizes = np.linalg.svd(points.X * np.sqrt(y * (1 - y))[:, None], compute_uv=False)
    return (sizes[0] / sizes[-1]) ** 2


def arrival(gaps, level, hold=1):
    """From where on losses stay within a distance, for `hold` values at least."""
    outside = np.flatnonzero(~(gaps <= level))
    first = int(outside[-1]) + 1 if outside.size else 0
    return first if first <= len(gaps) - hold else None


class Oracle:
    """What is true of the points that a result was made of."""

    def __init__(self, points, result):
        self.points, self.result, self.least = points, result, infimum(points)
        self.kind, _, self.rank = separation(points)
        self.aim = "infimum" if self.kind else "minimum"
        self.runs = getattr(result, "runs", [result])

    def check(self, sentences):
        """Return the kinds of all sentences, each known and true."""
        said = []
        for finding in self.result.findings:
            found = {name: match for name in sentences if (match := re.fullmatch(sentences[name], finding.text))}
            assert len(found) == 1, finding.text
            ((name, found),) = found.items()
            assert getattr(self, name)(*found.groups()) is not False, (name, finding.text)
            said.append(name)
        # What is not said is not so either; and what separates, separates.
        assert ("apart" in said) == (self.kind == "complete")
        assert ("boundary" in said) == (self.kind == "quasi-complete")
        assert ("dependent" in said) == (self.kind is None and self.rank < self.points.X.shape[1])
        return said

    def apart(self):
        return self.kind == "complete"

    def boundary(self, text):
        return self.kind == "quasi-complete" and near(text, self.least, 4)

    def dependent(self, rank, columns):
        return self.kind is None and int(rank) == self.rank < int(columns) == self.points.X.shape[1]

    def diverged(self, etas):
        lost = [run for run in self.runs if run.diverged]
        ends = [run.nll_high if hasattr(run, "nll_high") else [run.final, *run.w[-1]] for run in lost]
        return rates(etas) == [run.eta for run in lost] and not any(np.isfinite(end).all() for end in ends)

    def run(self, eta):
        return next(run for run in self.runs if np.isclose(run.eta, float(eta), rtol=1e-5))

    def gap(self, run):
        return loss(self.points, run.w[-1]) - self.least

    def premature(self, listed):
        ends = re.findall(rf"rate {N} after {N} epochs?( by a step [\w ]+)?, {ABOVE}(?:; |$)", listed)
        for eta, epochs, crossed, gap, aim in ends:
            run = self.run(eta)
            if crossed:
                assert dot(*(gradient(self.points, w) for w in run.w[-3:-1])) < 0
            assert run.converged
            assert self.gap(run) > 10 * run.tol
            assert near(gap, self.gap(run))
            assert (aim, value(epochs)) == (self.aim, run.epochs)
        early = (self.gap(run) > 10.1 * run.tol + blur(self.points, run.w[-1]) for run in self.runs if run.converged)
        return len(ends) >= max(1, sum(early))


MINIMUM = kinds(r"""
apart: The classes are linearly separable, so the loss has no minimum: its infimum is 0, where it tends as the weights
  grow\.
boundary: The classes are linearly separable but for points of both on the separator \(quasi-complete separation\), so
  the loss has no minimum: its infimum is <N>, where it tends as the weights grow\.
dependent: The features and the bias are linearly dependent \(rank (\d+) of (\d+)\): many weight vectors share the
  minimum, and the one shown is one of them\.
diverged: At <R> the descent diverged: numbers grew beyond the largest float\.
premature: The stopping rule ended too early: (.*)\.
""")
DESCENT = MINIMUM | kinds(r"""
rose: (It oscillates because steps overshoot|Steps overshot|One step overshot): the loss rose in (\d+) of (\d+)
  (steps?)(, exactly where |; a step raises it where )eta q > 2<LAW><SWINGS>
certain: The loss never rose in (\d+) (steps?): at rates <BOUND> no step can raise it<SWINGS>
never: The loss never rose in (\d+) (steps?): none met eta q > 2<LAW><SWINGS>
valley: The curvature is that large because the inputs lie away from the origin: centring them \(--center\) lowers its
  bound from <N> to <N>(?:, the condition number at the minimum from <N> to <N>)?; at the same rate the loss then (never
  rose in|rose in \d+ of) (\d+) steps?\.
ended: After (\d+) (epochs?) \((the limit|the loss changed by <N>, less than the tolerance <N>)\) the loss is <N>,
  <ABOVE>(?: of <N>)?\.
undefined: The separator has no slope and intercept (?:in epoch|(\d+) times, first in epoch) (\d+), where w₂ = 0: the
  figure leaves that out\.
planar: The figures of the separator need two features\.
""")


class Descent(Oracle):
    """One gradient descent."""

    def __init__(self, points, result):
        super().__init__(points, result)
        self.losses = [] if result.diverged else [loss(points, w) for w in result.w]
        self.blur = [blur(points, w) for w in result.w]

    def changes(self):
        """Exact changes of the loss, but for those that rounding could hide."""
        pairs = zip(pairwise(self.losses), pairwise(self.blur), strict=True)
        return [(step, two - one) for step, ((one, two), errors) in enumerate(pairs, 1) if abs(two - one) > sum(errors)]

    def steps(self, count, noun, turns):
        assert int(count) == self.result.epochs == len(self.losses) - 1
        assert (noun == "step") == (count == "1")
        if turns:
            lines = [-Fraction(w[0]) / Fraction(w[1]) for w in self.result.w.tolist() if w[1]]
            signs = [two > one for one, two in pairwise(lines) if one != two]
            assert 2 <= int(turns) <= sum(a != b for a, b in pairwise(signs))

    def rose(self, opening, rises, count, noun, exactly, largest, turns):
        self.steps(count, noun, turns)
        risen = self.result.risen
        assert int(rises) == len(risen)
        assert all(self.losses[step] > self.losses[step - 1] for step in risen)
        assert {step for step, change in self.changes() if change > 0} <= set(risen)
        if "exactly" in exactly:
            assert all((self.result.eta_q[step - 1] > 2) == (change > 0) for step, change in self.changes())
        signs = [two > one for one, two in pairwise(self.losses) if one != two]
        assert "oscillates" not in opening or sum(a != b for a, b in pairwise(signs)) > 1
        assert (opening == "One step overshot") == (rises == "1")
        return value(largest) >= 1.99

    def certain(self, count, noun, limit, turns):
        self.never(count, noun, None, turns)
        assert near(limit, 2 / largest(self.points))
        for seed in range(3):  # from anywhere
            w = np.random.default_rng(seed).normal(size=self.points.X.shape[1])
            after = w - self.result.eta * gradients(self.points, w)
            assert loss(self.points, after) <= loss(self.points, w) + blur(self.points, w) + blur(self.points, after)
        return self.result.eta < 2 / largest(self.points)

    def never(self, count, noun, most, turns):
        self.steps(count, noun, turns)
        assert most is None or value(most) < 2.01
        return not any(change > 0 for _, change in self.changes())

    def valley(self, read, centred, condition, other, rose, steps):
        moved, run = center(self.points), self.result
        again = gradient_descent(moved, run.eta, max_epochs=run.max_epochs, tol=run.tol)
        assert near(read, largest(self.points))
        assert near(centred, largest(moved))
        assert largest(moved) < largest(self.points)
        assert rose == (f"rose in {len(again.risen)} of" if again.risen else "never rose in")
        assert len(again.risen) < len(run.risen)
        for text, points in ((condition, self.points), (other, moved)):
            assert text is None or near(text, spread(points), 3, 1e-6 * spread(points))
        return int(steps) == again.epochs

    def ended(self, epochs, noun, why, change, tol, final, gap, aim, least):
        run, blurred = self.result, self.blur[-1]
        assert (int(epochs), noun == "epoch") == (run.epochs, epochs == "1")
        assert near(final, self.losses[-1], 4, blurred)
        assert at(self.gap(run), gap, blurred)
        assert aim in (self.aim, None)
        assert least is None or near(least, self.least, 4, 1e-12)
        if why == "the limit":
            return run.epochs == run.max_epochs
        true = abs(self.losses[-2] - self.losses[-3])
        return near(change, true, 2, 2 * blurred) and true < run.tol * 1.01 + blurred and value(tol) == run.tol

    def undefined(self, times, first):
        zeros = [k for k, w in enumerate(self.result.w.tolist()) if w[1] == 0]
        return zeros[0] == int(first) and len(zeros) == int(times or 1)

    def planar(self):
        return self.points.X.shape[1] != 3


def descent_of(seed):
    points, chosen = options(seed)
    return Descent, DESCENT, points, gradient_descent(points, rate(seed), **chosen)


COMPARISON = MINIMUM | kinds(r"""
rough: (The|Large rates overshoot: the) loss rose in ((?:\d+ steps? at rate [\d.e+-]+(?:, | and )?)+)\.
smooth: (Small rates are safe but slow\. )?The loss never rose at <R>(?: \(<BOUND> it can't(?: at <R>)?\))?(?:(?:, but
  they are|, but it is|; <R> (?:is|are)) too slow to come within <N> of the <AIM> in <N> epochs?; rate <N> does in
  <N>)?\.
prefer: Prefer rate <N> here: after <N> epochs? it ends nearest, <ABOVE> \(rate <N>: <N>(?:; rate <N>, the best that
  never raised the loss: <N>)?\)\.
alike: (All rates|Rates [\d., and e+-]+) end (nearest and )?alike, <ABOVE>\.
fastest: Fastest to the <AIM>, to stay (.*)\.
""")
FAST = re.compile(rf"within {N}: {R} \((\d[\d,]*) epochs?; (\d) of (\d) rates reach it\)")


class Comparisons(Oracle):
    """Several rates."""

    def __init__(self, points, result):
        super().__init__(points, result)
        self.finite = [run for run in result.runs if not run.diverged]
        self.calm = [run.eta for run in self.finite if not run.risen]
        self.gaps = {run.eta: np.append(run.nll, run.final) - self.least for run in self.finite}
        self.ends = {run.eta: self.gap(run) for run in self.finite}
        self.slack = max((blur(points, run.w[-1]) for run in self.finite), default=0)

    def rough(self, opening, listed):
        told = {float(eta): int(n) for n, eta in re.findall(r"(\d+) steps? at rate ([\d.e+-]+[\d])", listed)}
        assert "Large" not in opening or min(told) > max(self.calm)
        return told == {run.eta: len(run.risen) for run in self.finite if run.risen}

    def smooth(self, opening, listed, below, sure, slow, level, aim, epochs, first, took):
        assert rates(listed) == self.calm
        if below:
            assert near(below, 2 / largest(self.points))
            certain = [eta for eta in self.calm if eta < 2 / largest(self.points)]
            assert certain == (rates(sure) if sure else self.calm)
        if level:
            late = rates(slow) if slow else self.calm
            assert all(arrival(self.gaps[eta], value(level)) is None and not self.run(eta).converged for eta in late)
            assert arrival(self.gaps[value(first)], value(level)) == value(took)
            assert (aim, value(epochs)) == (self.aim, self.run(late[0]).epochs)
        if opening:
            assert level
            assert not slow
            assert min(eta for eta in self.gaps if eta not in self.calm) > max(self.calm)
            long = compare(self.points, late, max_epochs=4 * int(value(epochs)), tol=0).runs  # they do go on
            assert all(run.final <= self.run(run.eta).final + self.slack for run in long)

    def prefer(self, eta, epochs, gap, aim, second, other, best, calm):
        (nearest, least), (_, following), *_ = sorted(self.ends.items(), key=lambda pair: pair[1])
        assert nearest == value(eta)
        assert at(least, gap, self.slack)
        assert at(self.ends[value(second)], other, self.slack)
        assert self.ends[value(second)] <= following + self.slack
        if best:
            calmest = min(self.ends[eta] for eta in self.calm)
            assert abs(self.ends[value(best)] - calmest) <= self.slack
            assert at(calmest, calm, self.slack)
        return value(epochs) == self.run(eta).epochs and aim in (self.aim, None)

    def alike(self, which, nearest, gap, aim):
        tied = list(self.ends) if which == "All rates" else rates(which.removeprefix("Rates "))
        least = min(self.ends.values())
        assert (which == "All rates") == (not nearest) == (len(tied) == len(self.ends))
        assert all(at(self.ends[eta], gap, self.slack) for eta in tied)
        return aim in (self.aim, None) and all(self.ends[eta] <= 1.01 * least + self.slack for eta in tied)

    def fastest(self, aim, listed):
        rows = FAST.findall(listed)
        for level, etas, epochs, reached, count in rows:
            arrivals = {eta: arrival(gaps, value(level)) for eta, gaps in self.gaps.items()}
            took = [epoch for epoch in arrivals.values() if epoch is not None]
            assert (value(epochs), int(reached), int(count)) == (min(took), len(took), len(arrivals))
            assert rates(etas.strip()) == [eta for eta, epoch in arrivals.items() if epoch == min(took)]
            assert max(took) > 0
        return rows and aim == self.aim


def comparison_of(seed):
    points, chosen = options(seed)
    return Comparisons, COMPARISON, points, compare(points, several(seed, seed % 5), **chosen)


STOCHASTIC = MINIMUM | kinds(r"""
same: No: with all (\d+) points in each batch it is gradient descent\.
verdict: (Yes, at equal cost: |No, not at equal cost, though |That depends on the distance: )<BUY>\. Evaluations to come
  near the <AIM> and stay, each method at its quickest rate, (.*) \(figure: equal-cost\)\.
nothing: No difference in <N> epochs?, by the table's distances from the <AIM>, though <BUY>\.
sides: Beside gradient descent's, its median loss is (.*)\.
settled: With a constant learning rate it stops converging and fluctuates: the mean excess over the minimum in the last
  quarter of the epochs is (.*?)(, the more the larger the rate)?\.
clock: Time on the clock is another matter: the <N> updates of an epoch follow one another, and take longer than
  gradient descent's one product with all points at once\.
""")


class Stochastic(Oracle):
    """Stochastic descents."""

    def __init__(self, points, result, seed):
        super().__init__(points, result)
        self.seed, self.count = seed, len(points.X)
        self.rows = {level: self.quickest(level) for level in (0.3, 0.1, 0.03, 0.01)}
        self.told = {level: row for level, row in self.rows.items() if row not in ([np.inf, np.inf], [0, 0])}

    def quickest(self, level):
        hold = max(1, round((self.result.epochs + 1) / 20))
        one = [arrival(run.nll_median - self.least, level, hold) for run in self.runs]
        full = [arrival(run.gradient_descent - self.least, level) for run in self.runs]
        return [min((self.count * n for n in found if n is not None), default=np.inf) for found in (one, full)]

    def same(self, count):
        run = self.runs[0]
        assert np.allclose(run.nll_median[:3], run.gradient_descent[:3], rtol=1e-9, equal_nan=True)
        return int(count) == self.count == self.result.batch_size

    def verdict(self, opening, count, updates, aim, told):
        budget = f"more than {self.result.epochs * self.count:,}"
        words = {level: [budget if n == np.inf else f"{n:,}" for n in pair] for level, pair in self.told.items()}
        assert told == "; ".join(f"within {level:g}: {one} against {two}" for level, (one, two) in words.items())
        leads = [two - one for one, two in self.told.values()]
        kind = "Yes" if min(leads) >= 0 and max(leads) > 0 else "No" if max(leads) <= 0 else "That"
        assert (value(count), value(updates)) == (self.count, self.result.updates)
        return opening.startswith(kind) and aim == self.aim

    def nothing(self, epochs, aim, count, updates):
        assert not self.told
        return (value(epochs), value(count), value(updates)) == (self.result.epochs, self.count, self.result.updates)

    def sides(self, told):
        for words, when in (re.fullmatch(r"(.*?), (after .*)", part).groups() for part in told.split("; ")):
            for end in map(int, map(value, re.findall(rf"after {N} epochs?", when))):
                for word, etas in re.findall(rf"(below|above) at {R}", words):
                    for run in map(self.run, rates(etas.strip(", "))):
                        difference = run.nll_median[end] - run.gradient_descent[end]
                        assert abs(difference) > 1e-15 * run.nll_median[end]
                        assert (difference < 0) == (word == "below")

    def settled(self, told, grows):
        """By a run of four times as many epochs."""
        rows = [(value(excess), value(eta)) for excess, eta in re.findall(rf"{N} at rate {N}", told)]
        *_, long = stochastic_of(self.seed, [eta for _, eta in rows], 4 * self.result.epochs)
        excess = []
        for (text, eta), run in zip(rows, long.runs, strict=True):
            own = self.run(eta).nll_median - self.least
            assert near(f"{text:.17g}", own[-(self.result.epochs // 4) :].mean(), 2)
            later = run.nll_median - self.least
            for first in range(self.result.epochs, 4 * self.result.epochs, self.result.epochs):
                assert text / 2 < later[first : first + self.result.epochs].mean() < 2 * text
            excess.append(later[self.result.epochs :].mean())
        return not grows or (len(rows) > 1 and excess == sorted(excess))

    def clock(self, updates):
        return value(updates) == -(-self.count // self.result.batch_size) >= 10


def stochastic_of(seed, etas=None, epochs=None):
    rng = np.random.default_rng([seed, 3])
    points = center(drawn(seed)) if rng.random() < 0.3 else drawn(seed)
    batch, shuffles = int(rng.choice([1, 1, 2, len(points.X)])), int(rng.choice([1, 3, 8]))
    epochs = epochs or int(rng.choice([1, 2, 9, 60, 120], p=[0.2, 0.2, 0.2, 0.3, 0.1]))
    etas = etas or several(seed, seed % 3)
    result = stochastic_descent(points, etas, epochs=epochs, batch_size=batch, shuffles=shuffles, seed=1)
    return lambda *pair: Stochastic(*pair, seed), STOCHASTIC, points, result


NEWTON = MINIMUM | kinds(r"""
minimum: The minimum loss is <N>, after (\d+) Newton steps?; gradient norm <N>\.
steep: At the minimum the curvature differs <N>-fold between directions, which makes gradient descent slow\. Newton's
  method is affine-invariant: conditioning does not affect it\.
""")


class Newton(Oracle):
    """Newton's method."""

    def minimum(self, least, steps, norm):
        assert near(least, self.least, 6, 1e-11)
        pull = np.array([float(part) for part in gradient(self.points, self.result.w)])
        assert int(steps) == len(self.result.path) - 1
        return self.kind is None and np.linalg.norm(pull) <= 1e-8 * np.abs(self.points.X).max() + value(norm)

    def apart(self):
        return super().apart() and self.separates()

    def boundary(self, text):
        return super().boundary(text) and self.separates()

    def separates(self):
        sides = self.points.signed @ self.result.direction
        slack = 1e-9 * np.abs(self.points.X * self.result.direction).sum(axis=1).max()
        return self.result.w is None and sides.max() > 0 and sides.min() > -slack

    def steep(self, text):
        return near(text, spread(self.points), 3, 1e-3 * spread(self.points)) and value(text) > 100


def newton_of(seed):
    points = center(drawn(seed)) if seed % 7 == 0 else drawn(seed)
    return Newton, NEWTON, points, solve(points)


SETTINGS = {"gd": descent_of, "compare": comparison_of, "sgd": stochastic_of, "newton": newton_of}


@pytest.mark.faults
@pytest.mark.parametrize("command", SETTINGS)
def test_every_sentence_is_of_a_known_kind_and_true(command):
    said, sentences = set(), {}
    for seed in range(times(120, 240)):
        oracle, sentences, points, result = SETTINGS[command](seed)
        said |= set(oracle(points, result).check(sentences))
        titles = " ".join(str(table.title) for table in document(result).tables)
        assert not re.search(r"(?<![\d,.])1 (epochs|updates|shuffles)", titles)
        assert ("infimum" if separation(points)[0] else "minimum") in titles or command in ("gd", "newton")
    assert said >= set(sentences) - {"diverged", "premature"}


def test_divergence_is_said():
    points = load_points()
    lost = gradient_descent(points, 1e308), compare(points, [1e308, 0.1])
    for result in (*lost, stochastic_descent(points, [1e308, 0.1], epochs=2, shuffles=2)):
        assert result.findings[0].text == "At rate 1e+308 the descent diverged: numbers grew beyond the largest float."


def test_an_epoch_of_single_updates_takes_longer_than_one_product():
    points, w = load_points(), np.zeros(3)
    single = [replace(points, X=points.X[n : n + 1], t=points.t[n : n + 1]) for n in range(200)]
    each, whole = (
        min(timeit.repeat(lambda parts=parts: [gradients(part, w) for part in parts], number=1))
        for parts in (single, [points])
    )
    assert each > 3 * whole
