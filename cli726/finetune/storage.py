"""Tensors and facts in one safetensors file, replaced atomically: the predecessor survives whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cli726.errors import RequestError, UntrustedDataError

__all__ = ["read_tensors", "replace_file", "tensors_digest", "write_tensors"]


def replace_file(path: Path, content: bytes) -> None:
    """Write beside `path`, sync, rename over it, sync the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors with JSON facts in the header."""
    # Cloned: a file can't hold one tensor under two names.
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    replace_file(path, save(contiguous, {"cmpt726": json.dumps(facts, sort_keys=True)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and the facts in the header (empty where another program wrote the file).

    Raises:
        RequestError: if there is no such file.
        UntrustedDataError: if it is no whole safetensors file.
    """
    if not path.is_file():
        raise RequestError(f"weights must be a file that exists; got {path}; check the path")
    content = path.read_bytes()
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(json.loads(content[8 : 8 + length]).get("__metadata__", {}).get("cmpt726", "{}"))
    except (SafetensorError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise UntrustedDataError(f"{path} is not a whole safetensors file ({error}); fetch or write it anew") from None
    if not isinstance(facts, dict):
        raise UntrustedDataError(f"{path} carries facts that are no JSON object; fetch or write it anew")
    return tensors, facts


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over each tensor's name, dtype, shape and bytes, by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
