"""`cmpt726 doctor` as a user sees it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli726 import doctor as domain
from cli726 import launch
from cli726.errors import EnvironmentFailure

Run = Callable[..., Any]


@pytest.fixture
def checks(cmpt726: Run) -> Callable[[], dict[str, dict[str, Any]]]:
    """What `cmpt726 doctor --json` found, by name."""

    def run() -> dict[str, dict[str, Any]]:
        done = cmpt726("doctor", "--json")
        assert done.status == 0, done.stderr
        document = done.json
        assert document["problems"] == sum(not check["ok"] for check in document["checks"])
        found = {check["name"]: check for check in document["checks"]}
        assert all(bool(check["remedy"]) is not check["ok"] for check in found.values())
        return found

    return run


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let packages have other versions, or be missing."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if versions.get(name, "") is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(domain, "version", version)


def test_it_names_versions_devices_and_folders(
    cmpt726: Run, checks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMPT726_CACHE_DIR", str(tmp_path / "my cache"))
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path / "my data"))
    found = checks()
    for package in ("torch", "torchvision", "numpy", "h5py", "pillow"):
        assert found[package]["value"] == importlib.metadata.version(package)
    assert {"Python", "processors", "bfloat16", "GPU"} <= found.keys()
    for name, folder in (("cache", "my cache"), ("data", "my data"), ("runs", "runs")):
        assert found[f"{name} folder"]["value"].startswith(f"{tmp_path / folder}: ")
        assert "GB free" in found[f"{name} folder"]["value"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("torch", "stated", "remedy"),
    [
        ("2.6.0", ["numpy", "torch==2.6.0"], ""),
        ("2.13.0+cpu", ["torch (==2.13.0)", "pillow"], ""),
        ("2.13.0", ["torch==2.12.1"], "pip install 'torch==2.12.1'"),
        ("2.6.0", ["torch (==2.7.0)"], "pip install 'torch==2.7.0'"),
        ("2.6.0", None, None),
        ("2.6.0", ["torch>=2", "torch-geometric==2.0"], None),
    ],
)
def test_torchvision_says_itself_which_torch_it_belongs_to(
    checks: Any, monkeypatch: pytest.MonkeyPatch, torch: str, stated: list[str] | None, remedy: str | None
) -> None:
    installed(monkeypatch, torch=torch)
    monkeypatch.setattr(domain, "requires", lambda _: stated)
    check = checks().get("torch and torchvision")
    assert (check is None) is (remedy is None), "metadata that pin no torch say nothing"
    if check is not None:
        assert check["ok"] is (remedy == "")
        assert str(remedy) in check["remedy"]


@pytest.mark.parametrize(
    ("busy", "processors", "threads", "noted"),
    [
        (0.1, 2, 2, False),
        (1.2, 2, 2, True),
        (1.2, 2, 1, False),
        (7.9, 8, 2, True),
        (5.0, 8, 2, False),
        (0.0, 1, 2, True),
    ],
)
def test_a_busy_machine_is_noted_where_threads_would_wait(
    monkeypatch: pytest.MonkeyPatch, busy: float, processors: int, threads: int, noted: bool
) -> None:
    monkeypatch.setattr(launch.os, "getloadavg", lambda: (busy, 0.0, 0.0))
    monkeypatch.setattr(launch.os, "cpu_count", lambda: processors)
    monkeypatch.setattr(launch, "running", lambda: 99)
    assert ("--threads 1" in launch.crowding(threads)) is noted
    monkeypatch.setattr(launch, "running", lambda: 0)
    assert ("--threads 1" in launch.crowding(threads)) is (processors < threads), "what has just ended waits for nobody"


def test_what_is_missing_or_cannot_be_used_is_reported_with_its_remedy(
    cmpt726: Run, checks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise EnvironmentFailure("torchvision can't be imported: no such symbol; install it anew")

    installed(monkeypatch, h5py=None)
    monkeypatch.setattr("cli726.finetune.data.vision.import_torchvision", fail)
    monkeypatch.setattr(domain.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_500_000_000))
    found = checks()
    missing = {"name": "h5py", "value": "missing", "ok": False, "remedy": "install it: pip install h5py"}
    assert found["h5py"] == missing
    assert "install it anew" in found["torchvision import"]["remedy"]
    assert "1.5 GB free" in found["cache folder"]["value"]
    assert "cmpt726 cache prune" in found["cache folder"]["remedy"]
    monkeypatch.setattr(domain.os, "access", lambda *_: False)
    found = checks()
    for name, way in (("cache", "CMPT726_CACHE_DIR"), ("data", "CMPT726_DATA_DIR"), ("runs", "--run-dir")):
        assert way in found[f"{name} folder"]["remedy"]


def test_all_is_well_or_so_many_problems(cmpt726: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = domain.Check("a", "b"), domain.Check("c", "d", ok=False, remedy="mend [/it]")
    for checks, title in (([good], "All is well"), ([good, bad], "1 problem"), ([bad, bad], "2 problems")):
        monkeypatch.setattr(domain, "examine", lambda checks=checks: iter(checks))
        done = cmpt726("doctor")
        assert done.stdout.splitlines()[0].strip() == title
        assert done.status == 0
    assert "mend [/it]" in done.stdout
