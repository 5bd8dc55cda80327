"""Problem 5's figures show what the results hold, and are never empty."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from cli726.drawing import styled
from cli726.logistic import Points, center, compare, gradient_descent, load_points, solve, stochastic_descent
from cli726.logistic.figures import draw_separator, figures
from tests.cli726.logistic.cases import drawn as points_drawn
from tests.cli726.logistic.cases import points_of, rate

POINTS = load_points()
RUN, CENTRED = gradient_descent(POINTS), gradient_descent(center(POINTS))
SGD = stochastic_descent(POINTS, epochs=10, shuffles=4)


def drawn(result, stem):
    """A figure, after it has been rendered, so that what can't be drawn fails here."""
    with styled():
        figure = figures(result)[stem]()
        figure.set_dpi(40)
        figure.draw_without_rendering()
    return figure


def panels(figure):
    return [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]


def shows(axes):
    """Whether within its axes there is a line of two points, a mark, or a sentence that says why not."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()

    def inside(xy):
        x, y = np.asarray(np.ma.filled(np.ma.asarray(xy, dtype=float), np.nan)).T
        return ((x >= left) & (x <= right) & (y >= bottom) & (y <= top)).sum()

    lines = [line for line in axes.lines if line.get_transform() == axes.transData]
    dots = [c for c in axes.collections if isinstance(c, PathCollection) and inside(c.get_offsets())]
    marks = [line for line in lines if inside(line.get_xydata()) >= (1 if line.get_marker() not in ("", "None") else 2)]
    return bool(dots or marks or axes.texts)


@pytest.mark.parametrize("result", [RUN, compare(POINTS), SGD, solve(POINTS)], ids=lambda made: type(made).__name__)
def test_each_figure_says_whose_points_and_labels_its_axes(result):
    for stem in figures(result):
        figure = drawn(result, stem)
        said = " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))
        assert "bundled points" in said
        assert any(axes.get_xlabel() for axes in panels(figure)) or figure.get_supxlabel()
        assert any(axes.get_ylabel() for axes in panels(figure)) or figure.get_supylabel() or stem == "steps"


SHORT = [
    lambda points: gradient_descent(points, max_epochs=1),
    lambda points: gradient_descent(points, 1e6, max_epochs=3),
    lambda points: compare(points, [1e-12, 1e-10]),
    lambda points: compare(points, [0.5], max_epochs=1),
    lambda points: stochastic_descent(points, [0.5, 1e-9], epochs=1, shuffles=1),
    lambda points: stochastic_descent(points, [0.5], epochs=1, shuffles=2, batch_size=len(points.X)),
    solve,
]


@pytest.mark.parametrize(
    ("make", "scale"),
    [(make, 1) for make in SHORT] + list(zip(SHORT, [1e16, 1e90, 1e20, 1e16, 1e90, 1e20, 1e16], strict=True)),
)
def test_no_figure_is_empty_however_short_the_run_or_large_the_coordinates(make, scale):
    rng = np.random.default_rng(0)
    X = scale * (5 * (scale > 1) + rng.normal(size=(40, 2)))
    points = points_of(X, (X[:, 0] - X[:, 0].mean() + X[:, 1] + scale * rng.normal(size=40) / 2 > X[:, 1].mean()))
    result = make(points)
    for stem in figures(result):
        assert all(shows(axes) for axes in panels(drawn(result, stem))), (stem, scale)


def test_figures_of_generated_points_can_be_drawn():
    for seed in range(0, 36, 9):
        points = points_drawn(seed)
        for result in (gradient_descent(points, rate(seed), max_epochs=3), solve(points)):
            assert all(shows(axes) for stem in figures(result) for axes in panels(drawn(result, stem)))


def test_a_separator_is_drawn_where_it_is_whatever_the_unit():
    for w in ([1, 2, -0.3], [0, 1, -0.5], [1, 0, -0.5], [-3, 1, 1]):
        for scale, shift in ((1, 0), (1e-30, 0), (1e80, 0), (1.0, 1e6)):
            axes = Figure().subplots()
            axes.set(xlim=(shift, shift + scale), ylim=(shift, shift + scale))
            draw_separator(axes, np.array([w[0] / scale, w[1] / scale, w[2] - (w[0] + w[1]) * shift / scale]))
            ends = axes.lines[0].get_xydata()  # in the axes' own coordinates, well beyond both sides
            assert_allclose(ends @ w[:2], -w[2], atol=1e-8)
            assert np.linalg.norm(ends[0] - ends[1]) > 3
            assert np.linalg.norm(ends.mean(axis=0)) < 1
    axes = Figure().subplots()  # from 0 to 1
    for none in ([1, 1, 5], [0, 0, 1], [np.nan, 1, 0]):
        draw_separator(axes, np.array(none))
    assert not axes.lines


def test_the_path_is_the_courses_figure_and_without_slopes_there_is_none():
    axes = drawn(RUN, "separator-path").axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-5, 5), (-10, 0))
    assert_array_equal(axes.lines[0].get_xydata(), RUN.slope_intercept)  # NaN, the first, is not drawn
    low, high = drawn(CENTRED, "separator-path").axes[0].get_xlim()
    assert high - low < 1  # a short path gets axes of its own
    flat = points_of(np.column_stack([[1, 2, 3, 4], np.zeros(4)]), [0, 1, 0, 1])
    assert set(figures(gradient_descent(flat))) == {"error", "curvature", "data"}
    assert figures(gradient_descent(POINTS, 1e308)) == {}


def test_figure_3_is_the_loss_of_every_epoch_with_the_minimum():
    axes = drawn(RUN, "error").axes[0]
    assert_array_equal(axes.lines[0].get_ydata(), [*RUN.nll, RUN.final])
    assert_allclose(axes.lines[1].get_ydata(), RUN.optimum.nll)


def test_colours_in_the_curvature_figure_are_what_the_loss_did():
    rose, fell = (np.asarray(dots.get_offsets()) for dots in drawn(RUN, "curvature").axes[0].collections)
    assert_array_equal(rose[:, 0], RUN.risen)
    assert (rose[:, 1] > 2).all()
    assert (fell[:, 1] <= 2).all()
    assert len(rose) + len(fell) == RUN.epochs


def test_foreign_names_are_printed_as_they_stand_and_centring_is_named():
    odd = Points("a$b_$[/x]\x1b[31m.csv", POINTS.X, POINTS.t, ("$x", "_{y}"), "")
    (axes,) = panels(drawn(gradient_descent(odd, max_epochs=5), "data"))
    assert axes.get_title(loc="right") == r"a\$b_\$[/x]�[31m.csv"
    assert (axes.get_xlabel(), axes.get_ylabel()) == (r"\$x", "_{y}")
    (axes,) = panels(drawn(solve(center(POINTS)), "data"))
    assert axes.get_title(loc="right") == "bundled points, centred"
    assert_allclose(axes.collections[0].get_offsets(), center(POINTS).X[:100, :2])


def test_the_stochastic_figure_starts_at_the_first_update():
    iterations = drawn(SGD, "error").axes[0].lines[0].get_xdata()
    assert (iterations[0], iterations[-1]) == (1, 2000)
    batches = stochastic_descent(POINTS, [0.3], epochs=10, shuffles=1, batch_size=7)
    assert drawn(batches, "error").axes[0].lines[0].get_xdata()[-1] == 290


def test_every_panel_at_equal_cost_shows_both_methods_whole():
    made = panels(drawn(SGD, "equal-cost"))
    low, high = made[0].get_ylim()
    for axes, run in zip(made, SGD.runs, strict=True):
        stochastic, full = (line.get_ydata() for line in axes.lines)
        assert_allclose(full, run.gradient_descent[1:] - SGD.optimum.nll)
        assert_allclose(stochastic[-1], run.nll_median[-1] - SGD.optimum.nll)
        assert low < min(*stochastic, *full)
        assert max(*stochastic, *full) < high
