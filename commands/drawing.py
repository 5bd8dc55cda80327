"""`--out`, `--format`, `--no-figures` and `--show`: the same for every command that draws."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from cli726.errors import RequestError
from commands.options import FigureFormat, Format, Json, NoFigures, Out, Show, sign
from commands.render import document, emit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cli726.document import Document

# File stem -> a function that makes the figure.
Figures: TypeAlias = Mapping[str, Callable[[], "Figure"]]


@dataclass(frozen=True)
class Output:
    """Where a result goes: the screen or JSON, and the folder of its figures, results/COMMAND by default."""

    command: str
    as_json: bool
    out: Path | None
    format: FigureFormat
    no_figures: bool
    show: bool

    def present(self, payload: Any, content: Document, figures: Callable[[], Figures] | None = None) -> None:
        """Draw the figures, then print the result.

        Args:
            payload: A dataclass or mapping; what `--json` prints, unrounded.
            content: What a person reads.
            figures: Called only if they are to be drawn, so that even its imports happen only then; None to draw none.
        """
        wanted = not self.no_figures and (self.out is not None or not self.as_json)
        paths = self.draw(figures()) if figures and wanted else []
        emit(payload, lambda: document(content), as_json=self.as_json, figures=paths)

    def draw(self, figures: Figures) -> list[Path]:
        """Draw each figure into the folder, and return the paths in order."""
        from cli726.drawing import draw_all

        folder = Path("results", self.command) if self.out is None else self.out
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
            message = f"figures need a folder, and {folder} can't be one; choose another with --out"
            raise RequestError(message) from error
        paths = draw_all(figures, folder, self.format)
        for path in paths if self.show else ():
            typer.launch(str(path))
        return paths


OPTIONS = {
    "as_json": (Json, False),
    "out": (Out, None),
    "format": (Format, "png"),
    "no_figures": (NoFigures, False),
    "show": (Show, False),
}


def drawing(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the five options of drawing; they reach it together, as its argument `output`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [item for item in inspect.signature(function).parameters.values() if item.name != "output"]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in OPTIONS.items()
        ]

        @wraps(function)
        def run(**values: Any) -> None:
            output = Output(command, **{name: values.pop(name) for name in OPTIONS})
            function(**values, output=output)

        sign(run, [*own, *shared])
        return run

    return decorate
