"""torch's optimisers without torch's compiler, whose import takes longer than training a head: one to two seconds.

They import it to hide themselves from it: some methods at their first call, `step` at each. Nothing here is compiled:
the plain methods do. In a version of torch that hides them otherwise this is without effect, and starting is slower.
"""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

__all__ = ["plain"]

Kind = TypeVar("Kind", bound=Optimizer)


def plain(kind: type[Kind]) -> type[Kind]:
    """An optimiser of torch's, the same in every number."""
    for method in vars(Optimizer).values():
        hidden = getattr(method, "__wrapped__", None)
        if hidden is not None and not hasattr(hidden, "__dynamo_disable"):
            setattr(hidden, "__dynamo_disable", hidden)  # what it remembers as hidden: itself
    made: type[Kind] = type(f"Plain{kind.__name__}", (kind,), {"step": torch.no_grad()(inspect.unwrap(kind.step))})
    return made
