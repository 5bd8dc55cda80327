"""Training from scratch: the weights file that comes of it, and going on after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli726.errors import ComputationError, EnvironmentFailure, RequestError
from cli726.finetune.config import PretrainConfig
from cli726.finetune.data.images import Dataset, Images, make_splits
from cli726.finetune.features.extractor import Normalization
from cli726.finetune.network.resnet import Network, build_resnet
from cli726.finetune.network.weights import load_weights
from cli726.finetune.pretrain import Pretraining, channel_statistics, pretrain, training_images
from cli726.finetune.storage import read_tensors
from cli726.reporting import Silent
from tests.cli726.finetune.synthetic import CLASSES, pictures, same_bits, small_dataset

CONFIG: dict[str, Any] = {"epochs": 3, "batch_size": 16, "lr": 0.02, "precision": "fp32"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("pretrained") / "deep" / "weights.safetensors"
    return path, pretrain(small_dataset(48), PretrainConfig(**CONFIG), path)


def test_it_writes_weights_that_finetuning_takes(trained: tuple[Path, Any]) -> None:
    path, result = trained
    weights = load_weights(str(path))
    assert weights.kind.depth == 20
    assert weights.trained_on == "shapes"
    assert weights.normalization == channel_statistics(training_images(small_dataset(48)))
    facts = read_tensors(path)[1]
    assert facts["recipe"] == PretrainConfig(**CONFIG).to_json()
    assert facts["data"]["digest"] == small_dataset(48).digest
    assert facts["classes"] == list(CLASSES)
    assert facts["test"]["images"] == result.test.images == len(small_dataset(48).splits["test"])
    assert facts["test"]["accuracy"] == result.test.accuracy
    assert result.parameters == 269_722 + 2_752 - 650 + 64 * 3 + 3
    assert [p.name for p in path.parent.iterdir()] == [path.name], "the checkpoint goes when all is done"


def test_its_test_result_is_what_the_file_says_of_the_test_images(trained: tuple[Path, Any]) -> None:
    path, result = trained
    tensors, facts = read_tensors(path)
    network = Network(build_resnet(20), torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(64, 3)))
    own = {name: tensor for name, tensor in tensors.items() if name not in {"head.0.mean", "head.0.scale"}}
    network.load_state_dict(own)
    network.eval()
    test = small_dataset(48).images("test")
    mean, std = (torch.tensor(facts["normalization"][part]).view(1, 3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        scores = network((torch.from_numpy(test.pixels).permute(0, 3, 1, 2) / 255 - mean) / std)
    assert (scores.argmax(1).numpy() == test.labels).sum() == result.test.correct
    expected = torch.nn.functional.cross_entropy(scores, torch.from_numpy(test.labels)).item()
    assert result.test.loss == pytest.approx(expected, rel=1e-3)


def test_everything_that_is_not_tested_on_is_trained_on(trained: tuple[Path, Any]) -> None:
    dataset = small_dataset(48)
    images = training_images(dataset)
    assert len(images) == trained[1].train_images == 48 - len(dataset.splits["test"])
    assert not {i.tobytes() for i in images.pixels} & {i.tobytes() for i in dataset.images("test").pixels}


def test_device_and_threads_are_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1.0 took both and trained on all threads of the processor."""
    with pytest.raises(EnvironmentFailure, match="--device cuda:99"):
        pretrain(small_dataset(48), PretrainConfig(**CONFIG, device="cuda:99"), tmp_path / "weights.safetensors")
    assert not list(tmp_path.iterdir())
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    Pretraining(small_dataset(48), PretrainConfig(**CONFIG, threads=3, device="cpu"), tmp_path / "x", Silent())
    assert asked == [3]


@pytest.mark.parametrize("after", [1, 2])
def test_a_stopped_training_ends_as_an_unstopped_one(
    tmp_path: Path, trained: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    output = tmp_path / "weights.safetensors"
    keep = Pretraining.keep

    def stopping(self: Pretraining, line: Any) -> None:
        keep(self, line)
        if line.epoch == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Pretraining, "keep", stopping)
        with pytest.raises(KeyboardInterrupt):
            pretrain(small_dataset(48), PretrainConfig(**CONFIG), output)
    assert not output.exists()
    pretrain(small_dataset(48), PretrainConfig(**CONFIG), output, resume=True)
    assert same_bits(read_tensors(output)[0], read_tensors(trained[0])[0])


def test_only_the_same_recipe_on_the_same_data_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "weights.safetensors"
    with pytest.raises(RequestError):
        pretrain(small_dataset(48), PretrainConfig(**CONFIG), output, resume=True)
    keep = Pretraining.keep

    def stopping(self: Pretraining, line: Any) -> None:
        keep(self, line)
        raise KeyboardInterrupt

    monkeypatch.setattr(Pretraining, "keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        pretrain(small_dataset(48), PretrainConfig(**CONFIG), output)
    with pytest.raises(RequestError, match="recipe"):
        pretrain(small_dataset(48), PretrainConfig(**{**CONFIG, "lr": 0.03}), output, resume=True)
    with pytest.raises(RequestError, match="data"):
        pretrain(small_dataset(48, seed=1), PretrainConfig(**CONFIG), output, resume=True)


def test_images_of_a_validation_split_of_their_own_are_left_out() -> None:
    pools = {
        name: Images.of(*pictures(count, count)) for name, count in (("train", 12), ("validation", 6), ("test", 9))
    }
    dataset = Dataset("shapes", CLASSES, pools, make_splits(pools, 0.2, 0.2, CLASSES))
    assert len(training_images(dataset)) == 12


def test_statistics_are_numpys_to_four_digits() -> None:
    images = Images.of(*pictures(20))
    found = channel_statistics(images)
    shares = images.pixels / 255
    np.testing.assert_allclose(found.mean, shares.mean((0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(found.std, shares.std((0, 1, 2)), atol=5.1e-5)
    assert all(round(value, 4) == value for value in (*found.mean, *found.std))


def test_a_colour_that_never_varies_is_not_divided_by_zero() -> None:
    pixels = pictures(9)[0]
    pixels[..., 2] = 0
    normalization = channel_statistics(Images.of(pixels, np.zeros(9, np.int64)))
    assert isinstance(normalization, Normalization)
    assert torch.isfinite(normalization(torch.from_numpy(pixels))).all()


@pytest.mark.parametrize(
    ("options", "output", "error"),
    [
        ({"depth": 18}, "w.safetensors", RequestError),
        ({"augment": "mirror"}, "w.safetensors", RequestError),
        ({}, "w.pt", RequestError),
        ({"lr": 1e38, "schedule": "constant", "warmup": 0.0}, "w.safetensors", ComputationError),
    ],
)
def test_what_cannot_be_done_leaves_nothing(
    tmp_path: Path, options: dict[str, Any], output: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        pretrain(small_dataset(30), PretrainConfig(**{**CONFIG, "epochs": 1, **options}), tmp_path / output)
    assert list(tmp_path.iterdir()) == []
