"""`cmpt726 cache`: look at the feature caches, check them, throw them away."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache.keys import as_size, canonical, short_key
from cli726.errors import RequestError, UntrustedDataError
from cli726.text import counted, printable
from commands.completion import cache_keys
from commands.options import OUTPUT, App, Json, examples, option, path_option
from commands.render import emit, notice, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cache.reading import EntryInfo
    from cache.store import Store

WHICH = "Which entries"
LONGEST_CELL = 60
# Of what an entry says of its origin, shown in lists.
FOR_PEOPLE = ("model", "data", "pool", "cut")
THOUSANDS = {"k": 1, "m": 2, "g": 3, "t": 4}
SIZES = {"b": 1} | {t + u: base**n for t, n in THOUSANDS.items() for u, base in (("", 1000), ("b", 1000), ("ib", 1024))}
AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

app = App(
    name="cache",
    help="The feature caches that `cmpt726 finetune --cache` keeps: list, check, remove.",
    epilog=examples("cmpt726 cache ls", "cmpt726 cache verify", "cmpt726 cache prune --max-size 5GB --yes"),
)


PLACE = "Where the caches are (default: CMPT726_CACHE_DIR, else the per-user cache folder)."
CacheDir = Annotated[Path | None, path_option(PLACE, "DIR", WHICH, "--cache-dir")]
KEY = "Entry key, or a unique beginning of it."
Key = Annotated[str | None, typer.Argument(metavar="[KEY]", help=KEY, show_default=False, autocompletion=cache_keys)]
Yes = Annotated[bool, option("Don't ask first.", None, WHICH, "--yes", "-y")]
MOST = "Remove the least recently used until at most this much is left, as in 5GB."
MaxSize = Annotated[str | None, option(MOST, "SIZE", WHICH, "--max-size")]
UNUSED = "Remove entries unused for this long, as in 30d."
OlderThan = Annotated[str | None, option(UNUSED, "AGE", WHICH, "--older-than")]
DryRun = Annotated[bool, option("Only say what would be removed.", None, OUTPUT, "--dry-run")]


def store_of(cache_dir: Path | None) -> "Store":
    from cache.store import Store
    from cache.system import default_cache_dir

    return Store(cache_dir or default_cache_dir())


def quantity(text: str, units: dict[str, int], rule: str) -> float:
    """Return a number times its unit; RequestError with the rule for anything else."""
    if text.strip() == "0":  # in any unit
        return 0.0
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


def moment(used: float | None) -> datetime | None:
    """Return seconds since 1970 as a date, UTC; None for what no calendar has."""
    with suppress(ValueError, OverflowError, OSError):
        return None if used is None else datetime.fromtimestamp(used, UTC)
    return None


def picked(info: "EntryInfo", *names: str) -> dict[str, Any]:
    return {name: getattr(info, name) for name in names}


def summary(info: "EntryInfo") -> dict[str, Any]:
    """Return an entry as `ls` lists it, what its provenance says short enough for a table."""
    said = {name: text_of(value) for name, value in (info.request.provenance if info.request else {}).items()}
    short = {name: t if len(t) <= LONGEST_CELL else t[: LONGEST_CELL - 1] + "…" for name, t in said.items()}
    used = moment(info.used)
    found = {name: short.get(name) for name in FOR_PEOPLE}
    found |= picked(info, "key", "bytes", "built", "seconds", "state", "reason")
    return found | {"used": used and used.isoformat(timespec="seconds"), "path": str(info.path)}


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
        rows = []
        for e in entries:
            used = datetime.fromisoformat(e["used"]).astimezone().strftime("%Y-%m-%d %H:%M") if e["used"] else ""
            rows.append((short_key(e["key"]), *(e[n] or "" for n in FOR_PEOPLE), used, e["state"], as_size(e["bytes"])))
        headline = f"{counted(len(entries), 'entry', 'entries')} in {store.folder}, {as_size(total)}"
        yield from listing(headline, "key", *FOR_PEOPLE, "last use", "state", "size", rows=rows)

    emit({"folder": store.folder, "bytes": total, "entries": entries}, tables, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache info", "cmpt726 cache info --json"))
def info(key: Key = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Show all that is known of one entry: of the last used, or of KEY."""
    store = store_of(cache_dir)
    listed = store.entries() if key is None else [store.info(key)]
    if not listed:
        raise RequestError(f"info needs an entry; {store.folder} has none; `cmpt726 finetune --cache` makes some")
    request = listed[0].request
    found = summary(listed[0]) | {name: getattr(request, name, None) for name in ("rows", "shape", "dtype")}
    parts = {name: getattr(request, name, {}) for name in ("fields", "provenance")}

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

    def tables() -> "Iterator[RenderableType]":
        rows = [(short_key(info.key), info.state, info.reason or "", as_size(info.bytes)) for info in infos]
        whole = sum(info.state == "ok" for info in infos)
        headline = f"{whole} of {counted(len(infos), 'entry', 'entries')} in {store.folder} intact"
        yield from listing(headline, "key", "state", "reason", "size", rows=rows)

    entries = [picked(info, "key", "state", "reason", "bytes", "seconds") for info in infos]
    emit({"folder": store.folder, "entries": entries, "damaged": len(bad)}, tables, as_json=as_json)
    if bad:
        named = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        raise UntrustedDataError(
            f"every entry must be as it was written; {len(bad)} of {len(infos)} are not ({named}); "
            f"remove each with `cmpt726 cache clear KEY{as_option(store.folder)}`"
        )


