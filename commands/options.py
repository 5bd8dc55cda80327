"""Options that several commands share, so that they read and behave alike.

Where options stand, annotations are objects: Typer evaluates strings three times over, for every command at each start.
"""

import copy
import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer
from typer.core import TyperCommand, TyperOption

from cli726.errors import RequestError, did_you_mean
from cli726.finetune.options import NOUNS, Described, described, spelling
from cli726.text import typed_path
from commands import completion

OUTPUT, MODEL = "Output", "Model and points"
# Of a wrong value, so much is repeated.
LONGEST_VALUE = 60
Function: TypeAlias = Callable[..., Any]
FigureFormat: TypeAlias = Literal["png", "svg", "pdf"]


def option(help: str, metavar: str | None = None, panel: str | None = None, *flags: str, **more: Any) -> Any:
    """Return an option in a panel of the help."""
    return typer.Option(*flags, help=help, metavar=metavar, rich_help_panel=panel, **more)


def path_option(help: str, metavar: str, panel: str | None = None, *flags: str, **more: Any) -> Any:
    """Return an option that takes a path as somebody typed it."""
    return option(help, metavar, panel, *flags, parser=typed_path, **more)


DOCUMENT = "Print one JSON document with the same numbers, unrounded."
Json = Annotated[bool, option(DOCUMENT, None, OUTPUT, "--json")]
FOLDER = "Folder for the figures (default: results/COMMAND; with --json none unless given)."
Out = Annotated[Path | None, path_option(FOLDER, "DIR", OUTPUT, "--out")]
Format = Annotated[FigureFormat, option("File format of the figures.", None, OUTPUT, "--format")]
NoFigures = Annotated[bool, option("Draw nothing.", None, OUTPUT, "--no-figures")]
Show = Annotated[bool, option("Open the figures in the system's viewer.", None, OUTPUT, "--show")]
AXES = "Draw from -E to E on both axes (default: chosen to show what matters)."
Extent = Annotated[str | None, option(AXES, "E", OUTPUT, "--extent")]
At = Annotated[tuple[str, str] | None, option("Also what holds at this point.", "X1 X2", MODEL)]
RUN = "A run's folder, its name in runs/, or latest."
RunName = Annotated[str, typer.Argument(metavar="RUN", help=RUN, autocompletion=completion.finished_runs)]
OWN_HEAD = "The run's head, where it is code of your own."
OwnHead = Annotated[str | None, option(OWN_HEAD, "python:FILE.py:FUNCTION", None, "--head")]
SAME = "Same seed, same machine: same numbers."
Seed = Annotated[int, option(SAME, "N", None, "--seed", min=0, max=2**63 - 1)]


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
    """A Typer application or group of such commands, whose numbers and choices `checked` reads."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"no_args_is_help": True, "rich_markup_mode": "rich", **settings})

    def command(self, *arguments: Any, **settings: Any) -> Callable[[Any], Any]:
        register = super().command(*arguments, **{"cls": Command, **settings})

        def decorate(function: Function) -> Function:
            asked = inspect.signature(function).parameters.values()
            sign(function, [item.replace(annotation=checked(item.name, item.annotation)) for item in asked])
            return register(function)

        return decorate


def examples(*commands: str) -> str:
    """Return the epilog of a command's help: examples that run as printed."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  [cyan]$[/cyan] {command}" for command in commands)])


