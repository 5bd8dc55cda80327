"""Every option that takes a number, at, below and above its limits, and given what is no number.

A value is taken (exit status 0; 5 where the numbers then diverge) or refused (2, with the option or the value named);
never a bug (1), a crash or a hang. Long work is stopped once it has begun: then the value was taken.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

from cli726.finetune.recipe import KNOWN
from commands.app import app
from commands.options import leaf
from tests.harness import FULL, REPOSITORY, environment, leaves, times

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")]
SCRIPT = Path(__file__).with_name("forks.py")

# Seconds of processor time after which work counts as begun, and that no refusal takes.
BEGUN, LONGEST = times(3, 60) / 20, 60
BEGUN_STATUS = 128 + signal.SIGTERM
# What loads whatever any command does, near enough: an import that is interrupted spoils nothing but the one command.
TRIALS = ("finetune", "softmax", "lr gd", "backprop")
DRAWING = ("softmax", "glm", "backprop", "vanishing", "lr")
# Refused everywhere: no finite number, a number that Python refuses to read, no number.
ODD = ["nan", "inf", "9" * 5000, "x", "", "1,,1"]
LARGE = [2**31, 2**63 - 1, 2**63, 10**30]
EXTREME = [-0.0, 5e-324, 1e-45, 1e38, 1e39, 1e308]

# By option, for one command where commands differ: what it takes, at its limits, and what it refuses, beyond them. An
# option that takes numbers and isn't here fails a test.
Limits = tuple[Sequence[object], Sequence[object]]
EXACT: Limits = (["1e30", "-1e30", "1e-30", "0", "1/3"], ["1.01e30", "0.99e-30", "1/0", "1" * 41])
FROM_1: Limits = ([1, 10**30], [0, -1, 1.5])
BELOW_1: Limits = ([0, 0.999999], [-1e-9, 1, 1.5])
RATE: Limits = ([5e-324, 1e38], [0, -1e-9, 1.1e38])
PENALTY: Limits = ([0, 1e38], [-1e-9, 1.1e38])
FRACTION: Limits = ([0.05, 0.8], [0, 0.85, 1, -0.1])
EPOCHS: Limits = ([1, 10**6], [0, 10**6 + 1, 1.5])
START: Limits = (["1e100,0,0", "-1e100,0,0"], ["1.1e100,0,0", "0,0", "0,0,0,0"])
THREADS: Limits = ([1, 1024], [0, 1025])


def strengths() -> Limits:
    """Of every augmentation."""
    kinds = list(KNOWN.items())[: times(3, len(KNOWN))]
    at = [f"{name}:{value:g}" for name, kind in kinds for value in (kind.low, kind.high)]
    return at, [f"{name}:{value:g}" for name, kind in kinds for value in (kind.low - 0.01, kind.high + 0.01)]


LIMITS: dict[str, Limits] = {
    "check --hint": ([1, 3], [0, 4, 1.5]),
    "check --x": tuple([f"{value},1,1" for value in values] for values in EXACT),
    "check --layers": (["1,1", "9,9,9"], ["1", "3,0,1", "3,10,1", "1,1,1,1,1,1,1,1,1", "3,-1,1", "3,1e2,1"]),
    "check --depth": ([4, 400], [3, 401]),
    "check --max-epochs": ([1, 100_000], [0, 100_001, 1.5]),
    "--seed": ([0, 2**63 - 1], [-1, 2**63, 0.5]),
    "--at": ([f"{value} 1" for value in EXACT[0]], [f"{value} 1" for value in EXACT[1]]),
    "--class": tuple([f"{value},1,1" for value in values] for values in EXACT),
    "--extent": (["1e30", "1e-30"], [0, -1, "1.01e30"]),
    "--t": EXACT,
    "backprop --x": tuple([f"{value},1,1" for value in values] for values in EXACT),
    "--layers": (["1,1", "1000,1000"], ["1", "3,0,1", "1000,1001", "3,-1,1", "3,1e2,1"]),
    "--depth": ([1, 20_000], [0, 20_001]),
    "--weight": ([1000, -1000, 0, "normal:1e-30", "normal:1000"], [1001, "normal:0", "normal:-1", "normal:", "1:2"]),
    "--bias": ([1000, -1000, 0], [1001]),
    "vanishing --x": (["1000,-1000", "0,0"], ["1001,0", "0", "0,0,0"]),
    "vanishing --t": ([1000, -1000], [1001]),
    "--eta": ([5e-324, 1e308], [0, -1e-9]),
    "--max-epochs": EPOCHS,
    "--tol": ([0, 1e308], [-1e-300]),
    "--start": START,
    "lr sgd --epochs": EPOCHS,
    "lr sgd --batch-size": ([1, 200], [0, 201]),
    "--shuffles": ([1, 10_000], [0, 10_001]),
    "--epochs": FROM_1,
    "--test-fraction": FRACTION,
    "--val-fraction": FRACTION,
    "--augment": strengths(),
    "--views": ([1, 1000], [0, 1001]),
    "--folds": ([2, 20], [1, 21]),
    "--image-size": ([32, 1024], [31, 1025]),
    "--unfreeze-after": ([0, 9, "1:layer3,9:all"], [10, -1, 1.5, "9:layer3,10:all", "10000000000"]),
    "--validate-every": FROM_1,
    "--patience": FROM_1,
    "finetune --head": (["mlp:1", "mlp:65536"], ["mlp:0", "mlp:65537", "mlp:-1", "mlp:1.5", "mlp:"]),
    "--dropout": BELOW_1,
    "--momentum": BELOW_1,
    "--label-smoothing": BELOW_1,
    "--l2": PENALTY,
    "--weight-decay": PENALTY,
    "--lr": RATE,
    "--backbone-lr": RATE,
    "--batch-size": ([2, 10**30], [1, 0, -1, 1.5]),
    "--threads": THREADS,
    "--workers": THREADS,
    "pretrain --depth": ([20, 32, 44, 56], [19, 21, 57, 0, -20]),
    "--min-confidence": ([0, 1], [-1e-9, 1.1]),
    "--max-error": ([], [-1e-9, 1.1]),  # runs as old as the one here can't take it
    "--problems": (["1", "6", "1,2"], ["0", "7", "-1", "1.5"]),
    "--max-size": (["0", "9" * 15 + "TB"], ["-1GB", "9" * 16, "1e3", "1XB"]),
    "--older-than": (["0d", "9" * 15 + "w"], ["-1d", "9" * 16 + "d", "1e3d", "1"]),
}
# Which of those an option takes all the same: they choose the default.
TAKEN_EMPTY = {"--augment", "--extent"}
# A question and an answer for options of `check`; points can be read as losses and weights.
DESCENT = ["5.1", str(files("cli726") / "assets" / "points.txt")]
ANSWERS = {
    "--class": ["2.1", "8", "--class", "1,2,3"],
    "--depth": ["4.1", "delta_1^(l+1) z_1^(l)"],
    "--hint": ["3.1"],
    **dict.fromkeys(("--eta", "--tol", "--start", "--max-epochs"), DESCENT),
}


def cases() -> list[Any]:
    """Every option of every command; of those that several share, in CI, the first command's alone."""
    shared = {(case.values[1], id(case.values[3])): case for case in reversed(all_cases())}
    return all_cases() if FULL else list(shared.values())


