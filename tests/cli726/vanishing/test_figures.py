"""Problem 4's figures are never empty, whatever is zero, and show the last layer."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from cli726.choices import Dtype
from cli726.drawing import styled
from cli726.vanishing import Setting, analyse
from cli726.vanishing.figures import figures
from tests.cli726.vanishing.oracle import KINDS, settings


def test_panels_show_every_layer_that_has_a_gradient_or_say_why_not() -> None:
    for oracle in settings(40, 40):
        result = analyse(oracle.setting, oracle.hidden, oracle.connect)
        with styled():
            drawn = {stem: make() for stem, make in figures([result]).items()}
        (axes,) = drawn["gradients"].axes
        layers, logs = axes.lines[0].get_data()
        assert list(layers) == list(range(1, oracle.depth + 1))
        assert_array_equal(logs, np.where(np.isfinite(result.log10), result.log10, np.nan))
        assert axes.get_xlim()[0] < 1 <= oracle.depth < axes.get_xlim()[1]
        assert all(tick == round(tick) for tick in axes.get_xticks())
        said = [text.get_text().split(" is ")[1] for text in axes.texts]
        assert said == ([] if np.isfinite(result.log10).any() else ["exactly 0\nin every layer"])
        zero, total = result.zeros.zero_gradients, result.zeros.total_weights
        counted = f": {zero} of {total} gradients exactly 0" if zero else ""
        assert axes.get_title() == oracle.name + counted
        assert ("saturation" in drawn) == (result.saturation is not None)
        if result.saturation is not None:
            slope, panel = drawn["saturation"].axes
            for line, logs in zip(panel.lines, result.saturation.log10.T, strict=True):
                assert_array_equal(np.asarray(line.get_ydata()), np.where(np.isfinite(logs), logs, np.nan))
                assert np.isfinite(logs).any() != str(line.get_label()).endswith(": exactly 0")
            a, h = slope.lines[1].get_data()
            assert_allclose(h, np.exp(-a) / (1 + np.exp(-a)) ** 2)


def test_four_networks_stand_in_a_grid_with_the_layer_that_float32_loses() -> None:
    results = [analyse(Setting(), *kind) for kind in KINDS]
    with styled():
        panels = figures(results)["gradients"]().axes
    titles = ["Logistic chain", "Logistic bipartite", "ReLU chain", "ReLU bipartite"]
    assert [axes.get_title() for axes in panels] == titles
    for axes, item in zip(panels, results, strict=True):
        assert [np.asarray(line.get_xdata())[0] for line in axes.lines[1:]] == item.lost(Dtype.float32)[-1:]
