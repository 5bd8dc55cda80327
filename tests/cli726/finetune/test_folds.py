"""Cross-validation against scikit-learn's, and the folds that it rests on."""

from __future__ import annotations

import csv
import io
import itertools
import math
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from cli726.drawing import styled
from cli726.errors import RequestError
from cli726.finetune import api
from cli726.finetune.output.figures import learning_figure
from cli726.finetune.training.evaluation import evaluate
from cli726.finetune.training.exact_head import fit_exact
from cli726.finetune.training.folds import SHARES, LearningCurve, cross_validate, draw_folds, learning_curve
from tests.cli726.finetune.synthetic import small_run, write_pictures
from tests.harness import unless_given

CLASSES = 3


def digests_of(groups: Any) -> np.ndarray:
    """Digests that are equal for images of the same group."""
    return np.repeat(np.array(groups, np.uint8)[:, None], 32, 1)


@given(
    images=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), min_size=12, max_size=80),
    count=st.integers(2, 20), seed=st.integers(0, 9),
)  # fmt: skip
def test_folds_are_stratified_and_identical_images_are_in_one(images: Any, count: int, seed: int) -> None:
    groups = np.array([group for _, group in images])
    labels = np.array([group % CLASSES for group in groups])
    if min(len({g for g in groups if g % CLASSES == c}) for c in range(CLASSES)) < 2:
        return
    folds = draw_folds(labels, digests_of(groups), "abc", count, seed)
    assert 0 <= folds.min() <= folds.max() < count
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    largest = np.bincount(groups).max()
    for label in range(CLASSES):
        held = np.bincount(folds[labels == label], minlength=count)
        assert held.max() - held.min() <= largest
    if largest == 1:
        held = np.bincount(folds, minlength=count)
        assert held.max() - held.min() <= CLASSES
    assert np.array_equal(folds, draw_folds(labels, digests_of(groups), "abc", count, seed))


def test_another_seed_deals_anew_and_a_class_of_one_image_is_refused() -> None:
    labels, digests = np.arange(60) % 3, digests_of(np.arange(60))
    drawn = [draw_folds(labels, digests, "abc", 5, seed) for seed in (0, 1)]
    assert not np.array_equal(*drawn)
    with pytest.raises(RequestError, match="two different images of each class or more; got 1 of b"):
        draw_folds(np.array([0, 0, 1, 1, 2, 2]), digests_of([0, 1, 2, 2, 4, 5]), "abc", 2, 0)