def remove(store: "Store", doomed: "list[EntryInfo]", *, yes: bool, dry_run: bool = False, as_json: bool) -> None:
    """Remove entries once somebody has agreed to it, and say which; or only say it."""
    freed = sum(info.bytes for info in doomed)
    left = sum(info.bytes for info in store.entries()) - freed
    if doomed and not yes and not dry_run:
        what = f"{counted(len(doomed), 'entry', 'entries')}, {as_size(freed)},"
        if not sys.stdin.isatty():
            raise RequestError(f"removing {what} from {store.folder} needs a yes; got none, nobody to ask; add --yes")
        try:
            agreed = typer.confirm(f"Remove {what} from {printable(str(store.folder))}?", err=True)
        except typer.Abort:  # the end of input
            agreed = False
        if not agreed:
            notice("nothing was removed")
            return
    if not dry_run:
        store.remove(doomed)

    def tables() -> "Iterator[RenderableType]":
        verb, what = "would remove" if dry_run else "removed", counted(len(doomed), "entry", "entries")
        headline = f"{verb} {what}, {as_size(freed)}; {as_size(left)} left in {store.folder}"
        rows = [(short_key(info.key), info.reason or "", as_size(info.bytes)) for info in doomed]
        yield from listing(headline, "key", "why", "size", rows=rows)

    removed = [picked(info, "key", "bytes", "reason") for info in doomed]
    payload = {"folder": store.folder, "removed": removed, "bytes": freed, "left_bytes": left, "dry_run": dry_run}
    emit(payload, tables, as_json=as_json)


PRUNE = ("cmpt726 cache prune --yes", "cmpt726 cache prune --max-size 5GB --older-than 30d --yes")


@app.command(epilog=examples(*PRUNE, "cmpt726 cache prune --older-than 30d --dry-run"))
def prune(
    max_size: MaxSize = None,
    older_than: OlderThan = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Remove what interrupted runs and earlier versions left, then entries by age and size."""
    most = None if max_size is None else parse_size(max_size)
    age = None if older_than is None else parse_age(older_than)
    store = store_of(cache_dir)
    remove(store, store.prunable(most, age), yes=yes, dry_run=dry_run, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache clear --yes", "cmpt726 cache clear --yes --json"))
def clear(key: Key = None, yes: Yes = False, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Remove KEY, or all entries; a run that uses them keeps what it has."""
    store = store_of(cache_dir)
    remove(store, store.clearable(key), yes=yes, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache path", "cmpt726 cache path --json"))
def path(cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Print the folder where the caches are kept."""
    from cache.system import default_cache_dir

    folder = cache_dir or default_cache_dir()
    if as_json:
        emit({"path": folder}, list, as_json=True)
    else:
        typer.echo(os.fsencode(folder))
