"""Chance as a function of what it is for: nothing to save, nothing that workers or resuming could change."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["generator"]


def generator(*purpose: int | str) -> torch.Generator:
    """A CPU generator for one purpose, such as (seed, phase, epoch, "order").

    The same purpose gives the same numbers on every machine; different ones are independent for practical ends.
    """
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
