"""Run a stretch of the network over many images at full speed: the frozen prefix, or all of it to evaluate."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import Barrier, BrokenBarrierError
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from cli726.finetune import parallel
from cli726.finetune.network.kernels import fuse_operations, fuses, has_bf16, keep_memory
from cli726.finetune.network.resnet import Normalization, as_maps, channels_last, fuse
from cli726.reporting import Reporter

# What is handed to a stream, read and written at a time.
BLOCK = 128
# So many images at once keep a stage's maps in the cache of a core; processors with bfloat16 have a larger one. oneDNN
# gives the same bits for any number but one.
IN_CACHE = {torch.float32: 64 if has_bf16() else 16, torch.bfloat16: 128}
SMALLEST_BLOCK, SMALLEST_POOLED = 4, 16
# Of inputs of more numbers than this, such as images of 224 pixels, 16 at once: 128 took 900 MB.
LARGE = 2**15
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a tensor that may be mapped from a disk: gathered as they are asked for, never all at once.

    Attributes:
        whole: What they are rows of, (M, ...).
        positions: int64 tensor (N,): which.
        mirrored: They are images (H, W, 3), wanted mirrored.
    """

    whole: Stored
    positions: Tensor
    mirrored: bool = False

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, places: slice | Tensor) -> Tensor:
        found = self.whole[self.positions[places]]
        return found.flip(2) if self.mirrored else found

    @property
    def device(self) -> torch.device:
        return self.whole.device


Stored: TypeAlias = Tensor | Rows
"""Images or features as they are stored, (N, ...): rows can be sliced and chosen, and have a device."""


def as_stored(maps: Tensor) -> Tensor:
    """Return the inverse of `as_maps`, contiguous."""
    return maps.permute(0, 2, 3, 1).contiguous() if maps.ndim == 4 else maps


def stack(blocks: Iterable[Tensor], rows: int) -> Tensor:
    """Return consecutive blocks, `rows` rows in all, as one tensor; each is copied as it comes: never all twice."""
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


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return torch.float32 or torch.bfloat16 for `--precision`; "auto" takes bfloat16 where the hardware has it."""
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


@lru_cache(maxsize=1)
def single_threads(count: int) -> ThreadPoolExecutor:
    """Return threads on which torch divides no operation any further."""
    ready = Barrier(count + 1)

    def begin() -> None:
        torch.get_num_threads()  # asked once, or torch would take its usual number at a thread's first operation
        torch.set_num_threads(1)
        with suppress(BrokenBarrierError):
            ready.wait()

    executor = ThreadPoolExecutor(count, "stream", initializer=begin)
    try:
        for _ in range(count):
            executor.submit(int)
        ready.wait()
    except BaseException:
        ready.abort()  # interrupted here, threads that wait for us would keep the process from ending
        raise
    # torch takes the last word said by any thread for those to come.
    torch.set_num_threads(count)
    return executor


def in_streams(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `work` of each item, in order, as many at a time as torch has threads here; two more may wait for each.

    Each works on one thread: no barrier between layers, and a core's cache to itself. Two cores took 1.2 times as many
    images a second through the frozen part as with the two sharing every layer; and where other programs take a core,
    a shared layer waits for it each time.
    """
    count = torch.get_num_threads()
    if count == 1:
        yield from map(work, items)
        return
    executor = single_threads(count)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) > 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class Extractor:
    """Stages frozen in eval mode, BatchNorm folded into the convolutions, in one precision.

    The same images give the same bits whatever they are batched with (on a CPU), so that features may be stored, kept
    in memory, taken over or computed again without changing a result.
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
        body = channels_last(body, precision)
        self.body = fuse_operations(body) if fuses(precision, device) else body
        if self.on_cpu:
            keep_memory()
        self.precision = precision
        self.normalization = normalization
        # Squeeze and excitation averages over an image: then oneDNN's choice for such small maps depends on the batch.
        pools = any(isinstance(module, nn.AdaptiveAvgPool2d) for module in body.modules())
        self.least = SMALLEST_POOLED if pools else SMALLEST_BLOCK

    @torch.no_grad()
    def run(self, block: Tensor) -> Tensor:
        """Return the features of one block, (B, ...), as they are stored."""
        if not self.on_cpu:
            return self.forward(block)
        most = IN_CACHE[self.precision] if block[0].numel() <= LARGE else SMALLEST_POOLED
        return torch.cat([self.forward(part) for part in block.split(most)])

    def forward(self, block: Tensor) -> Tensor:
        count = len(block)
        if count < self.least:
            block = torch.cat([block, block[:1].expand(self.least - count, *block.shape[1:])])
        # The body may overwrite what it is given: never the stored features themselves.
        x = self.normalization(block) if self.normalization else as_maps(block).to(self.precision, copy=True)
        x = self.body(x.to(self.precision))
        if self.pool is not None:
            x = self.pool(x.float())
        return as_stored(x)[:count]

    def each(self, items: Iterable[T], prepare: Callable[[T], Tensor]) -> Iterator[Tensor]:
        """Yield features of the block that `prepare` makes of each item, in order; on a CPU several at a time."""

        def work(item: T) -> Tensor:
            return self.run(prepare(item))

        return in_streams(work, items) if self.on_cpu else map(work, items)

    def __call__(self, stored: Stored) -> Tensor:
        """Return features of all images: (N, 64) float32 after pooling, else maps (N, H, W, C) in `precision`."""
        if not len(stored):
            raise ValueError("no images")
        size = min(BLOCK, -(-len(stored) // torch.get_num_threads())) if self.on_cpu else BLOCK
        places = (slice(start, start + size) for start in range(0, len(stored), size))
        return stack(self.each(places, stored.__getitem__), len(stored))

    def together(self, stored: Stored) -> Tensor:
        """Return features of all images, each computed by one process, on every process."""
        if parallel.world() == 1:
            return self(stored)
        size = min(BLOCK, -(-len(stored) // parallel.world()))
        blocks = parallel.rows(len(stored), size, lambda places: self.each(places, stored.__getitem__))
        return stack(blocks, len(stored))
