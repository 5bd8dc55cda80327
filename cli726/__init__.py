"""What is computed: the six problems, their figures, the report. Never prints, knows no Typer and no Rich.

The front door: what stands in `EXPORTS` is loaded when it is asked for (`from cli726 import softmax, run_finetune`).
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Each name and the module that has it, under another name where one is given. The six problems are modules:
# `from cli726 import softmax`.
EXPORTS = {
    "Document": "cli726.document",
    "Explanation": "cli726.finetune.explain",
    "Finding": "cli726.document",
    "FinetuneConfig": "cli726.finetune.config",
    "Finetuned": "cli726.finetune.result",
    "Model": "cli726.finetune.predict",
    "Prediction": "cli726.finetune.predict",
    "RequestError": "cli726.errors",
    "Table": "cli726.document",
    "build_report": "cli726.report.builder:build",
    "explain": "cli726.finetune.explain",
    "find_run": "cli726.finetune.folder.runs",
    "list_runs": "cli726.finetune.folder.runs",
    "load_model": "cli726.finetune.predict",
    "predict": "cli726.finetune.predict",
    "run_finetune": "cli726.finetune.api",
}
__all__ = ["EXPORTS", "__version__", *EXPORTS]

# Where our three packages lie side by side.
ROOT = Path(__file__).resolve().parent.parent


def require_own(package: str) -> None:
    """Raise where a module of somebody else's stands in for one of our packages.

    Raises:
        ImportError: naming the file in the way, and what to do about it.
    """
    loaded = sys.modules.get(package)
    spec = find_spec(package) if loaded is None else loaded.__spec__
    found = spec.origin if spec is not None else getattr(loaded, "__file__", None)
    if found is None or Path(found).resolve() != ROOT / package / "__init__.py":
        raise ImportError(
            f"cmpt726 needs its own package `{package}`, and {found or 'another one'} hides it; rename that file, or "
            "work in another folder"
        )


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Importing it takes 5 % of --help's time.
        return importlib.import_module("importlib.metadata").version("cmpt726")
    if name in EXPORTS:
        module, _, attribute = EXPORTS[name].partition(":")
        return getattr(importlib.import_module(module), attribute or name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
