"""Logistic regression: error, gradient, curvature. Sources: Bishop (2006), section 4.3; his errors divided by N."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cli726.errors import RequestError
from cli726.logistic.points import LARGEST, Array, Points

__all__ = [
    "choose_start",
    "curvature_bound",
    "gradient",
    "hessian",
    "largest_eigenvalue",
    "mean_error",
    "mean_errors",
    "sigmoid",
    "softplus",
]


# Numbers in one temporary array: it stays in the cache, and long runs and large files don't need memory in proportion.
CHUNK = 1 << 16


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)) elementwise, to full relative precision at both ends; where exp overflows, 0 is right."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-a))


def softplus(a: Array) -> Array:
    """log(1 + exp(a)) elementwise; neither overflows nor loses small values, at a quarter of the cost of logaddexp."""
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def mean_error(points: Points, w: Array) -> Array:
    """Mean negative log-likelihood, in nats a point.

    Args:
        points: N points.
        w: ndarray of shape (D,) or (D, K), K weight vectors side by side.

    Returns:
        ndarray of shape () or (K,).

    Source: Bishop, eq. 4.90 / N, with log(1 + exp) kept whole, so that no label has probability 0.
    """
    # What is wrong is the activation against the label's side: -a for class 1, a for class 0.
    return np.asarray(softplus(-(points.signed @ w)).mean(axis=0))


def mean_errors(points: Points, W: Array) -> Array:
    """Mean negative log-likelihood of many weight vectors, shape (..., D) -> (...); NaN or infinite where they are."""
    flat = W.reshape(-1, W.shape[-1])
    size = max(1, CHUNK // len(points.X))
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [mean_error(points, flat[i : i + size].T) for i in range(0, len(flat), size)]
    return np.concatenate(parts).reshape(W.shape[:-1])


def gradient(points: Points, w: Array) -> Array:
    """Gradient of `mean_error`, of w's shape: (D,) or (D, K). Source: Bishop, eq. 4.91 / N."""
    signed = points.signed
    return np.asarray(-(signed.T @ sigmoid(-(signed @ w))) / len(signed))


def hessian(points: Points, w: Array) -> Array:
    """Second derivatives of `mean_error` at w (D,), shape (D, D). Source: Bishop, eq. 4.97 / N."""
    y = sigmoid(points.X @ w)
    # 1 - y cancels where y is near 1; sigmoid(-a) does not.
    variance = y * sigmoid(-(points.X @ w))
    return np.asarray((points.X.T * variance) @ points.X / len(y))


def largest_eigenvalue(matrix: Array) -> float:
    """Of a symmetric matrix."""
    return float(np.linalg.eigvalsh(matrix)[-1])


def curvature_bound(points: Points) -> float:
    """No curvature of the error exceeds this, wherever w is: lambda_max(X'X) / (4 N), as y (1 - y) <= 1/4."""
    return largest_eigenvalue(points.X.T @ points.X) / (4 * len(points.X))


def choose_start(points: Points, start: Sequence[float] | None) -> Array:
    """Weights to start from, shape (D,): as given, or the course's, 0.1 for the first feature and 0 for the others.

    Raises:
        RequestError: for a wrong number of weights, or one that is not finite or absurdly large.
    """
    count = points.X.shape[1]
    if start is None:
        return np.array([0.1] + [0.0] * (count - 1))
    if len(start) != count:
        names = ", ".join([*points.features, "bias"])
        raise RequestError(f"--start must give {count} weights, for {names}, got {len(start)}; separate them by commas")
    if not all(abs(w) <= LARGEST for w in start):
        given = ",".join(f"{w:g}" for w in start)
        raise RequestError(f"--start must give finite weights within ±{LARGEST:g}, got {given}; start nearer to 0")
    return np.array(start, dtype=np.float64)
