"""The gallery's file: its numbers against scikit-learn's, its pictures, and that no name can change it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageFile
from sklearn.metrics import confusion_matrix, log_loss

from cli726.finetune import storage
from cli726.finetune.data.images import Images
from cli726.finetune.output.gallery import write_gallery

HOSTILE = (
    "<b onmouseover=alert(1)>bold</b>", "</script><script>alert(1)</script>", "</style><style>*{display:none}",
    "\"><img src=x onerror='alert(1)'>", "\u202egnp.exe", "a\x1b[31m\x00\n\u2028z", "{{ 7 * 7 }}{% raw %}",
    "&lt;&amp;", "\udcff", "", "]]>", "-->", "javascript:alert(1)", "\u200b\u2066x\u2069", "a\u0301\u0301",
    "x" * 100_000, "\u9577" * 100_000,
)  # fmt: skip


def example(images: int, classes: int) -> dict[str, Any]:
    """Arguments for `write_gallery`: plain colours under a slope, so that JPEG keeps them nearly."""
    chance = np.random.default_rng(0)
    slope = np.linspace(0, 40, 32)[None, None, :, None]
    pixels = (chance.integers(0, 215, (images, 1, 1, 3)) + slope + np.zeros((1, 32, 1, 1))).astype(np.uint8)
    labels = chance.integers(0, classes, images)
    scores = np.exp(chance.normal(0, 2, (images, classes)))
    return {
        "title": "Shapes",
        "images": Images.of(pixels, labels, [f"{i}.png" for i in range(images)]),
        "probabilities": (scores / scores.sum(1, keepdims=True)).astype(np.float32),
        "class_names": [f"class-{k}" for k in range(classes)],
        "summary": {"Data": "shapes", "Accuracy": "12.3 %"},
    }


class Page(HTMLParser):
    """A page: its tags with their attributes, and the table's rows, which must be well-formed XML, too."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.style, facts, self.script = re.findall(
            r"<(?:style|script)[^>]*>(.*?)</(?:style|script)>", self.source, re.DOTALL
        )
        self.facts = json.loads(facts)
        table = re.search(r"<tbody>.*</tbody>", self.source, re.DOTALL)
        assert table
        self.rows = ET.fromstring(table[0].replace("<wbr>", "")).findall("tr")
        self.images = [int(name[:-4]) for name in self.column(0) if re.fullmatch(r"[0-9]+\.png", name)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def column(self, place: int) -> list[str]:
        return ["".join(row[place].itertext()) for row in self.rows]

    def bars(self, row: ET.Element) -> tuple[list[str], list[float], list[str]]:
        """Names, values and kinds of one row's scores."""
        labels = list(row.iter("label"))
        names = [(label.text or "").strip() for label in labels]
        return (
            names,
            [float(label[0].get("value") or "") for label in labels],
            [label.get("class", "") for label in labels],
        )

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(found)) for tag, found in self.tags if tag != "wbr"]


def written(tmp_path: Path, arguments: dict[str, Any]) -> Page:
    path = tmp_path / "gallery.html"
    size = write_gallery(path, **arguments)
    assert size == path.stat().st_size
    return Page(path)


@pytest.mark.parametrize(("classes", "most"), [(3, 3), (10, 10), (20, 20), (21, 6), (100, 6)])
def test_every_image_stands_there_once_with_its_scores_marked_by_what_they_are(
    tmp_path: Path, classes: int, most: int
) -> None:
    """All of up to twenty classes; beyond, the best five and the true one."""
    arguments = example(80, classes)
    page = written(tmp_path, arguments)
    assert sorted(page.images) == list(range(80))
    names, labels = np.array(arguments["class_names"]), arguments["images"].labels[page.images]
    probabilities = arguments["probabilities"][page.images]
    assert page.column(1) == names[labels].tolist()
    assert page.column(2) == names[probabilities.argmax(1)].tolist()
    assert_allclose([float(cell) for cell in page.column(4)], 100 * probabilities.max(1), atol=0.051)
    assert max(len(list(row.iter("meter"))) for row in page.rows) == most
    for row, true, scores in zip(page.rows, labels, probabilities, strict=True):
        shown, values, kinds = page.bars(row)
        chosen = [int(name.removeprefix("class-")) for name in shown]
        assert_allclose(values, scores[chosen], atol=0.00051)
        best = np.argsort(-scores, kind="stable")[:5].tolist()
        assert chosen == (list(range(classes)) if classes <= 20 else best if true in best else [*best, true])
        expected = {int(true): "true", int(scores.argmax()): "hit" if scores.argmax() == true else "wrong"}
        assert kinds == [expected.get(k, "") for k in chosen]
        assert (row.get("class") == "w") == (true != scores.argmax())


