"""torch data sets, read: torchvision's labelled images, and the user's own. torchvision is imported only when asked."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import index as whole_number
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from cli726.errors import EnvironmentFailure, RequestError
from cli726.finetune.data.decoding import PLAIN, Deep, Treatment, from_any, levels_of
from cli726.finetune.data.images import Dataset, Images, Pile, Skipped, settle
from cli726.finetune.data.names import VISION
from cli726.finetune.data.sources import Reading, summary_of
from cli726.finetune.user_code import load_function, own_code

# Kept for the life of the process: the operators vanish with the library object.
DECLARED: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled extension was built for another torch.

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
    DECLARED.append(torch.library.Library("torchvision", "FRAGMENT"))
    for operator in ("nms", "qnms"):
        DECLARED[-1].define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")


def load_vision(name: str, reading: Reading, *, download: bool = False) -> Dataset:
    """Return a data set of `VISION` from the first of the folders that has it; `download` it into the first of all.

    Raises:
        RequestError: if it is in none of them, or is no classification of images.
        EnvironmentFailure: if a download fails.
    """
    make, known = getattr(import_torchvision().datasets, name), VISION[name]
    failures = []
    # Said in both cases: SEMEION downloads unless told not to.
    fetching = {"download": download} if known.downloads else {}
    for root in reading.folders[:1] if download else reading.folders:
        try:
            parts = {split: make(root, **options, **fetching) for split, options in known.splits.items()}
        # torchvision has all these ways of saying that something isn't there, and some of them for a failed download.
        except (RuntimeError, ValueError, ModuleNotFoundError, OSError) as error:
            said = " ".join(str(error).split())
            absent = isinstance(error, FileNotFoundError) or not isinstance(error, OSError)
            if not absent or (download and isinstance(error, RuntimeError)):
                raise EnvironmentFailure(
                    f"{name} could not be fetched: {said}; check the network and try again"
                ) from error
            failures.append(f"{root} ({said[:120]})")
            continue
        return read_parts(name.lower(), parts, reading)
    how = f"fetch it with `cmpt726 data get {name}`" if known.downloads else "put it there by hand (torchvision can't)"
    raise RequestError(f"--dataset {name} must be on this machine; not found in {'; '.join(failures)}; {how}")


def load_python(place: str, reading: Reading) -> Dataset:
    """Return the images of `python:FILE.py:FUNCTION`: FUNCTION(split) gives a torch Dataset of (image, label), or None.

    The splits are "train", "validation" and "test"; the class names are the training set's `classes`, if it has them.

    Raises:
        RequestError: if there is no such function, it fails, or gives something else.
    """
    name = f"python:{place}"
    function = load_function(name)
    with own_code(name):
        answers = {split: function(split) for split in ("train", "validation", "test")}
        parts = {split: part for split, part in answers.items() if part is not None}
        sized = all(hasattr(part, "__len__") and hasattr(part, "__getitem__") for part in parts.values())
        if "train" not in parts or not sized:
            raise RequestError(
                f"{name} must return a torch Dataset with a length for train, and a Dataset or None for others"
            )
        # Item by item: what it keeps under the names that torchvision uses may mean anything.
        return read_parts(Path(place.rpartition(":")[0]).stem, parts, reading, own=True)


def read_parts(name: str, parts: Mapping[str, Any], reading: Reading, *, own: bool = False) -> Dataset:
    """Return data sets of (image, label), by split, as arrays, with the training part's class names, else its numbers.

    Somebody's `own` are read item by item; of torchvision's `data` and `targets` may stand for their items.

    Raises:
        RequestError: for an empty split, labels that don't number the classes, or values below 0 of somebody's own.
    """
    empty = [split for split, part in parts.items() if not len(part)]
    if empty:
        raise RequestError(f"a data set must hold images; its {empty[0]} part has none; return None for no such part")
    treatment = reading.treatment(lambda: [side_of_first(parts["train"])])
    arrays = {split: None if own else as_arrays(part, treatment) for split, part in parts.items()}
    read = {split: read_items(split, parts[split], reading, treatment, own) for split in parts if arrays[split] is None}
    left = [one for _, skipped in read.values() for one in skipped]
    for line in summary_of(left):
        reading.reporter.say(line)
    settled, levels = settle({split: pile for split, (pile, _) in read.items()}, reading.reporter, reading.levels)
    pools = {split: arrays[split] or settled[split] for split in parts}
    top = max(int(pool.labels.max()) for pool in pools.values())
    low = min(int(pool.labels.min()) for pool in pools.values())
    if low < 0 or top >= len(pools["train"]):
        raise RequestError(
            f"labels must number the classes from 0, each with a training image; got {low} to {top} with "
            f"{len(pools['train'])} training images; renumber them"
        )
    names = getattr(parts["train"], "classes", None) or getattr(parts["train"], "categories", None)
    if not isinstance(names, Sequence) or len(names) <= top:
        names = range(top + 1)
    shown = tuple(" / ".join(one) if isinstance(one, tuple) else str(one) for one in names)
    return Dataset(name, shown, pools, {}, tuple(left), levels, treatment)


def side_of_first(part: Any) -> int:
    """Return the longer side of a data set's first image; the smallest there is where it can't be told."""
    with suppress(Exception):  # what is wrong with it is said when it is read
        image = part[0][0]
        return max(image.size if isinstance(image, Image.Image) else np.shape(image))
    return PLAIN.size


def as_arrays(part: Any, treatment: Treatment) -> Images | None:
    """Return one split at once, where torchvision holds it as an array of bytes."""
    data, targets = getattr(part, "data", None), getattr(part, "targets", getattr(part, "labels", None))
    if data is None or targets is None or not len(data) == len(targets) == len(part):
        return None
    pixels, classes = np.asarray(data), np.asarray(targets, dtype=np.int64)
    if pixels.ndim == 4 and pixels.shape[1] == 3:  # SVHN and STL10 keep channels first
        pixels = pixels.transpose(0, 2, 3, 1)
    usable = pixels.dtype == np.uint8 and pixels.ndim in {3, 4} and classes.ndim == 1
    return Images.fitted(pixels, classes, treatment) if usable else None


def read_items(split: str, part: Any, reading: Reading, treatment: Treatment, own: bool) -> tuple[Pile, list[Skipped]]:
    """Return one split, image by image, and the items that could not be read.

    Raises:
        RequestError: for what is no (image, label), for no image at all, and for normalised images of somebody's own.
    """
    reading.reporter.start(f"reading {split} images", len(part))
    pile, left = Pile(len(part), treatment), []
    plain = treatment.words == PLAIN.words
    # Items as they are: batches are made later, from uint8 arrays.
    items = iter(DataLoader(part, batch_size=None, collate_fn=lambda item: item, generator=torch.Generator()))
    for index in range(len(part)):
        reading.reporter.advance(1)
        try:
            image, label = next(items)[:2]
            picture, number = from_any(image, treatment), whole_number(label)
        except OSError as error:  # a file behind it is broken, or can't be read
            left.append(reading.leave_out(f"{split} item {index}", error.strerror or f"{error}"))
            continue
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(
                f"a data set must give (image, label) with a whole number; item {index}: {error}"
            ) from None
        if own and isinstance(picture, Deep) and levels_of(picture.low, picture.high)[0] < 0:
            raise RequestError(
                f"images must have values from 0 on, to 1, 255, 4,095 or 65,535; {split} item {index} has values from "
                f"{picture.low:g} to {picture.high:g}, as after Normalize; leave Normalize out (the network's own "
                "normalisation follows), or undo it: image * std + mean"
            )
        pile.add(picture, number, str(index), None if plain else from_any(image))
    if not pile.labels:
        raise RequestError(f"a data set must hold images that can be read; {split}, {left[0].name}: {left[0].reason}")
    reading.reporter.finish(f"read {len(pile.labels):,} {split} images")
    return pile, left
