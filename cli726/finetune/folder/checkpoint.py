"""The checkpoint at an epoch's end: whole network, optimiser, and where the run stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cli726.errors import UntrustedDataError
from cli726.finetune.folder.storage import read_tensors, write_tensors
from cli726.finetune.network.resnet import Network
from cli726.finetune.training.loop import Progress

__all__ = ["read_checkpoint", "restore_checkpoint", "write_checkpoint"]


def write_checkpoint(
    path: Path, network: Network, optimizer: torch.optim.Optimizer | None, progress: Progress, facts: dict[str, Any]
) -> None:
    """Replace the checkpoint at `path`."""
    tensors: dict[str, Tensor] = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    states = {} if optimizer is None else optimizer.state_dict()["state"]
    for number, state in states.items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    write_tensors(path, tensors, {"progress": progress.to_json(), **facts})


def read_checkpoint(path: Path) -> tuple[Progress, dict[str, Any]]:
    """Where the run stands, and the facts that were written with it.

    Raises:
        UntrustedDataError: if the file is not a checkpoint of ours.
    """
    _, facts = read_tensors(path)
    try:
        return Progress.from_json(facts["progress"]), facts
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UntrustedDataError(f"{path} is no checkpoint of a run ({error}); start the run again") from None


def restore_checkpoint(path: Path, network: Network, optimizer: torch.optim.Optimizer | None) -> None:
    """Load network and, if it is the same phase's, optimiser.

    Raises:
        UntrustedDataError: if they are another run's.
    """
    tensors, _ = read_tensors(path)
    own = {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise UntrustedDataError(f"{path} doesn't fit the run's network ({error}); start the run again") from None
    if optimizer is None:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, field = name.split(".", 2)
                if value.ndim and value.shape != parameters[int(number)].shape:
                    raise ValueError(f"{name} has another shape")
                state.setdefault(int(number), {})[field] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (ValueError, IndexError, KeyError) as error:
        raise UntrustedDataError(f"{path} doesn't fit the run's optimiser ({error}); start the run again") from None
