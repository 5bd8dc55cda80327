"""An entry's manifest: what the entry is, how large, and the SHA-256 of its data. The same bytes for the same entry."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cache.errors import UntrustedDataError
from cache.files import read_small
from cache.keys import SCHEMA, Request, digest
from cache.quantities import short_key

__all__ = ["DATA", "MANIFEST", "Distrusted", "Manifest", "read_manifest"]

DATA = "features.h5"
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 2**20
NAMES = {"schema", "key", "fields", "rows", "shape", "dtype", "provenance", "bytes", "sha256", "digest"}


class Distrusted(UntrustedDataError):  # noqa: N818 - what the entry is
    """An entry is not what this version wrote; the message is the reason, without entry and remedy.

    Attributes:
        state: "damaged", or "foreign" for what another version or program wrote.
    """

    def __init__(self, reason: str, state: Literal["damaged", "foreign"] = "damaged") -> None:
        super().__init__(reason)
        self.state: Literal["damaged", "foreign"] = state


@dataclass(frozen=True)
class Manifest:
    """What an entry says of itself.

    Attributes:
        request: What it holds.
        size: Bytes of its data file.
        sha256: Of the whole data file, as `sha256sum` prints it.
    """

    request: Request
    size: int
    sha256: str

    def render(self) -> bytes:
        """The file's content; `digest` covers everything else in it."""
        document = {
            "schema": SCHEMA,
            "key": self.request.key,
            "fields": self.request.fields,
            "rows": self.request.rows,
            "shape": list(self.request.shape),
            "dtype": self.request.dtype,
            "provenance": self.request.provenance,
            "bytes": self.size,
            "sha256": self.sha256,
        }
        document["digest"] = digest(document)
        return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_manifest(raw: bytes, key: str) -> Manifest:
    """The manifest in `raw`, which a stranger may have written, for the entry called `key`.

    Raises:
        Distrusted: unless it is, byte for byte, what this version writes for that key.
    """
    try:
        document = json.loads(raw, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise Distrusted(f"{MANIFEST} is not JSON") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise Distrusted(f"{MANIFEST} is not of this version (schema {SCHEMA})", "foreign")
    try:
        if set(document) != NAMES or not isinstance(document["shape"], list):
            raise ValueError("names")
        request = Request(
            fields=document["fields"],
            rows=document["rows"],
            shape=tuple(document["shape"]),
            dtype=document["dtype"],
            provenance=document["provenance"],
        )
        manifest = Manifest(request, document["bytes"], document["sha256"])
        if type(manifest.size) is not int or not re.fullmatch("[0-9a-f]{64}", manifest.sha256):
            raise ValueError("size or hash")
        whole = manifest.render() == raw
    except (ValueError, TypeError, RecursionError):
        raise Distrusted(f"{MANIFEST} breaks the rules of its format") from None
    if not whole:
        raise Distrusted(f"{MANIFEST} was changed after it was written")
    if request.key != key:
        raise Distrusted(f"{MANIFEST} belongs to another key, {short_key(request.key)}")
    return manifest


def read_manifest(entry: Path) -> Manifest:
    """The manifest of the entry in folder `entry`, whose name is its key.

    Raises:
        Distrusted: if it is missing, or not what this version wrote.
        OSError: if it can't be read.
    """
    try:
        raw = read_small(entry / MANIFEST, LARGEST_MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise Distrusted(f"it has no {MANIFEST}") from None
    except ValueError as error:
        raise Distrusted(str(error)) from None
    return parse_manifest(raw, entry.name)