class Exact(nn.Module):
    """A linear classifier on standardised features, at its optimum."""

    def __init__(self, features: Tensor, labels: Tensor, l2: float, purpose: str) -> None:
        super().__init__()
        self.mean, self.scale = features.double().mean(0), features.double().std(0, correction=0)
        self.fit = fit_exact(self.standardized(features), labels, CLASSES, l2)

    def standardized(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.scale).float()

    def forward(self, x: Tensor) -> Tensor:
        return (self.standardized(x).double() @ self.fit.weights.T + self.fit.bias).float()


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that overlap, labels, and five folds of 24."""
    chance = np.random.default_rng(3)
    labels = np.repeat(np.arange(CLASSES), 40)
    x = chance.normal(size=(120, 4)).astype(np.float32)
    x[:, 0] += labels
    return x * [1, 5, 0.1, 2] + 3, labels, draw_folds(labels, digests_of(range(120)), "abc", 5, 0)


def test_scores_are_scikit_learns(data: Any) -> None:
    x, labels, folds = data
    assert np.bincount(folds).tolist() == [24] * 5
    found = cross_validate(torch.tensor(x, dtype=torch.float32), torch.tensor(labels), folds, [0.01], Exact)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (0.01 * 96), tol=1e-12, max_iter=10_000))
    expected = cross_val_predict(model, x, labels, cv=PredefinedSplit(folds), method="decision_function")
    np.testing.assert_allclose(found.scores, expected, atol=2e-6)
    assert found.result.correct == sum(part.correct for part in found.parts) == (expected.argmax(1) == labels).sum()
    assert found.l2 == (0.01,) * 5


def test_penalties_are_chosen_within_the_other_folds(data: Any) -> None:
    x, labels, folds = data
    penalties = [3.0, 0.3, 1e-3]
    found = cross_validate(torch.tensor(x, dtype=torch.float32), torch.tensor(labels), folds, penalties, Exact)
    # Of four folds three are trained on: 72 images.
    logistic = LogisticRegression(tol=1e-10, max_iter=10_000)
    for fold in range(5):
        rest = folds != fold
        search = GridSearchCV(
            make_pipeline(StandardScaler(), logistic),
            {"logisticregression__C": [1 / (l2 * 72) for l2 in penalties]},
            cv=PredefinedSplit(folds[rest]), scoring=["accuracy", "neg_log_loss"], refit=False,
        ).fit(x[rest], labels[rest])  # fmt: skip
        scores = zip(*(search.cv_results_[f"mean_test_{name}"] for name in ("accuracy", "neg_log_loss")), strict=True)
        ranked = [(round(accuracy, 9), loss) for accuracy, loss in scores]
        assert found.l2[fold] == penalties[max(range(3), key=ranked.__getitem__)]


def test_balanced_a_penalty_is_chosen_by_the_balanced_error() -> None:
    chance = np.random.default_rng(2)
    labels = np.repeat(np.arange(CLASSES), [60, 30, 12])
    x = (chance.normal(size=(102, 4)) + 0.8 * labels[:, None] * [1, 0.5, 0, 0]).astype(np.float32)
    folds, penalties = draw_folds(labels, digests_of(range(102)), "abc", 4, 0), [3.0, 0.1, 1e-3]

    def rank(l2: float) -> tuple[float, float]:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1, tol=1e-10, max_iter=10_000))
        shares = np.empty((102, CLASSES))
        for fold in range(4):
            rest = folds != fold
            model.set_params(logisticregression__C=1 / (l2 * rest.sum())).fit(x[rest].astype(float), labels[rest])
            shares[~rest] = model.predict_proba(x[~rest].astype(float))
        return -balanced_accuracy_score(labels, shares.argmax(1)), log_loss(labels, shares)

    tried = [torch.from_numpy(x), torch.from_numpy(labels), folds, penalties, Exact]
    best = {balance: cross_validate(*tried, balance=balance).best_l2 for balance in (False, True)}  # type: ignore[arg-type]
    assert best[True] == min(penalties, key=rank) != best[False]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 pictures, three of them copies; and the same with a test and a validation split of its own."""
    root = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(["shapes", "split/train", "split/val", "split/test"]):
        write_pictures(root / name, (42, 30, 9, 12)[number], seed=number)
    for number, path in enumerate(sorted(write_pictures(root / "uneven", 45).rglob("*.png"))):
        path.unlink() if number % 3 and "rows" in str(path) else None
    for number, path in enumerate(sorted((root / "shapes").rglob("*.png"))[:3]):
        shutil.copy(path, path.with_name(f"copy{number}.png"))
    return root


@pytest.fixture
def finetune(cmpt726: Any, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`cmpt726 finetune` of those pictures, in float32 on one thread, with a cache."""
    monkeypatch.setenv("CMPT726_CACHE_DIR", str(tmp_path / "cache"))

    def run(name: str, *arguments: object) -> Any:
        usual = ["--dataset", f"folder:{shapes / name}", "--precision", "fp32", "--threads", 1]
        more = unless_given(["--run-dir", "run", "--folds", 3], arguments)
        return cmpt726("finetune", *usual, "--cache", "--json", *more, *arguments)

    return run


def read_folds(path: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Names, classes, folds and probabilities of a run's folds.csv."""
    header, *rows = csv.reader(path.read_text().splitlines())
    classes = header[4:]
    labels = np.array([classes.index(row[1]) for row in rows])
    return [row[0] for row in rows], labels, np.array([int(row[2]) for row in rows]), np.array(
        [row[4:] for row in rows], float
    )  # fmt: skip


def test_a_run_with_folds_scores_every_image_and_fits_the_model_to_all(finetune: Any, cmpt726: Any) -> None:
    done = finetune("shapes", "--solver", "exact", "--no-gallery")
    assert done.status == 0, done.stderr
    result, found = done.json, done.json["folds"]
    names, labels, folds, shares = read_folds(Path("run/folds.csv"))
    assert (len(names), result["test"], result["dataset"]["train"]) == (45, None, 45)
    assert found["images"] == 45 == sum(part["images"] for part in found["parts"])
    assert found["accuracy"] == np.mean(shares.argmax(1) == labels) == 1 - result["best"]["val_error"]
    fold_of = dict(zip(names, folds, strict=True))
    copies, originals = ([name for name in sorted(names) if ("copy" in name) == copied] for copied in (True, False))
    assert [fold_of[name] for name in copies] == [fold_of[name] for name in originals[:3]]
    # The same features, folds and objective for scikit-learn; fold sizes differ, and C with them.
    (entry,) = Path("cache").rglob("features.h5")
    with h5py.File(entry) as stored:
        x = stored["features"][:]
    for fold in set(folds):
        rest = folds != fold
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=1 / (1e-3 * rest.sum()), tol=1e-12, max_iter=10**5)
        )
        expected = model.fit(x[rest].astype(float), labels[rest]).predict_proba(x[~rest].astype(float))
        np.testing.assert_allclose(shares[~rest], expected, atol=1e-5)
    assert cmpt726("runs", "ls", "--folder", ".", "--json").json["runs"][0]["test_accuracy"] is None
    refused = cmpt726("report", "--problems", "6", "--run", "run")
    assert refused.status == 2
    assert "must name a run with test images" in refused.stderr
    again = finetune("shapes", "--solver", "exact", "--no-gallery", "--run-dir", "other", "--seed", 1)
    assert again.json["cache"]["state"] == "hit"
    assert read_folds(Path("other/folds.csv"))[2].tolist() != folds.tolist()


