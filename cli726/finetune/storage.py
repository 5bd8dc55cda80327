"""Tensors and facts in one safetensors file, replaced atomically: the predecessor survives whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from cache.system import is_alive, sync_folder, write_synced
from cli726.errors import EnvironmentFailure, RequestError, UntrustedDataError

# The one name in the header, because safetensors writes several in any order; and in the facts, the digest of it all.
FACTS, DIGEST = "cmpt726", "content_digest"
# A thousand times a ResNet20.
LARGEST = 2**30


def replace_file(path: Path, content: bytes) -> None:
    """Write beside `path`, sync, rename over it, sync the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)  # left by a killed process of the same number, or a stranger's link
    try:
        write_synced(part, content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def check_output(output: Path, ending: str, *, any_ending: bool = False) -> None:
    """Refuse early what could not be written in the end; makes the folder.

    Raises:
        RequestError: for a folder, or another ending; with `any_ending` for a folder alone.
        EnvironmentFailure: if nothing may be written there.
    """
    if output.is_dir() or not (any_ending or output.suffix.lower() == ending):
        rule = "a file" if any_ending else f"a file that ends in {ending}"
        kind = "a folder" if output.is_dir() else "not that"
        raise RequestError(f"--output must be {rule}; {output} is {kind}; try {output}{ending}")
    if output.parent.exists() and not output.parent.is_dir():
        raise RequestError(f"--output must lie in a folder; {output.parent} is a file; choose another place")
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output.parent, os.W_OK):
        raise EnvironmentFailure(f"--output must lie where you may write; {output.parent} is not; choose another place")


def sweep_parts(folder: Path) -> None:
    """Remove what killed processes left of their writing in `folder`."""
    for part in folder.glob(".*.part"):
        pid = part.name.split(".")[-2]
        if not (pid.isdecimal() and is_alive(int(pid))):
            part.unlink(missing_ok=True)


def encode_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """Return a safetensors file with JSON facts in the header, and a digest of both."""
    # Cloned: a file can't hold one tensor under two names.
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    stated = {**facts, DIGEST: content_digest(contiguous, facts)}
    return save(contiguous, {FACTS: json.dumps(stated, sort_keys=True)})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Replace the file at `path` by tensors and facts."""
    replace_file(path, encode_tensors(tensors, facts))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and the facts in the header (empty where another program wrote the file).

    Raises:
        RequestError: if there is no such file.
        UntrustedDataError: if it is no whole safetensors file, or not as it was written.
    """
    if not path.is_file():
        raise RequestError(f"weights must be a file that exists; got {path}; check the path")
    require_size(path)
    content = path.read_bytes()
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(json.loads(content[8 : 8 + length]).get("__metadata__", {}).get(FACTS, "{}"))
    # What a header may claim is refused with errors of nearly any kind; all of them mean the same.
    except Exception as error:
        raise UntrustedDataError(f"{path} is not a whole safetensors file ({error}); fetch or write it anew") from error
    if not isinstance(facts, dict):
        raise UntrustedDataError(f"{path} carries facts that are no JSON object; fetch or write it anew")
    stated = facts.pop(DIGEST, None)
    if stated is not None and stated != content_digest(tensors, facts):  # files of other programs state none
        raise UntrustedDataError(f"{path} was damaged: its content isn't what its digest says; fetch or write it anew")
    return tensors, facts


def require_size(path: Path) -> None:
    """Raise UntrustedDataError before a file that is larger than any network of ours takes all memory."""
    size = path.stat().st_size
    if size > LARGEST:
        raise UntrustedDataError(
            f"{path} must be at most {LARGEST:,} bytes, which no CIFAR ResNet comes near; got {size:,}; fetch it anew"
        )


def content_digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 over tensors and facts."""
    return hashlib.sha256(f"{tensors_digest(tensors)} {json.dumps(facts, sort_keys=True)}".encode()).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over each tensor's name, dtype, shape and bytes, by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
