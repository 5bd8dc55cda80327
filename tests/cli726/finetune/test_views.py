"""What --cache, --augment, --views and --unfreeze-after mean together: what is trained on, and what is said."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cli726.finetune.api import finetune
from cli726.finetune.features.bank import MIRROR, PLAIN, Variant
from cli726.finetune.features.feed import Feed, batch_sizes, from_images, from_stored, from_views
from cli726.finetune.run import Run
from cli726.reporting import Silent
from tests.cli726.finetune.own import AUGMENTATIONS, HEADS, write_code
from tests.cli726.finetune.synthetic import (
    HEAD_ONLY,
    Listener,
    metrics,
    same_bits,
    small_run,
    write_pictures,
)
from tests.cli726.finetune.synthetic import run as run_to_tensors

pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 pictures: 24 of them are trained on."""
    return write_pictures(tmp_path_factory.mktemp("few") / "few", 36)


def numbered(views: int, images: int) -> list[torch.Tensor]:
    """Features that tell which view of which image they are: (number, image)."""
    return [torch.tensor([[number, image] for image in range(images)]) for number in range(views)]


def views_feed(views: int, images: int, batch: int, seed: int = 0, phase: str = "head") -> Feed:
    source = from_views(numbered(views, images))
    return Feed(torch.arange(images), batch_sizes(images, batch), (seed, phase), source)


def epoch_of(feed: Feed, epoch: int) -> torch.Tensor:
    """(view, image) of each image in an epoch, in the images' order."""
    inputs, labels = map(torch.cat, zip(*feed.batches(epoch), strict=True))
    assert torch.equal(inputs[:, 1], labels)
    return inputs[labels.argsort()]


@given(views=st.integers(1, 6), images=st.integers(2, 60), batch=st.integers(2, 20))
def test_each_epoch_shows_each_image_once_in_one_of_its_views(views: int, images: int, batch: int) -> None:
    drawn = epoch_of(views_feed(views, images, batch), 1)
    assert torch.equal(drawn[:, 1], torch.arange(images))
    assert 0 <= int(drawn[:, 0].min()) <= int(drawn[:, 0].max()) < views


def test_views_are_drawn_evenly_by_image_from_seed_phase_and_epoch_whatever_the_batch() -> None:
    def drawn(batch: int = 16, seed: int = 0, phase: str = "head", epoch: int = 1) -> torch.Tensor:
        return epoch_of(views_feed(4, 2000, batch, seed, phase), epoch)[:, 0]

    first = drawn()
    assert torch.equal(drawn(batch=7), first)
    assert all(440 < count < 560 for count in torch.bincount(first, minlength=4).tolist())
    for other in (drawn(seed=1), drawn(phase="layer3"), drawn(epoch=2)):
        assert 0.15 < (other == first).float().mean().item() < 0.35


@pytest.mark.parametrize("cut", [2, 3, HEAD_ONLY])
@pytest.mark.parametrize("cache", [False, True])
def test_a_view_is_the_prefix_of_the_augmented_images(
    tmp_path: Path, few: Path, small_weights: Path, cut: int, cache: bool
) -> None:
    """Where the augmentation is certain, the features are known."""
    where = {"cache": True, "cache_dir": str(tmp_path)} if cache else {}
    bank = Run.setup(small_run(few, small_weights, augment="flip", views=2, **where), Silent()).bank
    plain, mirrored = (bank.features("train", cut, v)[:] for v in (PLAIN, MIRROR))
    always, never = (bank.features("train", cut, Variant("view", 0, f"flip:{p}", 0))[:] for p in (1, 0))
    assert torch.equal(always, mirrored)
    assert torch.equal(never, plain)
    half = [bank.features("train", cut, Variant("view", number, "flip:0.5", 0))[:] for number in (0, 1)]
    for view in half:
        is_plain, is_mirrored = ((view == x).flatten(1).all(1) for x in (plain, mirrored))
        assert bool((is_plain ^ is_mirrored).all())
        assert 4 < int(is_plain.sum()) < 20
    assert not torch.equal(*half)
    assert not torch.equal(half[0], bank.features("train", cut, Variant("view", 0, "flip:0.5", 1))[:])


