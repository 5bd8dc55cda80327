"""A data set looked over: what was planted is found, said in JSON and CSV, and nothing is changed."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cli726.finetune import data_report
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.images import Dataset, Images, Skipped, digests_of, make_splits
from cli726.finetune.data.twins import find_twins
from cli726.finetune.data_report import Alike, DataReport, LabelError, label_errors, report_data
from cli726.finetune.output.data_page import write_data_page
from cli726.finetune.training.folds import draw_folds
from commands.render import jsonable
from tests.cli726.finetune.synthetic import CLASSES, Listener, write_pictures
from tests.cli726.finetune.test_gallery import HOSTILE
from tests.cli726.finetune.test_twins import features_of, scenes

pytestmark = pytest.mark.usefixtures("small_network")


def strict(report: DataReport) -> Any:
    """What `--json` prints, by the names of files."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(Path(item).name if key == "path" else item) for key, item in value.items()}
        if isinstance(value, list):
            return [named(item) for item in value]
        return Path(value).name if isinstance(value, str) and value.endswith(".png") else value

    return named(json.loads(json.dumps(jsonable(report.to_json()), allow_nan=False)))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three classes in splits of their own, and one of each thing that a report names."""
    root = tmp_path_factory.mktemp("data") / "planted"
    train = write_pictures(root / "train", 90)
    write_pictures(root / "test", 30, seed=1)
    first = Image.open(train / "rows" / "001.png")
    first.save(root / "test" / "rows" / "copy.png")
    first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "test" / "rows" / "mirrored.png")
    shutil.copy(train / "rows" / "004.png", train / "columns" / "twice.png")
    Image.new("RGB", (32, 32), "teal").save(train / "cross" / "blank.png")
    Image.open(train / "rows" / "007.png").point(lambda level: level // 10).save(root / "test" / "rows" / "dark.png")
    Image.open(train / "cross" / "003.png").filter(ImageFilter.GaussianBlur(4)).save(train / "cross" / "blurred.png")
    first.resize((9, 9)).save(train / "rows" / "tiny.png")
    Image.open(train / "cross" / "006.png").resize((200, 40)).save(train / "cross" / "long.png")
    Image.open(train / "cross" / "009.png").convert("L").save(train / "cross" / "grey.png")
    (train / "cross" / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def report(planted: Path, small_weights: Path) -> DataReport:
    return report_data(FinetuneConfig(dataset=f"folder:{planted}", weights=str(small_weights)), Listener())


def test_what_was_planted_is_found(report: DataReport, planted: Path) -> None:
    found = strict(report)
    assert sum(found["splits"].values()) == len([*planted.rglob("*.png")]) - 1
    assert found["splits"]["test"] == len([*(planted / "test").rglob("*.png")])
    assert found["counts"] == {
        name: len([*planted.glob(f"*/{name}/*.png")]) - (name == "cross") for name in sorted(CLASSES)
    }
    reasons = {row["path"]: row["reason"] for row in found["odd"]}
    for name in ("blank", "very dark", "blurred", "tiny"):
        assert f"{name}" in reasons[f"{name.removeprefix('very ')}.png"]
    assert "odd shape: 200 x 40" in reasons["long.png"]
    assert "odd mode: L" in reasons["grey.png"]
    assert [row["path"] for row in found["skipped"]] == ["broken.png"]
    distances = [row["distance"] for row in found["outliers"]]
    assert distances == sorted(distances, reverse=True)
    identical = [row for row in found["near_duplicates"] if row["identical"]]
    assert {frozenset(row["paths"]) for row in identical} == {
        frozenset(["001.png", "copy.png"]), frozenset(["004.png", "twice.png"]),
    }  # fmt: skip
    (leak,) = (row for row in identical if "copy.png" in row["paths"])
    assert {"test"} < set(leak["splits"])
    (twice,) = (row for row in identical if "twice.png" in row["paths"])
    assert set(twice["labels"]) == {"rows", "columns"}
    pairs = {frozenset(row["paths"]) for row in found["near_duplicates"] if not row["identical"]}
    assert frozenset(["001.png", "mirrored.png"]) in pairs


def test_paths_lead_to_the_files(report: DataReport) -> None:
    assert all(Path(path).is_file() for path in report.paths)
    assert len(set(report.paths)) == len(report.paths) == len(report.thumbnails)


def test_every_finding_is_a_row_of_the_table(report: DataReport) -> None:
    found = report.to_json()
    rows = [*csv.DictReader(io.StringIO(report.to_csv()))]
    kinds = {
        "label error": "label_errors", "outlier": "outliers", "odd": "odd", "skipped": "skipped",
    }  # fmt: skip
    for kind, key in kinds.items():
        assert [row["path"] for row in rows if row["finding"] == kind] == [row["path"] for row in found[key]]
    alike = [row["path"] for row in rows if row["finding"] in {"identical", "near duplicate"}]
    assert alike == [path for row in found["near_duplicates"] for path in row["paths"]]
    leaks = {row["path"] for row in rows if row["reason"] == "leak"}
    assert leaks == {path for row in found["near_duplicates"] if len(set(row["splits"])) > 1 for path in row["paths"]}


def test_label_errors_are_ranked_as_by_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_report, "PENALTIES", (1e3, 1e-2))
    chance = np.random.default_rng(0)
    pixels, truth = scenes(120), chance.integers(0, 3, 120)
    pixels[100:], truth[100:] = pixels[40:60, :, ::-1], truth[40:60]  # mirrored, in the folds of their originals
    labels = np.where(np.arange(120) < 10, (truth + 1) % 3, truth)
    features = features_of(pixels)
    features[:, :3] = features[:, :3] / 30 + torch.from_numpy(3.0 * (truth[:, None] == np.arange(3)))
    twins = find_twins(features, pixels, digests_of(pixels))
    judged, found, notes = label_errors(features, labels, twins, CLASSES, 0, Listener())
    folds = draw_folds(labels, twins.groups(), CLASSES, data_report.FOLDS, 0)
    probabilities = np.zeros((120, 3))
    for fold in range(data_report.FOLDS):
        kept = folds != fold
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (1e-2 * kept.sum()), tol=1e-8, max_iter=5000))
        model.fit(features[kept].double(), labels[kept])
        probabilities[~kept] = model.predict_proba(features[~kept].double())
    own = probabilities[np.arange(120), labels]
    others = probabilities.copy()
    others[np.arange(120), labels] = -1
    expected = [image for image in np.argsort(own, kind="stable") if others[image].max() > own[image]]
    assert [one.image for one in found] == expected
    np.testing.assert_allclose([one.score for one in found], 1 - own[expected], atol=1e-4)
    np.testing.assert_allclose([one.probability for one in found], others[expected].max(1), atol=1e-4)
    assert [one.suggested for one in found] == [CLASSES[k] for k in others[expected].argmax(1)]
    assert len({one.image for one in found[:10]} & set(range(10))) >= 8
    assert judged is not None
    assert judged.correct == 120 - len(expected)
    assert notes == ()


def test_a_class_of_one_picture_is_counted_and_its_labels_are_not_judged(small_weights: Path, tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "shapes", 60)
    (root / "single").mkdir()
    shutil.copy(root / "rows" / "001.png", root / "single" / "one.png")
    found = report_data(FinetuneConfig(dataset=f"folder:{root}", weights=str(small_weights)), Listener())
    assert found.splits == {"train": 61}
    assert found.counts["single"] == 1
    assert "single" not in {one.given for one in found.label_errors}
    assert "single" in found.notes[0]


def test_corrected_and_looked_at_again_no_features_are_computed(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_pictures(tmp_path / "shapes", 60)
    options = {"weights": str(small_weights), "cache": True, "cache_dir": str(tmp_path / "cache")}
    report_data(FinetuneConfig(dataset=f"folder:{root}", **options), Listener())
    (root / "rows" / "001.png").rename(root / "columns" / "corrected.png")
    listener = Listener()
    monkeypatch.setattr(data_report, "robust_scores", lambda values: np.where(np.arange(len(values)) == 5, 4.0, -4.0))
    found = report_data(FinetuneConfig(dataset=f"folder:{root}", **options), listener)
    assert [image for image, _ in found.outliers] == [5]
    assert not [line for line in listener.lines if line.startswith("features of")] or "0 of 60" in str(listener.lines)


def named(names: list[str]) -> DataReport:
    """A report with one finding of each kind, whose classes and files are called as given."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    pools = {"train": Images.of(pixels, np.arange(8) % 2, names[:8])}
    data = Dataset(names[8], tuple(names[:2]), pools, make_splits(pools, 0, 0, names[:2]), (Skipped(*names[2:4]),))
    alike = (Alike((0, 1), 1.0, ("train", "test"), tuple(names[:2])), Alike((2, 3), 0.9, ("train",) * 2, ("a", "a")))
    errors = (LabelError(4, names[0], names[1], 0.9, 0.8),)
    counts = dict(zip(("class 0", "class 1"), (3, 5), strict=True))
    return DataReport(
        data, "resnet20", tuple(names[:8]), pixels, counts, {"train": 8}, None, errors, alike, ((5, 0.7),),
        ((6, "dark"), (7, "tiny")), (),
    )  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(HOSTILE) | st.text(max_size=30), min_size=9, max_size=9, unique=True))
