"""`cmpt726 cache`: look at the feature caches, check them, throw them away."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache.quantities import as_size, parse_age, parse_size, short_key
from cli726.errors import RequestError, UntrustedDataError
from cli726.text import printable
from commands.completion import cache_keys
from commands.options import OUTPUT, App, Json, examples
from commands.render import emit, notice, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cache.store import EntryInfo, Removed

WHICH = "Which entries"
LONGEST_CELL = 60
EPILOG = examples("cmpt726 cache ls", "cmpt726 cache verify", "cmpt726 cache prune --max-size 5GB --older-than 30d")

app = App(
    name="cache",
    help="The feature caches that `cmpt726 finetune --cache` keeps: list, check, remove.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=EPILOG,
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
        metavar="[KEY]",
        help="An entry's key, as far as it is unique.",
        show_default=False,
        autocompletion=cache_keys,
    ),
]


def folder_of(cache_dir: Path | None) -> Path:
    from cache.paths import default_cache_dir

    return default_cache_dir() if cache_dir is None else cache_dir


def text_of(value: Any) -> str:
    """A JSON value in a cell: text as it is, the rest as JSON."""
    from cache.keys import canonical

    return value if isinstance(value, str) else canonical(value)


def show(document: dict[str, Any], tables: "Callable[[], Iterable[RenderableType]]", *, as_json: bool) -> None:
    """Emit a document whose texts come from files: undecodable names are made printable."""
    from cache.keys import normalized

    emit(normalized(document), tables, as_json=as_json)


def timestamp(used: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601, UTC; None for what no calendar has."""
    try:
        return None if used is None else datetime.fromtimestamp(used, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def said(info: "EntryInfo", name: str) -> str | None:
    """What an entry's provenance says under `name`, short enough for a table."""
    value = info.provenance.get(name)
    if value is None:
        return None
    text = text_of(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def summary(info: "EntryInfo") -> dict[str, Any]:
    """An entry as `ls` lists it."""
    return {
        "key": info.key,
        **{name: said(info, name) for name in ("model", "data", "pool", "cut")},
        "bytes": info.bytes,
        "built": info.built,
        "seconds": info.seconds,
        "used": timestamp(info.used),
        "state": info.state,
        "reason": info.reason,
        "path": str(info.path),
    }


def minute(iso: str | None) -> str:
    """A time for people: local, to the minute."""
    return "" if iso is None else datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")


def listing(headline: str, *columns: str, rows: Sequence[Sequence[object]]) -> "Iterator[RenderableType]":
    """A line that sums up, and a table if there is anything to list; the last column is a number."""
    from rich.text import Text

    yield Text(printable(headline))
    if rows:
        yield table(None, *columns, rows=rows, numeric=len(columns) - 1)


@app.command(epilog=examples("cmpt726 cache ls", "cmpt726 cache ls --json"))
def ls(cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """List the entries: model, data, cut, size, last use, state."""
    from cache.store import Store

    folder = folder_of(cache_dir)
    entries = [summary(info) for info in Store(folder).entries()]
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
        yield from listing(f"{len(entries)} in {folder}, {as_size(total)}", *columns, rows=rows)

    show({"folder": str(folder), "bytes": total, "entries": entries}, tables, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache info", "cmpt726 cache info --json"))
def info(key: Key = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Show all that is known of one entry: of the last used, or of KEY."""
    from cache.store import Store

    folder = folder_of(cache_dir)
    store = Store(folder)
    listed = store.entries() if key is None else [store.info(key)]
    if not listed:
        raise RequestError(f"info needs an entry; {folder} has none; `cmpt726 finetune --cache` makes some")
    one = listed[0]
    rest = {name: getattr(one, name) for name in ("rows", "shape", "dtype", "fields", "provenance")}
    found = summary(one) | rest

    def tables() -> "Iterator[RenderableType]":
        facts = [(name, value) for name, value in found.items() if name not in ("fields", "provenance")]
        rounded = {"bytes": as_size, "seconds": "{:.3g}".format}
        shown = [(name, rounded.get(name, str)(value)) for name, value in facts if value is not None]
        yield table(None, "entry", short_key(one.key), rows=shown, numeric=2)
        for title, part in (("what decides the content", one.fields), ("where it comes from", one.provenance)):
            if part:
                rows = ((name, text_of(value)) for name, value in sorted(part.items()))
                yield table(None, title, "", rows=rows, numeric=2)

    show(found, tables, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache verify", "cmpt726 cache verify --json"))
def verify(key: Key = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Read every byte of KEY, or of all entries, and compare; exit status 3 on damage."""
    from cache.store import Store

    folder = folder_of(cache_dir)
    verdicts = Store(folder).verify(key)
    bad = [verdict for verdict in verdicts if verdict.state != "ok"]

    def tables() -> "Iterator[RenderableType]":
        rows = [(short_key(v.key), v.state, v.reason or "", as_size(v.bytes)) for v in verdicts]
        headline = f"{len(verdicts) - len(bad)} of {len(verdicts)} in {folder} are as they were written"
        yield from listing(headline, "key", "state", "reason", "size", rows=rows)

    entries = [asdict(verdict) for verdict in verdicts]
    show({"folder": str(folder), "entries": entries, "damaged": len(bad)}, tables, as_json=as_json)
    if bad:
        named = ", ".join(short_key(verdict.key) for verdict in bad[:3]) + (", ..." if len(bad) > 3 else "")
        raise UntrustedDataError(
            f"every entry must be as it was written; {len(bad)} of {len(verdicts)} are not ({named}); "
            f"remove each with `cmpt726 cache clear KEY`"
        )


def report(removed: "Removed", folder: Path, *, as_json: bool) -> None:
    """Say what was removed, or would be."""
    done = "would remove" if removed.dry_run else "removed"

    def tables() -> "Iterator[RenderableType]":
        freed, left = as_size(removed.bytes), as_size(removed.left_bytes)
        headline = f"{done} {len(removed.removed)}, {freed}; {left} left in {folder}"
        rows = [(short_key(removal.key), removal.reason, as_size(removal.bytes)) for removal in removed.removed]
        yield from listing(headline, "key", "why", "size", rows=rows)

    show({"folder": str(folder)} | asdict(removed), tables, as_json=as_json)


@app.command(
    epilog=examples(
        "cmpt726 cache prune", "cmpt726 cache prune --max-size 5GB", "cmpt726 cache prune --older-than 30d --dry-run"
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
            "--older-than",
            metavar="AGE",
            help="Remove what was not used for so long, as in 30d.",
            rich_help_panel=WHICH,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.", rich_help_panel=OUTPUT)
    ] = False,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Remove what interrupted runs left, then entries by age and size."""
    from cache.store import Store

    most = None if max_size is None else parse_size(max_size)
    age = None if older_than is None else parse_age(older_than)
    folder = folder_of(cache_dir)
    report(Store(folder).prune(most, age, dry_run), folder, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache clear", "cmpt726 cache clear --yes"))
def clear(
    key: Key = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask first.", rich_help_panel=WHICH)] = False,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Remove KEY, or all entries; a run that uses them keeps what it has."""
    from cache.store import Store

    folder = folder_of(cache_dir)
    store = Store(folder)
    count = 1 if key is not None else len(store.entries())
    what = f"all {count} entries" if key is None else f"entry {short_key(store.info(key).key)}"
    if count and not yes:
        if not sys.stdin.isatty():
            raise RequestError(f"removing {what} from {folder} needs a yes; got none, and nobody to ask; add --yes")
        try:
            agreed = typer.confirm(f"Remove {what} from {folder}?", err=True)
        except typer.Abort:  # the end of input
            agreed = False
        if not agreed:
            notice("nothing was removed")
            return
    report(store.clear(key), folder, as_json=as_json)


@app.command(epilog=examples("cmpt726 cache path", "cmpt726 cache path --json"))
def path(cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Print the folder where the caches are kept."""
    folder = folder_of(cache_dir)
    if as_json:
        show({"path": str(folder)}, list, as_json=True)
    else:
        typer.echo(os.fsencode(folder))
