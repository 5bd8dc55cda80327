"""What the shell offers after TAB, driven through the protocol that the installed scripts speak."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from cli726.finetune.data.datasets import SOURCES
from cli726.finetune.recipe import KNOWN as AUGMENTATIONS
from commands.app import app
from tests.harness import environment, leaves

HEAVY = ("numpy", "torch", "torchvision", "matplotlib", "h5py", "PIL", "rich.console")
Tab = Callable[[str], list[str]]


@pytest.fixture
def tab(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Tab:
    """`tab("finetune --head m")`: what bash would be offered there, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def press(line: str) -> list[str]:
        words = ["cmpt726", *line.split(" ")]
        monkeypatch.setenv("_CMPT726_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            app(prog_name="cmpt726")
        assert stop.value.code == 0
        out, err = capfd.readouterr()
        assert err == ""
        return out.split()

    return press


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fine", ["finetune"]),
        ("lr ", ["gd", "compare", "sgd", "newton"]),
        ("finetune --unfreeze-", ["--unfreeze-after"]),
        ("finetune --unfreeze layer", ["layer4", "layer3", "layer2", "layer1"]),
        ("finetune --head ", ["linear", "mlp:128", "mlp:128,64", "python:"]),
        ("finetune --weights ", ["auto", "bundled", "chenyaofo", "random"]),
        ("finetune --device c", ["cpu", "cuda"]),
        ("finetune --dataset c", ["cifar10", "cifar100", "csv:"]),
        ("finetune --dataset ST", ["STL10"]),
        ("pretrain --depth ", ["20", "32", "44", "56"]),
        ("report --problems 1,", ["1,2", "1,3", "1,4", "1,5", "1,6"]),
        ("data get cifar", ["cifar10", "cifar100"]),
    ],
)  # fmt: skip
def test_commands_options_and_choices_complete(tab: Tab, line: str, offered: list[str]) -> None:
    assert tab(line) == offered


def test_every_choice_of_every_command_completes(tab: Tab) -> None:
    found = 0
    for words, command in leaves(typer.main.get_command(app)):
        for param in command.params:
            if re.fullmatch(r"[a-z]\w+(\|\w+)+", param.metavar or "") and param.name != "unfreeze":
                assert tab(f"{' '.join(words)} {param.opts[0]} ") == param.metavar.split("|"), param.name
                found += 1
    assert found > 15


def test_a_list_of_augmentations_is_completed_at_its_end(tab: Tab) -> None:
    assert tab("finetune --augment ") == list(AUGMENTATIONS)
    assert tab("finetune --augment flip,bl") == ["flip,blur"]
    assert tab("finetune --augment flip:0.3,") == [f"flip:0.3,{name}" for name in AUGMENTATIONS if name != "flip"]


def test_the_names_offered_are_those_that_are_known(tab: Tab) -> None:
    offered = tab("finetune --dataset ")
    assert set(offered) == {"auto", *(name for name, source in SOURCES.items() if source.load)}
    assert set(tab("data get ")) == {name for name, source in SOURCES.items() if source.fetch} - {"digits"}


def test_the_places_of_own_data_complete(tab: Tab, tmp_path: Path) -> None:
    for name in ("photos/cats", "photos/dogs", ".git"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("photos.csv", "photos.py", "photos/cats.csv"):
        (tmp_path / name).touch()
    assert tab("finetune --dataset folder:ph") == ["folder:photos/"]
    assert tab("finetune --dataset folder:photos/") == ["folder:photos/cats/", "folder:photos/dogs/"]
    assert tab("finetune --dataset csv:ph") == ["csv:photos/", "csv:photos.csv"]
    assert tab("finetune --dataset python:") == ["python:photos/", "python:photos.py"]
    assert tab("finetune --dataset folder:nowhere/") == []


def test_runs_complete_by_name(tab: Tab, tmp_path: Path) -> None:
    assert tab("predict ") == ["latest"]
    for name, files in {"a": ["best", "last"], "b": ["best", "last"], "c": ["last"]}.items():
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / f"{file}.safetensors").touch()
    (tmp_path / "runs" / "a" / "summary.json").touch()
    assert tab("predict ") == ["latest", "b", "a"]
    assert tab("report --run l") == ["latest"]
    assert tab("finetune --resume ") == ["runs/c", "runs/b"]


def test_cache_keys_complete(tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMPT726_CACHE_DIR", str(tmp_path / "cache"))
    assert tab("cache info ") == []
    keys = ["ab" + "0" * 62, "cd" + "1" * 62]
    for key in keys:
        (tmp_path / "cache" / "v1" / key[:2] / key).mkdir(parents=True)
    (tmp_path / "cache" / "v1" / "parts").mkdir()
    assert sorted(tab("cache info ")) == keys
    assert tab("cache clear c") == [keys[1]]
    assert tab(f"cache verify --cache-dir {tmp_path} ") == []


ASK = f"""
import json, sys
from commands.app import app
from tests.harness import environment, leaves
try:
    app(prog_name="cmpt726")
except SystemExit as stop:
    print(json.dumps([stop.code, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


@pytest.mark.parametrize("line", ["finetune --dataset ", "cache info "])
def test_nothing_heavy_is_imported_while_somebody_waits_for_tab(tmp_path: Path, line: str) -> None:
    words = ["cmpt726", *line.split(" ")]
    position = str(len(words) - 1)
    variables = {"_CMPT726_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": position}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=tmp_path,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_works_in_bash(tmp_path: Path) -> None:
    program = tmp_path / "cmpt726"
    program.write_text(f"#!{sys.executable}\nfrom commands.app import main\nmain()\n")
    program.chmod(0o755)
    script = """
    source <(cmpt726 --show-completion bash)
    COMP_WORDS=(cmpt726 finetune --unfreeze lay) COMP_CWORD=3
    _cmpt726_completion cmpt726
    echo "${COMPREPLY[@]}"
    """
    variables = environment() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["layer4", "layer3", "layer2", "layer1"]
