"""`--out`, `--format`, `--no-figures` and `--show`: the same for every command that draws."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cli726.errors import RequestError
from commands.options import FigureFormat, Format, Json, NoFigures, Out, Show, sign
from commands.render import document, emit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cli726.document import Document

Figures: TypeAlias = Mapping[str, Callable[[], "Figure"]]


def draw(
    figures: Figures | Callable[[], Figures],
    command: str,
    *,
    out: Path | None,
    format: FigureFormat,
    no_figures: bool,
    show: bool,
    as_json: bool,
) -> list[Path]:
    """Draw each figure into `out` (default `results/COMMAND`) and return the paths, in order.

    Args:
        figures: File stem -> a function that makes the figure; called only if it is to be drawn. Or a function that
            gives these, so that even its imports happen only then.
        command: Names the default folder.
        out, format, no_figures, show, as_json: The command's options; `--json` draws only where `--out` is given.
    """
    if no_figures or (as_json and out is None):
        return []
    from cli726.drawing import save, styled

    folder = Path("results", command) if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise RequestError(f"figures need a folder, and {folder} can't be one; choose another with --out") from error
    paths = []
    for stem, make in (figures() if callable(figures) else figures).items():
        path = folder / f"{stem}.{format}"
        with styled():
            figure = make()
        save(figure, path)
        paths.append(path)
    if show:
        import typer

        for path in paths:
            typer.launch(str(path))
    return paths


@dataclass(frozen=True)
class Output:
    """Where a result goes: the screen or JSON, and the folder of its figures."""

    command: str
    out: Path | None
    format: FigureFormat
    no_figures: bool
    show: bool
    as_json: bool

    def present(self, payload: Any, content: Document, figures: Figures | Callable[[], Figures] | None = None) -> None:
        """Draw the figures, then print the result.

        Args:
            payload: A dataclass or mapping; what `--json` prints, unrounded.
            content: What a person reads.
            figures: As `draw` takes them; None to draw none.
        """
        paths = draw(
            figures or {}, self.command, out=self.out, format=self.format, no_figures=self.no_figures or not figures,
            show=self.show, as_json=self.as_json,
        )  # fmt: skip
        emit(payload, lambda: document(content), as_json=self.as_json, figures=paths)


OPTIONS = {
    "as_json": (Json, False),
    "out": (Out, None),
    "format": (Format, "png"),
    "no_figures": (NoFigures, False),
    "show": (Show, False),
}


def drawing(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the five options of drawing; they reach it together, as its argument `output`.

    Args:
        command: Names the default folder, results/COMMAND.
    """

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
