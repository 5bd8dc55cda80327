"""The documentation's links, pictures, examples and notebook hold together with the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
from torch import Tensor

from cli726.finetune import backbones
from cli726.finetune import recipe as kinds
from cli726.finetune.augment import table as augment
from cli726.finetune.augment import transforms
from cli726.finetune.data import names
from cli726.finetune.data.vision import import_torchvision
from cli726.finetune.network.build import build_backbone
from cli726.finetune.network.layouts import from_state_dict
from commands.app import app
from tests.cli726.finetune.synthetic import write_pictures
from tests.harness import REPOSITORY as ROOT
from tests.test_documented_output import BLOCK, DOCS, PAGES, make

Run = Callable[..., Any]
ASSETS = sorted((ROOT / "cli726" / "assets").glob("*.md"))
LARGEST_PICTURE = 300_000


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *ASSETS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text())):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:cli726|commands|cache|tests|docs|benchmarks|\.ci)/[\w./-]*)`", BLOCK.sub("", page.read_text())
    )
    missing = [name for name in named if not (ROOT / name).exists() and "entropy" not in name]
    assert missing == []


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (DOCS / "README.md").read_text()
    pages = [*DOCS.glob("*.md"), *DOCS.glob("*.ipynb")]
    assert [page.name for page in pages if page.name != "README.md" and f"({page.name})" not in contents] == []


def test_pictures_are_small_and_each_is_shown() -> None:
    text = "".join(page.read_text() for page in PAGES)
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size < LARGEST_PICTURE, picture.name
        assert f"images/{picture.name}" in text, picture.name


def test_promises_and_tests_of_faults_name_each_other() -> None:
    named = set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", (DOCS / "reliability.md").read_text()))
    assert len(named) > 40
    for path in (ROOT / "tests").rglob("test_*.py"):
        text, name = path.read_text(), str(path.relative_to(ROOT / "tests"))
        here = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))
        missing = {test for file, test in named if file == name} - here
        assert not missing, f"docs/reliability.md names what {name} hasn't: {missing}"
        if re.search(r"^pytestmark = .*mark\.faults", text, re.MULTILINE):
            assert here <= {test for file, test in named if file == name}, f"no promise in docs/reliability.md: {name}"
    assert all((ROOT / "tests" / file).exists() for file, _ in named)


def letters(text: str) -> str:
    return "".join(text.split())


def test_the_recorded_terminal_shows_what_is_printed_today(cmpt726: Run) -> None:
    picture = (DOCS / "images" / "terminal.svg").read_text()
    seen = letters("".join(re.findall(r">([^<>]*)</text>", picture)).replace("&#160;", " "))
    for command in make.RECORDED:
        assert letters(command) in seen
        if "finetune" not in command:
            assert letters(cmpt726(*command.split()[1:]).stdout) in seen


def shapes(text: str) -> set[str]:
    """A log's lines without their numbers and the names of runs, phases and data."""
    found = set()
    for line in text.splitlines():
        line = re.sub(r"runs/[\w/.-]+?(?=/|\s|$)", "RUN", line)
        line = re.sub(r"[+-]?\d[\d.,]*", "N", line)
        line = re.sub(r"\(phase \w+\)", "(phase)", line)
        found.add(" ".join(line.replace("─", " ").removesuffix("(best so far)").split()))
    return found