def sign(function: Function, parameters: Sequence[inspect.Parameter]) -> None:
    """Give a function the parameters that Typer is to see."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {item.name: item.annotation for item in parameters}


def checked(name: str, annotation: Any) -> Any:
    """Return an option's annotation with a parser of ours, where it takes a number or one of several words.

    What Typer itself says of a wrong one are pydantic's sentences.
    """
    info = next((part for part in typing.get_args(annotation)[1:] if isinstance(part, typer.models.OptionInfo)), None)
    if info is None:
        return annotation
    kind = typing.get_args(annotation)[0]
    inner = leaf(kind)
    # Within Annotated the first spelling stands where a default would.
    option = info.default if isinstance(info.default, str) else spelling(name)
    info = copy.copy(info)
    if inner in (int, float):
        info.parser = number(option, inner, info.min, info.max)
        info.min = info.max = None
    elif isinstance(inner, type) and issubclass(inner, Enum):
        offer(info, option, [str(member.value) for member in inner], inner)
    elif typing.get_origin(inner) is Literal:
        offer(info, option, typing.get_args(inner), str)
    return Annotated[kind, info]


def leaf(kind: Any) -> Any:
    """Return the type of one value: that of `kind` without None and the list around it."""
    if typing.get_origin(kind) in (None, Literal, tuple):
        return kind
    return leaf(next(part for part in typing.get_args(kind) if part is not type(None)))


def offer(info: Any, option: str, choices: Sequence[str], kind: Callable[[str], Any]) -> None:
    """Let an option take one of several words: in help, after TAB, and when it is read."""

    def parse(text: str) -> Any:
        if text in choices:
            return kind(text)
        near = did_you_mean(text, choices)
        raise RequestError(f"{option} must be one of {', '.join(choices)}; got {text[:LONGEST_VALUE]}{near}")

    info.metavar, info.autocompletion, info.parser = "|".join(choices), completion.one_of(*choices), parse


def number(option: str, kind: type[int] | type[float], low: float | None, high: float | None) -> Callable[[str], Any]:
    """Return a parser of numbers within limits."""
    limits = "" if low is None else f", at least {low}" if high is None else f" from {low} to {high}"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or (low is not None and value < low) or (high is not None and value > high):
            raise RequestError(f"{option} must be {NOUNS[kind]}{limits}; got {str(text)[:LONGEST_VALUE] or repr(text)}")
        return value

    return parse


def typer_option(name: str, field: Described) -> tuple[Any, Any]:
    """Return a field of a configuration as Typer takes an option: its annotation and its default."""
    option = field.option
    assert option is not None
    kind, default, metavar = field.kind, field.default, option.metavar
    if field.choices:  # read as text: the configuration tells all that is wrong with it at once
        kind, metavar = str, "|".join(field.choices)
    elif typing.get_origin(kind) is tuple:
        kind, default = list[float], None
    complete = completion.one_of(*field.choices) if field.choices else getattr(completion, option.complete or "", None)
    flag = option.flags or spelling(name)
    told = typer.Option(
        flag, help=option.help, metavar=metavar, autocompletion=complete, rich_help_panel=option.panel
    )  # fmt: skip
    return Annotated[kind | None if field.optional or default is None else kind, told], default


def configured(
    configuration: type[Any], panels: tuple[str, ...], only: Sequence[str] = ()
) -> Callable[[Function], Function]:
    """Give a command the options of a configuration; those that were typed reach it together, as its argument `typed`.

    Args:
        configuration: A dataclass whose fields describe themselves (`cli726.finetune.options`).
        panels: The order in which `--help` lists them.
        only: The fields to take; all of them where none is named.
    """
    every = {name: field for name, field in described(configuration).items() if field.option is not None}
    fields = {name: field for name, field in every.items() if name in (only or every)}

    def order(name: str) -> tuple[int, bool]:
        """Sort by panel; the configuration's own options before inherited ones."""
        option = fields[name].option
        return panels.index(option.panel) if option else 0, name not in configuration.__annotations__

    def decorate(function: Function) -> Function:
        @wraps(function)
        def run(context: typer.Context, **values: Any) -> None:
            own = {name: value for name, value in values.items() if name not in fields}
            function(typed_options(context, fields), **own)

        parameters = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
        for name in sorted(fields, key=order):
            kind, default = typer_option(name, fields[name])
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
        own = [item for item in inspect.signature(function).parameters.values() if item.name != "typed"]
        sign(run, parameters + [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own])
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
