"""Training from scratch: the weights file that comes of it, and going on after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli726.errors import ComputationError, EnvironmentFailure, RequestError, UntrustedDataError
from cli726.finetune.config import PretrainConfig
from cli726.finetune.data.images import Dataset, Images, make_splits
from cli726.finetune.network.resnet import Network, build_resnet
from cli726.finetune.network.weights import load_weights
from cli726.finetune.pretrain import (
    Pretrained,
    Pretraining,
    channel_statistics,
    distillation,
    pretrain,
    training_images,
)
from cli726.finetune.storage import read_tensors, write_tensors
from cli726.reporting import Silent
from tests.cli726.finetune.synthetic import CLASSES, pictures, same_bits, small_dataset, stopped

CONFIG: dict[str, Any] = {"epochs": 3, "batch_size": 16, "lr": 0.02, "precision": "fp32"}
DATA = small_dataset(48)
pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_network: None) -> Pretrained:
    torch.set_num_threads(1)
    return pretrain(DATA, PretrainConfig(**CONFIG), tmp_path_factory.mktemp("new") / "deep" / "weights.safetensors")


def test_it_writes_weights_that_finetuning_takes(trained: Pretrained) -> None:
    weights, facts = load_weights(str(trained.output)), read_tensors(trained.output)[1]
    assert (weights.kind.depth, weights.trained_on) == (20, "shapes")
    assert weights.normalization == channel_statistics(training_images(DATA))
    assert facts["recipe"] == PretrainConfig(**CONFIG).to_json()
    assert facts["data"]["digest"] == DATA.digest
    assert facts["classes"] == list(CLASSES)
    assert facts["test"] == {**trained.test.to_json(), "interval": list(trained.test.interval)}
    assert trained.parameters == sum(p.numel() for p in build_resnet(20).parameters()) + 8 * 3 + 3
    assert [p.name for p in trained.output.parent.iterdir()] == [trained.output.name], "no checkpoint when all is done"


def scores_of_test_images(path: Path) -> torch.Tensor:
    """The scores of the test images by the network that a file holds, in plain torch."""
    tensors, facts = read_tensors(path)
    network = Network(build_resnet(20), torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(8, 3)))
    network.load_state_dict({name: t for name, t in tensors.items() if name not in {"head.0.mean", "head.0.scale"}})
    mean, std = (torch.tensor(facts["normalization"][part]).view(1, 3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        pixels = torch.from_numpy(DATA.images("test").pixels)
        scores: torch.Tensor = network.eval()((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
    return scores


def test_its_test_result_is_what_the_file_says_of_the_test_images(trained: Pretrained) -> None:
    scores, test = scores_of_test_images(trained.output), DATA.images("test")
    assert (scores.argmax(1).numpy() == test.labels).sum() == trained.test.correct
    expected = torch.nn.functional.cross_entropy(scores, torch.from_numpy(test.labels)).item()
    assert trained.test.loss == pytest.approx(expected, rel=1e-3)
    assert trained.test.images == len(test.labels)


def test_everything_that_is_not_tested_on_is_trained_on(trained: Pretrained) -> None:
    images = training_images(DATA)
    assert len(images) == trained.train_images == 48 - len(DATA.splits["test"])
    assert not {i.tobytes() for i in images.pixels} & {i.tobytes() for i in DATA.images("test").pixels}
    sizes = {"train": 12, "validation": 6, "test": 9}  # a validation split of their own is left out
    pools = {name: Images.of(*pictures(count, count)) for name, count in sizes.items()}
    assert len(training_images(Dataset("shapes", CLASSES, pools, make_splits(pools, 0.2, 0.2, CLASSES)))) == 12


def test_device_and_threads_are_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1.0 took both and trained on all threads of the processor."""
    with pytest.raises(EnvironmentFailure, match="--device cuda:99"):
        pretrain(DATA, PretrainConfig(**CONFIG, device="cuda:99"), tmp_path / "weights.safetensors")
    assert not list(tmp_path.iterdir())
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    Pretraining(DATA, PretrainConfig(**CONFIG, threads=3, device="cpu"), tmp_path / "x", Silent())
    assert asked == [3]


@pytest.mark.parametrize("after", [1, 2])
def test_a_stopped_training_ends_as_an_unstopped_one(tmp_path: Path, trained: Pretrained, after: int) -> None:
    output = tmp_path / "weights.safetensors"
    with stopped(after, keeper=Pretraining, by="keep"):
        pretrain(DATA, PretrainConfig(**CONFIG), output)
    assert not output.exists()
    again = pretrain(DATA, PretrainConfig(**CONFIG), output, resume=True)
    assert same_bits(read_tensors(output)[0], read_tensors(trained.output)[0])
    assert (again.train_accuracy, again.test) == (trained.train_accuracy, trained.test)


def test_only_the_same_recipe_on_the_same_data_is_gone_on_with(tmp_path: Path) -> None:
    output = tmp_path / "weights.safetensors"
    with stopped(1, keeper=Pretraining, by="keep"):
        pretrain(DATA, PretrainConfig(**CONFIG), output)
    with pytest.raises(RequestError, match="recipe"):
        pretrain(DATA, PretrainConfig(**{**CONFIG, "lr": 0.03}), output, resume=True)
    with pytest.raises(RequestError, match="data"):
        pretrain(small_dataset(48, seed=1), PretrainConfig(**CONFIG), output, resume=True)


