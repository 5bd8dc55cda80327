"""Several processes for one run: torch.distributed, when torchrun started them.

Every process runs the same lines on its own part of the work, and meets the others in the functions of this module,
which do nothing where there is one process. Process 0, "the first", reads data, writes files and speaks.
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
from cli726.errors import EnvironmentFailure, Interrupted, RequestError, ToldElsewhere, did_you_mean
from cli726.finetune.recipe import DEVICES
from cli726.reporting import Reporter, Silent
from cli726.text import counted

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
# What an error of the others' end says.
HOW_CONNECTIONS_END = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
# A notebook may run one thing after another.
MEETINGS = count()
# Of a broadcast; what it takes of memory besides the tensor itself.
SLAB = 2**26


@dataclass
class Place:
    """This process's place among those that have joined."""

    rank: int = 0
    world: int = 1
    backend: str = ""
    store: Any = None


HERE = Place()


def first() -> bool:
    """Return whether this process reads, writes and speaks."""
    return HERE.rank == 0


def world() -> int:
    """Return the number of processes that share the work."""
    return HERE.world


def announce(reporter: Reporter) -> None:
    """Say how many processes there are, and where threads of one would wait for each other."""
    threads, places = torch.get_num_threads(), counted(launch.machines(), "machine")
    together = f"{world()} processes on {places} ({HERE.backend}), {threads} threads each"
    note = together if world() > 1 else launch.crowding(threads)
    if note:
        reporter.say(note)


def own_purpose() -> tuple[int | str, ...]:
    """Return what sets this process's draws apart from the others', for layers that draw for themselves."""
    return ("rank", HERE.rank) if world() > 1 else ()


def tell(make: Callable[[], T]) -> T:
    """Return what the first process makes, on every process."""
    if world() == 1:
        return make()
    told: list[Any] = [make() if first() else None]
    dist.broadcast_object_list(told, src=0)
    return cast(T, told[0])


def collect(value: T) -> list[T]:
    """Return every process's value, in their order."""
    values: list[Any] = [value] * world()
    if world() > 1:
        dist.all_gather_object(values, value)
    return values


def copy(tensor: Tensor | None) -> Tensor:
    """Return a tensor on the CPU that only the first process needs to have, on every process."""
    if world() == 1:
        return cast(Tensor, tensor)
    shape, dtype = tell(lambda: (cast(Tensor, tensor).shape, cast(Tensor, tensor).dtype))
    whole = tensor if tensor is not None and first() else torch.empty(shape, dtype=dtype)
    for slab in as_bytes(whole).reshape(-1).split(SLAB):
        dist.broadcast(slab, src=0)
    return whole


def rows(total: int, size: int, compute: Compute, *, everywhere: bool = True) -> Iterator[Tensor]:
    """Yield blocks of rows, in order, each computed by one process.

    Args:
        total: Number of rows.
        size: Rows of a block; the last may have fewer.
        compute: Gives the blocks at some places, in their order.
        everywhere: Every process gets the blocks; else only the first does.
    """
    starts = range(0, total, size)
    if world() == 1:
        yield from compute([slice(start, start + size) for start in starts])
        return
    rounds = range(0, len(starts), world())
    # Without a block left a process computes the last one too: it must send something of the right shape.
    mine = [starts[min(round_ + HERE.rank, len(starts) - 1)] for round_ in rounds]
    for round_, block in zip(rounds, compute([slice(start, start + size) for start in mine]), strict=True):
        longest = min(size, total - starts[round_])
        if len(block) < longest:
            block = torch.cat([block, block.new_zeros(longest - len(block), *block.shape[1:])])
        sent = as_bytes(block)
        received = [torch.empty_like(sent) for _ in range(world())] if everywhere or first() else []
        if everywhere:
            dist.all_gather(received, sent)
        else:
            dist.gather(sent, received or None, dst=0)
        for start, other in zip(starts[round_ : round_ + world()], received, strict=False):
            yield other.view(block.dtype)[: total - start]


