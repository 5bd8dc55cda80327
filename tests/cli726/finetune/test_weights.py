"""Weights in the layouts of the world, and files that are not what they say."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from cli726.errors import Cmpt726Error, RequestError, UntrustedDataError
from cli726.finetune.backbones import BACKBONES, DEPTHS
from cli726.finetune.network.layouts import from_state_dict
from cli726.finetune.network.resnet import Network, Normalization
from cli726.finetune.network.weights import (
    COURSE_NORMALIZATION,
    find_tensors,
    load_weights,
    save_weights,
)
from cli726.finetune.storage import read_tensors, write_tensors
from tests.cli726.finetune.conftest import NORMALIZATION
from tests.cli726.finetune.synthetic import Listener, development_data, lively_backbone, same_bits

CIFAR100_NORMALIZATION = Normalization((0.507, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
OURS = dict(lively_backbone().state_dict())
Layout = Callable[[Mapping[str, Tensor]], dict[str, Any]]


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


def behind(prefix: str, layout: Layout = chenyaofo) -> Layout:
    return lambda ours: {prefix + name: tensor for name, tensor in layout(ours).items()}


def heads(*names: str) -> Layout:
    """Another classifier, of several layers or another name."""
    return lambda ours: (
        {name.removeprefix("stem."): t for name, t in ours.items()}
        | {f"{name}.{part}": torch.zeros(3) for name in names for part in ("weight", "bias")}
    )


LAYOUTS: dict[str, Layout] = {
    "ours": dict,
    "chenyaofo": chenyaofo,
    "course": course,
    "parallel": behind("module."),
    "parallel course": behind("module.", course),
    "compiled": behind("_orig_mod."),
    "all at once": behind("module._orig_mod.model.net."),
    "a run": lambda ours: behind("backbone.", dict)(ours) | {"head.1.weight": torch.zeros(3, 64)},
    "another's shortcuts": lambda ours: {n.replace("downsample", "shortcut"): t for n, t in chenyaofo(ours).items()},
    "old torch": lambda ours: {n: t for n, t in chenyaofo(ours).items() if not n.endswith("num_batches_tracked")},
    "wrapped": lambda ours: {"epoch": 7, "state_dict": chenyaofo(ours)},
    "lightning": lambda ours: {
        "state_dict": behind("model.")(ours) | {"criterion.weight": torch.ones(10)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    },
    "whatever it is called": lambda ours: {"net": dict(ours), "acc": 93.0},
    "numbers of NumPy": lambda ours: {"net": dict(ours), "acc": np.float64(93), "args": Namespace(lr=np.float32(0.1))},
    "averaged": lambda ours: {"n_averaged": torch.tensor(1), **behind("module.")(ours)},
    "three layers": heads("fc1", "fc2", "fc3"),
    "linear": heads("linear"),
    "classifier": heads("classifier.0", "classifier.3"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_backbone(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "model_best.pth.tar"
    torch.save(LAYOUTS[layout](OURS), path)
    listener = Listener()
    weights = load_weights(str(path), reporter=listener)
    assert (weights.name, weights.kind.depth, weights.pretrained) == (path.name, 20, True)
    expected = OURS | (
        {n: torch.zeros_like(t) for n, t in OURS.items() if "num_batches" in n} if layout == "old torch" else {}
    )
    assert same_bits(dict(weights.backbone), expected)
    built = weights.build()
    assert not built.training
    assert same_bits(dict(built.state_dict()), expected)
    others = {"ours", "compiled", "whatever it is called", "numbers of NumPy"}
    assert len(listener.lines) == (layout not in others - {"compiled"})
    for line in listener.lines:
        assert line.startswith("model_best.pth.tar: left out what is not the backbone's: ")


@settings(max_examples=25)
@given(
    prefixes=st.lists(st.sampled_from(["module", "_orig_mod", "model", "net", "encoder", "0"]), max_size=4),
    wrappers=st.lists(st.sampled_from(["state_dict", "model", "net", "ema", "checkpoint"]), max_size=2),
)
def test_any_prefixes_and_wrappers_come_off(prefixes: list[str], wrappers: list[str]) -> None:
    stored: Any = {"".join(f"{one}." for one in prefixes) + name: tensor for name, tensor in chenyaofo(OURS).items()}
    for wrapper in wrappers:
        stored = {wrapper: stored, "epoch": 3, "optimizer": {"state": {}, "lr": torch.tensor(0.1)}}
    _, backbone, left = from_state_dict(find_tensors(stored), "x")
    assert same_bits(backbone, OURS)
    assert [name.rpartition("fc.")[2] for name in left] == ["bias", "weight"]


@pytest.mark.parametrize("name", ["w", "w.bin", "w.pt", "w.ckpt"])
def test_a_file_is_judged_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    torch.save(dict(OURS), tmp_path / name)
    one = load_weights(str(tmp_path / name))
    save_file(OURS, tmp_path / name)
    assert one.digest == load_weights(str(tmp_path / name)).digest


class PlainShortcuts(nn.Module):
    """ResNet20 with He's option A, as akamaster/pytorch_resnet_cifar10 writes it, up to the average."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        inputs = 16
        for number, outputs in enumerate((16, 32, 64), 1):
            blocks = []
            for block in range(3):
                stride = 2 if number > 1 and block == 0 else 1
                conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
                conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
                parts = {"conv1": conv1, "bn1": nn.BatchNorm2d(outputs), "conv2": conv2, "bn2": nn.BatchNorm2d(outputs)}
                blocks.append(nn.ModuleDict(parts))
                inputs = outputs
            setattr(self, f"layer{number}", nn.ModuleList(blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        for layer in (self.layer1, self.layer2, self.layer3):
            for block in layer:
                shortcut = x
                if block["conv1"].stride != (1, 1):
                    planes = block["conv1"].out_channels
                    shortcut = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4))
                y = block["bn1"](block["conv1"](x)).relu()
                x = (block["bn2"](block["conv2"](y)) + shortcut).relu()
        return x.mean((2, 3))


