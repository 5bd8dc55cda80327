"""What an interactive user sees: commands on a pseudo-terminal."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli726.finetune.synthetic import write_pictures
from tests.harness import environment

pty = pytest.importorskip("pty", reason="needs POSIX pseudo-terminals")
LIMIT = 120
CMPT726 = ("-m", "cli726")


def on_terminal(*command: object, folder: Path, columns: int = 120) -> tuple[int, str]:
    """Exit status and everything that a command of Python writes to a terminal."""
    ours, theirs = pty.openpty()
    variables = environment() | {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color"}
    variables.pop("NO_COLOR")
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=variables
    )
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], LIMIT)[0]:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux says so that nobody writes any more
            break
        if not part:
            break
        seen += part
    os.close(ours)
    return process.wait(timeout=LIMIT), seen.decode()


def frames(text: str) -> str:
    """Without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


def test_bars_of_a_fine_tuning_run(tmp_path: Path) -> None:
    """And below them a command to copy, which is never broken."""
    folder, name = write_pictures(tmp_path / "shapes", 60), f"{'a rather long name of a folder ' * 4}."
    status, seen = on_terminal(
        *CMPT726, "finetune", "--dataset", f"folder:{folder}", "--weights", "random", "--epochs", 4,
        "--unfreeze-after", 2, "--unfreeze", "layer3", "--threads", 1, "--precision", "fp32", "--run-dir", name,
        folder=tmp_path,
    )  # fmt: skip
    text = frames(seen)
    assert status == 0, text
    assert "training the head" in text
    assert "training layer3 and the head" in text
    assert re.search(r"epoch 3 of 4, accuracy \d+\.\d\d%, best \d+\.\d\d%", text)
    assert "/0 " not in text, "a bar of unknown length is not one of length 0"
    assert f"\nnext: cmpt726 predict '{name}' IMAGE..." in text
    assert "\x1b[" in seen, "on a terminal there are colours"


def test_reading_images_shows_a_count_and_a_running_clock(tmp_path: Path) -> None:
    """The number of files isn't known beforehand; Rich would take 0 steps for finished: a full bar and no clock."""
    script = (
        "import time\nfrom commands.progress import progress\n"
        "with progress() as bar:\n"
        "    bar.start('reading images', 0)\n"
        "    for _ in range(13):\n        bar.advance(1); time.sleep(0.1)\n"
        "    bar.finish('read')\n"
    )
    text = frames(on_terminal("-c", script, folder=tmp_path)[1])
    assert re.search(r"reading images .* 1\d/\? 0:00:01", text), text


def test_an_error_is_one_line_however_long(tmp_path: Path) -> None:
    status, seen = on_terminal(*CMPT726, "backprop", "--weights", "no such file " * 12, folder=tmp_path, columns=60)
    assert status == 2
    assert len([line for line in frames(seen).splitlines() if line.strip()]) == 1, "one error line"
