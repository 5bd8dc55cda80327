"""The zip of the code: a directory for each problem, with its scripts, the modules that they reach, and a README.md."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cli726.finetune.folder.storage import replace_file
from cli726.report.output import check_output
from cli726.report.sources import PROBLEMS, Source, library, scripts

__all__ = ["Package", "package"]

# The earliest date that a zip can state: the same code gives the same bytes at any time.
UNDATED = (1980, 1, 1, 0, 0, 0)
# Unix, an ordinary file, rw-r--r--.
UNIX, ORDINARY = 3, 0o100644 << 16
# Not `cli726`: beside a script a folder of that name would stand in for the installed package.
LIBRARY = "library"


@dataclass(frozen=True)
class Package:
    """What was packed.

    Attributes:
        size: Bytes of the zip.
        files: Names in it, in order.
    """

    output: Path
    size: int
    files: tuple[str, ...]


def package(output: Path) -> Package:
    """Write the zip, atomically; the same code gives the same bytes.

    Raises:
        RequestError: if `output` is a folder or doesn't end in .zip.
    """
    check_output(output, ".zip")
    files = {name: source.text for name, source in sorted(contents())}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, UNDATED)
            entry.create_system, entry.external_attr, entry.compress_type = UNIX, ORDINARY, zipfile.ZIP_DEFLATED
            archive.writestr(entry, text.encode())
    content = buffer.getvalue()
    replace_file(output, content)
    return Package(output, len(content), tuple(files))


def contents() -> list[tuple[str, Source]]:
    """Every file under its name in the zip."""
    own = [(f"P{number}/{source.path}", source) for number in PROBLEMS for source in scripts(number)]
    used = [(f"P{number}/{LIBRARY}/{source.path}", source) for number in PROBLEMS for source in library(number)]
    return own + used
