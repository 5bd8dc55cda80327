from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.metrics import confusion_matrix, log_loss

from cli726.finetune import storage
from cli726.finetune.output.gallery import write_gallery

HOSTILE = (
    "<b>bold</b>",
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}",
    "\"><img src=x onerror='alert(1)'>",
    "\u202egnp.exe",
    "a\x1b[31m\x00\n\u2028z",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;&amp;",
    "\udcff",
    "",
)


def example(images: int, classes: int, seed: int = 0) -> dict[str, Any]:
    """Arguments for `write_gallery`: plain colours under a slope, so that JPEG keeps them nearly."""
    chance = np.random.default_rng(seed)
    slope = np.linspace(0, 40, 32)[None, None, :, None]
    pixels = (chance.integers(0, 215, (images, 1, 1, 3)) + slope + np.zeros((1, 32, 1, 1))).astype(np.uint8)
    labels = chance.integers(0, classes, images)
    scores = np.exp(chance.normal(0, 2, (images, classes)))
    return {
        "title": "Shapes",
        "pixels": pixels,
        "labels": labels,
        "probabilities": (scores / scores.sum(1, keepdims=True)).astype(np.float32),
        "class_names": [f"class-{k}" for k in range(classes)],
        "names": [f"{i}.png" for i in range(images)],
        "summary": {"Data": "shapes", "Test accuracy": "12.3 %"},
    }


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, the body's rows as cells, the text of styles and scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.meters: list[list[float]] = []
        self.labels: list[list[tuple[str, str]]] = []
        self.tiles: list[tuple[int, ...]] = []
        self.raw: list[str] = []
        self.inside: str | None = None
        self.in_body = False
        self.in_cell = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.inside = tag
        if tag == "tbody":
            self.in_body = True
        elif tag in {"style", "script"}:
            self.raw.append("")
        if not self.in_body:
            return
        if tag == "tr":
            self.rows.append([])
            self.meters.append([])
            self.labels.append([])
        elif tag in {"th", "td"}:
            self.in_cell = True
            self.rows[-1].append("")
        elif tag == "meter":
            self.meters[-1].append(float(found["value"] or "nan"))
        elif tag == "label":
            self.labels[-1].append(("", found.get("class") or ""))
        elif tag == "i":
            self.tiles.append(tuple(int(part[1:]) for part in (found["class"] or "").split()))

    def handle_endtag(self, tag: str) -> None:
        if tag == "tbody":
            self.in_body = False
        elif tag == "tr":
            self.in_cell = False
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside in {"style", "script"}:
            self.raw[-1] += data
        elif self.in_cell:
            self.rows[-1][-1] += data
            if self.inside == "label":
                self.labels[-1][-1] = (self.labels[-1][-1][0] + data.strip(), self.labels[-1][-1][1])

    def column(self, place: int) -> list[str]:
        return [row[place] for row in self.rows]

    @property
    def facts(self) -> Any:
        return json.loads(self.raw[1])


def written(tmp_path: Path, arguments: dict[str, Any]) -> Page:
    path = tmp_path / "gallery.html"
    size = write_gallery(path, **arguments)
    assert size == path.stat().st_size
    return Page(path)


def test_every_image_stands_in_the_table_once_with_all_its_scores(tmp_path: Path) -> None:
    arguments = example(60, 10)
    page = written(tmp_path, arguments)
    images = [int(name.removesuffix(".png")) for name in page.column(0)]
    assert sorted(images) == list(range(60))
    probabilities = arguments["probabilities"][images]
    assert_allclose(page.meters, probabilities, atol=0.00051)
    names = np.array(arguments["class_names"])
    assert page.column(1) == names[arguments["labels"][images]].tolist()
    assert page.column(2) == names[probabilities.argmax(1)].tolist()
    assert_allclose([float(cell) for cell in page.column(4)], 100 * probabilities.max(1), atol=0.051)
    for labels in page.labels:
        assert [re.match(r"class-\d", text)[0] for text, _ in labels] == arguments["class_names"]  # type: ignore[index]


