"""Start-up, the exact head, stochastic descent, the cache, and what augmentation costs of a step."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from benchmarks import bench_exact_head, bench_logistic
from benchmarks.data import images
from benchmarks.measure import PYTHON, ROOT, Row, command_seconds, compare, in_seconds, in_turn
from cache import reading
from cache.format import read_manifest
from cache.keys import Request
from cache.store import Store, digest_of
from cli726.finetune.augment.table import apply_all, draw_all, parse_augmentations
from cli726.finetune.network.resnet import Network, Normalization, channels_last
from cli726.finetune.network.weights import load_weights

BARE = """
import typer
from rich.console import Console
{imports}
app = typer.Typer()

@app.command()
def one(number: int = 1) -> None:
    "Print a number."
    Console().print(number)

@app.command()
def two() -> None:
    "Another."

app()
"""


def start_rows(rounds: int) -> list[Row]:
    here = {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as name:
        bare, with_numpy = Path(name) / "bare.py", Path(name) / "with_numpy.py"
        bare.write_text(BARE.format(imports=""))
        with_numpy.write_text(BARE.format(imports="import numpy"))
        words = {
            "help": [PYTHON, "-m", "cli726", "--help"],
            "bare": [PYTHON, str(bare), "--help"],
            "point": [PYTHON, "-m", "cli726", "softmax", "--point"],
            "numpy": [PYTHON, str(with_numpy), "one"],
        }
        seconds = in_turn({key: (lambda line=line: command_seconds(line, here)) for key, line in words.items()}, rounds)
    goal = 1 / 1.5
    return [
        compare("cmpt726 --help", "a bare Typer and Rich program's --help", seconds["help"], seconds["bare"],
                in_seconds, goal=goal, note="goal: at most 1.5 times its time"),
        compare("cmpt726 softmax --point", "a bare Typer, Rich and NumPy program", seconds["point"], seconds["numpy"],
                in_seconds, goal=goal, note="goal: at most 1.5 times its time"),
    ]  # fmt: skip


def exact_rows(rounds: int) -> list[Row]:
    x, labels = bench_exact_head.network_like(50_000, 64, 10)
    solvers = bench_exact_head.solvers(10, 1e-3)
    ours, theirs = "fit_exact", "scikit-learn, 1e-6, float32"
    seconds = in_turn({name: (lambda fit=solvers[name]: fit(x, labels)) for name in (ours, theirs)}, rounds)
    values = [bench_exact_head.objective(x, labels, *solvers[name](x, labels), 1e-3) for name in (ours, theirs)]
    note = f"objectives {values[0]:.9f} and {values[1]:.9f}"
    what = "--solver exact, 50,000 x 64, 10 classes"
    return [
        compare(what, "LogisticRegression, objective to 1e-6", seconds[ours], seconds[theirs], in_seconds, goal=1,
                note=note)
    ]  # fmt: skip


def descent_rows(rounds: int) -> list[Row]:
    updates = {
        "ours": bench_logistic.lockstep(), "loop": bench_logistic.plain(), "compiled": bench_logistic.compiled()
    }  # fmt: skip
    works = {"ours": bench_logistic.lockstep, "loop": bench_logistic.plain, "compiled": bench_logistic.compiled}
    seconds = in_turn(works, rounds, warm=False)
    what = "lr sgd, an update, 100 runs in lockstep"

    def nanoseconds(one: float) -> str:
        return f"{1e9 * one:,.0f} ns"

    return [
        compare(what, against, seconds["ours"], seconds[rival], nanoseconds, goal=goal,
                scale=(updates["ours"], updates[rival]), note=note)
        for rival, against, goal, note in (
            ("loop", "a plain Python loop", 20, ""),
            ("compiled", "scikit-learn's SGDClassifier", None, "ours also computes each epoch's loss"),
        )
    ]  # fmt: skip


def cache_rows(rounds: int) -> list[Row]:
    """Opening an entry, against numpy.load of the same bytes, and SHA-256 of them."""
    found = []
    shapes = [
        ("50,000 x 64 float32", (50_000, 64), "float32"),
        ("10,000 maps of 16 x 16 x 32 bf16", (10_000, 16, 16, 32), "bfloat16"),
    ]
    for title, (count, *shape), dtype in shapes:
        with tempfile.TemporaryDirectory() as name:
            chance = np.random.default_rng(0)
            kind = np.float32 if dtype == "float32" else np.uint16
            array = chance.integers(0, 1000, (count, *shape)).astype(kind)
            images = chance.integers(0, 256, (count, 32), np.uint8)
            store, request = Store(Path(name)), Request({"images": digest_of(images)}, count, tuple(shape), dtype)
            entry = store.get_or_build(request, images, lambda _, array=array: iter([array]))
            sha256 = read_manifest(store.path(request.key)).sha256
            np.save(Path(name) / "plain.npy", array)
            content = array.tobytes()
            del entry

            def opened(store: Store = store, request: Request = request, images: np.ndarray = images) -> object:
                return store.get_or_build(request, images, lambda _: iter(()))

            def unhashed(opened: Callable[[], object] = opened, sha256: str = sha256) -> None:
                real = reading.hashlib
                nothing = SimpleNamespace(update=lambda _: None, hexdigest=lambda: sha256)
                reading.hashlib = SimpleNamespace(sha256=lambda: nothing)
                try:
                    opened()
                finally:
                    reading.hashlib = real

            seconds = in_turn(
                {
                    "ours": opened,
                    "unhashed": unhashed,
                    "numpy": lambda path=Path(name) / "plain.npy": np.load(path),
                    "sha256": lambda content=content: hashlib.sha256(content).digest(),
                },
                3 * rounds,
            )
        milli = lambda one: f"{1e3 * one:,.1f} ms"  # noqa: E731
        found += [
            compare(f"opening {title}, without the hash", "numpy.load of the same bytes", seconds["unhashed"],
                    seconds["numpy"], milli, goal=1 / 1.5, note="goal: at most 1.5 times its time"),
            compare(f"opening {title}", "SHA-256 of the same bytes", seconds["ours"], seconds["sha256"], milli,
                    goal=1 / 1.2, note="goal: at most 1.2 times its time"),
        ]  # fmt: skip
    return found


def augmentation_rows(rounds: int) -> list[Row]:
    """Flip and crop of a batch, against the training step that it is for."""
    batch = 256
    pixels, labels = (torch.from_numpy(array) for array in images(batch))
    weights = load_weights("bundled", seed=0)
    normalization = Normalization(weights.normalization.mean, weights.normalization.std)
    network = channels_last(Network(weights.build(), nn.Linear(64, 10)).train())
    chosen = parse_augmentations("flip,crop")
    drawn = draw_all(chosen, batch, 0)

    def step() -> None:
        scores = network(normalization(apply_all(chosen, pixels, drawn)))
        nn.functional.cross_entropy(scores, labels.long()).backward()

    seconds = in_turn({"augment": lambda: apply_all(chosen, pixels, drawn), "step": step}, 3 * rounds)
    shares = [a / b for a, b in zip(seconds["augment"], seconds["step"], strict=True)]
    return [
        Row("flip and crop, of a step", f"a step of {batch} images, fp32", f"{1e3 * median(seconds['augment']):.1f} ms",
            f"{1e3 * median(seconds['step']):,.0f} ms", 1 / median(shares), 1 / max(shares), 1 / min(shares), 20,
            f"{median(shares):.1%} of the step; goal: under 5 %")
    ]  # fmt: skip


def rows(rounds: int) -> list[Row]:
    return [
        *start_rows(3 * rounds), *exact_rows(rounds), *descent_rows(rounds), *cache_rows(rounds),
        *augmentation_rows(rounds),
    ]  # fmt: skip
