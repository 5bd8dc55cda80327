"""Names are strings, never markup; nothing outside the folder can be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typst

from cli726.report.typesetting import covered, typeset

HOSTILE = '#panic("x") #read("/etc/passwd") *bold* $x$ \\ " ] }'


def document(**changes: Any) -> dict[str, Any]:
    """A report with one problem that failed, and one file of code."""
    failed = {
        "number": 1,
        "title": "A title",
        "headline": ["A headline"],
        "data": None,
        "failure": "A failure.",
    }
    listing = {"number": 1, "note": "", "sources": [{"path": "P1/a.py", "language": "python", "text": "a = 1"}]}
    return {
        "name": "",
        "student_id": "",
        "date": "1 January 1970",
        "versions": "none",
        "sections": [failed],
        "listings": [listing],
        **changes,
    }


def test_markup_stays_text(tmp_path: Path, text_of: Callable[..., str]) -> None:
    shown = document(name=HOSTILE, student_id="#1 *2*")
    shown["sections"][0]["failure"] = HOSTILE
    (tmp_path / "folder").mkdir()
    (tmp_path / "report.pdf").write_bytes(typeset(tmp_path / "folder", shown, 0))
    text = " ".join(text_of(tmp_path / "report.pdf").split())
    assert text.count('#panic("x") #read("/etc/passwd") *bold* $x$') == 2
    assert "#1 *2*" in text


def test_the_same_document_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(typeset(tmp_path / name, document(), 86400))
    assert made[0] == made[1]
    (tmp_path / "three").mkdir()
    assert typeset(tmp_path / "three", document(), 2 * 86400) != made[0]


@pytest.mark.parametrize("place", ["../secret.txt", "/../secret.txt"])
def test_files_outside_are_out_of_reach(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "report.typ").write_text(f'#read("{place}")')
    with pytest.raises(typst.TypstError, match="escape the project root"):
        typst.Compiler(tmp_path / "folder" / "report.typ", root=tmp_path / "folder").compile(format="pdf")


@pytest.mark.parametrize(
    ("text", "own"),
    [("Ada", True), ("Łukasz Ω Жуков", True), ("h′(a₁⁽ˡ⁾) ≤ 1/4", True), ("张伟", False), ("علي", False)],
)
def test_other_scripts_need_the_machines_fonts(text: str, own: bool) -> None:
    assert covered(text) is own