def test_shortcuts_without_parameters_become_projections_that_do_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PlainShortcuts().train()
    for _ in range(3):
        network(torch.randn(16, 3, 32, 32))
    torch.save(
        {"state_dict": behind("module.", lambda _: network.state_dict())(OURS), "best_prec1": 91.0}, tmp_path / "a.th"
    )
    listener = Listener()
    weights = load_weights(str(tmp_path / "a.th"), reporter=listener)
    x = torch.randn(8, 3, 32, 32)
    torch.testing.assert_close(weights.build()(x), network.eval()(x), rtol=1e-5, atol=1e-6)
    assert listener.lines[0] == "a.th: shortcuts without parameters (option A) became projections that do the same"
    partly = {name: tensor for name, tensor in OURS.items() if "layer2.0.downsample" not in name}
    torch.save(partly, tmp_path / "partly.pt")
    with pytest.raises(RequestError, match=r"missing: layer2\.0\.downsample"):
        load_weights(str(tmp_path / "partly.pt"))


def test_two_networks_in_one_file_are_not_chosen_from(tmp_path: Path) -> None:
    torch.save({**behind("student.")(OURS), **behind("teacher.")(OURS)}, tmp_path / "w.pt")
    with pytest.raises(RequestError, match=r"one network; .* holds student\.\* and teacher\.\*"):
        load_weights(str(tmp_path / "w.pt"))


def test_normalisation_belongs_to_the_weights(tmp_path: Path, weights_file: Path) -> None:
    torch.save(course(OURS), tmp_path / "course.pth")
    torch.save(behind("module.", course)(OURS), tmp_path / "parallel.pth")
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
    for depth in DEPTHS:
        assert (
            Normalization(BACKBONES[f"resnet{depth}"].mean, BACKBONES[f"resnet{depth}"].std) == CIFAR100_NORMALIZATION
        )


@pytest.mark.parametrize("depth", [32, 44, 56])
def test_the_depth_is_read_off_the_names(tmp_path: Path, depth: int) -> None:
    save_file(chenyaofo(dict(lively_backbone(depth=depth).state_dict())), tmp_path / "deep.safetensors")
    assert load_weights(str(tmp_path / "deep.safetensors")).kind.depth == depth


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
    with pytest.raises(RequestError, match=r"missing: stem\.conv1\.weight; unexpected: .*features\.0\.weight"):
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


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_raises_one_of_our_errors_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(SMALL) - 1))
    cut = data.draw(st.integers(0, 12))
    path = tmp_path / "w.pt"
    path.write_bytes(SMALL[:place] + data.draw(st.binary(max_size=8)) + SMALL[place + cut :])
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
    assert (weights.name, weights.kind.depth, weights.trained_on) == ("w.safetensors", 32, "cifar100")
    assert weights.facts["seconds"] == 1.5
    assert same_bits(dict(weights.backbone), dict(network.backbone.state_dict()))
    tensors, stored = read_tensors(tmp_path / "w.safetensors")
    assert same_bits(tensors, dict(network.state_dict()))
    assert json.dumps(stored, sort_keys=True) == json.dumps(
        {"normalization": {"mean": [0.5, 0.4, 0.6], "std": [0.2, 0.3, 0.25]}, **facts}, sort_keys=True
    )


def test_the_bundled_weights_are_whole_and_say_where_they_come_from() -> None:
    weights = load_weights()
    assert weights.kind.depth == 20
    assert weights.trained_on == "cifar100"
    assert weights.facts["test"]["accuracy"] >= 0.66


def test_a_students_checkpoint_of_the_courses_script_is_read() -> None:
    path = development_data().parent / "weights" / "course-checkpoint.pth"
    if not path.is_file():
        pytest.skip(f"no checkpoint {path}")
    weights = load_weights(str(path))
    assert weights.normalization == COURSE_NORMALIZATION
    assert weights.kind.depth == 20
