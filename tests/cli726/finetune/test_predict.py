"""A finished run put to use: agreement with its own test, and files that aren't to be trusted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.api import finetune
from cli726.finetune.predict import Prediction, collect_images, load_model, predict
from cli726.finetune.result import Finetuned
from cli726.finetune.storage import read_tensors, write_tensors
from tests.cli726.finetune.own import CANARY, HEADS, write_code
from tests.cli726.finetune.synthetic import small_run

pytestmark = pytest.mark.usefixtures("small_network")


def own_copy(run: Path, target: Path) -> Path:
    target.mkdir()
    for name in ("best.safetensors", "model.json"):
        (target / name).write_bytes((run / name).read_bytes())
    return target


def restate(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a run's model with other facts, digest and all: what an attacker, not a bad disk, would do."""
    tensors, facts = read_tensors(run / "best.safetensors")
    change(facts)
    write_tensors(run / "best.safetensors", tensors, facts)
    digest = hashlib.sha256((run / "best.safetensors").read_bytes()).hexdigest()
    (run / "model.json").write_text(json.dumps({**facts, "sha256": digest}))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"head": "mlp:8,4", "dropout": 0.3, "batch_norm": True},
    {"unfreeze": "layer3"},
    {"unfreeze_after": "1", "precision": "bf16"},
    {"standardize": False, "normalization": "course"},
    {"solver": "exact", "l2": (0.1,), "epochs": 1},
    {"solver": "exact", "l2": (0.1,), "epochs": 1, "tta": True},
    {"unfreeze": "layer3", "tta": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_predictions_are_the_runs_own_test_scores(
    finished: Callable[..., Finetuned], shapes_folder: Path, options: dict[str, Any]
) -> None:
    result = finished(**options)
    test = result.dataset.images("test")
    model = load_model(result.run_dir)
    assert model.class_names == result.dataset.class_names
    assert not model.network.training
    predictions = predict(model, [shapes_folder / name for name in test.names])
    shares = np.array([one.probabilities for one in predictions])
    expected = result.test_scores.double().softmax(1).numpy()
    # Fused at another cut the network rounds otherwise, in bfloat16 more so.
    np.testing.assert_allclose(shares, expected, atol=0.05 if options.get("precision") == "bf16" else 1e-4)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-9)
    summary = json.loads((result.run_dir / "summary.json").read_bytes())
    labels = [result.dataset.class_names[label] for label in test.labels]
    right = sum(one.label == label for one, label in zip(predictions, labels, strict=True))
    assert summary["test"]["accuracy"] == right / len(labels)
    assert model.tta is ("test_plain" in summary) is bool(options.get("tta"))
    for one, row in zip(predictions, shares, strict=True):
        assert one.label == model.class_names[row.argmax()]
        assert one.probability == row.max()
        assert one.problem is None


def assert_same(one: Prediction, other: Prediction) -> None:
    """But for the last bits, which a product's number of rows decides."""
    assert (one.image, one.label, one.problem) == (other.image, other.label, other.problem)
    assert one.probabilities == pytest.approx(other.probabilities, rel=1e-5)


def test_an_image_is_classified_whatever_stands_beside_it_and_broken_ones_in_their_place(
    tmp_path: Path, finished: Callable[..., Finetuned], shapes_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(finished().run_dir)
    good = sorted(shapes_folder.rglob("*.png"))[:7]
    whole = predict(model, good)
    for path, one in zip(good, whole, strict=True):
        assert_same(predict(model, [path])[0], one)
    (tmp_path / "broken.png").write_bytes(b"x")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    mixed = [tmp_path / "broken.png", *good[:3], tmp_path / "gone.png", *good[3:], good[0]]
    monkeypatch.setattr("cli726.finetune.predict.BLOCK", 3)
    results = predict(model, mixed)
    assert [one.image for one in results] == [str(path) for path in mixed]
    for one, other in zip([one for one in results if one.problem is None], [*whole, whole[0]], strict=True):
        assert_same(one, other)
    for bad in (results[0], results[4]):
        assert (bad.label, bad.probability, bad.probabilities) == (None, None, ())
        assert bad.problem
    assert [one.problem is None for one in predict(model, mixed[:1])] == [False]


def test_folders_are_their_images_in_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.jpg", "a/x/3.PNG", "a/notes.txt", "a/.hidden.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = collect_images([str(tmp_path / "b"), str(tmp_path / "a" / "notes.txt"), str(tmp_path / "a")])
    names = [path.relative_to(tmp_path).as_posix() for path in found]
    assert names == ["b/1.jpg", "b/2.png", "a/notes.txt", "a/x/3.PNG"]
    (tmp_path / "empty").mkdir()
    for places, message in (
        (["nowhere.png"], r"exists; got nowhere\.png"),
        ([str(tmp_path / "empty")], "found none in"),
        ([], "found none in standard input"),
    ):
        with pytest.raises(RequestError, match=message):
            collect_images(places)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere names are text")
def test_names_that_are_no_text(tmp_path: Path, finished: Callable[..., Finetuned]) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (40, 40)).save(path)
    (one,) = predict(load_model(finished().run_dir), collect_images([str(tmp_path)]))
    assert one.image == f"{tmp_path}/caf\\xe9.png"
    assert one.problem is None


