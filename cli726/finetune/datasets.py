"""`--dataset`: from what was typed to a data set with its splits."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from cli726.errors import RequestError
from cli726.finetune.downloads import CIFAR, cifar_root
from cli726.finetune.images import Dataset, Images, fit_size, make_splits
from cli726.finetune.places import data_dirs
from cli726.finetune.sources import Pools, load_folder
from cli726.finetune.vision import KNOWN, load_vision, resolve_name
from cli726.reporting import Reporter, Silent

__all__ = ["choose_auto", "load_dataset"]

# CIFAR has no validation images of its own: so many of its training images.
CIFAR_VALIDATION = 5000


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
    data_dir: str | None = None,
    test_fraction: float = 0.15,
    val_fraction: float = 0.15,
    strict: bool = False,
    reporter: Reporter | None = None,
) -> Dataset:
    """Load what `--dataset` names and divide it.

    Args:
        name: auto, digits, cifar10, cifar100, folder:PATH or the name of a data set of torchvision.
        data_dir: `--data-dir`.
        test_fraction, val_fraction: Where the data set has no such split of its own.
        strict: Raise at a broken image.

    Raises:
        RequestError: unknown name, nothing there, too few images.
    """
    reporter = reporter or Silent()
    kind, colon, place = name.partition(":")
    vision = resolve_name(name)
    if name == "auto":
        name, why = choose_auto(data_dir)
        reporter.say(f"data: {name} ({why})")
        return load_dataset(
            name, data_dir=data_dir, test_fraction=test_fraction, val_fraction=val_fraction, strict=strict,
            reporter=reporter,
        )  # fmt: skip
    if name == "digits":
        title, (pools, classes, broken) = name, load_digits()
    elif kind == "folder" and colon:
        title, (pools, classes, broken) = read_folder(place, strict=strict, reporter=reporter)
    elif vision is not None:
        title, (pools, classes, broken) = vision.lower(), load_vision(vision, data_dirs(data_dir), reporter)
    else:
        raise RequestError(
            f"--dataset must be auto, digits, folder:PATH or one of {', '.join(sorted(KNOWN))}; got {name}"
        )
    if title in CIFAR:
        val_fraction = CIFAR_VALIDATION / len(pools["train"])
    splits = make_splits(pools, test_fraction, val_fraction, classes)
    return Dataset(title, classes, pools, splits, broken)


def read_folder(place: str, *, strict: bool, reporter: Reporter) -> tuple[str, Pools]:
    root = Path(place).expanduser()
    reporter.start("reading images", 0)
    loaded = load_folder(root, strict=strict, advance=reporter.advance)
    count = sum(len(pool) for pool in loaded[0].values())
    reporter.finish(f"read {count:,} images of {len(loaded[1])} classes")
    return root.resolve().name, loaded
