"""Run folders that a stranger made or something damaged: looked at, never obeyed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli726.finetune import api as finetuning
from cli726.finetune import run as running
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.storage import read_tensors, write_tensors
from tests.cli726.finetune.synthetic import stopped
from tests.harness import times

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("small_network")]


@pytest.fixture(scope="module")
def runs(pictures: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: `interrupted` after its second epoch of three, the first of which trains the head alone; `finished`."""
    folder = tmp_path_factory.mktemp("runs")
    config = FinetuneConfig(
        dataset=f"folder:{pictures}", weights=str(weights), precision="fp32", threads=1, batch_size=16, epochs=3,
        unfreeze_after="1", unfreeze="layer3",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(running, "write_artifacts", lambda *_: [])
        finetuning.finetune(config, folder / "finished")
        with stopped(2):
            finetuning.finetune(config, folder / "interrupted")
    return folder


@pytest.fixture
def interrupted(runs: Path, tmp_path: Path, unadorned: None) -> Path:
    return Path(shutil.copytree(runs / "interrupted", tmp_path / "run"))


@pytest.fixture
def finished(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs / "finished", tmp_path / "run"))


def change(path: Path, **options: Any) -> None:
    """Write other options into a run's configuration."""
    stored = json.loads(path.read_bytes())
    stored["options"].update(options)
    path.write_text(json.dumps(stored))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """What the stranger's code would make; that code lies beside it."""
    (tmp_path / "theirs.py").write_text(
        f"open({str(tmp_path / 'canary')!r}, 'w').close()\n\n\ndef make(*arguments):\n    raise AssertionError\n"
    )
    return tmp_path / "canary"


CODE = "python:theirs.py:make"
SPELLINGS = (CODE, f"flip, {CODE}", f" {CODE}", CODE.upper(), f"folder:{CODE}")


@pytest.mark.parametrize("option", ["dataset", "head", "augment", "weights", "data_dir", "cache_dir", "device"])
@pytest.mark.parametrize("code", SPELLINGS[: times(2, 5)])
def test_code_that_a_file_names_is_never_run(
    interrupted: Path, cmpt726: Callable[..., Any], canary: Path, option: str, code: str
) -> None:
    change(interrupted / "config.json", **{option: code})
    done = cmpt726("finetune", "--resume", interrupted)
    assert not canary.exists()
    assert done.status in (2, 3, 4) or option in ("cache_dir", "data_dir"), done.stderr
    if option in ("dataset", "head", "augment") and code == CODE:
        assert done.status == 2
        assert "code named in a file is never run" in done.stderr


def test_a_models_head_of_code_is_never_run(finished: Path, cmpt726: Callable[..., Any], canary: Path) -> None:
    tensors, facts = read_tensors(finished / "best.safetensors")
    facts["head"]["kind"] = CODE
    write_tensors(finished / "best.safetensors", tensors, facts)
    digest = hashlib.sha256((finished / "best.safetensors").read_bytes()).hexdigest()
    (finished / "model.json").write_text(json.dumps({"sha256": digest}))
    done = cmpt726("predict", finished, finished)
    assert done.status == 2
    assert not canary.exists()


ODD = (b"\xff" * 8, b"0" * 8, b'"\\ud800"', b"[[[[[[[[", b"1e999", b"-1", b"null", b"NaN", b"true", b"9" * 400)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut out, put in or overwritten, some of them by what JSON parsers stumble over."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed)) if changed else 0
        what = chance.randrange(5)
        if what == 0:
            changed[at : at + 1] = chance.randbytes(1)
        elif what == 1:
            del changed[at : at + chance.randint(1, 50)]
        elif what == 2:
            changed[at:at] = chance.randbytes(chance.randint(1, 50))
        elif what == 3:
            changed[at : at + 8] = chance.choice(ODD)
        else:  # a number or a word becomes another one
            words = list(re.finditer(rb"(?<=: )[^\s,]+|-?\d+(\.\d+)?", bytes(changed)))
            if words:
                word = chance.choice(words)
                other = chance.choice([b"0", b"-1", b"3", b"1e308", b"null", b'"x"', b"[]", b"{}", b"true", b"1.5"])
                changed[word.start() : word.end()] = other
    return bytes(changed)


