"""A run from end to end: what it leaves behind, and that it says what it did."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli726.errors import ComputationError, EnvironmentFailure, RequestError
from cli726.finetune.config import PRESETS
from cli726.finetune.folder import new_run_dir
from cli726.finetune.network.heads import coefficients
from cli726.finetune.network.resnet import Network
from cli726.finetune.network.weights import load_weights
from cli726.finetune.run import Run, finetune
from cli726.finetune.storage import read_tensors
from cli726.reporting import Silent
from tests.cli726.finetune.conftest import NORMALIZATION
from tests.cli726.finetune.synthetic import Listener, metrics, run, same_bits, small_run, write_pictures

pytestmark = pytest.mark.usefixtures("small_network")


def stages(tensors: dict[str, torch.Tensor], *names: str) -> dict[str, torch.Tensor]:
    return {
        n.removeprefix("backbone."): t
        for n, t in tensors.items()
        if n.startswith(tuple(f"backbone.{s}." for s in names))
    }


@pytest.mark.parametrize(
    ("options", "frozen", "trained"),
    [
        ({}, ["stem", "layer1", "layer2", "layer3"], []),
        ({"recompute": True, "augment": "flip,crop"}, ["stem", "layer1", "layer2", "layer3"], []),
        ({**PRESETS["course"], "epochs": 2}, ["stem", "layer1", "layer2", "layer3"], []),
        ({"unfreeze_after": "1", "unfreeze": "layer3", "precision": "bf16"}, ["stem", "layer1", "layer2"], ["layer3"]),
        ({"epochs": 2, "unfreeze": "layer2", "recompute": True}, ["stem", "layer1"], ["layer2", "layer3"]),
        ({"epochs": 2, "unfreeze": "layer1"}, ["stem"], ["layer1", "layer2", "layer3"]),
        ({"epochs": 2, "unfreeze_after": "1"}, [], ["stem", "layer1", "layer2", "layer3"]),
    ],
    ids=["head", "recomputed", "course", "layer3", "layer2", "layer1", "all"],
)
def test_what_is_frozen_keeps_every_bit_over_a_run_and_what_is_not_moves(
    tmp_path: Path,
    shapes_folder: Path,
    small_weights: Path,
    options: dict[str, Any],
    frozen: list[str],
    trained: list[str],
) -> None:
    _, _, last = run(small_run(shapes_folder, small_weights, **options), tmp_path / "run")
    given = {f"backbone.{name}": tensor for name, tensor in load_weights(str(small_weights)).backbone.items()}
    last = {name.removeprefix("network."): tensor for name, tensor in last.items() if name.startswith("network.")}
    assert same_bits(stages(last, *frozen), stages(given, *frozen))
    moved, before = stages(last, *trained), stages(given, *trained)
    assert [name for name in moved if torch.equal(moved[name], before[name])] == []
    assert stages(last, *frozen).keys() | moved.keys() == load_weights(str(small_weights)).backbone.keys()


def test_a_run_folder_holds_what_the_contract_says(tmp_path: Path, shapes_folder: Path, small_weights: Path) -> None:
    config = small_run(shapes_folder, small_weights, unfreeze_after="2", unfreeze="layer3", seed=5)
    result = finetune(config, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {
        "config.json",
        "metrics.jsonl",
        "best.safetensors",
        "model.json",
        "last.safetensors",
        "summary.json",
    }
    assert not [name for name in names if name.startswith(".") or "part" in name]

    stated = json.loads((tmp_path / "run" / "config.json").read_bytes())
    assert stated["options"] == json.loads(json.dumps(config.to_json()))
    assert stated["dataset_digest"] == result.dataset.digest
    assert stated["weights_digest"] == result.weights.digest
    assert stated["versions"]["torch"] == torch.__version__

    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [set(line) for line in lines] == [
        {
            "phase",
            "epoch",
            "train_loss",
            "train_accuracy",
            "val_loss",
            "val_error",
            "lr",
            "images_per_second",
            "seconds",
        }
    ] * 3
    assert [(line["phase"], line["epoch"]) for line in lines] == [("head", 1), ("head", 2), ("layer3", 3)]

    tensors, facts = read_tensors(tmp_path / "run" / "best.safetensors")
    assert facts["architecture"]["depth"] == 20
    assert facts["classes"] == list(result.dataset.class_names)
    assert facts["normalization"] == {"mean": list(NORMALIZATION.mean), "std": list(NORMALIZATION.std)}
    assert {"head", "weights_digest", "dataset_digest", "best"} <= facts.keys()
    assert set(tensors) == {f"backbone.{name}" for name in result.weights.backbone} | {
        "head.0.mean", "head.0.scale", "head.1.weight", "head.1.bias",
    }  # fmt: skip
    model = json.loads((tmp_path / "run" / "model.json").read_bytes())
    assert model.pop("sha256") == hashlib.sha256((tmp_path / "run" / "best.safetensors").read_bytes()).hexdigest()
    assert model == facts
    assert json.loads((tmp_path / "run" / "summary.json").read_bytes()) == json.loads(json.dumps(result.to_json()))


def test_the_best_model_is_the_best_line_of_all_phases(
    tmp_path: Path, shapes_folder: Path, small_weights: Path
) -> None:
    result = finetune(small_run(shapes_folder, small_weights, epochs=4, unfreeze_after="2"), tmp_path / "run")
    lines = metrics(tmp_path / "run")
    best = min(lines, key=lambda line: (line["val_error"], line["val_loss"], line["epoch"]))
    stated = (result.best.phase, result.best.epoch, result.best.val_error, result.best.val_loss)
    assert stated == (best["phase"], best["epoch"], best["val_error"], best["val_loss"])
    for part in result.phases:
        own = [line for line in lines if line["phase"] == part.phase.name]
        assert part.epochs == len(own) == 2
        assert part.best_val_error == min(line["val_error"] for line in own)
    assert result.gain == pytest.approx(result.phases[0].best_val_error - result.phases[1].best_val_error)


@pytest.mark.parametrize(
    "options", [{}, {"unfreeze": "layer3"}, {"unfreeze_after": "2"}], ids=["head", "layer3", "all"]
)
@pytest.mark.parametrize("tta", [False, True])
def test_the_test_result_is_what_the_saved_network_says_of_the_test_images(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, options: dict[str, Any], tta: bool
) -> None:
    """Built by hand from the file, unfused, image after image, with the header's normalisation."""
    config = small_run(shapes_folder, small_weights, tta=tta, **options)
    result = finetune(config, tmp_path / "run")
    tensors, facts = read_tensors(tmp_path / "run" / "best.safetensors")
    head = Run.setup(config, Silent()).new_network().head
    network = Network(load_weights(str(small_weights)).build(), head)
    network.load_state_dict(tensors)
    network.eval()
    test = result.dataset.images("test")
    mean, std = (torch.tensor(facts["normalization"][part]).view(1, 3, 1, 1) for part in ("mean", "std"))
    x = (torch.from_numpy(test.pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        scores = network(x)
        if tta:
            scores = (scores + network(x.flip(3))) / 2
    torch.testing.assert_close(result.test_scores, scores, rtol=1e-2, atol=1e-2)
    correct = (scores.argmax(1).numpy() == test.labels).sum()
    assert abs(result.test.correct - correct) <= 1
    assert result.test.images == len(test.labels) == len(result.dataset.splits["test"])


def test_the_test_split_is_used_once_and_only_after_training(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    score = Run.score

    def noting(self: Run, split: Any, *rest: Any) -> torch.Tensor:
        order.append(split)
        return score(self, split, *rest)

    monkeypatch.setattr(Run, "score", noting)
    finetune(small_run(shapes_folder, small_weights, unfreeze_after="1"), tmp_path / "run")
    assert order == ["validation"] * 3 + ["test"]


def test_one_seed_gives_one_result_and_another_seed_is_tested_on_the_same_images(
    tmp_path: Path, shapes_folder: Path, small_weights: Path
) -> None:
    options = {"unfreeze_after": "1", "unfreeze": "layer3", "augment": "flip,crop"}
    first = run(small_run(shapes_folder, small_weights, **options), tmp_path / "first")
    again = run(small_run(shapes_folder, small_weights, **options), tmp_path / "again")
    assert again[0] == first[0]
    assert same_bits(again[1], first[1])
    other = finetune(small_run(shapes_folder, small_weights, seed=1, **options), tmp_path / "other")
    assert metrics(tmp_path / "other") != first[0]
    same = finetune(small_run(shapes_folder, small_weights, **options), tmp_path / "same")
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(other.dataset.splits[name].indices, same.dataset.splits[name].indices)


def test_what_others_draw_from_torchs_numbers_has_no_say(
    tmp_path: Path, shapes_folder: Path, small_weights: Path
) -> None:
    options = {"unfreeze_after": "1", "unfreeze": "layer3", "head": "mlp:8", "dropout": 0.3, "augment": "flip"}
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(run(small_run(shapes_folder, small_weights, epochs=2, **options), tmp_path / str(seed)))
    assert results[0][0] == results[1][0]
    assert same_bits(results[0][2], results[1][2])


def test_augmentation_never_silently_does_nothing(tmp_path: Path, shapes_folder: Path, small_weights: Path) -> None:
    def go(name: str, **options: Any) -> tuple[list[dict[str, Any]], str]:
        listener = Listener()
        finetune(small_run(shapes_folder, small_weights, epochs=2, **options), tmp_path / name, reporter=listener)
        said = [line for line in listener.lines if not line.startswith("run: ")]  # its folder is named after this test
        return metrics(tmp_path / name), " ".join(said)

    cache = {"cache": True, "cache_dir": str(tmp_path / "cache")}
    plain, said = go("plain")
    assert "augment" not in said
    afresh, said = go("afresh", augment="flip,crop")
    assert "augments afresh" in said
    assert afresh != plain
    assert go("recomputed", augment="flip,crop", recompute=True)[0] == afresh
    cached, said = go("cached", augment="flip,crop", **cache)
    assert "cached features of plain images" in said
    assert cached == plain
    whole, said = go("whole", augment="flip,crop", unfreeze="all", **cache)
    assert "plain images" not in said
    assert whole != go("whole plain", unfreeze="all")[0]


def test_the_penalty_is_reported_and_shrinks_the_coefficients(
    tmp_path: Path, shapes_folder: Path, small_weights: Path
) -> None:
    norms = []
    for l2 in (0.0, 0.1, 1.0):
        result = finetune(small_run(shapes_folder, small_weights, l2=(l2,)), tmp_path / str(l2))
        network = Run.setup(small_run(shapes_folder, small_weights), Silent()).new_network()
        network.load_state_dict(read_tensors(result.run_dir / "best.safetensors")[0])
        squares = sum(float(w.detach().double().square().sum()) for w in coefficients(network.head))
        assert result.l2 == pytest.approx({"l2": l2, "penalty": l2 / 2 * squares, "norm": squares**0.5})
        norms.append(result.l2["norm"])
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > norms[2] > 0


def test_broken_images_and_copies_are_counted(tmp_path: Path, small_weights: Path) -> None:
    folder = write_pictures(tmp_path / "data", 30)
    (folder / "rows" / "broken.png").write_bytes(b"x")
    for number in range(8):
        (folder / "rows" / f"copy{number}.png").write_bytes((folder / "rows" / "001.png").read_bytes())
    listener = Listener()
    result = finetune(small_run(folder, small_weights, epochs=1), tmp_path / "run", reporter=listener)
    assert sum(map(len, result.dataset.splits.values())) == 38
    assert result.to_json()["dataset"]["skipped"] == ["rows/broken.png"]
    assert any(line.startswith("skipped 1 broken image, such as rows/broken.png (") for line in listener.lines)
    seen = {
        name: {result.dataset.pools["train"].pixels[index].tobytes() for index in split.indices}
        for name, split in result.dataset.splits.items()
    }
    assert result.duplicates == 0, "copies go to one split"
    assert not seen["train"] & (seen["validation"] | seen["test"])
    with pytest.raises(RequestError, match="broken image"):
        finetune(small_run(folder, small_weights, strict=True), tmp_path / "strict")


def test_weights_that_have_seen_the_data_are_pointed_out(tmp_path: Path, small_weights: Path) -> None:
    folder = write_pictures(tmp_path / "noise", 30)
    listener = Listener()
    finetune(small_run(folder, small_weights, epochs=1), tmp_path / "run", reporter=listener)
    assert [line for line in listener.lines if "trained on noise itself" in line]


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
    tmp_path: Path, shapes_folder: Path, small_weights: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        finetune(small_run(shapes_folder, small_weights, **options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_divergence_is_an_error_that_names_the_rate(tmp_path: Path, shapes_folder: Path, small_weights: Path) -> None:
    with pytest.raises(ComputationError, match=r"epoch 1 .*at rate 1e\+38; try --lr 1e\+37"):
        finetune(small_run(shapes_folder, small_weights, lr=1e38, schedule="constant"), tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_an_earlier_run_is_never_written_over(tmp_path: Path, shapes_folder: Path, small_weights: Path) -> None:
    config = small_run(shapes_folder, small_weights, epochs=1)
    finetune(config, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(RequestError, match="--run-dir must be a new folder"):
        finetune(config, tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("name", ["digits", "../../etc", "a b/c", "...", "", "données"])
def test_run_folders_are_new_and_stay_where_they_belong(tmp_path: Path, name: str) -> None:
    folders = [new_run_dir(name, tmp_path / "runs") for _ in range(3)]
    assert len(set(folders)) == 3
    for folder in folders:
        assert folder.resolve().parent == (tmp_path / "runs").resolve()
        assert not folder.name.startswith(".")
        assert list(folder.iterdir()) == []