def test_no_name_can_change_the_page(tmp_path: Path, names: list[str]) -> None:
    def written(names: list[str]) -> tuple[str, list[str]]:
        size = write_data_page(named(names), tmp_path / "page.html")
        source = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert size == len(source.encode())
        return source, [tag for tag in re.findall(r"<[^!][^>]*>", source) if tag != "<wbr>"]

    tame, tags = written([f"name {number}" for number in range(9)])
    source, theirs = written(names)
    assert theirs == tags
    assert all(c.isprintable() or c in "\n\t" for c in source)
    assert len(source) < len(tame) + 30_000
    policy = re.findall(r"style-src 'sha256-([^']+)'", source)
    style = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)
    assert policy == [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in style]
    assert "<script" not in source
    assert not re.findall(r"https?:", source)


def test_every_finding_has_its_picture_on_the_page(tmp_path: Path) -> None:
    found = named([f"{number}.png" for number in range(9)])
    write_data_page(found, tmp_path / "page.html")
    source = (tmp_path / "page.html").read_text(encoding="utf-8")
    cards = re.findall(r"<li.*?</li>", source.split('class="cards"', 1)[1])
    uri = re.search(r'data:image/jpeg;base64,([^"]+)', source)
    assert uri
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[1])))).astype(int)
    seen = []
    for card in cards:
        tiles = re.findall(r'<i class="s0 x(\d) y(\d)">', card)
        names = re.findall(r"<p><bdi>([0-9])\.png</bdi></p>", card)
        for (x, y), name in zip(tiles, names if tiles else (), strict=True):
            tile = sheet[32 * int(y) : 32 * int(y) + 32, 32 * int(x) : 32 * int(x) + 32]
            assert abs(tile - found.thumbnails[int(name)]).mean() < 40
            seen.append(int(name))
    assert seen == [4, 0, 1, 2, 3, 5, 6, 7]
    assert source.count('class="m"') == 1
    assert "leak: train, test" in source
