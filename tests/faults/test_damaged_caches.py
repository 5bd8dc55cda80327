"""What a run says and does when its cached features are not what they were."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.cli726.finetune.synthetic import assert_same_result
from tests.harness import cases

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("small_network")]


def lead_elsewhere(path: Path) -> None:
    target = path.with_name("target.h5")
    target.write_bytes(b"the target's secret bytes")
    with h5py.File(path, "w") as file:
        file["features"] = h5py.ExternalLink(str(target), "/features")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", cases(flip, lead_elsewhere, lambda path: path.write_bytes(b"cut")))
def test_a_run_refuses_a_damaged_entry_and_the_remedy_it_names_works(
    tmp_path: Path, finetune: Callable[..., Any], cmpt726: Callable[..., Any], damage: Callable[[Path], Any]
) -> None:
    assert finetune("--epochs", 1, "--run-dir", "whole").status == 0
    damage(next((tmp_path / "cache").rglob("features.h5")))
    done = finetune("--epochs", 1, "--run-dir", "run")
    assert (done.status, done.stdout) == (3, "")
    assert "secret" not in done.stderr
    remedy = re.search(r"`cmpt726 (cache clear .+?)`", done.stderr)
    assert remedy is not None, done.stderr
    assert cmpt726(*shlex.split(remedy[1]), "--yes").status == 0
    assert finetune("--epochs", 1, "--run-dir", "again").status == 0
    assert_same_result(tmp_path / "again", tmp_path / "whole")
