"""Several processes end as one does: processes.py runs in two and in three, started by torchrun, and here alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cli726.finetune import parallel
from cli726.finetune.api import finetune, resume
from cli726.finetune.network import resnet
from cli726.finetune.storage import read_tensors
from cli726.finetune.training.evaluation import wilson_interval
from tests.cli726.finetune import processes
from tests.cli726.finetune.synthetic import metrics, stopped
from tests.harness import FULL, ONLY_FULL, cases, environment

pytestmark = [
    pytest.mark.usefixtures("small_network"),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed"),
]

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
Alone = tuple[Path, dict[str, Any]]
Together = tuple[Path, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, shapes_folder: Path, small_weights: Path, small_network: None
) -> Alone:
    """What one process makes of it, and where."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
        found = processes.runs(folder, shapes_folder, small_weights)
    return folder, {**found, "extraction": processes.extraction(folder)}


@pytest.fixture(scope="module", params=cases(2, 3), ids="{} processes".format)
def together(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shapes_folder: Path, small_weights: Path,
    small_network: None,
) -> Together:  # fmt: skip
    """What each of several processes made of it, and where."""
    folder = tmp_path_factory.mktemp("together")
    with stopped(2):
        finetune(processes.head(shapes_folder, small_weights), folder / "interrupted")
    done = subprocess.run(
        [*TORCHRUN, str(request.param), processes.__file__, folder, shapes_folder, small_weights],
        capture_output=True, text=True, check=False, env=environment(), timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Warning" not in done.stderr
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(request.param)]


def test_what_the_first_process_makes_reaches_all(together: Together) -> None:
    ranks = list(range(len(together[1])))
    assert [found["told"] for found in together[1]] == [("first", ranks)] * len(ranks)


def test_blocks_come_in_order_to_everybody_or_to_the_first(together: Together) -> None:
    expected = processes.blocks()
    for rank, found in enumerate(together[1]):
        for name, blocks in expected.items():
            wanted = blocks if rank == 0 or name.endswith("True") else []
            assert [block.tolist() for block in found["blocks"][name]] == [block.tolist() for block in wanted], name


def test_features_are_those_of_one_process_bit_for_bit(together: Together, alone: Alone) -> None:
    expected = alone[1]["extraction"]
    for found in together[1]:
        assert found["extraction"].keys() == expected.keys()
        for name, features in expected.items():
            assert torch.equal(found["extraction"][name], features), name


def test_entries_are_written_once_and_byte_for_byte_as_by_one_process(together: Together, alone: Alone) -> None:
    mine, theirs = (next(folder.glob("shared/v1/??/*")) for folder in (together[0], alone[0]))
    assert mine.name == theirs.name
    for name in ("features.h5", "manifest.json"):
        assert (mine / name).read_bytes() == (theirs / name).read_bytes()
    assert len(list(together[0].glob("shared/v1/??/*"))) == 1
    # Where processes have no disk in common, the first one's has it.
    assert [path.parts[-4] for path in together[0].glob("apart */v1/??/*")] == ["apart 0"]


@pytest.mark.parametrize("images", [11, 3], ids=["uneven parts", "fewer parts than processes"])
def test_a_steps_gradients_are_those_of_the_whole_batch(together: Together, images: int) -> None:
    expected = processes.gradients(images)
    assert len(expected) > 60
    for found in together[1]:
        for name, gradient in expected.items():
            assert torch.allclose(found["gradients"][images][name], gradient, rtol=1e-9, atol=1e-12), name


def test_statistics_are_the_same_everywhere(together: Together) -> None:
    expected = processes.statistics()
    for found in together[1]:
        assert all(torch.equal(found["statistics"][name], tensor) for name, tensor in expected.items())


