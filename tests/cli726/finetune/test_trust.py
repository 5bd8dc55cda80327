"""Temperature, threshold and likeness against independent oracles, and what a run keeps and says of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import chi2
from sklearn.covariance import OAS

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune import trust as trusting
from cli726.finetune.evaluate import score_dataset
from cli726.finetune.predict import load_model, predict
from cli726.finetune.result import Finetuned
from cli726.finetune.storage import read_tensors, write_tensors
from cli726.finetune.training.evaluation import evaluate, wilson_interval
from cli726.finetune.training.folds import CrossValidation
from cli726.finetune.trust import Familiar, Trust, calibrate_folds, familiar_by_folds, fit_temperature, judge
from cli726.finetune.trust import least_confidence as threshold_for
from cli726.reporting import Silent
from tests.cli726.finetune.test_predict import own_copy, put, restate

pytestmark = pytest.mark.usefixtures("small_network")
Finished = Callable[..., Finetuned]


def noisy(images: int, classes: int, heat: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores whose labels are drawn at temperature `heat`, the first one wrong: there is a minimum."""
    chance = np.random.default_rng(seed)
    scores = chance.normal(0, 4, (images, classes)).astype(np.float32)
    labels = np.array([chance.choice(classes, p=np.exp(log_softmax(row / heat))) for row in scores.astype(float)])
    labels[0] = scores[0].argmin()
    return torch.from_numpy(scores), torch.from_numpy(labels)


@settings(max_examples=30)
@given(st.integers(2, 60), st.integers(2, 5), st.sampled_from([0.3, 1.0, 4.0]), st.integers(0, 10**6))
def test_the_temperature_is_scipys_optimum_and_lowers_the_loss(
    images: int, classes: int, heat: float, seed: int
) -> None:
    scores, labels = noisy(images, classes, heat, seed)
    temperature, caution = fit_temperature(scores, labels)

    def loss(log: float) -> float:
        rows = log_softmax(scores.double().numpy() / np.exp(log), axis=1)
        return -float(rows[np.arange(images), labels.numpy()].mean())

    limit = math.log(trusting.HOTTEST)
    theirs = minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-9})
    assert loss(math.log(temperature)) <= min(theirs.fun, loss(0)) + 1e-12
    if caution is None:
        assert temperature == pytest.approx(math.exp(theirs.x), rel=1e-3)
    else:
        assert temperature in (trusting.HOTTEST, 1 / trusting.HOTTEST)
    before, after = evaluate(scores, labels), evaluate(scores.double() / temperature, labels)
    assert after.confusion == before.confusion
    assert after.loss <= before.loss + 1e-12


@given(st.integers(1, 40), st.floats(0.01, 50), st.integers(0, 1000))
def test_where_every_image_is_right_confidence_is_what_so_many_bear_out(images: int, size: float, seed: int) -> None:
    chance = np.random.default_rng(seed)
    scores = torch.from_numpy(chance.uniform(0.5, 1, (images, 3)) * size)
    labels = torch.from_numpy(chance.integers(0, 3, images))
    scores[torch.arange(images), labels] += 0.6 * size
    temperature, caution = fit_temperature(scores, labels)
    assert caution is not None
    if "all" in caution:
        assert float((scores / temperature).softmax(1).amax(1).mean()) == pytest.approx((images + 1) / (images + 2))


@pytest.mark.parametrize(
    ("scores", "temperature"), [([[1.0, 0.0], [1.0, 0.0]], 100.0), ([[2.0, 2.0], [0.0, 0.0]], 1.0), ([[3.0], [4.0]], 1)]
)
def test_scores_that_tell_nothing_are_bounded_and_said(scores: list[list[float]], temperature: float) -> None:
    found, caution = fit_temperature(torch.tensor(scores), torch.tensor([len(scores[0]) - 1, 0]))
    assert found == temperature
    assert caution


@given(st.integers(1, 80), st.integers(0, 1000))
def test_the_calibration_error_is_its_definition(images: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    scores = torch.from_numpy(chance.normal(0, 2, (images, 4)))
    labels = torch.from_numpy(chance.integers(0, 4, images))
    result, (confidence, right) = evaluate(scores, labels), (part.numpy() for part in judge(scores, labels))
    error = 0.0
    for number in range(15):
        own = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if own.any():
            error += own.sum() / images * abs(right[own].mean() - confidence[own].mean())
    assert result.calibration_error == pytest.approx(error, abs=1e-12)
    assert [sum(part) for part in zip(*result.bins, strict=True)] == [
        images, pytest.approx(confidence.sum()), right.sum(),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.6, 0.9, 1.0]), st.booleans()), min_size=1), st.floats(0, 1))
