"""The house's rules: imports run downwards, help starts light, names are the contract's."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from cli726.text import typed_path
from commands.app import app
from tests.harness import leaves

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("commands", "cli726", "cache")
# What each floor must not import, anywhere in its files.
FORBIDDEN = {
    "commands": set(),
    "cli726": {"commands", "typer", "rich", "click"},
    "cache": {"commands", "cli726", "typer", "rich", "click", "torch", "torchvision", "matplotlib"},
}
# Its work is to find out whether an import succeeds.
ASKING = {ROOT / "cli726" / "doctor.py"}
HEAVY = ("numpy", "torch", "torchvision", "matplotlib", "h5py")
# The one upward step: `python -m cli726`.
DOOR = ROOT / "cli726" / "__main__.py"


def modules(floor: str) -> list[Path]:
    """A floor's own files, without the scripts that the report hands in."""
    return sorted(path for path in (ROOT / floor).rglob("*.py") if "scripts" not in path.parts)


def imported(node: ast.AST) -> set[str]:
    """Top-level names of everything imported within a node."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            found.add("." if part.level else (part.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_run_down_only(floor: str) -> None:
    files = modules(floor)
    assert len(files) > 3
    for path in files:
        wrong = imported(ast.parse(path.read_text())) & {*FORBIDDEN[floor], "."}
        assert not wrong or path == DOOR, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_the_one_door_upwards_leads_to_the_commands_and_nowhere_else() -> None:
    assert imported(ast.parse(DOOR.read_text())) == {"sys", "contextlib", "pathlib", "cli726", "commands"}


@pytest.mark.parametrize("floor", ["cli726", "cache"])
def test_below_the_commands_imports_stand_at_the_top(floor: str) -> None:
    for path in modules(floor):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and path not in {*ASKING, DOOR}:
                assert not imported(node), f"{path.relative_to(ROOT)}: {node.name} imports {imported(node)}"


def test_configurations_that_commands_take_defaults_from_need_only_the_standard_library() -> None:
    allowed = set(sys.stdlib_module_names) | {"cli726", "cache", "__future__"}
    for path in (ROOT / "cli726/finetune/config.py", ROOT / "cli726/errors.py", ROOT / "cache/errors.py"):
        assert imported(ast.parse(path.read_text())) <= allowed


def is_command(node: ast.FunctionDef) -> bool:
    """Whether a function's parameters are a command's options."""
    return "typer." in ast.unparse(node.args) or any(
        part.annotation is not None and ast.unparse(part.annotation) in OPTION_TYPES
        for part in (*node.args.args, *node.args.kwonlyargs)
    )


# Annotations that are options, by the names that commands give them.
OPTION_TYPES = {"Json", "Out", "Seed", "Data", "Eta", "Etas", "DataDir", "CacheDir"}


def test_files_and_functions_stay_short() -> None:
    """Of a command only the body counts: its parameters are the options that it has."""
    for floor in FLOORS:
        for path in modules(floor):
            text = path.read_text()
            assert text.count("\n") <= 400, f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines"
            for node in ast.walk(ast.parse(text)):
                if not isinstance(node, ast.FunctionDef):
                    continue
                command = floor == "commands" and is_command(node)
                first = node.body[0].lineno if command else node.lineno
                length = (node.end_lineno or 0) - first + 1
                assert length <= 60, f"{path.relative_to(ROOT)}: {node.name} has {length} lines"
                names = [part.arg for part in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                taken = [name for name in names if name not in {"self", "cls"}]
                assert command or len(taken) <= 8, f"{path.relative_to(ROOT)}: {node.name} takes {len(taken)}"


def room(path: Path) -> str:
    """The folder of a module; of one that lies beside folders, the module itself."""
    folder = path.parent
    beside = any((part / "__init__.py").exists() for part in folder.iterdir() if part.is_dir())
    place = path.with_suffix("") if beside and path.stem != "__init__" else folder
    return ".".join(place.relative_to(ROOT).parts)


def test_no_folders_import_each_other_in_however_many_steps() -> None:
    files = [path for floor in ("cli726", "cache") for path in modules(floor) if path != DOOR]
    rooms = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): room(path) for path in files
    }
    wanted: dict[str, set[str]] = {place: set() for place in rooms.values()}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                asked = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                wanted[room(path)] |= {rooms[name] for name in asked & rooms.keys()} - {room(path)}
    # The front door is asked by all for what hides our packages, and imports nothing of ours at its top.
    wanted.pop("cli726", None)
    done: set[str] = set()
    while wanted:
        free = [place for place, others in wanted.items() if not others - done - {"cli726"}]
        assert free, "these import each other: " + ", ".join(sorted(wanted))
        done |= set(free)
        for place in free:
            del wanted[place]


COMMANDS = dict(leaves(typer.main.get_command(app)))
ALL = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def spellings(command: Any) -> set[str]:
    return {option for param in command.params for option in (*param.opts, *param.secondary_opts) if option[0] == "-"}


ASK_EVERYBODY = f"""
import sys
from cli726.text import typed_path
from commands.app import app
for words in {[list(words) for words in [(), *COMMANDS]]!r}:
    try:
        app([*words, "--help"], prog_name="cmpt726")
    except SystemExit as stop:
        assert stop.code == 0, words
    found = [name for name in {HEAVY!r} if name in sys.modules]
    assert not found, f"{{words}} loaded {{found}}"
