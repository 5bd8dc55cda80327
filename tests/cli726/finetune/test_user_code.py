"""Code named on the command line: found, run under a private name, and blamed for what it does wrong."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from cli726.errors import ComputationError, RequestError
from cli726.finetune.user_code import is_code, load_function, own_code, source_digest


def written(folder: Path, text: str, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return f"python:{folder / name}"


def test_a_function_is_found_at_a_relative_path_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a:b").mkdir()
    written(tmp_path / "a:b", "def double(x):\n    return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    assert load_function("python:a:b/mine.py:double")(21) == 42
    assert is_code("python:a.py:f")
    assert not is_code("flip")


def test_the_module_is_private_and_leaves_nothing_behind(tmp_path: Path) -> None:
    spec = written(tmp_path, "import neighbour\ndef two():\n    return neighbour.TWO\n", "json.py")
    written(tmp_path, "TWO = 2\n", "neighbour.py")
    path, standard = list(sys.path), sys.modules.get("json")
    assert load_function(f"{spec}:two")() == 2
    assert sys.path == path
    assert sys.modules.get("json") is standard
    assert sorted(p.name for p in tmp_path.iterdir()) == ["json.py", "neighbour.py"]
    del sys.modules["neighbour"]


def test_a_neighbour_cannot_stand_in_for_one_of_our_modules(tmp_path: Path) -> None:
    spec = written(tmp_path, "import cache\ndef where():\n    return cache.__file__\n")
    written(tmp_path, "", "cache.py")
    assert not load_function(f"{spec}:where")().startswith(str(tmp_path))


def test_a_file_runs_once_until_it_changes(tmp_path: Path) -> None:
    spec = written(tmp_path, "values = []\ndef f():\n    values.append(1)\n    return values\n") + ":f"
    before = source_digest(spec)
    load_function(spec)()
    assert load_function(spec)() == [1, 1]
    written(tmp_path, "values = []\ndef f():\n    values.append(2)\n    return values\n")
    assert load_function(spec)() == [2]
    assert source_digest(spec) != before


def test_its_classes_can_be_pickled_and_be_dataclasses(tmp_path: Path) -> None:
    spec = written(
        tmp_path,
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: int\ndef make():\n    return Point(3)\n",
    )
    assert pickle.loads(pickle.dumps(load_function(f"{spec}:make")())).x == 3


def test_what_it_prints_does_not_reach_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = written(tmp_path, "print('loading')\ndef f():\n    print('working')\n") + ":f"
    function = load_function(spec)
    with own_code(spec):
        function()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split() == ["loading", "working"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:mine.py", "FILE.py:FUNCTION; got python:mine.py"),
        ("python:mine.py:", "FILE.py:FUNCTION"),
        ("python::f", "FILE.py:FUNCTION"),
        ("python:mine.py:f()", "FILE.py:FUNCTION"),
        ("mine.py:f", "FILE.py:FUNCTION"),
        ("python:mine.txt:f", "FILE.py:FUNCTION"),
        ("python:missing.py:f", "the file must exist"),
        ("python:mine.py:g", "must define a function g"),
        ("python:mine.py:number", "must define a function number"),
        ("python:raises.py:f", r"raises.py:f failed in line 2: ZeroDivisionError"),
        ("python:wrong.py:f", r"wrong.py:f failed: SyntaxError: .*line 1"),
        ("python:leaves.py:f", r"leaves.py:f failed in line 1: SystemExit"),
        ("python:needs.py:f", r"needs.py:f failed in line 1: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_refusals(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "number = 3\ndef f():\n    pass\n")
    written(tmp_path, "def f(): pass\n1 / 0\n", "raises.py")
    written(tmp_path, "def f(:\n", "wrong.py")
    written(tmp_path, "raise SystemExit(0)\n", "leaves.py")
    written(tmp_path, "import nowhere\n", "needs.py")
    loaded = set(sys.modules)
    with pytest.raises(RequestError, match=message):
        load_function(name)
    if "failed" in message:
        assert not [module for module in set(sys.modules) - loaded if module.startswith("_cmpt726")]


@pytest.mark.parametrize("error", [ComputationError("diverged"), KeyboardInterrupt()])
def test_our_own_errors_and_interruptions_pass_through_it_unchanged(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, own_code("python:mine.py:f"):
        raise error
    assert caught.value is error
