"""Accuracy for the time: `--preset best` against the recipe that it is to beat, on images that `folder:` reads.

    python -m benchmarks.bench_accuracy folder:PATH --seeds 0 1 2

Both run as whole processes, one after the other for each seed, and are tested on the same images. The recipe, made for
all of CIFAR-10: the head to its optimum, then 30 epochs of everything, batch 256, peak rate 0.2, flip and crop, mirror
averaging. It takes hours on two cores, so `make bench` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean

from benchmarks.measure import PYTHON, ROOT, command_seconds, machine
from cli726.finetune.training.evaluation import wilson_interval

CONTESTANTS = {
    "--preset best": ("--preset", "best"),
    "the recipe to beat": (
        "--epochs", "31", "--unfreeze-after", "1", "--solver", "exact", "--l2", "5e-4", "--augment", "flip,crop",
        "--tta", "--batch-size", "256", "--lr", "0.2",
    ),
}  # fmt: skip


def run(dataset: str, seed: int, options: tuple[str, ...], more: list[str]) -> dict[str, float]:
    """One run: its correct test images, their number, and its seconds."""
    with tempfile.TemporaryDirectory() as name:
        words = [PYTHON, "-m", "cli726", "finetune", "--dataset", dataset, "--seed", str(seed), "--no-gallery"]
        environment = {"CMPT726_CACHE_DIR": f"{name}/cache", "PYTHONPATH": str(ROOT)}
        seconds = command_seconds([*words, "--run-dir", f"{name}/run", *options, *more], environment)
        test = json.loads((Path(name) / "run" / "summary.json").read_text())["test"]
    return {"correct": round(test["accuracy"] * test["images"]), "images": test["images"], "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", help="as finetune takes it, such as cifar10 or folder:PATH")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--option", action="append", default=[], help="for both, such as --option=--threads=1")
    options = parser.parse_args()
    print("\n".join(machine()))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    for seed in options.seeds:
        for name, words in CONTESTANTS.items():
            one = run(options.dataset, seed, words, options.option)
            found[name].append(one)
            share, seconds = one["correct"] / one["images"], one["seconds"]
            print(f"seed {seed}, {name}: {share:.2%} of {one['images']:,}, {seconds:,.0f} s", flush=True)
    for name, results in found.items():
        images = int(results[0]["images"])
        share = mean(one["correct"] / images for one in results)
        low, high = wilson_interval(round(share * images), images)
        seconds = mean(one["seconds"] for one in results)
        interval = f"95 % of one run: {low:.2%} to {high:.2%}"
        print(f"{name}: {share:.2%} of {images:,} test images ({interval}), {seconds:,.0f} s; {len(results)} seeds")


if __name__ == "__main__":
    main()
