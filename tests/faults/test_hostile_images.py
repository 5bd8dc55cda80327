"""Image files that are bombs, torn, or something else: named, left out, never expanded, never run."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("small_network")]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def large_png(side: int) -> bytes:
    """A real grey PNG of `side` x `side` pixels, a few hundred kilobytes."""
    packer = zlib.compressobj(9)
    line = bytes(side + 1)
    body = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(file, format, **options)
    return file.getvalue()


def text_bomb() -> bytes:
    """A PNG with a text of 100 MB, compressed."""
    whole = encoded("PNG")
    return whole[:33] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**8), 9)) + whole[33:]


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(canary) (w) file closefile\nshowpage\n%%EOF\n"
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
BROKEN: dict[str, Callable[[], bytes]] = {
    "bomb.png": lambda: large_png(20_000),
    "text.png": text_bomb,
    "torn.jpg": lambda: encoded("JPEG")[:-700],
    "torn.png": lambda: encoded("PNG")[:-700],
    "eps.png": lambda: EPS,
    "svg.png": lambda: SVG,
    "empty.png": lambda: b"",
    "script.png": lambda: b"#!/bin/sh\ntouch canary\n",
    "zeros.bmp": lambda: bytes(1000),
    "declared.bmp": lambda: b"BM" + struct.pack("<IHHIIiiHH", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24) + bytes(24),
    "declared.pgm": lambda: b"P5 2000000000 2000000000 255\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    for name, make in BROKEN.items():
        (folder / name).write_bytes(make())
    assert (folder / "bomb.png").stat().st_size < 2**20
    return folder


def test_broken_images_are_left_out_counted_and_named(
    tmp_path: Path, unadorned: None, cmpt726: Callable[..., Any], pictures: Path, weights: Path, broken: Path,
    growth: Any,
) -> None:  # fmt: skip
    folder = tmp_path / "data"
    plan = ("finetune", "--dataset", f"folder:{folder}", "--weights", weights, "--epochs", 1, "--threads", 1)
    for path in pictures.rglob("*.png"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).symlink_to(path)
    for path in broken.iterdir():
        (folder / "rows" / path.name).symlink_to(path)
    with growth(below=200 * 2**20):
        done = cmpt726(*plan, "--run-dir", "run", "--json")
    assert done.status == 0, done.stderr
    assert sorted(done.json["dataset"]["skipped"]) == sorted(f"rows/{name}" for name in BROKEN)
    assert f"skipped {len(BROKEN)} broken images" in done.stderr
    assert "Warning" not in done.stderr
    strict = cmpt726(*plan, "--strict", "--run-dir", "strict")
    assert strict.status == 2
    assert "broken image rows/" in strict.stderr
    one = cmpt726("predict", "run", folder / "rows", "--json")
    assert one.status == 2
    failed = {Path(item["image"]).name for item in json.loads(one.stdout)["predictions"] if item["problem"]}
    assert failed == set(BROKEN)
    assert not list(tmp_path.rglob("canary"))
