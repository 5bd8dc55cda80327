"""The run folder: everything a run leaves behind, each file written atomically."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cache.system import read_small
from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune import parallel
from cli726.finetune.config import FinetuneConfig, Phase
from cli726.finetune.folder.checkpoint import read_checkpoint, restore_checkpoint, write_checkpoint
from cli726.finetune.folder.storage import encode_tensors, read_tensors, replace_file, sweep_parts
from cli726.finetune.network.resnet import Network
from cli726.finetune.training.loop import Best, EpochMetrics, Progress
from cli726.reporting import Reporter

__all__ = ["RunFolder", "create_run", "new_run_dir", "open_run"]

RUNS = Path("runs")
# A million epochs.
LARGEST_TEXT = 2**28


def new_run_dir(dataset: str, runs: Path = RUNS) -> Path:
    """`runs/DATASET-TIMESTAMP`, with a number behind it where that exists already."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in dataset).strip(".-") or "data"
    stem = f"{safe}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (runs / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 10_000))
    for path in candidates:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise RequestError(f"{runs} must have room for another run; it has thousands of this second; use --run-dir")


def to_bytes(document: Any) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def read_history(path: Path) -> list[EpochMetrics]:
    """The lines of a `metrics.jsonl`; ValueError, KeyError or TypeError where they make no sense."""
    if not path.exists():
        return []
    history = [EpochMetrics(**json.loads(line)) for line in read_small(path, LARGEST_TEXT).decode().splitlines()]
    for line in history:
        needed = (line.epoch, line.train_loss, line.train_accuracy, line.lr, line.images_per_second, line.seconds)
        validated = [value for value in (line.val_loss, line.val_error) if value is not None]
        if not all(math.isfinite(value) for value in (*needed, *validated)) or len(validated) == 1 or line.seconds <= 0:
            raise ValueError(f"epoch {line.epoch}")
        if type(line.epoch) is not int or not isinstance(line.phase, str):
            raise TypeError(f"epoch {line.epoch}")
    return history


def agree(progress: Progress, history: Sequence[EpochMetrics], phases: Sequence[Phase]) -> bool:
    """Whether these epochs, each in its phase and in order, lead to that point, with a best model if one was judged."""
    spans = {phase.name: range(phase.first, phase.last + 1) for phase in phases}
    epochs = [line.epoch for line in history]
    judged = {(line.phase, line.epoch) for line in history if line.val_error is not None}
    over = {phase.name for phase in phases if phase.last <= progress.epoch}
    best = progress.best and (progress.best.phase, progress.best.epoch)
    return (
        all(line.epoch in spans.get(line.phase, ()) for line in history)
        and epochs == sorted(set(epochs))
        and epochs[-1:] == [progress.epoch]
        and over <= {name for name, _ in judged}
        and (best in judged if judged else best is None)
    )


