"""The run folder: everything a run leaves behind, each file written atomically, by one process at a time."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from cache.system import read_small
from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune import parallel
from cli726.finetune.config import FinetuneConfig, Phase
from cli726.finetune.network.resnet import Network
from cli726.finetune.storage import encode_tensors, read_tensors, replace_file, sweep_parts, write_tensors
from cli726.finetune.training import PROBE, Best, EpochMetrics, Progress
from cli726.finetune.trust import Trust, network_part

__all__ = ["RunFolder", "holder", "new_run_dir", "read_checkpoint", "restore_checkpoint", "write_checkpoint"]

RUNS = Path("runs")
# A million epochs.
LARGEST_TEXT = 2**28
# Who writes a run: the lock itself can't be read while it is held. Both are there only meanwhile.
LOCK, HOLDER = ".lock", ".running"
# Somebody who looks whether a run is running holds its lock for a moment.
SHORTLY = 2


def new_run_dir(dataset: str, runs: Path = RUNS) -> Path:
    """Make `runs/DATASET-TIMESTAMP`, with a number behind it where that exists already."""
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


def write_json(path: Path, document: Any) -> None:
    """Replace the file at `path` by a JSON document."""
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    replace_file(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """Return what a JSON file of a run holds; OSError, ValueError or RecursionError where it is none."""
    return json.loads(read_small(path, LARGEST_TEXT))


def holder(path: Path) -> str | None:
    """Return which process writes a run just now; None if none does."""
    if not (path / LOCK).exists():
        return None
    try:
        with FileLock(path / LOCK, timeout=0):
            return None
    except Timeout:
        with suppress(OSError, ValueError):
            return read_small(path / HOLDER, 1000).decode() or "another process"
        return "another process"
    except OSError:  # not for us to lock
        return None


def write_checkpoint(
    path: Path, network: Network, optimizer: torch.optim.Optimizer | None, progress: Progress, facts: dict[str, Any]
) -> None:
    """Replace the checkpoint at `path`: the whole network, the optimiser, and where the run stands."""
    tensors: dict[str, Tensor] = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items() if optimizer is not None else ():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    write_tensors(path, tensors, {"progress": progress.to_json(), **facts})


def read_checkpoint(path: Path) -> tuple[Progress, dict[str, Any]]:
    """Return where the run stands, and the facts that were written with it.

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
                _, number, field_ = name.split(".", 2)
                if value.ndim and value.shape != parameters[int(number)].shape:
                    raise ValueError(f"{name} has another shape")
                state.setdefault(int(number), {})[field_] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (ValueError, IndexError, KeyError) as error:
        raise UntrustedDataError(f"{path} doesn't fit the run's optimiser ({error}); start the run again") from None


def read_history(path: Path) -> list[EpochMetrics]:
    """Return the lines of a `metrics.jsonl`; ValueError, KeyError or TypeError where they make no sense."""
    if not path.exists():
        return []
    history = [EpochMetrics(**json.loads(line)) for line in read_small(path, LARGEST_TEXT).decode().splitlines()]
    for line in history:
        needed = (line.epoch, line.train_loss, line.train_accuracy, line.lr, line.images_per_second, line.seconds)
        validated = [value for value in (line.val_loss, line.val_error) if value is not None]
        balanced = line.val_balanced_error or 0
        if (
            not all(math.isfinite(value) for value in (*needed, *validated, balanced))
            or len(validated) == 1
            or line.seconds <= 0
        ):
            raise ValueError(f"epoch {line.epoch}")
        if type(line.epoch) is not int or not isinstance(line.phase, str):
            raise TypeError(f"epoch {line.epoch}")
    return history


def agree(progress: Progress, history: Sequence[EpochMetrics], phases: Sequence[Phase]) -> bool:
    """Return whether these epochs, each in its phase and in order, lead to that point and to its best model."""
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
        and (best == (PROBE, 0) or (best in judged if judged else best is None))
    )


