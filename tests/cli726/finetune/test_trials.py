"""Several penalties side by side, and the head's exact optimum."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli726.errors import RequestError
from cli726.finetune.folder import RunFolder
from cli726.finetune.run import Run, finetune, resume
from cli726.finetune.storage import read_tensors
from cli726.reporting import Silent
from tests.cli726.finetune.synthetic import Listener, metrics, run, same_bits, small_run
from tests.cli726.finetune.test_resume import Stopped, assert_same_result

PENALTIES = (0.0, 0.03, 1.0)


@pytest.mark.parametrize("head", [{}, {"head": "mlp:8", "dropout": 0.3}], ids=["linear", "mlp"])
def test_each_variant_is_the_run_that_has_its_value_alone(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, head: dict[str, Any]
) -> None:
    listener = Listener()
    result = finetune(small_run(shapes_folder, weights_file, l2=PENALTIES, **head), tmp_path / "all", reporter=listener)
    assert [trial.l2 for trial in result.trials] == list(PENALTIES)
    alone = {}
    for trial in result.trials:
        alone[trial.l2] = finetune(
            small_run(shapes_folder, weights_file, l2=(trial.l2,), **head), tmp_path / f"{trial.l2}"
        )
        assert trial.best == alone[trial.l2].best
        last, _ = read_tensors(tmp_path / f"{trial.l2}" / "last.safetensors")
        weights = [t for n, t in last.items() if re.fullmatch(r"network\.head\.\d+\.weight", n) and t.ndim == 2]
        squares = sum(float(w.double().square().sum()) for w in weights)
        assert trial.norm == pytest.approx(squares**0.5)
        assert trial.penalty == pytest.approx(trial.l2 / 2 * squares)
    assert result.trials[0].norm > result.trials[1].norm > result.trials[2].norm > 0
    winner = min(PENALTIES, key=lambda l2: (alone[l2].best.val_error, alone[l2].best.val_loss))
    assert result.l2["l2"] == winner
    assert alone[winner].trials == ()
    assert metrics(tmp_path / "all") == metrics(tmp_path / f"{winner}")
    assert result.test == alone[winner].test
    assert [line for line in listener.lines if line == f"L2: {winner:g} is the best of 3 by validation"]


def test_the_best_penalty_goes_on_into_the_later_phases(
    tmp_path: Path, shapes_folder: Path, weights_file: Path
) -> None:
    options: dict[str, Any] = {"epochs": 3, "unfreeze_after": "2", "unfreeze": "layer3"}
    several = run(small_run(shapes_folder, weights_file, l2=(5.0, 0.01), **options), tmp_path / "several")
    chosen = {trial["l2"]: trial for trial in result_of(tmp_path / "several")["trials"]}
    best = result_of(tmp_path / "several")["l2"]["l2"]
    assert best == min(chosen, key=lambda l2: (chosen[l2]["best"]["val_error"], chosen[l2]["best"]["val_loss"]))
    assert {trial["best"]["phase"] for trial in chosen.values()} == {"head"}
    alone = run(small_run(shapes_folder, weights_file, l2=(best,), **options), tmp_path / "alone")
    assert several[0] == alone[0]
    assert same_bits(several[1], alone[1])
    assert same_bits(several[2], alone[2])


def result_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_bytes())


def test_the_variants_share_the_features(tmp_path: Path, shapes_folder: Path, weights_file: Path) -> None:
    listener = Listener()
    config = small_run(
        shapes_folder, weights_file, l2=PENALTIES, epochs=1, augment="flip", views=2, cache=True,
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    result = finetune(config, tmp_path / "run", reporter=listener)
    assert len(result.cache["entries"]) == len({entry["key"] for entry in result.cache["entries"]}) == 3
    assert len([line for line in listener.lines if line.startswith("features of")]) == 3


@pytest.mark.parametrize("options", [{"l2": (0.0, 0.1)}, {"solver": "exact"}])
@pytest.mark.parametrize("phases", [{"unfreeze": "layer3"}, {"unfreeze_after": "0"}])
def test_both_need_a_phase_that_trains_the_head_alone(
    shapes_folder: Path, weights_file: Path, options: dict[str, Any], phases: dict[str, Any]
) -> None:
    with pytest.raises(RequestError, match=r"need a phase that trains the head alone.*--unfreeze-after N"):
        small_run(shapes_folder, weights_file, **options, **phases)


@pytest.mark.parametrize("options", [{"head": "mlp:8"}, {"dropout": 0.1}, {"batch_norm": True}])
def test_only_a_linear_head_has_an_exact_optimum(
    shapes_folder: Path, weights_file: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(RequestError, match="plain linear head"):
        small_run(shapes_folder, weights_file, solver="exact", **options)


def exact_head(path: Path) -> tuple[np.ndarray, np.ndarray]:
    tensors, _ = read_tensors(path / "best.safetensors")
    return tensors["head.1.weight"].double().numpy(), tensors["head.1.bias"].double().numpy()


def standardised(config: Any) -> tuple[np.ndarray, np.ndarray]:
    """Training features, minus their mean, over their deviation, by NumPy."""
    bank = Run.setup(config, Silent()).bank
    features = bank.features("train", 5).double().numpy()
    return (features - features.mean(0)) / features.std(0), bank.labels("train").numpy()


@pytest.mark.parametrize(
    ("options", "l2"),
    [({}, 1e-3), ({"cache": True}, 0.1), ({"recompute": True}, 1e-2)],
    ids=["memory", "cache", "recompute"],
)
def test_the_exact_head_is_scikit_learns_and_its_gradient_vanishes(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, options: dict[str, Any], l2: float
) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    if options.get("cache"):
        options = {**options, "cache_dir": str(tmp_path / "cache")}
    config = small_run(shapes_folder, weights_file, solver="exact", l2=(l2,), **options)
    listener = Listener()
    result = finetune(config, tmp_path / "run", reporter=listener)
    x, t = standardised(config)
    fit = linear_model.LogisticRegression(C=1 / (len(t) * l2), tol=1e-10, max_iter=10_000).fit(x, t)
    weights, bias = exact_head(tmp_path / "run")
    np.testing.assert_allclose(weights - weights.mean(0), fit.coef_ - fit.coef_.mean(0), atol=2e-4)
    np.testing.assert_allclose(bias - bias.mean(), fit.intercept_ - fit.intercept_.mean(), atol=2e-4)

    w = torch.from_numpy(weights).requires_grad_()
    b = torch.from_numpy(bias).requires_grad_()
    scores = torch.from_numpy(x) @ w.T + b
    (torch.nn.functional.cross_entropy(scores, torch.from_numpy(t)) + l2 / 2 * w.square().sum()).backward()
    assert w.grad is not None
    assert b.grad is not None
    assert float(w.grad.square().sum() + b.grad.square().sum()) ** 0.5 < 1e-5  # the head is stored in float32
    (said,) = [line for line in listener.lines if line.startswith("exact head: objective")]
    assert float(re.search(r"gradient norm (\S+)", said)[1]) < 1e-9  # type: ignore[index]
    assert result.l2["norm"] == pytest.approx(float(np.square(weights).sum() ** 0.5))
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [3]


def test_without_a_penalty_separable_data_have_no_optimum_and_it_is_said(
    tmp_path: Path, shapes_folder: Path, weights_file: Path
) -> None:
    """Sixty-four features of some forty images are separable."""
    for l2, expected in ((0.0, 1), (1e-3, 0)):
        listener = Listener()
        result = finetune(
            small_run(shapes_folder, weights_file, solver="exact", l2=(l2,)), tmp_path / f"{l2}", reporter=listener
        )
        assert len([line for line in listener.lines if "separable" in line and "no optimum" in line]) == expected
        assert result.history[0].train_accuracy == 1.0


def test_unfreezing_goes_on_from_the_optimum_and_resumes_there(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "solver": "exact", "l2": (1e-2,), "epochs": 4, "unfreeze_after": "2", "unfreeze": "layer3",
    }  # fmt: skip
    config = small_run(shapes_folder, weights_file, **options)
    result = finetune(config, tmp_path / "whole")
    assert [(line["phase"], line["epoch"]) for line in metrics(tmp_path / "whole")] == [
        ("head", 2), ("layer3", 3), ("layer3", 4),
    ]  # fmt: skip
    assert [part.epochs for part in result.phases] == [1, 2]
    keep = RunFolder.keep_epoch
    for after in (2, 3):

        def stopping(
            self: RunFolder, network: Any, optimizer: Any, progress: Any, line: Any, after: int = after
        ) -> None:
            keep(self, network, optimizer, progress, line)
            if line.epoch == after:
                raise Stopped

        with monkeypatch.context() as patched:
            patched.setattr(RunFolder, "keep_epoch", stopping)
            with pytest.raises(Stopped):
                finetune(config, tmp_path / str(after))
        resume(tmp_path / str(after))
        assert_same_result(tmp_path / str(after), tmp_path / "whole")


def test_several_penalties_are_taken_to_their_optima(tmp_path: Path, shapes_folder: Path, weights_file: Path) -> None:
    result = finetune(small_run(shapes_folder, weights_file, solver="exact", l2=(0.01, 0.1, 1.0)), tmp_path / "run")
    assert [trial.l2 for trial in result.trials] == [0.01, 0.1, 1.0]
    for trial in result.trials:
        alone = finetune(
            small_run(shapes_folder, weights_file, solver="exact", l2=(trial.l2,)), tmp_path / f"{trial.l2}"
        )
        assert (trial.best, trial.norm) == (alone.best, pytest.approx(alone.l2["norm"]))


def test_the_exact_solver_says_what_becomes_of_augmentation(
    tmp_path: Path, shapes_folder: Path, weights_file: Path
) -> None:
    listener = Listener()
    config = small_run(
        shapes_folder, weights_file, solver="exact", l2=(0.1,), augment="flip,crop", epochs=2, unfreeze_after="1",
        unfreeze="layer3",
    )  # fmt: skip
    finetune(config, tmp_path / "run", reporter=listener)
    plain = finetune(small_run(shapes_folder, weights_file, solver="exact", l2=(0.1,), epochs=1), tmp_path / "plain")
    assert [line for line in listener.lines if line.startswith("phase head: the exact solver takes")]
    assert [line for line in listener.lines if line.startswith("phase layer3: augments afresh")]
    assert metrics(tmp_path / "run")[0]["val_loss"] == plain.best.val_loss