@pytest.mark.parametrize("damage", ["model changed", "model cut", "digest missing", "digest of another", "no JSON"])
def test_files_that_do_not_match_are_not_trusted(
    tmp_path: Path, finished: Callable[..., Finetuned], damage: str
) -> None:
    run = own_copy(finished().run_dir, tmp_path / "run")
    load_model(run)
    content = bytearray((run / "best.safetensors").read_bytes())
    if damage == "model changed":
        content[-1] ^= 1
        (run / "best.safetensors").write_bytes(content)
    elif damage == "model cut":
        (run / "best.safetensors").write_bytes(content[:-1000])
    elif damage == "digest missing":
        (run / "model.json").unlink()
    elif damage == "digest of another":
        (run / "model.json").write_bytes((finished(**OPTIONS[1]).run_dir / "model.json").read_bytes())
    else:
        (run / "model.json").write_text("[" * 10)
    with pytest.raises(UntrustedDataError):
        load_model(run)


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Replace the fact at a place: its names, then the value."""

    def change(facts: dict[str, Any]) -> None:
        *outer, last, value = path
        for name in outer:
            facts = facts[name]
        facts[last] = value

    return change


NONSENSE: list[tuple[str, ...] | tuple[Any, ...]] = [
    ("architecture", 20), ("architecture", "depth", 21), ("architecture", "depth", 32), ("architecture", "depth", [20]),
    ("classes", "abc"), ("classes", ["a", "b"]), ("classes", ["a", "b", 3]), ("head", []), ("head", "kind", "mlp:8"),
    ("head", "kind", "mlp:65536,65536"), ("head", "kind", "nonsense"), ("head", "kind", None), ("head", "dropout", "x"),
    ("head", "dropout", 7), ("head", "batch_norm", True), ("normalization", None), ("normalization", "mean", [0, 0]),
    ("normalization", "std", [1, 1, 0]), ("normalization", "std", [1, 1, float("nan")]),
    ("normalization", "mean", ["a", "b", "c"]), ("levels", [1, 0]), ("levels", [0, float("inf")]), ("levels", [0]),
]  # fmt: skip


@pytest.mark.parametrize(
    "change", [*(put(*path) for path in NONSENSE), lambda facts: facts.pop("precision"), lambda facts: facts.clear()]
)
def test_facts_that_make_no_sense_are_not_trusted_though_their_digest_is_right(
    tmp_path: Path, finished: Callable[..., Finetuned], change: Callable[[dict[str, Any]], None]
) -> None:
    run = own_copy(finished().run_dir, tmp_path / "run")
    restate(run, change)
    with pytest.raises(UntrustedDataError, match="not a model of ours"):
        load_model(run)


def test_code_that_a_run_names_is_run_only_if_it_is_typed(
    tmp_path: Path, finished: Callable[..., Finetuned], shapes_folder: Path, small_weights: Path
) -> None:
    canary = tmp_path / "canary"
    evil = write_code(tmp_path / "evil.py", CANARY.format(canary=str(canary)) + HEADS)("small")
    run = own_copy(finished().run_dir, tmp_path / "run")
    restate(run, put("head", "kind", evil))
    for typed in (None, "python:other.py:small", evil + "x"):
        with pytest.raises(RequestError, match=r"never run: type --head python:"):
            load_model(run, typed)
    assert not canary.exists()
    with pytest.raises(UntrustedDataError):  # typed, it is run; but the tensors are a linear head's
        load_model(run, evil)
    assert canary.exists()

    own = write_code(tmp_path / "heads.py", HEADS)("small")
    result = finetune(small_run(shapes_folder, small_weights, head=own, epochs=1), tmp_path / "own")
    test = result.dataset.images("test")
    predictions = predict(load_model(tmp_path / "own", own), [shapes_folder / name for name in test.names])
    expected = result.test_scores.double().softmax(1)
    shares = torch.tensor([one.probabilities for one in predictions]).double()
    torch.testing.assert_close(shares, expected, rtol=1e-3, atol=1e-4)


def test_a_head_is_typed_only_where_it_belongs(finished: Callable[..., Finetuned]) -> None:
    with pytest.raises(RequestError, match="--head is for runs whose head is code of your own"):
        load_model(finished().run_dir, "python:mine.py:head")
