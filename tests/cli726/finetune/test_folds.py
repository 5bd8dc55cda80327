"""Cross-validation against scikit-learn's, and the folds that it rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from cli726.errors import RequestError
from cli726.finetune.training.exact_head import fit_exact
from cli726.finetune.training.folds import cross_validate, draw_folds

CLASSES = 3


def digests_of(groups: Any) -> np.ndarray:
    """Digests that are equal for images of the same group."""
    return np.repeat(np.array(groups, np.uint8)[:, None], 32, 1)


@given(
    images=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), min_size=12, max_size=80),
    count=st.integers(2, 20), seed=st.integers(0, 9),
)  # fmt: skip
def test_folds_are_stratified_and_identical_images_are_in_one(images: Any, count: int, seed: int) -> None:
    groups = np.array([group for _, group in images])
    labels = np.array([group % CLASSES for group in groups])
    if min(len({g for g in groups if g % CLASSES == c}) for c in range(CLASSES)) < 2:
        return
    folds = draw_folds(labels, digests_of(groups), "abc", count, seed)
    assert 0 <= folds.min() <= folds.max() < count
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    largest = np.bincount(groups).max()
    for label in range(CLASSES):
        held = np.bincount(folds[labels == label], minlength=count)
        assert held.max() - held.min() <= largest
    if largest == 1:
        held = np.bincount(folds, minlength=count)
        assert held.max() - held.min() <= CLASSES
    assert np.array_equal(folds, draw_folds(labels, digests_of(groups), "abc", count, seed))


def test_another_seed_deals_anew_and_a_class_of_one_image_is_refused() -> None:
    labels, digests = np.arange(60) % 3, digests_of(np.arange(60))
    drawn = [draw_folds(labels, digests, "abc", 5, seed) for seed in (0, 1)]
    assert not np.array_equal(*drawn)
    with pytest.raises(RequestError, match="two different images of each class or more; got 1 of b"):
        draw_folds(np.array([0, 0, 1, 1, 2, 2]), digests_of([0, 1, 2, 2, 4, 5]), "abc", 2, 0)


class Exact(nn.Module):
    """A linear classifier on standardised features, at its optimum."""

    def __init__(self, features: Tensor, labels: Tensor, l2: float, purpose: str) -> None:
        super().__init__()
        self.mean, self.scale = features.double().mean(0), features.double().std(0, correction=0)
        self.fit = fit_exact(self.standardized(features), labels, CLASSES, l2)

    def standardized(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.scale).float()

    def forward(self, x: Tensor) -> Tensor:
        return (self.standardized(x).double() @ self.fit.weights.T + self.fit.bias).float()


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that overlap, labels, and five folds of 24."""
    chance = np.random.default_rng(3)
    labels = np.repeat(np.arange(CLASSES), 40)
    x = chance.normal(size=(120, 4)).astype(np.float32)
    x[:, 0] += labels
    return x * [1, 5, 0.1, 2] + 3, labels, draw_folds(labels, digests_of(range(120)), "abc", 5, 0)


def test_scores_are_scikit_learns(data: Any) -> None:
    x, labels, folds = data
    assert np.bincount(folds).tolist() == [24] * 5
    found = cross_validate(torch.tensor(x, dtype=torch.float32), torch.tensor(labels), folds, [0.01], Exact)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (0.01 * 96), tol=1e-12, max_iter=10_000))
    expected = cross_val_predict(model, x, labels, cv=PredefinedSplit(folds), method="decision_function")
    np.testing.assert_allclose(found.scores, expected, atol=2e-6)
    assert found.result.correct == sum(part.correct for part in found.parts) == (expected.argmax(1) == labels).sum()
    assert found.l2 == (0.01,) * 5


def test_penalties_are_chosen_within_the_other_folds(data: Any) -> None:
    x, labels, folds = data
    penalties = [3.0, 0.3, 1e-3]
    found = cross_validate(torch.tensor(x, dtype=torch.float32), torch.tensor(labels), folds, penalties, Exact)
    # Of four folds three are trained on: 72 images.
    logistic = LogisticRegression(tol=1e-10, max_iter=10_000)
    for fold in range(5):
        rest = folds != fold
        search = GridSearchCV(
            make_pipeline(StandardScaler(), logistic),
            {"logisticregression__C": [1 / (l2 * 72) for l2 in penalties]},
            cv=PredefinedSplit(folds[rest]), scoring=["accuracy", "neg_log_loss"], refit=False,
        ).fit(x[rest], labels[rest])  # fmt: skip
        scores = zip(*(search.cv_results_[f"mean_test_{name}"] for name in ("accuracy", "neg_log_loss")), strict=True)
        ranked = [(round(accuracy, 9), loss) for accuracy, loss in scores]
        assert found.l2[fold] == penalties[max(range(3), key=ranked.__getitem__)]
