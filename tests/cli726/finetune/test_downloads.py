"""Downloads are checked before they are believed; no test here has a network."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli726.errors import EnvironmentFailure, RequestError, UntrustedDataError
from cli726.finetune.backbones import RESNET20
from cli726.finetune.data import downloads
from cli726.finetune.data.datasets import fetch_dataset
from cli726.finetune.data.downloads import fetch_cifar, fetch_public_weights
from cli726.finetune.data.names import CIFAR
from cli726.reporting import Silent


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


GOOD = (tarfile.TarInfo("things/batch"), b"1234")


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the network would give: a path to write an archive to; the pinned digest is that of what lies there."""
    source = tmp_path / "source" / "things.tar.gz"
    source.parent.mkdir()
    digest = hashlib.sha256

    def retrieve(url: str, known_hash: str | None, fname: str, path: Path, downloader: Any) -> str:
        content = source.read_bytes()
        if known_hash is not None and digest(content).hexdigest() != known_hash:
            raise ValueError(f"SHA256 hash of downloaded file ({fname}) does not match the known hash")
        (Path(path) / fname).write_bytes(content)
        return str(Path(path) / fname)

    monkeypatch.setattr(downloads.pooch, "retrieve", retrieve)
    return source


def pin(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setitem(
        CIFAR, "cifar10", replace(CIFAR["cifar10"], url="https://x/things.tar.gz", sha256=sha256, folder="things")
    )


def test_an_archive_is_unpacked_and_removed(tmp_path: Path, offered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, tar(offered, GOOD))
    data = tmp_path / "data"
    assert fetch_cifar("cifar10", data, Silent()) == data / "things"
    assert (data / "things" / "batch").read_bytes() == b"1234"
    assert [p.name for p in data.iterdir()] == ["things"]
    offered.unlink()
    assert fetch_cifar("cifar10", data, Silent()) == data / "things", "what is there is not fetched again"


def test_an_archive_of_something_else_is_refused(
    tmp_path: Path, offered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, tar(offered, (tarfile.TarInfo("other/batch"), b"1")))
    with pytest.raises(UntrustedDataError, match="must hold a folder things"):
        fetch_cifar("cifar10", tmp_path / "data", Silent())


def test_a_cut_archive_is_refused(tmp_path: Path, offered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered.write_bytes(tar(offered, GOOD).read_bytes()[:60])
    pin(monkeypatch, offered)
    with pytest.raises(UntrustedDataError):
        fetch_cifar("cifar10", tmp_path / "data", Silent())


def test_no_network_is_a_failure_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(downloads.pooch, "retrieve", offline)
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path))
    with pytest.raises(EnvironmentFailure, match="network"):
        fetch_cifar("cifar10", tmp_path, Silent())
    with pytest.raises(EnvironmentFailure, match="network"):
        fetch_public_weights(RESNET20, Silent())


def test_public_weights_are_checked_every_time(tmp_path: Path, offered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path))
    offered.write_bytes(b"weights")
    stated = hashlib.sha256(b"weights").hexdigest()[:8]
    monkeypatch.setitem(downloads.PUBLIC_FILES, "resnet20", f"net-{stated}.pt")
    path = fetch_public_weights(RESNET20, Silent())
    assert path.read_bytes() == b"weights"
    path.write_bytes(b"tampered")
    with pytest.raises(UntrustedDataError, match="removed"):
        fetch_public_weights(RESNET20, Silent())
    assert not path.exists()
    assert fetch_public_weights(RESNET20, Silent()).read_bytes() == b"weights"


def test_pinned_digests_are_sha256_and_sources_are_https() -> None:
    for archive in CIFAR.values():
        assert archive.url.startswith("https://")
        assert len(bytes.fromhex(archive.sha256)) == 32
    assert downloads.PUBLIC_WEIGHTS.startswith("https://")


@pytest.mark.parametrize("name", ["nonsense", "StanfordCars", "folder:x"])
def test_what_cannot_be_fetched_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError):
        fetch_dataset(name, str(tmp_path), Silent())


def test_a_failure_of_the_network_is_told_without_its_layers(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        downloads.retrieve("https://nowhere.invalid/file.tar.gz", None, tmp_path, Silent())
    message = str(caught.value)
    assert message.startswith("https://nowhere.invalid/file.tar.gz could not be fetched (")
    assert "Pool(" not in message
    assert message.endswith(f"or fetch it by hand into {tmp_path}")
