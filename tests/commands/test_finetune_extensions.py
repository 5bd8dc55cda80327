"""The extensions of `cmpt726 finetune` as a user types them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from cli726.errors import Interrupted
from cli726.finetune.data.datasets import load_dataset
from cli726.finetune.features.extractor import Normalization
from cli726.finetune.folder import RunFolder
from cli726.finetune.network.resnet import Network
from cli726.finetune.network.weights import save_weights
from tests.cli726.finetune.own import AUGMENTATIONS, CANARY, DATA, HEADS, write_code, write_table
from tests.cli726.finetune.synthetic import lively_backbone, metrics, write_pictures

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "shapes", 45)


@pytest.fixture
def finetune(cmpt726: Run, shapes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`cmpt726 finetune` on 45 pictures with random weights, on one thread, in a home of its own."""
    for name in ("CMPT726_CACHE_DIR", "CMPT726_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))

    def run(*arguments: object, dataset: str = f"folder:{shapes}", drawn: bool = False) -> Any:
        if not drawn:
            monkeypatch.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
        return cmpt726(
            "finetune", "--dataset", dataset, "--weights", "random", "--precision", "fp32", "--threads", 1, *arguments
        )

    return run


def one_error_line(done: Any, status: int) -> str:
    assert done.status == status, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "Traceback" not in done.stderr
    return str(line)


def test_the_cache_is_built_then_hit_and_off_without_the_option(finetune: Run) -> None:
    states = [finetune("--epochs", 1, *extra, "--json").json["cache"] for extra in ((), ("--cache",), ("--cache",))]
    assert [cache["state"] for cache in states] == ["off", "built", "hit"]
    off, built, hit = states
    assert (off["key"], off["bytes"], off["entries"]) == (None, 0, [])
    assert (built["key"], built["bytes"]) == (hit["key"], hit["bytes"])
    assert [entry["state"] for entry in hit["entries"]] == ["hit"]
    more = finetune("--epochs", 1, "--cache", "--tta", "--json").json["cache"]
    assert (more["state"], [entry["state"] for entry in more["entries"]]) == ("built", ["hit", "built"])


def test_several_penalties_give_one_table_and_the_best_goes_on(finetune: Run) -> None:
    done = finetune("--epochs", 2, "--l2", 0, "--l2", 0.01, "--l2", 100, "--run-dir", "out")
    assert done.status == 0, done.stderr
    assert done.stdout.count("L2 in the head phase") == 1
    table = done.stdout.split("L2 in the head phase")[1].split("Result")[0]
    rows = re.findall(r"^ *(0|0\.01|100) +\S+% ", table, re.MULTILINE)
    assert rows == ["0", "0.01", "100"]
    summary = json.loads(Path("out/summary.json").read_bytes())
    best = min(summary["trials"], key=lambda trial: (trial["best"]["val_error"], trial["best"]["val_loss"]))
    assert summary["l2"]["l2"] == best["l2"]
    assert f"L2: {best['l2']:g} is the best of 3" in done.stderr


@pytest.mark.parametrize("arguments", [["--l2", 0, "--l2", 1], ["--solver", "exact"]])
def test_penalties_and_the_exact_solver_need_a_head_phase(finetune: Run, arguments: list[Any]) -> None:
    assert "--unfreeze-after" in one_error_line(finetune("--unfreeze", "layer3", *arguments), 2)
    assert not Path("runs").exists()


@pytest.mark.parametrize(("typed", "l2", "separable"), [([], 1e-3, False), (["--l2", 0], 0.0, True)])
def test_the_exact_solvers_penalty(finetune: Run, typed: list[Any], l2: float, separable: bool) -> None:
    done = finetune("--solver", "exact", *typed, "--json")
    assert done.status == 0, done.stderr
    assert done.json["l2"]["l2"] == l2
    assert re.search(r"exact head: objective \S+, gradient norm \S+ after \d+ iterations", done.stderr)
    assert ("--l2 0 there is no optimum" in done.stderr) is separable


def test_mirror_averaging_changes_scores_and_nothing_that_was_trained(finetune: Run) -> None:
    plain, averaged = (
        finetune("--epochs", 1, *extra, "--json", "--run-dir", f"out{len(extra)}").json for extra in ((), ("--tta",))
    )
    assert metrics(Path("out0")) == metrics(Path("out1"))
    assert plain["best"] == averaged["best"]
    assert plain["test"]["loss"] != averaged["test"]["loss"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--views", 2], "--views 2 needs --augment"),
        (["--views", 0, "--augment", "flip"], "--views must be at least 1"),
        (["--views", 2, "--augment", "flip", "--recompute"], "--views and --recompute exclude each other"),
        (["--augment", "mirror"], "--augment knows"),
        (["--head", "mlp:0"], "--head must be"),
        (["--head", "python:nowhere.py:f"], "the file must exist"),
        (["--head", "python:nowhere"], "python:FILE.py:FUNCTION"),
        (["--solver", "exact", "--head", "mlp:8"], "plain linear head"),
        (["--workers", 0], "--workers must be at least 1"),
    ],
)
def test_what_cannot_be_combined_exits_2(finetune: Run, arguments: list[Any], part: str) -> None:
    assert part in one_error_line(finetune(*arguments), 2)
    assert not Path("runs").exists()


