"""Run a stretch of the network over many images at full speed: the frozen prefix, or all of it to evaluate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from cli726.finetune import parallel
from cli726.finetune.features.streams import in_streams
from cli726.finetune.network.kernels import fuse_operations, fuses
from cli726.finetune.network.resnet import channels_last, fuse
from cli726.reporting import Reporter

__all__ = ["Extractor", "Normalization", "as_maps", "has_bf16", "resolve_precision", "say_if_emulated", "stack"]

# What is handed to a stream, read and written at a time.
BLOCK = 128
# So many images at once keep a stage's maps in the cache of a core; oneDNN gives the same bits for any number but one.
IN_CACHE = {torch.float32: 16, torch.bfloat16: 64}
SMALLEST_BLOCK = 4
T = TypeVar("T")


@dataclass(frozen=True)
class Normalization:
    """What the network's weights expect of its input: (x / 255 - mean) / std, for each of red, green and blue."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 images of shape (B, H, W, 3) as float32 of shape (B, 3, H, W), channels last in memory."""
        mean = torch.tensor(self.mean, device=pixels.device)
        std = torch.tensor(self.std, device=pixels.device)
        return as_maps(pixels.float().mul_(1 / (255 * std)).sub_(mean / std))


def as_maps(stored: Tensor) -> Tensor:
    """(B, H, W, C) as it lies in memory, seen as (B, C, H, W), which convolutions take; vectors as they are."""
    return stored.permute(0, 3, 1, 2) if stored.ndim == 4 else stored


def as_stored(maps: Tensor) -> Tensor:
    """The inverse of `as_maps`, contiguous."""
    return maps.permute(0, 2, 3, 1).contiguous() if maps.ndim == 4 else maps


def stack(blocks: Iterable[Tensor], rows: int) -> Tensor:
    """Consecutive blocks of `rows` rows in all as one tensor, each copied as it comes: never all of them twice."""
    whole: Tensor | None = None
    start = 0
    for block in blocks:
        if whole is None:
            whole = block.new_empty(rows, *block.shape[1:])
        whole[start : start + len(block)] = block
        start += len(block)
    if whole is None or start != rows:
        raise ValueError(f"expected {rows} rows; got {start}")
    return whole


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware."""
    # torch has no public name for these questions; where it loses the private ones, float32 is always right.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, question, bool)()) for question in questions)


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """torch.float32 or torch.bfloat16 for `--precision`; "auto" takes bfloat16 where the hardware has it."""
    if precision == "auto":
        able = torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu" and has_bf16()
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def say_if_emulated(precision: torch.dtype, device: torch.device, reporter: Reporter) -> None:
    """Say so where a processor has to imitate `precision`."""
    if precision == torch.bfloat16 and device.type == "cpu" and not has_bf16():
        reporter.say(
            "note: this processor has no bfloat16: it is emulated, up to ten times slower than --precision fp32"
        )


class Extractor:
    """Stages frozen in eval mode, BatchNorm folded into the convolutions, in one precision.

    The same images give the same bits whatever they are batched with (on a CPU), so that features may be stored,
    kept in memory or computed again without changing a result.
    """

    def __init__(
        self,
        stages: nn.Sequential,
        precision: torch.dtype = torch.float32,
        normalization: Normalization | None = None,
    ) -> None:
        """Take a copy of `stages`; `normalization` where they begin at the image, in uint8."""
        fused = fuse(stages)
        # Averaged in float32: sums of bfloat16 would lose what the head needs.
        self.pool = dict(fused.named_children()).get("pool")
        body = nn.Sequential(OrderedDict((name, stage) for name, stage in fused.named_children() if name != "pool"))
        device = next((parameter.device for parameter in body.parameters()), torch.device("cpu"))
        self.on_cpu = device.type == "cpu"
        self.body = fuse_operations(body) if fuses(precision, device) else channels_last(body, precision)
        self.precision = precision
        self.normalization = normalization

    @torch.no_grad()
    def run(self, block: Tensor) -> Tensor:
        """One block: stored images or features (B, ...) to features as they are stored."""
        if not self.on_cpu:
            return self.forward(block)
        return torch.cat([self.forward(part) for part in block.split(IN_CACHE[self.precision])])

    def forward(self, block: Tensor) -> Tensor:
        count = len(block)
        if count < SMALLEST_BLOCK:
            block = torch.cat([block, block[:1].expand(SMALLEST_BLOCK - count, *block.shape[1:])])
        # The body may overwrite what it is given: never the stored features themselves.
        x = self.normalization(block) if self.normalization else as_maps(block).to(self.precision, copy=True)
        x = self.body(x.to(self.precision))
        if self.pool is not None:
            x = self.pool(x.float())
        return as_stored(x)[:count]

    def each(self, items: Iterable[T], prepare: Callable[[T], Tensor]) -> Iterator[Tensor]:
        """Features of the block that `prepare` makes of each item, in order; on a CPU several at a time."""

        def work(item: T) -> Tensor:
            return self.run(prepare(item))

        return in_streams(work, items) if self.on_cpu else map(work, items)

    def __call__(self, stored: Tensor) -> Tensor:
        """Features of all images: (N, 64) float32 after pooling, else maps (N, H, W, C) in `precision`."""
        if not len(stored):
            raise ValueError("no images")
        share = -(-len(stored) // torch.get_num_threads()) if self.on_cpu else BLOCK
        blocks = stored.split(min(BLOCK, share))
        return stack(self.each(range(len(blocks)), blocks.__getitem__), len(stored))

    def together(self, stored: Tensor) -> Tensor:
        """Features of all images, each computed by one process, on every process."""
        if parallel.world() == 1:
            return self(stored)
        size = min(BLOCK, -(-len(stored) // parallel.world()))
        blocks = parallel.rows(len(stored), size, lambda places: self.each(places, stored.__getitem__))
        return stack(blocks, len(stored))
