"""The zip of the code: reproducible, harmless to unpack, and every script runs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from cli726.errors import RequestError
from cli726.report.package import package

# A script and the file that shows that it did its work.
WORK = {
    "P1/softmax.py": "results/softmax/regions.png",
    "P2/glm.py": "results/glm/regions.png",
    "P3/backprop.py": "results/backprop/network.png",
    "P4/vanishing.py": "results/vanishing/gradients.png",
    "P5/logistic_regression.py": "results/logistic_regression/error.png",
    "P5/logistic_regression_mod.py": "results/logistic_regression_mod/error.png",
    "P5/logistic_regression_sgd.py": "results/logistic_regression_sgd/error.png",
    "P6/finetune.py": "runs/*/best.safetensors",
}


def test_the_same_code_gives_the_same_bytes(tmp_path: Path) -> None:
    package(tmp_path / "one.zip")
    package(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "two.zip"]


def test_names_are_relative_and_everything_is_an_ordinary_file(tmp_path: Path) -> None:
    result = package(tmp_path / "code.zip")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        entries = archive.infolist()
        assert archive.testzip() is None
    assert tuple(entry.filename for entry in entries) == result.files
    assert len(set(result.files)) == len(result.files)
    for entry in entries:
        path = PurePosixPath(entry.filename)
        assert path.parts[0] in {f"P{number}" for number in range(1, 7)}
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert entry.external_attr >> 16 == 0o100644
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)


def test_each_problem_has_a_readme_and_its_scripts(tmp_path: Path) -> None:
    files = set(package(tmp_path / "code.zip").files)
    assert {f"P{number}/README.md" for number in range(1, 7)} <= files
    assert files >= WORK.keys()
    assert {name for name in files if name.endswith(".py") and name.count("/") == 1} == WORK.keys()


def test_no_folder_stands_in_for_the_installed_package(tmp_path: Path) -> None:
    assert not any(PurePosixPath(name).parts[1] in {"cli726", "cache"} for name in package(tmp_path / "code.zip").files)


@pytest.mark.parametrize("name", ["code", "code.pdf"])
def test_the_zip_is_called_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"ends in \.zip"):
        package(tmp_path / name)


@pytest.mark.slow
def test_every_script_runs(tmp_path: Path) -> None:
    package(tmp_path / "code.zip")
    empty = tmp_path / "empty"
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        archive.extractall(empty)
    for script, shows in WORK.items():
        options = ["--dataset", "digits", "--weights", "random", "--epochs", "2"] if script.startswith("P6") else []
        folder, name = script.split("/")
        done = subprocess.run(
            [sys.executable, "-W", "error", name, *options],
            cwd=empty / folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert len(list((empty / folder).glob(shows))) == 1, script