def all_cases() -> list[Any]:
    found = []
    for called, command in leaves(typer.main.get_command(app)):
        words, hints = " ".join(called), get_type_hints(command.callback)
        for param in command.params:
            option = max(param.opts, key=len)
            name = f"{words} {option}"
            kind = next((kind for kind in (int, float) if leaf(hints.get(param.name)) is kind), None)
            limits = LIMITS.get(name, LIMITS.get(option) if name != "predict --head" else None)
            if limits is not None or kind is not None:
                found.append(pytest.param(words, option, kind, limits, id=name))
    return found


def needed(command: str, option: str, pictures: Path) -> list[str]:
    """What a command needs besides, so that it starts at all."""
    if command == "check":
        return ANSWERS.get(option, ["3.1", "1.5"])
    if command.split()[0] in DRAWING:
        return ["--no-figures", *(["--class", "1,2,3"] if option == "--class" else [])]
    if command == "predict":
        return [str(REPOSITORY / "tests" / "data" / "run-0.1.0"), str(pictures)]
    # Classes of twenty pictures have none to spare for every fraction.
    data = "digits" if "fraction" in option else f"folder:{pictures}"
    tuning = ["--dataset", data, *(["--precision", "fp32"] if option != "--precision" else [])]
    if command == "finetune":
        return [*tuning, "--weights", "random", *(["--augment", "flip"] if option == "--views" else [])]
    return tuning if command == "pretrain" else []


def typed(option: str, value: object) -> list[str]:
    text = str(value) if not isinstance(value, float) else repr(value)
    return [option, *text.split()] if option == "--at" else [f"{option}={text}"]


Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Iterator[Ask]:
    """Runs a command as a fork of a process that has everything loaded; status, stdout and stderr."""
    folder = tmp_path_factory.mktemp("asked")
    variables = {name: str(folder) for name in ("CMPT726_CACHE_DIR", "CMPT726_DATA_DIR")}
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment() | variables,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    def say(line: object) -> None:
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()

    def asking(seconds: float, *words: str) -> Any:
        say([seconds, words])
        return json.loads(process.stdout.readline())

    once = ["--epochs", "1"]
    say([[*name.split(), *needed(name, "", pictures), *(once if name == "finetune" else [])] for name in TRIALS])
    yield asking
    process.stdin.close()
    process.stdout.close()
    assert process.wait() == 0


@pytest.mark.parametrize(("command", "option", "kind", "limits"), cases())
def test_numbers_are_taken_or_refused(
    ask: Ask, pictures: Path, command: str, option: str, kind: type | None, limits: Limits
) -> None:
    odd = ODD[: None if FULL else 1 if kind else 3]
    extreme = {int: LARGE, float: EXTREME}.get(kind, [])
    wrong = {10} if command == "check" else set()
    tried = [(value, {0, 5, BEGUN_STATUS, *wrong}) for value in limits[0]]
    tried += [(value, {2}) for value in (*limits[1], *odd) if value != "" or option not in TAKEN_EMPTY]
    tried += [(value, {0, 2, 5, BEGUN_STATUS, *wrong}) for value in (extreme if FULL else ())]
    for value, statuses in tried:
        words = typed(option, value)
        seconds = BEGUN if BEGUN_STATUS in statuses else LONGEST
        done = ask(seconds, *command.split(), *needed(command, option, pictures), *words)
        assert done["status"] in statuses, (words, done)
        assert "Traceback" not in done["err"]
        if done["status"] == 2:
            assert done["out"] == ""
            said = " ".join(done["err"].split())
            received = [part[:30] for part in words[-1].rpartition("=")[2].split(",") if part] or ["got ''"]
            assert option in said or any(part in said for part in received), (words, said)


def test_every_option_that_takes_a_number_has_its_limits_here() -> None:
    assert [case.id for case in all_cases() if case.values[3] is None] == []
    assert len(all_cases()) > 55
    assert set(LIMITS) <= {name for case in all_cases() for name in (case.id, case.values[1])}