def test_losses_are_those_of_scikit_learn_and_fall(tmp_path: Path) -> None:
    arguments = example(50, 7)
    page = written(tmp_path, arguments)
    losses = [float(cell) for cell in page.column(5)]
    assert losses == sorted(losses, reverse=True)
    exact = arguments["probabilities"].astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    assert_allclose(np.mean(losses), log_loss(arguments["labels"], exact, labels=range(7)), atol=0.0006)


def test_bars_are_marked_by_what_they_are(tmp_path: Path) -> None:
    arguments = example(40, 5)
    page = written(tmp_path, arguments)
    images = [int(name.removesuffix(".png")) for name in page.column(0)]
    for image, labels in zip(images, page.labels, strict=True):
        true, predicted = arguments["labels"][image], arguments["probabilities"][image].argmax()
        expected = ["" for _ in range(5)]
        expected[true] = "true"
        expected[predicted] = "hit" if true == predicted else "wrong"
        assert [kind for _, kind in labels] == expected


@pytest.mark.parametrize(("classes", "most"), [(20, 20), (21, 6), (100, 6)])
def test_beyond_twenty_classes_the_best_five_and_the_true_one_are_shown(
    tmp_path: Path, classes: int, most: int
) -> None:
    arguments = example(80, classes)
    page = written(tmp_path, arguments)
    images = [int(name.removesuffix(".png")) for name in page.column(0)]
    assert max(map(len, page.meters)) == most
    for image, meters, labels in zip(images, page.meters, page.labels, strict=True):
        row = arguments["probabilities"][image]
        true = arguments["labels"][image]
        assert [kind for _, kind in labels if kind in {"hit", "true"}] == ["hit" if row.argmax() == true else "true"]
        if classes > 20:
            best = np.sort(row)[::-1][:5]
            assert_allclose(meters, [*best, row[true]] if row[true] < best[-1] else best, atol=0.00051)


def test_the_sprites_hold_the_images(tmp_path: Path) -> None:
    arguments = example(150, 3)
    page = written(tmp_path, arguments)
    sheets = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        for content in re.findall(r"data:image/jpeg;base64,([^\"]+)", page.raw[0])
    ]
    assert len(sheets) == 3
    assert len(set(page.tiles)) == 150
    for name, (sheet, x, y) in zip(page.column(0), page.tiles, strict=True):
        tile = sheets[sheet][32 * y : 32 * y + 32, 32 * x : 32 * x + 32].astype(int)
        assert abs(tile - arguments["pixels"][int(name.removesuffix(".png"))]).max() <= 12


def test_the_script_gets_the_orders(tmp_path: Path) -> None:
    arguments = example(70, 6)
    page = written(tmp_path, arguments)
    images = np.array([int(name.removesuffix(".png")) for name in page.column(0)])
    facts = page.facts
    assert_array_equal(images[facts["image"]], np.arange(70))
    confidence = arguments["probabilities"].max(1)[images]
    assert_array_equal(np.sort(facts["confidence"]), np.arange(70))
    assert (np.diff(confidence[facts["confidence"]]) >= 0).all()
    assert_array_equal(facts["true"], arguments["labels"][images])
    assert_array_equal(facts["predicted"], arguments["probabilities"].argmax(1)[images])


def test_the_confused_pairs_are_those_of_the_confusion_matrix(tmp_path: Path) -> None:
    arguments = example(300, 4)
    page = written(tmp_path, arguments)
    counts = confusion_matrix(arguments["labels"], arguments["probabilities"].argmax(1))
    np.fill_diagonal(counts, 0)
    listed = [
        (int(found["data-true"] or ""), int(found["data-predicted"] or "")) for tag, found in page.tags if tag == "li"
    ]
    assert_array_equal([counts[pair] for pair in listed], np.sort(counts[counts > 0])[::-1][:12])
    assert len(set(listed)) == len(listed)


def test_an_impossible_true_class_has_infinite_loss_and_comes_first(tmp_path: Path) -> None:
    arguments = example(9, 3)
    arguments["probabilities"][5] = np.eye(3)[(arguments["labels"][5] + 1) % 3]
    arguments["probabilities"][6] = np.eye(3)[arguments["labels"][6]]
    page = written(tmp_path, arguments)
    assert (page.column(0)[0], page.column(5)[0]) == ("5.png", "∞")
    assert (page.column(0)[-1], page.column(5)[-1]) == ("6.png", "0.000")


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (written(tmp_path, example(30, 4)).source for _ in range(2))
    assert first == second


