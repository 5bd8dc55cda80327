"""`cmpt726 softmax` and `cmpt726 glm` as people use them."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

SQUARE = [part for w in ("1,0,0", "-1,0,0", "0,1,0", "0,-1,0", "0,0,1") for part in ("--class", w)]
FIGURES = {
    "softmax": ["regions.png", "along-boundaries.png", "into-regions.png"],
    "glm": ["y1.png", "y2.png", "surfaces.png", "regions.png"],
}


@pytest.mark.parametrize(("name", "figures"), FIGURES.items())
def test_one_screen_answers_the_three_questions_in_order(cmpt726, tmp_path, name, figures):
    done = cmpt726(name)
    lines = done.stdout.splitlines()
    assert (done.status, done.stderr) == (0, "")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    number = 1 + (name == "glm")
    assert [line[:3] for line in lines if line[:2] == f"{number}."] == [f"{number}.{k}" for k in (1, 2, 3)]
    assert lines[-len(figures) :] == [f"wrote results/{name}/{file}" for file in figures]
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == sorted(figures)


def test_point_alone(cmpt726, tmp_path):
    assert [line.rstrip() for line in cmpt726("softmax", "--point").stdout.splitlines()] == [
        "The green point (3/22, -4/11) ≈ (0.1364, -0.3636)",
        "",
        " class      activation   probability",
        " ─────────────────────────────────────────────",
        " C1      23/22 ≈ 1.045        0.3333   largest",
        " C2      23/22 ≈ 1.045        0.3333   largest",
        " C3      23/22 ≈ 1.045        0.3333   largest",
        "",
    ]
    assert list(tmp_path.iterdir()) == []
    assert cmpt726("softmax", "--point", "--out", "here").stdout.count("wrote here/") == 3
    done = cmpt726("softmax", "--point", "--class", "1,2,3", "--class", "0,1,1")
    assert "no green point: C1, C2 meet along one whole line" in done.stdout
    assert cmpt726("softmax", "--point", *SQUARE).stdout.count("A meeting point") == 4


def test_point_starts_without_heavy_imports():
    code = (
        "import sys; sys.argv = ['cmpt726', 'softmax', '--point']\n"
        "from commands.app import main\n"
        "try: main()\n"
        "finally: print(sorted({'numpy', 'matplotlib', 'torch', 'h5py'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def keys(text):
    return set(text.split())


def test_json_has_the_agreed_keys(cmpt726, tmp_path):
    found = cmpt726("softmax", "--json", "--at", "1/2", 0).json
    assert found["point"]["exact"] == ["3/22", "-4/11"]
    assert {*found} == keys("activations weights point vertices boundaries regions findings at figures")
    assert {*found["at"]} == keys("x exact region tied activations exact_activations probabilities")
    way = keys("start direction exact_direction rate limit keep tied kind")
    assert {*found["boundaries"][0]} == way | keys("classes equation end through behind")
    assert {*found["regions"][0]} == way | {"class"}
    assert [found["at"][key] for key in ("x", "tied", "region")] == [[0.5, 0], [1, 2], None]
    other = cmpt726("glm", "--json", "--at", "0.5", -2).json
    assert {*other} == keys("weights surfaces boundaries regions findings at figures")
    assert {*other["boundaries"][0]} == keys("classes separates equation conic center radius axes exact opens lines")
    assert {*other["at"]} == keys("x exact region tied scores exact_scores")
    assert [other["at"][key] for key in ("scores", "region")] == [[14.5, 8], 1]
    assert all(item["text"] and item["evidence"] for item in found["findings"] + other["findings"])
    assert (found["figures"], other["figures"], list(tmp_path.iterdir())) == ([], [], [])


def test_json_draws_only_where_told(cmpt726, tmp_path):
    found = cmpt726("softmax", "--json", "--out", "here", "--format", "svg", "--extent", "1/2").json
    assert found["figures"] == ["here/regions.svg", "here/along-boundaries.svg", "here/into-regions.svg"]
    assert all((tmp_path / path).stat().st_size for path in found["figures"])
    assert cmpt726("softmax", "--json", "--point").json.keys() == {"point", "figures"}
    nothing = cmpt726("softmax", "--json", "--class", "1,2,3", "--class", "1,2,4").json
    assert (nothing["point"], nothing["boundaries"], "at" in nothing) == (None, [], False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("softmax --class 1,2,3", "at least two classes are needed, got 1"),
        ("softmax --class 1,2,nan --class 1,2,3", "must be finite, 0 or between 1e-30 and 1e30 in size"),
        ("softmax --at 1", "'--at' requires 2 arguments"),
        ("softmax --extent 0", "--extent must be above 0, got 0"),
        ("softmax --out taken", "figures need a folder, and taken can't be one"),
        ("glm --class 6,2,2,1 --class 8,0,0", "a class takes three numbers, w0,w1,w2; got 4"),
        ("glm --at nan 0", 'got "nan"'),
    ],
)
def test_bad_requests_exit_2_with_a_helpful_line(cmpt726, arguments, message, tmp_path):
    (tmp_path / "taken").touch()
    done = cmpt726(*shlex.split(arguments))
    assert (done.status, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
