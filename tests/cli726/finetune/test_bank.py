"""Features at a cut: from the store, from memory or computed again, they are the same bits and train the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cache.store import Store
from cli726.finetune.config import CUTS, HEAD_ONLY
from cli726.finetune.data.images import Dataset
from cli726.finetune.features import bank as module
from cli726.finetune.features.bank import MIRROR, Bank
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.network.resnet import divide
from cli726.finetune.run import finetune
from cli726.reporting import Silent
from tests.cli726.finetune.conftest import NORMALIZATION
from tests.cli726.finetune.synthetic import Listener, lively_backbone, run, same_bits, small_run, write_pictures

PLANS: list[dict[str, Any]] = [
    {"epochs": 2},
    {"epochs": 2, "unfreeze": "layer3"},
    {"epochs": 3, "unfreeze_after": "1:layer3,2:all"},
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("plan", PLANS, ids=["head", "layer3", "gradual"])
def test_cached_in_memory_and_recomputed_features_train_the_same_model_bit_for_bit(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, plan: dict[str, Any], precision: str
) -> None:
    sources: dict[str, dict[str, Any]] = {
        "memory": {},
        "built": {"cache": True, "cache_dir": str(tmp_path / "cache")},
        "hit": {"cache": True, "cache_dir": str(tmp_path / "cache")},
        "recomputed": {"recompute": True},
    }
    results = {
        name: run(small_run(shapes_folder, weights_file, precision=precision, **plan, **source), tmp_path / name)
        for name, source in sources.items()
    }
    states = [json.loads((tmp_path / n / "summary.json").read_bytes())["cache"]["state"] for n in sources]
    assert states == ["off", "built", "hit", "off"]
    lines, best, last = results["memory"]
    assert len(lines) == plan["epochs"]
    for name, (other_lines, other_best, other_last) in results.items():
        assert other_lines == lines, name
        assert same_bits(other_best, best), name
        assert same_bits(other_last, last), name


def forbidden(*_: Any) -> None:
    raise AssertionError("the frozen part was run")


def test_a_hit_makes_no_forward_pass_through_the_backbone(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run(shapes_folder, weights_file, cache=True, cache_dir=str(tmp_path / "cache"), tta=True)
    built = finetune(config, tmp_path / "first")
    monkeypatch.setattr(Extractor, "run", forbidden)
    monkeypatch.setattr(Extractor, "__call__", forbidden)
    listener = Listener()
    hit = finetune(config, tmp_path / "second", reporter=listener)
    assert (built.cache["state"], hit.cache["state"]) == ("built", "hit")
    assert hit.test == built.test
    assert [
        line for line in listener.lines if line.startswith("cache hit: train images after pool") and "s saved" in line
    ]
    for other in ({"seed": 1}, {"val_fraction": 0.3}, {"head": "mlp:8"}, {"l2": (0.1,)}, {"batch_size": 8}):
        again = small_run(shapes_folder, weights_file, cache=True, cache_dir=config.cache_dir, **other)
        assert finetune(again, tmp_path / str(other)).cache["state"] == "hit", other


def test_a_hit_makes_no_forward_pass_through_the_frozen_part_of_a_partly_unfrozen_one(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run(
        shapes_folder, weights_file, epochs=2, unfreeze_after="1", unfreeze="layer3",
        cache=True, cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    finetune(config, tmp_path / "first")
    monkeypatch.setattr(Bank, "prefix", forbidden)
    assert finetune(config, tmp_path / "second").cache["state"] == "hit"


def test_the_summary_lists_each_entry_once_with_its_size(
    tmp_path: Path, shapes_folder: Path, weights_file: Path
) -> None:
    config = small_run(
        shapes_folder, weights_file, unfreeze_after="2", unfreeze="layer3", lr=1e-6, label_smoothing=0.9,
        cache=True, cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    cache = finetune(config, tmp_path / "run").cache
    keys = [entry["key"] for entry in cache["entries"]]
    assert sorted(entry["cut"] for entry in cache["entries"]) == ["layer2", "pool"]
    assert len(set(keys)) == len(keys) == len(list((tmp_path / "cache").rglob("features.h5")))
    assert cache["bytes"] == sum(path.stat().st_size for path in (tmp_path / "cache").rglob("features.h5"))
    assert cache["key"] in keys
    assert cache["seconds"] > 0


@pytest.mark.parametrize("change", ["weights", "precision", "normalization"])
def test_what_changes_the_features_changes_the_key_and_is_named(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, change: str
) -> None:
    folder = tmp_path / shapes_folder.name
    shutil.copytree(shapes_folder, folder)
    where = {"cache": True, "cache_dir": str(tmp_path / "cache"), "epochs": 1}
    finetune(small_run(folder, weights_file, **where), tmp_path / "first")
    options: dict[str, Any] = dict(where)
    weights: Path | str = weights_file
    if change == "weights":
        weights, options["normalization"] = "random", "course"
        finetune(small_run(folder, weights_file, normalization="course", **where), tmp_path / "course")
    elif change == "precision":
        options["precision"] = "bf16"
    else:
        options["normalization"] = "course"
    listener = Listener()
    changed = finetune(small_run(folder, weights, **options), tmp_path / "second", reporter=listener)
    assert changed.cache["state"] == "built"
    (line,) = [line for line in listener.lines if line.startswith("rebuilt: ")]
    assert change in line


def test_the_first_build_of_two_pools_does_not_take_one_for_an_old_version_of_the_other(
    tmp_path: Path, weights_file: Path
) -> None:
    for split, count in (("train", 30), ("val", 9), ("test", 12)):
        write_pictures(tmp_path / "data" / split, count, seed=count)
    listener = Listener()
    config = small_run(tmp_path / "data", weights_file, cache=True, cache_dir=str(tmp_path / "cache"), tta=True)
    result = finetune(config, tmp_path / "run", reporter=listener)
    assert not [line for line in listener.lines if "rebuilt" in line]
    assert len(result.cache["entries"]) == 4


def make_bank(dataset: Dataset, **options: Any) -> Bank:
    return Bank(dataset, lively_backbone(), NORMALIZATION, torch.float32, torch.device("cpu"), Silent(), **options)


@pytest.mark.parametrize("cut", [0, 1, CUTS["layer2"], CUTS["layer3"], HEAD_ONLY])
def test_every_source_gives_the_features_of_the_splits_own_images(tmp_path: Path, shapes: Dataset, cut: int) -> None:
    banks = [make_bank(shapes), make_bank(shapes, recompute=True), make_bank(shapes, store=Store(tmp_path))]
    for split in ("train", "validation", "test"):
        pixels = torch.from_numpy(shapes.images(split).pixels)
        prefix = Extractor(divide(lively_backbone(), cut)[0], normalization=NORMALIZATION) if cut else lambda x: x
        for bank in banks:
            assert torch.equal(bank.features(split, cut)[:], prefix(pixels))
            assert torch.equal(bank.features(split, cut, MIRROR)[:], prefix(pixels.flip(2)))
            assert torch.equal(bank.labels(split), torch.from_numpy(shapes.images(split).labels))


def test_the_stem_alone_is_never_kept_and_the_run_says_so(
    tmp_path: Path, shapes_folder: Path, weights_file: Path
) -> None:
    listener = Listener()
    config = small_run(
        shapes_folder, weights_file, epochs=1, unfreeze="layer1", cache=True, cache_dir=str(tmp_path / "cache")
    )
    result = finetune(config, tmp_path / "run", reporter=listener)
    assert result.cache["state"] == "off"
    assert not (tmp_path / "cache").exists()
    assert [line for line in listener.lines if "stem is run live" in line]


def test_features_too_large_for_memory_are_computed_in_every_epoch_with_the_same_result(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run(shapes_folder, weights_file, epochs=2, unfreeze="layer3")
    expected = run(config, tmp_path / "enough")
    monkeypatch.setattr(module, "memory_limit", lambda: 1_000_000)
    listener = Listener()
    finetune(config, tmp_path / "little", reporter=listener)
    assert [line for line in listener.lines if "quarter of memory" in line and "--cache" in line]
    assert (tmp_path / "little" / "best.safetensors").read_bytes() == (
        tmp_path / "enough" / "best.safetensors"
    ).read_bytes()
    assert len(expected[0]) == 2


def test_the_limit_is_a_quarter_of_the_memory_that_a_container_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli726.finetune.places.available_memory", lambda: 4003)
    assert module.memory_limit() == 1000
