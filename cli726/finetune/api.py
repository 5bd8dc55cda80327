"""Fine-tuning from Python, with the options of the command line by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli726.finetune.config import FinetuneConfig
from cli726.finetune.result import Finetuned
from cli726.finetune.run import finetune
from cli726.reporting import Reporter

__all__ = ["run_finetune"]


def run_finetune(*, run_dir: str | Path | None = None, reporter: Reporter | None = None, **options: Any) -> Finetuned:
    """Run `cmpt726 finetune` from Python.

    Args:
        run_dir: Where the run is written; by default runs/DATASET-TIMESTAMP.
        options: Those of the command line by their names, as `FinetuneConfig` takes them: dataset="folder:PHOTOS",
            epochs=20, unfreeze_after="5", cache=True.

    Raises:
        RequestError, UntrustedDataError, EnvironmentFailure, ComputationError: see `cli726.errors`.
    """
    return finetune(FinetuneConfig(**options), None if run_dir is None else Path(run_dir), reporter=reporter)
