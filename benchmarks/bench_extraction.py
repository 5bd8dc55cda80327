"""The frozen part over images, against other ways to run the same network on the same machine."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from benchmarks import course
from benchmarks.data import images
from benchmarks.measure import Row, compare, in_turn, per_second
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.network.kernels import has_bf16
from cli726.finetune.network.resnet import Normalization, channels_last, fuse
from cli726.finetune.network.weights import load_weights

COUNT = 1024
BATCHES = (32, 64, 128, 256)
# Of ResNet20 on 32 x 32: multiply-adds an image, by He et al. (2015).
MULTIPLY_ADDS = 40.8e6
PRODUCT = 2048


def eager(backbone: torch.nn.Sequential, inputs: Tensor, batch: int) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            for part in inputs.split(batch):
                backbone(part)

    return run


def onnx_runtime(backbone: torch.nn.Sequential, inputs: Tensor) -> Callable[[], None] | None:
    """ONNX Runtime, float32, BatchNorm folded as it does itself; None where it isn't installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "net.onnx"
        torch.onnx.export(backbone, (inputs[:2],), path, input_names=["x"], dynamic_axes={"x": {0: "n"}}, dynamo=False)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    parts = [part.numpy() for part in inputs.split(64)]
    return lambda: [session.run(None, {"x": part}) for part in parts] and None


def compiled(backbone: torch.nn.Sequential, inputs: Tensor) -> Callable[[], None] | None:
    """torch.compile of the fused network; None where there is no compiler."""
    ready = torch.compile(channels_last(fuse(backbone)))
    run = eager(ready, inputs.contiguous(memory_format=torch.channels_last), 64)
    try:
        run()
    except Exception:  # noqa: BLE001  # whatever keeps it from working here
        return None
    return run


def products(precisions: list[torch.dtype]) -> dict[str, Callable[[], object]]:
    """A matrix product in each precision, by each library that has one: torch's float32 is slow on some machines."""
    matrices = {precision: torch.randn(PRODUCT, PRODUCT).to(precision) for precision in precisions}
    found: dict[str, Callable[[], object]] = {
        f"product {precision}, torch": (lambda matrix=matrix: matrix @ matrix) for precision, matrix in matrices.items()
    }
    array = matrices[torch.float32].numpy()
    return {**found, f"product {torch.float32}, NumPy": lambda: array @ array}


def rows(rounds: int) -> list[Row]:
    pixels, labels = images(COUNT)
    stored = torch.from_numpy(pixels)
    weights = load_weights("bundled", seed=0)
    normalization = Normalization(weights.normalization.mean, weights.normalization.std)
    backbone = weights.build().eval()
    inputs = normalization(stored).contiguous()
    precisions = [torch.float32, *([torch.bfloat16] if has_bf16() else [])]
    ours = {precision: Extractor(backbone, precision, normalization) for precision in precisions}
    contestants: dict[str, Callable[[], object] | None] = {
        **{str(precision): (lambda e=extractor: e(stored)) for precision, extractor in ours.items()},
        **{f"eager {batch}": eager(backbone, inputs, batch) for batch in BATCHES},
        "torch.compile": compiled(backbone, inputs),
        "ONNX Runtime": onnx_runtime(backbone, inputs),
        "DataLoader": course.extraction(pixels, labels),
        **products(precisions),
    }
    seconds = in_turn({name: work for name, work in contestants.items() if work}, rounds)
    best = min((f"eager {batch}" for batch in BATCHES), key=lambda name: median(seconds[name]))
    found = []
    for precision in precisions:
        name = str(precision)
        what = f"feature extraction, {name.removeprefix('torch.')}"
        rivals = [
            ("eager 32", "eager fp32, batch 32", 2.2),
            (best, f"eager fp32, best batch ({best.split()[1]})", 2.0),
            ("torch.compile", "torch.compile, fused, channels-last, fp32", None),
            ("ONNX Runtime", "ONNX Runtime, fp32", 1.3),
            ("DataLoader", "the course's DataLoader and network", None),
        ]
        for rival, against, goal in rivals:
            if rival in seconds:
                found.append(
                    compare(what, against, seconds[name], seconds[rival], per_second("images"), goal=goal,
                            scale=(COUNT, COUNT))
                )  # fmt: skip
        done = [2 * MULTIPLY_ADDS * COUNT / s for s in seconds[name]]
        peak = min(
            (rival for rival in seconds if rival.startswith(f"product {name}")), key=lambda r: median(seconds[r])
        )
        able = [2 * PRODUCT**3 / s for s in seconds[peak]]
        shares = [a / b for a, b in zip(done, able, strict=True)]
        found.append(
            Row(f"{what}: share of the peak", f"a {PRODUCT} x {PRODUCT} product by {peak.rpartition(' ')[2]}",
                f"{median(done) / 1e9:,.0f} GFLOP/s", f"{median(able) / 1e9:,.0f} GFLOP/s",
                median(shares), min(shares), max(shares), 0.8 if precision == torch.bfloat16 else None)
        )  # fmt: skip
    return found