@dataclass
class RunFolder:
    """A run's files. Of several processes, which need not share a disk, the first one reads and writes them.

    Attributes:
        path: The folder.
        model: What `predict` needs besides the tensors: architecture, head, classes, normalisation, digests.
        history: A line for each epoch so far.
    """

    path: Path
    model: dict[str, Any] = field(default_factory=dict)
    history: list[EpochMetrics] = field(default_factory=list)

    @classmethod
    def create(cls, path: Path, config: FinetuneConfig, facts: Mapping[str, Any]) -> RunFolder:
        """Make a new run.

        Raises:
            RequestError: if the folder holds a run already.
        """
        if (path / "config.json").exists():
            raise RequestError(f"--run-dir must be a new folder; {path} holds a run; go on with it by --resume {path}")
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / "config.json", {"options": config.to_json(), **facts})
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> tuple[RunFolder, FinetuneConfig, dict[str, Any]]:
        """Return an earlier run with its configuration and facts.

        Raises:
            RequestError: if there is no run.
            UntrustedDataError: if its configuration is not one of ours.
        """
        if not (path / "config.json").is_file():
            raise RequestError(f"RUN must be a run's folder; {path} has no config.json; see `cmpt726 runs ls`")
        try:
            stored = read_json(path / "config.json")
            config = FinetuneConfig.from_json(stored.pop("options"))
            history = read_history(path / "metrics.jsonl")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise UntrustedDataError(f"{path} is not a run of ours ({error}); start a new one") from None
        return cls(path, {}, history), config, stored

    @property
    def checkpoint(self) -> Path:
        return self.path / "last.safetensors"

    @classmethod
    def open_again(cls, path: Path, code: Collection[str]) -> tuple[RunFolder, FinetuneConfig, dict[str, Any]]:
        """Return the same of a run that can be gone on with, by somebody who has typed that code.

        Raises:
            RequestError: if it is finished, was begun by 0.1.0, or names code that wasn't typed.
        """
        folder, config, facts = cls.open(path)
        if (path / "summary.json").exists():
            raise RequestError(f"--resume must name an interrupted run; {path} is finished; see {path}/summary.json")
        if "version" not in facts:
            raise RequestError(f"{path} was started by 0.1.0 with other batches and splits; start anew")
        untyped = [name for name in config.code if name not in code]
        if untyped:
            raise RequestError(
                f"{path} names code of its author's own, {untyped[0]}; code named in a file is never run: if you trust "
                "it, type that option again beside --resume"
            )
        return folder, config, facts

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing here, and leave the reason in `failed.txt` where the run fails.

        Raises:
            RequestError: if one writes here already.
        """
        if not parallel.first():
            yield
            return
        if (self.path / LOCK).is_symlink():  # a stranger's: it would be followed
            (self.path / LOCK).unlink()
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=SHORTLY)
        except Timeout:
            raise RequestError(
                f"{self.path} is written by a run that is running ({holder(self.path)}); wait for its end"
            ) from None
        try:
            sweep_parts(self.path)
            replace_file(self.path / HOLDER, f"process {os.getpid()} on {platform.node()}".encode())
            (self.path / "failed.txt").unlink(missing_ok=True)
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            with suppress(OSError):
                replace_file(self.path / "failed.txt", f"{reason}\n".encode())
            raise
        finally:
            for name in (HOLDER, LOCK):
                with suppress(OSError):  # Windows removes no file that is open
                    (self.path / name).unlink(missing_ok=True)
            lock.release()

    def read_progress(self, phases: Sequence[Phase]) -> Progress:
        """Return where the run stands; what was logged after its last checkpoint is forgotten.

        Raises:
            UntrustedDataError: if checkpoint and log can't both be of a run with these phases.
        """

        found = parallel.tell(lambda: read_checkpoint(self.checkpoint)[0] if self.checkpoint.exists() else None)
        progress = found or Progress()
        self.history = [metrics for metrics in self.history if metrics.epoch <= progress.epoch]
        if found is not None and not agree(progress, self.history, phases):
            raise UntrustedDataError(f"{self.path}: its checkpoint and metrics.jsonl disagree; start the run again")
        return progress

    def keep_best(self, network: Network, best: Best) -> None:
        """Replace best model and `model.json`; nothing is known yet of how far to trust it."""
        if parallel.first():
            self.write_model(network.state_dict(), {**self.model, "best": asdict(best)})

    def keep_trust(self, trust: Trust) -> None:
        """Write down with the best model how far to trust it."""
        if parallel.first():
            tensors, facts = read_tensors(self.path / "best.safetensors")
            self.write_model({**network_part(tensors), **trust.tensors()}, {**facts, "trust": trust.facts()})

    def write_model(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replace `best.safetensors` and `model.json`, so that a kill between the two leaves a pair that match."""
        content = encode_tensors(tensors, facts)
        stated = {**facts, "sha256": hashlib.sha256(content).hexdigest()}
        model, best = self.path / "model.json", self.path / "best.safetensors"
        before = hashlib.sha256(best.read_bytes()).hexdigest() if best.exists() else None
        write_json(model, {**stated, "previous_sha256": before})
        replace_file(best, content)
        write_json(model, stated)

    def keep_epoch(
        self, network: Network, optimizer: torch.optim.Optimizer | None, progress: Progress, metrics: EpochMetrics
    ) -> None:
        """Write an epoch's line and the checkpoint."""
        self.history.append(metrics)
        if not parallel.first():
            return
        lines = [json.dumps(line.to_json(), allow_nan=False) + "\n" for line in self.history]
        replace_file(self.path / "metrics.jsonl", "".join(lines).encode())
        # Last: whatever stands in the checkpoint has been written down before.
        write_checkpoint(self.checkpoint, network, optimizer, progress, {})

    def restore(self, network: Network, optimizer: torch.optim.Optimizer | None) -> None:
        """Load the checkpoint into the network, and into the optimiser if it is the same phase's."""
        if parallel.first():
            restore_checkpoint(self.checkpoint, network, optimizer)
        parallel.follow_first(network)
        if optimizer is not None and parallel.world() > 1:
            optimizer.load_state_dict(parallel.tell(optimizer.state_dict))

    def load_best(self, network: Network) -> None:
        """Load the best model's tensors into `network`."""
        if parallel.first():
            network.load_state_dict(network_part(read_tensors(self.path / "best.safetensors")[0]))
        parallel.follow_first(network)

    def write_lists(self, lists: Mapping[str, str]) -> None:
        """Write down what was not read of the data, and what lies there twice."""
        for file, text in lists.items() if parallel.first() else ():
            replace_file(self.path / file, text.encode())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write down that, and how, the run has finished."""
        if parallel.first():
            write_json(self.path / "summary.json", summary)
