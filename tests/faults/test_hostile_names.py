"""Names of classes and files that a stranger chose, through everything that we print, write and draw."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from cli726.finetune.folder import new_run_dir
from cli726.text import printable
from tests.cli726.finetune.synthetic import pictures

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("small_network")]

# Three classes: terminals, Rich, the right-to-left override, HTML, a title; spreadsheets; bytes that are no text,
# line ends, templates, shells and mathematics. The last two also as labels of a table.
WORST = (
    "\x1b[31m\x1b]0;t\x07\x9b31m[bold][red]\u202egnp<img src=x onerror=alert(1)><\u2028script>\ufeff",
    "=1+cmd|' calc'!A0\ttab",
    "\udcff\udcfe two\nlines %n{{7*7}}{0}$\\frac{x$ `id` ${HOME} [link=file:]y[\\x]",
)


def is_harmless(text: str) -> bool:
    """Nothing in it moves a cursor, colours, reorders or rings."""
    return all(c == "\n" or c.isprintable() for c in text)


def test_the_worst_classes_and_files_through_every_output(tmp_path: Path, cmpt726: Callable[..., Any]) -> None:
    folder = tmp_path / "data"
    for number, pixels in enumerate(pictures(30)[0]):
        name = WORST[number % 3]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{name}.{number}.png", "PNG")
    plan = ("finetune", "--dataset", f"folder:{folder}", "--weights", "random", "--precision", "fp32", "--epochs", 1)
    outputs = [cmpt726(*plan, "--run-dir", "run")]
    for command in (f"predict run {folder}", "runs ls --folder .", f"predict run {folder} --json"):
        outputs.append(cmpt726(*command.split()))
    document = outputs[-1].json
    assert len(document["predictions"]) == 30
    # Undecodable bytes are replaced, everything else stands as it is.
    assert {*WORST[:2]} < set(document["class_names"])
    outputs.append(cmpt726("predict", "run", folder, "--csv"))
    rows = list(csv.reader(io.StringIO(outputs[-1].stdout, newline="")))
    assert {len(row) for row in rows} == {9}
    cells = [cell for row in rows for cell in row if not re.fullmatch(r"-?[\d.e-]+", cell)]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    for done in outputs:
        assert done.status == 0, done.stderr
        assert is_harmless(done.stdout + done.stderr)
        assert "Warning" not in done.stderr
    for name in ("summary.json", "model.json", "config.json"):
        json.loads((tmp_path / "run" / name).read_text("utf-8"))
    page = (tmp_path / "run" / "gallery.html").read_text("utf-8")
    assert is_harmless(page.replace("\t", ""))
    assert "<img" not in page


@example("../../escaped")
@example("..")
@example("~")
@example("--help")
@example("CON")
@example("\\..\\x")
@given(st.text(max_size=60))
def test_a_data_sets_name_never_leads_a_run_out_of_its_folder(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = new_run_dir(name, Path(place) / "runs")
        assert path.parent == Path(place) / "runs"
        assert re.fullmatch(r"[\w.-]+", path.name)
        assert not path.name.startswith((".", "-"))
        assert [entry.name for entry in Path(place).iterdir()] == ["runs"]


@given(st.text(max_size=60))
def test_whatever_a_name_is_its_printable_form_is_harmless(name: str) -> None:
    assert is_harmless(printable(name))
    assert len(printable(name)) == len(name)


@pytest.mark.parametrize("name", ["\x1b[31m\x1b]0;t\x07red\u202egnp\u2028two\nlines\x9b31m", "[/x]"], ids=ascii)
def test_labels_and_paths_in_a_csv_are_only_names(tmp_path: Path, cmpt726: Callable[..., Any], name: str) -> None:
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label"], [name, "a"], [f"x/{name}", name]])
    done = cmpt726("finetune", "--dataset", f"csv:{tmp_path / 'data.csv'}", "--weights", "random")
    assert done.status == 2
    assert is_harmless(done.stderr)
    assert "Traceback" not in done.stderr
