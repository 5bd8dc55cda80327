"""What is drawn is what was computed, in every setting, and nothing is too large, too small or left out in silence."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.testing import assert_allclose
from PIL import Image

from cli726 import exact, glm, softmax
from cli726.drawing import BOUNDARY, MEETING_POINT, styled
from cli726.exact.plane import class_color, pale, reaching
from cli726.glm import figures as glm_figures
from cli726.softmax import figures as softmax_figures
from tests.cli726.exact.settings import settings

MANY = tuple(f"{k * k % 11 - 5},{k * 7 % 13 - 6},{k % 5}" for k in range(14))
ORDINARY = [softmax.ASSIGNMENT, ("1,0,0", "-1,0,0", "0,1,0", "0,-1,0", "0,0,1"), ("1,2,0", "0,1,1"), MANY[:9]]
SCORES = [glm.ASSIGNMENT, ("1,1,-2", "3,0,0", "2,0,1"), ("1,1,-1", "1,0,0")]


def solve(texts, problem=softmax):
    return problem.analyse(exact.classes(texts, problem.NAMES))


def lines(axes, color=BOUNDARY):
    return [line for line in axes.lines if to_hex(line.get_color()) == color.lower()]


def drawn(make, *arguments):
    with styled():
        return make(*arguments)


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("classes", ORDINARY)
def test_red_lines_are_ties_and_green_points_are_vertices(classes):
    result = solve(classes)
    (axes,) = drawn(softmax_figures.regions, result).axes
    red = lines(axes)
    assert len(red) == len(result.boundaries)
    for line, boundary in zip(red, result.boundaries, strict=True):
        for x in line.get_xydata():
            shares = softmax.evaluate(result.weights, (Fraction(x[0]), Fraction(x[1]))).probabilities
            assert_allclose([shares[k - 1] for k in boundary.tied], max(shares), rtol=1e-9)
    assert [tuple(line.get_xydata()[0]) for line in lines(axes, MEETING_POINT)] == [v.x for v in result.vertices]
    outlines = [patch.get_xy().T for patch in axes.patches]
    areas = [abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 for x, y in outlines]
    assert sum(areas) == pytest.approx(np.ptp(axes.get_xlim()) ** 2)
    for text in axes.texts:
        assert text.get_clip_on()
        k = int(text.get_text().strip("$C_{}"))
        assert softmax.evaluate(result.weights, tuple(map(Fraction, text.get_position()))).region == k


def test_the_assignments_axes():
    (axes,) = drawn(softmax_figures.regions, solve(softmax.ASSIGNMENT)).axes
    assert axes.get_xlim() == axes.get_ylim() == (-5, 5)
    (axes,) = drawn(softmax_figures.regions, solve(softmax.ASSIGNMENT), Fraction(2)).axes
    assert axes.get_xlim() == axes.get_ylim() == (-2, 2)
    for x, half in ((5, 5), (6, Fraction(36, 5)), (50, 60), (51, 5)):
        assert reaching((Fraction(-x), Fraction(1)), (Fraction(0), Fraction(2)), Fraction(5)) == half


@pytest.mark.parametrize("weights", settings(3, 48))
def test_the_view_follows_the_boundaries(weights):
    """Every meeting point and whole line, and some red of every piece unless others are a thousand times larger."""
    result = softmax.analyse(weights)
    (axes,) = drawn(softmax_figures.regions, result).axes
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert right - left == pytest.approx(high - low)
    assert all(left <= v.x[0] <= right and low <= v.x[1] <= high for v in result.vertices)
    assert len(lines(axes)) == len(result.boundaries)
    assert (axes.get_title() == "no boundary in the figure") == (not result.boundaries)
    spread = max((np.ptp([v.x for v in result.vertices], axis=0)).max(), 0) if result.vertices else 0
    assert spread == 0 or spread > (right - left) / 25
    assert axes.patches
    result = glm.analyse(weights)
    (axes,) = drawn(glm_figures.regions, result).axes
    red = lines(axes)
    first = {item.class_ for item in result.regions if item.class_ == item.tied[0]}
    assert len(red) == 4 * sum(item.separates != "nothing" and {*item.classes} <= first for item in result.boundaries)
    assert red or axes.get_title() == "no boundary in the figure"
    half = axes.get_xlim()[1]
    assert all(np.abs(line.get_xydata()).max() <= half * (1 + 1e-9) for line in red)
    assert not red or max(np.ptp(line.get_xydata(), axis=0).max() for line in red) > half / 5


@pytest.mark.parametrize("figures", [softmax_figures, glm_figures])
@pytest.mark.parametrize("at", [("3", "4.5"), ("7", "-9"), ("1000", "1000"), ("1e29", "-1e-29")])
@pytest.mark.parametrize("extent", [None, "5", "0.001"])
def test_no_figure_grows_with_the_users_point(figures, at, extent):
    problem = softmax if figures is softmax_figures else glm
    result = solve(problem.ASSIGNMENT, problem)
    place = problem.evaluate(result.weights, exact.pair(at))
    figure = drawn(figures.regions, result, extent and exact.number(extent), place)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    assert max(Image.open(file).size) < 500
    (axes,) = figure.axes
    half = axes.get_xlim()[1]
    assert extent is None or half == float(extent)
    assert (axes.get_title() == "no boundary in the figure") == (figures is glm_figures and extent == "0.001")
    within = max(map(abs, place.x)) <= half
    assert ("$x$" in texts(figure)) == within
    assert any("lies outside the figure" in text for text in texts(figure)) == (not within)
    assert within == ((extent is None and float(at[0]) < 100) or float(at[0]) < float(extent or 0))


def test_no_two_classes_share_a_colour():
    colors = np.array([to_rgb(class_color(k)) for k in range(24)])
    assert min(np.abs(a - b).max() for a, b in combinations(colors, 2)) > 0.1
    tints = np.array([pale(class_color(k)) for k in range(16)])
    assert min(np.abs(a - b).max() for a, b in combinations(tints, 2)) > 0.04


@pytest.mark.parametrize("classes", ORDINARY)
def test_curves_are_the_probabilities_along_the_boundaries(classes):
    result = solve(classes)
    figure = drawn(softmax_figures.figures(result)["along-boundaries"])
    assert len(figure.axes) == min(len(result.boundaries), softmax_figures.PANELS)
    for axes, boundary in zip(figure.axes, result.boundaries, strict=False):
        assert axes.get_ylim()[0] < 0 < 1 < axes.get_ylim()[1]
        start = [float(c) for c in boundary.start or boundary.through]
        curves = {line.get_color(): line for line in axes.lines if line.get_color() != MEETING_POINT}
        for k, w in enumerate(result.weights):
            if class_color(k) in curves:
                s, p = curves[class_color(k)].get_data()
                x = [Fraction(c + s[200] * d) for c, d in zip(start, boundary.direction, strict=True)]
                assert p[200] == pytest.approx(softmax.evaluate(result.weights, x).probabilities[k], rel=1e-6), w
        assert len(curves) >= len(boundary.tied)
        if boundary.limit and len(result.weights) < 4:
            ends = [
                curves[class_color(k)].get_ydata()[-1] for k in range(len(boundary.limit)) if class_color(k) in curves
            ]
            assert_allclose(ends, [p for k, p in enumerate(boundary.limit) if class_color(k) in curves], atol=0.01)


def test_curves_into_regions_start_at_the_point_and_end_near_the_limit():
    result = solve(softmax.ASSIGNMENT)
    figure = drawn(softmax_figures.figures(result)["into-regions"])
    for axes, region in zip(figure.axes, result.regions, strict=True):
        curves = np.array([line.get_ydata() for line in axes.lines])
        assert_allclose(curves[:, 0], result.point.probabilities)
        assert_allclose(curves[:, -1], region.limit, atol=0.01)


def test_what_is_left_out_is_said():
    result = solve(MANY)
    assert len(result.boundaries) > softmax_figures.PANELS
    figure = drawn(softmax_figures.figures(result)["along-boundaries"])
    assert len(figure.axes) == softmax_figures.PANELS
    assert any(f"the first 12 of {len(result.boundaries)} boundaries" in text for text in texts(figure))
    assert not any(
        "the first" in text for text in texts(drawn(softmax_figures.figures(solve(ORDINARY[1]))["along-boundaries"]))
    )


@pytest.mark.parametrize("weights", settings(4, 8))
def test_every_setting_can_be_drawn(weights, monkeypatch):
    monkeypatch.setattr(glm_figures, "CELLS", 4)
    monkeypatch.setattr(softmax_figures, "PANELS", 3)
    for figures, problem in ((softmax_figures, softmax), (glm_figures, glm)):
        made = {name: drawn(make) for name, make in figures.figures(problem.analyse(weights[:5])).items()}
        assert made.keys() >= {"regions"}
        for figure in made.values():
            figure.draw_without_rendering()


@pytest.mark.parametrize("classes", SCORES)
def test_red_curves_are_ties_and_names_stand_in_their_regions(classes):
    result = solve(classes, glm)
    (axes,) = drawn(glm_figures.regions, result).axes
    for line in lines(axes):
        for x in line.get_xydata()[::20]:
            scores = sorted(glm.evaluate(result.weights, (Fraction(x[0]), Fraction(x[1]))).scores)
            assert scores[-1] == pytest.approx(scores[-2], rel=1e-9)
    for text in axes.texts:
        k = int(text.get_text().strip("$C_{}"))
        assert glm.evaluate(result.weights, tuple(map(Fraction, text.get_position()))).region == k
    assert len(axes.texts) == len(result.regions)


def test_surfaces_show_the_scores_on_one_scale():
    result = solve(glm.ASSIGNMENT, glm)
    figures = [drawn(make) for make in glm_figures.figures(result).values()][:3]
    assert len({figure.axes[0].get_zlim() for figure in figures}) == 1
    assert figures[0].axes[0].get_zlabel() == "$y_{1}$"
    for figure, count in zip(figures, (1, 1, 2), strict=True):
        (faces,) = (item for item in figure.axes[0].collections if isinstance(item, Poly3DCollection))
        assert len(faces.get_facecolor()) == count * glm_figures.CELLS**2
    assert len(figures[2].axes[0].lines) == 4
    assert all(np.allclose(line.get_data_3d()[2], 8) for line in figures[2].axes[0].lines)
