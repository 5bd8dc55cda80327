"""What several processes compute together, and one alone, for `test_parallel.py` to compare.

Run by torchrun as a script, `processes.py FOLDER PICTURES WEIGHTS`: each process writes FOLDER/RANK.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cache.store import Store
from cli726 import launch
from cli726.errors import Cmpt726Error, RequestError
from cli726.finetune import api as finetuning
from cli726.finetune import parallel
from cli726.finetune import run as running
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.features.bank import MIRROR, Bank
from cli726.finetune.features.feed import Feed, batch_sizes, from_images
from cli726.finetune.network.resnet import Network, divide
from cli726.finetune.training import Trained, cross_entropy, settle_statistics
from cli726.reporting import Silent
from tests.cli726.finetune.conftest import NORMALIZATION, SMALL, shrunk
from tests.cli726.finetune.synthetic import HEAD_ONLY, Listener, lively_backbone, pictures, small_dataset, small_run

CPU = torch.device("cpu")


def blocks() -> dict[str, Any]:
    """Rows of a table, in blocks, for as many rows as give whole, partial and missing blocks."""
    table = torch.arange(100.0).reshape(50, 2)
    found = {}
    for total in (1, 7, 8, 13, 14, 50):
        for everywhere in (True, False):
            rows = table[:total]
            made = parallel.rows(
                total, 7, lambda places, rows=rows: map(rows.__getitem__, places), everywhere=everywhere
            )
            found[f"{total} {everywhere}"] = list(made)
    return found


def extraction(folder: Path) -> dict[str, Tensor]:
    """Features in memory, in a store that all share, in stores of their own, and of a pool that is not stored."""
    dataset = small_dataset(300)

    def bank(store: Path | None = None, precision: torch.dtype = torch.float32, **options: Any) -> Bank:
        stored = Store(store) if store else None
        return Bank(dataset, lively_backbone(), NORMALIZATION, precision, CPU, Listener(), store=stored, **options)

    found = {"maps": bank(precision=torch.bfloat16).pool_features("train", 3, MIRROR).view(torch.int16)}
    for name, place in (("shared", folder / "shared"), ("apart", folder / f"apart {parallel.HERE.rank}")):
        for state in ("built", "hit"):
            filled = bank(place)
            found[f"{name} {state}"] = filled.features("train", HEAD_ONLY)
            assert not parallel.first() or [used.state for used in filled.used] == [state]
    found["recomputed"] = bank(recompute=True).features("validation", HEAD_ONLY)
    return found


def gradients(images: int) -> dict[str, Tensor]:
    """Of one unfrozen step in float64 with BatchNorm held."""
    pixels, labels = map(torch.from_numpy, pictures(images))
    network = Network(lively_backbone(seed=parallel.HERE.rank), nn.Linear(SMALL[-1], 3)).double()
    if parallel.first():
        nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(1))
        nn.init.zeros_(network.head.bias)
    network.eval()
    forward = parallel.share_gradients(Trained(network.backbone, network.head, None))
    mine, (_, weight) = parallel.part(torch.arange(images)), parallel.part_of(images)
    scores = forward(NORMALIZATION(pixels[mine]).double())
    (cross_entropy(scores, labels[mine], 0.1, torch.tensor([0.5, 2, 1]).double()) * weight).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


def statistics() -> dict[str, Tensor]:
    """BatchNorm's averages, estimated anew by networks that differ but for the first process's."""
    pixels, labels = map(torch.from_numpy, pictures(40))
    network = Network(lively_backbone(seed=parallel.HERE.rank), nn.Linear(SMALL[-1], 3))
    _, suffix = divide(network.backbone, 0)
    feed = Feed(labels, batch_sizes(40, 16), (0, "all"), from_images(pixels, NORMALIZATION, None))
    parallel.follow_first(network)
    settle_statistics(suffix, feed, suffix.train())
    return network.backbone.state_dict()


def runs(folder: Path, shapes: Path, weights: Path, *, long: bool = True) -> dict[str, Any]:
    """Whole runs by whoever is here, in FOLDER; an interrupted one that is there is gone on with."""
    running.write_artifacts = lambda *_: []  # type: ignore[attr-defined]
    listener = Listener()
    results = {"head": finetuning.finetune(head(shapes, weights), folder / "head", reporter=listener)}
    if long:
        results["stages"] = finetuning.finetune(stages(shapes, weights, folder), folder / "stages", reporter=listener)
    if (folder / "interrupted").exists():
        results["resumed"] = finetuning.resume(folder / "interrupted", reporter=listener)
    told = {name: (result.test, result.best, result.test_scores) for name, result in results.items()}
    return {**told, "lines": listener.lines}


def head(shapes: Path, weights: Path) -> FinetuneConfig:
    """Batches of 16 leave a last one too small for three processes."""
    return small_run(shapes, weights, epochs=3)


def stages(shapes: Path, weights: Path, folder: Path) -> FinetuneConfig:
    """The exact solver, then stored maps, then augmented images."""
    return small_run(
        shapes, weights, epochs=3, unfreeze_after="1:layer3,2:all", solver="exact", l2=(1e-2,), augment="flip",
        cache=True, cache_dir=str(folder / "cache"),
    )  # fmt: skip


def failure(everywhere: bool) -> str:
    """What this process says, last of all, where something goes wrong in all processes, or in the last one only."""
    try:
        with parallel.join(Silent()):
            if everywhere or parallel.HERE.rank == parallel.world() - 1:
                raise RequestError("wrong")
            parallel.tell(lambda: 0)
            parallel.tell(lambda: 0)
    except Cmpt726Error as error:
        return " ".join([type(error).__name__, str(error), *getattr(error, "__notes__", [])])
    return "nothing"


def main() -> None:
    folder, shapes, weights = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    with shrunk(), parallel.join(Silent()):
        found: dict[str, Any] = {
            "blocks": blocks(),
            "extraction": extraction(folder),
            "gradients": {images: gradients(images) for images in (11, 3)},
            "statistics": statistics(),
            "told": (parallel.tell(lambda: "first"), parallel.collect(parallel.HERE.rank)),
        }
    with shrunk():
        found["runs"] = runs(folder, shapes, weights, long=launch.world() == 2)
    found["failure"] = failure(everywhere=launch.world() == 2)
    torch.save(found, folder / f"{launch.rank()}.pt")


if __name__ == "__main__":
    main()
