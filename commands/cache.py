"""`cmpt726 cache`: look at the feature caches, check them, throw them away."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache.keys import as_size, canonical, short_key
from cli726.errors import RequestError, UntrustedDataError
from cli726.text import counted, printable
from commands.completion import cache_keys
from commands.options import OUTPUT, App, Json, examples
from commands.render import emit, notice, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cache.store import EntryInfo, Removed, Store

WHICH = "Which entries"
LONGEST_CELL = 60
SIZES = {"b": 1} | {
    letter + suffix: base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

app = App(
    name="cache",
    help="The feature caches that `cmpt726 finetune --cache` keeps: list, check, remove.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=examples("cmpt726 cache ls", "cmpt726 cache verify", "cmpt726 cache prune --max-size 5GB --yes"),
)

CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        help="Where the caches are (default: CMPT726_CACHE_DIR, else the per-user cache folder).",
        rich_help_panel=WHICH,
    ),
]
Key = Annotated[
    str | None,
    typer.Argument(
        metavar="[KEY]", help="Entry key, or the start of it.", show_default=False, autocompletion=cache_keys
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask first.", rich_help_panel=WHICH)]


def store_of(cache_dir: Path | None) -> "Store":
    from cache.store import Store
    from cache.system import default_cache_dir

    return Store(default_cache_dir() if cache_dir is None else cache_dir)


def quantity(text: str, units: dict[str, int], rule: str) -> float:
    """Return a number times its unit, or raise RequestError with the rule."""
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]+)\s*", text.lower(), re.ASCII)
    if not found or found[2] not in units:
        raise RequestError(f"{rule}; got {text!r}")
    return float(found[1]) * units[found[2]]


def parse_size(text: str) -> int:
    """Return the bytes in "5GB", "500 MB" or "1.5GiB"."""
    return int(quantity(text, SIZES, "a size is a number and a unit, as in 5GB, 500MB or 1GiB"))


def parse_age(text: str) -> float:
    """Return the seconds in "30d", "12h", "2w", "90m" or "45s"."""
    return quantity(text, AGES, "an age is a number and one of s, m, h, d, w, as in 30d or 12h")


def text_of(value: Any) -> str:
    """Return a JSON value for a cell: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else canonical(value)


def summary(info: "EntryInfo") -> dict[str, Any]:
    """Return an entry as `ls` lists it, what its provenance says short enough for a table."""
    provenance = info.request.provenance if info.request else {}
    said = {
        name: text_of(provenance[name]) if name in provenance else None for name in ("model", "data", "pool", "cut")
    }
    used = None
    if info.used is not None:
        try:
            used = datetime.fromtimestamp(info.used, UTC).isoformat(timespec="seconds")
        except (ValueError, OverflowError, OSError):
            used = None  # no calendar has it
    return {
        "key": info.key,
        **{name: t and (t if len(t) <= LONGEST_CELL else t[: LONGEST_CELL - 1] + "…") for name, t in said.items()},
        "bytes": info.bytes,
        "built": info.built,
        "seconds": info.seconds,
        "used": used,
        "state": info.state,
        "reason": info.reason,
        "path": str(info.path),
    }


def minute(iso: str | None) -> str:
    """Return a time for people: local, to the minute."""
    return "" if iso is None else datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")


def listing(headline: str, *columns: str, rows: Sequence[Sequence[object]]) -> "Iterator[RenderableType]":
    """Yield a line that sums up, and a table if there is anything to list; the last column is a number."""
    from rich.text import Text

    yield Text(printable(headline))
    if rows:
        yield table(None, *columns, rows=rows, numeric=len(columns) - 1)


