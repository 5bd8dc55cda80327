"""Problem 5's figures show what the results hold."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from numpy.testing import assert_allclose, assert_array_equal

from cli726.drawing import styled
from cli726.figures import logistic as one
from cli726.figures import logistic_rates as many
from cli726.logistic import Points, center, compare, gradient_descent, load_points, solve, stochastic_descent

POINTS = load_points()
RUN = gradient_descent(POINTS)
SGD = stochastic_descent(POINTS, [0.3, 0.05], epochs=10, shuffles=4)


def drawn(make, *arguments):
    """A figure, after it has been rendered, so that what can't be drawn fails here."""
    with styled():
        figure = make(*arguments)
        figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def written(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


FIGURES = [
    (one.separator_path, (RUN,)),
    (one.error, (RUN,)),
    (one.curvature, (RUN,)),
    (one.data, (RUN, POINTS)),
    (one.orientation, (RUN,)),
    (many.errors, (compare(POINTS),)),
    (many.gaps, (compare(POINTS),)),
    (many.stochastic_errors, (SGD,)),
    (many.equal_cost, (SGD,)),
    (many.newton_steps, (solve(POINTS),)),
    (many.newton_data, (solve(POINTS), POINTS)),
]


@pytest.mark.parametrize(("make", "arguments"), FIGURES, ids=[make.__name__ for make, _ in FIGURES])
def test_each_figure_says_whose_points_and_labels_its_axes(make, arguments):
    figure = drawn(make, *arguments)
    assert "bundled points" in written(figure)
    outer = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    assert any(axes.get_xlabel() for axes in outer)
    assert any(axes.get_ylabel() for axes in outer) or figure.get_supylabel() or make is many.newton_steps


def test_the_path_is_the_courses_figure_without_the_undefined_slope():
    axes = drawn(one.separator_path, RUN).axes[0]
    assert axes.get_xlim() == (-5, 5)
    assert axes.get_ylim() == (-10, 0)
    (path,) = (artist for artist in axes.collections if isinstance(artist, LineCollection))
    segments = np.array(path.get_segments())
    # 501 weight vectors, the first without a slope: 499 segments between the other 500.
    assert len(segments) == 499
    assert_allclose(segments[:, 0], RUN.slope_intercept[1:-1])
    assert_allclose(segments[:, 1], RUN.slope_intercept[2:])


def test_a_short_path_gets_axes_of_its_own():
    axes = drawn(one.separator_path, gradient_descent(POINTS, centered=True)).axes[0]
    low, high = axes.get_xlim()
    assert high - low < 1


def test_figure_3_is_the_error_of_every_epoch_with_the_least_one():
    axes = drawn(one.error, RUN).axes[0]
    assert_array_equal(axes.lines[0].get_ydata(), RUN.nll)
    assert_allclose(axes.lines[1].get_ydata(), RUN.optimum.nll)


def test_colours_in_the_curvature_figure_are_what_the_error_did():
    axes = drawn(one.curvature, RUN).axes[0]
    rose, fell = (np.asarray(dots.get_offsets()) for dots in axes.collections)
    assert_array_equal(rose[:, 0], RUN.rises)
    assert (rose[:, 1] > 2).all()
    assert (fell[:, 1] <= 2).all()


def test_the_orientation_survives_w2_equal_to_0():
    flat = Points(
        "flat", np.column_stack([[1, 2, 3, 4], np.zeros(4), np.ones(4)]), np.array([0, 1, 0, 1.0]), ("a", "b"), ""
    )
    run = gradient_descent(flat)
    assert not run.has_slopes
    angle, offset, length = (axes.lines[0].get_ydata() for axes in drawn(one.orientation, run).axes)
    assert_allclose(angle, 0, atol=1e-12)
    assert_allclose(offset * length, -run.w[:, 2], atol=1e-12)


def test_foreign_names_are_printed_as_they_stand():
    odd = Points("a$b_$[/x]\x1b[31m.csv", POINTS.X, POINTS.t, ("$x", "_{y}"), "")
    figure = drawn(one.data, gradient_descent(odd, max_epochs=5), odd)
    assert r"a\$b_\$[/x]�[31m.csv" in written(figure)


def test_centred_inputs_are_named():
    run = gradient_descent(POINTS, centered=True)
    assert "bundled points, centred" in written(drawn(one.data, run, center(POINTS)))


def test_the_stochastic_figure_starts_at_the_first_update():
    axes = drawn(many.stochastic_errors, SGD).axes[0]
    iterations = axes.lines[0].get_xdata()
    assert iterations[0] == 1
    assert iterations[-1] == 2000
    batches = drawn(
        many.stochastic_errors, stochastic_descent(POINTS, [0.3], epochs=10, shuffles=1, batch_size=7)
    ).axes[0]
    assert batches.lines[0].get_xdata()[-1] == 290


def test_every_panel_at_equal_cost_shows_both_methods_whole():
    result = stochastic_descent(POINTS, epochs=10, shuffles=4)
    panels = [axes for axes in drawn(many.equal_cost, result).axes if axes.axison]
    assert len(panels) == 5
    low, high = panels[0].get_ylim()
    for axes, run in zip(panels, result.runs, strict=True):
        stochastic, full = (line.get_ydata() for line in axes.lines)
        assert_allclose(full, run.gradient_descent[1:] - result.optimum.nll)
        assert low < min(*stochastic, *full)
        assert max(*stochastic, *full) < high


def test_what_a_logarithmic_axis_cannot_show_is_left_out():
    apart = Points("apart", np.array([[1e90, 1], [-1e90, 1.0]]), np.array([1.0, 0.0]), ("x",), "added")
    result = stochastic_descent(apart, epochs=3, shuffles=2)
    drawn(many.stochastic_errors, result)
    drawn(many.equal_cost, result)
    drawn(many.gaps, compare(apart))
    drawn(many.newton_steps, solve(apart))
