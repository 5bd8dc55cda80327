"""Features at any cut: from the store, from memory, or computed again, always by the same extractor."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.keys import Dtype, Request, short_key
from cache.store import Entry, Store, digest_of
from cache.system import memory_limit
from cli726 import launch
from cli726.finetune import parallel
from cli726.finetune.augment.table import apply_all, draw_all, parse_augmentations
from cli726.finetune.backbones import RESNET20, Backbone
from cli726.finetune.data.images import Dataset, SplitName
from cli726.finetune.features.extractor import BLOCK, Extractor, Rows, Stored, stack
from cli726.finetune.network.kernels import fuses
from cli726.finetune.network.resnet import Normalization, divide, measure
from cli726.finetune.storage import tensors_digest
from cli726.reporting import Reporter

Numbers = NDArray[np.intp]
# Multiply-adds that a stored byte must save. Measured, at 224 pixels on an AVX-512 core: in the time in which it opens,
# checks and hands on a byte, a core does 42 (stem) to 176 of ResNet18's, 16 to 144 of EfficientNet-Lite0's; features
# that save fewer are no faster than computing them, and fill a disk. ResNet20: 7 after the stem, 223 after layer1.
WORTH = 200


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
        """Return its name, for people."""
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


@dataclass(eq=False)
class Bank:
    """The outputs of a frozen prefix for the images of a data set.

    A cut's features are computed at most once in a run for each pool of images, or not at all where the store has
    them. Several processes compute a pool's blocks in turns; the first one writes the store.

    Attributes:
        backbone: Never trained: what is trained is never part of a prefix.
        kind: What network it is.
        store: Where features are kept; None to keep them in memory.
        recompute: Keep none.
        views: How many augmented versions of each training image the run will ask for.
        used, seconds: Entries of the store, and the time that having features took.
    """

    dataset: Dataset
    backbone: nn.Sequential
    normalization: Normalization
    precision: torch.dtype
    device: torch.device
    reporter: Reporter
    store: Store | None = None
    recompute: bool = False
    views: int = 0
    kind: Backbone = RESNET20
    used: list[Used] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        # What may lie in memory, of which each process on a machine has a copy; all must come to the same conclusion.
        self.limit = min(parallel.collect(memory_limit() // launch.local_world()))
        self.pools: dict[tuple[str, int, Variant], Tensor] = {}
        self.splits: dict[tuple[str, int, Variant], Stored] = {}
        self.extractors: dict[int, Extractor] = {}
        size = next(iter(self.dataset.pools.values())).pixels.shape[1]
        self.shapes, self.work = measure(self.backbone.eval(), size)
        self.last = len(self.shapes) - 1

    def prefix(self, cut: int) -> Extractor:
        """Return the frozen part before a cut."""
        if cut not in self.extractors:
            stages, _ = divide(self.backbone, cut)
            self.extractors[cut] = Extractor(stages.to(self.device), self.precision, self.normalization)
        return self.extractors[cut]

    def dtype(self, cut: int) -> torch.dtype:
        """Return the type of features as they are stored."""
        return torch.float32 if cut == self.last else self.precision

    def pays(self, cut: int) -> bool:
        """Return whether features at this cut save more time than keeping them takes."""
        return self.work[cut] >= WORTH * int(np.prod(self.shapes[cut])) * self.dtype(cut).itemsize

    def stores(self, cut: int) -> bool:
        """Return whether features at this cut are worth keeping, and fit."""
        if self.recompute or not self.pays(cut):
            return False
        pools = self.dataset.pools
        rows = sum(map(len, pools.values())) + self.views * len(pools[self.dataset.splits["train"].pool])
        size = int(np.prod(self.shapes[cut])) * self.dtype(cut).itemsize
        return self.store is not None or rows * size <= self.limit

    def labels(self, split: SplitName) -> Tensor:
        """Return the labels (N,) of a split, on the device."""
        return torch.from_numpy(self.dataset.labels(split)).to(self.device)

    def pixels(self, split: SplitName, *, mirrored: bool = False) -> Stored:
        """Return the uint8 images (N, H, W, 3) of a split, on the device."""
        chosen = self.dataset.splits[split]
        rows = Rows(
            torch.from_numpy(self.dataset.pools[chosen.pool].pixels), torch.from_numpy(chosen.indices), mirrored
        )
        return rows if self.device.type == "cpu" else rows[:].to(self.device)

    def features(self, split: SplitName, cut: int, variant: Variant = PLAIN) -> Stored:
        """Return features of a split's images at a cut, as stored: (N, D), or (N, H, W, C); at cut 0 the pixels.

        Maps that are in memory, or mapped from a disk, stay where they are.
        """
        if cut == 0 or not self.stores(cut):
            pixels = self.pixels(split, mirrored=variant == MIRROR)
            return self.prefix(cut).together(pixels) if cut else pixels
        place = (split, cut, variant)
        if place not in self.splits:
            chosen = self.dataset.splits[split]
            whole = self.pool_features(chosen.pool, cut, variant)
            rows = Rows(whole, torch.from_numpy(chosen.indices))
            stays = self.device.type == "cpu" and cut != self.last
            self.splits[place] = (
                whole.to(self.device) if len(rows) == len(whole) else rows if stays else rows[:].to(self.device)
            )
        return self.splits[place]

    def pool_features(self, pool: str, cut: int, variant: Variant) -> Tensor:
        """Return features of a whole pool, in its order, from memory, the store or the prefix."""
        place = (pool, cut, variant)
        if place not in self.pools:
            began = time.perf_counter()
            if self.store is None:
                rows = np.arange(len(self.dataset.pools[pool]))
                self.pools[place] = stack(self.extract(pool, cut, variant, rows), len(rows))
            else:
                self.pools[place] = self.fetch(self.store, pool, cut, variant)
            self.seconds += time.perf_counter() - began
        return self.pools[place]

    def forget_all_but(self, cut: int) -> None:
        """Let go of the features at other cuts, which no later phase needs."""
        self.pools = {place: kept for place, kept in self.pools.items() if place[1] == cut}
        self.splits = {place: kept for place, kept in self.splits.items() if place[1] == cut}

    def extract(self, pool: str, cut: int, variant: Variant, rows: Numbers) -> Iterator[Tensor]:
        """Yield blocks of features of some rows of a pool, on the CPU; only for the process that writes a store."""
        pixels = torch.from_numpy(self.dataset.pools[pool].pixels)
        prefix, chosen = self.prefix(cut), torch.from_numpy(rows)
        began = time.perf_counter()
        augmentations = parse_augmentations(variant.augment)
        drawn = draw_all(augmentations, len(pixels), variant.seed, "view", variant.number)
        kind = {"plain": "", "mirror": "mirrored "}.get(variant.name, f"{variant.label} of ")
        what = f"{kind}{len(rows):,} {pool} images after {self.kind.stages[cut - 1]}"
        self.reporter.start(f"features of {what}", len(rows))

        def seen(places: slice) -> Tensor:
            block = Rows(pixels, chosen, variant == MIRROR)[places].to(self.device)
            return apply_all(augmentations, block, [parameters[chosen[places]] for parameters in drawn])

        def features_of(blocks: Iterable[slice]) -> Iterator[Tensor]:
            return (features.cpu() for features in prefix.each(blocks, seen))

        for features in parallel.rows(len(rows), BLOCK, features_of, everywhere=self.store is None):
            yield features
            self.reporter.advance(len(features))
        rate = len(rows) / (time.perf_counter() - began)
        self.reporter.finish(f"features of {what}: {rate:,.0f} images/s")

    def images(self, pool: str, variant: Variant) -> NDArray[np.uint8]:
        """Return what tells the rows of a pool apart, uint8 (N, 32): the digests of the images.

        Of views their places too, by which chance is drawn; and where the user's own function augments, all the others
        in the batch, which it may look at.
        """
        digests = self.dataset.pools[pool].digests
        if variant.name != "view":
            return digests
        company = digest_of(digests) if "python:" in variant.augment else len(digests)
        places = (f"{place} {company} ".encode() for place in range(len(digests)))
        hashed = (hashlib.sha256(place + image.tobytes()) for place, image in zip(places, digests, strict=True))
        return np.frombuffer(b"".join(one.digest() for one in hashed), np.uint8).reshape(-1, 32)

    def request(self, pool: str, cut: int, variant: Variant, images: NDArray[np.uint8]) -> Request:
        """Return everything that the bytes of an entry depend on."""
        prefix, _ = divide(self.backbone, cut)
        channels, *plane = self.shapes[cut]
        augmentations = parse_augmentations(variant.augment)
        fields: dict[str, Any] = {
            "weights": tensors_digest(prefix.state_dict()),
            "architecture": {**self.kind.architecture, "stages": list(self.kind.stages[:cut])},
            "images": digest_of(images),
            "treatment": self.dataset.treatment,
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
            "model": self.kind.label,
            "cut": self.kind.stages[cut - 1],
            "variant": variant.label,
        }
        dtype: Dtype = "float32" if self.dtype(cut) == torch.float32 else "bfloat16"
        return Request(fields, len(images), (*plane, channels), dtype, provenance)

    def fetch(self, store: Store, pool: str, cut: int, variant: Variant) -> Tensor:
        """Return features from the store, computed and committed there first if need be."""
        images = self.images(pool, variant)
        request = self.request(pool, cut, variant, images)
        entry: Entry | None

        def produce(rows: Numbers) -> Iterator[NDArray[Any]]:
            parallel.tell(lambda: rows)
            return map(as_array, self.extract(pool, cut, variant, rows))

        if parallel.first():
            waits = "another process is computing the same features: waiting for it"
            entry = store.get_or_build(request, images, produce, on_wait=lambda: self.reporter.say(waits))
            parallel.tell(lambda: None)
            self.note(entry, pool, self.kind.stages[cut - 1])
        else:
            # The first process finds out whether there is anything to compute, and then needs everybody.
            while (rows := parallel.tell(lambda: np.arange(0))) is not None:
                deque(self.extract(pool, cut, variant, rows), maxlen=0)
            entry = store.hit(request)
        held = parallel.collect(entry is not None)
        features = as_tensor(entry.features) if entry else None
        if features is None or not all(held):  # a machine has a disk of its own
            features = parallel.copy(features)
        return features

    def note(self, entry: Entry, pool: str, cut_name: str) -> None:
        """Remember and say where features came from."""
        say, rows = self.reporter.say, len(entry.features)
        if entry.key not in {used.key for used in self.used}:
            self.used.append(Used(entry.state, entry.key, pool, cut_name, entry.bytes, entry.seconds))
        if entry.state == "hit":
            saved = "" if entry.seconds is None else f", {entry.seconds:.1f} s saved"
            say(f"cache hit: {pool} images after {cut_name}, {entry.bytes / 1e6:.1f} MB{saved}")
        elif entry.computed < rows:
            old = f"entry {short_key(entry.superseded)}, now removed" if entry.superseded else "another entry"
            new = f"{entry.computed:,} of {rows:,} {pool} images after {cut_name} were new"
            say(f"cache: {new}; the features of the others were taken over from {old}")
        elif entry.rebuilt_because:
            say(f"rebuilt: {', '.join(entry.rebuilt_because)} changed")

    def facts(self) -> dict[str, Any]:
        """Return CLI.md's `cache`."""
        used = self.used
        if not used:
            return {"state": "off", "key": None, "bytes": 0, "seconds": self.seconds, "entries": []}
        return {
            "state": "built" if any(entry.state == "built" for entry in used) else "hit",
            "key": used[0].key,
            "bytes": sum(entry.bytes for entry in used),
            "seconds": self.seconds,
            "entries": [asdict(entry) for entry in used],
        }


def as_array(features: Tensor) -> NDArray[Any]:
    """Return a tensor as an entry's array, without a copy; bfloat16 as its bits."""
    bits = features.dtype == torch.bfloat16
    return features.view(torch.int16).numpy().view(np.uint16) if bits else features.numpy()


def as_tensor(features: NDArray[Any]) -> Tensor:
    """Return an entry's array as a tensor, without a copy; bits of bfloat16 as bfloat16."""
    bits = features.dtype == np.uint16
    with warnings.catch_warnings():
        # torch warns of read-only memory because it can't keep anybody from writing to it; nobody here does.
        warnings.simplefilter("ignore", UserWarning)
        tensor = torch.from_numpy(features.view(np.int16) if bits else features)
    return tensor.view(torch.bfloat16) if bits else tensor
