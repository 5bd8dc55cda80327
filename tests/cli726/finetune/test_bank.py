"""Features at a cut: from the store, from memory or computed again, they are the same bits and train the same model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import reading
from cache.keys import differences
from cache.store import Store
from cli726.finetune.api import finetune
from cli726.finetune.data.images import Dataset, Images
from cli726.finetune.features import bank as module
from cli726.finetune.features.bank import MIRROR, PLAIN, Bank, Variant
from cli726.finetune.features.extractor import Extractor, Rows
from cli726.finetune.network.resnet import Normalization, divide
from cli726.reporting import Silent
from tests.cli726.finetune.conftest import NORMALIZATION
from tests.cli726.finetune.synthetic import (
    CUTS,
    HEAD_ONLY,
    Listener,
    lively_backbone,
    pictures,
    run,
    same_bits,
    small_dataset,
    small_run,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("small_network")
# The head alone, then stored maps, then images.
PLAN: dict[str, Any] = {"epochs": 3, "unfreeze_after": "1:layer3,2:all"}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_cached_in_memory_and_recomputed_features_train_the_same_model_bit_for_bit(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, precision: str
) -> None:
    sources: dict[str, dict[str, Any]] = {
        "memory": {},
        "built": {"cache": True, "cache_dir": str(tmp_path / "cache")},
        "hit": {"cache": True, "cache_dir": str(tmp_path / "cache")},
        "recomputed": {"recompute": True},
    }
    results = {
        name: run(small_run(shapes_folder, small_weights, precision=precision, **PLAN, **source), tmp_path / name)
        for name, source in sources.items()
    }
    states = [json.loads((tmp_path / n / "summary.json").read_bytes())["cache"]["state"] for n in sources]
    assert states == ["off", "built", "hit", "off"]
    lines, best, last = results["memory"]
    assert len(lines) == 3
    for name, (other_lines, other_best, other_last) in results.items():
        assert other_lines == lines, name
        assert same_bits(other_best, best), name
        assert same_bits(other_last, last), name


def forbidden(*_: Any) -> None:
    raise AssertionError("the frozen part was run")


def test_a_hit_makes_no_forward_pass_through_the_frozen_part(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"cache": True, "cache_dir": str(tmp_path / "cache")}
    config = small_run(shapes_folder, small_weights, tta=True, **where)
    partly = small_run(shapes_folder, small_weights, epochs=2, unfreeze_after="1", unfreeze="layer3", **where)
    built, first = finetune(config, tmp_path / "first"), finetune(partly, tmp_path / "partly")
    monkeypatch.setattr(Bank, "prefix", forbidden)
    assert finetune(partly, tmp_path / "partly again").test == first.test
    monkeypatch.setattr(Extractor, "run", forbidden)
    listener = Listener()
    hit = finetune(config, tmp_path / "second", reporter=listener)
    assert (built.cache["state"], hit.cache["state"]) == ("built", "hit")
    assert hit.test == built.test
    said = [line for line in listener.lines if line.startswith("cache hit: train images after pool")]
    assert "s saved" in said[0]
    for other in ({"seed": 1}, {"val_fraction": 0.3}, {"head": "mlp:8"}, {"l2": (0.1,)}, {"batch_size": 8}):
        again = small_run(shapes_folder, small_weights, **where, **other)
        assert finetune(again, tmp_path / str(other)).cache["state"] == "hit", other


def test_the_summary_lists_each_entry_once_with_its_size(
    tmp_path: Path, shapes_folder: Path, small_weights: Path
) -> None:
    config = small_run(
        shapes_folder, small_weights, unfreeze_after="2", unfreeze="layer3", lr=1e-6, label_smoothing=0.9,
        cache=True, cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    cache = finetune(config, tmp_path / "run").cache
    keys = [entry["key"] for entry in cache["entries"]]
    assert sorted(entry["cut"] for entry in cache["entries"]) == ["layer2", "pool"]
    assert len(set(keys)) == len(keys) == len(list((tmp_path / "cache").rglob("features.h5")))
    assert cache["bytes"] == sum(path.stat().st_size for path in (tmp_path / "cache").rglob("features.h5"))
    assert cache["key"] in keys
    assert cache["seconds"] > 0


def make_bank(dataset: Dataset, **options: Any) -> Bank:
    usual = {
        "backbone": lively_backbone(), "normalization": NORMALIZATION, "precision": torch.float32,
        "device": torch.device("cpu"), "reporter": Silent(),
    }  # fmt: skip
    return Bank(dataset, **(usual | options))


def with_pool(dataset: Dataset, pixels: np.ndarray, labels: np.ndarray) -> Dataset:
    return replace(dataset, pools={"train": Images.of(pixels, labels)})


def fields_of(bank: Bank, variant: Variant = PLAIN, cut: int = HEAD_ONLY) -> Any:
    return bank.request("train", cut, variant, bank.images("train", variant)).fields


VIEW = Variant("view", 1, "flip,crop", 7)
CHANGES: dict[str, Callable[[Dataset], tuple[Bank, Variant]]] = {
    "weights": lambda data: (make_bank(data, backbone=lively_backbone(1)), VIEW),
    "images": lambda data: (make_bank(small_dataset(seed=1)), VIEW),
    "normalization.mean": lambda data: (
        make_bank(data, normalization=Normalization((0.5, 0.4, 0.5), (0.2, 0.3, 0.25))),
        VIEW,
    ),
    "variant.number": lambda data: (make_bank(data), replace(VIEW, number=2)),
    "variant.seed": lambda data: (make_bank(data), replace(VIEW, seed=8)),
    "augmentation": lambda data: (make_bank(data), replace(VIEW, augment="flip,crop:2")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_the_features_changes_the_key_and_is_named(shapes: Dataset, name: str) -> None:
    bank, variant = CHANGES[name](shapes)
    assert differences(fields_of(make_bank(shapes), VIEW), fields_of(bank, variant)) == (name,)


def test_torchvisions_version_is_in_the_key_where_its_operations_are(
    shapes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, own = make_bank(shapes), replace(VIEW, augment="flip,randaugment")
    before = [fields_of(bank, variant) for variant in (PLAIN, VIEW, own)]
    monkeypatch.setattr(module, "version", lambda name: f"another {name}")
    after = [fields_of(bank, variant) for variant in (PLAIN, VIEW, own)]
    assert [differences(*pair) for pair in zip(before, after, strict=True)] == [(), (), ("torchvision",)]


def test_a_rebuilt_entry_says_why_and_two_pools_are_not_versions_of_each_other(
    tmp_path: Path, small_weights: Path
) -> None:
    for split, count in (("train", 30), ("val", 9), ("test", 12)):
        write_pictures(tmp_path / "data" / split, count, seed=count)
    listener = Listener()
    where = {"cache": True, "cache_dir": str(tmp_path / "cache"), "tta": True, "epochs": 1}
    result = finetune(small_run(tmp_path / "data", small_weights, **where), tmp_path / "run", reporter=listener)
    assert not [line for line in listener.lines if line.startswith("rebuilt")]
    assert len(result.cache["entries"]) == 4
    other = small_run(tmp_path / "data", small_weights, normalization="course", **where)
    finetune(other, tmp_path / "other", reporter=listener)
    assert "rebuilt: normalization.mean, normalization.std changed" in listener.lines


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each block had that the frozen part was given."""
    sizes: list[int] = []
    real = Extractor.run

    def counting(self: Extractor, block: torch.Tensor) -> torch.Tensor:
        sizes.append(len(block))
        return real(self, block)

    monkeypatch.setattr(Extractor, "run", counting)
    return sizes


