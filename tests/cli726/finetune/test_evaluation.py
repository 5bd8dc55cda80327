"""Scores and what follows from them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, log_loss, recall_score
from torch import nn

from cli726.finetune.features.extractor import Extractor
from cli726.finetune.network.resnet import Network, Normalization, divide
from cli726.finetune.training.evaluation import evaluate, network_scores, wilson_interval
from tests.cli726.finetune.synthetic import HEAD_ONLY, lively_backbone, pictures

NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
counts = st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilsons_interval_ends_where_the_score_test_does(numbers: tuple[int, int]) -> None:
    """Inversion of the test: at both ends |share - p| is 1.96 standard errors under p itself."""
    correct, images = numbers
    low, high = wilson_interval(correct, images)
    assert 0 <= low <= correct / images <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            z = abs(correct / images - end) / (end * (1 - end) / images) ** 0.5
            assert z == pytest.approx(1.959964, rel=1e-5)
    theirs = binomtest(*numbers).proportion_ci(0.95, "wilson")
    assert_allclose((low, high), (theirs.low, theirs.high), atol=1e-12)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(2, 6), st.integers(1, 50), st.integers(0, 1000))
def test_confusion_accuracy_and_loss_agree_with_scikit_learn(classes: int, images: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    scores = chance.normal(0, 3, (images, classes)).astype(np.float32)
    labels = chance.integers(0, classes, images)
    result = evaluate(torch.from_numpy(scores), torch.from_numpy(labels))
    predicted = scores.argmax(1)
    assert_array_equal(result.confusion, confusion_matrix(labels, predicted, labels=range(classes)))
    assert result.accuracy == accuracy_score(labels, predicted) == pytest.approx(1 - result.error)
    p = np.exp(scores.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    assert_allclose(result.loss, log_loss(labels, p, labels=range(classes)), rtol=1e-9)
    assert result.images == images
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class is predicted which has no image
        assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    recalls = recall_score(labels, predicted, labels=np.unique(labels), average=None)
    assert [share for share in result.class_accuracy if share is not None] == pytest.approx(list(recalls))
    sizes = np.bincount(labels)
    said = result.imbalance([f"class {k}" for k in range(classes)])
    assert bool(said) is bool(sizes.max() >= 2 * sizes[sizes > 0].min())
    if said:
        always = np.full(images, sizes.argmax())
        assert said.endswith(f"always class {sizes.argmax()} has {100 * accuracy_score(labels, always):.1f} % right")
    assert set(result.to_json()) == {"accuracy", "error", "loss", "images", "interval"}


def test_among_equal_scores_the_first_class_wins() -> None:
    result = evaluate(torch.zeros(3, 4), torch.tensor([0, 1, 3]))
    assert result.confusion == ((1, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0))
    assert result.loss == pytest.approx(np.log(4))


def test_scores_are_the_same_from_every_cut_and_leave_the_modes_as_they_were() -> None:
    network = Network(lively_backbone(), nn.Sequential(nn.Dropout(0.9), nn.Linear(64, 3)))
    pixels = torch.from_numpy(pictures(21)[0])
    network.train()
    whole = network_scores(network, 0, pixels, torch.float32, NORMALIZATION)
    for cut in (2, 3, HEAD_ONLY):
        stored = Extractor(divide(network.backbone, cut)[0], normalization=NORMALIZATION)(pixels)
        assert torch.equal(network_scores(network, cut, stored, torch.float32, NORMALIZATION), whole)
    assert all(module.training for module in network.modules())
    with torch.no_grad():
        plain = network.eval()(NORMALIZATION(pixels))
    torch.testing.assert_close(whole, plain, rtol=1e-3, atol=1e-4)
