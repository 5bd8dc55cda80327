"""`--out`, `--format`, `--no-figures` and `--show`: the same for every command that draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cli726.errors import RequestError
from commands.options import FigureFormat

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    from cli726.figures.saving import save
    from cli726.figures.style import styled

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
