"""Back-propagation against torch's autograd and sympy; checks that can fail; findings that can vanish."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cli726.backprop import questions, solve
from cli726.backprop_checks import Bench
from cli726.choices import Hidden
from cli726.errors import RequestError
from cli726.gradient_check import Verdict
from cli726.layered_network import (
    LayeredNetwork,
    Variable,
    back_propagate,
    backward_rounding,
    forward,
    forward_rounding,
    logistic,
    slope,
)
from cli726.worked_example import example

sizes = st.lists(st.integers(1, 4), min_size=2, max_size=5)
seeds = st.integers(0, 10_000)


def network_of(layers: list[int], seed: int, hidden: Hidden) -> tuple[LayeredNetwork, np.ndarray, np.ndarray]:
    return example(layers=",".join(map(str, layers)), seed=seed, hidden=hidden)


@settings(max_examples=40, deadline=None)
@given(sizes, seeds, st.sampled_from(Hidden))
def test_gradients_and_deltas_are_those_of_autograd(layers: list[int], seed: int, hidden: Hidden) -> None:
    network, x, t = network_of(layers, seed, hidden)
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
    assert result.error == pytest.approx(error.item(), rel=1e-12)
    for matrix, gradient in zip(weights, result.gradients, strict=True):
        assert_allclose(gradient, matrix.grad.numpy(), rtol=1e-10, atol=1e-14)
    for a, delta in zip(activations, result.deltas, strict=True):
        assert_allclose(delta, a.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_the_six_derivatives_are_those_of_sympy() -> None:
    network, x, t = example(seed=3)
    result = solve(network, x, t)
    symbols = [
        sympy.Matrix(*m.shape, lambda i, j, k=k: sympy.Symbol(f"w{k}_{i}{j}")) for k, m in enumerate(network.weights)
    ]
    z = sympy.Matrix([sympy.Rational(str(v)) for v in x])
    for k, matrix in enumerate(symbols):
        z = matrix * z
        if k < 2:
            z = z.applyfunc(lambda a: 1 / (1 + sympy.exp(-a)))
    error = (z[0] - sympy.Rational(str(t[0]))) ** 2 / 2
    values = {
        symbol: sympy.Rational(str(value))
        for matrix, numbers in zip(symbols, network.weights, strict=True)
        for symbol, value in zip(matrix, numbers.ravel(), strict=True)
    }
    by_name = {item.name: item.value for item in result.derivatives}
    for name, symbol in (("12^(3)", symbols[2][0, 1]), ("11^(2)", symbols[1][0, 0]), ("11^(1)", symbols[0][0, 0])):
        exact = float(sympy.diff(error, symbol).subs(values).evalf(30))
        assert by_name[f"dE_n/dw_{name}"] == pytest.approx(exact, rel=1e-13)


def test_formulas_are_the_assignments() -> None:
    formulas = [item.formula for item in solve(*example()).derivatives]
    assert formulas == [
        "∂Eₙ/∂a₁⁽⁴⁾ = δ₁⁽⁴⁾ = y − t",
        "∂Eₙ/∂w₁₂⁽³⁾ = δ₁⁽⁴⁾ z₂⁽³⁾",
        "∂Eₙ/∂a₁⁽³⁾ = δ₁⁽³⁾ = h′(a₁⁽³⁾) w₁₁⁽³⁾ δ₁⁽⁴⁾",
        "∂Eₙ/∂w₁₁⁽²⁾ = δ₁⁽³⁾ z₁⁽²⁾",
        "∂Eₙ/∂a₁⁽²⁾ = δ₁⁽²⁾ = h′(a₁⁽²⁾) Σₖ wₖ₁⁽²⁾ δₖ⁽³⁾",
        "∂Eₙ/∂w₁₁⁽¹⁾ = δ₁⁽²⁾ x₁",
    ]


@pytest.mark.parametrize(
    ("layers", "count", "absent"),
    [((3, 3, 3, 1), 6, 0), ((3, 5, 2), 4, 1), ((3, 1), 2, 1), ((1, 1), 1, 2), ((2, 2, 1, 1), 5, 1), ((2,) * 9, 6, 0)],
)
def test_other_sizes_have_the_derivatives_that_exist(layers: tuple[int, ...], count: int, absent: int) -> None:
    asked, missing = questions(layers)
    assert (len(asked), len(missing)) == (count, absent)


@settings(max_examples=40, deadline=None)
@given(sizes, seeds, st.sampled_from(Hidden), st.sampled_from([1e-6, 1.0, 30.0, 1000.0]))
def test_right_derivatives_never_fail_a_check(layers: list[int], seed: int, hidden: Hidden, scale: float) -> None:
    network, x, t = network_of(layers, seed, hidden)
    result = solve(network, scale * x, t)
    verdicts = {check.verdict for item in result.derivatives for check in (item.central, item.complex)}
    assert Verdict.failed not in verdicts
    assert result.sweep is not None
    assert result.sweep.failed == 0


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([1, 2, 3]), st.floats(0.001, 1))
def test_wrong_derivatives_never_pass_a_check(seed: int, layer: int, slip: float) -> None:
    network, x, t = example(seed=seed)
    passed = forward(network, x)
    deltas, gradients = back_propagate(network, passed, t)
    bounds = backward_rounding(network, passed, t, deltas)
    bench = Bench(network, x, t, passed, forward_rounding(network, passed, t)[2], *bounds)
    wrong = float(gradients[layer - 1][0, 0]) * (1 + slip)
    variable = Variable(layer, 1, 1)
    assert bench.complex_check(variable, wrong).verdict is (Verdict.failed if wrong else Verdict.passed)
    assert bench.central_check(variable, wrong).verdict is not Verdict.passed


def test_a_saturated_network_is_not_testable_by_difference() -> None:
    network, _, t = example()
    result = solve(network, np.array([500.0, -300.0, 80.0]), t)
    first = result.derivatives[-1]
    assert first.value != 0
    assert first.central.verdict is Verdict.not_testable
    assert first.complex.verdict is Verdict.passed
    assert any("not testable" in finding.text for finding in result.findings)


def test_a_unit_on_its_kink_is_not_testable() -> None:
    network = LayeredNetwork((np.array([[1.0, -1.0]]), np.array([[1.0]])), Hidden.relu)
    result = solve(network, np.array([2.0, 2.0]), np.array([1.0]))
    delta = next(item for item in result.derivatives if item.name == "dE_n/da_1^(2)")
    assert delta.central.verdict is delta.complex.verdict is Verdict.not_testable
    assert "kink" in delta.central.reason


def test_findings_vanish_when_they_are_false() -> None:
    network, x, _ = example()
    target = forward(network, x).outputs[-1]
    texts = " ".join(finding.text for finding in solve(network, x, target).findings)
    assert "Usual slips" not in texts
    assert "shrink" not in texts
    assert "exactly 0" in texts
    usual = " ".join(finding.text for finding in solve(*example()).findings)
    assert "Usual slips" in usual
    assert "exactly 0" not in usual


@given(st.floats(-700, 700))
def test_the_slope_is_exact_where_z_rounds_to_1(a: float) -> None:
    exact = sympy.exp(-abs(sympy.Float(a, 50))) / (1 + sympy.exp(-abs(sympy.Float(a, 50)))) ** 2
    assert slope(np.array([a]), Hidden.logistic)[0] == pytest.approx(float(exact), rel=1e-13)


@given(st.floats(-1e4, 1e4))
def test_the_logistic_function_is_symmetric_and_never_overflows(a: float) -> None:
    values = logistic(np.array([a, -a]))
    assert values.sum() == pytest.approx(1.0, abs=1e-15)
    assert np.isfinite(logistic(np.array([complex(a, 1e-20)]))).all()


def test_an_error_that_overflows_is_refused() -> None:
    network, x, t = example()
    huge = replace(network, weights=(*network.weights[:-1], network.weights[-1] * 1e200))
    with pytest.raises(RequestError, match="finite"):
        solve(huge, x, t)


def test_matrices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RequestError, match="fit together"):
        LayeredNetwork((np.ones((2, 3)), np.ones((1, 3))))
