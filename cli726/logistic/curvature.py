"""What a step of gradient descent meets: the gradient, and the curvature along it, averaged over the step."""

from __future__ import annotations

import numpy as np

from cli726.logistic.model import CHUNK, sigmoid
from cli726.logistic.points import Array, Points

__all__ = ["gradients", "step_curvature"]

# Where sigma' has fallen to 4e-18: beyond it nothing is left to integrate.
SATURATED = 40.0
NODES = (8, 16, 32, 64, 128, 256)


def gradients(points: Points, W: Array) -> Array:
    """Gradients of the mean negative log-likelihood at many weight vectors, shape (E, D) -> (E, D)."""
    turned = points.signed.T / len(points.X)
    size = max(1, CHUNK // len(points.X))
    parts = [(turned @ sigmoid(-(points.signed @ W[i : i + size].T))).T for i in range(0, len(W), size)]
    return -np.concatenate(parts)


def step_curvature(points: Points, w: Array, slopes: Array, eta: float) -> Array:
    """The curvature that each step met: along the gradient, averaged over the step with weight 2 (1 - s).

    With it the change of the error in a step is exactly -eta |g|^2 (1 - eta q / 2): Taylor's theorem with its remainder
    as an integral. It is found by quadrature of the second derivative, so that comparing it with the errors is a check.

    Args:
        points: N points.
        w: Weights before each step, shape (E, D).
        slopes: Gradients there, shape (E, D).
        eta: Learning rate.

    Returns:
        q of each step, shape (E,); NaN where the gradient is 0.
    """
    size = max(1, CHUNK // len(points.X))
    parts = [chunk_curvature(points.X, w[i : i + size], slopes[i : i + size], eta) for i in range(0, len(w), size)]
    return np.concatenate(parts)


def chunk_curvature(X: Array, w: Array, slopes: Array, eta: float) -> Array:
    """`step_curvature` of as many steps as fit in the cache."""
    norms = np.linalg.norm(slopes, axis=1)
    usable = np.isfinite(norms) & (norms > 0)
    q = np.full(len(w), np.nan)
    # (E, N): each activation's rate of change along the gradient, and how far the step moves it.
    along = (slopes[usable] / norms[usable, None]) @ X.T
    reach = eta * norms[usable, None] * along
    a = w[usable] @ X.T
    needed = nodes_needed(np.abs(reach).max(axis=1))
    averages = np.empty(len(a))
    for count in set(needed.tolist()):
        these = needed == count
        averages[these] = (averaged_variance(a[these], reach[these], count) * along[these] ** 2).mean(axis=1)
    q[usable] = averages
    return q


def nodes_needed(reach: Array) -> Array:
    """How many Gauss-Legendre nodes bring an activation that moves by `reach` to rounding error.

    sigma' has poles at +-i pi, so the error falls as rho^(-2 n), rho the sum of the half-axes of the ellipse through
    them with foci at the ends of the step (Trefethen 2008, "Is Gauss quadrature better than Clenshaw-Curtis?").
    """
    half_axis = 2 * np.pi / np.maximum(np.minimum(reach, 2 * SATURATED), 1e-9)
    return np.array(NODES)[np.searchsorted(NODES[:-1], 18 / np.arcsinh(half_axis))]


def averaged_variance(a: Array, reach: Array, count: int) -> Array:
    """Integral over s from 0 to 1 of 2 (1 - s) sigma'(a - s reach), elementwise, where it is not saturated."""
    nodes, shares = np.polynomial.legendre.leggauss(count)
    moving = np.where(reach == 0, 1, reach)
    ends = [np.clip(end, -SATURATED, SATURATED) for end in (a, a - reach)]
    first, last = (np.where(reach == 0, whole, (a - end) / moving) for whole, end in zip((0, 1), ends, strict=True))
    total = np.zeros_like(a)
    for node, share in zip((nodes + 1) / 2, shares / 2, strict=True):
        s = first + (last - first) * node
        tail = np.exp(-np.abs(ends[0] + (ends[1] - ends[0]) * node))
        total += share * 2 * (1 - s) * tail / (1 + tail) ** 2
    return np.asarray(total * (last - first))
