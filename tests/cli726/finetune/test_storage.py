"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.storage import read_tensors, replace_file, tensors_digest, write_tensors
from tests.cli726.finetune.synthetic import same_bits

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(7),
    "half": torch.randn(3, 2).bfloat16(),
    "last": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
    "empty": torch.zeros(0, 5),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    facts = {"name": "ä", "nested": {"x": [1, 2.5, None]}}
    write_tensors(tmp_path / "deep" / "t.safetensors", TENSORS, facts)
    tensors, read = read_tensors(tmp_path / "deep" / "t.safetensors")
    assert same_bits(tensors, TENSORS)
    assert read == facts
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["t.safetensors"]


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", [(os, "fsync"), (os, "write"), (Path, "replace")], ids=str)
def test_the_predecessor_survives_a_write_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"before")
    monkeypatch.setattr(*where, no_space)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"after, and longer")
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_content_and_name_are_synced_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            calls.append(name)
            return function(*args)

        return noted

    monkeypatch.setattr(os, "fsync", noting("sync", os.fsync))
    monkeypatch.setattr(Path, "replace", noting("rename", Path.replace))
    replace_file(tmp_path / "file", b"x")
    assert calls == ["sync", "rename", "sync"]


@pytest.mark.parametrize("keep", [0, 7, 8, 40, -1])
def test_a_cut_file_is_not_trusted(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UntrustedDataError, match="not a whole safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize("facts", ["[1]", "3", "null", "{", "[" * 100_000])
def test_facts_that_are_no_object_are_not_trusted(tmp_path: Path, facts: str) -> None:
    header = json.dumps({"__metadata__": {"cmpt726": facts}}).encode()
    path = tmp_path / "t.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UntrustedDataError):
        read_tensors(path)


def test_a_file_of_another_program_has_no_facts(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "t.safetensors", {"format": "pt"})
    assert read_tensors(tmp_path / "t.safetensors")[1] == {}
    with pytest.raises(RequestError, match="exists"):
        read_tensors(tmp_path / "nowhere.safetensors")


def test_the_digest_sees_names_types_shapes_and_bits_but_not_order_or_layout() -> None:
    digest = tensors_digest(TENSORS)
    assert tensors_digest(dict(reversed(TENSORS.items()))) == digest
    assert tensors_digest({**TENSORS, "last": TENSORS["last"].contiguous()}) == digest
    others = [
        {**TENSORS, "b": torch.tensor(8)},
        {**TENSORS, "a": TENSORS["a"].reshape(3, 2)},
        {**TENSORS, "a": TENSORS["a"].to(torch.int32).view(torch.float32)},
        {**TENSORS, "half": TENSORS["half"].view(torch.int16)},
        {("c" if name == "b" else name): tensor for name, tensor in TENSORS.items()},
    ]
    assert len({digest, *map(tensors_digest, others)}) == 6
