"""The code: closed under imports, listed once, packed reproducibly; unzipped elsewhere every script runs."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import cli726
from cli726.errors import RequestError
from cli726.report.code import CORE, GIVEN, PROBLEMS, core, library, listings, package, scripts
from tests.cli726.finetune.synthetic import write_pictures
from tests.harness import FULL

ROOT = Path(cli726.__file__).parent.parent
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
# A page holds some 100 lines: with the content this is at most 55 pages.
MOST = 3400
# Runs a script as if nothing of ours were installed, and fails if anything of ours came from elsewhere than `lib`.
ALONE = """
import runpy, sys
ours = ("cli726", "cache", "commands")
class Closed:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in ours and not sys.path[0].endswith("lib"):
            raise ModuleNotFoundError(name)
sys.meta_path = [Closed(), *(f for f in sys.meta_path if "editable" not in str(f).lower())]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
files = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ours]
assert files and all("/lib/" in file for file in files), files
"""


@pytest.mark.parametrize("problem", PROBLEMS)
def test_modules_are_those_installed_and_closed_under_imports(problem):
    found = {source.path: source.text for source in library(problem)}
    assert all((ROOT / path).read_text(encoding="utf-8") == text for path, text in found.items())
    for path, text in found.items():
        for node in ast.walk(ast.parse(text)) if path.endswith(".py") else ():
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("cli726.", "cache.")):
                place = node.module.replace(".", "/")
                assert {f"{place}.py", f"{place}/__init__.py"} & found.keys(), node.module
        assert path.endswith(".py") is False or str(PurePosixPath(path).parent / "__init__.py") in found


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_has_its_scripts_says_how_to_run_them_and_prints_what_computes(problem):
    own = {s.path: s.text for s in scripts(problem)}
    python = {path for path in own if path.endswith(".py")}
    assert python == {path for path in WORK if path.startswith(f"P{problem}/")}
    said = " ".join(text for path, text in own.items() if path not in python)
    assert all(f"python {Path(path).name}" in said for path in python)
    assert problem != 6 or {"P6/run.sh", "P6/README.md"} <= own.keys()
    found = [source.path for source in core(problem)]
    assert all(any(path.startswith(start) for path in found) for start in CORE[problem])
    assert set(found) < {source.path for source in library(problem)}


def test_the_report_lists_nothing_twice_and_not_the_given_network():
    everything = [source["path"] for part in listings(PROBLEMS, "all") for source in part["sources"]]
    assert len(set(everything)) == len(everything)
    assert GIVEN not in everything
    assert (ROOT / GIVEN).is_file()
    assert {"cli726/finetune/training/__init__.py", "cache/store.py", *WORK} <= set(everything)
    chosen = [source["path"] for part in listings(PROBLEMS, "core") for source in part["sources"]]
    assert set(chosen) < set(everything)
    assert {"cli726/finetune/training/__init__.py", *WORK} <= set(chosen)
    lines = sum(source["text"].count("\n") + 3 for part in listings(PROBLEMS, "core") for source in part["sources"])
    assert lines < MOST
    assert list(listings(PROBLEMS, "none")) == []
    _, second = listings([1, 2], "all")
    assert "drawing.py" in second["note"]
    assert "(problem 1)" in second["note"]
    assert all(part["note"] == "" for part in listings([2], "all"))


def test_the_zip_is_reproducible_and_harmless_to_unpack(tmp_path):
    result = package(tmp_path / "one.zip")
    package(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "two.zip"]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        entries = archive.infolist()
        contents = [archive.read(entry) for entry in entries if not entry.filename.endswith("__init__.py")]
    assert tuple(entry.filename for entry in entries) == result.files
    assert len(set(contents)) == len(contents)
    assert {PurePosixPath(name).parts[0] for name in result.files} == {"README.md", "lib", *(f"P{n}" for n in PROBLEMS)}
    assert {*WORK, "P6/run.sh", "lib/cli726/assets/points.txt"} <= set(result.files)
    with pytest.raises(RequestError, match=r"ends in \.zip"):
        package(tmp_path / "code")
    for entry in entries:
        assert not PurePosixPath(entry.filename).is_absolute()
        assert ".." not in PurePosixPath(entry.filename).parts
        assert entry.external_attr >> 16 == 0o100644
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)


@pytest.fixture(scope="module")
def unzipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handed-in")
    package(folder / "code.zip")
    with zipfile.ZipFile(folder / "code.zip") as archive:
        archive.extractall(folder / "empty")
    return folder / "empty"


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("script", WORK if FULL else ["P1/softmax.py", "P5/logistic_regression.py", "P6/finetune.py"])
def test_unzipped_it_runs_with_nothing_of_ours_installed(unzipped, tmp_path, script):
    folder, name = script.split("/")
    data = f"folder:{write_pictures(tmp_path, 30)}"
    options = ["--dataset", data, "--weights", "random", "--epochs", "2"] if folder == "P6" else []
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, name, *options],
        cwd=unzipped / folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((unzipped / folder).glob(WORK[script]))) == 1
