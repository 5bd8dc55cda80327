"""The new layers: their start, their standardisation, what a penalty falls on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cli726.errors import RequestError
from cli726.finetune.chance import generator
from cli726.finetune.network.heads import Standardize, build_head, coefficients, parse_head


def test_a_standardised_head_starts_from_zero() -> None:
    head = build_head(64, 10, generator(0))
    assert torch.equal(head(torch.randn(5, 64)), torch.zeros(5, 10))


def test_otherwise_it_starts_as_torchs_own_layer_does() -> None:
    """Weights and biases uniform within 1/sqrt(inputs)."""
    ours = build_head(64, 4000, generator(0, "head"), standardize=False)[-1]
    theirs = nn.Linear(64, 4000)
    for name in ("weight", "bias"):
        mine, reference = (getattr(layer, name).detach().flatten().numpy() for layer in (ours, theirs))
        assert np.abs(mine).max() <= 1 / 8
        np.testing.assert_allclose(
            np.quantile(mine, [0.1, 0.5, 0.9]), np.quantile(reference, [0.1, 0.5, 0.9]), atol=0.01
        )
    assert torch.equal(build_head(64, 4000, generator(0, "head"), standardize=False)[-1].weight, ours.weight)


def test_standardised_features_have_mean_zero_and_deviation_one_as_scikit_learn_says() -> None:
    sklearn = pytest.importorskip("sklearn.preprocessing")
    features = torch.randn(50, 6) * torch.tensor([1e-3, 1, 10, 100, 3, 0]) + torch.tensor([5.0, 0, -3, 1000, 0, 7])
    layer = Standardize(6)
    layer.fit(features)
    expected = sklearn.StandardScaler().fit_transform(features.double().numpy())
    torch.testing.assert_close(layer(features).double(), torch.from_numpy(expected), rtol=1e-3, atol=1e-3)
    assert set(layer.state_dict()) == {"mean", "scale"}
    assert list(layer.parameters()) == []


def test_a_feature_that_never_moves_is_not_blown_up() -> None:
    layer = Standardize(2)
    layer.fit(torch.stack([torch.full((9,), 3.1), torch.zeros(9)], dim=1))
    assert torch.equal(layer.scale, torch.ones(2))


@given(hidden=st.lists(st.integers(1, 40), max_size=3), dropout=st.sampled_from([0.0, 0.4]), norm=st.booleans())
def test_a_penalty_falls_on_the_linear_layers_weights_and_nothing_else(
    hidden: list[int], dropout: float, norm: bool
) -> None:
    head = build_head(64, 5, generator(0), hidden=tuple(hidden), dropout=dropout, batch_norm=norm)
    assert [tuple(w.shape) for w in coefficients(head)] == [*zip([*hidden, 5], [64, *hidden], strict=True)]
    assert head(torch.randn(4, 64)).shape == (4, 5)


@pytest.mark.parametrize(("text", "widths"), [("linear", ()), ("mlp:128", (128,)), ("mlp:128,64", (128, 64))])
def test_spellings(text: str, widths: tuple[int, ...]) -> None:
    assert parse_head(text) == widths


@pytest.mark.parametrize("text", ["", "mlp", "mlp:", "mlp:0", "mlp:8,", "linear:8", "mlp:-1", "mlp:65537", "conv"])
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--head"):
        parse_head(text)
