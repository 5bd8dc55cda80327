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
from cli726.exact.plane import class_color, pale
from cli726.glm import figures as glm_figures
from cli726.softmax import figures as softmax_figures
from tests.cli726.exact.settings import settings
from tests.harness import times

SQUARE = ("1,0,0", "-1,0,0", "0,1,0", "0,-1,0", "0,0,1")
MANY = tuple(f"{k * k % 11 - 5},{k * 7 % 13 - 6},{k % 5}" for k in range(14))
ORDINARY = [softmax.ASSIGNMENT, SQUARE, ("1,2,0", "0,1,1"), MANY]
DRAWN = {softmax: softmax_figures, glm: glm_figures}


def solve(texts, problem=softmax):
    return problem.analyse(exact.classes(texts, problem.NAMES))


def drawn(make, *arguments):
    with styled():
        return make(*arguments)


def lines(axes, color=BOUNDARY):
    return [line for line in axes.lines if to_hex(line.get_color()) == color.lower()]


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize(
    ("problem", "classes"),
    [*((softmax, classes) for classes in ORDINARY[:3]),
     *((glm, classes) for classes in (glm.ASSIGNMENT, ("1,1,-2", "3,0,0", "2,0,1"), ("1,1,-1", "1,0,0")))],
)  # fmt: skip
def test_red_lines_are_ties_green_points_vertices_and_names_stand_in_their_regions(problem, classes):
    result = solve(classes, problem)
    (axes,) = drawn(DRAWN[problem].regions, result).axes
    for line in lines(axes):
        for x in line.get_xydata()[::20]:
            place = problem.evaluate(result.weights, (Fraction(x[0]), Fraction(x[1])))
            second, first = sorted(place.scores if problem is glm else place.activations)[-2:]
            assert first == pytest.approx(second, rel=1e-9, abs=1e-9)
    green = [tuple(line.get_xydata()[0]) for line in lines(axes, MEETING_POINT)]
    assert green == [vertex.x for vertex in getattr(result, "vertices", ())]
    outlines = [patch.get_xy().T for patch in axes.patches]
    areas = [abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 for x, y in outlines]
    assert sum(areas) == pytest.approx(np.ptp(axes.get_xlim()) ** 2, rel=1e-3)
    assert len(axes.texts) == len(result.regions)
    for text in axes.texts:
        assert text.get_clip_on()
        place = problem.evaluate(result.weights, tuple(map(Fraction, text.get_position())))
        assert text.get_text() == f"$C_{{{place.region}}}$"


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
    first = {item.class_ for item in result.inhabited}
    assert len(red) == 4 * sum(item.separates != "nothing" and {*item.classes} <= first for item in result.boundaries)
    assert red or axes.get_title() == "no boundary in the figure"
    half = axes.get_xlim()[1]
    assert all(np.abs(line.get_xydata()).max() <= half * (1 + 1e-9) for line in red)
    assert not red or max(np.ptp(line.get_xydata(), axis=0).max() for line in red) > half / 5


@pytest.mark.parametrize("problem", [softmax, glm])
@pytest.mark.parametrize(("at", "automatic"), [("3 4.5", 5), ("-7 9", 10.8), ("1000 1000", 5), ("1e29 -1e-29", 5)])
@pytest.mark.parametrize("extent", [None, "5", "0.001"])
def test_no_figure_grows_with_a_point_that_is_far_away(problem, at, automatic, extent):
    result = solve(problem.ASSIGNMENT, problem)
    place = problem.evaluate(result.weights, tuple(map(exact.number, at.split())))
    figure = drawn(DRAWN[problem].regions, result, extent and exact.extent(extent), place)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    assert max(Image.open(file).size) < 500
    (axes,) = figure.axes
    half = axes.get_xlim()[1]
    assert axes.get_xlim() == axes.get_ylim() == (-half, half)
    if problem is glm and automatic == 5:
        automatic = 5.4 if at == "3 4.5" else 2
    assert half == pytest.approx(float(extent or automatic))
    assert (axes.get_title() == "no boundary in the figure") == (problem is glm and extent == "0.001")
    within = max(map(abs, place.x)) <= half
    assert ("$x$" in texts(figure)) == within
    assert any("lies outside the figure" in text for text in texts(figure)) == (not within)