@pytest.mark.parametrize(("count", "precision"), [(1000, torch.float32), (60, torch.bfloat16)], ids=str)
def test_one_image_changed_of_a_thousand_computes_one_and_the_bits_are_those_of_a_fresh_build(
    tmp_path: Path, given: list[int], count: int, precision: torch.dtype
) -> None:
    pixels, labels = pictures(count)
    changed = pixels.copy()
    changed[41] = pixels[0][::-1]
    others = {  # what it is now, and how many images are new
        "relabelled": (pixels, 2 - labels, 0),
        "changed": (changed, labels, 1),
        "removed": (np.delete(pixels, 41, 0), np.delete(labels, 41), 0),
        "added": (np.insert(pixels, 41, changed[41], 0), np.insert(labels, 41, 1), 1),
    }
    if count == 1000:
        del others["removed"], others["added"]
    data, cut = small_dataset(count), CUTS["layer3"]
    make_bank(data, store=Store(tmp_path / "old"), precision=precision).pool_features("train", cut, PLAIN)
    for name, (now, labels_now, new) in others.items():
        listener = Listener()
        store = Store(shutil.copytree(tmp_path / "old", tmp_path / name))
        bank = make_bank(with_pool(data, now, labels_now), store=store, precision=precision, reporter=listener)
        del given[:]
        features = bank.pool_features("train", cut, PLAIN)
        assert sum(given) == new, name
        state, said = ("hit", "cache hit: ") if name == "relabelled" else ("built", f"cache: {new} of {len(now):,} ")
        assert (bank.used[0].state, len(store.entries())) == (state, 1)
        assert [line for line in listener.lines if line.startswith(said)], listener.lines
        assert torch.equal(features, make_bank(bank.dataset, precision=precision).pool_features("train", cut, PLAIN))