"""


def test_options_are_annotated_by_objects() -> None:
    """Typer evaluates annotations that are strings three times over, for every command: a fifth of `--help`."""
    files = [path for path in modules("commands") if re.search(r"(typer\.Argument|option)\(", path.read_text())]
    assert len(files) > 10
    for path in files:
        assert "from __future__ import annotations" not in path.read_text(), path.name


def test_nobodys_help_loads_anything_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", ASK_EVERYBODY], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


FOREIGN = "raise SystemExit('a foreign module was imported')\n"


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder of somebody else's, full of names that are ours too."""
    for name in ("cache.py", "commands.py"):
        (tmp_path / name).write_text(FOREIGN)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "__init__.py").write_text(FOREIGN)
    return tmp_path


def in_folder(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_console_script_works_among_foreign_names(crowded: Path) -> None:
    (crowded / "cli726.py").write_text(FOREIGN)
    script = Path(sys.executable).with_name("cmpt726")
    if not script.exists():
        pytest.skip(f"no console script {script}: the project isn't installed in this environment")
    assert in_folder(crowded, str(script), "--version").stdout.startswith("cmpt726 ")
    done = in_folder(crowded, str(script), "softmax", "--point")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3/22" in done.stdout


@pytest.mark.parametrize("name", ["cache", "commands"])
def test_a_foreign_module_that_hides_ours_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    """PYTHONPATH goes before what is installed: on the command line and in Python."""
    (tmp_path / f"{name}.py").write_text(FOREIGN)
    variables = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    script = tmp_path / "bin" / "cmpt726"
    script.parent.mkdir()
    script.write_text("from cli726.__main__ import main\nmain()\n")

    def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=folder, env=variables, capture_output=True, text=True, check=False
        )

    done = run(tmp_path, str(script), "softmax", "--point")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"error: .*`{name}`.*{name}\.py hides it; rename that file.*\n", done.stderr)
    if name == "cache":  # Python alone needs no commands
        done = run(script.parent, "-c", "from cli726.finetune.config import FinetuneConfig")
        assert done.returncode == 1
        assert re.search(rf"^ImportError: .*{name}\.py hides it; rename that file", done.stderr, re.MULTILINE)


def test_the_module_works_among_foreign_names(crowded: Path) -> None:
    """A foreign `cli726.py` is another matter: Python would run that one before any line of ours."""
    done = in_folder(crowded, sys.executable, "-m", "cli726", "softmax", "--point")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3/22" in done.stdout


Run = Callable[..., Any]


@ALL
def test_help_opens_with_one_sentence_and_ends_with_examples(cmpt726: Run, words: tuple[str, ...]) -> None:
    done = cmpt726(*words, "--help")
    assert done.status == 0
    assert done.stderr == ""
    usage, text = re.split(r"\n\s*\n", done.stdout.strip(), maxsplit=1)
    assert " ".join(("cmpt726", *words)) in " ".join(usage.split())
    opening = " ".join(re.split(r"\n\s*\n|\n\W*─", text, maxsplit=1)[0].split())
    assert re.fullmatch(r"[A-Z`][^\n]*\.", opening), opening
    assert len(re.findall(r"\.(?:\s|$)", opening)) == 1, f"more than one sentence: {opening}"
    examples = re.findall(r"^\s*\$ (cmpt726 .*)$", done.stdout, re.MULTILINE)
    assert 2 <= len(examples) <= 3, done.stdout
    assert "Examples" in done.stdout


@ALL
def test_examples_name_commands_and_options_that_exist(cmpt726: Run, words: tuple[str, ...]) -> None:
    for example in re.findall(r"^\s*\$ cmpt726 (.*)$", cmpt726(*words, "--help").stdout, re.MULTILINE):
        called = max((c for c in COMMANDS if example.split()[: len(c)] == list(c)), key=len, default=None)
        assert called is not None, example
        typed = {word.partition("=")[0] for word in example.split() if word.startswith("--")}
        assert typed <= spellings(COMMANDS[called]), example


@ALL
def test_every_option_is_explained(words: tuple[str, ...]) -> None:
    unexplained = [param.name for param in COMMANDS[words].params if not getattr(param, "help", None)]
    assert unexplained == []


