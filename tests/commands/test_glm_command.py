"""`cmpt726 glm` as people use it."""

from __future__ import annotations

import shlex

import pytest


def test_one_screen_answers_the_three_questions(cmpt726, tmp_path):
    done = cmpt726("glm")
    lines = done.stdout.splitlines()
    assert (done.status, done.stderr) == (0, "")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    for expected in ("x1² + x2² = 1", "circle", "radius 1", "paraboloid of revolution"):
        assert expected in done.stdout
    assert [line[:3] for line in lines if line[:1] == "2"] == ["2.1", "2.2", "2.3"]
    figures = ["y1.png", "y2.png", "surfaces.png", "regions.png"]
    assert lines[-4:] == [f"wrote results/glm/{name}" for name in figures]
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == sorted(figures)


def test_json_has_the_agreed_keys(cmpt726, tmp_path):
    document = cmpt726("glm", "--json", "--at", "0.5", -2).json
    (boundary,) = document["boundaries"]
    assert boundary["classes"] == [1, 2]
    assert boundary["equation"] == "x1^2 + x2^2 = 1"
    assert (boundary["conic"], boundary["center"], boundary["radius"]) == ("circle", [0, 0], 1)
    assert document.keys() >= {"weights", "surfaces", "regions"}
    assert document["at"]["x"] == [0.5, -2]
    assert document["at"]["scores"] == [14.5, 8]
    assert document["at"]["region"] == 1
    assert all(item["text"] and item["evidence"] for item in document["findings"])
    assert document["figures"] == []
    assert list(tmp_path.iterdir()) == []


def test_any_number_of_classes(cmpt726):
    document = cmpt726("glm", "--json", "--class", "1,1,-2", "--class", "3,0,0", "--class", "2,0,1").json
    assert [item["conic"] for item in document["boundaries"]] == ["hyperbola", "hyperbola", "parallel lines"]
    assert document["boundaries"][0]["axes"] == pytest.approx([2**0.5, 1])
    assert document["boundaries"][0]["radius"] is None
    assert "at" not in document
    shown = cmpt726("glm", "--no-figures", "--at", "3/5", "0.8").stdout
    assert "The point (3/5, 4/5) ≈ (0.6, 0.8)" in shown
    assert shown.count("largest") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--class 6,2,2", "at least two classes are needed, got 1"),
        ("--class 6,2,2,1 --class 8,0,0", "a class takes three numbers, w0,w1,w2; got 4"),
        ("--class 6,2,x --class 8,0,0", 'got "x"'),
        ("--at nan 0", 'got "nan"'),
        ("--extent -1", "--extent must be above 0, got -1"),
    ],
)
def test_bad_requests_exit_2_with_a_helpful_line(cmpt726, arguments, message):
    done = cmpt726("glm", *shlex.split(arguments))
    assert done.status == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