def test_the_recorded_fine_tuning_reads_as_it_does_today(
    cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's log, but for its numbers: here a small data set is fine-tuned by the same command."""
    torch.set_num_threads(1)
    (log,) = [b["body"] for b in BLOCK.finditer((ROOT / "README.md").read_text()) if b["language"] == "text"]
    command, *lines = log.splitlines()
    monkeypatch.setenv("CMPT726_CACHE_DIR", str(tmp_path / "cache"))
    folder = write_pictures(tmp_path / "data" / "digits", 60)
    done = cmpt726(*command.split()[2:], "--dataset", f"folder:{folder}", "--epochs", 6)
    assert done.status == 0, done.stderr
    today = shapes(done.stderr + done.stdout)
    # Which classes are confused, and whether any are, is the data's; how long it takes, the machine's.
    theirs = re.compile(r"data|most confused|at most|. Calibration|.* to go$")
    recorded = {line for line in shapes("\n".join(lines)) if not theirs.match(line)}
    assert recorded <= today


PYTHON = [
    pytest.param(block["body"], id=f"{page.stem}:{page.read_text()[: block.start()].count(chr(10)) + 1}")
    for page in PAGES
    for block in BLOCK.finditer(page.read_text())
    if block["language"] == "python"
]


@pytest.mark.parametrize("source", PYTHON)
def test_python_in_the_documentation_compiles_and_imports_what_exists(source: str) -> None:
    indent = len(source) - len(source.lstrip())
    tree = ast.parse("\n".join(line[indent:] for line in source.splitlines()))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in {"cli726", "commands"}:
            if node.module == "cli726.entropy":
                continue
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


EXAMPLES = [
    block["body"]
    for block in BLOCK.finditer((ROOT / "CONTRIBUTING.md").read_text())
    if block["language"] == "python"
]  # fmt: skip


def example(start: str) -> str:
    """The one example of CONTRIBUTING.md that begins so."""
    (found,) = [body for body in EXAMPLES if body.startswith(start)]
    return found


def test_the_example_of_an_augmentation_works(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"torch": torch, "Tensor": Tensor, "Kind": kinds.Kind}
    given["KNOWN"] = known = dict(kinds.KNOWN)
    exec(example("def draw_posterize"), given)
    exec(example('KNOWN["posterize"]'), given)
    monkeypatch.setattr(augment, "KNOWN", known)
    for name in ("posterize", "draw_posterize"):
        monkeypatch.setattr(transforms, name, given[name], raising=False)
    (one,) = augment.parse_augmentations("posterize:3")
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).repeat(64, 1, 1, 3)
    (bits,) = augment.draw_all([one], len(images), 0)
    result = augment.apply_all([one], images, [bits])
    assert set(bits.tolist()) == {0, 1, 2, 3}
    for before, after, dropped in zip(images, result, bits.tolist(), strict=True):
        assert torch.equal(after, before - before % 2**dropped)


def test_the_example_of_a_data_set_works() -> None:
    known: dict[str, names.Vision] = {}
    exec(example('VISION["CLEVR'), {"VISION": known, "Vision": names.Vision})
    ((name, source),) = known.items()
    assert name not in names.VISION
    make_it = getattr(import_torchvision().datasets, name)
    for options in source.splits.values():
        inspect.signature(make_it).bind("root", **options, download=False)


def test_the_example_of_a_backbone_works() -> None:
    given: dict[str, Any] = {"torchvision": backbones.torchvision}
    exec(example("RESNET34"), given)
    for name in ("RESNET34", "EFFICIENTNET_B0"):
        kind = given[name]
        assert kind.name not in backbones.BACKBONES
        whole = getattr(import_torchvision().models, kind.name)(weights=None).eval()
        _, tensors, _ = from_state_dict(whole.state_dict(), name, kind)
        backbone = build_backbone(kind).eval()
        backbone.load_state_dict(tensors)
        setattr(whole, "fc" if hasattr(whole, "fc") else "classifier", torch.nn.Identity())
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(backbone(x), whole(x))
        assert tuple(name for name, _ in backbone.named_children()) == kind.stages


def test_the_example_of_a_problem_works(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for name, start in {"cli726.entropy": "from dataclasses", "commands.entropy": "from typing"}.items():
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(example(start), vars(module))
    assert sys.modules["cli726.entropy"].analyse([0.25] * 4).bits == 2
    trial = typer.Typer()
    trial.callback()(lambda: None)
    exec(
        example("app.command(epilog=entropy"),
        {"app": trial, "entropy": sys.modules["commands.entropy"], "PROBLEMS": "Problems 1 to 5"},
    )
    assert len(app.registered_commands) > 5
    trial(["entropy", "1", "0", "--json"], standalone_mode=False)
    assert json.loads(capfd.readouterr().out) == {"bits": 0, "most": 1}
    trial(["entropy", "0.5", "0.5"], standalone_mode=False)
    assert re.search(r"1\.0\s+1\.0", capfd.readouterr().out)


def test_the_notebook_gives_what_it_shows(tmp_path: Path) -> None:
    notebook = DOCS / "notebook.ipynb"
    threads = torch.get_num_threads()
    for number, (part, printed, value) in enumerate(make.run_notebook(notebook, tmp_path), 1):
        given, shown = (
            [output.get("text", output.get("data", {}).get("text/plain")) for output in outputs]
            for outputs in (make.outputs(printed, value, number), part["outputs"])
        )
        if "numbers-vary" in part["metadata"].get("tags", []):
            given, shown = shapes(str(given)), shapes(str(shown))
        assert given == shown, "".join(part["source"])
    torch.set_num_threads(threads)


@pytest.mark.parametrize("floor", ["cli726", "cache"])
def test_whatever_a_module_exports_is_there(floor: str) -> None:
    paths = [p for p in (ROOT / floor).rglob("*.py") if "scripts" not in p.parts and p.name != "__main__.py"]
    assert len(paths) > 5
    for path in paths:
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(dotted)
        assert [name for name in getattr(module, "__all__", []) if not hasattr(module, name)] == [], dotted