ALLOWED = (0, 2, 3, 4, 5)


def assert_survives(done: Any, where: object) -> None:
    assert done.status in ALLOWED, (where, done.stderr)
    assert "Traceback" not in done.stderr, where
    assert not [c for c in done.stdout + done.stderr if c != "\n" and not c.isprintable()], where


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "last.safetensors", "best.safetensors"])
def test_mutated_runs_are_gone_on_with_or_refused(interrupted: Path, cmpt726: Callable[..., Any], name: str) -> None:
    whole = interrupted.with_name("whole")
    interrupted.rename(whole)
    chance = random.Random(name)
    for number in range(times(6, 100)):
        shutil.rmtree(interrupted, ignore_errors=True)
        shutil.copytree(whole, interrupted)
        content = mutated((whole / name).read_bytes(), chance)
        # Of a tensor file mostly the header, where everything is a claim.
        if name.endswith("safetensors") and number % 2:
            start = 8 + int.from_bytes((whole / name).read_bytes()[:8], "little")
            whole_bytes = (whole / name).read_bytes()
            head = mutated(whole_bytes[8:start], chance)
            content = len(head).to_bytes(8, "little") + head + whole_bytes[start:]
        (interrupted / name).write_bytes(content)
        if name == "config.json" and b"python:" in content:
            continue
        assert_survives(cmpt726("finetune", "--resume", interrupted), (number, content[:3000]))


@pytest.mark.parametrize("name", ["summary.json", "model.json", "best.safetensors", "config.json"])
def test_mutated_finished_runs_are_listed_and_used_or_refused(
    finished: Path, cmpt726: Callable[..., Any], pictures: Path, name: str
) -> None:
    image = next(pictures.rglob("*.png"))
    content, chance = (finished / name).read_bytes(), random.Random(name)
    for number in range(times(12, 250)):
        (finished / name).write_bytes(mutated(content, chance))
        assert_survives(cmpt726("runs", "ls", "--folder", finished.parent, "--json"), number)
        if name not in ("summary.json", "config.json"):
            done = cmpt726("predict", finished, image)
            assert_survives(done, number)
            assert done.status in (0, 3), done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs FIFOs")
@pytest.mark.parametrize("name", ["config.json", "summary.json", "model.json", "best.safetensors", "metrics.jsonl"])
def test_nothing_waits_for_what_is_no_ordinary_file(
    finished: Path, cmpt726: Callable[..., Any], pictures: Path, name: str
) -> None:
    (finished / name).unlink()
    os.mkfifo(finished / name)
    image = next(pictures.rglob("*.png"))
    for command in (
        ("runs", "ls", "--folder", finished.parent),
        ("predict", finished, image),
        ("finetune", "--resume", finished),
    ):
        assert_survives(cmpt726(*command), command)


def test_writing_follows_no_link_that_a_stranger_left(interrupted: Path, cmpt726: Callable[..., Any]) -> None:
    victim = interrupted.with_name("victim")
    victim.write_text("mine")
    names = ("metrics.jsonl", "last.safetensors", "best.safetensors", "model.json", "summary.json", "config.json")
    for name in names:
        (interrupted / f".{name}.{os.getpid()}.part").symlink_to(victim)
        if name != "summary.json":
            content = (interrupted / name).read_bytes()
            (interrupted / name).unlink()
            (interrupted / "aside").mkdir(exist_ok=True)
            (interrupted / "aside" / name).write_bytes(content)
            (interrupted / name).symlink_to(interrupted / "aside" / name)
    done = cmpt726("finetune", "--resume", interrupted)
    assert done.status in (0, 3), done.stderr
    assert victim.read_text() == "mine"
