"""What is drawn is what was computed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from matplotlib.colors import to_hex
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.testing import assert_allclose

from cli726 import exact, glm, softmax
from cli726.drawing import BOUNDARY, MEETING_POINT, styled
from cli726.figures import glm as glm_figures
from cli726.figures import softmax as softmax_figures
from cli726.glm_regions import evaluate as scores_at
from cli726.softmax_geometry import evaluate, probabilities

ORDINARY = [softmax.ASSIGNMENT, ("1,0,0", "-1,0,0", "0,1,0", "0,-1,0", "0,0,1"), ("1,2,0", "0,1,1")]
ODD = [
    ("1,2,3", "1,2,3"), ("1,2,3", "1,2,4"), ("1,0,0", "-1,0,0", "0,0,0"), ("9,0,0", "0,9,0", "0,0,9000"),
    ("1e-30,0,1e30", "1e30,1,0"),
    tuple(f"{k * k % 11 - 5},{k * 7 % 13 - 6},{k % 5}" for k in range(14)),
]  # fmt: skip
SCORES = [glm.ASSIGNMENT, ("1,1,-2", "3,0,0", "2,0,1"), ("1,1,-1", "1,0,0")]
ODD_SCORES = [("1,1,1", "1,1,1"), ("1,1,0", "1,0,0"), ("0,0,0", "1e-30,1,1"), ("0,1e30,1", "1e30,0,0")]


def solve(texts):
    return softmax.analyse(exact.classes(texts, softmax.NAMES))


def scored(texts):
    return glm.analyse(exact.classes(texts, glm.NAMES))


def lines(axes, color):
    return [line for line in axes.lines if to_hex(line.get_color()) == color.lower()]


@pytest.mark.parametrize("texts", ORDINARY)
def test_red_lines_are_ties_and_green_points_are_vertices(texts):
    result = solve(texts)
    with styled():
        (axes,) = softmax_figures.regions(result).axes
    assert axes.get_xlim() == axes.get_ylim() == (-5, 5)
    red = lines(axes, BOUNDARY)
    assert len(red) == len(result.boundaries)
    for line, boundary in zip(red, result.boundaries, strict=True):
        for x in line.get_xydata():
            shares = evaluate(result.weights, (Fraction(x[0]), Fraction(x[1]))).probabilities
            assert_allclose([shares[k - 1] for k in boundary.tied], max(shares), rtol=1e-9)
        assert np.ptp(line.get_xydata(), axis=0).max() > 0
    green = [tuple(line.get_xydata()[0]) for line in lines(axes, MEETING_POINT)]
    assert green == [place.x for place in result.vertices]


@pytest.mark.parametrize("texts", ORDINARY)
def test_curves_are_the_probabilities_along_the_boundaries(texts):
    result = solve(texts)
    with styled():
        figure = softmax_figures.along_boundaries(result)
    assert len(figure.axes) == len(result.boundaries)
    for axes, boundary in zip(figure.axes, result.boundaries, strict=True):
        assert axes.get_ylim()[0] < 0 < 1 < axes.get_ylim()[1]
        curves = np.array([line.get_ydata() for line in axes.lines[: len(result.weights)]])
        assert_allclose(curves.sum(axis=0), 1)
        tied = [curves[k - 1] for k in boundary.tied]
        assert_allclose(tied, [tied[0]] * len(tied))
        if boundary.limit:
            assert_allclose(curves[:, -1], boundary.limit, atol=0.01)


def test_the_horizontal_axis_is_the_distance():
    result = solve(softmax.ASSIGNMENT)
    with styled():
        figure = softmax_figures.along_boundaries(result)
    for axes, boundary in zip(figure.axes, result.boundaries, strict=True):
        distance, curve = axes.lines[boundary.classes[0] - 1].get_data()
        assert_allclose(curve, 1 / (2 + np.exp(-boundary.rate * distance)), rtol=1e-9)


def test_curves_into_regions_start_at_the_point_and_end_near_the_limit():
    result = solve(softmax.ASSIGNMENT)
    with styled():
        figure = softmax_figures.into_regions(result)
    for axes, region in zip(figure.axes, result.regions, strict=True):
        curves = np.array([line.get_ydata() for line in axes.lines])
        assert_allclose(curves[:, 0], probabilities(result.point.activations))
        assert_allclose(curves[:, -1], region.limit, atol=0.01)


@pytest.mark.parametrize("texts", ODD)
def test_odd_activations_can_be_drawn(texts):
    result = solve(texts)
    with styled():
        figures = [softmax_figures.regions(result)]
        if result.boundaries:
            figures += [softmax_figures.along_boundaries(result), softmax_figures.into_regions(result)]
    for figure in figures:
        figure.draw_without_rendering()


def test_the_frame_grows_to_show_what_lies_outside():
    result = solve(softmax.ASSIGNMENT)
    with styled():
        (far,) = softmax_figures.regions(result, at=evaluate(result.weights, (Fraction(20), Fraction(0)))).axes
        (near,) = softmax_figures.regions(result, Fraction(2)).axes
    assert far.get_xlim() == (-24, 24)
    assert near.get_xlim() == (-2, 2)


@pytest.mark.parametrize("texts", SCORES)
def test_red_curves_are_ties_of_the_largest_scores(texts):
    result = scored(texts)
    with styled():
        (axes,) = glm_figures.regions(result).axes
    red = lines(axes, BOUNDARY)
    assert len(red) == 4 * sum(item.separates != "nothing" for item in result.boundaries)
    for line in red:
        for x in line.get_xydata()[::20]:
            scores = sorted(scores_at(result.weights, (Fraction(x[0]), Fraction(x[1]))).scores)
            assert scores[-1] == pytest.approx(scores[-2], rel=1e-9)


@pytest.mark.parametrize("texts", SCORES)
def test_names_stand_in_their_regions(texts):
    result = scored(texts)
    with styled():
        (axes,) = glm_figures.regions(result).axes
    names = {text.get_text(): text.get_position() for text in axes.texts}
    for region in result.regions:
        x = names[f"$C_{{{region.class_}}}$"]
        assert scores_at(result.weights, (Fraction(x[0]), Fraction(x[1]))).region == region.class_


def test_surfaces_show_the_scores_on_one_scale():
    result = scored(glm.ASSIGNMENT)
    with styled():
        drawn = [glm_figures.surface(result, k).axes[0] for k in (1, 2)]
        both = glm_figures.all_surfaces(result).axes[0]
    assert drawn[0].get_zlim() == drawn[1].get_zlim() == both.get_zlim()
    assert drawn[0].get_zlabel() == "$y_{1}$"
    for axes, count in ((drawn[0], 1), (drawn[1], 1), (both, 2)):
        (faces,) = (item for item in axes.collections if isinstance(item, Poly3DCollection))
        assert len(faces.get_facecolor()) == count * glm_figures.CELLS**2
    for line in both.lines:
        assert_allclose(line.get_data_3d()[2], 8)


@pytest.mark.parametrize("texts", ODD_SCORES)
def test_odd_scores_can_be_drawn(texts):
    result = scored(texts)
    with styled():
        figures = [glm_figures.regions(result), glm_figures.surface(result, 1), glm_figures.all_surfaces(result)]
    for figure in figures:
        figure.draw_without_rendering()
