"""What each augmentation costs an image, and what share that is of a training step.

    OMP_NUM_THREADS=1 python benchmarks/bench_augmentation.py --batch 256 --rate 960

CPU time, median over rounds in which each runs once; the share is that of a step at `--rate` images a second, which is
what the whole network trains at on two cores.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from cli726.finetune.augment.table import apply_all, draw_all, parse_augmentations
from cli726.finetune.recipe import KNOWN

COMBINED = ("flip,crop", ",".join(KNOWN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rate", type=float, default=960.0)
    options = parser.parse_args()
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(256, (options.batch, 32, 32, 3), generator=chance, dtype=torch.uint8)
    chosen = {text: parse_augmentations(text) for text in (*KNOWN, *COMBINED)}
    drawn = {text: draw_all(augmentations, options.batch, 0) for text, augmentations in chosen.items()}
    seconds: dict[str, list[float]] = {text: [] for text in chosen}
    for _ in range(options.rounds + 1):
        for text, augmentations in chosen.items():
            began = time.process_time()
            apply_all(augmentations, images, drawn[text])
            seconds[text].append(time.process_time() - began)
    print(f"batches of {options.batch}, {torch.get_num_threads()} threads, {options.rounds} rounds")
    print(f"{'':14}{'us an image':>12}{'of a step':>11}")
    for text, times in seconds.items():
        cost = median(times[1:]) / options.batch  # the first builds tables
        name = "all of them" if text == COMBINED[1] else text
        print(f"{name:14}{1e6 * cost:12.1f}{cost * options.rate:11.1%}")


if __name__ == "__main__":
    main()
