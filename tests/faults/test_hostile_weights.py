"""Weights that a stranger made: no code of theirs runs, no claim of theirs takes memory."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from cli726.errors import Cmpt726Error
from cli726.finetune.data import downloads
from cli726.finetune.folder import read_checkpoint, write_checkpoint
from cli726.finetune.network import weights
from cli726.finetune.network.resnet import Network
from cli726.finetune.network.weights import load_weights
from cli726.finetune.storage import read_tensors
from cli726.finetune.training import Progress
from tests.cli726.finetune.conftest import SMALL, shrunk
from tests.cli726.finetune.synthetic import lively_backbone, same_bits

pytestmark = pytest.mark.faults
OURS = dict(lively_backbone().state_dict())


class Payload:
    """Touches a file when it is unpickled by somebody careless."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.canary), "w"))


def torchs_own(canary: Path, content: Any = None) -> bytes:
    file = io.BytesIO()
    torch.save({**OURS, "extra": Payload(canary)} if content is None else content, file)
    return file.getvalue()


def plain_pickle(canary: Path) -> bytes:
    return pickle.dumps(Payload(canary))


def legacy(canary: Path) -> bytes:
    """As torch wrote before its files were archives."""
    file = io.BytesIO()
    torch.save({"extra": Payload(canary)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that the payload would make; that it can is tried first."""
    path = tmp_path / "canary"
    pickle.loads(plain_pickle(path)).close()
    assert path.exists()
    path.unlink()
    return path


@pytest.mark.parametrize("attack", [plain_pickle, torchs_own, legacy])
@pytest.mark.parametrize("command", ["finetune --dataset digits --weights bad.pt", "predict bad bad/x.png"])
def test_pickles_that_name_code_are_status_3(
    tmp_path: Path, cmpt726: Callable[..., Any], canary: Path, attack: Callable[[Path], bytes], command: str
) -> None:
    (tmp_path / "bad.pt").write_bytes(attack(canary))
    (tmp_path / "bad").mkdir()
    for name in ("best.safetensors", "last.safetensors", "x.png"):
        (tmp_path / "bad" / name).write_bytes(attack(canary))
    digest = hashlib.sha256(attack(canary)).hexdigest()
    (tmp_path / "bad" / "model.json").write_text(json.dumps({"sha256": digest}))
    done = cmpt726(*command.split())
    assert done.status == 3, done.stderr
    assert "weights_only" not in done.stderr, "torch's advice is to load it without safeguards"
    assert not canary.exists()
    assert list(tmp_path.glob("runs/*")) == []


@pytest.mark.parametrize(
    ("attack", "known"), [(plain_pickle, False), (torchs_own, True)], ids=["another digest", "the digest in its name"]
)
def test_a_download_that_was_there_before_is_status_3(
    tmp_path: Path, cmpt726: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, canary: Path,
    attack: Callable[[Path], bytes], known: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("CMPT726_DATA_DIR", str(tmp_path / "data"))
    content = attack(canary)
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pt" if known else downloads.PUBLIC_FILES["resnet20"]
    monkeypatch.setitem(downloads.PUBLIC_FILES, "resnet20", name)
    (tmp_path / "data" / "weights").mkdir(parents=True)
    (tmp_path / "data" / "weights" / name).write_bytes(content)
    done = cmpt726("finetune", "--dataset", "digits", "--weights", "chenyaofo")
    assert done.status == 3, done.stderr
    assert not canary.exists()


def test_a_cifar_that_was_there_before_is_not_unpickled(
    tmp_path: Path, cmpt726: Callable[..., Any], canary: Path
) -> None:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(plain_pickle(canary))
    done = cmpt726("finetune", "--dataset", "cifar10", "--weights", "random")
    assert done.status in (2, 3), done.stderr
    assert not canary.exists()


def header(**entries: Any) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def entry(shape: list[int], start: int = 0, end: int | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, 4 * math.prod(shape) if end is None else end]}


LIES = {
    "huge": header(x=entry([2**40])),
    "huge over little": header(x=entry([2**40], 0, 16)) + bytes(16),
    "overflowing": header(x=entry([2**62, 2**62], 0, 16)) + bytes(16),
    "huge and empty": header(x=entry([2**62, 0, 2**62], 0, 0)),
    "huge beside empty": header(x=entry([0, 2**63 - 1], 0, 0)),
    "negative": header(x=entry([-1], 0, 4)) + bytes(4),
    "many dimensions": header(x=entry([1] * 5000, 0, 4)) + bytes(4),
    "overlapping": header(x=entry([4]), y=entry([4], 8, 24)) + bytes(24),
    "holes": header(x=entry([1]), y=entry([1], 100, 104)) + bytes(104),
    "backwards": header(x=entry([1], 8, 4)) + bytes(8),
    "another type": header(x=entry([1], 0, 4, "Q8")) + bytes(4),
    "no object": header(x=[]),
    "facts of another kind": header(__metadata__={"cmpt726": 3}, x=entry([1])) + bytes(4),
    "a header of terabytes": (2**43).to_bytes(8, "little") + b"{}",
    "a header of most": (2**64 - 1).to_bytes(8, "little") + b"{}",
    "deep": (10**6).to_bytes(8, "little") + b"[" * 10**6,
    "duplicate names": b"\x42" + bytes(7) + b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{}}' + bytes(9),
}


# Tensors that take no room break no rule of the format; that they are no network's is said by whoever reads on.
RULES_KEPT = ("huge and empty", "huge beside empty", "facts of another kind", "many dimensions")


@pytest.mark.parametrize("lie", LIES)
def test_safetensors_that_lie_are_refused_without_taking_memory(tmp_path: Path, lie: str, growth: Any) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(LIES[lie])
    readers = {"tensors": read_tensors, "checkpoint": read_checkpoint, "weights": lambda p: load_weights(str(p))}
    for name, read in readers.items():
        with growth(below=100 * 2**20):
            status = status_after(read, path)
        assert status in (2, 3) or (name == "tensors" and lie in RULES_KEPT)


def status_after(read: Callable[[Path], Any], path: Path) -> int:
    try:
        read(path)
    except Cmpt726Error as error:
        return error.status
    return 0


KINDS = [
    torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn,
    torch.float8_e5m2,
]  # fmt: skip


@pytest.mark.parametrize("dtype", KINDS, ids=str)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_tensors_of_every_type_are_converted_or_refused(tmp_path: Path, dtype: torch.dtype, ending: str) -> None:
    state = {name: tensor.to(dtype) if tensor.dtype == torch.float32 else tensor for name, tensor in OURS.items()}
    path = tmp_path / f"w.{ending}"
    try:
        path.write_bytes(save(state) if ending == "safetensors" else torchs_own(path, state))
    except (KeyError, RuntimeError):
        pytest.skip("can't be written so")
    # float16 and smaller can't hold every number.
    refusable = (torch.float16, torch.float8_e5m2, torch.float8_e4m3fn)
    status = status_after(lambda p: load_weights(str(p)), path)
    assert status in ((0, 2, 3) if dtype in refusable else (0,))


def test_a_zip_that_swells_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, growth: Any) -> None:
    monkeypatch.setattr(weights, "LARGEST", 2**24)
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("archive/data.pkl", b"\0" * (2**24 + 1))
    with growth(below=2**20), pytest.raises(Cmpt726Error, match="unpack into more") as refusal:
        load_weights(str(path))
    assert refusal.value.status == 3


def unharmed(path: Path, network: Network) -> bool:
    tensors = {name.removeprefix("network."): tensor for name, tensor in read_tensors(path)[0].items()}
    return read_checkpoint(path)[0] == Progress(3) and same_bits(tensors, network.state_dict())


def test_every_thousandth_byte_flipped_in_a_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with shrunk():
        network = Network(lively_backbone(), torch.nn.Linear(SMALL[-1], 3))
    write_checkpoint(path, network, None, Progress(3), {})
    whole = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(whole[:8], "little")
    for offset in [*range(0, start, 50), *range(start, len(whole), 1000), len(whole) - 1]:
        whole[offset] ^= 0x10
        path.write_bytes(whole)
        # A flip in the digest's own name leaves only what is right.
        assert status_after(read_checkpoint, path) == 3 or unharmed(path, network), offset
        whole[offset] ^= 0x10
    path.write_bytes(whole)
    assert read_checkpoint(path)[0] == Progress(3)


@pytest.mark.skipif(os.name != "posix", reason="needs FIFOs")
def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path) -> None:
    for ending in ("pt", "safetensors"):
        os.mkfifo(tmp_path / f"w.{ending}")
        with pytest.raises(Cmpt726Error):
            load_weights(str(tmp_path / f"w.{ending}"))