def test_losses_are_those_of_scikit_learn_and_fall(tmp_path: Path) -> None:
    arguments = example(50, 7)
    losses = [float(cell) for cell in written(tmp_path, arguments).column(5)]
    assert losses == sorted(losses, reverse=True)
    exact = arguments["probabilities"].astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    assert_allclose(np.mean(losses), log_loss(arguments["images"].labels, exact, labels=range(7)), atol=0.0006)


def test_an_impossible_true_class_has_infinite_loss_and_comes_first(tmp_path: Path) -> None:
    arguments = example(9, 3)
    labels = arguments["images"].labels
    arguments["probabilities"][5], arguments["probabilities"][6] = np.eye(3)[(labels[5] + 1) % 3], np.eye(3)[labels[6]]
    page = written(tmp_path, arguments)
    assert (page.column(0)[0], page.column(5)[0]) == ("5.png", "∞")
    assert (page.column(0)[-1], page.column(5)[-1], page.column(4)[-1]) == ("6.png", "0.000", "100.0")


@pytest.mark.parametrize("kind", ["slope", "noise"])
def test_the_sprites_hold_the_images(tmp_path: Path, kind: str) -> None:
    """Also of noise, for which Pillow reserves too little room, and says so on stderr."""
    arguments = example(150, 3)
    if kind == "noise":
        noise = np.random.default_rng(0).integers(0, 256, (150, 32, 32, 3))
        arguments["images"] = Images.of(noise, arguments["images"].labels, arguments["images"].names)
    before = ImageFile.MAXBLOCK
    page = written(tmp_path, arguments)
    assert before == ImageFile.MAXBLOCK
    sheets = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        for content in re.findall(r"data:image/jpeg;base64,([^\"]+)", page.style)
    ]
    places = [(row.find(".//i").get("class") or "").split() for row in page.rows]  # type: ignore[union-attr]
    assert len(sheets) == 3
    assert len({*map(tuple, places)}) == 150
    for image, place in zip(page.images, places, strict=True):
        sheet, x, y = (int(part[1:]) for part in place)
        tile = sheets[sheet][32 * y : 32 * y + 32, 32 * x : 32 * x + 32].astype(int)
        difference = abs(tile - arguments["images"].pixels[image])
        assert difference.max() <= 12 if kind == "slope" else difference.mean() < 40


def test_the_script_gets_the_orders_and_the_head_the_confused_pairs(tmp_path: Path) -> None:
    arguments = example(300, 4)
    page = written(tmp_path, arguments)
    images, facts, labels = np.array(page.images), page.facts, arguments["images"].labels
    predicted = arguments["probabilities"].argmax(1)
    assert_array_equal(images[facts["image"]], np.arange(300))
    assert_array_equal(np.sort(facts["confidence"]), np.arange(300))
    assert (np.diff(arguments["probabilities"].max(1)[images][facts["confidence"]]) >= 0).all()
    assert_array_equal(facts["true"], labels[images])
    assert_array_equal(facts["predicted"], predicted[images])
    counts = confusion_matrix(labels, predicted)
    np.fill_diagonal(counts, 0)
    pairs = [(int(one["data-true"] or ""), int(one["data-predicted"] or "")) for tag, one in page.tags if tag == "li"]
    assert_array_equal([counts[pair] for pair in pairs], np.sort(counts[counts > 0])[::-1][:12])
    assert len(set(pairs)) == len(pairs)
    said = [int(count) for count in re.findall(r"&nbsp;<b>(\d+)</b>", page.source)]
    assert said == [counts[pair] for pair in pairs]
    assert f"300 images, {counts.sum()} of them wrong" in page.source


