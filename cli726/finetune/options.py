"""Options described once, on the fields of a configuration: help, limits and choices, for the command line and Python.

Standard library only: commands take their options from here.
"""

from __future__ import annotations

import dataclasses
import operator
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

from cli726.errors import did_you_mean

NOUNS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


@dataclass(frozen=True)
class Option:
    """What a field says of itself.

    Attributes:
        help: One sentence that a stranger understands alone.
        panel: Where `--help` lists it.
        low, above: The least value: included, or not.
        high, below: The largest value: included, or not.
        metavar: What stands for its value in help; by default its type, or its choices.
        complete: What the shell offers: a name in `commands.completion`.
        flags: The spelling, where it isn't `--name`, as in "--cache/--no-cache".
    """

    help: str
    panel: str
    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    metavar: str | None = None
    complete: str | None = None
    flags: str | None = None

    @property
    def bounds(self) -> list[tuple[str, Callable[[float, float], bool], float]]:
        """Return the limits: in words, as a comparison, and where they are."""
        stated = (
            ("at least", operator.ge, self.low), ("above", operator.gt, self.above),
            ("at most", operator.le, self.high), ("below", operator.lt, self.below),
        )  # fmt: skip
        return [(words, holds, bound) for words, holds, bound in stated if bound is not None]

    @property
    def rule(self) -> str:
        """Return the limits in words; empty without any."""
        return " and ".join(f"{words} {bound:g}" for words, _, bound in self.bounds)

    def admits(self, value: float) -> bool:
        """Tell whether a number lies within the limits; nan lies within none."""
        return all(holds(value, bound) for _, holds, bound in self.bounds)


def option(default: Any, help: str, panel: str, **rest: Any) -> Any:
    """Return a dataclass's field that is an option of the command line; `rest` as in `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(help, panel, **rest)})


@dataclass(frozen=True)
class Described:
    """A field of a configuration.

    Attributes:
        kind: Its type, without None.
        optional: Whether None is a value.
        choices: The values of a `Literal`; empty for other types.
        option: Its description; None for a field that only presets and Python set.
        default: Its default.
    """

    kind: Any
    optional: bool
    choices: tuple[str, ...]
    option: Option | None
    default: Any


def described(configuration: type[Any]) -> dict[str, Described]:
    """Return the fields of a configuration by name, in their order, without those that can't be chosen."""
    result = {}
    for field in dataclasses.fields(configuration):
        union = typing.get_origin(field.type) in (types.UnionType, typing.Union)
        parts = typing.get_args(field.type) if union else (field.type,)
        kind = next(part for part in parts if part is not type(None))
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        if field.init:
            option = field.metadata.get("option")
            result[field.name] = Described(kind, type(None) in parts, choices, option, field.default)
    return result


def spelling(name: str) -> str:
    """Return the option that sets a field."""
    return "--" + name.replace("_", "-")


def fits(value: Any, field: Described) -> bool:
    """Tell whether a value is of a field's type: nothing is converted, but a whole number is a number."""
    if value is None:
        return field.optional
    if field.choices:
        return isinstance(value, str)
    if typing.get_origin(field.kind) is tuple:
        return isinstance(value, tuple) and all(type(part) in (int, float) for part in value)
    return type(value) is field.kind or (type(value) is int and field.kind is float)


def broken_rules(configuration: Any) -> Iterator[str]:
    """Yield a message for each field whose value is of another type, none of the choices or beyond the limits."""
    for name, field in described(type(configuration)).items():
        value = getattr(configuration, name)
        if not fits(value, field):
            yield f"{spelling(name)} must be {NOUNS.get(field.kind, 'a list of numbers')}; got {value!r}"
        elif field.choices and value is not None and value not in field.choices:
            near = did_you_mean(value, field.choices)
            yield f"{spelling(name)} must be one of {', '.join(field.choices)}; got {value}{near}"
        elif field.option is not None and field.option.rule and value is not None:
            values = value if isinstance(value, tuple) else (value,)
            wrong = [part for part in values if not field.option.admits(part)]
            if wrong or not values:
                got = ", ".join(map(str, wrong)) or "none"
                yield f"{spelling(name)} must be {field.option.rule}; got {got}"


def completed(configuration: type[Any]) -> type[Any]:
    """Let a configuration fill what isn't given from its preset, and from other options that say what is usual."""
    plain: Callable[..., None] = configuration.__init__

    @wraps(plain)
    def initialize(self: Any, **given: Any) -> None:
        plain(self, **configuration.usual(given), **given)

    configuration.__init__ = initialize
    return configuration
