"""`cmpt726 finetune` as a user sees it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli726.errors import Interrupted
from tests.cli726.finetune.synthetic import metrics, write_pictures
from tests.harness import unless_given

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "shapes", 60)


@pytest.fixture
def finetune(cmpt726: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`cmpt726 finetune` on 60 pictures with random weights, on one thread, in a home of its own."""
    for name in ("CMPT726_CACHE_DIR", "CMPT726_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    always = ("--dataset", f"folder:{pictures}", "--weights", "random", "--precision", "fp32", "--threads", 1)

    def run(*arguments: object, plain: bool = True) -> Any:
        if plain:
            monkeypatch.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
        return cmpt726("finetune", *unless_given(always, arguments), *arguments)

    return run


def test_json_has_the_contract(finetune: Run, pictures: Path, tmp_path: Path) -> None:
    done = finetune(
        "--epochs",
        3,
        "--unfreeze-after",
        2,
        "--unfreeze",
        "layer3",
        "--cache",
        "--json",
        "--run-dir",
        "out",
        plain=False,
    )
    assert done.status == 0, done.stderr
    document = done.json
    assert document["dataset"].keys() >= {"name", "digest", "classes", "class_names", "train", "validation", "test"}
    assert document["dataset"]["name"] == "shapes"
    assert (document["dataset"]["classes"], document["dataset"]["class_names"]) == (3, ["columns", "cross", "rows"])
    assert sum(document["dataset"][split] for split in ("train", "validation", "test")) == 60
    assert "weights" in document
    cache = document["cache"]
    assert cache.keys() >= {"state", "key", "bytes", "seconds", "entries"}
    assert (cache["state"], len(cache["entries"])) == ("built", 2)
    assert re.fullmatch("[0-9a-f]{64}", cache["key"])
    assert [(p["name"], p["trains"], p["epochs"]) for p in document["phases"]] == [
        ("head", ["head"], 2), ("layer3", ["layer3", "head"], 1),
    ]  # fmt: skip
    assert all(p["seconds"] > 0 and p["images_per_second"] > 0 for p in document["phases"])
    assert document["best"].keys() >= {"phase", "epoch", "val_error", "val_loss"}
    test = document["test"]
    assert test.keys() >= {"accuracy", "error", "loss", "images", "interval"}
    assert test["accuracy"] + test["error"] == pytest.approx(1)
    assert 0 <= test["interval"][0] <= test["accuracy"] <= test["interval"][1] <= 1
    assert test["images"] == document["dataset"]["test"]
    assert document["seconds"] > 0
    run = Path(document["run_dir"])
    assert (tmp_path / run).resolve() == tmp_path / "out"
    assert json.loads((tmp_path / "out" / "summary.json").read_bytes()) == document
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {
        "config.json", "metrics.jsonl", "best.safetensors", "model.json", "history.png", "confusion.png", "inputs.png",
        "gallery.html", "summary.json",
    }  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    keys = {"phase", "epoch", "train_loss", "train_accuracy", "val_loss", "val_error", "lr", "seconds"}
    assert all(line.keys() >= keys | {"images_per_second"} for line in lines)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    again = finetune("--epochs", 3, "--unfreeze-after", 2, "--unfreeze", "layer3", "--cache", "--json").json
    assert again["cache"]["state"] == "hit"
    assert again["best"] == document["best"]
    assert again["test"] == document["test"]


def test_tables_say_the_same_and_progress_is_plain_lines_on_stderr(finetune: Run, tmp_path: Path) -> None:
    done = finetune("--epochs", 2, "--unfreeze-after", 1, "--unfreeze", "layer3")
    assert done.status == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"shapes-\d{8}-\d{6}", run.name)
    summary = json.loads((run / "summary.json").read_bytes())
    share, low, high = (f"{100 * v:.0f}" for v in (summary["test"]["accuracy"], *summary["test"]["interval"]))
    assert f"of {summary['test']['images']} right: {share} % (95 % interval {low} to {high} %)" in done.stdout
    assert "points of validation accuracy" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("epoch   1 head")]
    assert [line for line in done.stderr.splitlines() if line.startswith("phase layer3: epochs 2 to 2")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"], "nothing else is written"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--epochs", 0), "--epochs must be at least 1; got 0"),
        (("--epochs", 5, "--unfreeze-after", 5), "--unfreeze-after must be below --epochs, 5; got 5"),
        (("--epochs", 5, "--unfreeze-after", 9), "--unfreeze-after must be below --epochs, 5; got 9"),
        (("--unfreeze-after", "x"), "--unfreeze-after"),
        (("--unfreeze", "layer4"), "layer4"),
        (("--lr", -1), "--lr must be above 0 and at most 1e+38; got -1"),
        (("--lr", "nan"), "--lr"),
        (("--l2", -0.1), "--l2 must be at least 0 and at most 1e+38; got -0.1"),
        (("--batch-size", 1), "--batch-size must be at least 2; got 1"),
        (("--test-fraction", 1.5), "--test-fraction"),
        (("--val-fraction", 0), "--val-fraction"),
        (("--cache", "--recompute"), "--cache and --recompute"),
        (("--momentum", 1), "--momentum"),
        (("--augment", "mirror"), "--augment knows"),
        (("--precision", "fp8"), "fp8"),
        (("--validate-every", 0), "--validate-every"),
        (("--patience", 0), "--patience"),
        (("--head", "conv"), "--head"),
        (("--preset", "worst"), "worst"),
        (("--seed", -1), "seed"),
        (("--dataset", "folder:nowhere"), "got nowhere"),
        (("--dataset", "imagenet"), "got imagenet"),
        (("--weights", "nowhere.pt"), "got nowhere.pt"),
        (("--weights", "nonsense"), "got nonsense"),
        (("--resume", "nowhere"), "--resume"),
        (("--no-such-option",), "--no-such-option"),
    ],
)
def test_bad_values_exit_2_with_one_helpful_line_and_write_nothing(
    finetune: Run, tmp_path: Path, arguments: tuple[object, ...], named: str
) -> None:
    done = finetune(*arguments)
    assert done.status == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert named in " ".join(done.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_several_problems_are_told_together(finetune: Run) -> None:
    done = finetune("--epochs", 3, "--lr", 0, "--l2", -1, "--unfreeze-after", 7)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert all(name in line for name in ("--lr", "--l2", "--unfreeze-after"))


def test_untrusted_files_exit_3(finetune: Run, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04cos\nsystem\n")
    done = finetune("--weights", "weights.pt")
    assert done.status == 3
    assert done.stderr.splitlines()[-1].startswith("error: weights.pt is no plain file of tensors (")


def test_a_device_that_is_not_here_exits_4(finetune: Run) -> None:
    done = finetune("--device", "cuda:77")
    assert done.status == 4
    assert "try cpu" in done.stderr


def test_divergence_exits_5_and_names_the_remedy(finetune: Run) -> None:
    done = finetune("--lr", "1e38", "--schedule", "constant", "--epochs", 1)
    assert done.status == 5
    assert re.search(r"^error: training diverged in epoch 1 .*; try --lr 1e\+37$", done.stderr, re.MULTILINE)


def test_what_fails_while_an_interrupt_is_on_its_way_is_the_interrupt(
    finetune: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cli726.finetune.folder import RunFolder

    def waits(*_: Any) -> None:
        lock = threading.Lock()
        with lock:
            lock.release()  # as a condition does while it waits
            raise Interrupted(15)

    monkeypatch.setattr(RunFolder, "keep_epoch", waits)
    done = finetune("--epochs", 2)
    assert done.status == 143
    assert done.stderr.splitlines()[-1] == "error: interrupted"


@pytest.mark.parametrize(("number", "status"), [(2, 130), (15, 143)])
def test_an_interrupt_has_its_own_status_and_says_how_to_go_on(
    finetune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    from cli726.finetune.folder import RunFolder

    keep = RunFolder.keep_epoch

    def interrupted(self: RunFolder, *rest: Any) -> None:
        keep(self, *rest)
        raise Interrupted(number)

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "keep_epoch", interrupted)
        done = finetune("--epochs", 2, "--run-dir", "out")
    assert done.status == status
    assert "go on with: cmpt726 finetune --resume out" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: interrupted"


def test_resume_goes_alone_and_ends_as_an_uninterrupted_run(
    finetune: Run, cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cli726.finetune.folder import RunFolder

    options = ("--epochs", 3, "--unfreeze-after", 1, "--unfreeze", "layer3", "--lr", 0.02, "--seed", 4)
    whole = finetune(*options, "--run-dir", "whole", "--json").json
    keep = RunFolder.keep_epoch

    def interrupted(self: RunFolder, network: Any, optimizer: Any, progress: Any, line: Any) -> None:
        keep(self, network, optimizer, progress, line)
        if line.epoch == 2:
            raise Interrupted(2)

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "keep_epoch", interrupted)
        assert finetune(*options, "--run-dir", "out").status == 130
    crowded = cmpt726("finetune", "--resume", "out", "--lr", 0.02)
    assert crowded.status == 2
    assert "--resume goes alone" in crowded.stderr
    assert "--lr" in crowded.stderr
    done = cmpt726("finetune", "--resume", "out", "--json")
    assert done.status == 0, done.stderr
    assert done.json["best"] == whole["best"]
    assert done.json["test"] == whole["test"]
    assert metrics(tmp_path / "out") == metrics(tmp_path / "whole")
    finished = cmpt726("finetune", "--resume", "out")
    assert finished.status == 2
    assert "finished" in finished.stderr


def options_of(finetune: Run, tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """What a command line comes to, as written into the run's config.json."""
    done = finetune(*arguments, "--run-dir", "out")
    assert done.status == 0, done.stderr
    return json.loads((tmp_path / "out" / "config.json").read_bytes())["options"]


def test_the_courses_preset_has_the_scripts_values(finetune: Run, tmp_path: Path) -> None:
    chosen = options_of(finetune, tmp_path, "--preset", "course")
    expected = {
        "lr": 0.001, "momentum": 0.9, "nesterov": False, "optimizer": "sgd", "batch_size": 32, "epochs": 10,
        "schedule": "constant", "augment": "none", "recompute": True, "cache": False, "l2": [0.0], "preset": "course",
        "unfreeze_after": None, "unfreeze": None, "label_smoothing": 0.0, "normalization": "course",
    }  # fmt: skip
    assert {name: chosen[name] for name in expected} == expected
    model = json.loads((tmp_path / "out" / "model.json").read_bytes())
    assert model["normalization"] == {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}


def test_what_is_typed_overrides_the_preset(finetune: Run, tmp_path: Path) -> None:
    chosen = options_of(
        finetune, tmp_path, "--preset", "course", "--epochs", 1, "--lr", 0.05, "--batch-size", 8, "--cache",
        "--schedule", "linear", "--augment", "flip",
    )  # fmt: skip
    assert (chosen["epochs"], chosen["lr"], chosen["batch_size"], chosen["schedule"]) == (1, 0.05, 8, "linear")
    assert (chosen["cache"], chosen["recompute"], chosen["augment"]) == (True, False, "flip")
    assert (chosen["momentum"], chosen["nesterov"], chosen["normalization"]) == (0.9, False, "course")


def test_a_typed_default_overrides_the_preset_too(finetune: Run, tmp_path: Path) -> None:
    chosen = options_of(finetune, tmp_path, "--preset", "course", "--epochs", 1, "--schedule", "cosine")
    assert chosen["schedule"] == "cosine"


def test_a_folder_that_holds_a_run_is_not_written_over(finetune: Run, tmp_path: Path) -> None:
    assert finetune("--epochs", 1, "--run-dir", "out").status == 0
    done = finetune("--epochs", 1, "--run-dir", "out")
    assert done.status == 2
    assert "--run-dir must be a new folder" in done.stderr


def test_names_of_the_users_own_cannot_paint_the_terminal(
    cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pictures(tmp_path / "data", 30)
    (folder / "rows").rename(folder / "[bold]\x1b[31mrows[%2fx]")
    monkeypatch.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
    done = cmpt726("finetune", "--dataset", f"folder:{folder}", "--weights", "random", "--epochs", 1)
    assert done.status == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_class_names_that_look_like_mathematics_are_drawn_as_they_are(cmpt726: Run, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "data", 30)
    for old, new in (("rows", "$x_1"), ("columns", "50 % & more"), ("cross", "très_long " * 6)):
        (folder / old).rename(folder / new)
    done = cmpt726("finetune", "--dataset", f"folder:{folder}", "--weights", "random", "--epochs", 1, "--json")
    assert done.status == 0, done.stderr
    assert done.json["dataset"]["class_names"][0] == "$x_1"