@dataclass
class RunFolder:
    """Writes a run's files; a `Keeper` of the training loop.

    Attributes:
        path: The folder.
        model: What `predict` needs besides the tensors: architecture, head, classes, normalisation, digests.
        history: A line for each epoch so far.
    """

    path: Path
    reporter: Reporter
    model: dict[str, Any]
    history: list[EpochMetrics]

    @classmethod
    def create(cls, path: Path, config: FinetuneConfig, facts: Mapping[str, Any], reporter: Reporter) -> RunFolder:
        """A new run.

        Raises:
            RequestError: if the folder holds a run already.
        """
        if (path / "config.json").exists():
            raise RequestError(f"--run-dir must be a new folder; {path} holds a run; go on with it by --resume {path}")
        path.mkdir(parents=True, exist_ok=True)
        replace_file(path / "config.json", to_bytes({"options": config.to_json(), **facts}))
        return cls(path, reporter, {}, [])

    @classmethod
    def open(cls, path: Path, reporter: Reporter) -> tuple[RunFolder, FinetuneConfig, dict[str, Any]]:
        """An earlier run with its configuration and facts, to resume.

        Raises:
            RequestError: if there is no run.
            UntrustedDataError: if its configuration is not one of ours.
        """
        if not (path / "config.json").is_file():
            raise RequestError(f"--resume must name a run's folder; {path} has no config.json; see `cmpt726 runs ls`")
        try:
            stored = json.loads(read_small(path / "config.json", LARGEST_TEXT))
            config = FinetuneConfig.from_json(stored.pop("options"))
            history = read_history(path / "metrics.jsonl")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise UntrustedDataError(f"{path} is not a run of ours ({error}); start a new one") from None
        sweep_parts(path)
        return cls(path, reporter, {}, history), config, stored

    @property
    def checkpoint(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def finished(self) -> bool:
        return (self.path / "summary.json").exists()

    def progress(self, phases: Sequence[Phase]) -> Progress:
        """Where the run stands; what was logged after its last checkpoint is forgotten.

        Raises:
            UntrustedDataError: if checkpoint and log can't both be of a run with these phases.
        """

        def read() -> tuple[Progress, list[EpochMetrics]]:
            if not self.checkpoint.exists():
                return Progress(), []
            progress, _ = read_checkpoint(self.checkpoint)
            history = [metrics for metrics in self.history if metrics.epoch <= progress.epoch]
            if not agree(progress, history, phases):
                raise UntrustedDataError(f"{self.path}: its checkpoint and metrics.jsonl disagree; start the run again")
            return progress, history

        progress, self.history = parallel.tell(read)
        return progress

    def keep_best(self, network: Network, best: Best) -> None:
        """Replace best model and `model.json`, so that a kill between the two leaves a pair that match."""
        if not parallel.first():
            return
        facts = {**self.model, "best": asdict(best)}
        content = encode_tensors(network.state_dict(), facts)
        stated = {**facts, "sha256": hashlib.sha256(content).hexdigest()}
        model, tensors = self.path / "model.json", self.path / "best.safetensors"
        before = hashlib.sha256(tensors.read_bytes()).hexdigest() if tensors.exists() else None
        replace_file(model, to_bytes({**stated, "previous_sha256": before}))
        replace_file(tensors, content)
        replace_file(model, to_bytes(stated))

    def keep_epoch(
        self, network: Network, optimizer: torch.optim.Optimizer | None, progress: Progress, metrics: EpochMetrics
    ) -> None:
        self.history.append(metrics)
        if not parallel.first():
            return
        lines = [json.dumps(asdict(line), allow_nan=False) + "\n" for line in self.history]
        replace_file(self.path / "metrics.jsonl", "".join(lines).encode())
        # Last: whatever stands in the checkpoint has been written down before.
        write_checkpoint(self.checkpoint, network, optimizer, progress, {})
        validated = "" if metrics.val_error is None else f", validation error {metrics.val_error:.2%}"
        star = " *" if progress.best is not None and progress.best.epoch == metrics.epoch else ""
        self.reporter.say(
            f"epoch {metrics.epoch:>3} {metrics.phase:<7} loss {metrics.train_loss:.4f}{validated}, "
            f"{metrics.images_per_second:,.0f} images/s{star}"
        )

    def restore(self, network: Network, optimizer: torch.optim.Optimizer | None) -> None:
        if parallel.first():
            restore_checkpoint(self.checkpoint, network, optimizer)
        parallel.follow_first(network)
        if optimizer is not None:
            optimizer.load_state_dict(parallel.tell(optimizer.state_dict))

    def load_best(self, network: Network) -> None:
        """The best model's tensors into `network`."""
        if parallel.first():
            network.load_state_dict(read_tensors(self.path / "best.safetensors")[0])
        parallel.follow_first(network)

    def write_lists(self, lists: Mapping[str, str]) -> None:
        """Write down what was not read of the data, and what lies there twice."""
        for file, text in lists.items() if parallel.first() else ():
            replace_file(self.path / file, text.encode())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        if parallel.first():
            replace_file(self.path / "summary.json", to_bytes(summary))


def create_run(
    path: Path | None, dataset: str, config: FinetuneConfig, facts: Mapping[str, Any], reporter: Reporter
) -> RunFolder:
    """A new run in `path`, or in a folder named after the data set."""
    made = parallel.tell(lambda: RunFolder.create(path or new_run_dir(dataset), config, facts, reporter).path)
    return RunFolder(made, reporter, {}, [])


def open_run(path: Path, reporter: Reporter) -> tuple[RunFolder, bool, FinetuneConfig, dict[str, Any]]:
    """An earlier run, whether it is finished, its configuration and facts."""

    def read() -> tuple[list[EpochMetrics], bool, FinetuneConfig, dict[str, Any]]:
        folder, config, facts = RunFolder.open(path, reporter)
        return folder.history, folder.finished, config, facts

    history, finished, config, facts = parallel.tell(read)
    return RunFolder(path, reporter, {}, history), finished, config, facts
