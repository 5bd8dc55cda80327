"""What the documentation has that is made and not written: commands.md, notebook.ipynb's outputs, the pictures.

python docs/make.py commands      docs/commands.md, from the commands themselves
python docs/make.py notebook      runs docs/notebook.ipynb and keeps what its cells give
python docs/make.py pictures      docs/images and the README's log, from real commands; needs Debian's chromium
"""

from __future__ import annotations

import ast
import base64
import inspect
import io
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import typing
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from enum import Enum
from pathlib import Path
from typing import Any

import typer

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
WIDTH = 100
# Shown in the README's first picture.
RECORDED = (
    "cmpt726 softmax --point",
    "cmpt726 finetune --cache --unfreeze-after 5",
)


COMMANDS_HEAD = """# Every command and option

Made from the commands themselves by `make docs`: the same texts as `cmpt726 COMMAND --help`, which every command has.
"""


def callbacks(app: typer.Typer, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the application in the order of its help: the words that call it, and its registration."""
    for command in app.registered_commands:
        yield (*words, command.name or command.callback.__name__.replace("_", "-")), command
    for group in app.registered_groups:
        name = group.name if isinstance(group.name, str) else group.typer_instance.info.name
        yield from callbacks(group.typer_instance, (*words, name))


def parameters(function: Any) -> Iterator[tuple[Any, str, str, str]]:
    """Of each parameter: what Typer was told, how it is typed, its default, its help."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if not typing.get_args(hints[name])[1:]:
            continue
        kind, *told = typing.get_args(hints[name])
        info = next((part for part in told if isinstance(part, typer.models.ParameterInfo)), None)
        if info is not None:
            option = typed(info, name, kind)
            default = "" if parameter.default is inspect.Parameter.empty else spelt(parameter.default)
            if option.count("--") == 2:
                default = option.split(", ")[not parameter.default]
            yield info, option, default, info.help or ""


def typed(info: Any, name: str, kind: Any) -> str:
    """`--option VALUE`, as one types it."""
    choice = next((k for k in (kind, *typing.get_args(kind)) if isinstance(k, type) and issubclass(k, Enum)), None)
    inner = [k for k in typing.get_args(kind) or (kind,) if k is not type(None)]
    value = "|".join(member.value for member in choice) if choice else info.metavar or inner[0].__name__.upper()
    if isinstance(info, typer.models.ArgumentInfo):
        return value
    # Within Annotated the first spelling stands where a default would.
    told = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    spelling = (told or ["--" + name.replace("_", "-")])[0]
    return spelling.replace("/", ", ") if bool in inner else f"{spelling} {value}"


def spelt(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return ""
    if isinstance(default, Enum):
        return str(default.value)
    return " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("*", r"\*")


def commands_page() -> str:
    """docs/commands.md."""
    from commands.app import app

    lines = [COMMANDS_HEAD]
    for words, command in callbacks(app):
        lines += [f"## cmpt726 {' '.join(words)}\n", inspect.getdoc(command.callback) or "", ""]
        rows: dict[str, list[str]] = {}
        for info, option, default, text in parameters(command.callback):
            row = f"| `{option.replace('|', chr(92) + '|')}` | {cell(default)} | {cell(text)} |"
            rows.setdefault(info.rich_help_panel or "", []).append(row)
        for panel, options in rows.items():
            lines += [f"| {panel or 'Options'} | default | |", "| --- | --- | --- |", *options, ""]
        examples = re.findall(r"\$\[/cyan\] (.*)", command.epilog or "")
        lines += ["```sh", *examples, "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def run_notebook(path: Path, folder: Path) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Run a notebook's code cells in one namespace, in `folder`: each cell, what it prints, its last line's value.

    Lines that begin with % are Jupyter's own.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for part in json.loads(path.read_text())["cells"]:
        if part["cell_type"] != "code":
            continue
        body = ast.parse("".join(line for line in part["source"] if not line.startswith("%"))).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        printed, value = io.StringIO(), None
        with chdir(folder), redirect_stdout(printed):
            exec(compile(ast.Module(body, []), str(path), "exec"), names)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), str(path), "eval"), names)
        yield part, printed.getvalue(), value


