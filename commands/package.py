"""`cmpt726 package`: the code of every problem in a zip."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import OUTPUT, Json, examples
from commands.render import emit, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.report.package import Package

EPILOG = examples("cmpt726 package", "cmpt726 package --output assignment-2.zip")


def tables(result: "Package") -> "Iterator[RenderableType]":
    """A row for each directory."""
    folders = sorted({name.partition("/")[0] for name in result.files})
    rows = []
    for folder in folders:
        inside = [name for name in result.files if name.startswith(f"{folder}/")]
        own = [name.partition("/")[2] for name in inside if name.count("/") == 1]
        rows.append((f"{folder}/", ", ".join(own), len(inside) - len(own)))
    yield table("Package", "directory", "scripts", "modules", rows=rows, numeric=2)


def package(
    output: Annotated[Path, typer.Option(metavar="FILE", help="The zip file to write.", rich_help_panel=OUTPUT)] = Path(
        "code.zip"
    ),
    as_json: Json = False,
) -> None:
    """Pack the code: a directory for each problem, with its scripts, the modules behind them, and a README.md."""
    from cli726.report.package import package as pack

    result = pack(output)
    payload = {"output": result.output, "bytes": result.size, "files": result.files}
    emit(payload, lambda: tables(result), as_json=as_json)
    if not as_json:
        print(f"wrote {result.output}")