@ALL
def test_every_path_option_expands_the_home_folder(words: tuple[str, ...]) -> None:
    """A shell doesn't after `=`: a folder called ~ would be made, and `rm -r ~` is what one types then."""
    hints = typing.get_type_hints(COMMANDS[words].callback, include_extras=True)
    for name, hint in hints.items():
        if "Path" in str(typing.get_args(hint)[:1]):
            (told,) = [part for part in hint.__metadata__ if isinstance(part, typer.models.ParameterInfo)]
            assert told.parser is typed_path, name


def test_a_home_folder_is_meant_by_a_tilde_unless_that_name_is_there(
    cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert cmpt726("softmax", "--out=~/figures").status == 0
    assert (home / "figures" / "regions.png").is_file()
    assert not (tmp_path / "~").exists()
    assert cmpt726("cache", "ls", "--cache-dir=~/cc").status == 0
    assert cmpt726("runs", "ls", "--folder=~/runs").status == 0
    (tmp_path / "~").mkdir()
    assert typed_path("~") == Path("~"), "what is there was meant"
    assert not (tmp_path / "~" / "figures").exists()


DRAWING = "--out --format --no-figures --show --json"
# CLI.md, word for word.
CONTRACT = {
    "softmax": f"--point --at --class {DRAWING}",
    "glm": f"--class --at {DRAWING}",
    "backprop": f"--layers --x --t --weights --seed {DRAWING}",
    "vanishing": f"--depth --hidden --connect --weight --bias --dtype --seed {DRAWING}",
    "lr gd": f"--eta --data --max-epochs --tol --start --center {DRAWING}",
    "lr compare": f"--eta {DRAWING}",
    "lr sgd": f"--eta --epochs --batch-size --shuffles --seed {DRAWING}",
    "lr newton": "--json",
    "check": "--list --from --hint --json --class --layers --x --t --weights --depth --data --eta --start",
    "finetune": "--dataset --data-dir --test-fraction --val-fraction --weights --cache --no-cache --recompute "
    "--cache-dir --epochs --unfreeze-after --unfreeze --head --dropout --batch-norm --l2 --weight-decay --optimizer "
    "--lr --backbone-lr --momentum --schedule --batch-size --label-smoothing --preset --solver --augment "
    "--preview-augment --views --validate-every --patience --strict --precision --device --threads --workers --seed "
    "--run-dir --resume "
    "--gallery --no-gallery --tta --json",
    "predict": "--json --csv",
    "evaluate": "--dataset --gallery --json",
    "export": "--output --json",
    "runs ls": "--json",
    "pretrain": "--dataset --depth --epochs --output --resume --seed --json",
    "data ls": "--json",
    "data get": "--data-dir",
    "cache ls": "--json",
    "cache info": "--json",
    "cache verify": "--json",
    "cache prune": "--max-size --older-than --dry-run",
    "cache clear": "--yes",
    "cache path": "",
    "report": "--output --problems --data --run --name --student-id",
    "package": "--output",
    "doctor": "--json",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_options_are_spelt_as_the_contract_spells_them(name: str) -> None:
    missing = set(CONTRACT[name].split()) - spellings(COMMANDS[tuple(name.split())])
    assert not missing, f"cmpt726 {name} lacks {', '.join(sorted(missing))}"


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("dataset", "auto"), ("test_fraction", None), ("val_fraction", None), ("weights", "auto"), ("epochs", 10),
        ("backbone", "auto"),
        ("cache", False), ("unfreeze_after", None), ("head", "linear"), ("weight_decay", 5e-4), ("augment", "none"),
        ("validate_every", 1), ("precision", "auto"), ("device", "auto"), ("seed", 0), ("gallery", True),
        ("tta", False), ("strict", False), ("patience", None), ("views", None),
    ],
)  # fmt: skip
def test_finetunes_defaults_are_the_contracts(option: str, default: Any) -> None:
    (param,) = [param for param in COMMANDS["finetune",].params if param.name == option]
    assert param.default == default


def test_nothing_committed_names_this_machine_or_its_tools() -> None:
    listed = in_folder(ROOT, "git", "ls-files", "-z")
    if listed.returncode:
        pytest.skip("not a git checkout: nothing to list")
    words = re.compile(r"/" + r"work/(main|shared)|farm-" + r"(studio|bench)")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".npz", ".png", ".safetensors", ".pdf"} or not path.is_file():
            continue
        found = words.search(path.read_text(errors="replace"))
        assert found is None, f"{name} says {found and found[0]}"


def test_versions_are_named_without_importing_torch(cmpt726: Run) -> None:
    done = cmpt726("--version")
    assert done.status == 0
    assert re.fullmatch(r"cmpt726 \S+ \(torch \S+, torchvision \S+\)\n", done.stdout)
    code = "import sys, json; from commands.app import app\ntry: app(['--version'])\nexcept SystemExit: pass\n"
    code += f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(fresh.stdout.splitlines()[-1]) == []
