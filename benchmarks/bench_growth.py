"""How time and memory grow: with the images, and with the network's depth."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.data import images
from benchmarks.measure import PYTHON, ROOT, Row, in_turn
from cli726.drawing import COLORS, new_figure
from cli726.finetune.backbones import DEPTHS
from cli726.finetune.features.extractor import Extractor, resolve_precision
from cli726.finetune.network.resnet import Normalization, build_resnet

UNIT = 512
TIMES = (1, 2, 4, 8)
DEPTH_IMAGES = 512
MEMORY_IMAGES = 50_000
NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

# In a process of its own: the peak is the process's.
MEMORY = """
import json, re, sys
from pathlib import Path
import numpy as np, torch
from cli726.finetune.features.bank import PLAIN, Bank
from cli726.finetune.features.extractor import resolve_precision
from cli726.finetune.network.resnet import Normalization
from cli726.finetune.data.images import Dataset, Images, Split
from cli726.finetune.backbones import BACKBONES
from cli726.finetune.network.build import build_backbone
from cli726.reporting import Silent

def memory(name):
    # Not from getrusage: its peak is inherited from the process that started this one.
    return 1024 * int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

kind, count, cut = BACKBONES[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
pool = Images(np.zeros((count, kind.size, kind.size, 3), np.uint8), np.zeros(count, np.int64), ())
everything = {name: Split("train", np.arange(count)) for name in ("train", "validation", "test")}
data = Dataset("zeros", ("a", "b"), {"train": pool}, everything)
cpu = torch.device("cpu")
bank = Bank(data, build_backbone(kind), Normalization(kind.mean, kind.std), resolve_precision("auto", cpu), cpu,
            Silent(), kind=kind)
pool.pixels[...] = 1
before = memory("VmRSS")
kept = bank.pool_features("train", cut, PLAIN)
print(json.dumps({"before": before, "after": memory("VmHWM"), "input": pool.pixels.nbytes, "output": kept.nbytes}))
"""


def memory_row(name: str, count: int, cut: int, title: str, allowed: float) -> list[Row]:
    """What extraction adds to a process that holds the images, beside its output; `allowed` in MB."""
    if not Path("/proc/self/status").is_file():
        return []
    words = [PYTHON, "-c", MEMORY, name, str(count), str(cut)]
    seen = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    extra = (seen["after"] - seen["before"] - seen["output"]) / 1e6
    ratio = allowed / max(extra, 1)
    return [
        Row(f"memory: {title}", f"input + output + {allowed:,.0f} MB", f"input + output + {max(extra, 0):,.0f} MB",
            f"{(seen['input'] + seen['output']) / 1e6:,.0f} + {allowed:,.0f} MB", ratio, ratio, ratio, 1,
            "beside what the process held before")
    ]  # fmt: skip


def straightness(x: np.ndarray, y: np.ndarray) -> float:
    """How far the worst point lies off the best straight line, relative to its value."""
    line = np.polynomial.Polynomial.fit(x, y, 1)
    return float(np.max(np.abs(line(x) - y) / y))


def growth(rounds: int) -> tuple[list[Row], Figure]:
    precision = resolve_precision("auto", torch.device("cpu"))
    pixels = torch.from_numpy(images(UNIT * TIMES[-1])[0])
    extractor = Extractor(build_resnet(20), precision, NORMALIZATION)
    by_images = in_turn({str(n): (lambda n=n: extractor(pixels[: n * UNIT])) for n in TIMES}, rounds)
    deep = {depth: Extractor(build_resnet(depth), precision, NORMALIZATION) for depth in DEPTHS}
    by_depth = in_turn({str(d): (lambda e=e: e(pixels[:DEPTH_IMAGES])) for d, e in deep.items()}, rounds)
    found, figure = [], new_figure(9, 3.8)
    panels = [
        (np.array(TIMES) * UNIT, by_images, "images", "ResNet20"),
        (np.array(DEPTHS), by_depth, "depth", f"{DEPTH_IMAGES} images"),
    ]
    for axes, (x, seconds, label, title) in zip(figure.subplots(1, 2), panels, strict=True):
        rows = np.array(list(seconds.values()))  # (points, rounds)
        y = np.median(rows, 1)
        off = straightness(x.astype(float), y)
        line = np.polynomial.Polynomial.fit(x, y, 1)
        axes.plot(x, line(x), color="0.6", label="straight line")
        spread = np.abs(np.quantile(rows, [0.1, 0.9], axis=1) - y)
        axes.errorbar(x, y, spread, fmt="o", color=COLORS[0], capsize=3, label="median, 10 to 90 %")
        axes.set_xlabel(label)
        axes.set_ylabel("seconds")
        axes.set_xticks(x)
        axes.set_ylim(bottom=0)
        axes.set_title(f"Extraction, {title}")
        axes.legend()
        found.append(
            Row(f"growth with {label}, {x[0]} to {x[-1]}", "a straight line", f"{y[0]:.2f} to {y[-1]:.2f} s",
                f"off by {off:.1%} at most", 1 - off, 1 - off, 1 - off, 0.85, "goal: within 15 % of the line")
        )  # fmt: skip
    return found, figure


def rows(rounds: int, plot: Path) -> list[Row]:
    grown, figure = growth(max(rounds, 3))
    figure.savefig(plot, dpi=110)
    return [
        *memory_row("resnet20", MEMORY_IMAGES, 5, f"extraction of {MEMORY_IMAGES:,} images, 64 features", 300),
        *memory_row("resnet20", MEMORY_IMAGES // 5, 3, f"{MEMORY_IMAGES // 5:,} images, maps after layer2", 300),
        *grown,
    ]
