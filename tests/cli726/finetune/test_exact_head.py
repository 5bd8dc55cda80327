"""The exact solver against scikit-learn, torch's autograd and what convex analysis says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from cli726.errors import ComputationError, RequestError
from cli726.finetune.training import exact_head
from cli726.finetune.training.exact_head import Objective, class_weights, fit_exact


def overlapping(
    rows: int = 600, features: int = 12, classes: int = 4, seed: int = 0, spread: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Correlated Gaussians that no hyperplane separates, sorted by class, standardised."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) * classes // rows
    mixing = torch.randn(features, features, generator=chance) / features**0.5
    means = spread * torch.randn(classes, features, generator=chance)
    x = (means[labels] + torch.randn(rows, features, generator=chance)) @ mixing
    return (x - x.mean(0)) / x.std(0), labels


def objective_of(weights: Tensor, bias: Tensor, x: Tensor, labels: Tensor, l2: float) -> Tensor:
    scores = x.double() @ weights.T + bias
    return torch.nn.functional.cross_entropy(scores, labels) + l2 / 2 * weights.square().sum()


def scikit_objective(x: Tensor, labels: Tensor, penalty: float, l2: float | None = None) -> float:
    """Our objective with `l2` at scikit-learn's optimum with `penalty`, where these are not the same."""
    model = LogisticRegression(
        C=1 / (len(x) * penalty) if penalty else np.inf, tol=1e-9, max_iter=5000, solver="newton-cg"
    )
    model.fit(x.double().numpy(), labels.numpy())
    weights, bias = torch.tensor(model.coef_), torch.tensor(model.intercept_)
    if len(weights) == 1:  # two classes: scikit-learn gives their difference
        weights, bias = torch.cat([-weights / 2, weights / 2]), torch.cat([-bias / 2, bias / 2])
    return float(objective_of(weights, bias, x, labels, penalty if l2 is None else l2))


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4, 0.0])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_objective_is_scikit_learns_and_what_all_classes_share_is_left_out(classes: int, l2: float) -> None:
    x, labels = overlapping(classes=classes)
    # With two classes scikit-learn penalises their difference v = 2 W, and l2/2 |W|^2 twice is l2/4 |v|^2.
    fit, theirs = fit_exact(x, labels, classes, l2), scikit_objective(x, labels, l2 / 2 if classes == 2 else l2, l2)
    assert fit.converged
    assert not fit.separable
    assert fit.objective == pytest.approx(theirs, rel=1e-6)
    assert float(fit.weights.sum(0).abs().max()) < 1e-12
    assert abs(float(fit.bias.sum())) < 1e-12


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_weights_of_classes_are_scikit_learns(labels: list[int]) -> None:
    found, present = class_weights(torch.tensor(labels)), np.unique(labels)
    expected = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(found[torch.from_numpy(present)], expected, rtol=1e-14)
    assert float(found[labels].mean()) == pytest.approx(1)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("features", [12, 300], ids=["many images", "few images"])
def test_with_balanced_classes_it_is_scikit_learns_class_weight(features: int) -> None:
    x, labels = overlapping(rows=200, features=features)
    keep = torch.cat([torch.arange(4), (labels != 1).nonzero()[:, 0], (labels == 1).nonzero()[:12, 0]]).unique()
    x, labels = x[keep], labels[keep]
    fit = fit_exact(x, labels, 4, 1e-2, class_weights(labels))
    model = LogisticRegression(C=100 / len(x), class_weight="balanced", tol=1e-10, max_iter=5000, solver="newton-cg")
    model.fit(x.double().numpy(), labels.numpy())
    assert fit.converged
    np.testing.assert_allclose(fit.weights, model.coef_, atol=1e-6)
    np.testing.assert_allclose(fit.bias, model.intercept_ - model.intercept_.mean(), atol=1e-6)
    plain, ones = fit_exact(x, labels, 4, 1e-2), fit_exact(x, labels, 4, 1e-2, torch.ones(4).double())
    assert torch.equal(plain.weights, ones.weights)
    assert not torch.allclose(plain.weights, fit.weights, atol=1e-3)


@pytest.mark.parametrize("l2", [1e-1, 1e-4])
def test_one_preconditioner_for_all_classes_leads_to_the_same_optimum(
    l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = overlapping(classes=7)
    fit = fit_exact(x, labels, 7, l2)
    monkeypatch.setattr(exact_head, "WIDE", 8)
    wide = fit_exact(x, labels, 7, l2)
    objective = Objective(x, labels, 7, l2)
    assert objective.preconditioner(objective.at(wide.weights.new_zeros(7, 13))).shape == (1, 13, 13)
    assert wide.converged
    torch.testing.assert_close(wide.weights, fit.weights, rtol=1e-6, atol=1e-8)


def test_hundred_classes() -> None:
    x, labels = overlapping(rows=2000, features=16, classes=100, spread=1.0)
    fit = fit_exact(x, labels, 100, 1e-3)
    assert fit.converged
    assert fit.gradient_norm <= 1e-10
    assert fit.objective == pytest.approx(scikit_objective(x, labels, 1e-3), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(6, 80),
    features=st.integers(1, 20),
    classes=st.integers(2, 6),
    l2=st.sampled_from([1e-6, 1e-3, 0.1, 10.0]),
    seed=st.integers(0, 2**20),
)
def test_autograd_finds_no_gradient_at_the_optimum(
    rows: int, features: int, classes: int, l2: float, seed: int
) -> None:
    x, labels = overlapping(max(rows, classes), features, classes, seed, spread=2.0)
    fit = fit_exact(x, labels, classes, l2)
    assert fit.converged
    weights, bias = fit.weights.requires_grad_(), fit.bias.requires_grad_()
    value = objective_of(weights, bias, x, labels, l2)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(value, (weights, bias))])
    assert fit.objective == pytest.approx(value.item(), rel=1e-12)
    assert float(gradient.norm()) < 2e-10
    assert fit.gradient_norm <= 1e-10