def test_own_data_head_and_augmentation_together(finetune: Run, tmp_path: Path) -> None:
    data, head, augment = (
        write_code(tmp_path / f"{name}.py", source)(function)
        for name, source, function in (
            ("data", DATA, "talkative"), ("heads", HEADS, "small"), ("changes", AUGMENTATIONS, "darken"),
        )
    )  # fmt: skip
    done = finetune(
        "--head", head, "--augment", f"flip,{augment}", "--views", 2, "--epochs", 2, "--unfreeze-after", 1,
        "--unfreeze", "layer3", "--json", dataset=data,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert done.json["dataset"]["name"] == "data"
    assert "from my own code" in done.stderr


@pytest.mark.parametrize("option", ["--dataset", "--head", "--augment"])
def test_code_is_run_because_it_is_typed_and_never_because_a_file_names_it(
    finetune: Run, cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    sources = {"--dataset": (DATA, "rgb"), "--head": (HEADS, "small"), "--augment": (AUGMENTATIONS, "darken")}
    source, function = sources[option]
    canary = tmp_path / "canary"
    own = write_code(tmp_path / "own.py", source + CANARY.format(canary=str(canary)))(function)
    data = own if option == "--dataset" else None
    others = () if data else (option, own)
    write = RunFolder.keep_epoch

    def stop(self: RunFolder, *rest: Any) -> None:
        write(self, *rest)
        raise Interrupted(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "keep_epoch", stop)
        done = finetune("--epochs", 2, "--run-dir", "run", *others, **({"dataset": data} if data else {}))
        assert done.status == 130, done.stderr
        assert canary.exists()
    canary.unlink()
    for name in [name for name in sys.modules if name.startswith("_cmpt726_user_")]:
        monkeypatch.delitem(sys.modules, name)

    line = one_error_line(cmpt726("finetune", "--resume", "run"), 2)
    assert own in line
    assert "never run" in line
    other = own.replace("own.py", "other.py")
    (tmp_path / "other.py").write_text("raise SystemExit(9)")
    assert own in one_error_line(cmpt726("finetune", "--resume", "run", option, other), 2)
    assert not canary.exists()
    assert not (tmp_path / "run" / "summary.json").exists()

    done = cmpt726("finetune", "--resume", "run", option, own, "--json")
    assert done.status == 0, done.stderr
    assert canary.exists()
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [1, 2]


def test_other_options_beside_resume_are_refused(cmpt726: Run) -> None:
    line = one_error_line(cmpt726("finetune", "--resume", "run", "--epochs", 3), 2)
    assert "--epochs" in line
    assert one_error_line(cmpt726("finetune", "--resume", "nowhere"), 2)


PHOTO = (1600, 1200)


def write_photos(root: Path) -> Path:
    """PHOTOS/CLASS/*.jpg: large, of two shapes, some turned, one broken, one twice, with other files about."""
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
    original = root / "sea" / "IMG_0002.JPG"
    for number in range(8):
        (root / "sea" / f"copy {number}.jpg").write_bytes(original.read_bytes())
    (root / "sky" / "broken.jpg").write_bytes(original.read_bytes()[:2000])
    (root / "sky" / "notes.txt").write_text("x")
    (root / ".thumbnails").mkdir()
    return root


def test_a_folder_of_photos_needs_no_other_option(
    cmpt726: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_of_ours: Path
) -> None:
    """But for weights and threads, which here are a test's."""
    photos = write_photos(tmp_path / "PHOTOS")
    done = cmpt726("finetune", "--dataset", f"folder:{photos}", "--weights", weights_of_ours, "--threads", 1)
    assert done.status == 0, done.stderr
    assert "skipped 1 broken image, such as sky/broken.jpg" in done.stderr
    assert "2 files were not read: 1 hidden and 1 .txt" in done.stderr
    (run,) = Path("runs").iterdir()
    assert run.name.startswith("PHOTOS-")
    summary = json.loads((run / "summary.json").read_bytes())
    data, test = summary["dataset"], summary["test"]
    assert sum(data[split] for split in ("train", "validation", "test")) == 38
    assert data["duplicates"] == 0, "copies go to one split"
    assert data["skipped"] == ["sky/broken.jpg"]
    low, high = test["interval"]
    percent = f"{100 * test['accuracy']:.0f} % (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
    assert f"of {test['images']} right: {percent}" in " ".join(done.stdout.split())
    assert high - low > 0.2  # honest: these are few images
    names = {"history.png", "confusion.png", "inputs.png", "gallery.html", "best.safetensors", "model.json"}
    assert {"skipped.txt"} | names <= {path.name for path in run.iterdir()}
    # Upright: of every photo of the sky the upper half is the blue one.
    pool = load_dataset(f"folder:{photos}").pools["train"]
    sky = pool.pixels[pool.labels == 1].astype(int)
    assert (sky[:, :12, :, 2].mean((1, 2)) > sky[:, 20:, :, 2].mean((1, 2)) + 100).all()


@pytest.fixture(scope="module")
def weights_of_ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "ours.safetensors"
    network = Network(lively_backbone(), nn.Linear(64, 100))
    save_weights(path, network, Normalization((0.5, 0.4, 0.6), (0.2, 0.3, 0.25)), {})
    return path


def test_strict_makes_a_broken_image_an_error(finetune: Run, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 12)
    (folder / "rows" / "broken.png").write_bytes(b"x")
    assert "rows/broken.png" in one_error_line(finetune("--strict", dataset=f"folder:{folder}"), 2)


HOSTILE = (
    "[/red]", "[bold]", "<script>alert(1)</script>", "../x", "a\nb", "\u202egpj.exe", "$x$", "$\\frac{", "=1+1",
    "\x1b[31mred", "猫", "x" * 300,
)  # fmt: skip


class Page(HTMLParser):
    """A page's text, apart from its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tag = ""
        self.code: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag

    def handle_data(self, data: str) -> None:
        (self.code if self.tag in {"script", "style"} else self.words).append(data)


def test_hostile_class_names_run_to_the_end(finetune: Run, cmpt726: Run, tmp_path: Path) -> None:
    table = write_table(tmp_path / "foreign", HOSTILE)
    done = finetune("--epochs", 1, "--run-dir", "out", dataset=f"csv:{table}", drawn=True)
    assert done.status == 0, done.stderr
    forbidden = {"\x1b", "\u202e"}
    assert not forbidden & set(done.stdout + done.stderr)
    assert "Warning" not in done.stderr
    for name in ("history", "confusion", "inputs"):
        with Image.open(f"out/{name}.png") as figure:
            assert min(figure.size) > 200
    page = Path("out/gallery.html").read_text(encoding="utf-8")
    assert "alert" not in "".join(Page(page).code)
    assert "<script>alert(1)</script>" in "".join(Page(page).words)
    assert not forbidden & set(page)
    summary = json.loads(Path("out/summary.json").read_bytes())
    assert summary["dataset"]["class_names"] == sorted(HOSTILE)
    assert cmpt726("runs", "ls", "--folder", ".").status == 0
    predicted = cmpt726("predict", "out", *sorted(table.parent.glob("*.png"))[:12])
    assert predicted.status == 0
    assert not forbidden & set(predicted.stdout)


def test_json_of_a_run_with_hostile_names_is_strict_and_whole(finetune: Run, tmp_path: Path) -> None:
    table = write_table(tmp_path / "foreign", HOSTILE[:3], each=10)
    done = finetune("--epochs", 1, "--json", dataset=f"csv:{table}")
    assert done.json["dataset"]["class_names"] == sorted(HOSTILE[:3])


@pytest.mark.skipif(os.name != "posix", reason="a process of its own is interrupted as POSIX does it")
def test_ctrl_c_ends_a_run_cleanly_with_the_best_so_far(shapes: Path, tmp_path: Path, cmpt726: Run) -> None:
    command = [sys.executable, "-m", "cli726", "finetune", "--dataset", f"folder:{shapes}", "--weights", "random"]
    command += ["--epochs", "100000", "--no-gallery", "--threads", "1", "--run-dir", str(tmp_path / "my run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "my run" / "last.safetensors").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    lines = err.splitlines()
    assert lines[-1] == "error: interrupted"
    assert f"--resume '{tmp_path / 'my run'}'" in lines[-2]
    assert re.search(r"best model so far, of epoch \d+, is kept", lines[-2])
    assert not [path for path in (tmp_path / "my run").iterdir() if path.name.endswith(".part")]
    done = cmpt726("predict", tmp_path / "my run", next((shapes / "rows").iterdir()), "--json")
    assert done.status == 0, done.stderr
    assert "interrupted" in cmpt726("runs", "ls", "--folder", tmp_path).stdout
