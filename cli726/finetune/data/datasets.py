"""`--dataset`: from what was typed to a data set with its splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cli726.errors import RequestError, did_you_mean
from cli726.finetune import parallel
from cli726.finetune.config import DATASETS
from cli726.finetune.data.cifar import load_cifar
from cli726.finetune.data.downloads import CIFAR, PUBLIC_FILES, cifar_root, fetch_archive, fetch_public_weights
from cli726.finetune.data.images import Dataset, Images, fit_size, make_splits
from cli726.finetune.data.sources import Pools, Reading, load_csv, load_folder
from cli726.finetune.data.vision import KNOWN, load_vision, read_parts, resolve_name
from cli726.finetune.places import data_dir, data_dirs, weights_dir
from cli726.finetune.user_code import load_function, own_code
from cli726.reporting import Reporter, Silent

__all__ = ["choose_auto", "fetch_dataset", "inventory", "load_dataset", "shared_dataset"]


def choose_auto(folder: str | None = None) -> tuple[str, str]:
    """What `--dataset auto` is here: (name, why)."""
    root = cifar_root("cifar10", data_dirs(folder))
    if root is not None:
        return "cifar10", f"CIFAR-10 is in {root}"
    return "digits", "CIFAR-10 is not on this machine; `cmpt726 data get cifar10` fetches it"


def load_digits() -> Pools:
    """The bundled digits, enlarged."""
    path = Path(str(files("cli726") / "assets" / "digits.npz"))
    with np.load(path, allow_pickle=False) as stored:
        grey = (stored["images"].astype(np.float64) * (255 / 16)).round().astype(np.uint8)
        pool = Images.of(fit_size(np.repeat(grey[..., None], 3, axis=-1)), stored["labels"].astype(np.int64))
    return {"train": pool}, tuple("0123456789"), ()


def load_dataset(
    name: str,
    *,
    data_folder: str | None = None,
    test_fraction: float | None = None,
    val_fraction: float | None = None,
    strict: bool = False,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> Dataset:
    """Load what `--dataset` names and divide it.

    Args:
        name: auto, digits, folder:PATH, csv:FILE, python:FILE.py:FUNCTION, or a data set of torchvision.
        data_folder: `--data-dir`.
        test_fraction, val_fraction: Where the data set has no such split of its own; None: 15 %, at most 5,000.
        strict: Raise at a broken image.
        workers: Threads that decode image files.

    Raises:
        RequestError: unknown name, nothing there, too few images.
    """
    reporter = reporter or Silent()
    kind, colon, place = name.partition(":")
    vision = resolve_name(name)
    if name == "auto":
        name, why = choose_auto(data_folder)
        reporter.say(f"data: {name} ({why})")
        return load_dataset(
            name, data_folder=data_folder, test_fraction=test_fraction, val_fraction=val_fraction, strict=strict,
            workers=workers, reporter=reporter,
        )  # fmt: skip
    if name == "digits":
        title, (pools, classes, broken) = name, load_digits()
    elif kind in READERS and colon:
        root = Path(place).expanduser()
        title = root.resolve().name if kind == "folder" else root.stem
        reporter.start("reading images", 0)
        pools, classes, broken = READERS[kind](root, Reading(strict, workers, reporter.advance))
        count = sum(len(pool) for pool in pools.values())
        reporter.finish(f"read {count:,} images of {len(classes)} classes")
    elif kind == "python" and colon:
        title, (pools, classes, broken) = Path(place.partition(":")[0]).stem, load_python(name, reporter)
    elif name.lower() in CIFAR:
        title = name.lower()
        pools, classes, broken = load_cifar(title, data_dirs(data_folder))
    elif vision is not None:
        title, (pools, classes, broken) = vision.lower(), load_vision(vision, data_dirs(data_folder), reporter)
    else:
        raise RequestError(
            f"--dataset must be auto, digits, folder:PATH, csv:FILE, python:FILE.py:FUNCTION or one of "
            f"{', '.join(sorted(KNOWN))}; got {name}{did_you_mean(name, (*DATASETS, *KNOWN))}"
        )
    if len(classes) < 2:
        raise RequestError(f"a data set must have at least two classes; {name} has {len(classes)}; add another")
    splits = make_splits(pools, test_fraction, val_fraction, classes)
    return Dataset(title, classes, pools, splits, broken)


def shared_dataset(load: Callable[[], Dataset]) -> Dataset:
    """A data set that the first process reads, held by every process."""
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


def load_python(name: str, reporter: Reporter) -> Pools:
    """`python:FILE.py:FUNCTION`: FUNCTION(split) gives a torch Dataset of (image, label), or None for no such split.

    The splits are "train", "validation" and "test"; the class names are the training set's `classes`, if it has them.

    Raises:
        RequestError: if there is no such function, it fails, or gives something else.
    """
    function = load_function(name)
    with own_code(name):
        answers = {split: function(split) for split in ("train", "validation", "test")}
        parts = {split: part for split, part in answers.items() if part is not None}
        if "train" not in parts or not all(
            hasattr(part, "__len__") and hasattr(part, "__getitem__") for part in parts.values()
        ):
            raise RequestError(
                f"{name} must return a torch Dataset with a length for train, and a Dataset or None for others"
            )
        # Item by item: what it keeps under the names that torchvision uses may mean anything.
        return read_parts(parts, reporter, arrays=False)


READERS = {"folder": load_folder, "csv": load_csv}


def inventory(folder: str | None = None) -> list[dict[str, str | None]]:
    """Every data set known by name: source, where it is on this machine (None: not here), how to get it."""
    folders = data_dirs(folder)
    rows: list[dict[str, str | None]] = [
        {"name": "digits", "source": "UCI, bundled", "path": "bundled", "how": "nothing to do"}
    ]
    for name in [*CIFAR, *(known for known in sorted(KNOWN) if known.lower() not in CIFAR)]:
        source = "Krizhevsky (2009)" if name in CIFAR else "torchvision"
        can = name in CIFAR or KNOWN[name].downloads
        rows.append(
            {
                "name": name,
                "source": source,
                "path": find(name, folders),
                "how": f"cmpt726 data get {name}" if can else "by hand, as torchvision's documentation says",
            }
        )
    public = weights_dir() / PUBLIC_FILES[20]
    rows.append(
        {
            "name": "chenyaofo",
            "source": "public CIFAR-100 weights",
            "path": str(public) if public.is_file() else None,
            "how": "cmpt726 data get chenyaofo",
        }
    )
    return rows


def find(name: str, folders: list[Path]) -> str | None:
    """Where a data set lies, judged by the folder that torchvision keeps it in; it is checked when it is loaded."""
    if name in CIFAR:
        root = cifar_root(name, folders)
        return None if root is None else str(root / CIFAR[name].folder)
    spellings = (name, name.lower(), KNOWN[name].folder or name)
    return next((str(root / s) for root in folders for s in spellings if (root / s).exists()), None)


def fetch_dataset(name: str, folder: str | None, reporter: Reporter) -> Path:
    """Download what `name` names; what is there already is left alone.

    Raises:
        RequestError: unknown name, or one that can't be downloaded.
        UntrustedDataError, EnvironmentFailure: see `downloads`.
    """
    target = data_dir(folder)
    if name == "digits":
        return Path(str(files("cli726") / "assets" / "digits.npz"))
    if name == "chenyaofo":
        return fetch_public_weights(20, reporter)
    if name.lower() in CIFAR:
        return fetch_archive(name.lower(), target, reporter)
    vision = resolve_name(name)
    if vision is None:
        near = did_you_mean(name, ("chenyaofo", *KNOWN))
        raise RequestError(f"data get must name a known data set; got {name}{near or '; `cmpt726 data ls` lists them'}")
    if not KNOWN[vision].downloads:
        raise RequestError(f"{vision} can't be downloaded by a program; put it into {target} as torchvision documents")
    reporter.say(f"{vision}: fetched by torchvision, with the checks that it has")
    load_vision(vision, [target], reporter, download=True)
    return target
