"""The new layers on top of the network."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["Standardize", "build_head", "coefficients"]


class Standardize(nn.Module):
    """Features minus their mean, over their deviation; both buffers, so that the head goes on working by itself."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take mean and deviation from `features`, of shape (N, D), summed in float64."""
        double = features.double()
        mean = double.mean(0)
        deviation = double.std(0, correction=0)
        # A feature that never moves carries nothing; dividing by its deviation would make noise of rounding.
        deviation = torch.where(deviation > 1e-6 * mean.abs().clamp_min(1e-6), deviation, 1.0)
        self.mean.copy_(mean)
        self.scale.copy_(deviation)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


def build_head(features: int, classes: int, chance: torch.Generator, *, standardize: bool = True) -> nn.Sequential:
    """A linear classifier on (standardised) features.

    Args:
        features: Length of a feature vector.
        classes: Number of classes.
        chance: Used where the layer doesn't start from zero.
        standardize: Standardised features and a zero start; else torch's own start of a linear layer.

    Returns:
        A module that maps (N, features) to scores (N, classes).
    """
    linear = nn.Linear(features, classes)
    with torch.no_grad():
        if standardize:
            linear.weight.zero_()
        else:
            bound = features**-0.5
            linear.weight.uniform_(-bound, bound, generator=chance)
        linear.bias.zero_()
    return nn.Sequential(Standardize(features), linear)


def coefficients(head: nn.Module) -> list[nn.Parameter]:
    """The weights that `--l2` penalises: those of linear layers, not their biases."""
    return [cast(nn.Parameter, module.weight) for module in head.modules() if isinstance(module, nn.Linear)]
