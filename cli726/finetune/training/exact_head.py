"""Multinomial logistic regression to its optimum: the linear head of `--solver exact`.

Newton's method on E(W, b) = 1/N sum_n -c_n ln p(t_n | x_n) + l2/2 sum W^2, with all c_n = 1 unless classes are
weighted. Each Newton equation is solved by conjugate gradients, which need only products with the Hessian, at the price
of a gradient each; the Hessian's diagonal blocks, one a class, estimated on a sample of the rows, precondition them.
Values and gradients are summed in float64 and set the accuracy; curvature, in float32, only sets the speed.

Source: Bishop (2006), eqs. 4.104 to 4.110 (gradient and Hessian); Nocedal and Wright (2006), chapter 7 (inexact
Newton methods); Albert and Anderson (1984), Biometrika 71 (when there is no optimum).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from cli726.errors import ComputationError, RequestError

# Rows at a time in float64: what a processor's cache holds.
BLOCK = 4096
# Rows on which the preconditioner is estimated; more make it dearer, hardly better.
SAMPLE = 2048
# On the preconditioner's diagonal: relative to its mean, and absolute where all probabilities are 0 or 1.
RIDGE, FLOOR = 1e-5, 1e-12
# From so many features on, fewer images than features are worth turning: 200 photographs with 1,280 features take a
# small part of the time then, at the price of rounding the features once more. And one block preconditions all classes:
# 8,000 images of ten with 1,280 features took 2.3 s (30 products with the Hessian) instead of 11.
WIDE = 256
# How far conjugate gradients go: loosely far from the optimum, to this share of the gradient near it.
LOOSEST, TIGHTEST, LONGEST = 0.1, 1e-3, 200
ARMIJO, HALVINGS = 1e-4, 40
# What tells that there is no optimum: a step that gains so much (nats) and loses only this share of it.
SMALLEST_GAIN, LARGEST_LOSS = 0.1, 1e-5
# Changes of the objective below this share of it are rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class ExactFit:
    """A linear classifier at the optimum, or where the search for one ended.

    Attributes:
        weights: float64 Tensor of shape (K, D); over the classes they sum to 0.
        bias: float64 Tensor of shape (K,), likewise.
        objective: Mean (weighted) cross-entropy (nats) plus the penalty.
        gradient_norm: Euclidean norm of its gradient there, by weights and biases.
        iterations: Newton steps.
        converged: Whether the gradient vanished there, to the tolerance asked for, and there is an optimum.
        separable: Whether there is no optimum, because l2 = 0 and some direction never lowers the score of a row's own
            class against another and raises some for ever. Only then are weights and bias one classifier of many.
    """

    weights: Tensor
    bias: Tensor
    objective: float
    gradient_norm: float
    iterations: int
    converged: bool
    separable: bool

    def to_json(self) -> dict[str, Any]:
        """Return all but the classifier itself."""
        names = ("objective", "gradient_norm", "iterations", "converged", "separable")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Point:
    """The objective at one place.

    Attributes:
        weights: float64, (K, D + 1); the last column holds the biases.
        value: The objective.
        gradient: float64, (K, D + 1).
        probabilities: float32, (K, N).
        margin: The least lead of a row's own class over another; computed only where l2 = 0.
    """

    weights: Tensor
    value: float
    gradient: Tensor
    probabilities: Tensor
    margin: float

    @property
    def slope(self) -> float:
        return float(self.gradient.norm())


def centered(weights: Tensor) -> Tensor:
    """Leave out what all classes share: it changes no probability, and the penalty is least without it."""
    return weights - weights.mean(0)


class Objective:
    """E(W, b) of one data set, its gradient and its curvature."""

    def __init__(
        self, features: Tensor, labels: Tensor, classes: int, l2: float, weights: Tensor | None = None
    ) -> None:
        ones = torch.ones(len(features), 1, device=features.device)
        self.inputs = torch.cat([features.float(), ones], 1)  # (N, D + 1)
        self.labels = labels[None]
        # What each row counts, (N,); multiplying by 1 changes no bit.
        self.counts = ones[:, 0].double() if weights is None else weights[labels]
        self.classes = classes
        self.l2 = l2
        # The biases are not penalised.
        self.penalty = torch.full((self.inputs.shape[1],), l2, dtype=torch.float64, device=features.device)
        self.penalty[-1] = 0
        # Not the first rows, nor every hundredth: data sets come sorted, or dealt out, by class.
        sample = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:SAMPLE]
        self.sample = sample.to(features.device)

    def at(self, weights: Tensor) -> Point:
        """Return value and gradient, in float64 (Bishop, eqs. 4.108 and 4.109)."""
        value = (self.penalty * weights**2).sum() / 2
        gradient = self.penalty * weights
        probabilities = torch.empty(self.classes, len(self.inputs), device=weights.device)
        margin = torch.inf
        rows, wide = len(self.inputs), (self.labels.split(BLOCK, 1), probabilities.split(BLOCK, 1))
        for inputs, counts, labels, kept in zip(self.inputs.split(BLOCK), self.counts.split(BLOCK), *wide, strict=True):
            x = inputs.double()
            scores = weights @ x.T  # (K, rows of the block)
            own = scores.gather(0, labels)
            total = scores.logsumexp(0, keepdim=True)
            value = value + ((total - own) * counts).sum() / rows
            if not self.l2:
                rivals = scores.scatter(0, labels, -torch.inf).amax(0)
                margin = min(margin, float((own - rivals).min()))
            p = (scores - total).exp_()
            kept.copy_(p)
            gradient += p.scatter_add_(0, labels, -torch.ones_like(own)).mul_(counts) @ x / rows
        return Point(weights, float(value), gradient, probabilities, margin)

    def leads(self, direction: Tensor) -> Tensor:
        """Return how much each class would gain on the row's own, (K, N); 0 for its own."""
        scores = direction @ self.inputs.T
        return scores.sub_(scores.gather(0, self.labels))

    def curve(self, point: Point, direction: Tensor) -> Tensor:
        """Multiply the Hessian by `direction`: (K, D + 1) in float32 (Bishop, eq. 4.110).

        Scores are taken against the row's own class, which changes nothing but the rounding: 1 - p would be lost where
        the own class is all but certain.
        """
        p = point.probabilities
        gains = self.leads(direction).mul_(p)
        change = gains.sub_(p * gains.sum(0)).mul_(self.counts.float())
        return change @ self.inputs / len(self.inputs) + self.penalty.float() * direction

    def preconditioner(self, point: Point) -> Tensor:
        """Estimate Cholesky factors of the Hessian's diagonal blocks on the sample: float64, (K or 1, D + 1, D + 1)."""
        x = self.inputs[self.sample]
        p = point.probabilities[:, self.sample]
        curvature = p * (1 - p) * self.counts[self.sample].float()
        if x.shape[1] > WIDE:
            curvature = curvature.mean(0, keepdim=True)
        blocks = torch.stack([(x * q[:, None]).T @ x for q in curvature]).double() / len(x)
        blocks += torch.diag(self.penalty)
        blocks.diagonal(dim1=1, dim2=2).mul_(1 + RIDGE).add_(FLOOR)
        factors: Tensor = torch.linalg.cholesky(blocks)
        return factors