@app.command(epilog=examples("cmpt726 cache ls", "cmpt726 cache ls --json"))
def ls(cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """List the entries: model, data, cut, size, last use, state."""
    store = store_of(cache_dir)
    entries = [summary(info) for info in store.entries()]
    total = sum(entry["bytes"] for entry in entries)

    def tables() -> "Iterator[RenderableType]":
        rows = [
            (
                short_key(entry["key"]),
                *(entry[name] or "" for name in ("model", "data", "pool", "cut")),
                minute(entry["used"]),
                entry["state"],
                as_size(entry["bytes"]),
            )
            for entry in entries
        ]
        columns = ("key", "model", "data", "pool", "cut", "last use", "state", "size")
        yield from listing(f"{len(entries)} in {store.folder}, {as_size(total)}", *columns, rows=rows)

    emit({"folder": str(store.folder), "bytes": total, "entries": entries}, tables, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache info", "cmpt726 cache info --json"))
def info(key: Key = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Show all that is known of one entry: of the last used, or of KEY."""
    store = store_of(cache_dir)
    listed = store.entries() if key is None else [store.info(key)]
    if not listed:
        raise RequestError(f"info needs an entry; {store.folder} has none; `cmpt726 finetune --cache` makes some")
    request = listed[0].request
    parts: dict[str, Any] = {
        "fields": request.fields if request else {},
        "provenance": request.provenance if request else {},
    }
    found = summary(listed[0]) | {name: getattr(request, name, None) for name in ("rows", "shape", "dtype")}

    def tables() -> "Iterator[RenderableType]":
        rounded = {"bytes": as_size, "seconds": "{:.3g}".format}
        shown = [(name, rounded.get(name, str)(value)) for name, value in found.items() if value is not None]
        yield table(None, "entry", short_key(listed[0].key), rows=shown, numeric=2)
        for title, part in zip(("what decides the content", "where it comes from"), parts.values(), strict=True):
            if part:
                rows = ((name, text_of(value)) for name, value in sorted(part.items()))
                yield table(None, title, "", rows=rows, numeric=2)

    emit(found | parts, tables, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache verify", "cmpt726 cache verify --json"))
def verify(key: Key = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Read every byte of KEY, or of all entries, and compare; exit status 3 on damage."""
    from cache.system import as_option

    store = store_of(cache_dir)
    infos = store.verify(key)
    bad = [short_key(info.key) for info in infos if info.state == "damaged"]
    whole = sum(info.state == "ok" for info in infos)

    def tables() -> "Iterator[RenderableType]":
        rows = [(short_key(info.key), info.state, info.reason or "", as_size(info.bytes)) for info in infos]
        headline = f"{whole} of {len(infos)} in {store.folder} are as they were written"
        yield from listing(headline, "key", "state", "reason", "size", rows=rows)

    entries = [{name: getattr(info, name) for name in ("key", "state", "reason", "bytes", "seconds")} for info in infos]
    emit({"folder": str(store.folder), "entries": entries, "damaged": len(bad)}, tables, as_json=as_json)
    if bad:
        named = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        raise UntrustedDataError(
            f"every entry must be as it was written; {len(bad)} of {len(infos)} are not ({named}); "
            f"remove each with `cmpt726 cache clear KEY{as_option(store.folder)}`"
        )


def take_away(plan: "Removed", act: "Callable[[], Removed]", folder: Path, *, yes: bool, as_json: bool) -> None:
    """Carry out a plan once somebody has agreed to it, and say what was removed."""
    if plan.removed and not yes:
        what = f"{counted(len(plan.removed), 'entry', 'entries')}, {as_size(plan.bytes)},"
        if not sys.stdin.isatty():
            raise RequestError(f"removing {what} from {folder} needs a yes; got none, and nobody to ask; add --yes")
        try:
            agreed = typer.confirm(f"Remove {printable(what)} from {printable(str(folder))}?", err=True)
        except typer.Abort:  # the end of input
            agreed = False
        if not agreed:
            notice("nothing was removed")
            return
    report(act(), folder, as_json=as_json)


def report(done: "Removed", folder: Path, *, as_json: bool) -> None:
    """Say what was removed, or would be."""
    removed = [{name: getattr(info, name) for name in ("key", "bytes", "reason")} for info in done.removed]
    payload = {"folder": str(folder), "removed": removed, "bytes": done.bytes}

    def tables() -> "Iterator[RenderableType]":
        verb = "would remove" if done.dry_run else "removed"
        headline = f"{verb} {len(removed)}, {as_size(done.bytes)}; {as_size(done.left_bytes)} left in {folder}"
        rows = [(short_key(info.key), info.reason or "", as_size(info.bytes)) for info in done.removed]
        yield from listing(headline, "key", "why", "size", rows=rows)

    emit(payload | {"left_bytes": done.left_bytes, "dry_run": done.dry_run}, tables, as_json=as_json)


@app.command(
    epilog=examples(
        "cmpt726 cache prune --yes",
        "cmpt726 cache prune --max-size 5GB --older-than 30d --yes",
        "cmpt726 cache prune --older-than 30d --dry-run",
    )
)
def prune(
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="Remove the least recently used until at most this much is left, as in 5GB.",
            rich_help_panel=WHICH,
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="Remove entries unused for this long, as in 30d.", rich_help_panel=WHICH
        ),
    ] = None,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.", rich_help_panel=OUTPUT)
    ] = False,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Remove what interrupted runs and earlier versions left, then entries by age and size."""
    store = store_of(cache_dir)
    most = None if max_size is None else parse_size(max_size)
    age = None if older_than is None else parse_age(older_than)
    plan = store.prune(most, age, dry_run=True)
    if dry_run:
        report(plan, store.folder, as_json=as_json)
    else:
        take_away(plan, lambda: store.prune(most, age), store.folder, yes=yes, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache clear --yes", "cmpt726 cache clear --yes --json"))
def clear(key: Key = None, yes: Yes = False, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Remove KEY, or all entries; a run that uses them keeps what it has."""
    store = store_of(cache_dir)
    plan = store.clear(key, dry_run=True)
    take_away(plan, lambda: store.clear(key), store.folder, yes=yes, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache path", "cmpt726 cache path --json"))
def path(cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Print the folder where the caches are kept."""
    folder = store_of(cache_dir).folder
    if as_json:
        emit({"path": str(folder)}, list, as_json=True)
    else:
        typer.echo(os.fsencode(folder))
