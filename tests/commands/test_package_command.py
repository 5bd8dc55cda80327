"""`cmpt726 package` as a user meets it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def test_a_zip_is_written_and_told(cmpt726: Run) -> None:
    done = cmpt726("package")
    assert done.status == 0
    assert zipfile.is_zipfile("code.zip")
    assert all(f"P{number}/" in done.stdout for number in range(1, 7))
    assert done.stdout.rstrip().endswith("wrote code.zip")
    assert [path.name for path in Path().iterdir()] == ["code.zip"]


def test_json_lists_the_files(cmpt726: Run) -> None:
    done = cmpt726("package", "--output", "new/assignment.zip", "--json")
    assert done.status == 0
    with zipfile.ZipFile("new/assignment.zip") as archive:
        assert done.json["files"] == archive.namelist()
    assert done.json["bytes"] == Path("new/assignment.zip").stat().st_size


def test_a_folder_exits_2(cmpt726: Run) -> None:
    done = cmpt726("package", "--output", ".")
    assert done.status == 2
    assert done.stderr.startswith("error: --output must be a file that ends in .zip")
    assert list(Path().iterdir()) == []
