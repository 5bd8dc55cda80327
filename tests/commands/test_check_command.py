"""`cmpt726 check` as people use it."""

from __future__ import annotations

import io
import sys

import pytest

from cli726.check import QUESTIONS


def test_right_wrong_and_not_understood_have_their_exit_status(cmpt726):
    right = cmpt726("check", "3.2", "(y - t) * z_2^(3)")
    assert (right.status, right.stdout, right.stderr) == (0, "3.2  right\n", "")
    wrong = cmpt726("check", "3.2", "(y - t) * z_2^(2)")
    assert (wrong.status, wrong.stderr) == (10, "")
    first, typed, mark = wrong.stdout.splitlines()
    assert "the layer of z: you have z_2^(2), right is z_2^(3)" in first
    assert typed[mark.index("^") : mark.rindex("^") + 1] == "z_2^(2)"
    garbled = cmpt726("check", "3.2", "(y - t) * ?")
    assert (garbled.status, garbled.stdout) == (2, "")
    assert garbled.stderr.startswith("error: ")
    assert "column 11" in garbled.stderr


def test_json_has_the_agreed_keys(cmpt726):
    done = cmpt726("check", "3.1", "t - y", "--json")
    assert done.status == 10
    assert done.json["slip"] == "sign"
    assert done.json.keys() == {"question", "right", "slip", "where", "message"}
    assert done.json["where"] == [1, 5]
    assert cmpt726("check", "1.1", "1/3", "--json").json["slip"] is None


def test_many_answers_from_a_file(cmpt726, tmp_path):
    (tmp_path / "losses.csv").write_text("\n".join(cmpt726_losses(cmpt726)))
    (tmp_path / "answers.toml").write_text(
        '"1.1" = "1/3"\n"3.1" = "t - y"\n"4.2" = "((("\n"5.1" = "losses.csv"\n[3]\n2 = "delta_1^(4) z_2^(3)"\n'
    )
    done = cmpt726("check", "--from", "answers.toml", "--json")
    assert done.status == 10
    assert {row["question"]: row["right"] for row in done.json["answers"]} == {
        "1.1": True, "3.1": False, "4.2": None, "5.1": True, "3.2": True,
    }  # fmt: skip
    assert done.json["marks"] == {"earned": 18, "possible": 32}
    shown = cmpt726("check", "--from", "answers.toml").stdout
    assert "18 of 32 marks" in shown
    assert "not understood" in shown
    (tmp_path / "broken.toml").write_text("1.1 = [")
    assert cmpt726("check", "--from", "broken.toml").status == 2


def cmpt726_losses(cmpt726):
    return [repr(value) for value in cmpt726("lr", "gd", "--json").json["nll"]]


def test_standard_input_and_other_parameters(cmpt726, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y - t\n"))
    assert cmpt726("check", "3.1", "-").status == 0
    assert cmpt726("check", "1.1", "0, 0", "--class=1,0,0", "--class=0,1,0", "--class=-1,-1,0").status == 0
    assert cmpt726("check", "2.1", "1 + x1^2 - 2 x2^2", "--class=1,1,-2", "--class=3,0,0").status == 0
    wide = ("--layers", "2,4,4,1")
    assert cmpt726("check", "3.5", "h'(a_1^(2)) sum_{k=1}^4 w_k1^(2) delta_k^(3)", *wide).status == 0
    assert cmpt726("check", "3.5", "h'(a_1^(2)) sum_{k=1}^3 w_k1^(2) delta_k^(3)", *wide).status == 10
    assert cmpt726("check", "4.1", "delta_1^(l+1) z_1^(l)", "--depth", 8).status == 0
    document = cmpt726("backprop", "--x", "1,2,3", "--t", "1", "--json").json
    value = document["derivatives"][3]["value"]
    assert cmpt726("check", "3.4", f"{value:.5f}", "--x", "1,2,3", "--t", "1").status == 0
    assert cmpt726("check", "3.4", f"{-value:.5f}", "--x", "1,2,3", "--t", "1", "--json").json["slip"] == "sign"


def test_the_list_and_the_hints(cmpt726):
    done = cmpt726("check", "--list", "--json").json["questions"]
    assert [row["question"] for row in done] == list(QUESTIONS)
    for row in done:
        if not row["question"].startswith("5"):
            assert cmpt726("check", row["question"], row["example"]).status == 0
    for number, hint in enumerate(QUESTIONS["3.1"].hints, 1):
        assert " ".join(cmpt726("check", "3.1", "--hint", number).stdout.split()) == hint
    for question in QUESTIONS.values():
        assert len({*question.hints}) == 3
        assert len(question.example) <= 4 or all(question.example not in text for text in question.hints)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a question and an answer"),
        (("6.1", "1"), "a question is one of 1.1"),
        (("3.1",), "needs an answer"),
        (("3.1", " "), "must not be empty"),
        (("5.1", "nothing.csv"), "there is no file"),
        (("3.1", "1.5", "--layers", "3,x"), "--layers"),
        (("1.1", "1/3", "--class=1,0,0", "--class=0,1,0"), "meet in one point"),
    ],
)
def test_bad_requests_exit_2_with_a_helpful_line(cmpt726, arguments, message):
    done = cmpt726("check", *arguments)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
