"""Options that several commands share, so that they read and behave alike.

Where options stand, annotations are objects: Typer evaluates strings three times over, for every command at each start.
"""

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperCommand, TyperOption

from cli726.finetune.options import Described, described, spelling
from cli726.text import typed_path
from commands import completion

OUTPUT = "Output"


class Command(TyperCommand):
    """A command that refuses a second value of an option that takes one; Typer would silently take the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = args[: args.index("--")] if "--" in args else args
        for param in self.params:
            if isinstance(param, TyperOption) and not (param.multiple or param.is_flag or param.count):
                given = [word for word in words if word.partition("=")[0] in param.opts]
                if len(given) > 1:
                    raise typer.BadParameter(f"it takes one value; got {len(given)}; give it once", ctx, param)
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """A Typer application or group of such commands."""

    def command(self, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
        return super().command(*arguments, **{"cls": Command, **options})


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
        parser=typed_path,
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


def typer_option(name: str, field: Described) -> tuple[Any, Any]:
    """Return a field of a configuration as Typer takes an option: its annotation and its default."""
    option = field.option
    if option is None:
        raise ValueError(f"{name} is no option")
    kind, default, metavar = field.kind, field.default, option.metavar
    if field.choices:
        kind, metavar = str, "|".join(field.choices)
    elif typing.get_origin(kind) is tuple:
        kind, default = list[float], None
    complete = completion.one_of(*field.choices) if field.choices else getattr(completion, option.complete or "", None)
    flag = option.flags or spelling(name) if kind is bool else spelling(name)
    told = typer.Option(
        flag, help=option.help, metavar=metavar, autocompletion=complete, rich_help_panel=option.panel
    )  # fmt: skip
    optional = field.optional or default is None
    return Annotated[kind | None if optional else kind, told], default


Function: TypeAlias = Callable[..., None]


def configured(configuration: type[Any], panels: tuple[str, ...]) -> Callable[[Function], Function]:
    """Give a command the options of a configuration; those that were typed reach it together, as its argument `typed`.

    Args:
        configuration: A dataclass whose fields describe themselves (`cli726.finetune.options`).
        panels: The order in which `--help` lists them.
    """
    fields = {name: field for name, field in described(configuration).items() if field.option is not None}

    def order(item: tuple[str, Described]) -> tuple[int, bool]:
        """Sort by panel; the configuration's own options before inherited ones."""
        name, field = item
        return panels.index(field.option.panel) if field.option else 0, name not in configuration.__annotations__

    def options() -> Iterator[inspect.Parameter]:
        for name, field in sorted(fields.items(), key=order):
            annotation, default = typer_option(name, field)
            yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    def decorate(function: Function) -> Function:
        own = [item for item in inspect.signature(function).parameters.values() if item.name != "typed"]
        own = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

        @wraps(function)
        def run(context: typer.Context, **values: Any) -> None:
            own_values = {name: value for name, value in values.items() if name not in fields}
            function(typed_options(context, fields), **own_values)

        parameters = [context, *options(), *own]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in parameters}
        return run

    return decorate


def typed_options(context: typer.Context, names: Iterable[str]) -> dict[str, Any]:
    """Return those options that stood on the command line, with their values."""
    values = {}
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            value = context.params[name]
            values[name] = tuple(value) if isinstance(value, list) else value
    return values
