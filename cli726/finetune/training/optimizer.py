"""A phase's optimiser: which parameters move at which rate, under which penalty, and how the rate falls."""

from __future__ import annotations

import inspect
import math
from typing import Any, TypeVar

import torch

from cli726.finetune.config import Phase, TrainingConfig
from cli726.finetune.network.heads import coefficients
from cli726.finetune.network.resnet import Network, convolution_weights, divide

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def plain(kind: type[Kind]) -> type[Kind]:
    """Return an optimiser of torch's, the same in every number, without torch's compiler.

    torch's own import it to hide themselves from it, which takes longer than training a head: some methods at their
    first call, `step` at each. Nothing here is compiled: the plain methods do. In a version of torch that hides them
    otherwise this is without effect, and starting is slower.
    """
    for method in vars(torch.optim.Optimizer).values():
        hidden = getattr(method, "__wrapped__", None)
        if hidden is not None and not hasattr(hidden, "__dynamo_disable"):
            setattr(hidden, "__dynamo_disable", hidden)  # what it remembers as hidden: itself
    made: type[Kind] = type(f"Plain{kind.__name__}", (kind,), {"step": torch.no_grad()(inspect.unwrap(kind.step))})
    return made


def make_optimizer(
    network: Network, phase: Phase, config: TrainingConfig, batch: int, l2: float
) -> torch.optim.Optimizer:
    """Return a fresh optimiser of what the phase trains: the head's coefficients and biases, convolutions and the rest.

    The L2 penalties l2/2 sum w^2 (coefficients) and weight_decay/2 sum w^2 (convolutions) enter as their gradients;
    AdamW takes them as decoupled decay instead (Loshchilov and Hutter, 2019).
    """
    head_rate, backbone_rate = config.rates_for(phase, batch)
    _, suffix = divide(network.backbone, phase.cut)
    parts = (
        (network.head, coefficients(network.head), head_rate, l2),
        (suffix, convolution_weights(suffix), backbone_rate, config.weight_decay),
    )
    groups: list[dict[str, Any]] = []
    for module, decayed, rate, decay in parts:
        apart = {id(parameter) for parameter in decayed}
        others = [parameter for parameter in module.parameters() if id(parameter) not in apart]
        groups.append({"params": decayed, "lr": rate, "peak": rate, "weight_decay": decay})
        groups.append({"params": others, "lr": rate, "peak": rate, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        return plain(torch.optim.AdamW)(groups, betas=(config.momentum, 0.999))
    return plain(torch.optim.SGD)(
        groups, lr=head_rate, momentum=config.momentum, nesterov=config.nesterov and config.momentum > 0
    )


def rate_factor(config: TrainingConfig, phase: Phase, step: int, steps: int) -> float:
    """Return what the peak rate is multiplied with in step 0..steps-1 of a phase."""
    warmup = 0 if phase.head_only or config.schedule == "constant" else int(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(steps - warmup, 1)
    return 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
