"""What a newcomer is told: where to begin, what was meant, what comes next, how long it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from cli726.errors import did_you_mean
from commands import progress
from commands.app import app
from tests.cli726.finetune.synthetic import write_pictures
from tests.harness import leaves

Run = Callable[..., Any]


def test_alone_it_shows_where_to_begin(cmpt726: Run) -> None:
    done = cmpt726()
    assert (done.status, done.stderr) == (2, "")
    assert re.findall(r"\$ cmpt726 (\w+)", done.stdout) == ["finetune", "softmax", "report"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("softmx", "Did you mean 'softmax'?"),
        ("lr gdd", "Did you mean 'gd', 'sgd'?"),
        ("cache lss", "Did you mean 'ls'?"),
        ("softmax --pont", "--point"),
        ("finetune --datset digits", "--dataset"),
    ],
)
def test_mistyped_commands_options_and_choices(cmpt726: Run, typed: str, meant: str) -> None:
    done = cmpt726(*typed.split())
    assert (done.status, done.stdout) == (2, "")
    assert meant in re.sub(r"[\s│]+", " ", done.stderr)
    assert "Usage: " in done.stderr


def needed(command: Any) -> list[str]:
    """Return something for each argument that a command can't do without."""
    return ["digits" for param in command.params if param.param_type_name == "argument" and param.required]


CHOICES = [
    pytest.param(
        " ".join([*words, *needed(command)]),
        param.opts[0],
        param.metavar.split("|"),
        id=f"{' '.join(words)} {param.name}",
    )
    for words, command in leaves(typer.main.get_command(app))
    for param in command.params
    if re.fullmatch(r"[a-z]\w+(\|\w+)+", param.metavar or "")
]


@pytest.mark.parametrize(("command", "option", "words"), CHOICES)
def test_every_choice_of_every_command_gets_its_nearest_name(
    cmpt726: Run, command: str, option: str, words: list[str]
) -> None:
    assert len(CHOICES) > 15
    for word in words:
        done = cmpt726(*command.split(), option, word[:-1] + "_")
        assert (done.status, done.stdout) == (2, "")
        assert done.stderr.startswith(
            f"error: {option} must be one of {', '.join(words)}; got {word[:-1]}_; did you mean "
        )
        assert word in done.stderr.rpartition("mean")[2]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("finetune --dataset digitz", "did you mean digits?"),
        ("finetune --dataset fashionmnst", "did you mean FashionMNIST"),
        ("finetune --dataset digits --augment flp", "did you mean flip"),
        ("finetune --dataset digits --weights bundeld", "did you mean bundled?"),
        ("finetune --dataset digits --device cdua", "auto, cpu, cuda, mps; got cdua; did you mean cuda?"),
        ("finetune --unfreeze-after 3:layr3", "got layr3; did you mean layer3"),
        ("data get cifar01", "did you mean cifar10"),
        ("predict lastest x.jpg", "did you mean latest?"),
        ("lr sgd --shuffles many", "--shuffles must be a whole number from 1 to 10000; got many"),
        ("lr compare --eta 0.1 --eta ten", "--eta must be a number; got ten"),
        ("lr sgd --batch-size 0", "--batch-size must be a whole number, at least 1; got 0"),
    ],
)
def test_mistyped_values(cmpt726: Run, typed: str, meant: str) -> None:
    done = cmpt726(*typed.split())
    assert (done.status, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]  # a busy machine is noted before
    assert last.startswith("error: ")
    assert meant in last


def test_what_is_like_nothing_gets_no_suggestion() -> None:
    assert did_you_mean("xyzzy", ["digits", "STL10"]) == did_you_mean("", ["digits"]) == ""
    assert did_you_mean("stl1", ["digits", "STL10"]) == "; did you mean STL10?"


@pytest.mark.usefixtures("small_network")
def test_a_finished_run_says_what_comes_next_and_that_works(cmpt726: Run, tmp_path: Path) -> None:
    """A small run in a folder with a space in its name."""
    folder = write_pictures(tmp_path / "data" / "shapes", 36)
    options = ("--dataset", f"folder:{folder}", "--weights", "random", "--epochs", 1, "--threads", 1)
    done = cmpt726("finetune", *options, "--run-dir", "runs/my first")
    assert done.status == 0, done.stderr
    commands = re.findall(r"cmpt726 (.+?)(?:    |$)", done.stderr, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["predict", "report"]
    image = next(folder.glob("*/*.*"))
    words = [str(image) if word == "IMAGE..." else word for word in shlex.split(commands[0])]
    assert cmpt726(*words).status == 0
    assert shlex.split(commands[1]) == ["report", "--run", "runs/my first"]
    page = re.search(r"open (.+) in a browser", done.stderr)
    assert page is not None
    assert Path(page[1]).is_file()


def test_a_log_is_told_once_how_long_a_long_task_takes(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    plain = progress.PlainProgress()

    def work(total: int, *moments: float, rounds: int = 0) -> str:
        nonlocal now
        began = now
        plain.start("reading", total)
        for step, moment in enumerate(moments, start=1):
            now = began + moment
            plain.advance(1)
            if rounds and step % rounds == 0:
                plain.note("epoch done")
        return capfd.readouterr().err

    assert work(20, 1, 2, 10, 20, 30) == "reading: about 76 seconds to go\n", "by the steps after the first"
    assert work(100, 1, 2, 10) == "", "3 % of the steps tell too little"
    assert work(4, 1, 2, 10) == ""
    assert work(0, 10, 20) == ""
    assert work(10_000, 10) == ""
    assert work(600, 9, 10, 11, 17, rounds=4) == "reading: about 26 minutes to go\n", "an epoch has its validation"


@pytest.mark.parametrize("warm_up", [0, 5, 60])
@pytest.mark.parametrize("epochs", [3, 30])
def test_the_time_left_is_right_within_a_third(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, warm_up: int, epochs: int
) -> None:
    """40 steps of a second an epoch and 10 seconds of validation, after a first step that takes longer."""
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    plain = progress.PlainProgress()
    plain.start("training", 40 * epochs)
    announced = None
    for epoch in range(epochs):
        for step in range(40):
            now += 1 + (warm_up if epoch == step == 0 else 0)
            plain.advance(1)
            if announced is None and (said := capfd.readouterr().err):
                announced = now, said
        now += 10
        plain.note("epoch")
        if announced is None and (said := capfd.readouterr().err):
            announced = now, said
    assert announced is not None
    moment, said = announced
    found = re.search(r"about (\d+) (seconds|minutes) to go", said)
    assert found is not None
    left = int(found[1]) * {"seconds": 1, "minutes": 60}[found[2]]
    assert 2 / 3 <= left / (now - moment) <= 4 / 3
