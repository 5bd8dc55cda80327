"""Problem 4's figures are never empty, whatever is zero, and show the last layer."""

from __future__ import annotations

import warnings

import numpy as np
from matplotlib.figure import Figure

from cli726.choices import Dtype
from cli726.drawing import styled
from cli726.vanishing import Setting, Vanishing, analyse, figures
from tests.cli726.vanishing.oracle import KINDS, settings


def made(results: list[Vanishing]) -> dict[str, Figure]:
    """Every figure, laid out, so that limits and ticks are found."""
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = {stem: make() for stem, make in figures(results).items()}
        for figure in drawn.values():
            for axes in figure.axes:
                assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
    return drawn


def test_panels_show_every_layer_that_has_a_gradient_or_say_why_not() -> None:
    for oracle in settings(200, 40):
        result = analyse(oracle.setting, oracle.hidden, oracle.connect)
        drawn = made([result])
        (axes,) = drawn["gradients"].axes
        layers, logs = axes.lines[0].get_data()
        assert list(layers) == list(range(1, oracle.depth + 1))
        np.testing.assert_array_equal(np.isfinite(logs), np.isfinite(result.log10))
        missing = int(np.sum(~np.isfinite(result.log10)))
        words = " ".join(text.get_text() for text in axes.texts)
        assert ("exactly 0" in words) == (missing > 0)
        assert (
            not missing
            or ("in every layer" if missing == oracle.depth else f"in {missing} of {oracle.depth} layers") in words
        )
        zeros = result.zeros
        assert axes.get_title().endswith(
            f": {zeros.zero_gradients} of {zeros.total_weights} exactly 0" if zeros.zero_gradients else oracle.connect
        )
        assert ("saturation" in drawn) == (result.saturation is not None)
        if result.saturation is not None:
            slope, panel = drawn["saturation"].axes
            assert len(panel.lines) == len(result.saturation.layers)
            for line, values in zip(panel.lines, result.saturation.log10.T, strict=False):
                shown = np.isfinite(np.asarray(line.get_ydata(), float)).any()
                assert shown == np.isfinite(values).any()
                assert shown != str(line.get_label()).endswith(": exactly 0")
            a, h = slope.lines[1].get_data()
            np.testing.assert_allclose(h, np.exp(-a) / (1 + np.exp(-a)) ** 2)


def test_four_networks_stand_in_a_grid_with_the_layer_that_float32_loses() -> None:
    results = [analyse(Setting(), *kind) for kind in KINDS]
    panels = made(results)["gradients"].axes
    assert [axes.get_title() for axes in panels] == [
        "Logistic, chain", "Logistic, bipartite", "ReLU, chain", "ReLU, bipartite",
    ]  # fmt: skip
    for axes, item in zip(panels, results, strict=True):
        lost = np.flatnonzero(item.lost(Dtype.float32))
        assert [line.get_xdata()[0] for line in axes.lines[1:]] == list(lost[-1:] + 1)  # type: ignore[index]
