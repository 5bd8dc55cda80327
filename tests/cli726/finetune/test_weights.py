"""Weights in the layouts of the world, and files that are not what they say."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from cli726.errors import Cmpt726Error, RequestError, UntrustedDataError
from cli726.finetune.folder.storage import read_tensors, write_tensors
from cli726.finetune.network.resnet import Network
from cli726.finetune.network.weights import CIFAR100_NORMALIZATION, COURSE_NORMALIZATION, load_weights, save_weights
from tests.cli726.finetune.conftest import NORMALIZATION
from tests.cli726.finetune.synthetic import development_data, lively_backbone, same_bits

OURS = dict(lively_backbone().state_dict())


def chenyaofo(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`conv1, bn1, layer1.0.conv1, ..., fc`."""
    return {name.removeprefix("stem."): t for name, t in ours.items()} | {
        "fc.weight": torch.zeros(100, 64), "fc.bias": torch.zeros(100),
    }  # fmt: skip


def course(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`backbone.N` of Sequential(conv1, bn1, relu, layer1, layer2, layer3, avgpool), and `fc`."""
    stages = {"stem.conv1": "0", "stem.bn1": "1", "layer1": "3", "layer2": "4", "layer3": "5"}
    renamed = {}
    for name, tensor in ours.items():
        stage = next(stage for stage in stages if name.startswith(stage + "."))
        renamed[f"backbone.{stages[stage]}{name.removeprefix(stage)}"] = tensor
    return renamed | {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}


def parallel(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": tensor for name, tensor in chenyaofo(ours).items()}


def parallel_course(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": tensor for name, tensor in course(ours).items()}


def a_run(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"backbone.{name}": tensor for name, tensor in ours.items()} | {"head.1.weight": torch.zeros(3, 64)}


def old_torch(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in chenyaofo(ours).items() if not name.endswith("num_batches_tracked")}


def wrapped(ours: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"epoch": 7, "state_dict": chenyaofo(ours)}


Layout = Callable[[Mapping[str, Tensor]], dict[str, Any]]


@pytest.mark.parametrize("layout", [dict, chenyaofo, course, parallel, parallel_course, a_run, old_torch, wrapped])
def test_every_layout_gives_the_same_backbone(tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "weights.pth"
    torch.save(layout(OURS), path)
    weights = load_weights(str(path))
    assert weights.depth == 20
    assert weights.pretrained
    expected = OURS | (
        {n: torch.zeros_like(t) for n, t in OURS.items() if "num_batches" in n} if layout is old_torch else {}
    )
    assert same_bits(dict(weights.backbone), expected)
    built = weights.build()
    assert not built.training
    assert same_bits(dict(built.state_dict()), expected)


def test_normalisation_belongs_to_the_weights(tmp_path: Path, weights_file: Path) -> None:
    torch.save(course(OURS), tmp_path / "course.pth")
    torch.save(parallel_course(OURS), tmp_path / "parallel.pth")
    torch.save(chenyaofo(OURS), tmp_path / "public.pth")
    assert load_weights(str(tmp_path / "course.pth")).normalization == COURSE_NORMALIZATION
    assert load_weights(str(tmp_path / "parallel.pth")).normalization == COURSE_NORMALIZATION
    assert load_weights(str(tmp_path / "public.pth")).normalization == CIFAR100_NORMALIZATION
    ours = load_weights(str(weights_file))
    assert ours.normalization == NORMALIZATION
    assert ours.trained_on == "noise"
    assert same_bits(dict(ours.backbone), OURS)


def test_constants_are_those_of_the_sources() -> None:
    assert COURSE_NORMALIZATION.mean == (0.4914, 0.4822, 0.4465)
    assert COURSE_NORMALIZATION.std == (0.2023, 0.1994, 0.2010)
    assert CIFAR100_NORMALIZATION.mean == (0.507, 0.4865, 0.4409)
    assert CIFAR100_NORMALIZATION.std == (0.2673, 0.2564, 0.2761)


@pytest.mark.parametrize("depth", [32, 44, 56])
def test_the_depth_is_read_off_the_names(tmp_path: Path, depth: int) -> None:
    save_file(chenyaofo(dict(lively_backbone(depth=depth).state_dict())), tmp_path / "deep.safetensors")
    assert load_weights(str(tmp_path / "deep.safetensors")).depth == depth


def test_the_digest_sees_every_tensor(tmp_path: Path) -> None:
    digests = set()
    for name in (None, "stem.conv1.weight", "layer3.2.bn2.running_var"):
        state = {key: tensor.clone() for key, tensor in OURS.items()}
        if name:
            state[name].view(-1)[0] += 1e-3
        torch.save(state, tmp_path / "w.pt")
        digests.add(load_weights(str(tmp_path / "w.pt")).digest)
    assert len(digests) == 3


def test_another_layout_is_refused_with_names(tmp_path: Path) -> None:
    state = chenyaofo(OURS)
    state["features.0.weight"] = state.pop("conv1.weight")
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(RequestError, match=r"missing: stem\.conv1\.weight; unexpected: features\.0\.weight"):
        load_weights(str(tmp_path / "w.pt"))
    torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(RequestError, match=r"missing: .* and \d+ more; unexpected: bias, weight"):
        load_weights(str(tmp_path / "linear.pt"))


def test_another_shape_is_refused_with_the_shape(tmp_path: Path) -> None:
    torch.save({**OURS, "stem.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "w.pt")
    with pytest.raises(RequestError, match=r"of another shape: stem\.conv1\.weight \(64, 3, 7, 7\)"):
        load_weights(str(tmp_path / "w.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_weights_that_are_no_numbers_are_not_trusted(tmp_path: Path, value: float, ending: str) -> None:
    state = {name: tensor.clone() for name, tensor in OURS.items()}
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    path = tmp_path / f"w.{ending}"
    if ending == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    with pytest.raises(UntrustedDataError, match="finite"):
        load_weights(str(path))


class Payload:
    """Runs a command when it is unpickled by somebody careless."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.canary}",))