def test_axes_reach_five_or_what_lies_further():
    for bias, half in ((5, 5), (6, 7.2)):
        (axes,) = drawn(softmax_figures.regions, solve(("1,0,0", f"0,0,{bias}"))).axes
        assert axes.get_xlim() == axes.get_ylim() == (-half, half)
    far_away = solve(("1,0,-100", "-1,0,100", "0,1,-100", "0,-1,100", "0,0,1"))  # meet around (100, 100)
    (axes,) = drawn(softmax_figures.regions, far_away).axes
    assert axes.get_xlim() == axes.get_ylim() == (96, 104)


def test_no_two_classes_share_a_colour():
    colors = np.array([to_rgb(class_color(k)) for k in range(24)])
    assert min(np.abs(a - b).max() for a, b in combinations(colors, 2)) > 0.1
    tints = np.array([to_rgb(pale(class_color(k))) for k in range(16)])
    assert min(np.abs(a - b).max() for a, b in combinations(tints, 2)) > 0.04


@pytest.mark.parametrize("classes", ORDINARY)
def test_curves_are_the_probabilities_along_boundaries_and_into_regions(classes):
    result = solve(classes)
    made = softmax_figures.figures(result)
    regions = [region for region in result.inhabited if region.limit]
    for name, ways in (("along-boundaries", result.boundaries), ("into-regions", regions)):
        figure = drawn(made[name])
        assert len(figure.axes) == min(len(ways), softmax_figures.PANELS)
        assert figure.get_figwidth() >= 3.3 * min(len(ways), 4)
        left_out = [text for text in texts(figure) if f"the first 12 of {len(ways)} {name.split('-')[1]}" in text]
        assert len(left_out) == (len(ways) > 12)
        for axes, way in zip(figure.axes, ways, strict=False):
            assert axes.get_ylim()[0] < 0 < 1 < axes.get_ylim()[1]
            ray = getattr(way, "kind", "") == "ray"
            assert ("no boundary" in texts(axes)) == ray == (len(lines(axes, MEETING_POINT)) == 1)
            start = [float(c) for c in way.start or way.through]
            curves = {line.get_color(): line for line in axes.lines if line.get_color() != MEETING_POINT}
            assert len(curves) >= len(way.tied)
            for k in range(len(result.weights)):
                if class_color(k) in curves:
                    s, p = curves[class_color(k)].get_data()
                    assert (s[0], s[-1]) == axes.get_xlim()
                    x = [Fraction(c + s[200] * d) for c, d in zip(start, way.direction, strict=True)]
                    wanted = softmax.evaluate(result.weights, x).probabilities[k]
                    assert p[200] == pytest.approx(wanted, rel=1e-6, abs=1e-12)
                    if way.limit and len(result.weights) < 4:
                        assert p[-1] == pytest.approx(way.limit[k], abs=0.01)


@pytest.mark.faults
@pytest.mark.parametrize("weights", settings(4, times(4, 8)))
def test_every_setting_can_be_drawn(weights, monkeypatch):
    monkeypatch.setattr(glm_figures, "CELLS", 4)
    monkeypatch.setattr(softmax_figures, "PANELS", 3)
    for problem, figures in DRAWN.items():
        made = {name: drawn(make) for name, make in figures.figures(problem.analyse(weights[:3])).items()}
        assert made.keys() >= {"regions"}
        for figure in made.values():
            figure.draw_without_rendering()


def test_surfaces_show_the_scores_on_one_scale():
    result = solve(glm.ASSIGNMENT, glm)
    figures = [drawn(make) for make in glm_figures.figures(result).values()][:3]
    assert len({figure.axes[0].get_zlim() for figure in figures}) == 1
    assert [figure.axes[0].get_zlabel() for figure in figures] == ["$y_{1}$", "$y_{2}$", "score"]
    for figure, count in zip(figures, (1, 1, 2), strict=True):
        (faces,) = (item for item in figure.axes[0].collections if isinstance(item, Poly3DCollection))
        assert len(faces.get_facecolor()) == count * glm_figures.CELLS**2
    assert_allclose(figures[0].axes[0].get_zlim(), (5.36, 22.64))  # from 6 to 22, and a little more
    assert len(figures[2].axes[0].lines) == 4
    for line in figures[2].axes[0].lines:
        x1, x2, height = line.get_data_3d()
        assert_allclose((x1**2 + x2**2, height), (np.ones_like(x1), np.full_like(x1, 8)))
