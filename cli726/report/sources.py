"""The code of each problem: its scripts, and every module that they reach."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

__all__ = ["GIVEN", "PROBLEMS", "Source", "library", "scripts"]

PROBLEMS = (1, 2, 3, 4, 5, 6)
# The network of problem 6 was given; what was added to it is what is handed in.
GIVEN = "cli726/finetune/network/resnet.py"
PACKAGES = ("cli726", "cache")
LANGUAGES = {".py": "python", ".md": "md", ".js": "js", ".j2": "html"}


@dataclass(frozen=True)
class Source:
    """One file of code.

    Attributes:
        path: Where it belongs, with slashes.
        language: What it is written in, as syntax highlighters call it.
        text: Its content.
    """

    path: str
    language: str
    text: str

    @classmethod
    def of(cls, path: str, file: Traversable) -> Source:
        """A file, with line ends as on every machine."""
        suffixes = PurePosixPath(path).suffixes
        language = "css" if ".css" in suffixes else LANGUAGES[suffixes[-1]]
        return cls(path, language, file.read_text(encoding="utf-8").replace("\r\n", "\n"))


def scripts(problem: int) -> tuple[Source, ...]:
    """A problem's scripts and its README.md, named within its directory."""
    folder = files("cli726.report") / "scripts" / f"P{problem}"
    found = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.name)
    return tuple(Source.of(file.name, file) for file in found if PurePosixPath(file.name).suffix in LANGUAGES)


def library(problem: int) -> tuple[Source, ...]:
    """The modules that a problem's scripts reach, nearest first, and the files that these fill in."""
    modules: dict[str, Source] = {}
    waiting = [name for script in scripts(problem) if script.language == "python" for name in imported(script.text)]
    for name in waiting:
        source = module(name)
        if source is not None and source.path not in modules:
            modules[source.path] = source
            waiting += imported(source.text)
    return (*modules.values(), *templates(modules))


def imported(text: str) -> Iterator[str]:
    """Every name that may be a module of ours, in the order of the imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in PACKAGES:
            yield node.module
            yield from (f"{node.module}.{item.name}" for item in node.names)


def module(name: str) -> Source | None:
    """The source of a module; None if the name is none, or the module holds nothing but a docstring."""
    package, *inner = name.split(".")
    for parts in ([*inner, "__init__.py"], [*inner[:-1], f"{inner[-1]}.py"] if inner else []):
        file = files(package).joinpath(*parts)
        if file.is_file():
            source = Source.of("/".join([package, *parts]), file)
            return source if len(ast.parse(source.text).body) > 1 else None
    return None


def templates(modules: dict[str, Source]) -> Iterator[Source]:
    """The files in the `templates` folders beside modules."""
    for folder in dict.fromkeys(PurePosixPath(path).parent for path in modules):
        package, *inner = folder.parts
        place = files(package).joinpath(*inner, "templates")
        if place.is_dir() and folder != PurePosixPath("cli726/report"):
            for file in sorted(place.iterdir(), key=lambda file: file.name):
                yield Source.of(str(folder / "templates" / file.name), file)