def close(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    names = ("train_loss", "train_accuracy", "val_loss", "val_error", "lr")
    return [line["epoch"] for line in mine] == [line["epoch"] for line in theirs] and all(
        abs(a[name] - b[name]) < 1e-5 for a, b in zip(mine, theirs, strict=True) for name in names
    )


@pytest.mark.parametrize("run", ["head", "interrupted"])
def test_a_head_is_that_of_one_process_also_one_that_one_process_began(
    together: Together, alone: Alone, run: str
) -> None:
    mine, theirs = together[0] / run, alone[0] / "head"
    assert close(metrics(mine), metrics(theirs))
    for name in ("best", "last"):
        here, there = (read_tensors(path / f"{name}.safetensors")[0] for path in (mine, theirs))
        assert here.keys() == there.keys()
        assert all(torch.allclose(here[key], there[key], rtol=1e-5, atol=1e-5) for key in there)
    expected = alone[1]["head"]
    for found in together[1]:
        test, best, scores = found["runs"]["head" if run == "head" else "resumed"]
        assert (test.confusion, best.epoch) == (expected[0].confusion, expected[1].epoch)
        assert torch.allclose(scores, expected[2], atol=1e-4)


def test_the_exact_solver_and_unfrozen_phases_end_alike_everywhere(together: Together, alone: Alone) -> None:
    if len(together[1]) > 2:
        pytest.skip("two processes do it")
    mine, theirs = metrics(together[0] / "stages"), metrics(alone[0] / "stages")
    assert [line["phase"] for line in mine] == ["head", "layer3", "all"] == [line["phase"] for line in theirs]
    assert close(mine[:1], theirs[:1])
    first = together[1][0]["runs"]["stages"]
    for found in together[1]:
        test, best, scores = found["runs"]["stages"]
        assert (test, best) == first[:2]
        assert torch.equal(scores, first[2])
    assert json.loads((together[0] / "stages" / "config.json").read_bytes())["processes"] == len(together[1])


def test_one_process_speaks(together: Together) -> None:
    lines = [found["runs"]["lines"] for found in together[1]]
    assert lines[0][0].startswith(f"{len(lines)} processes on 1 machine (gloo)")
    assert any("epoch   3" in line for line in lines[0])
    assert lines[1:] == [[]] * (len(lines) - 1)


def test_one_process_says_what_went_wrong(together: Together) -> None:
    said = [found["failure"] for found in together[1]]
    if len(said) == 2:  # it went wrong in both
        assert sorted(line.partition(" ")[0] for line in said) == ["RequestError", "ToldElsewhere"]
    else:
        assert said[-1] == "RequestError wrong process 2 of 3, counted from 0"
        assert all(line.startswith("ToldElsewhere") for line in said[:-1])


@given(images=st.integers(1, 300), world=st.integers(1, 40))
def test_parts_make_up_the_batch_and_are_weighted_for_its_mean(images: int, world: int) -> None:
    batch = torch.arange(images)
    parts, counts, weights = [], [], []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parallel.HERE, "world", world)
        for rank in range(world):
            patched.setattr(parallel.HERE, "rank", rank)
            counted, weight = parallel.part_of(images)
            mine = parallel.part(batch)
            assert len(mine) == counted or counted == 0
            assert len(mine) >= min(2, images)
            parts.append(mine[:counted])
            counts.append(counted)
            weights.append(weight)
    assert torch.equal(torch.cat(parts), batch)
    assert sum(weights) == pytest.approx(world)
    means = [weight * mine.double().mean() for mine, weight in zip(parts, weights, strict=True) if len(mine)]
    assert float(sum(means)) / world == pytest.approx(batch.double().mean().item())
    assert counts == sorted(counts, reverse=True)


def start(count: int, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`torchrun --nproc-per-node COUNT -m cli726 ARGUMENTS`."""
    command = [*TORCHRUN, str(count), "-m", "cli726", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    return subprocess.Popen(command, **pipes | options)


def own_lines(stderr: str) -> list[str]:
    """Without what torchrun says: at any time that it ends a process, and last of all a traceback of its own."""
    ours = re.split(r"(?m)^E\d{4} .* failed \(exitcode", stderr)[0]
    return [line for line in ours.splitlines() if line and not re.match(r"[WE]\d{4} ", line)]


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason=ONLY_FULL)
def test_two_stages_on_the_digits(tmp_path: Path) -> None:
    options = ("--epochs", 3, "--unfreeze-after", 2, "--unfreeze", "layer3")
    process = start(2, "finetune", "--dataset", "digits", *options, "--run-dir", "run", "--json", cwd=tmp_path)
    out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    document = json.loads(out)
    assert document == json.loads((tmp_path / "run" / "summary.json").read_bytes())
    # One process: 97.0 % of the same 270 test images.
    low, high = wilson_interval(262, 269)
    assert low <= document["test"]["accuracy"]
    assert document["test"]["interval"][0] <= high
    lines = own_lines(said)
    assert len(lines) == len(set(lines))
    assert "Warning" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert not list((tmp_path / "run").glob(".*"))


def worker(torchrun: int, rank: int) -> int:
    """The process number of a worker."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(torchrun) and f"\0RANK={rank}\0" in (entry / "environ").read_text():
                return int(entry.name)
    raise AssertionError(f"torchrun has no worker {rank}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for workers in /proc")
@pytest.mark.parametrize("rank", cases(1, 0))
def test_a_killed_worker_ends_the_run_which_another_number_goes_on_with(
    tmp_path: Path, shapes_folder: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setattr(resnet, "CHANNELS", (16, 32, 64))  # the command's network is not the small one
    options = ("--dataset", f"folder:{shapes_folder}", "--weights", "random", "--precision", "fp32")
    plan = ("--epochs", 80, "--batch-size", 16, "--no-gallery", "--run-dir", tmp_path / "run")
    process = start(2, "finetune", *options, *plan, cwd=tmp_path)
    assert process.stderr is not None
    said = ""
    victim = 0
    while "epoch   3" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
        victim = victim or ("processes" in line and worker(process.pid, rank))
    os.kill(victim, signal.SIGKILL)
    out, rest = process.communicate(timeout=120)
    assert process.returncode != 0
    assert out == ""
    lines = own_lines(rest)
    (error,) = [line for line in lines if line.startswith("error:")]
    assert lines[-1] == error
    assert "--resume" in error or "torchrun ends every process when one of them fails" in error
    assert "Traceback" not in "\n".join(lines)
    if rank == 1:
        assert any(f"go on with: cmpt726 finetune --resume {tmp_path / 'run'}" in line for line in lines)
    done = len(metrics(tmp_path / "run"))
    assert 3 <= done < 80
    resume(tmp_path / "run")
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == list(range(1, 81))


def test_other_commands_run_as_one_process(cmpt726: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert cmpt726("softmax", "--point").status == 0, "so named by something else than torchrun"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    done = cmpt726("softmax", "--point")
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == "error: `cmpt726 softmax` runs as one process; got 2; start it without torchrun\n"
    done = cmpt726("finetune", "--augment", "flip", "--preview-augment", "sheet.png")
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == "error: --preview-augment runs as one process; got 2; start it without torchrun\n"