def test_the_policy_allows_this_style_and_script_only_and_nothing_is_fetched_or_inline(tmp_path: Path) -> None:
    page, again = (written(tmp_path, example(12, 3)) for _ in range(2))
    assert page.source == again.source, "the same arguments give the same bytes"
    policy = next(found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy")
    style, script = (
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in (page.style, page.script)
    )
    allowed = {"default-src": "'none'", "img-src": "data:", "style-src": style, "script-src": script}
    allowed |= {"base-uri": "'none'", "form-action": "'none'"}
    assert policy == "; ".join(f"{what} {source}" for what, source in allowed.items())
    # It governs only what comes after it.
    assert page.source.index("Content-Security-Policy") < page.source.index("<style")
    used = {name for _, found in page.tags for name in found}
    assert not [name for name in used if name.startswith("on") or name in {"src", "href", "style", "srcset", "action"}]
    assert not re.findall(r"https?:|//[a-z]", re.sub(r"data:[^\"]*", "", page.source))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.sampled_from(HOSTILE) | st.text(max_size=30) | st.text("<>&\"'/-=!", max_size=20), min_size=10, max_size=10
    )
)
def test_no_name_can_change_the_page(tmp_path: Path, names: list[str]) -> None:
    arguments = example(10, 10)
    tame = written(tmp_path, arguments)
    images = Images.of(arguments["images"].pixels, arguments["images"].labels, names)
    summary = {"Data": names[1], "Run": names[2]}
    page = written(
        tmp_path, arguments | {"class_names": names, "images": images, "title": names[0], "summary": summary}
    )
    assert page.shape == tame.shape
    assert (page.script, page.facts) == (tame.script, tame.facts)
    assert all(c.isprintable() or c in "\n\t" for c in page.source)
    assert len(page.source) < len(tame.source) + 30_000
    shown = {name for name in names if name.isprintable() and name == name.strip() and 0 < len(name) <= 16}
    assert shown <= set(page.column(0))


def test_ten_thousand_rows_leave_room_for_their_images(tmp_path: Path) -> None:
    """10,000 images of CIFAR-10 take 6.2 MB as sprites; the file is to stay below 15 MB."""
    arguments = example(500, 10)
    names = [f"automobile/some_longer_name_s_{i:06}.png" for i in range(500)]
    arguments["images"] = Images.of(arguments["images"].pixels, arguments["images"].labels, names)
    page = written(tmp_path, arguments)
    rows = page.source[page.source.index("<tbody>") : page.source.index("</tbody>")]
    assert len(rows) / 500 * 10_000 + 6.4e6 < 15e6


def test_no_images_give_an_empty_table(tmp_path: Path) -> None:
    page = written(tmp_path, example(0, 3))
    assert page.rows == []
    assert page.facts == {"true": [], "predicted": [], "image": [], "confidence": []}


@pytest.mark.parametrize(
    "value", [np.full((6, 2), 0.5), np.full((5, 3), 0.3), np.full((6, 3), np.nan), np.full((6, 3), 7)]
)
def test_scores_that_do_not_fit_the_images_are_refused(tmp_path: Path, value: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must"):
        write_gallery(tmp_path / "gallery.html", **(example(6, 3) | {"probabilities": value.astype(np.float32)}))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_earlier_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(tmp_path, example(5, 3)).source

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_gallery(tmp_path / "gallery.html", **example(6, 3))
    assert [path.read_text() for path in tmp_path.iterdir()] == [before]