def busy(images: int) -> int:
    """Return how many processes have a part of a batch of `images`: two images at least, as BatchNorm needs."""
    return max(1, min(world(), images // 2))


def part(batch: Tensor) -> Tensor:
    """Return this process's part of a batch.

    Where there are too few images, the last processes take the first two as stand-ins that count for nothing, because
    every process must take part in every step.
    """
    if world() == 1:
        return batch
    parts = batch.tensor_split(busy(len(batch)))
    return parts[HERE.rank] if HERE.rank < len(parts) else batch[:2]


def part_of(images: int) -> tuple[int, float]:
    """Return how much of a batch of `images` this process's part is.

    Returns:
        How many of them count here (0 for stand-ins), and what the mean over them is multiplied with, so that the mean
        over processes is the mean over the whole batch.
    """
    parts = busy(images)
    mine = images // parts + (HERE.rank < images % parts) if HERE.rank < parts else 0
    return mine, mine * world() / images


def require_batch(images: int) -> None:
    """Raise RequestError where batches of so many images leave a process without a part."""
    if busy(images) < world():
        raise RequestError(
            f"--batch-size must be at least twice the number of processes; got {images} and {world()}; start fewer or "
            "take larger batches"
        )


def sum_all(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all processes."""
    for tensor in tensors if world() > 1 else ():
        dist.all_reduce(tensor)


def share_gradients(module: nn.Module, *, partly_used: bool = False) -> nn.Module:
    """Return `module`, with gradients averaged over all processes; they start from the first one's numbers.

    Args:
        partly_used: A step may leave some parameters without a gradient.
    """
    if world() == 1:
        return module
    return DistributedDataParallel(module, find_unused_parameters=partly_used, **NOT_IN_EVERY_STEP)


def share_statistics(network: M) -> M:
    """Return `network`, with BatchNorm over all parts of a batch where torch has it: on GPUs."""
    if world() == 1 or next(network.parameters()).device.type != "cuda":
        return network
    return cast(M, nn.SyncBatchNorm.convert_sync_batchnorm(network))


@torch.no_grad()
def follow_first(network: nn.Module) -> None:
    """Take over the first process's parameters and buffers."""
    tensors = list(network.state_dict().values()) if world() > 1 else []
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in alike])
        dist.broadcast(flat, src=0)
        for tensor, values in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(values.view_as(tensor))


def own_device(name: str) -> torch.device:
    """Return the device that `--device` names, auto a GPU where there is one; of several processes each its own.

    Raises:
        EnvironmentFailure: if it is not here.
        RequestError: if it is none; where the processes name several kinds, or there are too few.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError:
        near = did_you_mean(name, DEVICES)
        raise RequestError(f"--device must be one of {', '.join(DEVICES)}; got {name}{near}") from None
    try:
        torch.empty(1, device=device).cpu()
    # torch raises a different type for each kind of device that isn't there.
    except (RuntimeError, AssertionError, NotImplementedError):
        raise EnvironmentFailure(f"--device {name} is not usable here; try cpu, or see `cmpt726 doctor`") from None
    kinds = collect(device.type)
    if len(set(kinds)) > 1:
        raise RequestError(f"all processes must use one kind of device; got {', '.join(kinds)}; give --device cpu")
    if world() == 1 or device.type != "cuda":
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


def as_bytes(tensor: Tensor) -> Tensor:
    """Return the same memory as uint8: what is only carried has no type that a backend could lack."""
    return tensor.contiguous().view(torch.uint8)


def meet() -> None:
    """Connect with the processes that torchrun started.

    Raises:
        EnvironmentFailure: if they can't be reached.
    """
    rank, all_of_us = launch.rank(), launch.world()
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    # The key-value store that torchrun keeps for its processes, or has the first one keep.
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        port = int(os.environ["MASTER_PORT"])
        everybodys = dist.TCPStore(os.environ["MASTER_ADDR"], port, is_master=rank == 0 and not kept)  # type: ignore[attr-defined]
        store = dist.PrefixStore(f"cmpt726/{launch.restarts()}/{next(MEETINGS)}", everybodys)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=all_of_us, timeout=PATIENCE)
    except (RuntimeError, ValueError, KeyError) as error:
        raise EnvironmentFailure(
            f"the {all_of_us} processes must reach each other ({first_sentence(error)}); check torchrun's "
            "--rdzv-endpoint, the firewall and GLOO_SOCKET_IFNAME"
        ) from error
    HERE.rank, HERE.world, HERE.backend, HERE.store = rank, all_of_us, backend, store


def expect_the_end() -> None:
    """Let nobody interrupt what is still to be said after an error."""
    # torchrun asks every process to end as soon as one has failed; this one is about to.
    with suppress(ValueError):  # not in the main thread
        if world() > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def one_voice(error: BaseException) -> BaseException:
    """Return the error to end with, so that one process says why the run ended and the others end quietly."""
    lost = isinstance(error, dist.DistError) or any(word in str(error).lower() for word in HOW_CONNECTIONS_END)
    if isinstance(error, RuntimeError) and lost:
        error = EnvironmentFailure(
            f"every process must go on until the run's end; one is gone ({first_sentence(error)}); torchrun says "
            "which; go on with --resume RUN"
        )
    with suppress(RuntimeError):  # torchrun is gone: nobody else may be left
        HERE.store.set_timeout(BRIEFLY)
        if HERE.store.add("spoke", 1) > 1:
            return ToldElsewhere(getattr(error, "status", 1))
    if isinstance(error, Interrupted) and error.status == 128 + signal.SIGTERM:
        error.add_note("torchrun ends every process when one of them fails, and says which")
    elif not first():
        error.add_note(f"process {HERE.rank} of {world()}, counted from 0")
    return error


def first_sentence(error: BaseException) -> str:
    """Return what a library says, without the place in its sources and its advice."""
    text = re.sub(r"^\[[^\]]*/[^\]]*\]\s*", "", str(error).strip() or type(error).__name__)
    return re.split(r"(?<=[a-z])\.\s|\n", text)[0]


@contextmanager
def join(reporter: Reporter) -> Iterator[Reporter]:
    """Join the processes that torchrun started, if it did; whatever ends one ends them all, and one says why.

    Yields:
        The reporter in the first process, a silent one in the others.

    Raises:
        EnvironmentFailure: if the others can't be reached, or one of them is gone.
        ToldElsewhere: if another process says what is wrong.
    """
    if launch.world() == 1:
        yield reporter
        return
    meet()
    try:
        yield reporter if first() else Silent()
    except BaseException as error:
        expect_the_end()
        said = one_voice(error)
        if said is error:
            raise
        raise said from error
    finally:
        dist.destroy_process_group()
        vars(HERE).update(vars(Place()))
