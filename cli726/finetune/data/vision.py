"""torchvision's labelled-image data sets, read. Importing torchvision takes a second: only here, only when asked."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from operator import index as whole_number
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from cli726.errors import EnvironmentFailure, RequestError
from cli726.finetune.data.images import SIZE, Images, fit_size, from_any
from cli726.finetune.data.sources import Pools
from cli726.finetune.data.vision_names import KNOWN, resolve_name
from cli726.reporting import Reporter

__all__ = ["KNOWN", "import_torchvision", "load_vision", "read_parts", "resolve_name"]


def import_torchvision() -> ModuleType:
    """torchvision, also where its compiled extension was built for another torch.

    `import torchvision` then fails with "operator torchvision::nms does not exist", because it describes operators
    that the extension would have defined. Data sets and transforms need none of them: declaring the two is enough.

    Raises:
        EnvironmentFailure: if it can't be imported for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise EnvironmentFailure(f"torchvision can't be imported: {error}; install it anew") from error
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    # Kept for the life of the process: the operators vanish with the library object.
    global DECLARED
    DECLARED = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        DECLARED.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")


DECLARED: torch.library.Library | None = None


def load_vision(name: str, folders: list[Path], reporter: Reporter, *, download: bool = False) -> Pools:
    """A data set of torchvision from the first folder that has it.

    Args:
        name: One of `KNOWN`.
        folders: Roots to look in; the first is downloaded to.
        download: Fetch what is missing, by torchvision's own means.

    Raises:
        RequestError: if it is in none of them, or is no classification of images.
        EnvironmentFailure: if a download fails.
    """
    datasets = import_torchvision().datasets
    make = getattr(datasets, name)
    failures = []
    # Said in both cases: SEMEION downloads unless told not to.
    fetching = {"download": download} if KNOWN[name].downloads else {}
    for root in folders[:1] if download else folders:
        try:
            parts = {split: make(root, **options, **fetching) for split, options in KNOWN[name].splits.items()}
        # torchvision has all these ways of saying that something isn't there.
        except (RuntimeError, ValueError, ModuleNotFoundError, FileNotFoundError) as error:
            if download and isinstance(error, RuntimeError):
                raise EnvironmentFailure(
                    f"{name} could not be fetched: {' '.join(str(error).split())}; check the network and try again"
                ) from error
            failures.append(f"{root} ({' '.join(str(error).split())[:120]})")
            continue
        except OSError as error:
            raise EnvironmentFailure(
                f"{name} could not be fetched: {error}; check the network and try again"
            ) from error
        return read_parts(parts, reporter)
    how = (
        f"fetch it with `cmpt726 data get {name}`"
        if KNOWN[name].downloads
        else "put it there by hand (torchvision can't)"
    )
    raise RequestError(f"--dataset {name} must be on this machine; not found in {'; '.join(failures)}; {how}")


def read_parts(parts: Mapping[str, Any], reporter: Reporter, *, arrays: bool = True) -> Pools:
    """Splits as arrays, with the class names that the training part has, else its numbers.

    Args:
        parts: Data sets of (image, label), by split; "train" among them.
        arrays: Whether their `data` and `targets` may stand for their items, as in torchvision.

    Raises:
        RequestError: for an empty split, or labels that don't number the classes.
    """
    empty = [split for split, part in parts.items() if not len(part)]
    if empty:
        raise RequestError(f"a data set must hold images; its {empty[0]} part has none; return None for no such part")
    pools = {split: read_part(split, part, reporter, arrays=arrays) for split, part in parts.items()}
    top = max(int(pool.labels.max()) for pool in pools.values())
    low = min(int(pool.labels.min()) for pool in pools.values())
    if low < 0 or top >= len(pools["train"]):
        raise RequestError(
            f"labels must number the classes from 0, each with a training image; got {low} to {top} with "
            f"{len(pools['train'])} training images; renumber them"
        )
    names = getattr(parts["train"], "classes", None) or getattr(parts["train"], "categories", None)
    if not isinstance(names, Sequence) or len(names) <= top:
        names = [str(label) for label in range(top + 1)]
    return pools, tuple(" / ".join(n) if isinstance(n, tuple) else str(n) for n in names), ()


def as_is(item: Any) -> Any:
    """An item that a DataLoader hands on: batches are made later, from uint8 arrays."""
    return item


def read_part(split: str, part: Any, reporter: Reporter, *, arrays: bool = True) -> Images:
    """One split as arrays: at once where torchvision holds them so, else image by image."""
    data, targets = getattr(part, "data", None), getattr(part, "targets", getattr(part, "labels", None))
    if arrays and data is not None and targets is not None and len(data) == len(targets) == len(part):
        pixels = np.asarray(data)
        if pixels.ndim == 4 and pixels.shape[1] == 3:  # SVHN and STL10 keep channels first
            pixels = pixels.transpose(0, 2, 3, 1)
        classes = np.asarray(targets, dtype=np.int64)
        if pixels.dtype == np.uint8 and pixels.ndim in {3, 4} and classes.ndim == 1:
            return Images.of(fit_size(pixels), classes)
    reporter.start(f"reading {split} images", len(part))
    pixels = np.empty((len(part), SIZE, SIZE, 3), np.uint8)
    labels = np.empty(len(part), np.int64)
    items = iter(DataLoader(part, batch_size=None, collate_fn=as_is, generator=torch.Generator()))
    for index in range(len(part)):
        try:
            image, label = next(items)[:2]
            pixels[index], labels[index] = from_any(image), whole_number(label)
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(
                f"a data set must give (image, label) with a whole number; item {index}: {error}"
            ) from None
        reporter.advance(1)
    reporter.finish(f"read {len(part):,} {split} images")
    return Images.of(pixels, labels)
