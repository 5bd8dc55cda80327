"""Run as a script: commands one after another, each in a fork, so that an interrupted one can't spoil the next.

`forks.py FOLDER` first reads a line of JSON with trials, from which it learns what modules the commands load, so that a
fork has them all. Then it reads lines of JSON, seconds and the words after `cmpt726`, and answers each with a line of
JSON: status, out, err. A command that has had so many seconds of processor time gets SIGTERM; one that hangs is killed.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from typing import IO, Any

import torch
import typer

from cli726.finetune import run as finetuning
from commands import app as edge
from tests.harness import child

# Of the wall clock, on a machine that may be busy with other things.
HANGS = 600


def call(words: list[str]) -> None:
    sys.argv = ["cmpt726", *words]
    edge.main()


def learn_modules(trials: list[list[str]]) -> None:
    """Import what the trials import, without the rest of what they do: threads, for one, survive no fork."""
    with tempfile.TemporaryFile("w+") as told:

        def work() -> None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            for words in trials:
                with suppress(SystemExit):
                    call(words)
            json.dump(list(sys.modules), told)
            told.flush()

        assert child(work) == 0
        told.seek(0)
        for name in json.load(told):
            if name not in sys.modules:
                with suppress(ImportError):
                    importlib.import_module(name)


def answer(seconds: float, words: list[str]) -> dict[str, Any]:
    """What became of a command."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:

        def work(streams: tuple[IO[str], IO[str]] = (out, err)) -> None:
            for number, stream in enumerate(streams, start=1):
                os.dup2(stream.fileno(), number)
            signal.signal(signal.SIGPROF, lambda *_: signal.raise_signal(signal.SIGTERM))
            # Again where compiled code swallowed the first.
            signal.setitimer(signal.ITIMER_PROF, seconds, 10 * seconds)
            signal.alarm(HANGS)
            call(words)

        status = child(work)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
    return {"status": status, "out": texts[0], "err": texts[1]}


def main() -> None:
    os.chdir(sys.argv[1])
    torch.set_num_threads(1)
    finetuning.write_artifacts = lambda *_: []
    edge.app = typer.main.get_command(edge.app)  # once: building it takes longer than most of the rest
    learn_modules(json.loads(sys.stdin.readline()))
    gc.freeze()  # so that a fork collecting its garbage need not copy ours
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