def newton_direction(objective: Objective, point: Point) -> Tensor:
    """Compute -H^-1 g by preconditioned conjugate gradients among centred directions; float64, (K, D + 1)."""
    scale = point.slope or 1.0
    factors = objective.preconditioner(point)

    def precondition(residual: Tensor) -> Tensor:
        columns = residual.double().reshape(len(factors), -1, residual.shape[1]).mT
        return centered(torch.cholesky_solve(columns, factors).mT.reshape(residual.shape)).float()

    residual = centered(-point.gradient / scale).float()
    enough = min(LOOSEST, max(scale**0.5, TIGHTEST))
    direction = torch.zeros_like(residual)
    conjugate = steepest = precondition(residual)
    fit = (residual * steepest).sum()
    for _ in range(LONGEST):
        curved = centered(objective.curve(point, conjugate))
        curvature = (conjugate * curved).sum()
        if not curvature > 0:  # rounding has the last word
            break
        length = fit / curvature
        direction = direction + length * conjugate
        residual = residual - length * curved
        if residual.norm() < enough:
            break
        steepest = precondition(residual)
        before, fit = fit, (residual * steepest).sum()
        conjugate = steepest + fit / before * conjugate
    if not direction.any():
        direction = precondition(centered(-point.gradient / scale).float())
    return centered(direction.double()) * scale


def step(objective: Objective, point: Point, direction: Tensor) -> Point:
    """Take the first of the full step, its half and so on that lowers the objective enough; else stay at `point`."""
    descent = float((point.gradient * direction).sum())
    slack = ROUNDING * max(1.0, abs(point.value))
    length = 1.0
    for _ in range(HALVINGS):
        there = objective.at(centered(point.weights + length * direction))
        if there.value <= point.value + ARMIJO * length * descent + slack:
            return there
        length /= 2
    return point


