"""Pre-trained weights: where they come from, the layouts that the world writes them in, what belongs to them."""

from __future__ import annotations

import argparse
import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cli726.errors import RequestError, UntrustedDataError, did_you_mean
from cli726.finetune.config import DEPTHS, WEIGHTS
from cli726.finetune.data.downloads import fetch_public_weights
from cli726.finetune.network.resnet import Normalization, build_backbone
from cli726.finetune.storage import LARGEST, read_tensors, require_size, tensors_digest, write_tensors
from cli726.reporting import Reporter, Silent
from cli726.text import typed_path

__all__ = ["COURSE_NORMALIZATION", "Weights", "load_weights", "save_weights"]

# The course script's constants, for checkpoints in its layout.
COURSE_NORMALIZATION = Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
# chenyaofo/pytorch-cifar-models, for CIFAR-100.
CIFAR100_NORMALIZATION = Normalization((0.507, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
# The course's model is Sequential(conv1, bn1, relu, layer1, layer2, layer3, avgpool).
COURSE_STAGES = {"0": "stem.conv1", "1": "stem.bn1", "3": "layer1", "4": "layer2", "5": "layer3"}
# The first block of a backbone, in each layout: what stands before it is a prefix.
FIRST = ("layer1.0.conv1.weight", "3.0.conv1.weight")
# What training programs keep beside tensors: plain numbers and options, which can do nothing.
HARMLESS: list[Any] = [
    argparse.Namespace, np.dtype, (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    np.float64(0).__reduce__()[0], *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)),
]  # fmt: skip
# Names in a message before the rest is counted.
MOST_NAMED = 4


@dataclass(frozen=True)
class Weights:
    """A pre-trained backbone.

    Attributes:
        name: What it is called in tables.
        depth: 20, 32, 44 or 56.
        backbone: Its state dict, in our layout (`stem.conv1.weight`, ..., `layer3.2.bn2.running_var`).
        normalization: What it expects of its input.
        facts: What else is known: data, recipe, accuracy.
        pretrained: False for random weights.
    """

    name: str
    depth: int
    backbone: Mapping[str, Tensor]
    normalization: Normalization
    facts: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = True

    @property
    def digest(self) -> str:
        """SHA-256 of the state dict's names, dtypes, shapes and bytes."""
        return tensors_digest(self.backbone)

    @property
    def trained_on(self) -> str | None:
        """The data set's name, where known."""
        data = self.facts.get("data")
        return str(data["name"]) if isinstance(data, dict) and "name" in data else None

    def build(self) -> torch.nn.Sequential:
        """Return a new backbone with these weights, on the CPU, in eval mode."""
        backbone = build_backbone(self.depth)
        backbone.load_state_dict(dict(self.backbone))
        return backbone.eval()


@dataclass(frozen=True)
class Reading:
    """A state dict read as a backbone behind one prefix.

    Attributes:
        prefix: What its names begin with.
        tensors: In our names; what the layout leaves out is filled in.
        expected: A backbone of the depth that the names tell.
        sources: The names of the file that were used, by ours.
        notes: What was filled in, in words.
    """

    prefix: str
    tensors: Mapping[str, Tensor]
    expected: Mapping[str, Tensor]
    sources: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        return sorted(self.expected.keys() - self.tensors.keys())

    @property
    def misshapen(self) -> list[str]:
        both = sorted(self.expected.keys() & self.tensors.keys())
        shapes = {name: tuple(self.tensors[name].shape) for name in both}
        return [f"{name} {shape}" for name, shape in shapes.items() if shape != tuple(self.expected[name].shape)]


def our_name(name: str) -> str:
    """Return the name in our layout of a backbone's tensor, without a prefix."""
    name = name.replace(".shortcut.", ".downsample.")
    stage, _, rest = name.partition(".")
    if stage in COURSE_STAGES:
        return f"{COURSE_STAGES[stage]}.{rest}"
    return f"stem.{name}" if stage in {"conv1", "bn1"} else name


def plain_shortcuts(expected: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield projections that do what shortcuts without parameters do: every second pixel, zeros about the channels.

    Source: He et al. (2015), section 4.1, option A; the zeros stand before and after the channels, as in the
    implementation most used (akamaster/pytorch_resnet_cifar10).
    """
    for name, like in expected.items():
        if ".downsample.0." in name:
            outputs, inputs = like.shape[:2]
            yield name, torch.eye(outputs)[:, (outputs - inputs) // 2 :][:, :inputs, None, None].contiguous()
        elif name.endswith(".downsample.1.running_var"):
            yield name, torch.full_like(like, 1 - 1e-5)  # BatchNorm adds 1e-5
        elif ".downsample.1." in name:
            yield name, like


def read_behind(prefix: str, stored: Mapping[str, Tensor]) -> Reading:
    """Return the backbone that lies behind a prefix, complete or not."""
    sources = {our_name(name.removeprefix(prefix)): name for name in stored if name.startswith(prefix)}
    tensors = {ours: stored[name] for ours, name in sources.items()}
    blocks = {int(found[1]) for name in tensors if (found := re.match(r"layer1\.(\d+)\.", name))}
    depth = 6 * len(blocks) + 2
    expected = build_backbone(depth if depth in DEPTHS else DEPTHS[0]).state_dict()
    # Checkpoints of old torch versions lack these counters, which nothing depends on.
    counters = {name: tensor for name, tensor in expected.items() if name.endswith("num_batches_tracked")}
    filled = counters | tensors
    notes: tuple[str, ...] = ()
    if not any(".downsample." in name for name in tensors):
        filled = dict(plain_shortcuts(expected)) | filled
        notes = ("shortcuts without parameters (option A) became projections that do the same",)
    return Reading(prefix, filled, expected, sources, notes)


def named(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def from_state_dict(stored: Mapping[str, Tensor], origin: str) -> tuple[Reading, dict[str, Tensor], list[str]]:
    """Return the reading of a state dict in any layout that we know, its backbone, and the names that it has besides.

    Raises:
        RequestError: with the missing and the unexpected names, for any other layout; for two backbones.
        UntrustedDataError: for what is no number.
    """
    prefixes = {name.removesuffix(first) for first in FIRST for name in stored if name.endswith(first)}
    readings = [read_behind(prefix, stored) for prefix in sorted(prefixes | {""}) if prefix[-1:] in {"", "."}]
    whole = [one for one in readings if not one.missing and not one.misshapen]
    if len(whole) > 1:
        both = " and ".join(f"{one.prefix}*" for one in whole)
        raise RequestError(f"weights must be those of one network; {origin} holds {both}; save the one that you mean")
    best = min(readings, key=lambda one: len(one.missing) + len(one.misshapen))
    left = sorted(stored.keys() - {name for ours, name in best.sources.items() if ours in best.expected})
    if not whole:
        parts = {"missing": best.missing, "unexpected": left, "of another shape": best.misshapen}
        said = "; ".join(f"{label}: {named(names)}" for label, names in parts.items() if names)
        raise RequestError(f"weights must be those of a CIFAR ResNet; {origin} is not: {said}")
    backbone = {name: best.tensors[name].to(like.dtype) for name, like in best.expected.items()}
    if not all(tensor.isfinite().all() for tensor in backbone.values()):
        raise UntrustedDataError(f"weights must be finite numbers; {origin} has NaN or infinity; fetch it anew")
    return best, backbone, left


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


def load_weights(name: str = "bundled", *, seed: int = 0, reporter: Reporter | None = None) -> Weights:
    """Return `--weights`: bundled, chenyaofo, random, or a file of safetensors or of torch, whatever its ending.

    Raises:
        RequestError: unknown name, file that doesn't exist, another layout.
        UntrustedDataError: a file that is not what it says.
    """
    reporter = reporter or Silent()
    if name == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = build_backbone(20)
        return Weights(name, 20, backbone.state_dict(), CIFAR100_NORMALIZATION, pretrained=False)
    if name == "bundled":
        path = Path(str(files("cli726") / "assets" / "resnet20-cifar100.safetensors"))
    elif name == "chenyaofo":
        path = fetch_public_weights(20, reporter)
    else:
        path = typed_path(name)
    if not path.is_file():
        raise RequestError(
            f"--weights must be {', '.join(WEIGHTS)} or a file of safetensors or torch that exists; got {name}"
            f"{did_you_mean(name, WEIGHTS) or '; check the path'}"
        )
    stored, facts = read_tensors(path) if is_safetensors(path) else (read_pickle(path), {})
    reading, tensors, left = from_state_dict(stored, str(path))
    if name not in WEIGHTS:
        notes = [*reading.notes, *([f"left out what is not the backbone's: {named(left)}"] if left else [])]
        for note in notes:
            reporter.say(f"{path.name}: {note}")
    if "normalization" in facts:
        normalization = stated_normalization(facts["normalization"], path)
    else:
        course = reading.sources["stem.conv1.weight"].endswith("0.weight")
        normalization = COURSE_NORMALIZATION if course else CIFAR100_NORMALIZATION
    depth = 6 * len({key.split(".")[1] for key in tensors if key.startswith("layer1.")}) + 2
    return Weights(name if name in WEIGHTS else path.name, depth, tensors, normalization, facts)


def save_weights(path: Path, network: torch.nn.Module, normalization: Normalization, facts: Mapping[str, Any]) -> None:
    """Write a network (backbone and head) as a weights file that `load_weights` reads."""
    stated = {"normalization": {"mean": list(normalization.mean), "std": list(normalization.std)}, **facts}
    write_tensors(path, network.state_dict(), stated)
