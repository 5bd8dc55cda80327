"""Servers and archives that mean harm, or are broken: nothing unchecked is kept, nothing lands outside its folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli726.errors import EnvironmentFailure, UntrustedDataError
from cli726.finetune.data import downloads
from cli726.finetune.data.downloads import unpack
from cli726.finetune.data.names import CIFAR
from cli726.reporting import Silent
from tests.harness import FULL

pytestmark = pytest.mark.faults


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.devmajor = kind, target, len(content), 1
    return info, content


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


GOOD = member("things/batch", content=b"1234")
REFUSED = {
    "up": member("../escaped", content=b"x"),
    "up from within": member("things/../../escaped", content=b"x"),
    "symbolic link": member("things/link", tarfile.SYMTYPE, "../../escaped"),
    "symbolic link within": member("things/link", tarfile.SYMTYPE, "batch"),
    "hard link": member("things/link", tarfile.LNKTYPE, "../../escaped"),
    "absolute link": member("things/link", tarfile.SYMTYPE, "/etc/passwd"),
    "character device": member("things/device", tarfile.CHRTYPE),
    "block device": member("things/device", tarfile.BLKTYPE),
    "fifo": member("things/fifo", tarfile.FIFOTYPE),
    "unknown": member("things/what", b"Z"),
    "cut": GOOD,
    "something else": GOOD,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_archives_that_reach_outside_or_are_no_such_thing_are_refused_whole(tmp_path: Path, kind: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = packed(inner / "things.tar.gz", GOOD, REFUSED[kind])
    if kind == "cut":
        archive.write_bytes(archive.read_bytes()[:60])
    folder = "others" if kind == "something else" else "things"
    said = "must hold a folder others" if kind == "something else" else "unpacked safely"
    with pytest.raises(UntrustedDataError, match=said) as refusal:
        unpack(archive, inner / folder, folder)
    assert refusal.value.status == 3
    assert list(tmp_path.rglob("*")) == [inner, archive]


def test_absolute_names_land_nowhere(tmp_path: Path) -> None:
    target = tmp_path / "escaped"
    archive = packed(tmp_path / "things.tar.gz", GOOD, member(str(target), content=b"x"))
    unpack(archive, tmp_path / "things", "things")
    assert not target.exists()
    assert [path.name for path in (tmp_path / "things").rglob("*")] == ["batch"]


def bomb(path: Path, header: bytes, size: int) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header)
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    return path


@pytest.mark.parametrize("kind", ["file", "long name", "trailing zeros"])
def test_bombs_are_refused_before_they_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, growth: Any, kind: str
) -> None:
    limit = downloads.MOST_UNPACKED if FULL else 2**24
    monkeypatch.setattr(downloads.BoundedGzip, "left", limit)
    info = tarfile.TarInfo("things/batch" if kind == "file" else "././@LongLink")
    info.size, info.type = 10 * limit, tarfile.REGTYPE if kind == "file" else tarfile.GNUTYPE_LONGNAME
    header = b"" if kind == "trailing zeros" else info.tobuf(tarfile.GNU_FORMAT)
    archive = bomb(tmp_path / "things.tar.gz", header, 2 * limit)
    assert archive.stat().st_size < limit / 100
    with growth(below=3 * limit + 2**26), pytest.raises(UntrustedDataError) as refusal:
        unpack(archive, tmp_path / "things", "things")
    assert refusal.value.status == 3
    assert list(tmp_path.iterdir()) == [archive]


class Answers(BaseHTTPRequestHandler):
    """A server that does what the path says."""

    content = b""

    def do_GET(self) -> None:
        act = self.path.split("/")[1]
        content = self.content
        if act == "error":
            self.send_error(500)
            return
        if act in ("redirect", "away"):
            self.send_response(302)
            here = f"http://127.0.0.1:{self.server.server_address[1]}/good/things.tar.gz"
            self.send_header("Location", here if act == "redirect" else "//127.0.0.1:1/things.tar.gz")
            self.end_headers()
            return
        self.send_response(200)
        if act != "unmeasured":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(
            {"truncated": content[:-50], "unmeasured": content[:-50], "lying": content[::-1]}.get(act, content)
        )

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    Answers.content = packed(tmp_path / "offered.tar.gz", GOOD).read_bytes()
    (tmp_path / "offered.tar.gz").unlink()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


ACTS = {"truncated": 4, "unmeasured": 3, "lying": 3, "error": 4, "redirect": 3, "away": 3, "good": 0}


@pytest.mark.parametrize("act", ACTS)
def test_what_a_server_sends_is_checked_before_it_is_kept(
    tmp_path: Path, cmpt726: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, server: str, act: str
) -> None:
    digest = hashlib.sha256(Answers.content).hexdigest()
    entry = replace(CIFAR["cifar10"], url=f"{server}/{act}/things.tar.gz", sha256=digest, folder="things")
    monkeypatch.setitem(CIFAR, "cifar10", entry)
    done = cmpt726("data", "get", "cifar10", "--data-dir", "data")
    assert done.status == ACTS[act], done.stderr
    assert "Traceback" not in done.stderr
    left = [path.name for path in (tmp_path / "data").iterdir()]
    assert left == (["things"] if act == "good" else [])
    if act == "good":
        assert (tmp_path / "data" / "things" / "batch").read_bytes() == b"1234"


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("typed", "kind", "host", "place"),
    [
        ("chenyaofo", "resnet20", "PUBLIC_WEIGHTS", "data/weights"),
        ("resnet18", "resnet18", "TORCHVISION_WEIGHTS", "torch/hub/checkpoints"),
    ],
)
def test_weights_whose_digest_is_in_their_name_are_checked_too(
    tmp_path: Path, cmpt726: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, server: str, act: str, typed: str,
    kind: str, host: str, place: str,
) -> None:  # fmt: skip
    """Every time, also those that were there before."""
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(downloads, host, f"{server}/{act}/")
    name = f"net-{hashlib.sha256(Answers.content).hexdigest()[:8]}.pt"
    monkeypatch.setitem(downloads.PUBLIC_FILES, kind, name)
    done = cmpt726("data", "get", typed)
    assert done.status == ACTS[act], done.stderr
    left = [path.name for path in (tmp_path / place).iterdir()]
    assert left == ([name] if act == "good" else [])
    if act == "good":
        (tmp_path / place / name).write_bytes(b"tampered")
        for status in (3, 0):
            done = cmpt726("data", "get", typed)
            assert (done.status, "it is removed" in done.stderr) == (status, bool(status))


def test_nobody_listening_is_a_failure_of_the_environment_told_without_its_layers(tmp_path: Path) -> None:
    for host in ("http://127.0.0.1:1", "https://nowhere.invalid"):
        with pytest.raises(EnvironmentFailure) as caught:
            downloads.retrieve(f"{host}/file.tar.gz", None, tmp_path, Silent())
        message = str(caught.value)
        assert message.startswith(f"{host}/file.tar.gz could not be fetched (")
        assert message.endswith(f"); check the network, or fetch it by hand into {tmp_path}")
        assert "Pool(" not in message
