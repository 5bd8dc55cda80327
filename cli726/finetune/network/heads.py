"""The new layers on top of the network."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from cache.system import memory_limit
from cli726.errors import RequestError
from cli726.finetune.user_code import is_code, load_function, own_code


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
        double = features.cpu().double()  # which not every device has
        mean = double.mean(0)
        deviation = double.std(0, correction=0)
        # A feature that never moves carries nothing; dividing by its deviation would make noise of rounding.
        deviation = torch.where(deviation > 1e-6 * mean.abs().clamp_min(1e-6), deviation, 1.0)
        self.mean.copy_(mean.float())
        self.scale.copy_(deviation.float())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


def parse_head(text: str) -> tuple[int, ...]:
    """Return the widths of the hidden layers that `--head` names; none for "linear" and for the user's own code.

    Raises:
        RequestError: for anything but "linear", "mlp:WIDTH,WIDTH" and "python:FILE.py:FUNCTION".
    """
    if text == "linear" or is_code(text):
        return ()
    kind, _, widths = text.partition(":")
    parts = widths.split(",")
    if kind != "mlp" or not all(re.fullmatch(r"\d{1,5}", part, re.ASCII) and 1 <= int(part) <= 65536 for part in parts):
        raise RequestError(
            f"--head must be linear, mlp: with widths from 1 to 65536, or python:; got {text:.80}; try mlp:128,64"
        )
    return tuple(map(int, parts))


def build_head(
    features: int,
    classes: int,
    chance: torch.Generator,
    *,
    hidden: tuple[int, ...] = (),
    dropout: float = 0.0,
    batch_norm: bool = False,
    standardize: bool = True,
) -> nn.Sequential:
    """Return a classifier on (standardised) features.

    Args:
        features: Length of a feature vector.
        classes: Number of classes.
        chance: Used where a layer doesn't start from zero.
        hidden: Widths of hidden layers of rectified linear units.
        dropout: Probability of dropping an input of each linear layer but the first, or of the only one.
        batch_norm: BatchNorm before each rectifier.
        standardize: Standardised features and a zero start of the last layer; else torch's own start of a layer.

    Returns:
        A module that maps (N, features) to scores (N, classes).

    Raises:
        RequestError: if its coefficients would take more than a quarter of the machine's memory.

    Source: hidden layers start as He et al. (2015), "Delving Deep", eq. 10.
    """
    size = sum(before * after for before, after in pairwise((features, *hidden, classes)))
    if 4 * size > memory_limit():
        raise RequestError(f"--head must fit a quarter of memory; got {size:,} coefficients; try narrower layers")
    layers: list[nn.Module] = [Standardize(features)]
    width = features
    for units in hidden:
        linear = nn.Linear(width, units)
        with torch.no_grad():
            linear.weight.normal_(0, (2 / width) ** 0.5, generator=chance)
            linear.bias.zero_()
        layers.append(linear)
        layers += [nn.BatchNorm1d(units)] if batch_norm else []
        layers.append(nn.ReLU())
        layers += [nn.Dropout(dropout)] if dropout else []
        width = units
    if not hidden and batch_norm:
        layers.append(nn.BatchNorm1d(width))
    if not hidden and dropout:
        layers.append(nn.Dropout(dropout))
    last = nn.Linear(width, classes)
    with torch.no_grad():
        if standardize:
            last.weight.zero_()
            last.bias.zero_()
        else:
            bound = width**-0.5
            last.weight.uniform_(-bound, bound, generator=chance)
            last.bias.uniform_(-bound, bound, generator=chance)
    return nn.Sequential(*layers, last)


def build_own_head(features: int, classes: int, chance: torch.Generator, name: str) -> nn.Sequential:
    """Return the module that FUNCTION(features, classes) gives for `--head python:...`, behind the standardisation.

    Raises:
        RequestError: if it fails, or its module doesn't map (N, features) to (N, classes).
    """
    function = load_function(name)
    with torch.random.fork_rng(devices=[]), own_code(name):
        torch.manual_seed(chance.initial_seed())
        module = function(features, classes)
        if not isinstance(module, nn.Module):
            raise RequestError(f"{name} must give a torch module; got {type(module).__name__}")
        shape = tuple(module.eval()(torch.zeros(2, features)).shape)
    if shape != (2, classes):
        raise RequestError(f"{name} must give a torch module from (N, {features}) to (N, {classes}); got {shape}")
    if not any(True for _ in module.parameters()):
        raise RequestError(f"{name} must give a module with something to train; got one without parameters")
    return nn.Sequential(Standardize(features), module)


def coefficients(head: nn.Module) -> list[nn.Parameter]:
    """Return the weights that `--l2` penalises: those of linear layers, not their biases."""
    weights = (cast(nn.Parameter, module.weight) for module in head.modules() if isinstance(module, nn.Linear))
    # Layers of the user's own may share theirs.
    return list(dict.fromkeys(weights))


def penalty(head: nn.Module, l2: float) -> tuple[float, float]:
    """Return (l2/2 sum w^2, sqrt(sum w^2)) over the head's coefficients, summed in float64."""
    squares = sum(float(weight.detach().cpu().double().square().sum()) for weight in coefficients(head))
    return l2 / 2 * squares, squares**0.5
