"""The command line where streams, folders and the environment are not as one expects."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import app as edge
from tests.harness import FULL, child, in_shell

pytestmark = [pytest.mark.faults, pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")]


@pytest.mark.parametrize("command", ["lr gd --json", "lr gd --no-figures", "--help"])
def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path, command: str) -> None:
    done = in_shell(f"cmpt726 {command} | true", tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_status_4_and_with_nowhere_to_tell_an_error_the_status_still_does(tmp_path: Path) -> None:
    for command in ("softmax --point", "softmax --json", "--version"):
        done = in_shell(f"cmpt726 {command} > /dev/full", tmp_path)
        assert done.returncode == 4
        assert done.stderr.startswith("error: No space left on device")
        assert done.stderr.count("\n") == 1
    assert in_shell("cmpt726 softmax --at x y 2> /dev/full", tmp_path).returncode == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_streams(tmp_path: Path, closed: str) -> None:
    good = in_shell(f"cmpt726 softmax --point {closed}", tmp_path)
    assert good.returncode == 0
    assert ("green point" in good.stdout) == (">&-" not in closed.replace("2>&-", ""))
    bad = in_shell(f"cmpt726 softmax --at x y {closed}", tmp_path)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: ") == ("2>&-" not in closed)


def test_nothing_asks_where_nobody_can_answer(tmp_path: Path) -> None:
    (tmp_path / "v1" / "ab" / ("ab" * 32)).mkdir(parents=True)
    for nobody in ("<&-", "< /dev/null"):
        done = in_shell(f"cmpt726 cache clear --cache-dir . {nobody}", tmp_path)
        assert (done.returncode, "--yes" in done.stderr) == (2, True)


UNDECODABLE = "$'bad\\xff'"


@pytest.mark.parametrize("encoding", ["ascii", *(["utf-8:strict", "latin-1:strict"] if FULL else [])])
def test_streams_of_any_encoding_take_any_text(tmp_path: Path, encoding: str) -> None:
    command = f"cmpt726 backprop --out {UNDECODABLE}"
    done = in_shell(f"{command} | iconv -f latin1 -t utf8", tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(in_shell(f"{command} --json", tmp_path, PYTHONIOENCODING=encoding).stdout)
    assert document["figures"] == ["bad\\udcff/network.png"]
    assert "δ" in json.dumps(document, ensure_ascii=False)


@pytest.mark.parametrize("columns", ["0", "1", "-5", "many", ""])
def test_a_terminal_that_does_not_know_its_width_hides_nothing(
    cmpt726: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "".join(cmpt726("softmax", "--point").stdout.split()).startswith("Thegreenpoint")


def test_without_a_home_a_folder_must_be_named(cmpt726: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "CMPT726_CACHE_DIR", "CMPT726_DATA_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for command, variable in (("cache ls", "CMPT726_CACHE_DIR"), ("data ls", "CMPT726_DATA_DIR")):
        done = cmpt726(*command.split())
        assert done.status == 4
        assert done.stderr.startswith(f"error: {variable} must name a folder")
    assert cmpt726("cache", "path", "--cache-dir", "x").stdout == "x\n"
    done = cmpt726("doctor")
    assert done.status == 0
    assert "CMPT726_CACHE_DIR must name" in " ".join(done.stdout.split())


def test_a_folder_that_may_not_be_written_to_or_was_removed_is_status_4(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        os.chdir(tmp_path)
        tmp_path.chmod(0o555)
        if os.geteuid() == 0:
            os.setuid(65534)
        sys.argv = ["cmpt726", "glm"]
        edge.main()

    assert child(work) == 4
    assert "error: Permission denied: results" in capfd.readouterr().err
    tmp_path.chmod(0o755)
    for command in ("softmax --point", "doctor"):
        (tmp_path / "gone").mkdir()
        done = in_shell(f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && cmpt726 {command}", tmp_path)
        assert done.returncode == 4
        assert done.stderr.splitlines()[-1].startswith("error: the current folder must exist")


def test_a_foreign_matplotlibrc_or_backend_changes_no_figure(
    tmp_path: Path, cmpt726: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib as mpl

    done = in_shell("cmpt726 backprop --out one --format svg", tmp_path, MPLBACKEND="nonsense")
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setitem(mpl.rcParams, "text.usetex", True)
    monkeypatch.setitem(mpl.rcParams, "font.family", ["monospace"])
    assert cmpt726("backprop", "--out", "two", "--format", "svg").status == 0
    assert mpl.rcParams["text.usetex"]
    for figure in (tmp_path / "one").iterdir():
        assert figure.read_bytes() == (tmp_path / "two" / figure.name).read_bytes()


@pytest.fixture
def in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file where folders are expected."""
    path = tmp_path / "file"
    path.write_text("x")
    monkeypatch.setenv("CMPT726_DATA_DIR", str(path))
    monkeypatch.setenv("CMPT726_CACHE_DIR", str(path))
    return path


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("data get chenyaofo", 4),
        ("data get cifar10", 4),
        ("data ls", 0),
        ("doctor", 0),
        ("cache ls", 0),
        ("cache verify", 0),
        ("runs ls --folder file", 0),
        ("softmax --out file", 2),
        ("lr gd --data file", 2),
        ("finetune --dataset digits --weights random --run-dir file", 2),
        ("finetune --dataset digits --weights random --cache --run-dir run", 4),
        ("predict file file", 2),
        ("backprop --weights file", 2),
    ],
)
def test_a_file_where_a_folder_should_be_is_told(
    in_the_way: Path, cmpt726: Callable[..., Any], command: str, status: int
) -> None:
    done = cmpt726(*command.split())
    assert done.status == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "a bug of ours" not in done.stderr
    assert in_the_way.read_text() == "x"
    if command == "doctor":
        assert "it is a file" in " ".join(done.stdout.split())


LONG = "a" * 300


@pytest.mark.parametrize("name", [LONG, "a/" * 3000, "~nobody726/x", "bad\udcff", "\x1b[31m[/x]", "x\ny", "-", "~"])
@pytest.mark.parametrize(
    "command",
    [
        "lr gd --data {}", "backprop --weights {}", "finetune --dataset folder:{}", "finetune --dataset csv:{}",
        "finetune --dataset python:{}.py:f", "finetune --weights {}.pt --dataset digits", "finetune --resume {}",
        "finetune --weights {}.safetensors --dataset digits", "finetune --data-dir {} --dataset cifar10",
        "predict {} x",
        "finetune --dataset {}", "finetune --head {}", "finetune --augment {}", "finetune --device {} --dataset digits",
        "pretrain --output {}", "data get {}", "cache info {}", "softmax --at {} 1", "glm --class {}",
        "vanishing --weight {}", "finetune --unfreeze {}", "finetune --epochs {}",
    ],
)  # fmt: skip
def test_odd_names_are_refused_in_one_plain_line(cmpt726: Callable[..., Any], command: str, name: str) -> None:
    if "--resume" in command and name == "~":
        pytest.skip("a folder that is there")
    done = cmpt726(*(part.replace("{}", name) for part in command.split()))
    assert done.status in (2, 4), done.stderr
    assert done.stdout == ""
    assert "a bug of ours" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not [c for c in done.stderr if c != "\n" and not c.isprintable()]