def test_the_views_are_stored_once_and_found_by_every_later_run(
    tmp_path: Path, few: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run(
        few, small_weights, views=3, augment="flip,crop", unfreeze_after="1", unfreeze="layer3", epochs=2, cache=True,
        cache_dir=str(tmp_path / "cache"), tta=True,
    )  # fmt: skip
    built = finetune(config, tmp_path / "first")
    cuts = [entry["cut"] for entry in built.cache["entries"]]
    # Per cut three views and the plain images, for validation; the mirrored ones where the best model was.
    assert cuts.count("pool") + cuts.count("layer2") == len(cuts) == 9
    assert min(cuts.count("pool"), cuts.count("layer2")) == 4
    assert built.cache["state"] == "built"
    monkeypatch.setattr("cli726.finetune.features.bank.Bank.extract", lambda *_: pytest.fail("the frozen part was run"))
    hit = finetune(config, tmp_path / "second")
    assert hit.cache["state"] == "hit"
    assert {entry["state"] for entry in hit.cache["entries"]} == {"hit"}
    assert hit.test == built.test
    fewer = small_run(
        few, small_weights, views=2, augment="flip,crop", epochs=1, cache=True, cache_dir=config.cache_dir
    )
    assert finetune(fewer, tmp_path / "fewer").cache["state"] == "hit"


@pytest.mark.parametrize("change", [{"augment": "crop,flip"}, {"augment": "flip,crop:2"}, {"seed": 1}, {"views": 3}])
def test_other_views_are_other_entries(tmp_path: Path, few: Path, small_weights: Path, change: dict[str, Any]) -> None:
    options = {"views": 2, "augment": "flip,crop", "epochs": 1, "cache": True, "cache_dir": str(tmp_path / "cache")}
    first = finetune(small_run(few, small_weights, **options), tmp_path / "first")
    second = finetune(small_run(few, small_weights, **{**options, **change}), tmp_path / "second")
    states = [entry["state"] for entry in second.cache["entries"]]
    common = {e["key"] for e in first.cache["entries"]} & {e["key"] for e in second.cache["entries"]}
    assert (second.cache["state"], len(common)) == ("built", 3 if "views" in change else 1)
    assert states.count("built") == (1 if "views" in change else 2)


def test_an_own_augmentation_that_was_changed_is_not_taken_for_the_old_one(
    tmp_path: Path, few: Path, small_weights: Path
) -> None:
    name = write_code(tmp_path / "mine.py", AUGMENTATIONS)("darken")
    config = small_run(
        few, small_weights, views=1, augment=name, epochs=1, cache=True, cache_dir=str(tmp_path / "cache")
    )
    assert finetune(config, tmp_path / "first").cache["state"] == "built"
    assert finetune(config, tmp_path / "second").cache["state"] == "hit"
    (tmp_path / "mine.py").write_text(AUGMENTATIONS.replace("// 2", "// 3"))
    assert finetune(config, tmp_path / "third").cache["state"] == "built"


AUGMENT = "flip,crop"
SOURCES: list[dict[str, Any]] = [
    {"cache": cache, "augment": augment, "views": views}
    for cache, (augment, views) in itertools.product([False, True], [("none", None), (AUGMENT, None), (AUGMENT, 2)])
]
PLANS: list[dict[str, Any]] = [{}, {"unfreeze_after": "1"}, {"unfreeze_after": "1", "unfreeze": "layer3"}]


def expected(phase: str, source: dict[str, Any]) -> tuple[Any, bool, str | None]:
    """CLI.md's rules for one phase: kind of inputs, whether augmented in every epoch, and what the line says."""
    if phase == "all":
        return from_images, source["augment"] != "none", "trains from images" if source["cache"] else None
    if source["views"]:
        return from_views, False, "2 augmented views of each image, one drawn in each epoch"
    if source["augment"] == "none":
        return from_stored, False, None
    if source["cache"]:
        return from_stored, False, "trains on the cached features of plain images; --augment takes effect"
    return from_images, True, "augments afresh and computes the frozen part in every epoch"


def name_of(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items() if value not in {None, False}) or "-"


@pytest.mark.parametrize("plan", PLANS, ids=name_of)
@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_every_combination_does_what_the_contract_says_and_says_so(
    tmp_path: Path, few: Path, small_weights: Path, plan: dict[str, Any], source: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    feeds: dict[str, Feed] = {}
    make = Run.feed

    def noting(self: Run, phase: Any) -> Feed:
        feeds[phase.name] = make(self, phase)
        return feeds[phase.name]

    monkeypatch.setattr(Run, "feed", noting)
    listener = Listener()
    options = {"epochs": 2, **plan, **source, "cache_dir": str(tmp_path / "cache") if source["cache"] else None}
    result = finetune(small_run(few, small_weights, **options), tmp_path / "run", reporter=listener)
    assert list(feeds) == ["head", *([plan.get("unfreeze", "all")] if plan else [])]
    for phase, feed in feeds.items():
        kind, augmented, line = expected(phase, source)
        assert feed.source.__qualname__.startswith(kind.__name__), phase
        if kind is from_images:
            plain, seen = (torch.cat(list(parts)) for parts in (feed.plain(99), (x for x, _ in feed.batches(1))))
            assert torch.equal(plain.flatten().sort().values, seen.flatten().sort().values) is not augmented, phase
        said = [said for said in listener.lines if said.startswith(f"phase {phase}: ") and "epochs" not in said]
        if line is None:
            # Augmentation of images needs no line: it does what was asked for.
            assert not [one for one in said if "augment" in one], said
        else:
            assert [one for one in said if line in one], said
    assert result.cache["state"] == ("built" if source["cache"] else "off")


def test_equal_combinations_train_equal_models_and_others_do_not(
    tmp_path: Path, few: Path, small_weights: Path
) -> None:
    def lines(name: str, **options: Any) -> list[dict[str, Any]]:
        where = {"cache_dir": str(tmp_path / "cache")} if options.get("cache") else {}
        finetune(small_run(few, small_weights, unfreeze_after="1", epochs=2, **options, **where), tmp_path / name)
        return metrics(tmp_path / name)

    plain = lines("plain")
    assert lines("cached", cache=True) == plain
    augmented = lines("augmented", augment=AUGMENT)
    assert augmented[0] != plain[0]
    assert augmented[1] != plain[1]
    kept = lines("cached, augmented", cache=True, augment=AUGMENT)
    assert kept[0] == plain[0]
    assert kept[1] != plain[1]
    views = lines("views", augment=AUGMENT, views=2)
    assert lines("cached views", cache=True, augment=AUGMENT, views=2) == views
    assert views[0] not in (plain[0], augmented[0])
    assert views[1] != plain[1]


def test_views_of_one_certain_augmentation_train_as_images_augmented_so(
    tmp_path: Path, few: Path, small_weights: Path
) -> None:
    """All images mirrored: stored once, or mirrored anew in every epoch, the model is the same, bit for bit."""
    options: dict[str, Any] = {"augment": "flip:1", "unfreeze_after": "1", "unfreeze": "layer3", "epochs": 2}
    fresh = run_to_tensors(small_run(few, small_weights, **options), tmp_path / "fresh")
    stored = run_to_tensors(small_run(few, small_weights, views=3, **options), tmp_path / "stored")
    # BatchNorm's averages are settled on the views, else on plain images; what is trained is the same.
    assert [line["train_loss"] for line in stored[0]] == [line["train_loss"] for line in fresh[0]]
    trained = [
        {n: t for n, t in tensors.items() if n.startswith("network.") and "running" not in n and "num_" not in n}
        for _, _, tensors in (fresh, stored)
    ]
    assert same_bits(*trained)


EVERYTHING: Sequence[dict[str, Any]] = (
    {"head": "mlp:8", "dropout": 0.2, "batch_norm": True, "l2": (0.0, 0.1)},
    {"solver": "exact", "l2": (0.01, 0.1)},
    {"head": "own", "precision": "bf16", "optimizer": "adamw", "patience": 1, "validate_every": 2},
)


@pytest.mark.parametrize("options", EVERYTHING, ids=["mlp", "exact", "own"])
def test_all_extensions_at_once(tmp_path: Path, few: Path, small_weights: Path, options: dict[str, Any]) -> None:
    """Cache, augmentation, views, a penalty, a head, gradual unfreezing and mirror averaging: built, then found."""
    if options.get("head") == "own":
        options = {**options, "head": write_code(tmp_path / "heads.py", HEADS)("small")}
    config = small_run(
        few, small_weights, cache=True, cache_dir=str(tmp_path / "cache"), augment="flip,crop,blur,saltpepper", views=2,
        epochs=4, unfreeze_after="2:layer3,3:all", tta=True, **options,
    )  # fmt: skip
    first = finetune(config, tmp_path / "first")
    assert [part.phase.name for part in first.phases] == ["head", "layer3", "all"]
    assert len(first.trials) == (len(config.l2) if len(config.l2) > 1 else 0)
    second = finetune(config, tmp_path / "second")
    assert second.cache["state"] == "hit"
    assert metrics(tmp_path / "first") == metrics(tmp_path / "second")
    assert second.test == first.test
