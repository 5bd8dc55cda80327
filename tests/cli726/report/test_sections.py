"""What each problem hands to its template."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli726.errors import RequestError, UntrustedDataError
from cli726.report import backprop, finetune, glm, logistic, softmax, vanishing
from cli726.report.run_folder import ROWS, Gallery, chosen, finished_run, gallery, read_run, wrapping
from cli726.report.section import ready
from cli726.reporting import Silent


def texts(value: Any) -> Iterator[str]:
    """Every text in a section's data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)


@pytest.mark.parametrize("make", [softmax.section, glm.section, backprop.section, vanishing.section])
def test_data_are_json_and_hold_no_plain_text_mathematics(make: Any) -> None:
    section = make()
    data = ready(section.data)
    text = " ".join(texts(data))
    assert json.loads(json.dumps(data, allow_nan=False))
    assert not any(sign in text for sign in ("^", "_", "ₙ", "⁽", "eta ", "e-0", "exp("))
    assert section.figures
    assert section.headline


def test_softmax_tables_follow_the_closed_form() -> None:
    rows = softmax.section().data["along"]["rows"]
    for (_, _, (rate,), *beside), (_, _, _, *third) in zip(rows[::2], rows[1::2], strict=True):
        fades = math.exp(-2 * float(rate))
        assert float(beside[3][0]) == pytest.approx(1 / (2 + fades), abs=1e-3)
        assert float(third[3][0]) == pytest.approx(fades / (2 + fades), rel=5e-3)


def test_points_of_ones_own(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    X = chance.normal(size=(30, 3))
    t = (X[:, 0] + chance.normal(size=30) > 0).astype(int)
    file = tmp_path / "#mine.txt"
    file.write_text("\n".join(" ".join(map(str, [*row, label])) for row, label in zip(X, t, strict=True)))
    section = logistic.section(file)
    assert section.data["source"] == "#mine.txt"
    assert section.data["points"] == 30
    assert "path" not in section.figures  # a separator of three features has no slope


def test_a_run_is_told_by_its_own_numbers(run: Path) -> None:
    section = finetune.section(run, Silent())
    summary = json.loads((run / "summary.json").read_text())
    assert section.data["best"]["error"] == f"{summary['best']['val_error']:.2%}"
    assert section.data["accuracy"] == f"{summary['test']['accuracy']:.2%}"
    assert len(section.data["here"]) == 8
    assert {"history", "confusion", "inputs"} == section.figures.keys()
    assert {row["file"] for row in section.data["rows"]} == section.images.keys()
    first, second = section.data["phases"]["rows"]
    assert first[0] == ["new layers only"]
    assert second[2] == [f"{summary['phases'][1]['best_val_error']:.2%}"]


def test_scores_of_the_gallery_are_those_of_the_test(run: Path) -> None:
    found = gallery(read_run(run), Silent())
    assert isinstance(found, Gallery)
    confusion = np.array(json.loads((run / "summary.json").read_text())["test"]["confusion"])
    wrong = [row for row in found.rows if not row["right"]]
    assert len(wrong) == min(confusion.sum() - confusion.trace(), ROWS // 2)
    assert all(sum(score["share"] for score in row["scores"]) <= 1 + 1e-9 for row in found.rows)
    assert all(any(score["true"] for score in row["scores"]) for row in found.rows)


def test_mistakes_come_first_then_every_class_in_turn() -> None:
    labels = np.arange(40) % 4
    probabilities = np.full((40, 4), 0.1)
    probabilities[np.arange(40), labels] = 0.7
    probabilities[5] = (0.9, 0.03, 0.03, 0.04)
    probabilities[6] = (0.6, 0.2, 0.1, 0.1)
    order = chosen(probabilities, labels.astype(np.int64))
    assert order[:2] == [5, 6]
    assert order[2:] == [0, 1, 2, 3, 4, 9, 10, 7, 8, 13]


@given(st.text())
def test_long_names_may_be_broken_and_stay_what_they_are(name: str) -> None:
    parts = wrapping(name).split("\N{ZERO WIDTH SPACE}")
    assert wrapping(name).replace("\N{ZERO WIDTH SPACE}", "") == name.replace("\N{ZERO WIDTH SPACE}", "")
    assert all(len(part) <= 17 for part in parts)


def test_without_its_data_set_the_gallery_says_why(run: Path, tmp_path: Path) -> None:
    changed = copy(run, tmp_path / "moved", dataset="folder:" + str(tmp_path / "nowhere"))
    assert "folder" in str(gallery(read_run(changed), Silent()))
    other = copy(run, tmp_path / "other", dataset="digits")
    assert "not the one" in str(gallery(read_run(other), Silent()))
    section = finetune.section(other, Silent())
    assert section.data["rows"] == []
    assert section.data["no_rows"]
    assert "inputs" not in section.figures


def test_code_that_a_run_names_is_never_run(run: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(marker)!r}, 'w')\ndef data(split): ...")
    named = copy(run, tmp_path / "named", dataset=f"python:{tmp_path / 'own.py'}:data")
    assert "never run" in str(gallery(read_run(named), Silent()))
    assert not marker.exists()


def copy(run: Path, path: Path, **options: Any) -> Path:
    """The same run with other options in its configuration."""
    path.mkdir()
    for file in run.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    config = json.loads((run / "config.json").read_text())
    config["options"].update(options)
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_runs_that_are_none(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="RUN must be a folder"):
        finished_run(str(tmp_path))
    unfinished = copy(run, tmp_path / "unfinished")
    (unfinished / "summary.json").unlink()
    with pytest.raises(RequestError, match="--resume"):
        finished_run(str(unfinished))
    damaged = copy(run, tmp_path / "damaged")
    (damaged / "summary.json").write_text("{}")
    with pytest.raises(UntrustedDataError, match="not a finished run of ours"):
        read_run(damaged)


def test_stages_are_compared_by_what_was_measured(run: Path) -> None:
    finished = read_run(run)

    def told(before: float, after: float, images: int) -> str:
        phases = [
            {"name": "head", "best_val_error": before, "best_val_loss": 1.0},
            {"name": "all", "best_val_error": after, "best_val_loss": 1.0},
        ]
        dataset = {**finished.summary["dataset"], "validation": images}
        summary = {**finished.summary, "phases": phases, "dataset": dataset}
        changed = type(finished)(**{**vars(finished), "summary": summary})
        return " ".join(finding.text for finding in finetune.explain_stages(changed))

    assert "did better" in told(0.4, 0.1, 1000)
    assert "don't overlap" in told(0.4, 0.1, 1000)
    assert "intervals of the two stages overlap" in told(0.4, 0.3, 20)
    assert "did not help" in told(0.1, 0.4, 1000)
    assert "changed nothing" in told(0.1, 0.1, 1000)