def test_statistics_are_numpys_to_four_digits_and_never_zero() -> None:
    pixels, labels = pictures(20)
    pixels[..., 2] = 0
    found, shares = channel_statistics(Images.of(pixels, labels)), pixels / 255
    np.testing.assert_allclose(found.mean, shares.mean((0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(found.std[:2], shares.std((0, 1, 2))[:2], atol=5.1e-5)
    assert all(round(value, 4) == value for value in (*found.mean, *found.std))
    assert torch.isfinite(found(torch.from_numpy(pixels))).all()


def test_a_training_that_diverges_leaves_nothing(tmp_path: Path) -> None:
    config = PretrainConfig(**{**CONFIG, "lr": 1e38, "schedule": "constant", "warmup": 0.0})
    with pytest.raises(ComputationError):
        pretrain(DATA, config, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def taught(output: Path, teacher: Path, **more: Any) -> Pretrained:
    return pretrain(DATA, PretrainConfig(**{**CONFIG, "seed": 1}), output, teacher=teacher, **more)


def test_distillation_is_hintons_and_no_distance_from_the_teacher_itself() -> None:
    scores, wanted = (torch.from_numpy(np.random.default_rng(seed).normal(0, 5, (6, 4))) for seed in (0, 1))
    p, q = (np.exp(each.numpy() / 4) / np.exp(each.numpy() / 4).sum(1, keepdims=True) for each in (wanted, scores))
    assert distillation(scores, wanted).item() == pytest.approx(16 * (p * np.log(p / q)).sum() / 6, rel=1e-9)
    assert distillation(wanted, wanted + 3).item() == pytest.approx(0, abs=1e-12)
    scores.requires_grad_()
    distillation(scores, wanted).backward()
    np.testing.assert_allclose(scores.grad, 4 * (q - p) / 6, rtol=1e-9)


def test_a_step_descends_a_tenth_of_the_labels_and_nine_of_the_teacher(trained: Pretrained, tmp_path: Path) -> None:
    run = Pretraining(DATA, PretrainConfig(**CONFIG), tmp_path / "x", Silent(), trained.output)
    test = DATA.images("test")
    inputs, labels = run.normalization(torch.from_numpy(test.pixels)), torch.from_numpy(test.labels)
    with torch.no_grad():
        scores = run.network.eval()(inputs)
    labelled = torch.nn.functional.cross_entropy(scores, labels, label_smoothing=0.1)
    expected = 0.1 * labelled + 0.9 * distillation(scores, scores_of_test_images(trained.output))
    assert run.loss(inputs, scores, labels, 0.1, None).item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_pupil_is_another_network_than_one_alone_and_names_its_teacher(trained: Pretrained, tmp_path: Path) -> None:
    pupil = taught(tmp_path / "pupil.safetensors", trained.output)
    alone = pretrain(DATA, PretrainConfig(**{**CONFIG, "seed": 1}), tmp_path / "alone.safetensors")
    assert pupil.facts["teacher"]["digest"] == load_weights(str(trained.output)).digest
    assert pupil.facts["teacher"]["depth"] == 20
    assert alone.facts["teacher"] is None
    assert ("teacher", "ResNet20") in pupil.document().tables[0].rows
    assert not same_bits(read_tensors(pupil.output)[0], read_tensors(alone.output)[0])


def test_a_stopped_pupil_goes_on_with_its_teacher_and_no_other(trained: Pretrained, tmp_path: Path) -> None:
    whole, output = taught(tmp_path / "whole.safetensors", trained.output), tmp_path / "pupil.safetensors"
    with stopped(1, keeper=Pretraining, by="keep"):
        taught(output, trained.output)
    for other in ({}, {"teacher": whole.output}):
        with pytest.raises(RequestError, match="teacher"):
            pretrain(DATA, PretrainConfig(**{**CONFIG, "seed": 1}), output, resume=True, **other)
    again = taught(output, trained.output, resume=True)
    assert same_bits(read_tensors(again.output)[0], read_tensors(whole.output)[0])


def test_only_a_file_of_the_same_images_teaches(trained: Pretrained, tmp_path: Path) -> None:
    tensors, facts = read_tensors(trained.output)
    write_tensors(tmp_path / "headless.safetensors", {n: t for n, t in tensors.items() if "head" not in n}, facts)
    with pytest.raises(UntrustedDataError, match="no classifier"):
        taught(tmp_path / "w.safetensors", tmp_path / "headless.safetensors")
    for stated in ({**facts, "data": {**facts["data"], "digest": "0"}}, {**facts, "data": 3}, {}):
        write_tensors(tmp_path / "other.safetensors", tensors, stated)
        with pytest.raises(RequestError, match=r"same images, those of shapes; got .*other"):
            taught(tmp_path / "w.safetensors", tmp_path / "other.safetensors")
    with pytest.raises(RequestError, match="missing"):
        taught(tmp_path / "w.safetensors", tmp_path / "missing.safetensors")
    assert not list(tmp_path.glob("w.*"))
