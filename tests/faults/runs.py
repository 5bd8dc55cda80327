"""Run as a script: kills a run at random moments, has it gone on with until it is finished, and again.

`runs.py FOLDER PICTURES COUNT`: FOLDER/whole is a run left in peace; prints a line of JSON for each of COUNT
others: place, kills.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from cli726.finetune import api as finetuning
from cli726.finetune import run as running
from cli726.finetune.config import FinetuneConfig
from tests.cli726.finetune.conftest import shrunk
from tests.harness import child


def go_on(config: FinetuneConfig, place: Path) -> None:
    """Begin the run, or go on with it; nothing where it is finished."""
    torch.set_num_threads(1)
    if (place / "summary.json").exists():
        return
    if (place / "config.json").exists():
        finetuning.resume(place)
    else:
        finetuning.finetune(config, place)


def main() -> None:
    folder, pictures, count = sys.argv[1:]
    running.write_artifacts = lambda *_: []
    torch.set_num_threads(1)

    def config(cache: Path) -> FinetuneConfig:
        return FinetuneConfig(
            dataset=f"folder:{pictures}", weights="random", precision="fp32", batch_size=16, epochs=4,
            unfreeze_after="2", unfreeze="layer3", augment="flip", cache=True, cache_dir=str(cache),
        )  # fmt: skip

    whole = Path(folder, "whole")
    began = time.monotonic()
    assert child(lambda: go_on(config(Path(folder, "whole-cache")), whole)) == 0
    length = time.monotonic() - began
    chance = random.Random(726)
    for number in range(int(count)):
        place, kills = Path(folder, str(number)), 0
        cache = Path(folder, f"{number}-cache")
        while not (place / "summary.json").exists():
            pid = os.fork()
            if pid == 0:
                go_on(config(cache), place)
                os._exit(0)
            if kills < 3:
                time.sleep(chance.uniform(0, length))
                os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            kills += status == -signal.SIGKILL
            assert status in (0, -signal.SIGKILL), status
        print(json.dumps({"place": str(place), "kills": kills}), flush=True)


if __name__ == "__main__":
    with shrunk():
        main()
