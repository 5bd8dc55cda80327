"""Names of classes and files that a stranger chose, through everything that we print, write and draw."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cli726.finetune.folder import new_run_dir
from cli726.finetune.output.gallery import write_gallery
from cli726.text import printable
from tests.cli726.finetune.synthetic import pictures as draw
from tests.harness import FULL

pytestmark = pytest.mark.faults

NAMES = [
    "<img src=x onerror=alert(1)>", "[bold][red]x", "\x1b[31m\x1b]0;t\x07red", "\u202egnp.txe", "two\nlines",
    "=1+cmd|' calc'!A0", "@SUM(A1)", "+1", "-1", "\ttab", "\r=1", "$\\frac{x$", "%n%s{0}{{7*7}}", "..", "...",
    ". .", "~", "\u200b\u2066x\u2069", "\x9b31m", "nul\x01\x7f", "x" * 200, " ", "-", "--help", "\udcff\udcfe",
    "\U0001f436\u72ac",
    "\\..\\..\\x", "CON", "'; DROP TABLE x--", "\"", "`id`", "${HOME}", "]]>", "-->", "&lt;", "javascript:alert(1)",
    "a\u0301\u0301\u0301", "\ufeff", "\u2028", "[/]", "[/x]", "[link=file:///etc/passwd]y[/link]", "../../escaped",
]  # fmt: skip
# No folder is called so.
IMPOSSIBLE = {"..", "../../escaped", "[/]", "[/x]", "[link=file:///etc/passwd]y[/link]"}


def is_harmless(text: str) -> bool:
    """Nothing in it moves a cursor, colours, reorders or rings."""
    return all(c == "\n" or c.isprintable() for c in text)


def groups() -> list[list[str]]:
    """The names, three at a time; in CI those that differ most. What begins with a dot is hidden, and no class."""
    possible = [name for name in NAMES if name not in IMPOSSIBLE and name[0] != "."]
    most = [*possible[:6], "\ttab", "-", "\udcff\udcfe"]
    chosen = [*(possible if FULL else most), "other", "more"]
    return [chosen[start : start + 3] for start in range(0, len(chosen) - 2, 3)]


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in draw(30)[0]]


def folder_of(root: Path, names: list[str], images: list[Image.Image]) -> Path:
    """PATH/NAME/NAME.NUMBER.png."""
    for number, image in enumerate(images):
        name = names[number % 3]
        (root / name).mkdir(parents=True, exist_ok=True)
        image.save(root / name / f"{name[:80]}.{number}.png", "PNG")
    return root


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def vocabulary(page: str) -> tuple[set[str], set[str]]:
    tags = Tags()
    tags.feed(page)
    return tags.tags, tags.attributes


@pytest.mark.parametrize("names", groups(), ids=ascii)
def test_classes_and_files_through_every_output(
    tmp_path: Path, cmpt726: Callable[..., Any], images: list[Image.Image], names: list[str]
) -> None:
    folder = folder_of(tmp_path / "data", names, images)
    plan = ("finetune", "--dataset", f"folder:{folder}", "--weights", "random", "--precision", "fp32", "--epochs", 1)
    table = cmpt726(*plan, "--run-dir", "run")
    assert table.status == 0, table.stderr
    outputs = [table]
    for command in (f"predict run {folder}", "runs ls --folder .", f"predict run {folder} --json"):
        outputs.append(cmpt726(*command.split()))
        assert outputs[-1].status == 0, outputs[-1].stderr
    document = outputs[-1].json
    assert len(document["predictions"]) == 30
    # Undecodable bytes are replaced, everything else stands as it is.
    decodable = {name for name in names if "\udcff" not in name}
    assert decodable <= set(document["class_names"])
    sheet = cmpt726("predict", "run", folder, "--csv")
    assert sheet.status == 0
    rows = list(csv.reader(io.StringIO(sheet.stdout, newline="")))
    assert {len(row) for row in rows} == {7}
    cells = [cell for row in rows for cell in row if not re.fullmatch(r"-?[\d.e-]+", cell)]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    for done in (*outputs, sheet):
        assert is_harmless(done.stdout + done.stderr)
        assert "Warning" not in done.stderr
    for name in ("summary.json", "model.json", "config.json"):
        json.loads((tmp_path / "run" / name).read_text("utf-8"))
    page = (tmp_path / "run" / "gallery.html").read_text("utf-8")
    assert_tame(page, tmp_path, images)


def assert_tame(page: str, tmp_path: Path, images: list[Image.Image]) -> None:
    """No tag, attribute or control character that a page of harmless names has not."""
    for found, known in zip(
        vocabulary(page), vocabulary(page_of(tmp_path, images, ("a_b", "c-d", "e/f"))), strict=True
    ):
        assert found <= known
    assert not [c for c in page if c not in "\n\t" and not c.isprintable()]


def page_of(tmp_path: Path, images: list[Image.Image], names: tuple[str, ...]) -> str:
    """The gallery of six images whose files are called as their classes."""
    probabilities = np.full((6, len(names)), 1 / len(names), np.float32)
    probabilities[:, 0] += 0.1
    write_gallery(
        tmp_path / "plain.html", title="t", pixels=np.stack([np.asarray(image) for image in images[:6]]),
        labels=np.arange(6) % len(names), probabilities=probabilities, class_names=names,
        names=tuple(names[i % len(names)] for i in range(6)), summary={"Data": names[0]},
    )  # fmt: skip
    return (tmp_path / "plain.html").read_text("utf-8")


def test_every_name_at_once_in_the_gallery(tmp_path: Path, images: list[Image.Image]) -> None:
    decodable = [name for name in NAMES if "\udcff" not in name]
    for start in range(0, len(decodable) - 2, 3):
        names = tuple(decodable[start : start + 3])
        assert_tame(page_of(tmp_path, images, names), tmp_path, images)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_data_sets_name_never_leads_a_run_out_of_its_folder(tmp_path: Path, name: str) -> None:
    path = new_run_dir(name, tmp_path / "runs")
    assert path.parent == tmp_path / "runs"
    assert re.fullmatch(r"[\w.-]+", path.name)
    assert not path.name.startswith((".", "-"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


@given(st.text(max_size=60))
def test_whatever_a_name_is_its_printable_form_is_harmless(name: str) -> None:
    assert is_harmless(printable(name))
    assert len(printable(name)) == len(name)


@pytest.mark.parametrize(
    "name", ["\x1b[31m\x1b]0;t\x07red", "\u202egnp.txe", "two\nlines", "\x9b31m", "[/x]", "\u2028"], ids=ascii
)
def test_labels_and_paths_in_a_csv_are_only_names(tmp_path: Path, cmpt726: Callable[..., Any], name: str) -> None:
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label"], [name, "a"], [f"x/{name}", name]])
    done = cmpt726("finetune", "--dataset", f"csv:{tmp_path / 'data.csv'}", "--weights", "random")
    assert done.status == 2
    assert is_harmless(done.stderr)
    assert "Traceback" not in done.stderr
