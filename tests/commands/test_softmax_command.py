"""`cmpt726 softmax` as people use it."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

SQUARE = [part for w in ("1,0,0", "-1,0,0", "0,1,0", "0,-1,0", "0,0,1") for part in ("--class", w)]


def test_one_screen_answers_the_three_questions(cmpt726, tmp_path):
    done = cmpt726("softmax")
    lines = done.stdout.splitlines()
    assert (done.status, done.stderr) == (0, "")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    for expected in ("2 x1 - 2 x2 = 1", "12 x1 - x2 = 2", "8 x1 + 3 x2 = 0", "(3/22, -4/11)", "probability 1/3"):
        assert expected in done.stdout
    assert [line[:3] for line in lines if line[:1] == "1"] == ["1.1", "1.2", "1.3"]
    figures = ["regions.png", "along-boundaries.png", "into-regions.png"]
    assert lines[-3:] == [f"wrote results/softmax/{name}" for name in figures]
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


def test_json_has_the_agreed_keys(cmpt726, tmp_path):
    document = cmpt726("softmax", "--json", "--at", -1, "0.5").json
    assert document["point"]["exact"] == ["3/22", "-4/11"]
    assert document["point"]["x"] == pytest.approx([3 / 22, -4 / 11])
    assert document["point"].keys() >= {"activations", "probabilities"}
    assert [item["classes"] for item in document["boundaries"]] == [[1, 2], [1, 3], [2, 3]]
    boundary = document["boundaries"][0]
    assert boundary["equation"] == "2 x1 - 2 x2 = 1"
    assert boundary["direction"] == pytest.approx([0.5**0.5, 0.5**0.5])
    assert boundary["rate"] == pytest.approx(5.5 / 2**0.5)
    assert boundary["limit"] == [0.5, 0.5, 0]
    assert boundary.keys() >= {"kind", "start", "end", "through", "exact_direction", "behind", "tied"}
    assert [item["class"] for item in document["regions"]] == [1, 2, 3]
    assert document["regions"][2]["limit"] == [0, 0, 1]
    assert document["regions"][2].keys() >= {"kind", "start", "direction", "exact_direction", "rate", "tied"}
    assert document.keys() >= {"activations", "weights", "vertices"}
    assert all(item["text"] and item["evidence"] for item in document["findings"])
    assert document["at"]["region"] == 3
    assert document["at"]["activations"] == [-1.5, 2.5, 5.75]
    assert sum(document["at"]["probabilities"]) == pytest.approx(1)
    assert document["figures"] == []
    assert list(tmp_path.iterdir()) == []


def test_json_draws_only_where_told(cmpt726, tmp_path):
    document = cmpt726("softmax", "--json", "--out", "here", "--format", "svg").json
    assert document["figures"] == ["here/regions.svg", "here/along-boundaries.svg", "here/into-regions.svg"]
    assert all((tmp_path / path).stat().st_size for path in document["figures"])
    assert cmpt726("softmax", "--json", "--point").json.keys() == {"point", "figures"}
    nothing = cmpt726("softmax", "--json", "--class", "1,2,3", "--class", "1,2,4").json
    assert (nothing["point"], nothing["boundaries"], "at" in nothing) == (None, [], False)
    assert [item["limit"] is None for item in nothing["regions"]] == [True, False]


def test_at_marks_ties_and_never_rounds_to_certainty(cmpt726):
    document = cmpt726("softmax", "--json", "--at", "1/2", 0).json
    assert document["at"]["tied"] == [1, 2]
    assert document["at"]["region"] is None
    shown = cmpt726("softmax", "--no-figures", "--at", 5, -5).stdout
    assert "The point (5, -5)" in shown
    assert "1 - 5.6e-09" in shown
    shown = cmpt726("softmax", "--point", "--at", 500, -500).stdout
    assert "> 1 - 1e-300" in shown
    assert shown.count("< 1e-300") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--class 1,2,3", "at least two classes are needed, got 1"),
        ("--class 1,2,nan --class 1,2,3", "must be finite, 0 or between 1e-30 and 1e30 in size"),
        ("--at 1", "'--at' requires 2 arguments"),
        ("--extent 0", "--extent must be above 0, got 0"),
        ("--out taken", "figures need a folder, and taken can't be one"),
    ],
)
def test_bad_requests_exit_2_with_a_helpful_line(cmpt726, arguments, message, tmp_path):
    (tmp_path / "taken").touch()
    done = cmpt726("softmax", *shlex.split(arguments))
    assert (done.status, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["softmax", "glm"])
def test_examples_in_the_help_run_as_printed(cmpt726, name):
    shown = cmpt726(name, "--help").stdout
    commands = [line.strip().removeprefix("$ ") for line in shown.splitlines() if line.strip().startswith("$ ")]
    assert len(commands) == 3
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "cmpt726"
        assert cmpt726(*arguments, "--no-figures").status == 0