def test_the_threshold_is_the_smallest_that_keeps_the_share(images: list[tuple[float, bool]], most: float) -> None:
    """By trying each."""

    def wrong(threshold: float) -> float:
        taken = [right for confidence, right in images if confidence >= threshold]
        return taken.count(False) / len(taken)

    candidates = [0.0, *sorted({confidence for confidence, _ in images})]
    expected = next((threshold for threshold in candidates if wrong(threshold) <= most), math.inf)
    confidence, right = zip(*images, strict=True)
    assert threshold_for(torch.tensor(confidence, dtype=torch.float64), torch.tensor(right), most) == expected


@pytest.mark.parametrize(("images", "width"), [(200, 5), (12, 30), (6, 4)])
def test_distances_are_scikit_learns(images: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    labels = np.arange(images) % 3 * 2  # a class without images has no mean
    features = chance.normal(size=(images, width)) @ chance.normal(size=(width, width)) + labels[:, None]
    roots = np.sign(features) * np.sqrt(np.abs(features))
    means = np.stack([roots[labels == label].mean(0) for label in (0, 2, 4)])
    theirs = OAS(assume_centered=True).fit(roots - means[labels // 2])
    expected = np.min([theirs.mahalanobis(roots - mean) for mean in means], axis=0) ** 0.5
    found = Familiar.fit(torch.from_numpy(features), torch.from_numpy(labels))
    assert_allclose(found.distances(torch.from_numpy(features)), expected, rtol=1e-4)
    monkeypatch.setattr(trusting, "MOST_AXES", 2)  # beyond, a sphere of the mean variance
    values, vectors = np.linalg.eigh(theirs.covariance_)
    values[:-2] = values[:-2].mean()
    inverse = (vectors / values) @ vectors.T
    gaps = roots[:, None] - means
    expected = np.einsum("nkd,de,nke->nk", gaps, inverse, gaps).min(1) ** 0.5
    found = Familiar.fit(torch.from_numpy(features), torch.from_numpy(labels))
    assert found.axes.shape == (width, 2)
    assert_allclose(found.distances(torch.from_numpy(features)), expected, rtol=1e-4)


def test_one_in_a_hundred_of_the_same_kind_is_marked_and_all_of_another() -> None:
    chance = np.random.default_rng(0)

    def images(count: int, shift: float = 0.0) -> torch.Tensor:
        return torch.from_numpy(chance.normal(size=(count, 8)) + 4 + shift).square()

    near = Familiar.fit(images(4000), torch.arange(4000) % 2)
    near = near.within(near.distances(images(2000)))
    assert near.limit**2 == pytest.approx(chi2(8).ppf(0.99), rel=0.1)
    assert 0.003 < float((near.distances(images(3000)) > near.limit).double().mean()) < 0.02
    assert bool((near.distances(images(100, 3)) > near.limit).all())
    few = near.distances(images(20))
    assert near.within(few).limit == few.max(), "twenty images show no hundredth"
    folds = familiar_by_folds(images(600), torch.arange(600) % 2, torch.arange(600) % 3)
    assert folds.limit == pytest.approx(near.limit, rel=0.2)


def test_a_folds_temperature_and_threshold_come_from_the_others() -> None:
    scores, labels = noisy(90, 3, 4.0, 0)
    folds = np.arange(90) % 3
    raw = CrossValidation(folds, scores, evaluate(scores, labels), (evaluate(scores, labels),) * 3, (0.0,) * 3, 0.0)
    found = calibrate_folds(raw, labels)
    for fold in range(3):
        own = torch.from_numpy(folds == fold)
        temperature, _ = fit_temperature(scores[~own], labels[~own])
        assert_allclose(found.scores[own], scores[own] / temperature, rtol=1e-6)
    assert (found.result.correct, found.result.loss < raw.result.loss) == (raw.result.correct, True)
    assert sum(part.correct for part in found.parts) == found.result.correct
    measured = Trust.measure(scores, labels, Familiar.fit(scores, labels), found)
    told, expected = measured.answered_by_folds(torch.from_numpy(folds)), [0, 0]
    for fold in range(3):
        own = torch.from_numpy(folds == fold)
        chosen = measured.confidence[own] >= threshold_for(measured.confidence[~own], measured.right[~own], 0.05)
        expected = [expected[0] + int(chosen.sum()), expected[1] + int(measured.right[own][chosen].sum())]
    assert [told.answered, told.right] == expected


RUNS: list[dict[str, Any]] = [
    {},
    {"unfreeze": "layer3", "tta": True},
    {"solver": "exact", "l2": (0.1,), "epochs": 1, "tta": True},
    {"solver": "exact", "l2": (0.1,), "epochs": 1, "folds": 3},
]


@pytest.mark.parametrize("options", RUNS, ids=str)
def test_a_run_states_what_predict_gives(finished: Finished, shapes_folder: Path, options: dict[str, Any]) -> None:
    result = finished(**options)
    model, summary = load_model(result.run_dir), json.loads((result.run_dir / "summary.json").read_bytes())
    found = summary["calibration"]
    assert found["temperature"] == model.trust.temperature == result.trust.temperature
    split, judged, _ = result.judged
    assert (found["split"], found["after"]) == (split, judged.calibration_error)
    # What it kept of the validation images is what predict says of them: near enough, as it is fused at another cut.
    held = result.dataset.images("train" if options.get("folds") else "validation")
    if not options.get("folds"):
        sure = sorted(one.probability for one in predict(model, [shapes_folder / name for name in held.names]))
        assert_allclose(sorted(model.trust.confidence.tolist()), sure, atol=1e-3)
        loss = evaluate(model.scores(held.pixels), torch.from_numpy(held.labels)).loss
        assert loss <= result.best.val_loss + 1e-3 or options.get("tta")
    answered = summary["answered"]
    assert answered["images"] == judged.images >= answered["answered"] >= answered["right"]
    assert answered["interval"] == list(wilson_interval(answered["answered"], answered["images"]))
    if split == "test":
        test = result.dataset.images("test")
        threshold = model.trust.threshold(0.05)
        assert answered["threshold"] == (threshold if math.isfinite(threshold) else None)
        told = predict(model, [shapes_folder / name for name in test.names], threshold=threshold)
        own = [one.probabilities[label] for one, label in zip(told, test.labels, strict=True)]
        assert summary["test"]["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-3)
        scored = score_dataset(model, f"folder:{shapes_folder}", None, Silent())
        assert scored.result.loss == pytest.approx(summary["test"]["loss"], rel=1e-3)
        assert sum(not one.unknown for one in told) == answered["answered"]
    else:
        assert summary["folds"]["loss"] == result.best.val_loss == result.crossed.result.loss, "as the heads gave it"


def test_what_a_model_does_not_say_is_left_as_it_was(finished: Finished, tmp_path: Path, shapes_folder: Path) -> None:
    """An older model, and one of a run that isn't finished."""
    run = own_copy(finished().run_dir, tmp_path / "run")
    new, image = load_model(run), next(shapes_folder.rglob("*.png"))
    tensors, facts = read_tensors(run / "best.safetensors")
    write_tensors(run / "best.safetensors", {n: t for n, t in tensors.items() if not n.startswith("trust.")}, facts)
    restate(run, lambda facts: facts.pop("trust"))
    old = load_model(run)
    assert old.trust == Trust(confidence=old.trust.confidence, right=old.trust.right)
    pixels = finished().dataset.images("test").pixels
    torch.testing.assert_close(old.scores(pixels), new.scores(pixels) * new.trust.temperature)
    (one,) = predict(old, [image], threshold=0.5)
    assert (one.unlike, one.unknown) == (False, one.probability < 0.5)
    with pytest.raises(RequestError, match="train it again"):
        old.trust.threshold(0.1)
    assert old.trust.threshold(None, 0.25) == 0.25


NONSENSE = [
    *((name, value) for name in ("temperature", "limit") for value in (None, "1.5", -1, True, math.nan, math.inf, [1])),
    ("temperature", 0), ("temperature", 1e-3), ("temperature", 1e3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), NONSENSE, ids=str)
def test_facts_that_make_no_sense_are_refused(finished: Finished, tmp_path: Path, name: str, value: Any) -> None:
    run = own_copy(finished().run_dir, tmp_path / "run")
    restate(run, put("trust", name, value))
    with pytest.raises(UntrustedDataError, match="not a model of ours"):
        load_model(run)


def zero(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor)


WRONG: list[tuple[str, Callable[[torch.Tensor], torch.Tensor | None]]] = [
    *((name, change) for name in ("confidence", "right", "means", "axes", "variances") for change in (
        lambda tensor: None, lambda tensor: tensor[:-1], lambda tensor: tensor[None], lambda tensor: tensor.long(),
    )),
    ("confidence", lambda tensor: tensor + 1), ("means", lambda tensor: tensor + math.nan), ("variances", zero),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change"), WRONG)
def test_tensors_that_make_no_sense_are_refused(finished: Finished, tmp_path: Path, name: str, change: Any) -> None:
    run = own_copy(finished().run_dir, tmp_path / "run")
    tensors, facts = read_tensors(run / "best.safetensors")
    changed = change(tensors.pop(f"trust.{name}"))
    if name == "means" and changed is not None and changed.dtype == torch.float32 and changed.ndim == 2:
        changed = changed if bool(changed.isnan().any()) else changed[:, 1:]  # a class less would be another model's
    write_tensors(run / "best.safetensors", tensors | ({} if changed is None else {f"trust.{name}": changed}), facts)
    restate(run, lambda facts: None)
    with pytest.raises(UntrustedDataError, match="not a model of ours"):
        load_model(run)
