"""`--dataset`: from what was typed to a data set with its splits."""

from __future__ import annotations

from pathlib import Path

from cli726.errors import RequestError
from cli726.finetune.images import Dataset, make_splits
from cli726.finetune.sources import Pools, load_folder
from cli726.reporting import Reporter, Silent

__all__ = ["load_dataset"]


def load_dataset(
    name: str,
    *,
    test_fraction: float = 0.15,
    val_fraction: float = 0.15,
    strict: bool = False,
    reporter: Reporter | None = None,
) -> Dataset:
    """Load what `--dataset` names and divide it.

    Raises:
        RequestError: unknown name, nothing there, too few images.
    """
    reporter = reporter or Silent()
    kind, _, place = name.partition(":")
    if kind == "folder":
        title, (pools, classes, broken) = read_folder(place, strict=strict, reporter=reporter)
    else:
        raise RequestError(f"--dataset must be folder:PATH; got {name}")
    splits = make_splits(pools, test_fraction, val_fraction, classes)
    return Dataset(title, classes, pools, splits, broken)


def read_folder(place: str, *, strict: bool, reporter: Reporter) -> tuple[str, Pools]:
    root = Path(place).expanduser()
    reporter.start("reading images", 0)
    loaded = load_folder(root, strict=strict, advance=reporter.advance)
    count = sum(len(pool) for pool in loaded[0].values())
    reporter.finish(f"read {count:,} images of {len(loaded[1])} classes")
    return root.resolve().name, loaded
