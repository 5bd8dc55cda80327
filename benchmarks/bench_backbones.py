"""The larger backbones at 224 pixels: the frozen part against other ways to run the same network, and its memory."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch

from benchmarks.bench_extraction import compiled, eager, onnx_runtime
from benchmarks.bench_growth import memory_row
from benchmarks.measure import Row, compare, in_turn, per_second
from cli726.finetune.backbones import IMAGENET, Backbone
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.network.build import build_backbone
from cli726.finetune.network.kernels import has_bf16
from cli726.finetune.network.resnet import Normalization

COUNT, MEMORY_COUNT = 32, 256
BATCHES = (8, 32)


def speeds(kind: Backbone, rounds: int) -> list[Row]:
    """How fast features are computed; the numbers in the weights, random here, don't matter for it."""
    torch.manual_seed(0)
    backbone, normalization = build_backbone(kind).eval(), Normalization(kind.mean, kind.std)
    pixels = torch.randint(0, 256, (COUNT, kind.size, kind.size, 3), dtype=torch.uint8)
    inputs = normalization(pixels).contiguous()
    precisions = [torch.float32, *([torch.bfloat16] if has_bf16() else [])]
    ours = {precision: Extractor(backbone, precision, normalization) for precision in precisions}
    contestants: dict[str, Callable[[], object] | None] = {
        **{str(precision): (lambda e=extractor: e(pixels)) for precision, extractor in ours.items()},
        **{f"eager {batch}": eager(backbone, inputs, batch) for batch in BATCHES},
        "torch.compile": compiled(backbone, inputs),
        "ONNX Runtime": onnx_runtime(backbone, inputs),
    }
    seconds = in_turn({name: work for name, work in contestants.items() if work}, rounds)
    best = min((f"eager {batch}" for batch in BATCHES), key=lambda name: median(seconds[name]))
    rivals = [
        (best, f"eager fp32, best batch ({best.split()[1]})", 1.3),
        ("torch.compile", "torch.compile, fused, channels-last, fp32", 1.0),
        ("ONNX Runtime", "ONNX Runtime, fp32", None),
    ]
    return [
        compare(f"{kind.name}, {str(precision).removeprefix('torch.')}", against, seconds[str(precision)],
                seconds[rival], per_second("images"), goal=goal, scale=(COUNT, COUNT))
        for precision in precisions for rival, against, goal in rivals if rival in seconds
    ]  # fmt: skip


def rows(rounds: int) -> list[Row]:
    found = []
    for kind in IMAGENET:
        found += speeds(kind, rounds)
        weights = sum(tensor.nbytes for tensor in build_backbone(kind).state_dict().values())
        allowed = 400 + 2 * weights / 1e6
        cut = len(kind.stages)
        found += memory_row(kind.name, MEMORY_COUNT, cut, f"{kind.name}, {MEMORY_COUNT} images", allowed)
    return found
