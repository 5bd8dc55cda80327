"""What is computed: the six problems, their figures, the report. Never prints, knows no Typer and no Rich.

The front door: what stands in `EXPORTS` is loaded when it is asked for (`from cli726 import softmax, run_finetune`).
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["__version__"]

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


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("cmpt726")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
