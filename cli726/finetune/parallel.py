"""Several processes for one run: torch.distributed, when torchrun started them.

Every process runs the same lines on its own part of the work, and meets the others in the methods of a `Group`. One
process is a group of its own, in which they do nothing. Process 0, "the first", reads data, writes files and speaks.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from itertools import count
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cli726 import launch
from cli726.errors import EnvironmentFailure, Interrupted, RequestError, ToldElsewhere
from cli726.finetune.features.extractor import BLOCK, Extractor, stack

__all__ = ["ALONE", "Group", "Part", "join"]

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
Compute = Callable[[Iterable[slice]], Iterable[Tensor]]

# The others wait as long as the first one reads photographs. A process that dies is noticed at once, by its
# connections; a machine that falls silent, by torchrun.
PATIENCE = timedelta(days=1)
# How long to wait for torchrun's own store when something has gone wrong already.
BRIEFLY = timedelta(seconds=10)
# While training BatchNorm doesn't look at its running averages: they are shared when they are needed, not in every
# step. The option's first name has replaced the second.
NAMES = ("forward_sync_buffers", "broadcast_buffers")
NOT_IN_EVERY_STEP: dict[str, Any] = {
    next(name for name in NAMES if name in signature(DistributedDataParallel).parameters): False
}
# A notebook may run one thing after another.
MEETINGS = count()
# Of a broadcast; what it takes of memory besides the tensor itself.
SLAB = 2**26


@dataclass(frozen=True)
class Part:
    """A process's part of a batch.

    Attributes:
        images: How many of the batch's images count here; 0 for a stand-in.
        weight: What the mean over these images is multiplied with, so that the mean over processes is the mean over
            the whole batch.
    """

    images: int
    weight: float


class Group:
    """The processes of a run. This one: a single process, which has nobody to wait for."""

    rank = 0
    world = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def own_purpose(self) -> tuple[int | str, ...]:
        """What sets this process's draws apart from the others', for layers that draw for themselves."""
        return ()

    def tell(self, make: Callable[[], T]) -> T:
        """What the first process makes, on every process."""
        return make()

    def collect(self, value: T) -> list[T]:
        """Every process's value, in their order."""
        return [value]

    def copy(self, tensor: Tensor | None) -> Tensor:
        """A tensor on the CPU that only the first process needs to have, on every process."""
        return cast(Tensor, tensor)

    def rows(self, total: int, size: int, compute: Compute, *, everywhere: bool = True) -> Iterator[Tensor]:
        """Blocks of rows, in order, each computed by one process.

        Args:
            total: Number of rows.
            size: Rows of a block; the last may have fewer.
            compute: Gives the blocks at some places, in their order.
            everywhere: Every process gets the blocks; else only the first does.
        """
        yield from compute([slice(start, start + size) for start in range(0, total, size)])

    def features(self, extractor: Extractor, stored: Tensor) -> Tensor:
        """An extractor's features of all images, each computed by one process, on every process."""
        return extractor(stored)

    def part(self, batch: Tensor) -> Tensor:
        """This process's part of a batch: two images at least, because BatchNorm can't train on one.

        Where there are too few, the last processes take the first two as stand-ins that count for nothing, because
        every process must take part in every step.
        """
        busy = self.busy(len(batch))
        return batch.tensor_split(busy)[self.rank] if self.rank < busy else batch[:2]

    def part_of(self, images: int) -> Part:
        """How much of a batch of `images` this process's part is."""
        busy = self.busy(images)
        mine = images // busy + (self.rank < images % busy) if self.rank < busy else 0
        return Part(mine, mine * self.world / images)

    def require_batch(self, images: int) -> None:
        """Raise RequestError where batches of so many images leave a process without a part."""
        if self.busy(images) < self.world:
            raise RequestError(
                f"--batch-size must be at least twice the number of processes; got {images} and {self.world}; start "
                "fewer or take larger batches"
            )

    def busy(self, images: int) -> int:
        """How many processes have a part of such a batch."""
        return max(1, min(self.world, images // 2))

    def sum(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all processes."""

    def share_gradients(self, module: nn.Module, *, partly_used: bool = False) -> nn.Module:
        """`module`, with gradients averaged over all processes; they start from the first one's numbers.

        Args:
            partly_used: A step may leave some parameters without a gradient.
        """
        return module

    def share_statistics(self, network: M) -> M:
        """`network`, with BatchNorm over all parts of a batch where torch has it: on GPUs."""
        return network

    def follow_first(self, network: nn.Module) -> None:
        """Take over the first process's parameters and buffers."""

    def own_device(self, device: torch.device) -> torch.device:
        """The device of that kind that is this process's own."""
        return device

    def expect_the_end(self) -> None:
        """After an error: let nobody interrupt what is still to be said."""

    def __str__(self) -> str:
        return "1 process"


ALONE = Group()


class Workers(Group):
    """The processes that torchrun started, connected."""

    def __init__(self) -> None:
        """Meet the others.

        Raises:
            EnvironmentFailure: if they can't be reached.
        """
        self.rank, self.world = launch.rank(), launch.world()
        gpus = torch.cuda.is_available() and dist.is_nccl_available()
        self.backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        try:
            self.store = meeting_place(self.first)
            dist.init_process_group(
                self.backend, store=self.store, rank=self.rank, world_size=self.world, timeout=PATIENCE
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise EnvironmentFailure(
                f"the {self.world} processes must reach each other ({first_sentence(error)}); check torchrun's "
                "--rdzv-endpoint, the firewall and GLOO_SOCKET_IFNAME"
            ) from error

    @property
    def own_purpose(self) -> tuple[int | str, ...]:
        return "rank", self.rank

    def tell(self, make: Callable[[], T]) -> T:
        told: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(told, src=0)
        return cast(T, told[0])

    def collect(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def copy(self, tensor: Tensor | None) -> Tensor:
        shape, dtype = self.tell(lambda: (cast(Tensor, tensor).shape, cast(Tensor, tensor).dtype))
        whole = tensor if tensor is not None and self.first else torch.empty(shape, dtype=dtype)
        for slab in as_bytes(whole).reshape(-1).split(SLAB):
            dist.broadcast(slab, src=0)
        return whole

    def rows(self, total: int, size: int, compute: Compute, *, everywhere: bool = True) -> Iterator[Tensor]:
        starts = range(0, total, size)
        rounds = range(0, len(starts), self.world)
        # Without a block left a process computes the last one too: it must send something of the right shape.
        mine = [starts[min(first + self.rank, len(starts) - 1)] for first in rounds]
        for first, block in zip(rounds, compute([slice(start, start + size) for start in mine]), strict=True):
            longest = min(size, total - starts[first])
            if len(block) < longest:
                block = torch.cat([block, block.new_zeros(longest - len(block), *block.shape[1:])])
            received = self.gather(block, everywhere)
            for start, other in zip(starts[first : first + self.world], received, strict=False):
                yield other[: total - start]

    def features(self, extractor: Extractor, stored: Tensor) -> Tensor:
        size = min(BLOCK, -(-len(stored) // self.world))
        blocks = self.rows(len(stored), size, lambda places: extractor.each(places, stored.__getitem__))
        return stack(blocks, len(stored))

    def gather(self, block: Tensor, everywhere: bool) -> list[Tensor]:
        """Every process's block, in their order; nothing where they aren't wanted."""
        sent = as_bytes(block)
        received = [torch.empty_like(sent) for _ in range(self.world)] if everywhere or self.first else []
        if everywhere:
            dist.all_gather(received, sent)
        else:
            dist.gather(sent, received or None, dst=0)
        return [other.view(block.dtype) for other in received]

    def sum(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    def share_gradients(self, module: nn.Module, *, partly_used: bool = False) -> nn.Module:
        return DistributedDataParallel(module, find_unused_parameters=partly_used, **NOT_IN_EVERY_STEP)

    def share_statistics(self, network: M) -> M:
        if next(network.parameters()).device.type != "cuda":
            return network
        return cast(M, nn.SyncBatchNorm.convert_sync_batchnorm(network))

    @torch.no_grad()
    def follow_first(self, network: nn.Module) -> None:
        tensors = list(network.state_dict().values())
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            dist.broadcast(flat, src=0)
            for tensor, values in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
                tensor.copy_(values.view_as(tensor))

    def own_device(self, device: torch.device) -> torch.device:
        kinds = self.collect(device.type)
        if len(set(kinds)) > 1:
            raise RequestError(f"all processes must use one kind of device; got {', '.join(kinds)}; give --device cpu")
        if device.type != "cuda":
            return device
        number, here = launch.local_rank(), torch.cuda.device_count()
        if device.index is not None:
            raise RequestError(f"each process takes a GPU of its own; got --device {device}; give --device cuda")
        if number >= here:
            raise RequestError(
                f"each process needs a GPU of its own; got {launch.local_world()} processes on this machine and {here} "
                f"GPUs; start torchrun with --nproc-per-node {here}"
            )
        torch.cuda.set_device(number)
        return torch.device("cuda", number)

    def __str__(self) -> str:
        machines = launch.machines()
        return f"{self.world} processes on {machines} machine{'s' if machines > 1 else ''} ({self.backend})"

    def expect_the_end(self) -> None:
        # torchrun asks every process to end as soon as one has failed; this one is about to.
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def speaks(self) -> bool:
        """Whether this process is the first one with something to say about the end of the run."""
        with suppress(RuntimeError):
            self.store.set_timeout(BRIEFLY)
            return bool(self.store.add("spoke", 1) == 1)
        return True  # torchrun is gone: nobody else may be left

    def one_voice(self, error: BaseException) -> BaseException:
        """The error to end with, so that one process says why the run ended and the others end quietly."""
        if isinstance(error, RuntimeError) and lost_others(error):
            error = EnvironmentFailure(
                f"every process must go on until the run's end; one is gone ({first_sentence(error)}); torchrun says "
                "which; go on with --resume RUN"
            )
        if not self.speaks():
            return ToldElsewhere(getattr(error, "status", 1))
        if isinstance(error, Interrupted) and error.status == 128 + signal.SIGTERM:
            error.add_note("torchrun ends every process when one of them fails, and says which")
        elif not self.first:
            error.add_note(f"process {self.rank} of {self.world}, counted from 0")
        return error


def meeting_place(first: bool) -> Any:
    """The key-value store that torchrun keeps for its processes, or has the first one keep."""
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=first and not kept
    )
    return dist.PrefixStore(f"cmpt726/{launch.restarts()}/{next(MEETINGS)}", store)  # type: ignore[attr-defined]


def as_bytes(tensor: Tensor) -> Tensor:
    """The same memory as uint8: what is only carried has no type that a backend could lack."""
    return tensor.contiguous().view(torch.uint8)


def lost_others(error: RuntimeError) -> bool:
    """Whether this is how a connection to another process ends."""
    words = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)


def first_sentence(error: BaseException) -> str:
    """What a library says, without the place in its sources and its advice."""
    text = re.sub(r"^\[[^\]]*/[^\]]*\]\s*", "", str(error).strip() or type(error).__name__)
    return re.split(r"(?<=[a-z])\.\s|\n", text)[0]


@contextmanager
def join() -> Iterator[Group]:
    """The group that this process belongs to.

    Whatever ends one process ends them all, with one of them saying why.

    Raises:
        EnvironmentFailure: if the others can't be reached, or one of them is gone.
        ToldElsewhere: if another process says what is wrong.
    """
    if launch.world() == 1:
        yield ALONE
        return
    group = Workers()
    try:
        yield group
    except BaseException as error:
        group.expect_the_end()
        said = group.one_voice(error)
        dist.destroy_process_group()
        if said is error:
            raise
        raise said from error
    dist.destroy_process_group()
