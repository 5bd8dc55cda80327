"""How long problem 5's descents take, beside a plain Python loop and scikit-learn's compiled SGDClassifier.

    OMP_NUM_THREADS=1 python benchmarks/bench_logistic.py

All do the same stochastic gradient descent: 200 points, batches of one, reshuffled every epoch, constant rate. Rounds
alternate between the contestants and the best of each counts; time is processor time of this process, so that other
work on the machine counts as little as possible (all of them run on one thread).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import islice

import numpy as np
from sklearn.linear_model import SGDClassifier

from cli726.logistic import compare, load_points
from cli726.logistic.model import losses, orders, stochastic_paths

RATES = (0.5, 0.3, 0.1, 0.05, 0.01)
SHUFFLES, EPOCHS = 20, 500
START = np.array([0.1, 0.0, 0.0])
# The plain loop takes minutes for the whole; its time an update doesn't depend on how many there are.
PLAIN_EPOCHS = 25

POINTS = load_points()


def lockstep() -> int:
    """Every rate and order, with the loss of each after every epoch."""
    weights = [w for _, w in stochastic_paths(POINTS, RATES, START, EPOCHS, 1, 0, SHUFFLES)]
    losses(POINTS, np.array(weights))
    return len(RATES) * SHUFFLES * EPOCHS * len(POINTS.X)


def plain() -> int:
    """One run after the other, as one would write it down: a rate, an epoch, a point. One order only."""
    for eta in RATES:
        plain_run(eta, PLAIN_EPOCHS)
    return len(RATES) * PLAIN_EPOCHS * len(POINTS.X)


def plain_run(eta: float, epochs: int) -> np.ndarray:
    w = START
    for order in islice(orders(0, 1, len(POINTS.X)), epochs):
        for n in order[:, 0]:
            y = 1 / (1 + np.exp(-np.dot(POINTS.X[n], w)))
            w = w - eta * (y - POINTS.t[n]) * POINTS.X[n]
    return w


def compiled() -> int:
    """scikit-learn, one fit for each rate and order; no losses recorded."""
    for eta in RATES:
        for shuffle in range(SHUFFLES):
            model = SGDClassifier(
                loss="log_loss", penalty=None, learning_rate="constant", eta0=eta, max_iter=EPOCHS, tol=None,
                random_state=shuffle,
            )  # fmt: skip
            model.fit(POINTS.X[:, :2], POINTS.t)
    return len(RATES) * SHUFFLES * EPOCHS * len(POINTS.X)


def timed(work: Callable[[], int]) -> tuple[float, int]:
    begun = time.process_time()
    updates = work()
    return time.process_time() - begun, updates


def check() -> float:
    """Largest difference between the weights of the plain loop and of lockstep, after the same epoch.

    After many the largest rates would differ: their steps are unstable at single points and magnify any rounding.
    """
    *_, (_, ended) = stochastic_paths(POINTS, RATES, START, 1, 1, 0, 1)
    return max(float(np.abs(ended[run, 0] - plain_run(eta, 1)).max()) for run, eta in enumerate(RATES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"lockstep and plain loop end an epoch at the same weights, to {check():.1e}")
    contestants = {
        "lockstep (NumPy, with losses)": lockstep,
        "scikit-learn SGDClassifier": compiled,
        "plain loop": plain,
    }
    best: dict[str, tuple[float, int]] = {}
    for _ in range(rounds):
        for name, work in contestants.items():
            best[name] = min(best.get(name, (np.inf, 0)), timed(work))
    base = best["lockstep (NumPy, with losses)"]
    print(f"{'best of ' + str(rounds):32}{'updates':>12}{'seconds':>10}{'ns an update':>14}{'ratio':>8}")
    for name, (seconds, updates) in best.items():
        ratio = (seconds / updates) / (base[0] / base[1])
        print(f"{name:32}{updates:12,}{seconds:10.3f}{seconds / updates * 1e9:14.1f}{ratio:8.2f}")
    seconds = min(timed(lambda: len(compare(POINTS, RATES).runs))[0] for _ in range(rounds))
    print(f"compare: five rates, 500 epochs, curvature of every step, findings: {seconds:.3f} s")


if __name__ == "__main__":
    main()
