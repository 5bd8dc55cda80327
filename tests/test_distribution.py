"""What is installed: the wheel and the source archive hold every file that the program reads."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.harness import REPOSITORY

PACKAGES = ("cli726", "commands", "cache")
BACKEND = "import sys, setuptools.build_meta as backend; print(getattr(backend, 'build_' + sys.argv[1])(sys.argv[2]))"


def tracked() -> set[str]:
    """The files of the three packages that are in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *PACKAGES],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout: nothing to compare with")
    return {name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).is_file()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build needs, so that it leaves nothing in the repository."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("checkout")
    for name in [*tracked(), "pyproject.toml", "README.md", "LICENSE"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    return folder


def build(kind: str, checkout: Path) -> Path:
    """Build with the environment's own setuptools, without a network."""
    out = checkout / "dist"
    out.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BACKEND, kind, str(out)],
        cwd=checkout, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return out / done.stdout.split()[-1]


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(checkout: Path) -> None:
    with zipfile.ZipFile(build("wheel", checkout)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (scripts,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
        assert "cmpt726 = cli726.__main__:main" in wheel.read(scripts).decode()
    assert names == tracked()
    assert {"cli726/py.typed", "cli726/assets/resnet20-cifar100.safetensors"} <= names


# Each is a download, a licence and a release to follow: another one needs a reason in the commit that adds it here.
CORE = {
    "filelock", "h5py", "jinja2", "matplotlib", "numpy", "pillow", "platformdirs", "pooch", "rich", "safetensors",
    "torch", "torchvision", "typer", "typst",
}  # fmt: skip


def test_the_core_dependencies_are_these_and_no_others() -> None:
    stated = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[<>=!~ \[]", name)[0] for name in stated} == CORE


def test_the_source_archive_holds_every_file_of_the_packages(checkout: Path) -> None:
    with tarfile.open(build("sdist", checkout)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked() | {"pyproject.toml", "README.md", "LICENSE"} <= names
