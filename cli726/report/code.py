"""The code of each problem: what the report prints of it, and the zip that is handed in."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from cli726.finetune.storage import check_output, replace_file
from cli726.text import listed

PROBLEMS = (1, 2, 3, 4, 5, 6)
# How much of it the report prints: the scripts and what computes the answers, all that they reach, or nothing.
Code: TypeAlias = Literal["core", "all", "none"]
# The network of problem 6 was given; what was added to it is what is handed in.
GIVEN = "cli726/finetune/network/resnet.py"
# What computes the answers of each problem begins so; the rest says, tabulates and draws them, or reads what was typed.
CORE = {
    1: ("cli726/softmax/__init__", "cli726/exact/envelope"),
    2: ("cli726/glm/__init__", "cli726/exact/envelope"),
    3: ("cli726/backprop/__init__",),
    4: ("cli726/vanishing/__init__",),
    5: ("cli726/logistic/model", "cli726/logistic/descent", "cli726/logistic/stochastic"),
    6: (
        "cli726/finetune/network/heads", "cli726/finetune/features/extractor", "cli726/finetune/training/__init__",
        "cli726/finetune/augment/transforms",
    ),
}  # fmt: skip
PACKAGES = ("cli726", "cache")
LANGUAGES = {".py": "python", ".md": "md", ".js": "js", ".j2": "html", ".css": "css", ".sh": "sh"}
# The earliest date that a zip can state: the same code gives the same bytes at any time.
UNDATED = (1980, 1, 1, 0, 0, 0)
# Unix, an ordinary file, rw-r--r--.
UNIX, ORDINARY = 3, 0o100644 << 16


@dataclass(frozen=True)
class Source:
    """One file: where it belongs, with slashes, and its bytes, with line ends as on every machine."""

    path: str
    content: bytes

    @classmethod
    def of(cls, path: str, file: Traversable) -> Source:
        """Read a file."""
        content = file.read_bytes()
        return cls(path, content.replace(b"\r\n", b"\n") if PurePosixPath(path).suffix in LANGUAGES else content)

    @property
    def language(self) -> str:
        """Return what it is written in, as syntax highlighters call it."""
        path = PurePosixPath(self.path)
        return LANGUAGES.get(path.with_suffix("").suffix if path.suffix == ".j2" else path.suffix, "txt")

    @property
    def text(self) -> str:
        """Return what it says."""
        return self.content.decode()


def scripts(problem: int | None) -> tuple[Source, ...]:
    """Return a problem's scripts, its README.md and its commands; those of no problem lie beside its directories."""
    above = f"P{problem}/" if problem else ""
    folder = files("cli726.report").joinpath("scripts", *above.split("/")[:-1])
    found = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.name)
    return tuple(Source.of(above + file.name, file) for file in found if PurePosixPath(file.name).suffix in LANGUAGES)


def library(problem: int) -> tuple[Source, ...]:
    """Return the modules that a problem's scripts reach, nearest first, and the files that these fill in."""
    modules: dict[str, Source] = {}
    waiting = [name for script in scripts(problem) if script.language == "python" for name in imported(script.text)]
    for name in waiting:
        source = module(name)
        if source is not None and source.path not in modules:
            modules[source.path] = source
            # Python runs the packages above a module first.
            waiting += [*imported(source.text), *(".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 1))]
    for folder in dict.fromkeys(PurePosixPath(path).parent for path in modules):
        package, *inner = folder.parts
        place = files(package).joinpath(*inner, "templates")
        for file in sorted(place.iterdir(), key=lambda file: file.name) if place.is_dir() else ():
            path = str(folder / "templates" / file.name)
            modules[path] = Source.of(path, file)
    return tuple(modules.values())


def imported(text: str) -> Iterator[str]:
    """Yield every name that may be a module of ours, in the order of the imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in PACKAGES:
            yield node.module
            yield from (f"{node.module}.{item.name}" for item in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":  # when it is needed
            names = [str(part.value) for part in node.args if isinstance(part, ast.Constant)]
            yield from (name for name in names if name.partition(".")[0] in PACKAGES)


def module(name: str) -> Source | None:
    """Return the source of a module; None if the name is none."""
    package, *inner = name.split(".")
    for parts in ([*inner, "__init__.py"], [*inner[:-1], f"{inner[-1]}.py"] if inner else []):
        file = files(package).joinpath(*parts)
        if file.is_file():
            return Source.of("/".join([package, *parts]), file)
    return None


def core(problem: int) -> tuple[Source, ...]:
    """Return the modules that compute a problem's answers."""
    return tuple(source for source in library(problem) if source.path.startswith(CORE[problem]))


def listings(numbers: Sequence[int], code: Code) -> Iterator[Mapping[str, Any]]:
    """Yield the code of each problem for the template; a module that several share is listed once, with the first."""
    first: dict[str, int] = {GIVEN: 0}
    for number in numbers if code != "none" else ():
        own = [source for source in scripts(number) if source.language == "python"]
        shared: dict[int, list[str]] = {}
        for source in core(number) if code == "core" else library(number):
            if source.path not in first:
                first[source.path] = number
                own.append(source)
            elif first[source.path]:
                shared.setdefault(first[source.path], []).append(PurePosixPath(source.path).name)
        before = "; ".join(f"{listed(names)} (problem {other})" for other, names in shared.items())
        sources = [{"path": item.path, "language": item.language, "text": item.text.rstrip("\n")} for item in own]
        note = before and f"It uses also, listed before: {before}."
        yield {"number": number, "note": note, "sources": sources}


@dataclass(frozen=True)
class Package:
    """What was packed: the bytes of the zip, and the names in it, in order."""

    output: Path
    size: int
    files: tuple[str, ...]


def package(output: Path) -> Package:
    """Write the zip, atomically: a directory for each problem, and in `lib/` all that their scripts need of ours.

    The same code gives the same bytes.

    Raises:
        RequestError: if `output` is a folder or doesn't end in .zip.
    """
    check_output(output, ".zip")
    assets = files("cli726") / "assets"
    own = [source for number in (None, *PROBLEMS) for source in scripts(number)]
    used = [source for number in PROBLEMS for source in library(number)]
    used += [Source.of(f"cli726/assets/{file.name}", file) for file in assets.iterdir() if file.is_file()]
    contents = {source.path: source.content for source in own} | {f"lib/{item.path}": item.content for item in used}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, UNDATED)
            entry.create_system, entry.external_attr, entry.compress_type = UNIX, ORDINARY, zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents[name])
    replace_file(output, buffer.getvalue())
    return Package(output, len(buffer.getvalue()), tuple(sorted(contents)))
