"""Back-propagation against torch's autograd and sympy; what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cli726.backprop import LayeredNetwork, example, payload, solve
from cli726.backprop.network import logistic, slope
from cli726.choices import Hidden
from cli726.errors import RequestError


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 10_000), st.sampled_from(Hidden))
def test_gradients_and_deltas_are_those_of_autograd(layers: list[int], seed: int, hidden: Hidden) -> None:
    network, x, t = example(layers=",".join(map(str, layers)), seed=seed, hidden=hidden)
    result = solve(network, x, t)
    weights = [torch.tensor(matrix, requires_grad=True) for matrix in network.weights]
    z, activations = torch.tensor(x), []
    for matrix in weights:
        a = matrix @ z
        a.retain_grad()
        activations.append(a)
        z = torch.sigmoid(a) if hidden is Hidden.logistic else torch.relu(a)
    error = 0.5 * ((activations[-1] - torch.tensor(t)) ** 2).sum()
    error.backward()
    assert result.values.error == pytest.approx(error.item(), rel=1e-12)
    for matrix, gradient in zip(weights, result.values.gradients, strict=True):
        assert_allclose(gradient, matrix.grad.numpy(), rtol=1e-10, atol=1e-14)
    for a, delta in zip(activations, result.values.deltas, strict=True):
        assert_allclose(delta, a.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_formulas_are_the_assignments() -> None:
    assert [item["formula"] for item in payload(solve(*example()))["derivatives"]] == [
        "∂Eₙ/∂a₁⁽⁴⁾ = δ₁⁽⁴⁾ = y - t",
        "∂Eₙ/∂w₁₂⁽³⁾ = δ₁⁽⁴⁾ z₂⁽³⁾",
        "∂Eₙ/∂a₁⁽³⁾ = δ₁⁽³⁾ = h′(a₁⁽³⁾) w₁₁⁽³⁾ δ₁⁽⁴⁾",
        "∂Eₙ/∂w₁₁⁽²⁾ = δ₁⁽³⁾ z₁⁽²⁾",
        "∂Eₙ/∂a₁⁽²⁾ = δ₁⁽²⁾ = h′(a₁⁽²⁾) Σₖ wₖ₁⁽²⁾ δₖ⁽³⁾",
        "∂Eₙ/∂w₁₁⁽¹⁾ = δ₁⁽²⁾ x₁",
    ]


@given(st.floats(-700, 700))
def test_the_slope_is_exact_where_z_rounds_to_1(a: float) -> None:
    exact = sympy.exp(-abs(sympy.Float(a, 50))) / (1 + sympy.exp(-abs(sympy.Float(a, 50)))) ** 2
    assert slope(np.array([a]), Hidden.logistic)[0] == pytest.approx(float(exact), rel=1e-13)


@given(st.floats(-1e4, 1e4))
def test_the_logistic_function_is_symmetric_and_never_overflows(a: float) -> None:
    assert logistic(np.array([a, -a])).sum() == pytest.approx(1.0, abs=1e-15)
    assert np.isfinite(logistic(np.array([complex(a, 1e-20)]))).all()


def test_numbers_that_overflow_are_refused() -> None:
    network, x, t = example()
    with pytest.raises(RequestError, match="finite"):
        solve(replace(network, weights=(*network.weights[:-1], network.weights[-1] * 1e200)), x, t)
    # Here the error is finite, and only a derivative overflows.
    steep = tuple(1e30 * np.array([[1.0, -1.0], [-1.0, 1.0]]) for _ in range(12))
    with pytest.raises(RequestError, match="derivative"):
        solve(LayeredNetwork(steep), np.ones(2), np.array([1.0, 0.0]))


def test_matrices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RequestError, match="fit together"):
        LayeredNetwork((np.ones((2, 3)), np.ones((1, 3))))