def plain_pickle(canary: Path) -> bytes:
    return pickle.dumps({"conv1.weight": Payload(canary)})


def torchs_own(canary: Path) -> bytes:
    """A checkpoint as torch.save writes it, with the payload beside real tensors."""
    file = io.BytesIO()
    torch.save({**chenyaofo(OURS), "extra": Payload(canary)}, file)
    return file.getvalue()


def legacy(canary: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"extra": Payload(canary)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@pytest.mark.parametrize("attack", [plain_pickle, torchs_own, legacy])
@pytest.mark.parametrize("ending", ["pt", "pth", "safetensors"])
def test_code_in_a_file_is_never_run(tmp_path: Path, attack: Callable[[Path], bytes], ending: str) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / f"w.{ending}"
    path.write_bytes(attack(canary))
    with pytest.raises(UntrustedDataError) as caught:
        load_weights(str(path))
    assert caught.value.status == 3
    assert "weights_only" not in str(caught.value), "torch's advice is to load it without safeguards"
    if attack is torchs_own and ending != "safetensors":
        assert "names posix.system" in str(caught.value) or os.name != "posix"
    assert not canary.exists()
    pickle.loads(plain_pickle(canary))
    assert canary.exists(), "the payload must be able to do harm"


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\xff" * 64, (2**63).to_bytes(8, "little") + b"{}"],
)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_garbage_is_not_trusted(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"w.{ending}"
    path.write_bytes(content)
    with pytest.raises((UntrustedDataError, RequestError), match=r"w\."):
        load_weights(str(path))


@pytest.mark.parametrize("stored", [[1, 2], {"epoch": 3}, {0: torch.zeros(3)}, torch.zeros(3), {}, {"state_dict": {}}])
def test_a_file_of_something_else_is_refused(tmp_path: Path, stored: Any) -> None:
    torch.save(stored, tmp_path / "w.pt")
    with pytest.raises(RequestError, match=r"w\.pt"):
        load_weights(str(tmp_path / "w.pt"))


def zip_of(state: Mapping[str, Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(dict(state), file)
    return file.getvalue()


SMALL = zip_of({"conv1.weight": torch.ones(2), "bn1.bias": torch.ones(2)})


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_raises_one_of_our_errors_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(SMALL) - 1))
    cut = data.draw(st.integers(0, 12))
    path = tmp_path / "w.pt"
    path.write_bytes(SMALL[:place] + data.draw(st.binary(max_size=8)) + SMALL[place + cut :])
    with pytest.raises(Cmpt726Error):
        load_weights(str(path))


@pytest.mark.parametrize("replaced", ["data.pkl", "byteorder", "version"])
def test_a_damaged_member_raises_one_of_our_errors(tmp_path: Path, replaced: str) -> None:
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(io.BytesIO(SMALL)) as whole, zipfile.ZipFile(path, "w") as damaged:
        for member in whole.infolist():
            bad = member.filename.endswith(replaced)
            damaged.writestr(member.filename, b"\x80\x02c\nx\n." if bad else whole.read(member))
    with pytest.raises(Cmpt726Error):
        load_weights(str(path))


@pytest.mark.parametrize("name", ["", "nonsense", "weights.bin", "nowhere.pt", "nowhere.safetensors", "."])
def test_what_names_no_weights_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="got"):
        load_weights(name)


