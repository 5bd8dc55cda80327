"""What the documentation shows is what the commands print, take and say of themselves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli726.finetune.config import FinetuneConfig
from cli726.finetune.options import described
from commands.app import app
from commands.options import typed_options
from tests.harness import REPOSITORY as ROOT
from tests.harness import load_script

DOCS = ROOT / "docs"
make = load_script(DOCS / "make.py")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^ *```(?P<language>\w*)\n(?P<body>[\s\S]*?)^ *```", re.MULTILINE)
SHOWN = re.compile(r"```console\n\$ cmpt726 (?P<arguments>.*)\n(?P<output>[\s\S]*?)\n```")
# Cheap, and needing nothing but an empty folder: they are run. The others' options are checked.
RUNS = {"softmax", "glm", "backprop", "lr gd", "lr newton", "cache ls", "cache path", "cache verify", "runs ls"}
Run = Callable[..., Any]


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def documented(page: Path) -> Iterator[list[str]]:
    """Every `cmpt726 ...` in a page's code blocks, as arguments; of a line of shell each command of ours."""
    for block in BLOCK.finditer(page.read_text()):
        if block["language"] in {"sh", "console", ""}:
            for line in block["body"].splitlines():
                yield from typed_in(line.removeprefix("$ "))


def typed_in(line: str) -> Iterator[list[str]]:
    if "cmpt726" not in line or line.startswith((" ", "(")):
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;>"):
            if command and Path(command[0]).name == "cmpt726":
                yield command[1:]
            command = []
        else:
            command.append(word)


@pytest.mark.parametrize(
    "block", [pytest.param(b, id=f"{page.stem}: {b[1]}") for page in PAGES for b in SHOWN.finditer(page.read_text())]
)
def test_shown_output_is_current(cmpt726: Run, block: re.Match[str]) -> None:
    assert tidy(cmpt726(*shlex.split(block["arguments"])).stdout) == block["output"]


def test_pages_of_the_problems_show_output() -> None:
    for name in ("softmax", "glm", "backprop", "vanishing", "logistic"):
        assert SHOWN.search((DOCS / f"{name}.md").read_text()), name


@pytest.fixture(autouse=True)
def figures_unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laying them out and saving them takes longer than all else here, and each command's own tests do it."""
    monkeypatch.setattr("cli726.drawing.save", lambda _, path: path.touch())


LINES = {" ".join(line): line for page in PAGES for line in documented(page)}


def parsed(arguments: list[str]) -> tuple[str, Any]:
    """The command that these arguments name, and its context, with every option converted and checked."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("cmpt726", list(arguments))
    words: list[str] = []
    while hasattr(command, "commands"):
        # What is left over once a group has taken its own options.
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        words.append(name)
        context = command.make_context(name, rest, parent=context)
    return " ".join(words), context


def ids(line: str) -> str:
    return line


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith("--")], ids=ids)
def test_every_command_in_the_documentation_is_accepted(line: str) -> None:
    name, context = parsed(LINES[line])
    if name == "finetune" and context.params["resume"] is None:
        FinetuneConfig(**typed_options(context, described(FinetuneConfig)))


@pytest.mark.parametrize(
    "line", [line for line in LINES if any(line == c or line.startswith(f"{c} ") for c in RUNS)], ids=ids
)
def test_cheap_commands_in_the_documentation_work(cmpt726: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMPT726_CACHE_DIR", "cache")
    if "FILE" in line or ".json" in line or ".txt" in line:
        pytest.skip("needs a file of the reader's")
    done = cmpt726(*LINES[line])
    assert (done.status, done.stderr) == (0, "")


SPANS = [
    pytest.param(span, id=f"{page.stem}: {span}")
    for page in PAGES
    for span in sorted(set(re.findall(r"(?<!`)`cmpt726 ([a-z][^`]*)`", BLOCK.sub("", page.read_text()))))
]


@pytest.mark.parametrize("span", SPANS)
def test_commands_within_sentences_exist_with_their_options(span: str) -> None:
    spellings = dict(make.callbacks(app))
    names = {" ".join(words) for words in spellings}
    groups = {name.partition(" ")[0] for name in names if " " in name}
    words = re.split(r"[ |]", span)
    known = [" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in names | groups]
    assert known, span
    if known[0] in names:
        command = next(command for words, command in spellings.items() if " ".join(words) == known[0])
        options = " ".join(option for _, option, *_ in make.parameters(command.callback))
        assert set(re.findall(r"--[\w-]+", span)) - {"--help"} <= set(re.findall(r"--[\w-]+", options))


def test_the_page_of_all_options_is_what_the_commands_say() -> None:
    assert (DOCS / "commands.md").read_text() == make.commands_page(), "`make docs` makes it anew"