@pytest.mark.parametrize(("augment", "new"), [("flip,crop", 1), ("python:mine.py:own", 60)])
def test_of_views_only_what_was_drawn_alike_is_taken_over(
    tmp_path: Path, given: list[int], augment: str, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def own(images, chance):\n    return images.flip(3)\n")
    pixels, labels = pictures(60)
    data, view, store = small_dataset(60), Variant("view", 0, augment, 0), Store(tmp_path / "store")
    make_bank(data, store=store).pool_features("train", HEAD_ONLY, view)
    pixels[7] = 255 - pixels[7]
    for now, count in ((pixels, new), (np.delete(pixels, 3, 0), 59)):
        del given[:]
        changed = with_pool(data, now, labels[: len(now)])
        features = make_bank(changed, store=store).pool_features("train", HEAD_ONLY, view)
        assert sum(given) == count
        assert torch.equal(features, make_bank(changed).pool_features("train", HEAD_ONLY, view))


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


def test_maps_are_not_copied_out_of_their_pool(
    tmp_path: Path, shapes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "available_memory", lambda: 0)  # features are mapped
    bank = make_bank(shapes, store=Store(tmp_path))
    for split in ("train", "validation", "test"):
        rows = bank.features(split, CUTS["layer3"])
        assert isinstance(rows, Rows)
        assert rows.whole.data_ptr() == bank.pool_features("train", CUTS["layer3"], PLAIN).data_ptr()
        assert bank.features(split, CUTS["layer3"]) is rows
        pixels = bank.pixels(split)
        assert isinstance(pixels, Rows)
        assert pixels.whole.data_ptr() == torch.from_numpy(shapes.pools["train"].pixels).data_ptr()
    bank.forget_all_but(HEAD_ONLY)
    assert not bank.pools
    assert not bank.splits


def test_the_stem_alone_is_never_kept_and_the_run_says_so(
    tmp_path: Path, shapes_folder: Path, small_weights: Path
) -> None:
    listener = Listener()
    config = small_run(
        shapes_folder, small_weights, epochs=1, unfreeze="layer1", cache=True, cache_dir=str(tmp_path / "cache")
    )
    result = finetune(config, tmp_path / "run", reporter=listener)
    assert result.cache["state"] == "off"
    assert not (tmp_path / "cache").exists()
    assert [line for line in listener.lines if "runs the stem live" in line]


def test_features_too_large_for_memory_are_computed_in_every_epoch_with_the_same_result(
    tmp_path: Path, shapes_folder: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run(shapes_folder, small_weights, epochs=2, unfreeze="layer3")
    expected = run(config, tmp_path / "enough")
    monkeypatch.setattr(module, "memory_limit", lambda: 100_000)
    listener = Listener()
    finetune(config, tmp_path / "little", reporter=listener)
    assert [line for line in listener.lines if "quarter of memory" in line and "--cache" in line]
    best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("little", "enough")]
    assert best[0] == best[1]
    assert len(expected[0]) == 2


def test_the_limit_is_a_quarter_of_the_memory_that_a_container_leaves_and_every_view_counts(
    shapes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.system.available_memory", lambda: 4003)
    assert module.memory_limit() == 1000
    needed = 72 * make_bank(shapes).features("train", CUTS["layer3"])[:1].nbytes
    for views, room, stores in ((0, 1, True), (3, 4, True), (4, 4, False), (0, 0, False)):
        monkeypatch.setattr(module, "memory_limit", lambda room=room: room * needed)
        assert make_bank(shapes, views=views).stores(CUTS["layer3"]) is stores
    assert make_bank(shapes, views=9, store=Store(Path("nowhere"))).stores(CUTS["layer3"])
