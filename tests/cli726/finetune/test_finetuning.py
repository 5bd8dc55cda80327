"""A run from end to end: what it leaves behind, and that it says what it did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli726.errors import ComputationError, EnvironmentFailure, RequestError
from cli726.finetune.api import finetune
from cli726.finetune.config import PRESETS, FinetuneConfig
from cli726.finetune.folder import new_run_dir
from cli726.finetune.network.heads import coefficients
from cli726.finetune.network.resnet import Network
from cli726.finetune.network.weights import load_weights
from cli726.finetune.result import Finetuned
from cli726.finetune.run import Run
from cli726.finetune.storage import read_tensors
from cli726.finetune.trust import network_part
from cli726.reporting import Silent
from tests.cli726.finetune.conftest import NORMALIZATION
from tests.cli726.finetune.synthetic import Listener, metrics, same_bits, small_run, write_pictures

pytestmark = pytest.mark.usefixtures("small_network")
Finished = Callable[..., Finetuned]
Small = Callable[..., FinetuneConfig]
LAYER3 = {"unfreeze_after": "1", "unfreeze": "layer3"}


def tensors_of(result: Finetuned, name: str = "best") -> dict[str, torch.Tensor]:
    return read_tensors(result.run_dir / f"{name}.safetensors")[0]


def network_of(result: Finetuned) -> Network:
    """The best model, put together by hand."""
    head = Run.setup(result.config, Silent()).new_head()
    network = Network(load_weights(result.config.weights).build(), head)
    network.load_state_dict(network_part(tensors_of(result)))
    return network.eval()


@pytest.mark.parametrize(
    ("options", "frozen"),
    [
        ({}, 4),
        ({"recompute": True, "augment": "flip,crop"}, 4),
        ({**PRESETS["course"], "l2": [0.0], "epochs": 2}, 4),
        ({**LAYER3, "precision": "bf16"}, 3),
        ({"unfreeze": "layer2", "recompute": True}, 2),
        ({"unfreeze": "layer1"}, 1),
        ({"unfreeze_after": "1"}, 0),
    ],
    ids=["head", "recomputed", "course", "layer3", "layer2", "layer1", "all"],
)
def test_what_is_frozen_keeps_every_bit_over_a_run_and_what_is_not_moves(
    finished: Finished, small_weights: Path, options: dict[str, Any], frozen: int
) -> None:
    last = tensors_of(finished(**{**options, **({"l2": (0.0,)} if "l2" in options else {})}), "last")
    given = load_weights(str(small_weights)).backbone
    stages = ("stem", "layer1", "layer2", "layer3")
    for name, tensor in given.items():
        moved = not torch.equal(last[f"network.backbone.{name}"], tensor)
        assert moved is (name.partition(".")[0] in stages[frozen:]), name
    assert {name.partition(".")[0] for name in given} == set(stages)


def test_a_run_folder_holds_what_the_contract_says(finished: Finished) -> None:
    result = finished(**LAYER3, batch_size=None, precision="auto")
    path = result.run_dir
    assert {file.name for file in path.iterdir()} == {
        "config.json", "metrics.jsonl", "best.safetensors", "model.json", "last.safetensors", "summary.json",
        "predictions.csv",
    }  # fmt: skip
    stated = json.loads((path / "config.json").read_bytes())
    assert stated["options"] == json.loads(json.dumps(result.config.to_json()))
    assert (stated["dataset_digest"], stated["weights_digest"]) == (result.dataset.digest, result.weights.digest)
    assert (stated["version"], stated["versions"]["torch"]) == (version("cmpt726"), torch.__version__)
    assert stated["precision"] in ("float32", "bfloat16")
    assert (stated["device"], stated["processes"]) in (("cpu", 1), ("cuda", 1))
    resolved, images = stated["resolved"], {name: len(split) for name, split in result.dataset.splits.items()}
    assert (resolved["dataset"], resolved["batch_size"], resolved["threads"]) == ("shapes", 16, 1)
    assert resolved["test_fraction"] == images["test"] / sum(images.values())
    assert resolved["val_fraction"] == images["validation"] / sum(images.values())
    head, rest = resolved["phases"]
    assert (head["name"], head["lr"], head["label_smoothing"], head["epochs"]) == ("head", 0.1, 0.0, [1, 1])
    assert (rest["lr"], rest["backbone_lr"], rest["label_smoothing"]) == (0.0125, 0.0125, 0.05)

    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [set(line) for line in lines] == 2 * [{
        "phase", "epoch", "train_loss", "train_accuracy", "val_loss", "val_error", "lr", "images_per_second", "seconds",
    }]  # fmt: skip
    assert [(line["phase"], line["epoch"]) for line in lines] == [("head", 1), ("layer3", 2)]

    tensors, facts = read_tensors(path / "best.safetensors")
    assert facts["architecture"]["depth"] == 20
    assert facts["classes"] == list(result.dataset.class_names)
    assert facts["normalization"] == {"mean": list(NORMALIZATION.mean), "std": list(NORMALIZATION.std)}
    assert {"head", "weights_digest", "dataset_digest", "best", "precision", "tta", "dataset"} <= facts.keys()
    new = {"head.0.mean", "head.0.scale", "head.1.weight", "head.1.bias"}
    new |= {f"trust.{name}" for name in ("confidence", "right", "means", "axes", "variances")}
    assert set(tensors) == {f"backbone.{name}" for name in result.weights.backbone} | new
    model = json.loads((path / "model.json").read_bytes())
    assert model.pop("sha256") == hashlib.sha256((path / "best.safetensors").read_bytes()).hexdigest()
    assert model == facts
    assert json.loads((path / "summary.json").read_bytes()) == json.loads(json.dumps(result.to_json()))


def test_the_best_model_is_the_best_line_of_all_phases(finished: Finished) -> None:
    result = finished(epochs=4, unfreeze_after="2")
    lines = metrics(result.run_dir)
    best = min(lines, key=lambda line: (line["val_error"], line["val_loss"], line["epoch"]))
    stated = (result.best.phase, result.best.epoch, result.best.val_error, result.best.val_loss)
    assert stated == (best["phase"], best["epoch"], best["val_error"], best["val_loss"])
    images = len(result.dataset.splits["train"])
    for part in result.phases:
        own = [line for line in lines if line["phase"] == part.phase.name]
        assert part.epochs == len(own) == 2
        assert part.best.val_error == min(line["val_error"] for line in own)
        assert part.images_per_second * part.seconds == pytest.approx(2 * images)
    assert result.gain == pytest.approx(result.phases[0].best.val_error - result.phases[1].best.val_error)
    assert finished().gain is None


@pytest.mark.parametrize(
    "options", [{}, {"unfreeze": "layer3"}, {"unfreeze_after": "1"}], ids=["head", "layer3", "all"]
)
@pytest.mark.parametrize("tta", [False, True])
def test_the_test_result_is_what_the_saved_network_says_of_the_test_images(
    finished: Finished, options: dict[str, Any], tta: bool
) -> None:
    """Built by hand from the file, unfused, image after image, with the header's normalisation."""
    result = finished(**options, **({"tta": True} if tta else {}))
    test, network = result.dataset.images("test"), network_of(result)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (NORMALIZATION.mean, NORMALIZATION.std))
    x = (torch.from_numpy(test.pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        plain = scores = network(x)
        if tta:
            scores = (scores + network(x.flip(3))) / 2
    temperature = result.trust.temperature
    torch.testing.assert_close(result.test_scores.float(), scores / temperature, rtol=1e-2, atol=1e-2 / temperature)
    for stated, by_hand in ((result.test, scores), (result.test_plain, plain)):
        if stated is not None:
            assert abs(stated.correct - int((by_hand.argmax(1).numpy() == test.labels).sum())) <= 1
            assert stated.images == len(test.labels) == len(result.dataset.splits["test"])
    assert (result.test_plain is not None) is tta


def test_the_test_split_is_used_once_and_only_after_training(
    tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    score = Run.score

    def noting(self: Run, split: Any, *rest: Any) -> torch.Tensor:
        order.append(split)
        return score(self, split, *rest)

    monkeypatch.setattr(Run, "score", noting)
    finetune(small(epochs=3, unfreeze_after="1"), tmp_path / "run")
    assert order == ["validation"] * 3 + ["test"]


def test_one_seed_gives_one_result_whatever_others_draw_and_another_is_tested_on_the_same_images(
    tmp_path: Path, finished: Finished, small: Small
) -> None:
    options = {**LAYER3, "head": "mlp:8", "dropout": 0.3, "augment": "flip,crop"}
    first, other = finished(**options), finished(seed=1, **options)
    torch.manual_seed(726)
    again = finetune(small(**options), tmp_path / "again")
    assert metrics(again.run_dir) == metrics(first.run_dir)
    assert same_bits(tensors_of(again, "last"), tensors_of(first, "last"))
    assert metrics(other.run_dir) != metrics(first.run_dir)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(other.dataset.splits[name].indices, first.dataset.splits[name].indices)


def test_augmentation_never_silently_does_nothing(told: Callable[..., tuple[Finetuned, list[str]]]) -> None:
    def go(**options: Any) -> tuple[list[dict[str, Any]], str]:
        result, lines = told(**options)
        return metrics(result.run_dir), " ".join(line for line in lines if line.startswith("phase "))

    plain, said = go()
    assert "augment" not in said
    afresh, said = go(augment="flip,crop")
    assert "augments afresh" in said
    assert afresh != plain
    assert go(augment="flip,crop", recompute=True)[0] == afresh
    cached, said = go(augment="flip,crop", cache=True)
    assert "cached features of plain images" in said
    assert cached == plain
    whole, said = go(augment="flip,crop", unfreeze="all", cache=True)
    assert "plain images" not in said
    assert whole != go(unfreeze="all")[0]


def test_the_penalty_is_reported_and_shrinks_the_coefficients(finished: Finished) -> None:
    norms = []
    for l2 in (0.0, 0.1, 1.0):
        result = finished(l2=(l2,))
        squares = sum(float(w.detach().double().square().sum()) for w in coefficients(network_of(result).head))
        assert result.l2 == pytest.approx({"l2": l2, "penalty": l2 / 2 * squares, "norm": squares**0.5})
        norms.append(result.l2["norm"])
    assert norms[0] > norms[1] > norms[2] > 0


def test_broken_images_and_copies_are_counted_and_weights_that_have_seen_the_data_pointed_out(
    tmp_path: Path, small_weights: Path
) -> None:
    folder = write_pictures(tmp_path / "noise", 30)
    (folder / "rows" / "broken.png").write_bytes(b"x")
    for number in range(8):
        (folder / "rows" / f"copy{number}.png").write_bytes((folder / "rows" / "001.png").read_bytes())
    listener = Listener()
    result = finetune(small_run(folder, small_weights, epochs=1), tmp_path / "run", reporter=listener)
    assert sum(map(len, result.dataset.splits.values())) == 38
    assert result.to_json()["dataset"]["skipped"] == ["rows/broken.png"]
    assert any(line.startswith("skipped 1 broken image, such as rows/broken.png (") for line in listener.lines)
    assert [line for line in listener.lines if "trained on noise itself" in line]
    pixels = result.dataset.pools["train"].pixels
    seen = {name: {pixels[i].tobytes() for i in split.indices} for name, split in result.dataset.splits.items()}
    assert result.duplicates == 0, "copies go to one split"
    assert not seen["train"] & (seen["validation"] | seen["test"])
    with pytest.raises(RequestError, match="broken image"):
        finetune(small_run(folder, small_weights, strict=True), tmp_path / "strict")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"augment": "mirror"}, RequestError),
        ({"head": "mlp:0"}, RequestError),
        ({"device": "nonsense"}, RequestError),
        ({"device": "cuda:99"}, EnvironmentFailure),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    tmp_path: Path, small: Small, options: dict[str, Any], error: Any
) -> None:
    with pytest.raises(error):
        finetune(small(**options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_divergence_is_an_error_that_names_the_rate(tmp_path: Path, small: Small) -> None:
    with pytest.raises(ComputationError, match=r"epoch 1 .*at rate 1e\+38; try --lr 1e\+37"):
        finetune(small(lr=1e38, schedule="constant"), tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_an_earlier_run_is_never_written_over(finished: Finished) -> None:
    result = finished()
    before = {path.name: path.read_bytes() for path in result.run_dir.iterdir()}
    with pytest.raises(RequestError, match="--run-dir must be a new folder"):
        finetune(result.config, result.run_dir)
    assert {path.name: path.read_bytes() for path in result.run_dir.iterdir()} == before


@pytest.mark.parametrize("name", ["digits", "../../etc", "a b/c", "...", "", "données"])
def test_run_folders_are_new_and_stay_where_they_belong(tmp_path: Path, name: str) -> None:
    folders = [new_run_dir(name, tmp_path / "runs") for _ in range(3)]
    assert len(set(folders)) == 3
    for folder in folders:
        assert folder.resolve().parent == (tmp_path / "runs").resolve()
        assert not folder.name.startswith(".")
        assert list(folder.iterdir()) == []
