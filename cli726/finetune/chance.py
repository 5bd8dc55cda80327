"""Chance as a function of what it is for: nothing to save, nothing that workers or resuming could change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def generator(*purpose: int | str) -> torch.Generator:
    """Return a CPU generator for one purpose, such as (seed, phase, epoch, "order").

    The same purpose gives the same numbers on every machine; different ones are independent for practical ends.
    """
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@contextmanager
def drawing_from(device: torch.device, *purpose: int | str) -> Iterator[None]:
    """Let layers that draw for themselves, such as dropout, draw from this purpose's numbers."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator(*purpose, "layers").initial_seed())
        yield
