"""Pre-trained weights: where they come from, the layouts that the world writes them in, what belongs to them."""

from __future__ import annotations

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

import torch
from torch import Tensor

from cli726.errors import RequestError, UntrustedDataError, did_you_mean
from cli726.finetune.config import WEIGHTS
from cli726.finetune.data.downloads import fetch_public_weights
from cli726.finetune.features.extractor import Normalization
from cli726.finetune.folder.storage import LARGEST, read_tensors, require_size, tensors_digest, write_tensors
from cli726.finetune.network.resnet import build_backbone
from cli726.reporting import Reporter, Silent

__all__ = ["COURSE_NORMALIZATION", "Weights", "load_weights", "save_weights"]

# The course script's constants, for checkpoints in its layout.
COURSE_NORMALIZATION = Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
# chenyaofo/pytorch-cifar-models, for CIFAR-100.
CIFAR100_NORMALIZATION = Normalization((0.507, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
# The course's model is Sequential(conv1, bn1, relu, layer1, layer2, layer3, avgpool).
COURSE_STAGES = {"0": "stem.conv1", "1": "stem.bn1", "3": "layer1", "4": "layer2", "5": "layer3"}


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
        """A new backbone with these weights, on the CPU, in eval mode."""
        backbone = build_backbone(self.depth)
        backbone.load_state_dict(dict(self.backbone))
        return backbone.eval()


def our_name(name: str) -> str | None:
    """A tensor's name in our layout; None for a classifier's, which has no place in a backbone."""
    name = name.removeprefix("module.")
    if re.match(r"(fc|linear|classifier|head)\.", name):
        return None
    course = re.match(r"backbone\.(\d)\.(.*)", name)
    if course and course[1] in COURSE_STAGES:
        return f"{COURSE_STAGES[course[1]]}.{course[2]}"
    name = name.removeprefix("backbone.")
    return f"stem.{name}" if re.match(r"(conv1|bn1)\.", name) else name


def is_plain(tensor: Tensor) -> bool:
    """Whether it is of real numbers, one after another in this machine's memory."""
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_complex())
    )


def from_state_dict(stored: Mapping[str, Tensor], origin: str) -> tuple[int, dict[str, Tensor]]:
    """Depth and backbone of a state dict in any of the layouts that we know.

    Raises:
        RequestError: with the missing and the unexpected names, for any other layout.
    """
    renamed = {ours: tensor for name, tensor in stored.items() if (ours := our_name(name)) is not None}
    blocks = {int(found[1]) for name in renamed if (found := re.match(r"layer1\.(\d+)\.", name))}
    depth = 6 * len(blocks) + 2
    expected = build_backbone(depth if depth in (20, 32, 44, 56) else 20).state_dict()
    # Checkpoints of old torch versions lack these counters, which nothing depends on.
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            renamed.setdefault(name, tensor)
    missing = sorted(expected.keys() - renamed.keys())
    strange = sorted(renamed.keys() - expected.keys())
    wrong = sorted(
        f"{name} {tuple(renamed[name].shape)}"
        for name in expected.keys() & renamed.keys()
        if renamed[name].shape != expected[name].shape
    )
    if missing or strange or wrong:
        parts = [
            f"{label}: {', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"
            for label, names in (("missing", missing), ("unexpected", strange), ("of another shape", wrong))
            if names
        ]
        raise RequestError(f"weights must be those of a CIFAR ResNet; {origin} is not: {'; '.join(parts)}")
    odd = sorted(name for name, tensor in renamed.items() if not is_plain(tensor))
    if odd:
        raise RequestError(f"weights must be plain tensors of real numbers; {origin} has another kind: {odd[0]}")
    backbone = {name: renamed[name].to(expected[name].dtype) for name in expected}
    if not all(tensor.isfinite().all() for tensor in backbone.values()):
        raise UntrustedDataError(f"weights must be finite numbers; {origin} has NaN or infinity; fetch it anew")
    return depth, backbone


def require_small_members(path: Path) -> None:
    """Raise UntrustedDataError where a file of torch's, a zip archive, would unpack into more than memory can hold."""
    require_size(path)
    with suppress(zipfile.BadZipFile, ValueError, NotImplementedError), zipfile.ZipFile(path) as members:
        if sum(member.file_size for member in members.infolist()) > LARGEST:
            raise UntrustedDataError(f"{path} would unpack into more than {LARGEST:,} bytes; fetch it anew")


def read_pickle(path: Path) -> Mapping[str, Tensor]:
    """A `.pt` or `.pth` state dict, without running any code that it names."""
    if not path.is_file():
        raise RequestError(f"--weights must name a file that exists; got {path}; check the path")
    require_small_members(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols that torch doesn't write: what they hold is checked below
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # On damaged files torch raises nearly anything; all of it means the same.
    except Exception as error:
        # Its own advice, to load the file without safeguards, is not passed on.
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {named[1]}" if named else f"{type(error).__name__} while reading it"
        raise UntrustedDataError(
            f"{path} is no plain file of tensors ({reason}); save it with torch.save(model.state_dict(), ...)"
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(stored, dict) and isinstance(stored.get(wrapper), dict):
            stored = stored[wrapper]
    if not isinstance(stored, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in stored.items()):
        raise RequestError(f"--weights must be a state dict, names to tensors; {path} is something else")
    return stored


def stated_normalization(stated: Any, origin: Path) -> Normalization:
    """What a file says of itself.

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
    """`--weights`: bundled, chenyaofo, random, or a `.safetensors`, `.pt` or `.pth` file.

    Raises:
        RequestError: unknown name, file that doesn't exist, another layout.
        UntrustedDataError: a file that is not what it says.
    """
    if name == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = build_backbone(20)
        return Weights(name, 20, backbone.state_dict(), CIFAR100_NORMALIZATION, pretrained=False)
    if name == "bundled":
        path = Path(str(files("cli726") / "assets" / "resnet20-cifar100.safetensors"))
    elif name == "chenyaofo":
        path = fetch_public_weights(20, reporter or Silent())
    else:
        path = Path(name).expanduser()
    if path.suffix not in {".safetensors", ".pt", ".pth"}:
        raise RequestError(
            f"--weights must be {', '.join(WEIGHTS)} or a .safetensors, .pt or .pth file; got {name}"
            f"{did_you_mean(name, WEIGHTS)}"
        )
    if path.suffix == ".safetensors":
        stored, facts = read_tensors(path)
    else:
        stored, facts = dict(read_pickle(path)), {}
    depth, backbone_state = from_state_dict(stored, str(path))
    if "normalization" in facts:
        normalization = stated_normalization(facts["normalization"], path)
    else:
        course = any(key.removeprefix("module.").startswith("backbone.0.") for key in stored)
        normalization = COURSE_NORMALIZATION if course else CIFAR100_NORMALIZATION
    return Weights(name if name in {"bundled", "chenyaofo"} else path.name, depth, backbone_state, normalization, facts)


def save_weights(path: Path, network: torch.nn.Module, normalization: Normalization, facts: Mapping[str, Any]) -> None:
    """Write a network (backbone and head) as a weights file that `load_weights` reads."""
    stated = {"normalization": {"mean": list(normalization.mean), "std": list(normalization.std)}, **facts}
    write_tensors(path, network.state_dict(), stated)
