"""What the shell offers after TAB for values that no list of Typer's names. Light, as every TAB waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import typer

from cli726.errors import EnvironmentFailure
from cli726.finetune.backbones import BACKBONES, DEPTHS, IMAGENET, cuts_of
from cli726.finetune.config import WEIGHTS
from cli726.finetune.recipe import DEVICES, KNOWN

Complete = Callable[[str], list[str]]
RUNS = Path("runs")


def one_of(*words: str) -> Complete:
    """Return a function that completes one of these words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def several_of(*words: str) -> Complete:
    """Return a function that completes the last word of a comma list, with those that aren't in it yet."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        named = {part.partition(":")[0] for part in before.split(",")}
        return [before + comma + word for word in words if word.startswith(last) and word not in named]

    return complete


def data_sets(incomplete: str) -> list[str]:
    """Complete what `--dataset` takes."""
    from cli726.finetune.data.names import NAMES, PREFIXES

    prefix, colon, place = incomplete.partition(":")
    if colon and prefix + colon in PREFIXES:
        return [f"{prefix}:{path}" for path in paths(place, PREFIXES[prefix + colon].partition(":")[0])]
    return one_of("auto", *NAMES, *PREFIXES)(incomplete)


def paths(beginning: str, what: str) -> list[str]:
    """Return the folders that begin so, and the files that end as `what` does."""
    folder, slash, name = beginning.rpartition("/")
    ending = {"FILE": ".csv", "FILE.py": ".py"}.get(what)
    found = []
    with suppress(OSError):
        for path in sorted(Path((folder + slash) or ".").expanduser().iterdir()):
            if path.name.startswith(name) and (name.startswith(".") or not path.name.startswith(".")):
                found += [folder + slash + path.name + "/"] if path.is_dir() else []
                found += [folder + slash + path.name] if ending and path.suffix == ending else []
    return found


def downloads(incomplete: str) -> list[str]:
    """Complete what `cmpt726 data get` takes."""
    from cli726.finetune.data.names import CIFAR, VISION, WEIGHTS_NAME

    return one_of(
        *CIFAR, WEIGHTS_NAME, *(kind.name for kind in IMAGENET), *(name for name in VISION if VISION[name].downloads)
    )(incomplete)


def newest_first(folders: Iterable[Path]) -> list[str]:
    """Return the names of folders, the last first: names of runs begin with data and date."""
    with suppress(OSError):
        return sorted((folder.name for folder in folders), reverse=True)
    return []


def finished_runs(incomplete: str) -> list[str]:
    """Complete the name of a run in `runs/` that has a model."""
    return one_of("latest", *newest_first(path.parent for path in RUNS.glob("*/best.safetensors")))(incomplete)


def interrupted_runs(incomplete: str) -> list[str]:
    """Complete the path of a run that `finetune --resume` can go on with."""
    begun = (path.parent for path in RUNS.glob("*/last.safetensors") if not (path.parent / "summary.json").exists())
    return one_of(*(str(RUNS / name) for name in newest_first(begun)))(incomplete)


def cache_keys(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the key of an entry of the cache, by the names of their folders."""
    from cache.system import default_cache_dir

    chosen = context.params.get("cache_dir")
    with suppress(EnvironmentFailure):
        root = default_cache_dir() if chosen is None else Path(chosen)
        return one_of(*newest_first(path for path in root.glob("v[0-9]*/??/*") if len(path.name) == 64))(incomplete)
    return []


augmentations = several_of(*KNOWN)
weights = one_of(*WEIGHTS)
stages = one_of(*cuts_of(IMAGENET[0].stages))
backbones = one_of("auto", *BACKBONES)
heads = one_of("linear", "mlp:128", "mlp:128,64", "python:")
devices = one_of(*DEVICES)
depths = one_of(*map(str, DEPTHS))
problems = several_of(*"123456")
