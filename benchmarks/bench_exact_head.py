"""The exact solver against scikit-learn's LogisticRegression, side by side on the same features.

    OMP_NUM_THREADS=2 python benchmarks/bench_exact_head.py --rows 50000 --features 64 --classes 10 --repeat 5

Each round runs every solver once, so that what else the machine does meets all alike; medians over the rounds.
scikit-learn (L-BFGS with its default tolerance, 1e-4, and one that reaches the objective to 1e-6) takes its threads
from OMP_NUM_THREADS. "Excess" is how far the objective lies above the best one found, relative to it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cli726.finetune.training.exact_head import fit_exact

Solver = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def network_like(rows: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    """Rectified, standardised features whose correlations fall off as those of ResNet20 on CIFAR-10 do."""
    chance = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (rows,), generator=chance)
    spectrum = torch.arange(1.0, features + 1) ** -0.75
    mixing = spectrum[:, None] * torch.linalg.qr(torch.randn(features, features, generator=chance))[0]
    means = 0.4 * torch.randn(classes, features, generator=chance)
    x = ((means[labels] + torch.randn(rows, features, generator=chance)) @ mixing).relu()
    return (x - x.mean(0)) / x.std(0), labels


def solvers(classes: int, l2: float) -> dict[str, Solver]:
    def exact(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        fit = fit_exact(x, labels, classes, l2)
        return fit.weights, fit.bias

    def scikit(tolerance: float, dtype: torch.dtype) -> Solver:
        def fit(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            model = LogisticRegression(C=1 / (len(x) * l2), tol=tolerance, max_iter=10_000)
            model.fit(x.to(dtype).numpy(), labels.numpy())
            return torch.tensor(model.coef_).double(), torch.tensor(model.intercept_).double()

        return fit

    return {
        "fit_exact": exact,
        "scikit-learn, 1e-4, float32": scikit(1e-4, torch.float32),
        "scikit-learn, 1e-6, float32": scikit(1e-6, torch.float32),
        "scikit-learn, 1e-6, float64": scikit(1e-6, torch.float64),
    }


def objective(x: Tensor, labels: Tensor, weights: Tensor, bias: Tensor, l2: float) -> float:
    entropy = torch.nn.functional.cross_entropy(x.double() @ weights.T + bias, labels)
    return float(entropy + l2 / 2 * weights.square().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--l2", type=float, default=1e-3)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    x, labels = network_like(options.rows, options.features, options.classes)
    chosen = solvers(options.classes, options.l2)
    wall: dict[str, list[float]] = {name: [] for name in chosen}
    processor: dict[str, list[float]] = {name: [] for name in chosen}
    values: dict[str, float] = {}
    for _ in range(options.repeat):
        for name, solve in chosen.items():
            began, used = time.perf_counter(), time.process_time()
            weights, bias = solve(x, labels)
            wall[name].append(time.perf_counter() - began)
            processor[name].append(time.process_time() - used)
            values[name] = objective(x, labels, weights, bias, options.l2)
    best = min(values.values())
    first = next(iter(chosen))
    print(
        f"{options.rows} x {options.features}, {options.classes} classes, l2 {options.l2:g}, {options.repeat} rounds,"
    )
    print(f"{torch.get_num_threads()} threads; least objective {best:.9f}")
    print(f"{'':28}{'seconds':>10}{'ratio':>8}{'CPU s':>10}{'ratio':>8}{'excess':>11}")
    for name in chosen:
        seconds, cpu = median(wall[name]), median(processor[name])
        print(
            f"{name:28}{seconds:10.3f}{seconds / median(wall[first]):8.1f}{cpu:10.3f}"
            f"{cpu / median(processor[first]):8.1f}{values[name] / best - 1:11.1e}"
        )


if __name__ == "__main__":
    main()
