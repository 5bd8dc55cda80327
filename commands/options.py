"""Options that several commands share, so that they read and behave alike.

Where options stand, annotations are objects: Typer evaluates strings three times over, for every command at each start.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

OUTPUT = "Output"


class FigureFormat(StrEnum):
    """File formats for figures."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document with the same numbers, unrounded.", rich_help_panel=OUTPUT),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder for the figures (default: results/COMMAND; with --json none unless given).",
        rich_help_panel=OUTPUT,
    ),
]
Format = Annotated[FigureFormat, typer.Option("--format", help="File format of the figures.", rich_help_panel=OUTPUT)]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Draw nothing.", rich_help_panel=OUTPUT)]
Show = Annotated[bool, typer.Option("--show", help="Open the figures in the system's viewer.", rich_help_panel=OUTPUT)]
Extent = Annotated[
    str | None,
    typer.Option(
        "--extent",
        metavar="E",
        help="Draw from -E to E on both axes (default: chosen to show what matters).",
        rich_help_panel=OUTPUT,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, max=2**63 - 1, help="Same seed, same machine: same numbers.")
]


def examples(*commands: str) -> str:
    """The epilog of a command's help: examples that run as printed."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  [cyan]$[/cyan] {command}" for command in commands)])