def test_the_policy_allows_this_style_and_this_script_only(tmp_path: Path) -> None:
    page = written(tmp_path, example(12, 3))
    policy = next(found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy")
    style, _, script = page.raw
    allowed = [
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for text in (style, script)
    ]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src {allowed[0]}; script-src {allowed[1]}; "
        "base-uri 'none'; form-action 'none'"
    )
    # It governs only what comes after it.
    kinds = [tag for tag, _ in page.tags]
    assert kinds.index("meta", kinds.index("meta") + 1) < kinds.index("style")


def test_nothing_is_fetched_and_nothing_is_inline(tmp_path: Path) -> None:
    page = written(tmp_path, example(12, 3))
    used = {name for _, found in page.tags for name in found}
    assert not [name for name in used if name.startswith("on") or name in {"src", "href", "style", "srcset", "action"}]
    assert not re.findall(r"https?:|//[a-z]", re.sub(r"data:[^\"]*", "", page.source))


def shape_of(page: Page) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(found)) for tag, found in page.tags if tag != "wbr"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.sampled_from(HOSTILE) | st.text(max_size=30) | st.text("<>&\"'/-=!", max_size=20), min_size=10, max_size=10
    )
)
def test_no_name_can_change_the_page(tmp_path: Path, names: Sequence[str]) -> None:
    arguments = example(10, 10)
    tame = written(tmp_path, arguments)
    arguments |= {
        "class_names": names,
        "names": names,
        "title": names[0],
        "summary": {"Data": names[1], "Run": names[2]},
    }
    page = written(tmp_path, arguments)
    assert shape_of(page) == shape_of(tame)
    assert page.raw[1:] == tame.raw[1:]
    assert not [c for row in page.rows for cell in row for c in cell if not c.isprintable()]
    shown = {name for name in names if name.isprintable() and name == name.strip() and 0 < len(name) <= 16}
    assert shown <= set(page.column(0))


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    arguments = example(40, 10)
    small = len(written(tmp_path, arguments).source)
    arguments["class_names"] = ["x" * 100_000] * 5 + ["長" * 100_000] * 5
    arguments["names"] = ["y" * 100_000] * 40
    assert len(written(tmp_path, arguments).source) < small + 40_000


def test_ten_thousand_rows_leave_room_for_their_images(tmp_path: Path) -> None:
    # FACTS: 10,000 images of CIFAR-10 take 6.2 MB as sprites; the file is to stay below 15 MB.
    arguments = example(500, 10)
    arguments["class_names"] = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    arguments["names"] = [f"automobile/some_longer_name_s_{i:06}.png" for i in range(500)]
    page = written(tmp_path, arguments)
    rows = page.source[page.source.index("<tbody>") : page.source.index("</tbody>")]
    assert len(rows) / 500 * 10_000 + 6.4e6 < 15e6


def test_no_images_give_an_empty_table(tmp_path: Path) -> None:
    page = written(tmp_path, example(0, 3))
    assert page.rows == []
    assert page.facts == {"true": [], "predicted": [], "image": [], "confidence": []}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pixels", np.zeros((6, 28, 28, 3), np.uint8)),
        ("pixels", np.zeros((6, 32, 32, 3), np.float32)),
        ("labels", np.zeros(5, np.int64)),
        ("labels", np.full(6, 3)),
        ("labels", np.full(6, -1)),
        ("probabilities", np.full((6, 4), 0.25, np.float32)),
        ("probabilities", np.full((6, 3), np.nan, np.float32)),
        ("probabilities", np.full((6, 3), 7.0, np.float32)),
        ("names", ["a.png"]),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    arguments = example(6, 3) | {name: value}
    with pytest.raises(ValueError, match="must"):
        write_gallery(tmp_path / "gallery.html", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_earlier_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(tmp_path, example(5, 3)).source

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_gallery(tmp_path / "gallery.html", **example(6, 3))
    assert [path.read_text() for path in tmp_path.iterdir()] == [before]