@pytest.mark.parametrize(
    "normalization",
    [3, {}, {"mean": [0.5] * 3}, {"mean": ["x"] * 3, "std": [1] * 3}, {"mean": [0.5], "std": [1]},
     {"mean": [0.5] * 3, "std": [0.25, 0.25, 0]}],
)  # fmt: skip
def test_facts_that_make_no_sense_are_not_trusted(tmp_path: Path, normalization: Any) -> None:
    write_tensors(tmp_path / "w.safetensors", OURS, {"normalization": normalization})
    with pytest.raises(UntrustedDataError, match="normali"):
        load_weights(str(tmp_path / "w.safetensors"))


def test_random_weights_follow_the_seed_and_touch_nobodys_numbers() -> None:
    before = torch.random.get_rng_state()
    one = load_weights("random", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.digest == load_weights("random", seed=1).digest
    assert one.digest != load_weights("random", seed=2).digest
    assert not one.pretrained
    assert one.trained_on is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network = Network(lively_backbone(3, depth=32), nn.Linear(64, 7))
    facts = {"data": {"name": "cifar100", "digest": "d"}, "seconds": 1.5}
    save_weights(tmp_path / "w.safetensors", network, NORMALIZATION, facts)
    weights = load_weights(str(tmp_path / "w.safetensors"))
    assert (weights.name, weights.depth, weights.trained_on) == ("w.safetensors", 32, "cifar100")
    assert weights.facts["seconds"] == 1.5
    assert same_bits(dict(weights.backbone), dict(network.backbone.state_dict()))
    tensors, stored = read_tensors(tmp_path / "w.safetensors")
    assert same_bits(tensors, dict(network.state_dict()))
    assert json.dumps(stored, sort_keys=True) == json.dumps(
        {"normalization": {"mean": [0.5, 0.4, 0.6], "std": [0.2, 0.3, 0.25]}, **facts}, sort_keys=True
    )


def test_the_bundled_weights_are_whole_and_say_where_they_come_from() -> None:
    from importlib.resources import files

    if not (files("cli726") / "assets" / "resnet20-cifar100.safetensors").is_file():
        pytest.skip("cli726/assets/resnet20-cifar100.safetensors is not there yet")
    weights = load_weights()
    assert weights.depth == 20
    assert weights.trained_on == "cifar100"
    assert weights.facts["test"]["accuracy"] >= 0.66


def test_a_students_checkpoint_of_the_courses_script_is_read() -> None:
    path = development_data().parent / "weights" / "course-checkpoint.pth"
    if not path.is_file():
        pytest.skip(f"no checkpoint {path}")
    weights = load_weights(str(path))
    assert weights.normalization == COURSE_NORMALIZATION
    assert weights.depth == 20
