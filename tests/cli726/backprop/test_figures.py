"""Problem 3's figure: each delta that is asked for, the way to it, and colours that are called what they are."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle

import cli726.report
from cli726.backprop import solve
from cli726.backprop.example import example
from cli726.backprop.figures import BLUE, ORANGE, RADIUS, figures
from cli726.document import mathtext
from cli726.drawing import styled


@pytest.mark.parametrize(
    ("layers", "arrows", "weights"),
    [("1,1", [0], []), ("3,4,2", [0, 2], [(2, 1), (1, 2)]), ("3,3,3,1", [0, 1, 6], [(3, 1), (2, 2), (1, 3)]),
     ("8,8,8,1", [0, 1, 8], [(3, 1), (2, 2), (1, 3)]), ("1,1,1,1,1,1,1,1,1", [0, 1, 2], [(7, 2), (1, 3)])],
)  # fmt: skip
def test_each_panel_shows_a_delta_the_way_to_it_and_its_weight(
    layers: str, arrows: list[int], weights: list[tuple[int, int]]
) -> None:
    with styled():
        panels = figures(solve(*example(layers=layers)))["network"]().axes
    assert [sum(hasattr(item, "arrow_patch") for item in panel.texts) for panel in panels] == [0, *arrows]
    for layer, panel in weights:
        texts = [item.get_text() for item in panels[panel].texts if item.get_color() == BLUE]
        assert any(f"^{{({layer})}}" in text and text.startswith("$w") for text in texts)
        assert len(texts) == 2
        assert sum(panels[panel].get_xlim()) / 2 == pytest.approx(panels[panel].texts[-1].get_position()[0])
    if layers == "3,3,3,1":
        assert panels[3].get_title() == mathtext("delta_1^(2) = h'(a_1^(2)) Σ_k w_k1^(2) delta_k^(3)")
        assert panels[3].texts[-1].get_text() == mathtext("∂E_n/∂w_11^(1) = delta_1^(2) x_1")
    output = mathtext("y" if layers[-1] == "1" else "y_1")
    names = {item.get_text() for item in panels[0].texts}
    assert {"inputs", "output", mathtext("w^(1)"), mathtext("x_1"), output} <= names
    for panel in panels:
        (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
        centers = np.array([patch.center for patch in panel.patches if isinstance(patch, Circle)])
        assert (min(centers[:, 0]) - left, right - max(centers[:, 0])) == pytest.approx((0.6, 0.6))
        tips = [item.xy for item in panel.texts if hasattr(item, "arrow_patch")]
        assert all(min(np.hypot(*(centers - tip).T)) == pytest.approx(RADIUS) for tip in tips)
        spots = [item.get_position() for item in panel.texts if item.get_text()]
        assert all(left <= x <= right and low <= y <= high for x, y in spots)
        assert len(set(spots)) == len(spots)


def test_the_reports_caption_names_the_colours() -> None:
    caption = (Path(cli726.report.__file__).parent / "templates/problem3.typ").read_text()
    for name, color, hues in (("(orange)", ORANGE, (15, 45)), ("(blue)", BLUE, (190, 250))):
        assert name in caption
        assert hues[0] < 360 * colorsys.rgb_to_hls(*to_rgb(color))[0] < hues[1]
