"""`cmpt726 finetune` as a user sees it; what it computes is tested beside `cli726.finetune`."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli726.errors import Interrupted
from cli726.finetune.folder import RunFolder
from tests.cli726.finetune.own import AUGMENTATIONS, CANARY, DATA, HEADS, write_code
from tests.cli726.finetune.synthetic import metrics, write_pictures
from tests.harness import unless_given

pytestmark = pytest.mark.usefixtures("small_network")
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

    def run(*arguments: object, drawn: bool = False) -> Any:
        if not drawn:
            monkeypatch.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
        return cmpt726("finetune", *unless_given(always, arguments), *arguments)

    return run


def one_error_line(done: Any, status: int) -> str:
    """The only line that says what is wrong."""
    assert (done.status, done.stdout) == (status, ""), done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "Traceback" not in done.stderr
    return str(line)


PARTLY = ("--epochs", 3, "--unfreeze-after", 2, "--unfreeze", "layer3")


def test_json_has_the_contract_and_a_second_run_hits_the_cache(finetune: Run, tmp_path: Path) -> None:
    done = finetune(*PARTLY, "--cache", "--json", "--run-dir", "out", drawn=True)
    assert done.status == 0, done.stderr
    document = done.json
    data, cache, test = document["dataset"], document["cache"], document["test"]
    assert data.keys() >= {"name", "digest", "classes", "class_names", "train", "validation", "test"}
    assert (data["name"], data["classes"], data["class_names"]) == ("shapes", 3, ["columns", "cross", "rows"])
    assert sum(data[split] for split in ("train", "validation", "test")) == 60
    assert "weights" in document
    assert cache.keys() >= {"state", "key", "bytes", "seconds", "entries"}
    assert (cache["state"], len(cache["entries"])) == ("built", 2)
    assert re.fullmatch("[0-9a-f]{64}", cache["key"])
    assert [(p["name"], p["trains"], p["epochs"]) for p in document["phases"]] == [
        ("head", ["head"], 2), ("layer3", ["layer3", "head"], 1),
    ]  # fmt: skip
    assert all(p["seconds"] > 0 and p["images_per_second"] > 0 for p in document["phases"])
    assert document["best"].keys() >= {"phase", "epoch", "val_error", "val_loss"}
    assert test.keys() >= {"accuracy", "error", "loss", "images", "interval"}
    assert test["accuracy"] + test["error"] == pytest.approx(1)
    assert 0 <= test["interval"][0] <= test["accuracy"] <= test["interval"][1] <= 1
    assert test["images"] == data["test"]
    assert document["seconds"] > 0
    assert document["run_dir"] == "out"
    assert json.loads((tmp_path / "out" / "summary.json").read_bytes()) == document
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {
        "config.json", "metrics.jsonl", "best.safetensors", "model.json", "history.png", "confusion.png", "inputs.png",
        "reliability.png",
        "gallery.html", "summary.json",
    }  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    keys = {"phase", "epoch", "train_loss", "train_accuracy", "val_loss", "val_error", "lr", "seconds"}
    assert all(line.keys() >= keys | {"images_per_second"} for line in lines)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    again = finetune(*PARTLY, "--cache", "--json").json
    assert {entry["state"] for entry in again["cache"]["entries"]} == {again["cache"]["state"]} == {"hit"}
    assert (again["best"], again["test"]) == (document["best"], document["test"])
    off = finetune("--epochs", 1, "--json").json["cache"]
    assert (off["state"], off["key"], off["bytes"], off["entries"]) == ("off", None, 0, [])


def test_tables_say_the_same_and_progress_is_plain_lines_on_stderr(finetune: Run, tmp_path: Path) -> None:
    done = finetune("--epochs", 3, "--unfreeze-after", 2, "--unfreeze", "layer3", "--l2", 0, "--l2", 0.01, "--l2", 100)
    assert done.status == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"shapes-\d{8}-\d{6}", run.name)
    summary = json.loads((run / "summary.json").read_bytes())
    share, low, high = (f"{100 * v:.0f}" for v in (summary["test"]["accuracy"], *summary["test"]["interval"]))
    assert f"of {summary['test']['images']} right: {share} % (95 % interval {low} to {high} %)" in done.stdout
    assert "points of validation accuracy" in done.stdout
    table = done.stdout.split("L2 in the head phase")[1].split("Result")[0]
    assert re.findall(r"^ *(0|0\.01|100) +\S+% ", table, re.MULTILINE) == ["0", "0.01", "100"]
    best = min(summary["trials"], key=lambda trial: (trial["best"]["val_error"], trial["best"]["val_loss"]))
    assert f"L2: {best['l2']:g} is the best of 3" in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("epoch   1 head")]
    assert [line for line in done.stderr.splitlines() if line.startswith("phase layer3: epochs 3 to 3")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"], "nothing else is written"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--epochs", 0), "--epochs must be at least 1; got 0"),
        (("--epochs", 5, "--unfreeze-after", 5), "--unfreeze-after must be below --epochs, 5; got 5"),
        (("--lr", -1, "--l2", -1, "--unfreeze-after", 70), "--lr must be above 0 and at most 1e+38; got -1"),
        (("--lr", 0, "--l2", -0.1), "--l2 must be at least 0 and at most 1e+38; got -0.1"),
        (("--cache", "--recompute"), "--cache and --recompute"),
        (("--views", 2), "--views 2 needs --augment"),
        (("--augment", "mirror"), "--augment knows"),
        (("--head", "conv"), "--head"),
        (("--head", "python:nowhere.py:f"), "the file must exist"),
        (("--solver", "exact", "--unfreeze", "layer3"), "--unfreeze-after"),
        (("--seed", -1), "--seed must be"),
        (("--dataset", "folder:nowhere"), "got nowhere"),
        (("--dataset", "imagenet"), "got imagenet"),
        (("--weights", "nowhere.pt"), "got nowhere.pt"),
        (("--resume", "nowhere"), "RUN must be a folder with a config.json, a name in runs/, or latest; got nowhere"),
        (("--resume", "run", "--epochs", 3), "--resume goes alone, the options come from the run; got --epochs too"),
    ],
)
def test_bad_values_exit_2_with_one_helpful_line_and_write_nothing(
    finetune: Run, cmpt726: Run, tmp_path: Path, arguments: tuple[object, ...], named: str
) -> None:
    done = cmpt726("finetune", *arguments) if "--resume" in arguments else finetune(*arguments)
    assert named in one_error_line(done, 2)
    assert list(tmp_path.iterdir()) == []


def test_several_problems_are_told_together(finetune: Run) -> None:
    line = one_error_line(finetune("--epochs", 3, "--lr", 0, "--l2", -1, "--unfreeze-after", 7), 2)
    assert all(name in line for name in ("--lr", "--l2", "--unfreeze-after"))


def test_statuses_of_untrusted_files_missing_devices_and_divergence(finetune: Run, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04cos\nsystem\n")
    assert "weights.pt is no plain file of tensors (" in one_error_line(finetune("--weights", "weights.pt"), 3)
    assert one_error_line(finetune("--device", "cuda:77"), 4).endswith("try cpu, or see `cmpt726 doctor`")
    line = one_error_line(finetune("--lr", "1e38", "--schedule", "constant", "--epochs", 1), 5)
    assert re.fullmatch(r"error: training diverged in epoch 1 .*; try --lr 1e\+37", line)


def interrupting(patched: pytest.MonkeyPatch, number: int, epoch: int) -> None:
    """Let runs be interrupted once an epoch is kept, while a lock is being released, as a condition does."""
    keep = RunFolder.keep_epoch

    def interrupted(self: RunFolder, network: Any, optimizer: Any, progress: Any, line: Any) -> None:
        keep(self, network, optimizer, progress, line)
        if line.epoch == epoch:
            lock = threading.Lock()
            with lock:
                lock.release()
                raise Interrupted(number)

    patched.setattr(RunFolder, "keep_epoch", interrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_has_its_own_status_and_resume_ends_as_an_uninterrupted_run(
    finetune: Run, cmpt726: Run, tmp_path: Path, number: int
) -> None:
    options = (*PARTLY, "--lr", 0.02, "--seed", 4)
    with pytest.MonkeyPatch.context() as patched:
        interrupting(patched, number, epoch=2)
        done = finetune(*options, "--run-dir", "my run")
    assert (done.status, done.stdout) == (128 + number, "")
    assert "go on with: cmpt726 finetune --resume 'my run'" in done.stderr
    assert re.search(r"best model so far, of epoch \d+, is kept", done.stderr)
    assert done.stderr.splitlines()[-1] == "error: interrupted"
    done, whole = (
        cmpt726("finetune", "--resume", "my run", "--json"),
        finetune(*options, "--run-dir", "whole", "--json"),
    )
    assert done.status == 0, done.stderr
    assert [done.json[name] for name in ("best", "test")] == [whole.json[name] for name in ("best", "test")]
    assert metrics(tmp_path / "my run") == metrics(tmp_path / "whole")
    assert "finished" in one_error_line(cmpt726("finetune", "--resume", "my run"), 2)
    assert "--run-dir must be a new folder" in one_error_line(finetune("--epochs", 1, "--run-dir", "whole"), 2)


@pytest.mark.parametrize("option", ["--dataset", "--head", "--augment"])
def test_code_is_run_because_it_is_typed_and_never_because_a_file_names_it(
    finetune: Run, cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    sources = {"--dataset": (DATA, "rgb"), "--head": (HEADS, "small"), "--augment": (AUGMENTATIONS, "darken")}
    source, function = sources[option]
    canary = tmp_path / "canary"
    own = write_code(tmp_path / "own.py", source + CANARY.format(canary=str(canary)))(function)
    with monkeypatch.context() as patched:
        interrupting(patched, signal.SIGINT, epoch=1)
        done = finetune("--epochs", 2, "--run-dir", "run", option, own)
    assert done.status == 130, done.stderr
    assert canary.exists()
    canary.unlink()
    for name in [name for name in sys.modules if name.startswith("_cmpt726_user_")]:
        monkeypatch.delitem(sys.modules, name)
    line = one_error_line(cmpt726("finetune", "--resume", "run"), 2)
    assert own in line
    assert "never run" in line
    (tmp_path / "other.py").write_text("raise SystemExit(9)")
    assert own in one_error_line(cmpt726("finetune", "--resume", "run", option, own.replace("own.py", "other.py")), 2)
    assert not canary.exists()
    assert not (tmp_path / "run" / "summary.json").exists()
    done = cmpt726("finetune", "--resume", "run", option, own, "--json")
    assert done.status == 0, done.stderr
    assert canary.exists()
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [1, 2]


def test_own_data_head_and_augmentation_together(finetune: Run, tmp_path: Path) -> None:
    data, head, augment = (
        write_code(tmp_path / f"{name}.py", source)(function)
        for name, source, function in (
            ("data", DATA, "talkative"), ("heads", HEADS, "small"), ("changes", AUGMENTATIONS, "darken"),
        )
    )  # fmt: skip
    done = finetune(*PARTLY, "--dataset", data, "--head", head, "--augment", f"flip,{augment}", "--views", 2, "--json")
    assert done.status == 0, done.stderr
    assert done.json["dataset"]["name"] == "data"
    assert "from my own code" in done.stderr


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ((), {"lr": 0.001, "momentum": 0.9, "nesterov": False, "schedule": "constant", "recompute": True}),
        (("--schedule", "cosine", "--epochs", 1), {"schedule": "cosine", "lr": 0.001}),  # cosine is the usual default
        (("--cache", "--lr", 0.05, "--epochs", 1), {"cache": True, "recompute": False, "lr": 0.05, "nesterov": False}),
    ],
)
def test_what_is_typed_overrides_the_preset(
    finetune: Run, tmp_path: Path, typed: tuple[object, ...], expected: dict[str, Any]
) -> None:
    done = finetune("--preset", "course", *typed, "--run-dir", "out")
    assert done.status == 0, done.stderr
    chosen = json.loads((tmp_path / "out" / "config.json").read_bytes())["options"]
    assert {name: chosen[name] for name in expected} == expected


PHOTO = (1600, 1200)


def write_photos(root: Path) -> Path:
    """PHOTOS/CLASS/*.JPG: large, of two shapes, some turned, one broken, one nine times, with other files about."""
    chance = np.random.default_rng(0)
    for number in range(30):
        kind = ("sea", "sky")[number % 2]
        (root / kind).mkdir(parents=True, exist_ok=True)
        small = chance.integers(0, 60, (12, 16, 3), dtype=np.uint8)
        small[: 6 if kind == "sky" else 12, :, 2] += 180
        photo = Image.fromarray(small).resize(PHOTO if number % 3 else PHOTO[::-1])
        exif = Image.Exif()
        if number % 5 == 0:
            exif[0x0112] = 6
            photo = photo.rotate(90, expand=True)
        photo.save(root / kind / f"IMG_{number:04}.JPG", quality=80, exif=exif)
    original = (root / "sea" / "IMG_0002.JPG").read_bytes()
    for number in range(8):
        (root / "sea" / f"copy {number}.jpg").write_bytes(original)
    (root / "sky" / "broken.jpg").write_bytes(original[:2000])
    (root / "sky" / "notes.txt").write_text("x")
    (root / ".thumbnails").mkdir()
    return root


def test_a_folder_of_photos_needs_no_other_option(finetune: Run, tmp_path: Path) -> None:
    """But for weights and threads, which here are a test's."""
    done = finetune("--dataset", f"folder:{write_photos(tmp_path / 'PHOTOS')}", drawn=True)
    assert done.status == 0, done.stderr
    assert "skipped 1 broken image, such as sky/broken.jpg" in done.stderr
    assert "2 files were not read: 1 hidden and 1 .txt" in done.stderr
    (run,) = Path("runs").iterdir()
    assert run.name.startswith("PHOTOS-")
    summary = json.loads((run / "summary.json").read_bytes())
    data, (low, high) = summary["dataset"], summary["test"]["interval"]
    assert sum(data[split] for split in ("train", "validation", "test")) == 38
    assert (data["duplicates"], data["skipped"]) == (0, ["sky/broken.jpg"]), "copies go to one split"
    assert high - low > 0.2, "honest: these are few images"
    assert {"inputs.png", "gallery.html", "best.safetensors", "skipped.txt"} <= {path.name for path in run.iterdir()}


def test_classes_of_different_sizes_are_told_apart(finetune: Run, cmpt726: Run, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "uneven", 60)
    for path in sorted((folder / "rows").iterdir())[6:]:
        path.unlink()
    tried = {}
    for options in ((), ("--balance",)):
        run = "balanced" if options else "plain"
        done = finetune("--dataset", f"folder:{folder}", *options, *PARTLY, "--run-dir", run)
        assert done.status == 0, done.stderr
        summary = json.loads((tmp_path / run / "summary.json").read_bytes())
        tried[run] = summary["test"]["class_accuracy"]
        balanced = np.mean(tried[run])
        assert summary["test"]["balanced_accuracy"] == pytest.approx(balanced)
        said = " ".join(done.stdout.split())
        assert f"balanced accuracy {100 * balanced:.1f} %, the mean of the classes' recalls; always columns has" in said
        assert re.search(r"class +images +right +recall", done.stdout)
        lines = metrics(tmp_path / run)
        ranks = [(line["val_balanced_error" if options else "val_error"], line["val_loss"]) for line in lines]
        assert summary["best"]["epoch"] == 1 + ranks.index(min(ranks))
        assert ["val_balanced_error" in line for line in lines] == [bool(options)] * 3
        assert ("(balanced " in done.stderr) is bool(options)
    found = cmpt726("evaluate", "plain", "--dataset", f"folder:{folder}", "--no-figures")
    assert "balanced accuracy: " in found.stdout
    assert lines[0]["train_loss"] != metrics(tmp_path / "plain")[0]["train_loss"]