def test_fewer_images_than_features_end_at_the_same_optimum() -> None:
    x, labels = overlapping(rows=60, features=300, classes=3)
    fit = fit_exact(x, labels, 3, 1e-2)
    assert fit.weights.shape == (3, 300)
    assert fit.converged
    weights, bias = fit.weights.requires_grad_(), fit.bias.requires_grad_()
    value = objective_of(weights, bias, x, labels, 1e-2)
    assert fit.objective == pytest.approx(value.item(), rel=1e-7)
    assert fit.objective == pytest.approx(scikit_objective(x, labels, 1e-2), rel=1e-6)
    assert all(float(gradient.norm()) < 1e-6 for gradient in torch.autograd.grad(value, (weights, bias)))


@pytest.mark.parametrize("counts", [None, [0.2, 1.0, 3.0]], ids=["plain", "weighted"])
def test_gradient_and_curvature_are_autograds(counts: list[float] | None) -> None:
    x, labels = overlapping(rows=200, features=5, classes=3)
    counting = None if counts is None else torch.tensor(counts, dtype=torch.float64)
    objective = Objective(x, labels, 3, 0.05, counting)
    weights = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    direction = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def value(w: Tensor) -> Tensor:
        each = torch.nn.functional.cross_entropy(x.double() @ w[:, :-1].T + w[:, -1], labels, reduction="none")
        return ((1 if counting is None else counting[labels]) * each).mean() + 0.025 * w[:, :-1].square().sum()

    point = objective.at(weights)
    expected = torch.autograd.functional.jacobian(value, weights)
    torch.testing.assert_close(point.gradient, expected, rtol=1e-11, atol=1e-13)
    _, curved = torch.autograd.functional.hvp(value, weights, direction)
    torch.testing.assert_close(objective.curve(point, direction.float()), curved.float(), rtol=1e-4, atol=1e-6)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = overlapping(rows=500)
    whole = fit_exact(x, labels, 4, 1e-2)
    monkeypatch.setattr(exact_head, "BLOCK", 64)
    monkeypatch.setattr(exact_head, "SAMPLE", 100)
    blocked = fit_exact(x, labels, 4, 1e-2)
    torch.testing.assert_close(blocked.weights, whole.weights, rtol=0, atol=1e-7)
    torch.testing.assert_close(blocked.bias, whole.bias, rtol=0, atol=1e-7)


def test_collinear_and_constant_features_have_an_optimum() -> None:
    x, labels = overlapping()
    fit = fit_exact(torch.cat([x, -2 * x[:, :3], torch.zeros(len(x), 1)], 1), labels, 4, 0.0)
    assert fit.converged
    assert fit.objective == pytest.approx(fit_exact(x, labels, 4, 0.0).objective, rel=1e-9)


def test_separable_data_has_no_optimum_without_a_penalty() -> None:
    x, labels = overlapping(rows=20, features=40)
    fit = fit_exact(x, labels, 4, 0.0)
    assert fit.separable
    assert not fit.converged
    assert bool(((x.double() @ fit.weights.T + fit.bias).argmax(1) == labels).all())
    penalised = fit_exact(x, labels, 4, 1e-6)
    assert penalised.converged
    assert not penalised.separable


@pytest.mark.parametrize("gap", [0.01, 1.0, 50.0])
def test_one_class_apart_from_others_that_overlap_has_no_optimum(gap: float) -> None:
    x, labels = overlapping()
    x[:, 0] = torch.where(labels == 2, gap + x[:, 0].abs(), -gap - x[:, 0].abs())
    fit = fit_exact(x, labels, 4, 0.0)
    assert fit.separable
    assert not fit.converged


def test_a_feature_that_only_one_row_has_leaves_no_optimum() -> None:
    x, labels = overlapping()
    x[:, 3] = 0
    x[7, 3] = 1
    assert fit_exact(x, labels, 4, 0.0).separable


def test_one_row_on_the_wrong_side_restores_the_optimum() -> None:
    x = torch.linspace(-1, 1, 200)[:, None]
    labels = (x[:, 0] > 0).long()
    assert fit_exact(x, labels, 2, 0.0).separable
    labels[90] = 1
    fit = fit_exact(x, labels, 2, 0.0)
    assert fit.converged
    assert not fit.separable


def test_features_without_information_leave_the_shares_of_the_classes() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    fit = fit_exact(torch.zeros(6, 2), labels, 3, 0.0)
    assert fit.converged
    torch.testing.assert_close(fit.bias.softmax(0), torch.tensor([3, 1, 2], dtype=torch.float64) / 6)


def test_iterations_are_bounded() -> None:
    x, labels = overlapping()
    fit = fit_exact(x, labels, 4, 1e-4, max_iterations=2)
    assert fit.iterations == 2
    assert not fit.converged
    assert fit.gradient_norm > 1e-6


def test_refusals() -> None:
    x, labels = overlapping()
    with pytest.raises(RequestError, match="none of class number 5 of 5"):
        fit_exact(x, labels, 5, 1e-3)
    with pytest.raises(RequestError, match="got 3 classes"):
        fit_exact(x, labels, 3, 1e-3)
    x[5, 5] = torch.nan
    with pytest.raises(ComputationError, match="finite"):
        fit_exact(x, labels, 4, 1e-3)
