"""Features at any cut: from the store, from memory, or computed again, always by the same extractor."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.keys import Request, short_key
from cache.store import Entry, Store, digest_of
from cli726 import launch
from cli726.finetune import parallel
from cli726.finetune.augment.table import apply_all, draw_all, parse_augmentations
from cli726.finetune.config import HEAD_ONLY, STAGES
from cli726.finetune.data.images import TREATMENT, Dataset, SplitName
from cli726.finetune.features.extractor import BLOCK, Extractor, Normalization, stack
from cli726.finetune.folder.storage import tensors_digest
from cli726.finetune.network.kernels import fuses
from cli726.finetune.network.resnet import depth_of, divide, feature_shape
from cli726.finetune.places import memory_limit
from cli726.reporting import Reporter

__all__ = ["MIRROR", "PLAIN", "Bank", "Used", "Variant"]


@dataclass(frozen=True)
class Variant:
    """What is done to every image before the prefix sees it.

    Attributes:
        name: "plain", "mirror" or "view".
        number: Which view, from 0.
        augment: `--augment`, for views.
        seed: That of the run, for views.
    """

    name: Literal["plain", "mirror", "view"] = "plain"
    number: int = 0
    augment: str = "none"
    seed: int = 0

    @property
    def label(self) -> str:
        """Its name, for people."""
        return f"view {self.number + 1}" if self.name == "view" else self.name


PLAIN, MIRROR = Variant(), Variant("mirror")


@dataclass(frozen=True)
class Used:
    """One cache entry that a run read or built.

    Attributes:
        state: "hit" or "built".
        seconds: What building it took, now or then; None if that is no longer known.
    """

    state: str
    key: str
    pool: str
    cut: str
    bytes: int
    seconds: float | None


class Bank:
    """The outputs of a frozen prefix for the images of a data set.

    A cut's features are computed at most once in a run for each pool of images, or not at all where the store
    has them.
    """

    def __init__(
        self,
        dataset: Dataset,
        backbone: nn.Sequential,
        normalization: Normalization,
        precision: torch.dtype,
        device: torch.device,
        reporter: Reporter,
        *,
        store: Store | None = None,
        recompute: bool = False,
    ) -> None:
        """Take a copy of `backbone` as it is now: what is trained later is never part of a prefix.

        Several processes compute a pool's blocks in turns; the first one writes the store.
        """
        self.dataset = dataset
        self.normalization = normalization
        self.precision = precision
        self.device = device
        self.reporter = reporter
        self.store = store
        self.recompute = recompute
        # What may lie in memory, of which each process on a machine has a copy; all must come to the same conclusion.
        self.limit = min(parallel.collect(memory_limit() // launch.local_world()))
        self.backbone = backbone
        self.used: list[Used] = []
        self.seconds = 0.0
        self.memory: dict[tuple[str, int, Variant], Tensor] = {}
        self.extractors: dict[int, Extractor] = {}

    def prefix(self, cut: int) -> Extractor:
        """The frozen part before a cut."""
        if cut not in self.extractors:
            stages, _ = divide(self.backbone, cut)
            self.extractors[cut] = Extractor(stages.to(self.device), self.precision, self.normalization)
        return self.extractors[cut]

    def stores(self, cut: int) -> bool:
        """Whether features at this cut are worth keeping, and fit.

        The stem's output is five times its input and cheap to compute: it never pays.
        """
        if self.recompute or cut <= 1:
            return False
        rows = sum(len(pool) for pool in self.dataset.pools.values())
        return self.store is not None or rows * self.row_bytes(cut) <= self.limit

    def dtype_at(self, cut: int) -> torch.dtype:
        return torch.float32 if cut == HEAD_ONLY else self.precision

    def row_bytes(self, cut: int) -> int:
        return int(np.prod(feature_shape(cut))) * self.dtype_at(cut).itemsize

    def pixels(self, split: SplitName) -> Tensor:
        """uint8 images (N, 32, 32, 3) of a split, on the device."""
        return torch.from_numpy(self.dataset.pixels(split)).to(self.device)

    def labels(self, split: SplitName) -> Tensor:
        """Labels (N,) of a split, on the device."""
        return torch.from_numpy(self.dataset.labels(split)).to(self.device)

    def features(self, split: SplitName, cut: int, variant: Variant = PLAIN) -> Tensor:
        """Features of a split's images at a cut, as stored: (N, 64), or (N, H, W, C); at cut 0 the pixels."""
        if cut == 0 or not self.stores(cut):
            pixels = self.pixels(split)
            pixels = pixels.flip(2) if variant == MIRROR else pixels
            return self.prefix(cut).together(pixels) if cut else pixels
        chosen = self.dataset.splits[split]
        whole = self.pool_features(chosen.pool, cut, variant)
        if len(chosen) == len(whole):
            return whole.to(self.device)
        return whole[torch.from_numpy(chosen.indices)].to(self.device)

    def pool_features(self, pool: str, cut: int, variant: Variant) -> Tensor:
        """Features of a whole pool, in its order, from memory, the store or the prefix."""
        place = (pool, cut, variant)
        if place not in self.memory:
            began = time.perf_counter()
            if self.store is None:
                rows = np.arange(len(self.dataset.pools[pool]))
                self.memory[place] = stack(self.extract(pool, cut, variant, rows), len(rows))
            else:
                self.memory[place] = self.fetch(self.store, pool, cut, variant)
            self.seconds += time.perf_counter() - began
        return self.memory[place]

    def forget_all_but(self, cut: int) -> None:
        """Let go of the features at other cuts, which no later phase needs."""
        self.memory = {place: kept for place, kept in self.memory.items() if place[1] == cut}

    def extract(self, pool: str, cut: int, variant: Variant, rows: NDArray[np.intp]) -> Iterator[Tensor]:
        """Yield blocks of features of some rows of a pool, on the CPU; only for the process that writes a store."""
        pixels = torch.from_numpy(self.dataset.pools[pool].pixels)
        prefix = self.prefix(cut)
        began = time.perf_counter()
        augmentations = parse_augmentations(variant.augment)
        drawn = draw_all(augmentations, len(pixels), variant.seed, "view", variant.number)
        kind = {"plain": "", "mirror": "mirrored "}.get(variant.name, f"{variant.label} of ")
        what = f"{kind}{len(rows):,} {pool} images after {STAGES[cut - 1]}"
        self.reporter.start(f"features of {what}", len(rows))
        chosen = torch.from_numpy(rows)

        def seen(places: slice) -> Tensor:
            block = pixels[chosen[places]].to(self.device)
            block = block.flip(2) if variant == MIRROR else block
            return apply_all(augmentations, block, [parameters[chosen[places]] for parameters in drawn])

        def features_of(blocks: Iterable[slice]) -> Iterator[Tensor]:
            return (features.cpu() for features in prefix.each(blocks, seen))

        for features in parallel.rows(len(rows), BLOCK, features_of, everywhere=self.store is None):
            yield features
            self.reporter.advance(len(features))
        rate = len(rows) / (time.perf_counter() - began)
        self.reporter.finish(f"features of {what}: {rate:,.0f} images/s")

    def request(self, pool: str, cut: int, variant: Variant) -> Request:
        """Everything that the bytes of an entry depend on."""
        images = self.dataset.pools[pool]
        prefix, _ = divide(self.backbone, cut)
        channels, *plane = feature_shape(cut)
        depth = depth_of(self.backbone)
        augmentations = parse_augmentations(variant.augment)
        fields: dict[str, Any] = {
            "weights": tensors_digest(prefix.state_dict()),
            "architecture": {"family": "CIFAR ResNet", "depth": depth, "stages": list(STAGES[:cut])},
            "images": digest_of(self.identities(pool, variant)),
            "treatment": TREATMENT,
            "normalization": {"mean": list(self.normalization.mean), "std": list(self.normalization.std)},
            "variant": {"name": variant.name, "number": variant.number, "seed": variant.seed},
            "augmentation": [[one.name, one.strength] for one in augmentations],
            "precision": str(self.precision).removeprefix("torch."),
            "device": self.device.type,
            "torch": torch.__version__,
        }
        if fuses(self.precision, self.device):
            fields["arithmetic"] = "fused"
        if any(one.torchvision for one in augmentations):
            fields["torchvision"] = version("torchvision")
        provenance = {
            "data": self.dataset.name,
            "pool": pool,
            "model": f"ResNet{depth}",
            "cut": STAGES[cut - 1],
            "variant": variant.label,
        }
        kind: Literal["float32", "bfloat16"] = "bfloat16" if self.dtype_at(cut) == torch.bfloat16 else "float32"
        return Request(fields=fields, rows=len(images), shape=(*plane, channels), dtype=kind, provenance=provenance)

    def identities(self, pool: str, variant: Variant) -> NDArray[np.uint8]:
        """Return what tells the rows of a pool apart, uint8 (N, 32): the images; of views their places too, by which
        chance is drawn.
        """
        digests = self.dataset.pools[pool].digests
        if variant.name != "view":
            return digests
        places = (b"%d of %d " % (place, len(digests)) for place in range(len(digests)))
        hashed = (
            hashlib.sha256(place + image.tobytes()).digest() for place, image in zip(places, digests, strict=True)
        )
        return np.frombuffer(b"".join(hashed), np.uint8).reshape(-1, 32)

    def fetch(self, store: Store, pool: str, cut: int, variant: Variant) -> Tensor:
        """Features from the store, computed and committed there first if need be."""
        request = self.request(pool, cut, variant)

        def produce(rows: NDArray[np.intp]) -> Iterator[np.ndarray]:
            parallel.tell(lambda: rows)
            for block in self.extract(pool, cut, variant, rows):
                yield (
                    block.view(torch.int16).numpy().view(np.uint16) if block.dtype == torch.bfloat16 else block.numpy()
                )

        if not parallel.first():
            # The first process finds out whether there is anything to compute, and then needs everybody.
            while (rows := parallel.tell(lambda: np.arange(0))) is not None:
                deque(self.extract(pool, cut, variant, rows), maxlen=0)
            entry = store.hit(request)
        else:
            entry = store.get_or_build(
                request,
                self.identities(pool, variant),
                produce,
                on_wait=lambda: self.reporter.say("another process is computing the same features: waiting for it"),
            )
            parallel.tell(lambda: None)
            self.note(entry, pool, STAGES[cut - 1])
        held = parallel.collect(entry is not None)
        features = as_tensor(entry.features) if entry else None
        if features is None or not all(held):  # a machine has a disk of its own
            features = parallel.copy(features)
        return features

    def note(self, entry: Entry, pool: str, cut_name: str) -> None:
        """Remember and say where features came from."""
        if entry.key not in {used.key for used in self.used}:
            self.used.append(Used(entry.state, entry.key, pool, cut_name, entry.bytes, entry.seconds))
        if entry.state == "hit":
            saved = "" if entry.seconds is None else f", {entry.seconds:.1f} s saved"
            self.reporter.say(f"cache hit: {pool} images after {cut_name}, {entry.bytes / 1e6:.1f} MB{saved}")
        elif entry.computed < len(entry.features):
            old = f"entry {short_key(entry.superseded)}, now removed" if entry.superseded else "another entry"
            new = f"{entry.computed:,} of {len(entry.features):,} {pool} images after {cut_name} were new"
            self.reporter.say(f"cache: {new}; the features of the others were taken over from {old}")
        elif entry.rebuilt_because:
            self.reporter.say(f"rebuilt: {', '.join(entry.rebuilt_because)} changed")


def as_tensor(features: np.ndarray) -> Tensor:
    """An entry's array as a tensor, without a copy; bits of bfloat16 as bfloat16."""
    bits = features.dtype == np.uint16
    with warnings.catch_warnings():
        # torch warns of read-only memory because it can't keep anybody from writing to it; nobody here does.
        warnings.simplefilter("ignore", UserWarning)
        tensor = torch.from_numpy(features.view(np.int16) if bits else features)
    return tensor.view(torch.bfloat16) if bits else tensor