def test_balanced_each_fold_weights_its_own_training_images(finetune: Any) -> None:
    done = finetune("uneven", "--solver", "exact", "--no-gallery", "--balance")
    assert done.status == 0, done.stderr
    _, labels, folds, shares = read_folds(Path("run/folds.csv"))
    assert np.bincount(labels).tolist() == [15, 15, 5]
    (entry,) = Path("cache").rglob("features.h5")
    with h5py.File(entry) as stored:
        x = stored["features"][:].astype(float)
    for fold in set(folds):
        rest = folds != fold
        logistic = LogisticRegression(
            C=1 / (1e-3 * rest.sum()), class_weight="balanced", tol=1e-12, max_iter=10**5
        ).fit(StandardScaler().fit(x[rest]).transform(x[rest]), labels[rest])
        expected = logistic.predict_proba(StandardScaler().fit(x[rest]).transform(x[~rest]))
        np.testing.assert_allclose(shares[~rest], expected, atol=1e-5)
    result = done.json
    expected = balanced_accuracy_score(labels, shares.argmax(1))
    assert result["folds"]["balanced_accuracy"] == pytest.approx(expected)
    assert result["best"]["val_balanced_error"] == pytest.approx(1 - expected)
    assert result["best"]["val_error"] == pytest.approx(np.mean(shares.argmax(1) != labels))


def test_heads_trained_by_epochs_and_several_penalties(finetune: Any) -> None:
    done = finetune("split", "--epochs", 2, "--head", "mlp:8", "--dropout", 0.1, "--l2", 0.1, "--l2", 0)
    assert done.status == 0, done.stderr
    result = done.json
    assert (result["dataset"]["train"], result["dataset"]["validation"], result["test"]["images"]) == (39, 0, 12)
    assert {part["l2"] for part in result["folds"]["parts"]} <= {0.1, 0}
    assert result["best"]["epoch"] == 2


def test_what_cannot_go_with_folds_is_named(finetune: Any) -> None:
    for words in (["--unfreeze-after", 1], ["--augment", "flip"], ["--val-fraction", 0.2], ["--tta"]):
        done = finetune("shapes", *words)
        assert done.status == 2
        assert f"--folds trains the head alone, on stored features; got {words[0]} too" in " ".join(done.stderr.split())
    assert finetune("shapes", "--folds", 21).status == 2
    done = finetune("shapes", "--folds", 2, "--l2", 0.1, "--l2", 0)
    assert done.status == 2
    assert "--folds must be 3 or more; got 2" in done.stderr


class Recorder(nn.Module):
    """A head that remembers which rows it was fitted to, and is right about an image by chance of its own."""

    def __init__(self, rows: Tensor, share: float) -> None:
        super().__init__()
        self.rows, self.share = rows, share

    def forward(self, features: Tensor) -> Tensor:
        luck = (features[:, 0].long() * 37 % 100) < 100 * self.share
        own = features[:, 1].long()
        return nn.functional.one_hot(torch.where(luck, own, (own + 1) % CLASSES), CLASSES).float()