def never_loses(objective: Objective, direction: Tensor) -> bool:
    """Tell whether a Newton step moves the scores and is, to rounding, to no row's disadvantage.

    Near an optimum Newton's steps vanish; where the objective only fades towards a bound they stay of one size.
    """
    leads = objective.leads(direction.float())
    gain, loss = -float(leads.min()), float(leads.max())
    return gain > SMALLEST_GAIN and loss < LARGEST_LOSS * gain


def check(features: Tensor, labels: Tensor, classes: int) -> None:
    images = torch.bincount(labels, minlength=classes)
    if classes < 2 or len(images) > classes:
        raise RequestError(f"a classifier needs two classes or more, all labels among them; got {classes} classes")
    if not images.all():
        missing = int((images == 0).nonzero()[0])
        raise RequestError(
            f"--solver exact needs a training image of each class, or its bias has no optimum; got none of class "
            f"number {missing + 1} of {classes}; leave --solver out to train by epochs"
        )
    if not features.isfinite().all():
        raise ComputationError("the features must be finite numbers; got inf or nan; check the weights")


def class_weights(labels: Tensor) -> Tensor:
    """Return what an image of each class counts, float64 (K,), so that all classes count alike and the mean image 1.

    N / (K n_k), K being the number of classes that have images; 0 for one that has none.

    Source: King and Zeng (2001), "Logistic regression in rare events data", section 4.2.
    """
    images = torch.bincount(labels.cpu()).double()
    present = images > 0
    return torch.where(present, len(labels) / (present.sum() * images), 0.0)


def fit_exact(
    features: Tensor, labels: Tensor, classes: int, l2: float, weights: Tensor | None = None, *,
    tolerance: float = 1e-10, max_iterations: int = 50,
) -> ExactFit:  # fmt: skip
    """Minimise mean cross-entropy + l2/2 sum W^2 over weights W and unpenalised biases.

    Args:
        features: float32 Tensor of shape (N, D), standardised; on a device that has float64.
        labels: int64 Tensor of shape (N,), 0 to classes - 1, each at least once.
        classes: K, at least 2.
        l2: Strength of the penalty, finite, 0 or more.
        weights: What a row of each class counts, float64 Tensor of shape (K,), above 0; None: 1.
        tolerance: Norm of the gradient at which to stop.
        max_iterations: Newton steps at most.

    Raises:
        RequestError: if a class has no row.
        ComputationError: if a feature is not finite.
    """
    check(features, labels, classes)
    images, width = features.shape
    if images < width and width >= WIDE and l2 > 0:
        # The optimum lies among the images' own directions: turned there, it has no more features than images.
        basis, turned = torch.linalg.qr(features.double().T)  # (D, N), (N, N)
        fit = fit_exact(
            turned.T.float(), labels, classes, l2, weights, tolerance=tolerance, max_iterations=max_iterations
        )
        return replace(fit, weights=fit.weights @ basis.T)
    objective = Objective(features, labels, classes, l2, weights)
    size = (classes, objective.inputs.shape[1])
    point = objective.at(torch.zeros(size, dtype=torch.float64, device=features.device))
    iterations, separable = 0, False
    while not separable:
        ended = point.slope <= tolerance or iterations == max_iterations
        if ended and l2 > 0:
            break
        direction = newton_direction(objective, point)
        separable = l2 == 0 and (point.margin > 0 or never_loses(objective, direction))
        if ended:
            break
        before, point = point, step(objective, point, direction)
        if point is before:
            break
        iterations += 1
    return ExactFit(
        point.weights[:, :-1].contiguous(),
        point.weights[:, -1].contiguous(),
        point.value,
        point.slope,
        iterations,
        point.slope <= tolerance and not separable,
        separable,
    )


@torch.no_grad()
def solve_head(head: nn.Module, features: Tensor, labels: Tensor, l2: float, *, balance: bool) -> ExactFit:
    """Take a head of standardisation and one linear layer to its optimum on features (N, D) and labels (N,)."""
    standardize, linear = cast("tuple[nn.Module, nn.Linear]", tuple(head.children()))
    weights = class_weights(labels) if balance else None
    fit = fit_exact(standardize(features).cpu(), labels, linear.out_features, l2, weights)
    linear.weight.copy_(fit.weights.float())
    linear.bias.copy_(fit.bias.float())
    return fit