def outputs(printed: str, value: Any, number: int) -> list[dict[str, Any]]:
    """What a cell gives, as a notebook keeps it."""
    kept: list[dict[str, Any]] = []
    if printed:
        kept.append({"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)})
    if value is not None:
        data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "savefig"):
            picture = io.BytesIO()
            value.savefig(picture, format="png", dpi=60, metadata={"Software": None})
            data["image/png"] = base64.b64encode(picture.getvalue()).decode()
        kept.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return kept


def make_notebook(path: Path) -> None:
    """Run the notebook and keep what its cells give."""
    notebook = json.loads(path.read_text())
    code = [part for part in notebook["cells"] if part["cell_type"] == "code"]
    with tempfile.TemporaryDirectory() as folder:
        given = list(run_notebook(path, Path(folder)))
    for number, (part, (_, printed, value)) in enumerate(zip(code, given, strict=True), 1):
        part["execution_count"] = number
        part["outputs"] = outputs(printed, value, number)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def record(command: str, folder: Path, environment: dict[str, str]) -> tuple[str, str]:
    """What a command prints on a terminal, colours and all, and what it says besides, as in a log."""
    controller, terminal = pty.openpty()
    words = [sys.executable, "-m", *command.replace("cmpt726", "cli726", 1).split()]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(words, cwd=folder, env=environment, stdout=terminal, stderr=said) as process,
    ):
        os.close(terminal)
        chunks = []
        while True:
            try:
                chunk = os.read(controller, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(controller)
        process.wait()
        said.seek(0)
        besides = said.read()
    if process.returncode:
        raise SystemExit(f"{command} ended with status {process.returncode}: {besides}")
    lines = b"".join(chunks).decode().replace("\r\n", "\n").splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n"), besides


def draw_terminal(folder: Path, environment: dict[str, str]) -> None:
    """terminal.svg: the recorded commands in one window, exported by Rich."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for command in RECORDED:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        output, besides = record(command, folder, environment)
        console.print(Text.from_ansi(output))
        console.print()
    write_log(command, Text.from_ansi(output).plain, besides)
    # Rich's own format fetches a font; a picture should need nothing.
    form = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace")
    console.save_svg(str(IMAGES / "terminal.svg"), title="cmpt726", code_format=form, unique_id="terminal")


def write_log(command: str, output: str, besides: str) -> None:
    """The README's block of text: a command's log."""
    before, marker, after = besides.partition("next: ")
    plain = "\n".join(line.rstrip() for line in output.splitlines())
    log = f"$ {command}\n{before}{plain}\n\n{marker}{after}"
    page = DOCS.parent / "README.md"
    page.write_text(re.sub(r"(?<=```text\n)[\s\S]*?(?=```)", lambda _: log, page.read_text()))


def draw_gallery(folder: Path) -> None:
    """gallery.png: the top of a run's gallery in a browser."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    page_file = next(folder.glob("runs/*/gallery.html"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        page.goto(page_file.as_uri())
        page.wait_for_timeout(1000)
        content = page.screenshot()
        browser.close()
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").quantize(128).save(IMAGES / "gallery.png", optimize=True)


def draw_figures(folder: Path, environment: dict[str, str]) -> None:
    """regions.png and errors.png: two of the figures that commands draw."""
    for command, figure, name in (
        ("softmax", "results/softmax/regions.png", "regions.png"),
        ("lr sgd", "results/lr-sgd/equal-cost.png", "equal-cost.png"),
    ):
        words = [sys.executable, "-m", "cli726", *command.split()]
        subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        (IMAGES / name).write_bytes((folder / figure).read_bytes())


def make_pictures() -> None:
    """All of docs/images but what is drawn by hand."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = os.environ | {
            "CMPT726_CACHE_DIR": str(folder / "cache"),
            "CMPT726_DATA_DIR": str(folder / "data"),
            "COLUMNS": str(WIDTH),
            "PYTHONPATH": str(DOCS.parent),
            "TERM": "xterm-256color",
        }
        environment.pop("NO_COLOR", None)
        draw_figures(folder, environment)
        draw_terminal(folder, environment)
        draw_gallery(folder)


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    for what in sys.argv[1:] or ["commands"]:
        if what == "commands":
            (DOCS / "commands.md").write_text(commands_page())
        elif what == "notebook":
            make_notebook(DOCS / "notebook.ipynb")
        elif what == "pictures":
            make_pictures()
        else:
            raise SystemExit(f"docs/make.py makes commands, notebook and pictures; got {what}")
