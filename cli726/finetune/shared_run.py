"""The run folder of several processes: the first one reads and writes it, the others learn from it what it read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cli726.finetune.config import FinetuneConfig, Phase
from cli726.finetune.folder.run_folder import RunFolder, new_run_dir
from cli726.finetune.network.resnet import Network
from cli726.finetune.parallel import ALONE, Group
from cli726.finetune.training.loop import Best, EpochMetrics, Progress
from cli726.reporting import Reporter

__all__ = ["SharedRunFolder", "create_run", "open_run"]


@dataclass
class SharedRunFolder(RunFolder):
    """A run folder as each of several processes sees it; they need not share a disk."""

    group: Group = ALONE

    def progress(self, phases: Sequence[Phase]) -> Progress:
        read = super().progress
        progress, self.history = self.group.tell(lambda: (read(phases), self.history))
        return progress

    def keep_best(self, network: Network, best: Best) -> None:
        if self.group.first:
            super().keep_best(network, best)

    def keep_epoch(
        self, network: Network, optimizer: torch.optim.Optimizer | None, progress: Progress, metrics: EpochMetrics
    ) -> None:
        if self.group.first:
            super().keep_epoch(network, optimizer, progress, metrics)
        else:
            self.history.append(metrics)

    def restore(self, network: Network, optimizer: torch.optim.Optimizer | None) -> None:
        if self.group.first:
            super().restore(network, optimizer)
        self.group.follow_first(network)
        if optimizer is not None:
            optimizer.load_state_dict(self.group.tell(optimizer.state_dict))

    def load_best(self, network: Network) -> None:
        if self.group.first:
            super().load_best(network)
        self.group.follow_first(network)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        if self.group.first:
            super().write_summary(summary)


def create_run(
    path: Path | None,
    dataset: str,
    config: FinetuneConfig,
    facts: Mapping[str, Any],
    reporter: Reporter,
    group: Group,
) -> RunFolder:
    """A new run in `path`, or in a folder named after the data set.

    Raises:
        RequestError: if the folder holds a run already.
    """

    def create() -> Path:
        return RunFolder.create(path or new_run_dir(dataset), config, facts, reporter).path

    return run_folder(group.tell(create), [], reporter, group)


def open_run(path: Path, reporter: Reporter, group: Group) -> tuple[RunFolder, bool, FinetuneConfig, dict[str, Any]]:
    """An earlier run, whether it is finished, its configuration and facts.

    Raises:
        RequestError: if there is no run.
        UntrustedDataError: if its configuration is not one of ours.
    """

    def read() -> tuple[list[EpochMetrics], bool, FinetuneConfig, dict[str, Any]]:
        folder, config, facts = RunFolder.open(path, reporter)
        return folder.history, folder.finished, config, facts

    history, finished, config, facts = group.tell(read)
    return run_folder(path, history, reporter, group), finished, config, facts


def run_folder(path: Path, history: list[EpochMetrics], reporter: Reporter, group: Group) -> RunFolder:
    if group.world == 1:
        return RunFolder(path, reporter, {}, history)
    return SharedRunFolder(path, reporter, {}, history, group)
