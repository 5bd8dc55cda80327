"""What each problem hands to its template, and what problem 6 says of a run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.folder.runs import finished_run, read_run
from cli726.finetune.output.findings import document, explain_stages
from cli726.report import finetune
from cli726.report.finetune import ROWS, gallery, score_again
from cli726.report.sections import SECTIONS
from cli726.reporting import Silent

pytestmark = pytest.mark.usefixtures("small_network")


def test_points_of_ones_own(tmp_path):
    chance = np.random.default_rng(0)
    X = chance.normal(size=(30, 3))
    t = (X[:, 0] + chance.normal(size=30) > 0).astype(int)
    file = tmp_path / "#mine.txt"
    file.write_text("\n".join(" ".join(map(str, [*row, label])) for row, label in zip(X, t, strict=True)))
    section = SECTIONS[5](file)
    assert (section.data["source"], section.data["points"]) == ("#mine.txt", 30)
    assert "separator-path" not in section.figures  # a separator of three features has no slope


def test_a_run_is_told_by_its_own_numbers(run):
    section = finetune.section(run, Silent())
    summary = json.loads((run / "summary.json").read_text())
    assert section.data["best"]["error"] == f"{summary['best']['val_error']:.2%}"
    assert section.data["accuracy"] == f"{summary['test']['accuracy']:.2%}"
    assert section.data["here"].keys() == set("12345678")
    assert section.data["second"] is None
    assert {"history", "confusion", "inputs"} == section.figures.keys()
    assert {row["file"] for row in section.data["rows"]} == section.images.keys()
    phases = next(table for table in section.document.tables if table.question == "6.8")
    assert [row[0] for row in phases.rows] == ["new layers only", "all turned on"]
    assert phases.rows[1][2] == f"{1 - summary['phases'][1]['best_val_error']:.2%}"


def test_extensions_that_no_run_uses_are_named(run, tmp_path):
    first = read_run(run)
    told = " ".join(finding.text for finding in document(first, None).findings)
    assert "Described only, not used by this run: Other new layers and Data augmentation." in told
    both = document(first, read_run(copy(run, tmp_path / "second", head="mlp:8", augment="flip", l2=(0.1,))))
    assert not any("Described only" in finding.text for finding in both.findings)
    rows = next(table for table in both.tables if table.question == "6.5").rows
    assert [row[2:5] for row in rows] == [("linear", "none", "0, 0.1; the best went on"), ("mlp:8", "flip", "0.1")]


def test_the_second_run_uses_what_the_first_leaves_out(monkeypatch, run):
    asked = []

    def stand_in(config, *_, **__):
        asked.append(config)
        return type("Finetuned", (), {"run_dir": run})

    monkeypatch.setattr(finetune, "finetune", stand_in)
    finetune.train("digits", Silent())
    finetune.train_second(Silent())
    first, second = asked
    assert first.dataset == second.dataset == "digits"
    assert (first.head, first.augment, max(first.l2) > 0) == ("linear", "none", True)
    assert second.head != "linear"
    assert second.augment != "none"
    assert min(second.l2) > 0


def test_scores_of_the_gallery_are_those_of_the_test(run, monkeypatch):
    data, scores = score_again(read_run(run), Silent())
    rows, _ = gallery(data, scores)
    confusion = np.array(json.loads((run / "summary.json").read_text())["test"]["confusion"])
    assert sum(not row["right"] for row in rows) == min(confusion.sum() - confusion.trace(), ROWS // 2)
    for row in rows:
        assert sum(score["share"] for score in row["scores"]) <= 1 + 1e-9
        assert any(score["true"] for score in row["scores"])
    # Scores at hand are not computed again.
    monkeypatch.setattr(finetune, "score_again", None)
    monkeypatch.setattr(finetune, "train_second", lambda reporter: read_run(run))
    turned = torch.roll(scores, 1, 1)
    trained = type("Finetuned", (), {"dataset": data, "judged": (None, None, turned)})()
    shown = finetune.section(run, Silent(), trained).data["rows"]
    assert [row["scores"] for row in shown] == [row["scores"] for row in gallery(data, turned)[0]]


def copy(run, path, **options):
    """The same run with other options in its configuration."""
    shutil.copytree(run, path)
    config = json.loads((run / "config.json").read_text())
    config["options"].update(options)
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_without_its_data_set_the_gallery_says_why_and_code_is_never_run(run, tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(marker)!r}, 'w')\ndef data(split): ...")
    for name, dataset, said in (
        ("moved", f"folder:{tmp_path / 'nowhere'}", "folder"),
        ("other", "digits", "not the one"),
        ("named", f"python:{tmp_path / 'own.py'}:data", "never run"),
    ):
        assert said in str(score_again(read_run(copy(run, tmp_path / name, dataset=dataset)), Silent()))
    assert not marker.exists()
    section = finetune.section(tmp_path / "other", Silent())
    assert section.data["rows"] == []
    assert "not the one" in section.data["no_rows"]
    assert "inputs" not in section.figures


def test_runs_that_are_none(run, tmp_path):
    with pytest.raises(RequestError, match="RUN must be a folder"):
        finished_run(str(tmp_path))
    unfinished = copy(run, tmp_path / "unfinished")
    (unfinished / "summary.json").unlink()
    with pytest.raises(RequestError, match="--resume"):
        finished_run(str(unfinished))
    (unfinished / "summary.json").write_text("{}")
    with pytest.raises(UntrustedDataError, match="not a finished run of ours"):
        read_run(unfinished)


@pytest.mark.parametrize(
    ("before", "after", "images", "said"),
    [
        (0.4, 0.1, 1000, "60.00% to 90.00% of 1,000 images; the 95 % intervals of the two stages don't"),
        (0.4, 0.3, 20, "intervals of the two stages overlap"),
        (0.1, 0.4, 1000, "did not help"),
        (0.1, 0.1, 1000, "changed nothing"),
    ],
)
def test_stages_are_compared_by_what_was_measured(run, before, after, images, said):
    finished = read_run(run)
    errors = {"head": before, "all": after}
    phases = [{"name": name, "best_val_error": error, "best_val_loss": 1.0} for name, error in errors.items()]
    dataset = {**finished.summary["dataset"], "validation": images}
    changed = replace(finished, summary={**finished.summary, "phases": phases, "dataset": dataset})
    assert said in " ".join(finding.text for finding in explain_stages(changed))