def test_a_learning_curve_takes_growing_shares_of_the_other_folds() -> None:
    labels = torch.arange(120) % CLASSES
    features = torch.stack([torch.arange(120), labels], 1).float()
    folds = draw_folds(labels.numpy(), np.arange(120), "abc", 4, 0)
    heads: list[Recorder] = []

    def fit(features: Tensor, labels: Tensor, l2: float, purpose: str) -> nn.Module:
        assert l2 == 0.1
        heads.append(Recorder(features[:, 0].long(), float(purpose.split()[0]) if "without" in purpose else 1))
        return heads[-1]

    crossed = cross_validate(features, labels, folds, (0.1,), fit)
    heads.clear()
    curve = learning_curve(features, labels, crossed, fit, 0)
    fitted = [heads[4 * place : 4 * place + 4] for place in range(4)]
    assert len(heads) == 16
    for fold in range(4):
        others = set(np.flatnonzero(folds != fold))
        parts = [set(heads[fold].rows.tolist()) for heads in fitted]
        assert all(smaller <= larger for smaller, larger in itertools.pairwise([*parts, others]))
        for share, part in zip(SHARES, parts, strict=False):
            for label in range(CLASSES):
                members = sum(labels[row] == label for row in others)
                assert sum(labels[row] == label for row in part) == math.ceil(share * members)
    luck = np.arange(120) * 37 % 100
    expected = [(luck < 100 * share).mean() for share in SHARES]
    rows = curve.to_json()
    assert [row["accuracy"] for row in rows] == pytest.approx(expected)
    assert [row["share"] for row in rows] == [0.1, 0.2, 0.4, 0.8, 1]
    assert rows[-1]["images"] == 90
    assert rows[-1]["accuracy"] == crossed.result.accuracy


@given(
    before=st.floats(0.2, 0.95), change=st.floats(-0.3, 0.3), images=st.integers(5, 400), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_sentence_about_more_images_holds(before: float, change: float, images: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    draw = chance.random(images)
    few = draw < before
    many = np.where(chance.random(images) < 0.8, draw, chance.random(images)) < before + change
    labels = torch.zeros(images, dtype=torch.int64)
    every = [few, few, few, many, many]
    results = [evaluate(torch.stack([torch.from_numpy(r), ~torch.from_numpy(r)], 1).float(), labels) for r in every]
    found = LearningCurve((10, 20, 40, 80, 100), tuple(results), tuple(every)).finding()
    differ = int((few != many).sum())
    p = binomtest(int((many & ~few).sum()), differ).pvalue if differ else 1.0
    assert found.evidence["p_value"] == pytest.approx(p)
    said = "can't be told" if p >= 0.05 else "are likely to help" if many.sum() > few.sum() else "did not help"
    assert said in found.text


def test_a_run_draws_its_curve_with_near_duplicates_in_one_fold(finished: Any, tmp_path: Path) -> None:
    run = finished(folds=3, learning_curve=True, solver="exact", epochs=1)
    found = run.to_json()
    assert [row["share"] for row in found["learning_curve"]] == list(SHARES)
    assert found["learning_curve"][-1]["accuracy"] == found["folds"]["accuracy"]
    assert found["learning"]["text"] in {item.text for item in run.document().findings}
    assert "learning_curve" not in finished(folds=3, solver="exact", epochs=1).to_json()
    with styled():
        learning_figure(run.crossed.curve, "$x$").savefig(tmp_path / "learning.png")


@pytest.mark.usefixtures("small_network")
def test_near_duplicates_are_in_one_fold_of_a_curve(small_weights: Path, tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "shapes", 60)
    for number in range(0, 60, 3):
        image = Image.open(root / "cross" / f"{number:03}.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "cross" / f"m{number:03}.png")
    config = small_run(root, small_weights, folds=3, learning_curve=True, solver="exact", epochs=1)
    api.finetune(config, tmp_path / "run")
    rows = csv.DictReader(io.StringIO((tmp_path / "run" / "folds.csv").read_text()))
    folds = {
        row["image"].partition("/")[2].removesuffix(".png"): row["fold"] for row in rows if "cross" in row["image"]
    }
    assert all(folds[f"{number:03}"] == folds[f"m{number:03}"] for number in range(0, 60, 3))
